//! The examples of the standards.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kerria_core::Secret;

use super::{
    Compact, Header, HeaderRefused, Jwk, VerificationKey,
    testing::{ED25519, P256, RSA_MODULUS, SECRET, rsa_jwk},
};

/// What RFC 7515, appendices A.1 to A.3, and RFC 7519, section 3.1, sign.
const JOE: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// (from, JWK or none for the shared secret, header, payload, signature)
const SIGNED: [(&str, Option<&str>, &str, &str, &str); 4] = [
    (
        "RFC 7515, A.1; RFC 7519, 3.1",
        None,
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        JOE,
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    ),
    (
        "RFC 7515, A.2",
        Some("rsa"),
        "eyJhbGciOiJSUzI1NiJ9",
        JOE,
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W\
    2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS\
    jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnv\
    Wh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ),
    (
        "RFC 7515, A.3",
        Some(P256),
        "eyJhbGciOiJFUzI1NiJ9",
        JOE,
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    (
        "RFC 8037, A.4",
        Some(ED25519),
        "eyJhbGciOiJFZERTQSJ9",
        "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
];

fn key_of(jwk: Option<&str>) -> VerificationKey {
    let rsa = rsa_jwk(RSA_MODULUS, "AQAB");
    match jwk {
        None => {
            let secret = Secret::new(URL_SAFE_NO_PAD.decode(SECRET).unwrap());
            VerificationKey::shared_secret("shared", &secret).unwrap()
        }
        Some("rsa") => VerificationKey::from_jwk(rsa.as_bytes()).unwrap(),
        Some(jwk) => VerificationKey::from_jwk(jwk.as_bytes()).unwrap(),
    }
}

#[test]
fn the_signatures_of_the_standards_are_verified_by_their_keys_and_by_no_other() {
    for (from, jwk, header, payload, signature) in SIGNED {
        let text = format!("{header}.{payload}.{signature}");
        let jws = Compact::parse(text.as_bytes()).unwrap();
        assert_eq!(Header::parse(&jws.header).unwrap().alg, key_of(jwk).algorithm(), "{from}");
        for (_, other, ..) in SIGNED {
            assert_eq!(key_of(other).has_signed(&jws), other == jwk, "{from}");
        }
    }
}

#[test]
fn the_thumbprints_of_the_standards_come_out() {
    let modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_B\
    JECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F\
    DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4\
    vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    for (jwk, thumbprint) in [
        (rsa_jwk(modulus, "AQAB"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), // RFC 7638, 3.1
        (ED25519.to_owned(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),       // RFC 8037, A.3
    ] {
        let (jwk, _) = Jwk::parse(jwk.as_bytes()).unwrap();
        assert_eq!(jwk.thumbprint(), thumbprint);
    }
}

#[test]
fn the_unsecured_and_the_encrypted_jwt_of_the_standards_are_none() {
    let unsecured = format!("eyJhbGciOiJub25lIn0.{JOE}."); // RFC 7519, 6.1
    assert!(Compact::parse(unsecured.as_bytes()).is_none());
    let header = URL_SAFE_NO_PAD.decode("eyJhbGciOiJub25lIn0").unwrap();
    assert_eq!(Header::parse(&header), Err(HeaderRefused::WrongAlgorithm));
    // The header of RFC 7519, A.1, in the form of a JWE.
    let encrypted = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.AAAA.AAAA.AAAA.AAAA";
    assert!(Compact::parse(encrypted.as_bytes()).is_none());
}
