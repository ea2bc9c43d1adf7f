use std::fmt;

use kerria_core::Algorithm;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};

use super::strict::{members, skip};

/// The longest `kid`, in characters.
const KID_CHARACTERS: usize = 128;

/// Members that would let a token choose how it is checked, or make it something else than a signed JWT. None of them is
/// ever followed; a header that has one is refused.
const FORBIDDEN: [&str; 8] = ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"];

/// The header of a signed JWT (RFC 7515, section 4.1): how it says that it was signed.
///
/// [`Serialize`] writes it as a signer sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The kind of JWT (`typ`), as it was sent. For an access token, [`Header::ACCESS_TOKEN`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The algorithm.
    pub alg: Algorithm,
    /// The key's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
}

/// Why a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefused {
    /// It is no JSON object, has a member twice, one of the wrong type, or one that is never accepted.
    #[error("malformed")]
    Malformed,
    /// Its algorithm is none of ours. `none` is not, in any spelling.
    #[error("wrong_algorithm")]
    WrongAlgorithm,
}

impl Header {
    /// The `typ` of an access token (RFC 9068, section 2.1).
    pub const ACCESS_TOKEN: &str = "at+jwt";

    /// Reads the JSON of a header. Members that are not known are passed over (RFC 7515, section 4), except those that tell
    /// where a key is or how to read the rest: `crit`, `jwk`, `jku`, `x5u`, `x5c`, `zip`, `enc` and `b64` are refused.
    ///
    /// # Errors
    /// If it is not a header that we accept from anybody.
    pub fn parse(json: &[u8]) -> Result<Self, HeaderRefused> {
        let Read { typ, alg, kid } = serde_json::from_slice(json).map_err(|_| HeaderRefused::Malformed)?;
        let alg = alg.ok_or(HeaderRefused::Malformed)?;
        let alg = algorithm_named(&alg).ok_or(HeaderRefused::WrongAlgorithm)?;
        if kid.as_deref().is_some_and(|kid| !is_key_name(kid)) {
            return Err(HeaderRefused::Malformed);
        }
        Ok(Self { typ, alg, kid })
    }

    /// Whether this is the type of the JWT. The `application/` may be left out, and case does not matter (RFC 7515, section
    /// 4.1.9).
    #[must_use]
    pub fn is_of_type(&self, typ: &str) -> bool {
        const PREFIX: &str = "application/";
        let Some(own) = &self.typ else { return false };
        let short = match own.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &own[PREFIX.len()..],
            _ => own,
        };
        short.eq_ignore_ascii_case(typ)
    }
}

/// The algorithm of exactly this name.
fn algorithm_named(name: &str) -> Option<Algorithm> {
    Algorithm::ASYMMETRIC.into_iter().chain([Algorithm::Hs256]).find(|algorithm| algorithm.as_str() == name)
}

/// Whether this can be a `kid`. It is looked up in memory and nowhere else; the bound is for the logs.
pub(super) fn is_key_name(kid: &str) -> bool {
    (1..=KID_CHARACTERS).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A header as it is sent.
#[derive(Default)]
struct Read {
    typ: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Read;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header")
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Read, A::Error> {
                let mut read = Read::default();
                members(object, |name, object| {
                    match name {
                        "typ" => read.typ = Some(object.next_value()?),
                        "alg" => read.alg = Some(object.next_value()?),
                        "kid" => read.kid = Some(object.next_value()?),
                        _ if FORBIDDEN.contains(&name) => {
                            return Err(serde::de::Error::custom("a member that is never accepted"));
                        }
                        _ => skip(object)?,
                    }
                    Ok(())
                })?;
                Ok(read)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}
