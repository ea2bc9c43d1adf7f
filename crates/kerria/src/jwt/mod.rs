//! JWTs: reading them strictly, and verifying them without asking anybody.
//!
//! A [`Verifier`] answers for a resource server whether an access token (RFC 9068) is good: signature, claims, times and
//! revocations, all from memory. Where its keys come from is a matter of its own: [`Verifier::set_keys`], or
//! [`follow_jwks`], which fetches and refreshes a JWK Set in the background; from where is up to a [`KeySource`]. With the
//! feature `fetch`, there is one for HTTPS.
//!
//! The cryptography is that of aws-lc. Everything before and after it is read here, because a general JWT library has to
//! accept what an access token never holds: other algorithms, keys in headers, times as text.

mod claims;
mod compact;
#[cfg(feature = "fetch")]
mod fetch;
mod header;
mod jwk;
mod jwks;
mod keys;
mod seen;
mod strict;
mod verifier;

#[cfg(test)]
mod bad_tokens;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wycheproof;

pub use claims::{AccessClaims, ClaimsRefused, NumericDate};
pub use compact::{Compact, JWT_BYTES};
#[cfg(feature = "fetch")]
pub use fetch::{HttpKeySource, HttpSourceRefused};
pub use header::{Header, HeaderRefused};
pub use jwk::{Jwk, JwkRefused};
pub use jwks::{FetchError, KeySource, Pace, follow_jwks};
pub use keys::{KeySet, KeySetRefused, SharedSecretRefused, VerificationKey};
pub use verifier::{AccessToken, Refused, Verifier, VerifierSettings};
