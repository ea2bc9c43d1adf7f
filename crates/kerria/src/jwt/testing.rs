//! An issuer for tests, with the published keys of RFC 7515 and RFC 8037: everybody has their private parts.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use kerria_core::{Algorithm, Secret, Timestamp};
use serde_json::{Value, json};

use super::{KeySet, VerificationKey, Verifier, VerifierSettings};

/// RFC 8037, appendix A.1.
pub(super) const ED25519: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ED25519_PRIVATE: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v_VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";

/// RFC 7515, appendix A.3.
pub(super) const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const P256_PRIVATE: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LKh\
    RANCAAR_zc4ncPbEXUGDy-5v20t7WAczNXvp7xO6z248e9FURcfxRM0bvZt-hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt";

/// RFC 7515, appendix A.2: the modulus; the exponent is 65537.
pub(super) const RSA_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4\
    d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re\
    xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX\
    FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RSA_PRIVATE: &str = "MIIEowIBAAKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrc\
    S2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf6\
    3kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT\
    6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQABAoIB\
    ABKucaRpzQorw35SbEUAVx8dYXUdZOlJcHtiWQ-dC6V8ljxAHj_PLyzTveyI5QO_xkObCyjIL303l2cfUhPu2MFaJdjV\
    zqACXuOrLot_eSFvxjvqVidTtAZExqFRJ9mylUVAoLvhowVWmC1On95fZCXxTUtxNEG1Xcc7m0rtzJKs45J-N_V9DP1e\
    dYH6USyPSWGp6wuA-KgHRnKKVf9GRx80JQY7nVNkL17eHoTWEwga-lwi0FEoW9Y7lDtWXYmKBWhUE-U8PGxlJf8f4049\
    3HDw1WRQ_aSLoS4QTp3rn7gYgeHEvfJdkkf0UMhlknlo53M09EFPdadQ4TlUbjqKc50CgYEA4BzEEOtIpmVdVEZNCqS7\
    baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDc\
    mnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUcCgYEAuQPEfgmVtjL0Uyyx88GZFF1fOunH\
    3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njb\
    glfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdcCgYAHAp9XcCSrn8wVkMVkKdb7DOX4IKjzdahm-ctD\
    AJN4O_y7OW5FKebvUjdAIt2GuoTZ71iTG-7F0F-lP88jtjP4U4qe7VHoewl4MKOfXZKTe-YCS1XbNvfgwJ3Ltyl1OH9h\
    Wvu2yza7q-d5PCsDzqtm27kxuvULVeya-TEdAB1ijQKBgQCH_3r6YrVH_uCWGy6bzV1nGNOdjKc9tmkfOJmN54dxdixd\
    pozCQ6U4OxZrsj3FcOhHBsqAHvX2uuYjagqvo3cOj1TRqNocX40omfCCMx3bD1yPPf_6TI2XECva_ggqEY2mYzmIiA5L\
    VVmc5nrybr-lssFKneeyxN2Wq93S0iJMdQKBgCGHewxzoa1r8ZMD0LETNrToK423K377UCYqXfg5XMclbrjPbEC3YI1Z\
    NqMtuhdBJqUnBi6tjKMF-34Xf0CUN8ncuXGO2CAYvO8PdyCixHX52ybaDjy1FtCE6yUXjoKNXKvUm7MWGsAYH6f4IegO\
    etN5NvmUMFStCSkh7ixZLkN1";

/// RFC 7515, appendix A.1.
pub(super) const SECRET: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

pub(super) const ISSUER: &str = "https://id.example";
pub(super) const AUDIENCE: &str = "https://api.example";

/// When the tokens of [`claims`] are issued, in seconds. They are good for 300.
pub(super) const ISSUED: u64 = 1_800_000_000;

/// Who signs tokens.
pub(super) struct Issuer {
    pub(super) algorithm: Algorithm,
    key: EncodingKey,
    public: VerificationKey,
}

impl Issuer {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let (key, public) = match algorithm {
            Algorithm::EdDsa => (EncodingKey::from_ed_der(&bytes(ED25519_PRIVATE)), ED25519.to_owned()),
            Algorithm::Es256 => (EncodingKey::from_ec_der(&bytes(P256_PRIVATE)), P256.to_owned()),
            Algorithm::Rs256 => {
                (EncodingKey::from_rsa_der(&bytes(RSA_PRIVATE)), rsa_jwk(RSA_MODULUS, "AQAB"))
            }
            Algorithm::Hs256 => {
                let secret = bytes(SECRET);
                let public = VerificationKey::shared_secret("shared", &Secret::new(secret.clone())).unwrap();
                return Self { algorithm, key: EncodingKey::from_secret(&secret), public };
            }
        };
        let public = VerificationKey::from_jwk(public.as_bytes()).unwrap();
        Self { algorithm, key, public }
    }

    pub(super) fn all() -> [Self; 4] {
        [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256].map(Self::new)
    }

    pub(super) fn kid(&self) -> &str {
        self.public.kid()
    }

    pub(super) fn keys(&self) -> KeySet {
        KeySet::of([self.public.clone()]).unwrap()
    }

    pub(super) fn header(&self) -> Value {
        json!({"typ": "at+jwt", "alg": self.algorithm.as_str(), "kid": self.kid()})
    }

    /// A token with this header and these claims, whatever they are.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let algorithm = match self.algorithm {
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        };
        let signed = format!("{}.{}", text(header), text(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    /// A token with these claims.
    pub(super) fn issue(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// Who accepts its tokens.
    pub(super) fn verifier(&self) -> Verifier {
        Verifier::new(settings(), self.keys())
    }
}

pub(super) fn settings() -> VerifierSettings {
    let mut settings = VerifierSettings::new(ISSUER, AUDIENCE.parse().unwrap());
    settings.algorithms.push(Algorithm::Hs256);
    settings
}

/// The claims of a good token.
pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "01931c2e-7d1a-7b3c-9d4e-5f60718293a4",
        "aud": AUDIENCE,
        "exp": ISSUED + 300,
        "iat": ISSUED,
        "jti": "01931c2e-7d1a-7b3c-9d4e-5f60718293a5",
        "sid": "01931c2e-7d1a-7b3c-9d4e-5f60718293a6",
        "client_id": "kerria",
        "scope": "read write",
        "auth_time": ISSUED - 60,
        "amr": ["pwd"],
        "acr": "1",
        "as_of": 10,
    })
}

/// The claims of a good token, with one of them changed.
pub(super) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

pub(super) fn rsa_jwk(n: &str, e: &str) -> String {
    json!({"kty": "RSA", "n": n, "e": e}).to_string()
}

pub(super) fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(seconds * 1_000).unwrap())
}

/// When all of this happens: ten seconds after the token was issued.
pub(super) fn now() -> Timestamp {
    seconds(ISSUED + 10)
}

pub(super) fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}
