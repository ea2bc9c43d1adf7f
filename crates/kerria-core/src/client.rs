//! Clients: the applications that tokens are issued to, and what they may ask for (RFC 6749, sections 2 and 3.3).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{keys::Algorithm, time::Timestamp, token::TokenHash};

/// The longest client identifier, in bytes.
const CLIENT_ID_BYTES: usize = 40;

/// The most that a scope may hold, in bytes.
const SCOPE_BYTES: usize = 1_000;

/// The longest audience, in bytes.
const AUDIENCE_BYTES: usize = 255;

/// The name by which a client is known (`client_id`, RFC 6749, section 2.2): 1 to 40 characters of `A-Z a-z 0-9 . _ - :`.
///
/// Kept in place, because it stands in entries of the revocation log, which are copied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    bytes: [u8; CLIENT_ID_BYTES],
    length: u8,
}

impl ClientId {
    /// The client that stands for this installation itself: sign-ins that name no client belong to it.
    pub const OWN: Self = {
        let mut bytes = [0; CLIENT_ID_BYTES];
        let name = b"kerria";
        let mut at = 0;
        while at < name.len() {
            bytes[at] = name[at];
            at += 1;
        }
        Self { bytes, length: name.len() as u8 }
    };

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("a client identifier is ASCII")
    }
}

impl FromStr for ClientId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        if text.is_empty() || text.len() > CLIENT_ID_BYTES || !text.bytes().all(allowed) {
            return Err(Malformed("a client identifier has 1 to 40 characters of A-Z a-z 0-9 . _ - :"));
        }
        let mut bytes = [0; CLIENT_ID_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, length: text.len() as u8 })
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

/// A set of scope tokens (RFC 6749, section 3.3), kept in order and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<Box<str>>);

impl Scope {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything in it is in `other`, too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|token| other.0.binary_search(token).is_ok())
    }

    /// The tokens, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| &**token)
    }
}

impl FromStr for Scope {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        let mut tokens: Vec<Box<str>> =
            text.split(' ').filter(|token| !token.is_empty()).map(Into::into).collect();
        if text.len() > SCOPE_BYTES || !tokens.iter().all(|token| token.bytes().all(allowed)) {
            return Err(Malformed(
                "a scope is a list of words with spaces between them, of printable ASCII without quotes and \
                 backslashes, and has at most 1000 characters",
            ));
        }
        tokens.sort_unstable();
        tokens.dedup();
        Ok(Self(tokens))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// For whom an access token is meant (`aud`, RFC 7519, section 4.1.3): the identifier of a resource server, usually its
/// URL. Compared as it is, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Audience(Box<str>);

impl Audience {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Audience {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() || text.len() > AUDIENCE_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Malformed("an audience has 1 to 255 characters of printable ASCII without spaces"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not what it should be. The message says what that is, and does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(ClientId Scope Audience);

/// What a session that is carried in tokens was opened for. It never changes: a refresh narrows what an access token may
/// do, and widens nothing (RFC 6749, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is.
    pub client: ClientId,
    /// The most that its access tokens may do.
    pub scope: Scope,
    /// For whom its access tokens are meant.
    pub audience: Audience,
}

/// A client as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its identifier.
    pub id: ClientId,
    /// What to call it.
    pub name: String,
    /// How it proves that it is this client.
    pub authentication: ClientAuthentication,
    /// What it may ask for at the token endpoint.
    pub grants: Vec<GrantType>,
    /// The most that its tokens may do.
    pub scope: Scope,
    /// For whom its access tokens may be meant. The first one counts where a request names none.
    pub audiences: Vec<Audience>,
    /// The form of its access tokens.
    pub access_tokens: AccessTokenForm,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// How a client proves that it is this client (RFC 6749, section 2.3; the names are those of RFC 7591, section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Not at all: a public client (`none`).
    Public,
    /// By a secret (`client_secret_basic` or `client_secret_post`), of which the hash is kept.
    Secret(TokenHash),
    /// By a JWT that it signs (`private_key_jwt`, RFC 7523), checked with this JWK Set (RFC 7517, section 5).
    PrivateKeyJwt(String),
}

/// What a client may ask for at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantType {
    /// A new access token for a refresh token (RFC 6749, section 6).
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// An access token for the client itself (RFC 6749, section 4.4).
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// An access token for a token of another kind (RFC 8693).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

impl GrantType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RefreshToken, Self::ClientCredentials, Self::TokenExchange];

    /// The standard's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
}

/// The form of the access tokens of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessTokenForm {
    /// A JWT (RFC 9068), signed with the active key of this algorithm.
    Jwt(Algorithm),
    /// An opaque token that says nothing by itself; a resource server asks what it stands for (RFC 7662).
    Reference,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_identifiers_are_short_and_plain() {
        for good in ["a", "kerria", "shop.example:web_1-2", &"x".repeat(40)] {
            assert_eq!(good.parse::<ClientId>().unwrap().as_str(), good);
        }
        for bad in ["", &"x".repeat(41), "a b", "ü", "a/b", "a\0"] {
            assert!(bad.parse::<ClientId>().is_err(), "{bad:?}");
        }
        assert_eq!(ClientId::OWN, "kerria".parse().unwrap());
    }

    #[test]
    fn a_scope_is_a_set() {
        let scope: Scope = " write  read read ".parse().unwrap();
        assert_eq!(scope.to_string(), "read write");
        let narrower: Scope = "read".parse().unwrap();
        assert!(
            narrower.is_within(&scope)
                && !scope.is_within(&narrower)
                && Scope::default().is_within(&narrower)
        );
        for bad in ["a\"b", "a\\b", "ü", "a\tb", &"x ".repeat(501)] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
    }
}
