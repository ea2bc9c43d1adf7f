use std::{collections::HashMap, fmt};

use jsonwebtoken::DecodingKey;
use kerria_core::{Algorithm, Secret};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    compact::Compact,
    header::is_key_name,
    jwk::{Jwk, JwkRefused},
};

/// The fewest bytes of a secret for HS256: as many as the hash has (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;

/// The longest JWK Set that is read, in bytes.
pub(super) const JWK_SET_BYTES: usize = 256 * 1024;

/// The most keys of a set.
const KEYS: usize = 64;

/// A key with which the signatures of one algorithm are verified, under the name that tokens give for it.
#[derive(Clone)]
pub struct VerificationKey {
    kid: String,
    algorithm: Algorithm,
    source: Source,
    key: DecodingKey,
}

/// What a key was made of.
#[derive(Clone, PartialEq, Eq)]
enum Source {
    Public(Jwk),
    Shared(Box<[u8]>),
}

impl VerificationKey {
    /// The key of a JWK (RFC 7517). Without a `kid`, it goes by its thumbprint.
    ///
    /// # Errors
    /// If it is not a public key with which we verify signatures.
    pub fn from_jwk(json: &[u8]) -> Result<Self, JwkRefused> {
        let (jwk, kid) = Jwk::parse(json)?;
        Ok(Self::public(jwk, kid))
    }

    /// A secret that we share with whoever signs, for HS256.
    ///
    /// # Errors
    /// If it is shorter than 32 bytes, or if the `kid` is not 1 to 128 printable ASCII characters without spaces.
    pub fn shared_secret(kid: &str, secret: &Secret<Vec<u8>>) -> Result<Self, SharedSecretRefused> {
        if secret.expose().len() < SECRET_BYTES {
            return Err(SharedSecretRefused::TooShort);
        }
        if !is_key_name(kid) {
            return Err(SharedSecretRefused::Kid);
        }
        Ok(Self {
            kid: kid.to_owned(),
            algorithm: Algorithm::Hs256,
            source: Source::Shared(secret.expose().as_slice().into()),
            key: DecodingKey::from_secret(secret.expose()),
        })
    }

    fn public(jwk: Jwk, kid: Option<String>) -> Self {
        let key = match &jwk {
            Jwk::Ed25519 { x } => DecodingKey::from_ed_der(x),
            Jwk::P256 { x, y } => DecodingKey::from_ec_der(&[&[4][..], x, y].concat()),
            Jwk::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
        };
        let kid = kid.unwrap_or_else(|| jwk.thumbprint());
        Self { kid, algorithm: jwk.algorithm(), source: Source::Public(jwk), key }
    }

    /// The name that tokens give for it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm that it is used for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it has signed this, with its own algorithm, whatever the header says.
    #[must_use]
    pub fn has_signed(&self, jws: &Compact<'_>) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
        };
        jsonwebtoken::crypto::verify(jws.signature, jws.signed, &self.key, algorithm).unwrap_or(false)
    }
}

impl PartialEq for VerificationKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.source == other.source
    }
}

impl Eq for VerificationKey {}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerificationKey({}, {})", self.kid, self.algorithm.as_str())
    }
}

/// Why a shared secret is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedSecretRefused {
    /// It could be found by trying.
    #[error("a shared secret for HS256 has at least 32 bytes")]
    TooShort,
    /// Its name could not stand in a token.
    #[error("a key's name has 1 to 128 printable ASCII characters without spaces")]
    Kid,
}

/// The keys of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(HashMap<String, VerificationKey>);

/// Why a JWK Set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetRefused {
    /// It is no JSON object with an array of `keys`, is too long, or has too many.
    #[error("not a JWK Set (RFC 7517, section 5), or one of more than 256 KiB or 64 keys")]
    Malformed,
    /// Two keys have the same name, so that nobody could tell which of them is meant.
    #[error("two keys of the JWK Set have the same kid")]
    SameKid,
}

impl KeySet {
    /// Reads a JWK Set (RFC 7517, section 5). Keys that are not for us, private ones and broken ones are passed over; a set
    /// may hold keys for others, and one bad key does not take the good ones away.
    ///
    /// # Errors
    /// If the set as a whole cannot be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetRefused> {
        #[derive(Deserialize)]
        struct Set<'j> {
            #[serde(borrow)]
            keys: Vec<&'j RawValue>,
        }

        if json.len() > JWK_SET_BYTES {
            return Err(KeySetRefused::Malformed);
        }
        let set: Set<'_> = serde_json::from_slice(json).map_err(|_| KeySetRefused::Malformed)?;
        if set.keys.len() > KEYS {
            return Err(KeySetRefused::Malformed);
        }
        let keys = set.keys.iter().filter_map(|jwk| VerificationKey::from_jwk(jwk.get().as_bytes()).ok());
        Self::of(keys)
    }

    /// A set of these keys.
    ///
    /// # Errors
    /// If two of them have the same name.
    pub fn of(keys: impl IntoIterator<Item = VerificationKey>) -> Result<Self, KeySetRefused> {
        let mut set = HashMap::new();
        for key in keys {
            if set.insert(key.kid.clone(), key).is_some() {
                return Err(KeySetRefused::SameKid);
            }
        }
        Ok(Self(set))
    }

    /// The key of this name.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&VerificationKey> {
        self.0.get(kid)
    }

    /// The keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &VerificationKey> {
        self.0.values()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
