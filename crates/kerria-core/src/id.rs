//! Typed identifiers: safe to show and to log, never a credential.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::{
    entropy::{Entropy, random_bytes},
    time::Timestamp,
};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: a UUID of version 7 (RFC 9562, section 5.7), so that newer ones sort later.
            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(millis, &random_bytes(entropy)).into_uuid())
            }

            /// The 16 bytes, as they are stored.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// What `Display` writes, written to `text`.
            pub fn write<'t>(&self, text: &'t mut [u8; 36]) -> &'t str {
                self.0.hyphenated().encode_lower(text)
            }

            /// The identifier with these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Reads the hyphenated form that `Display` writes, and no other.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                match Uuid::try_parse(text) {
                    Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
                    _ => Err(MalformedId),
                }
            }
        }
    };
}

id! {
    /// The handle of a session: what is shown, logged and named in a URL. It opens nothing; the token does.
    SessionId
}
id! {
    /// A user. Never given to anybody else, even after the user was deleted.
    UserId
}

impl UserId {
    /// The user whom an application knows by a number, such as the key of a row.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(Uuid::from_u64_pair(0, number))
    }

    /// The number, of a user who has one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let (rest, number) = self.0.as_u64_pair();
        (rest == 0).then_some(number)
    }
}

id! {
    /// An access token: its `jti` (RFC 7519, section 4.1.7). It opens nothing; the token does.
    TokenId
}

id! {
    /// A checker: one life of one process that answers from its own memory. A process that starts anew is another one.
    CheckerId
}

/// The text is not an identifier in the hyphenated form of RFC 9562, section 4.
#[derive(Debug, thiserror::Error)]
#[error(
    "not an identifier: expected 32 hexadecimal digits in five groups, as in 01931c2e-7d1a-7b3c-9d4e-5f60718293a4"
)]
pub struct MalformedId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_with_numbers_are_told_from_those_without() {
        for number in [0, 1, 42, u64::MAX] {
            let user = UserId::from_number(number);
            assert_eq!((user.number(), user.to_string().parse().unwrap()), (Some(number), user));
        }
        assert_eq!(UserId::from_bytes([1; 16]).number(), None);
    }

    #[test]
    fn only_the_form_that_is_written_is_read() {
        let id = SessionId::from_bytes([7; 16]);
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        for other in ["", "07", "07070707070707070707070707070707", "{07070707-0707-0707-0707-070707070707}"]
        {
            assert!(other.parse::<SessionId>().is_err(), "{other}");
        }
    }
}
