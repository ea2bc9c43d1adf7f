use std::{fmt, time::Duration};

use kerria_core::{Bearing, ClientId, LogNumber, Scope, SessionId, Timestamp, TokenId, UserId};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::strict::{members, skip};

/// The claims of an access token (RFC 9068, section 2.2).
///
/// [`Serialize`] writes them as they are signed; [`AccessClaims::parse`] reads them. The field names are the standard's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessClaims {
    /// Who issued it.
    pub iss: String,
    /// Whose it is: the handle of a user, or a client's identifier in a token of the client itself.
    pub sub: String,
    /// For whom it is meant.
    #[serde(serialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// From when on it is over.
    pub exp: NumericDate,
    /// When it was issued.
    pub iat: NumericDate,
    /// Before when it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<NumericDate>,
    /// Its own name.
    #[serde(serialize_with = "as_text")]
    pub jti: TokenId,
    /// Its session; none in a token of a client itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text_if_any")]
    pub sid: Option<SessionId>,
    /// To whom it was issued.
    pub client_id: ClientId,
    /// What it may be used for.
    #[serde(skip_serializing_if = "Scope::is_empty")]
    pub scope: Scope,
    /// When the user last proved who they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<NumericDate>,
    /// How (RFC 8176).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// How surely (OpenID Connect Core, section 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The number of the revocation log when it was issued: what was written later concerns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<LogNumber>,
}

/// Why claims were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsRefused {
    /// They are no JSON object, or have a claim twice or of the wrong type. A time that is no whole number is such a claim;
    /// it does not count as missing.
    #[error("malformed")]
    Malformed,
    /// One that an access token has to have is missing.
    #[error("missing_claim")]
    Missing,
}

impl AccessClaims {
    /// Reads the JSON of claims. Claims that are not known are passed over (RFC 7519, section 4).
    ///
    /// # Errors
    /// If they are not those of an access token.
    pub fn parse(json: &[u8]) -> Result<Self, ClaimsRefused> {
        let read: Read = serde_json::from_slice(json).map_err(|_| ClaimsRefused::Malformed)?;
        read.complete().ok_or(ClaimsRefused::Missing)
    }

    /// The user, if it is a user's token. A token of a client itself names the client in `sub`, and no session; should that
    /// name look like a user's handle, it is none (RFC 9068, section 5).
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        if self.sid.is_none() && self.sub == self.client_id.as_str() {
            return None;
        }
        self.sub.parse().ok()
    }

    /// What revocations can select it by.
    #[must_use]
    pub fn bearing(&self) -> Bearing {
        Bearing { token: self.jti, client: self.client_id, session: self.sid, user: self.user() }
    }
}

/// An instant in a JWT (RFC 7519, section 2): whole seconds since 1970, written as a JSON number without fraction.
///
/// The standard allows fractions and exponents. None of our tokens has them, and they are where readers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NumericDate(u64);

impl NumericDate {
    /// The latest: beyond it there is no [`Timestamp`].
    const LAST: u64 = i64::MAX as u64 / 1_000;

    /// The second in which `at` lies. Before 1970, the first.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self(at.since(Timestamp::EPOCH).as_secs())
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The beginning of the second.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(self.0)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = u64::deserialize(deserializer)?;
        if seconds > Self::LAST {
            return Err(D::Error::custom("a time that is too late"));
        }
        Ok(Self(seconds))
    }
}

fn one_or_many<S: Serializer>(audiences: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match audiences {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}

fn as_text<T: fmt::Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_text_if_any<T: fmt::Display, S: Serializer>(id: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    id.as_ref().map(ToString::to_string).serialize(serializer)
}

/// Claims as they were sent.
#[derive(Default)]
struct Read {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    exp: Option<NumericDate>,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    jti: Option<TokenId>,
    sid: Option<SessionId>,
    client_id: Option<ClientId>,
    scope: Option<Scope>,
    auth_time: Option<NumericDate>,
    amr: Option<Vec<String>>,
    acr: Option<String>,
    as_of: Option<LogNumber>,
}

impl Read {
    fn complete(self) -> Option<AccessClaims> {
        Some(AccessClaims {
            iss: self.iss?,
            sub: self.sub?,
            aud: self.aud?.0,
            exp: self.exp?,
            iat: self.iat?,
            nbf: self.nbf,
            jti: self.jti?,
            sid: self.sid,
            client_id: self.client_id?,
            scope: self.scope.unwrap_or_default(),
            auth_time: self.auth_time,
            amr: self.amr.unwrap_or_default(),
            acr: self.acr,
            as_of: self.as_of,
        })
    }

    /// Takes a claim's value. `null` is a value of the wrong type, not a claim that is missing.
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, object: &mut A) -> Result<(), A::Error> {
        match name {
            "iss" => self.iss = Some(object.next_value()?),
            "sub" => self.sub = Some(object.next_value()?),
            "aud" => self.aud = Some(object.next_value()?),
            "exp" => self.exp = Some(object.next_value()?),
            "iat" => self.iat = Some(object.next_value()?),
            "nbf" => self.nbf = Some(object.next_value()?),
            "jti" => self.jti = Some(parsed(object)?),
            "sid" => self.sid = Some(parsed(object)?),
            "client_id" => self.client_id = Some(object.next_value()?),
            "scope" => self.scope = Some(object.next_value()?),
            "auth_time" => self.auth_time = Some(object.next_value()?),
            "amr" => self.amr = Some(object.next_value()?),
            "acr" => self.acr = Some(object.next_value()?),
            "as_of" => self.as_of = Some(object.next_value()?),
            _ => skip(object)?,
        }
        Ok(())
    }
}

/// An identifier, in the one form in which we write it.
fn parsed<'de, T: std::str::FromStr, A: MapAccess<'de>>(object: &mut A) -> Result<T, A::Error> {
    object.next_value::<String>()?.parse().map_err(|_| A::Error::custom("not an identifier"))
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClaimsVisitor;

        impl<'de> Visitor<'de> for ClaimsVisitor {
            type Value = Read;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("claims")
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Read, A::Error> {
                let mut read = Read::default();
                members(object, |name, object| read.take(name, object))?;
                Ok(read)
            }
        }

        deserializer.deserialize_map(ClaimsVisitor)
    }
}

/// An audience, or several (RFC 7519, section 4.1.3).
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AudienceVisitor;

        impl<'de> Visitor<'de> for AudienceVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an audience, or several")
            }

            fn visit_str<E>(self, one: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, many: A) -> Result<OneOrMany, A::Error> {
                many_of(many).map(OneOrMany)
            }
        }

        fn many_of<'de, T: DeserializeOwned, A: SeqAccess<'de>>(many: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(many))
        }

        deserializer.deserialize_any(AudienceVisitor)
    }
}
