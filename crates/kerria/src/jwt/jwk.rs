use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kerria_core::Algorithm;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{header::is_key_name, strict::is_object};

/// A public key with which signatures can be verified, as JWKs hold it (RFC 7517; RFC 7518, section 6; RFC 8037, section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwk {
    /// Ed25519, for `EdDSA`.
    Ed25519 {
        /// The public key.
        x: [u8; 32],
    },
    /// A point on P-256, for `ES256`.
    P256 {
        /// One coordinate, big-endian.
        x: [u8; 32],
        /// The other.
        y: [u8; 32],
    },
    /// RSA with 2048 to 4096 bits, for `RS256`.
    Rsa {
        /// The modulus, big-endian, without leading zeros.
        n: Vec<u8>,
        /// The exponent, the same way: odd, from 65537 on, of at most four bytes.
        e: Vec<u8>,
    },
}

/// Why a JWK is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkRefused {
    /// It is no JSON object, or has a member twice or of the wrong type.
    #[error("the JWK is malformed")]
    Malformed,
    /// It is of a kind, for a use or for an algorithm that is none of ours.
    #[error("the JWK is not for a signature that is verified here")]
    NotForUs,
    /// It has private members: whoever published it has to make a new one.
    #[error("the JWK holds a private key")]
    Private,
    /// Its numbers are not those of a key, or those of a weak one.
    #[error("the JWK holds a broken or weak key")]
    Weak,
}

impl Jwk {
    /// Reads a JWK, and its `kid`, if it has one.
    ///
    /// # Errors
    /// If it is not a public key with which we verify signatures.
    pub fn parse(json: &[u8]) -> Result<(Self, Option<String>), JwkRefused> {
        if !is_object(json) {
            return Err(JwkRefused::Malformed);
        }
        let members: Members = serde_json::from_slice(json).map_err(|_| JwkRefused::Malformed)?;
        members.public_key()
    }

    /// The JWK as it is published: with its use, its algorithm, and its thumbprint as `kid`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let members = Members {
            kid: Some(self.thumbprint()),
            purpose: Some("sig".to_owned()),
            alg: Some(self.algorithm().as_str().to_owned()),
            ..self.required_members()
        };
        serde_json::to_string(&members).expect("texts are written as JSON without fail")
    }

    /// The one algorithm that this key is used for (RFC 8725, section 3.1).
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519 { .. } => Algorithm::EdDsa,
            Self::P256 { .. } => Algorithm::Es256,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The thumbprint (RFC 7638, with SHA-256; RFC 8037, section 2), in base64url. Our keys have it as their `kid`.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let json =
            serde_json::to_vec(&self.required_members()).expect("texts are written as JSON without fail");
        URL_SAFE_NO_PAD.encode(Sha256::digest(json))
    }

    fn required_members(&self) -> Members {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let (kty, crv) = match self {
            Self::Ed25519 { .. } => ("OKP", Some("Ed25519")),
            Self::P256 { .. } => ("EC", Some("P-256")),
            Self::Rsa { .. } => ("RSA", None),
        };
        let members = Members { kty: kty.to_owned(), crv: crv.map(ToOwned::to_owned), ..Members::default() };
        match self {
            Self::Ed25519 { x } => Members { x: text(x), ..members },
            Self::P256 { x, y } => Members { x: text(x), y: text(y), ..members },
            Self::Rsa { n, e } => Members { n: text(n), e: text(e), ..members },
        }
    }
}

/// The members of a JWK that concern us. They stand in the order of their names, which a thumbprint needs (RFC 7638, section
/// 3.3). A member that comes twice is refused.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Members {
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing)]
    d: Option<Private>,
    #[serde(skip_serializing)]
    dp: Option<Private>,
    #[serde(skip_serializing)]
    dq: Option<Private>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing)]
    k: Option<Private>,
    #[serde(skip_serializing)]
    key_ops: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing)]
    oth: Option<Private>,
    #[serde(skip_serializing)]
    p: Option<Private>,
    #[serde(skip_serializing)]
    q: Option<Private>,
    #[serde(skip_serializing)]
    qi: Option<Private>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

/// The value of a private member: that it is there is all that we want to know.
type Private = serde::de::IgnoredAny;

impl Members {
    fn public_key(self) -> Result<(Jwk, Option<String>), JwkRefused> {
        let private = [&self.d, &self.dp, &self.dq, &self.k, &self.oth, &self.p, &self.q, &self.qi];
        if private.into_iter().any(Option::is_some) {
            return Err(JwkRefused::Private);
        }
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if self.purpose.as_ref().is_some_and(|purpose| purpose != "sig") || !verifies {
            return Err(JwkRefused::NotForUs);
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => Jwk::Ed25519 { x: coordinate(self.x)? },
            ("EC", Some("P-256")) => Jwk::P256 { x: coordinate(self.x)?, y: coordinate(self.y)? },
            ("RSA", None) => rsa(number(self.n)?, number(self.e)?)?,
            _ => return Err(JwkRefused::NotForUs),
        };
        if self.alg.is_some_and(|alg| alg != key.algorithm().as_str()) {
            return Err(JwkRefused::NotForUs);
        }
        if self.kid.as_deref().is_some_and(|kid| !is_key_name(kid)) {
            return Err(JwkRefused::Malformed);
        }
        Ok((key, self.kid))
    }
}

/// The sizes that are accepted: below is too weak, above makes every check dear.
fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Jwk, JwkRefused> {
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    let exponent = (e.len() <= 4).then(|| e.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)));
    let sound = (2048..=4096).contains(&bits)
        && n.last().is_some_and(|last| last % 2 == 1)
        && exponent.is_some_and(|e| e >= 65_537 && e % 2 == 1);
    if sound { Ok(Jwk::Rsa { n, e }) } else { Err(JwkRefused::Weak) }
}

fn coordinate(text: Option<String>) -> Result<[u8; 32], JwkRefused> {
    bytes(text)?.try_into().map_err(|_| JwkRefused::Weak)
}

/// A number in as few bytes as it needs (RFC 7518, section 2, Base64urlUInt).
fn number(text: Option<String>) -> Result<Vec<u8>, JwkRefused> {
    let bytes = bytes(text)?;
    if bytes.first().is_none_or(|first| *first == 0) { Err(JwkRefused::Weak) } else { Ok(bytes) }
}

fn bytes(text: Option<String>) -> Result<Vec<u8>, JwkRefused> {
    URL_SAFE_NO_PAD.decode(text.ok_or(JwkRefused::Malformed)?).map_err(|_| JwkRefused::Malformed)
}
