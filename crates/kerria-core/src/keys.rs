//! Signing keys: next, active, retired.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How a JWT is signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, for old clients.
    #[serde(rename = "RS256")]
    Rs256,
    /// HMAC with SHA-256, under a secret that a named audience shares with us.
    #[serde(rename = "HS256")]
    Hs256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Rs256, Self::Hs256];

    /// Those whose public keys are published.
    pub const ASYMMETRIC: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Rs256];

    /// The standard's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }
}

/// A signing key as it is kept: its private part only sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The `kid`: the thumbprint of the public key (RFC 7638), in base64url.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Where it is in its life.
    pub state: KeyState,
    /// The private key (PKCS #8), encrypted.
    pub sealed: Vec<u8>,
    /// The public key as a JWK (RFC 7517).
    pub public: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it came to its state.
    pub since: Timestamp,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {}, {})", self.kid, self.algorithm.as_str(), self.state.as_str())
    }
}

/// Where a signing key is in its life. A key is published in all of them, so that whoever verifies has it before it signs
/// and keeps it until what it signed is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, and not used yet.
    Next,
    /// Signs.
    Active,
    /// Signs no more; what it signed may still be good.
    Retired,
}

impl KeyState {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}
