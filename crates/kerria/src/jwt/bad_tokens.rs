//! Tokens that must not pass, and what is said of them.

use std::iter;

use kerria_core::{Algorithm, Secret};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    AccessClaims, Compact, Header, KeySet, Refused, VerificationKey, Verifier,
    testing::{
        AUDIENCE, ED25519, ISSUED, ISSUER, Issuer, P256, RSA_MODULUS, bytes, claims, claims_with, now,
        rsa_jwk, seconds, settings, text,
    },
};

#[test]
fn a_good_token_of_each_algorithm_is_accepted_and_says_what_it_says() {
    for issuer in Issuer::all() {
        let token = issuer.verifier().verify(issuer.issue(&claims()).as_bytes(), now()).unwrap();
        assert_eq!(serde_json::to_value(&*token.claims).unwrap(), claims(), "{:?}", issuer.algorithm);
    }
}

#[test]
fn headers_that_choose_how_they_are_checked_are_refused() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let jwk: Value = serde_json::from_str(ED25519).unwrap();
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://id.example/jwks.json")),
        ("x5u", json!("https://id.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!(["x-unknown"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
    ] {
        let mut header = issuer.header();
        header[name] = value;
        refused(&issuer, &issuer.sign(&header.to_string(), &claims().to_string()), Refused::Malformed);
    }
    // What is only a remark does not matter.
    let mut header = issuer.header();
    header["x-note"] = json!({"a": [1, 2.5, null, true, -1, "b"]});
    accepted(&issuer, &issuer.sign(&header.to_string(), &claims().to_string()));
}

#[test]
fn algorithms_that_are_none_of_ours_are_refused_in_every_spelling() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "eddsa",
        "EDDSA",
        "Ed25519",
        "ES256K",
        "ES384",
        "RS512",
        "PS256",
        "HS512",
        "RSA-OAEP",
        "dir",
        "PBES2-HS256+A128KW",
        "EdDSA ",
        "EdDSA\0",
    ] {
        let mut header = issuer.header();
        header["alg"] = json!(alg);
        let signed = issuer.sign(&header.to_string(), &claims().to_string());
        refused(&issuer, &signed, Refused::WrongAlgorithm);
        let message = &signed[..signed.rfind('.').unwrap()];
        refused(&issuer, message, Refused::Malformed);
        refused(&issuer, &format!("{message}."), Refused::Malformed);
    }
    for alg in [json!(null), json!(1), json!(["EdDSA"]), json!({})] {
        let mut header = issuer.header();
        header["alg"] = alg;
        refused(&issuer, &issuer.sign(&header.to_string(), &claims().to_string()), Refused::Malformed);
    }
    refused(
        &issuer,
        &issuer.sign(r#"{"typ":"at+jwt","kid":"a"}"#, &claims().to_string()),
        Refused::Malformed,
    );
}

#[test]
fn a_public_key_is_no_secret() {
    for issuer in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256].map(Issuer::new) {
        let jwk = match issuer.algorithm {
            Algorithm::EdDsa => ED25519.to_owned(),
            Algorithm::Es256 => P256.to_owned(),
            _ => rsa_jwk(RSA_MODULUS, "AQAB"),
        };
        for secret in encodings_of(&jwk) {
            let mut header = issuer.header();
            header["alg"] = json!("HS256");
            let signed = format!("{}.{}", text(header.to_string()), text(claims().to_string()));
            let key = jsonwebtoken::EncodingKey::from_secret(&secret);
            let mac =
                jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
            refused(&issuer, &format!("{signed}.{mac}"), Refused::WrongAlgorithm);
        }
    }
}

/// A public key in all the forms that somebody might take for the bytes of a secret.
fn encodings_of(jwk: &str) -> Vec<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::STANDARD};

    let members: Value = serde_json::from_str(jwk).unwrap();
    let part = |name: &str| members[name].as_str().map(bytes).unwrap_or_default();
    let (x, y, n) = (part("x"), part("y"), part("n"));
    let spki = match members["kty"].as_str().unwrap() {
        "OKP" => [&hex("302a300506032b6570032100")[..], &x].concat(),
        "EC" => [&hex("3059301306072a8648ce3d020106082a8648ce3d030107034200")[..], &[4], &x, &y].concat(),
        _ => [
            &hex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")[..],
            &n,
            &hex("0203010001"),
        ]
        .concat(),
    };
    let base64 = STANDARD.encode(&spki);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
    [
        jwk.as_bytes().to_vec(),
        pem.clone().into_bytes(),
        format!("{pem}\n").into_bytes(),
        pem.replace('\n', "\r\n").into_bytes(),
        base64.into_bytes(),
        spki,
        [x, y, n].concat(),
        Vec::new(),
    ]
    .into()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_key_is_used_for_its_own_algorithm_only() {
    let all = Issuer::all();
    let keys = KeySet::of(all.iter().map(|issuer| issuer.keys().get(issuer.kid()).unwrap().clone())).unwrap();
    let verifier = Verifier::new(settings(), keys);
    for signer in &all {
        for named in &all {
            let mut header = signer.header();
            header["kid"] = json!(named.kid());
            let token = signer.sign(&header.to_string(), &claims().to_string());
            let verdict = verifier.verify(token.as_bytes(), now());
            match signer.algorithm == named.algorithm {
                true => assert!(verdict.is_ok()),
                false => assert_eq!(verdict, Err(Refused::WrongAlgorithm)),
            }
        }
    }
}

#[test]
fn an_algorithm_that_is_not_set_is_refused_though_there_is_a_key_for_it() {
    for issuer in Issuer::all() {
        let mut settings = settings();
        settings.algorithms.retain(|algorithm| *algorithm != issuer.algorithm);
        let verifier = Verifier::new(settings, issuer.keys());
        let token = issuer.issue(&claims());
        assert_eq!(verifier.verify(token.as_bytes(), now()), Err(Refused::WrongAlgorithm));
    }
}

#[test]
fn names_of_keys_are_looked_up_and_nothing_else_is_done_with_them() {
    let issuer = Issuer::new(Algorithm::Hs256);
    for kid in [
        "../../../../dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "file:///etc/passwd",
        "'/**/UNION/**/SELECT/**/'k'--",
        "'||pg_sleep(3)||'",
        "x'OR'1'='1",
        "*)(uid=*))(|(uid=*",
        "unknown",
        &"k".repeat(128),
    ] {
        let mut header = issuer.header();
        header["kid"] = json!(kid);
        refused(&issuer, &issuer.sign(&header.to_string(), &claims().to_string()), Refused::UnknownKey);
    }
    for kid in [
        json!(""),
        json!("k".repeat(129)),
        json!("k".repeat(700)),
        json!("k".repeat(10_000)),
        json!("k".repeat(1_000_000)),
        json!("' UNION SELECT 'k'--"),
        json!("new\nline"),
        json!("\u{1b}[31m"),
        json!("schlüssel"),
        json!(null),
        json!(1),
        json!(["shared"]),
        json!({"kid": "shared"}),
    ] {
        let mut header = issuer.header();
        header["kid"] = kid;
        refused(&issuer, &issuer.sign(&header.to_string(), &claims().to_string()), Refused::Malformed);
    }
    let nameless = issuer.sign(r#"{"typ":"at+jwt","alg":"HS256"}"#, &claims().to_string());
    refused(&issuer, &nameless, Refused::UnknownKey);
}

#[test]
fn a_signature_that_is_none_is_refused() {
    for issuer in Issuer::all() {
        let (one, other) = (issuer.issue(&claims()), issuer.issue(&claims_with("acr", json!("2"))));
        let cut = one.rfind('.').unwrap() + 1;
        let (message, signature) = (&one[..cut], bytes(&one[cut..]));
        let last = signature.len() - 1;
        let flipped = [&signature[..last], &[signature[last] ^ 1]].concat();
        let mut bad = vec![
            vec![0],
            vec![0; signature.len()],
            signature[..last].to_vec(),
            [&signature[..], &[0]].concat(),
            flipped,
            vec![0xff; signature.len()],
            bytes(&other[other.rfind('.').unwrap() + 1..]),
            signature.iter().rev().copied().collect(),
        ];
        if issuer.algorithm == Algorithm::Es256 {
            bad.push(der(&signature));
            // r = 0 with a good s, s = 0 with a good r, and the order of the curve for one.
            bad.push([&[0; 32], &signature[32..]].concat());
            bad.push([&signature[..32], &[0; 32]].concat());
            let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
            bad.push([&order[..], &signature[32..]].concat());
            bad.push([&signature[..32], &order].concat());
        }
        for signature in bad {
            let token = format!("{message}{}", text(signature));
            refused(&issuer, &token, Refused::BadSignature);
        }
        refused(&issuer, message, Refused::Malformed);
        refused(&issuer, &one[..cut - 1], Refused::Malformed);
    }
}

/// An ECDSA signature as X.509 writes it.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let bytes = [&[0][..], bytes].concat();
        [&[2, u8::try_from(bytes.len()).unwrap()][..], &bytes].concat()
    };
    let both = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, u8::try_from(both.len()).unwrap()][..], &both].concat()
}

#[test]
fn the_same_bytes_have_one_form_only() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let good = issuer.issue(&claims());
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { unreachable!() };
    for bad in [
        format!("{good}="),
        format!("{good}=="),
        format!("{header}=.{payload}.{signature}"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}\0"),
        format!("{good}."),
        format!(".{good}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{signature}.AAAA.AAAA"),
        format!("{header}.{payload}.+{}", &signature[1..]),
        format!("{header}.{payload}.{}/", &signature[1..]),
        format!("{header}.{payload}.{}é", &signature[2..]),
        good.replace('.', ".\n"),
        good.replace('.', "%2E"),
    ] {
        refused(&issuer, &bad, Refused::Malformed);
    }
    // 64 bytes leave four bits of the last character unused: 15 other texts would be the same signature.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for last in alphabet.chars() {
        let text = format!("{}{last}", &good[..good.len() - 1]);
        assert!(text == good || issuer.verifier().verify(text.as_bytes(), now()).is_err(), "{last}");
    }
}

#[test]
fn what_is_too_long_or_too_deep_costs_nothing() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    for depth in [129, 500, 5_000, 10_000, 100_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let with = format!(r#"{},"deep":{nested}}}"#, claims().to_string().trim_end_matches('}'));
            for claims in [&nested, &with] {
                refused(&issuer, &issuer.sign(&issuer.header().to_string(), claims), Refused::Malformed);
            }
            let header =
                format!(r#"{},"deep":{nested}}}"#, issuer.header().to_string().trim_end_matches('}'));
            for header in [&nested, &header] {
                refused(&issuer, &issuer.sign(header, &claims().to_string()), Refused::Malformed);
            }
        }
    }
    for long in [
        ".".repeat(1 << 20),
        "A".repeat(1 << 20),
        "a.".repeat(1_000_000),
        format!("{}.{}.{}", "A".repeat(400_000), "A".repeat(400_000), "A".repeat(200_000)),
        issuer.issue(&claims_with("pad", json!("x".repeat(8_000)))),
    ] {
        refused(&issuer, &long, Refused::Malformed);
    }
    let long = issuer.issue(&claims_with("pad", json!("x".repeat(5_000))));
    accepted(&issuer, &long);
}

#[test]
fn a_member_that_comes_twice_is_refused() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let (header, claims) = (issuer.header().to_string(), claims().to_string());
    for again in [
        r#""alg":"EdDSA""#,
        r#""alg":"none""#,
        r#""\u0061lg":"EdDSA""#,
        r#""kid":"other""#,
        r#""typ":"JWT""#,
        r#""x":1,"x":1"#,
        r#""x":{"y":1,"y":2}"#,
    ] {
        let header = format!("{},{again}}}", header.trim_end_matches('}'));
        refused(&issuer, &issuer.sign(&header, &claims), Refused::Malformed);
    }
    for again in [
        format!(r#""exp":{}"#, ISSUED + 300),
        r#""exp":9999999999"#.to_owned(),
        r#""\u0065xp":9999999999"#.to_owned(),
        r#""sub":"root""#.to_owned(),
        r#""aud":"https://other.example""#.to_owned(),
        r#""x":1,"x":1"#.to_owned(),
        r#""x":[{"y":1,"y":2}]"#.to_owned(),
    ] {
        let claims = format!("{},{again}}}", claims.trim_end_matches('}'));
        refused(&issuer, &issuer.sign(&header, &claims), Refused::Malformed);
    }
}

#[test]
fn a_time_that_is_no_whole_number_does_not_count_as_missing() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let (header, good) = (issuer.header().to_string(), claims().to_string());
    for claim in ["exp", "iat", "nbf", "auth_time"] {
        for time in [
            r#""9999999999""#,
            r#""""#,
            "true",
            "false",
            "null",
            "[]",
            "[9999999999]",
            "{}",
            "1e308",
            "1e10",
            "1e400",
            "9999999999.0",
            "9999999999.5",
            "-1",
            "-0.0",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775808",
            "9223372036854776",
            "NaN",
            "Infinity",
            "0x10",
            "01",
        ] {
            let claims = match claims()[claim].as_u64() {
                Some(old) => good.replace(&format!(r#""{claim}":{old}"#), &format!(r#""{claim}":{time}"#)),
                None => format!(r#"{},"{claim}":{time}}}"#, good.trim_end_matches('}')),
            };
            assert_ne!(claims, good);
            refused(&issuer, &issuer.sign(&header, &claims), Refused::Malformed);
        }
    }
}

#[test]
fn claims_of_the_wrong_type_are_refused() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    for (name, values) in [
        ("iss", vec![json!(null), json!(1), json!([ISSUER]), json!({})]),
        ("sub", vec![json!(null), json!(1), json!(["a"])]),
        (
            "aud",
            vec![json!(null), json!(1), json!({}), json!([1]), json!([[AUDIENCE]]), json!([AUDIENCE, null])],
        ),
        (
            "jti",
            vec![json!(null), json!(1), json!(""), json!("1"), json!("01931c2e7d1a7b3c9d4e5f60718293a5")],
        ),
        ("sid", vec![json!(null), json!(1), json!(""), json!("{01931c2e-7d1a-7b3c-9d4e-5f60718293a5}")]),
        ("client_id", vec![json!(null), json!(1), json!(""), json!("a b"), json!("x".repeat(41))]),
        ("scope", vec![json!(null), json!(["read"]), json!("a\"b")]),
        ("amr", vec![json!(null), json!("pwd"), json!([1])]),
        ("acr", vec![json!(null), json!(1)]),
        ("as_of", vec![json!(null), json!("10"), json!(-1), json!(10.0), json!([10])]),
    ] {
        for value in values {
            refused(&issuer, &issuer.issue(&claims_with(name, value)), Refused::Malformed);
        }
    }
    for json in ["", "{", "null", "1", "[]", "\"a\"", "{}{}", "{},", "\u{feff}{}", "{'a':1}", "{\"a\":1,}"] {
        refused(&issuer, &issuer.sign(&issuer.header().to_string(), json), Refused::Malformed);
    }
    let many: Vec<_> = (0..65).map(|number| format!(r#""c{number}":1"#)).collect();
    let many = format!("{{{}}}", many.join(","));
    refused(&issuer, &issuer.sign(&issuer.header().to_string(), &many), Refused::Malformed);
}

#[test]
fn a_claim_that_has_to_be_there_is_missed() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    for (name, needed) in [
        ("iss", true),
        ("sub", true),
        ("aud", true),
        ("exp", true),
        ("iat", true),
        ("jti", true),
        ("client_id", true),
        ("sid", false),
        ("scope", false),
        ("auth_time", false),
        ("amr", false),
        ("acr", false),
        ("as_of", false),
    ] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let token = issuer.issue(&claims);
        if needed { refused(&issuer, &token, Refused::MissingClaim) } else { accepted(&issuer, &token) }
    }
}

#[test]
fn only_an_access_token_is_one() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let with_type = |typ: Value| {
        let mut header = issuer.header();
        header["typ"] = typ;
        issuer.sign(&header.to_string(), &claims().to_string())
    };
    for typ in ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+JWT"] {
        accepted(&issuer, &with_type(json!(typ)));
    }
    for typ in [
        "",
        "JWT",
        "jwt",
        "id_token",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "client-authentication+jwt",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "application/jwt",
        "application/",
        "text/at+jwt",
        "application/application/at+jwt",
        " at+jwt",
        "at+jwt ",
        "at jwt",
        "at+jwt; charset=utf-8",
        "ⓐt+jwt",
    ] {
        refused(&issuer, &with_type(json!(typ)), Refused::WrongType);
    }
    for typ in [json!(null), json!(1), json!(["at+jwt"]), json!({})] {
        refused(&issuer, &with_type(typ), Refused::Malformed);
    }
    let untyped = json!({"alg": "EdDSA", "kid": issuer.kid()}).to_string();
    refused(&issuer, &issuer.sign(&untyped, &claims().to_string()), Refused::WrongType);
}

#[test]
fn issuer_and_audience_are_compared_as_they_are() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    for iss in [
        "",
        "https://id.example/",
        "https://ID.example",
        "HTTPS://id.example",
        "http://id.example",
        "https://id.example:443",
        "https://id.example/tenant",
        "https://id.example ",
        "https://id.example.evil.example",
        "https://id.exampl\u{435}",
    ] {
        refused(&issuer, &issuer.issue(&claims_with("iss", json!(iss))), Refused::WrongIssuer);
    }
    for aud in [
        json!(""),
        json!([]),
        json!("https://api.example/"),
        json!("https://API.example"),
        json!("https://other.example"),
        json!("kerria"),
        json!([ISSUER]),
        json!(["https://api.example/", "https://other.example"]),
        json!("https://other.example https://api.example"),
    ] {
        refused(&issuer, &issuer.issue(&claims_with("aud", aud)), Refused::WrongAudience);
    }
    for aud in [json!([AUDIENCE]), json!([AUDIENCE, "https://other.example"]), json!(["x", AUDIENCE])] {
        accepted(&issuer, &issuer.issue(&claims_with("aud", aud)));
    }
}

#[test]
fn time_counts_to_the_edge_of_the_leeway() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let verdict = |claims: &Value, at: u64, millis: i64| {
        let now = kerria_core::Timestamp::from_millis(seconds(at).as_millis() + millis);
        issuer.verifier().verify(issuer.issue(claims).as_bytes(), now).map(|_| ())
    };
    // exp = ISSUED + 300, and five seconds of leeway.
    assert_eq!(verdict(&claims(), ISSUED + 305, -1), Ok(()));
    assert_eq!(verdict(&claims(), ISSUED + 305, 0), Err(Refused::Expired));
    assert_eq!(verdict(&claims(), ISSUED - 5, 0), Ok(()));
    assert_eq!(verdict(&claims(), ISSUED - 5, -1), Err(Refused::NotYetValid));
    let later = claims_with("nbf", json!(ISSUED + 100));
    assert_eq!(verdict(&later, ISSUED + 95, 0), Ok(()));
    assert_eq!(verdict(&later, ISSUED + 95, -1), Err(Refused::NotYetValid));
    let earlier = claims_with("nbf", json!(ISSUED - 100));
    assert_eq!(verdict(&earlier, ISSUED - 5, -1), Err(Refused::NotYetValid));
    for exp in [0, 1, ISSUED] {
        assert_eq!(verdict(&claims_with("exp", json!(exp)), ISSUED + 10, 0), Err(Refused::Expired));
    }
    let last = i64::MAX as u64 / 1_000;
    assert_eq!(verdict(&claims_with("exp", json!(last)), ISSUED + 10, 0), Ok(()));
    assert_eq!(verdict(&claims_with("nbf", json!(last)), ISSUED + 10, 0), Err(Refused::NotYetValid));
}

#[test]
fn the_leeway_has_a_limit() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let settings = super::VerifierSettings { leeway: std::time::Duration::from_secs(3_600), ..settings() };
    let verifier = Verifier::new(settings, issuer.keys());
    let token = issuer.issue(&claims());
    assert!(verifier.verify(token.as_bytes(), seconds(ISSUED + 309)).is_ok());
    assert_eq!(verifier.verify(token.as_bytes(), seconds(ISSUED + 310)), Err(Refused::Expired));
}

#[test]
fn secrets_that_could_be_guessed_are_not_shared() {
    for length in [0, 1, 16, 31] {
        assert!(VerificationKey::shared_secret("shared", &Secret::new(vec![7; length])).is_err(), "{length}");
    }
    assert!(VerificationKey::shared_secret("shared", &Secret::new(vec![7; 32])).is_ok());
    assert!(VerificationKey::shared_secret("", &Secret::new(vec![7; 32])).is_err());
    assert!(VerificationKey::shared_secret("a b", &Secret::new(vec![7; 32])).is_err());
}

#[test]
fn nothing_that_is_printed_shows_a_token_or_a_key() {
    let issuer = Issuer::new(Algorithm::Hs256);
    let token = issuer.issue(&claims());
    let printed = format!("{:?} {:?}", Compact::parse(token.as_bytes()).unwrap(), issuer.keys());
    let words: Vec<_> = Refused::ALL.iter().map(|refused| format!("{refused} {refused:?}")).collect();
    for secret in token.split('.').chain([super::testing::SECRET]) {
        assert!(!printed.contains(secret) && !words.concat().contains(secret));
    }
    let named: std::collections::HashSet<_> = Refused::ALL.iter().map(|refused| refused.as_str()).collect();
    assert_eq!(named.len(), Refused::ALL.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let issuer = Issuer::new(Algorithm::EdDsa);
        prop_assert!(issuer.verifier().verify(&bytes, now()).is_err());
        let _ = (Header::parse(&bytes), AccessClaims::parse(&bytes), KeySet::parse(&bytes));
        let token = issuer.sign(&String::from_utf8_lossy(&bytes), &claims().to_string());
        prop_assert!(issuer.verifier().verify(token.as_bytes(), now()).is_err());
        let token = issuer.sign(&issuer.header().to_string(), &String::from_utf8_lossy(&bytes));
        prop_assert!(issuer.verifier().verify(token.as_bytes(), now()).is_err());
    }

    #[test]
    fn a_token_of_which_a_byte_is_changed_is_refused(
        algorithm in prop::sample::select(vec![Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256]),
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
        cut in any::<bool>(),
    ) {
        let issuer = Issuer::new(algorithm);
        let verifier = issuer.verifier();
        let mut token = issuer.issue(&claims()).into_bytes();
        prop_assert!(verifier.verify(&token, now()).is_ok());
        let at = at.index(token.len());
        if cut { token.truncate(at) } else { token[at] ^= change }
        prop_assert!(verifier.verify(&token, now()).is_err());
        prop_assert!(verifier.verify(&token, now()).is_err());
    }
}

/// Refused the first time, and when it comes again, and nothing is remembered of it.
fn refused(issuer: &Issuer, token: &str, why: Refused) {
    let verifier = issuer.verifier();
    let start: String = token.chars().take(300).collect();
    for _ in 0..2 {
        assert_eq!(verifier.verify(token.as_bytes(), now()), Err(why), "{start}");
    }
    assert_eq!(verifier.remembered(), 0);
}

/// Accepted the first time, and when it comes again.
fn accepted(issuer: &Issuer, token: &str) {
    let verifier = issuer.verifier();
    let verdicts: Vec<_> = iter::repeat_with(|| verifier.verify(token.as_bytes(), now())).take(2).collect();
    assert!(verdicts[0].is_ok(), "{:?}", verdicts[0]);
    assert_eq!(verdicts[0], verdicts[1]);
    assert_eq!(verifier.remembered(), 1);
}
