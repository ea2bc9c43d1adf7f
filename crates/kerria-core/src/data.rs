//! Session data: a small map of JSON values under a session.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest key, in bytes.
pub const KEY_BYTES: usize = 64;

/// The name of a value: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataKey(String);

impl DataKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`DataRefused::Key`] for anything but the characters and the length above.
    pub fn parse(text: &str) -> Result<Self, DataRefused> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if (1..=KEY_BYTES).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DataRefused::Key)
        }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much one session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataLimits {
    /// The number of keys.
    pub keys: u32,
    /// The bytes of one value, as compact JSON.
    pub value_bytes: u32,
    /// The bytes of all keys and values together.
    pub total_bytes: u32,
}

impl Default for DataLimits {
    fn default() -> Self {
        Self { keys: 64, value_bytes: 4 * 1024, total_bytes: 16 * 1024 }
    }
}

/// Why session data was not written. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DataRefused {
    /// The key is not one.
    #[error("a key is 1 to {KEY_BYTES} characters out of A-Z a-z 0-9 . _ -")]
    Key,
    /// The value is too large.
    #[error("a value has at most {limit} bytes as compact JSON; this one has {bytes}")]
    ValueTooLarge {
        /// The bytes of the value.
        bytes: u64,
        /// The bytes that are allowed.
        limit: u32,
    },
    /// The session holds as many keys as it may.
    #[error("a session holds at most {limit} keys; remove one first")]
    TooManyKeys {
        /// The keys that are allowed.
        limit: u32,
    },
    /// The session holds as much as it may.
    #[error("a session holds at most {limit} bytes of data; remove something first")]
    Full {
        /// The bytes that are allowed.
        limit: u32,
    },
    /// An increment met a value that is not a whole number, or would leave the range of 64 bits.
    #[error("only a whole number between -2^63 and 2^63-1 can be incremented, and must stay one")]
    NotANumber,
}

impl DataLimits {
    /// Whether a session that holds `others` (keys, bytes) under other keys may hold `bytes` under this one too.
    ///
    /// # Errors
    /// The limit that stands in the way.
    pub fn admit(&self, others: (u64, u64), key: &DataKey, bytes: u64) -> Result<(), DataRefused> {
        let (keys, held) = others;
        if bytes > u64::from(self.value_bytes) {
            Err(DataRefused::ValueTooLarge { bytes, limit: self.value_bytes })
        } else if keys + 1 > u64::from(self.keys) {
            Err(DataRefused::TooManyKeys { limit: self.keys })
        } else if held + key.as_str().len() as u64 + bytes > u64::from(self.total_bytes) {
            Err(DataRefused::Full { limit: self.total_bytes })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_plain() {
        assert!(DataKey::parse("cart.items_2-b").is_ok());
        for bad in ["", "a b", "a/b", "é", "..\0", &"k".repeat(65)] {
            assert_eq!(DataKey::parse(bad), Err(DataRefused::Key), "{bad:?}");
        }
    }

    #[test]
    fn the_first_limit_in_the_way_is_named() {
        let limits = DataLimits { keys: 2, value_bytes: 10, total_bytes: 20 };
        let key = DataKey::parse("k").unwrap();
        assert_eq!(limits.admit((1, 9), &key, 10), Ok(()));
        assert_eq!(limits.admit((1, 10), &key, 10), Err(DataRefused::Full { limit: 20 }));
        assert_eq!(limits.admit((2, 0), &key, 1), Err(DataRefused::TooManyKeys { limit: 2 }));
        assert_eq!(limits.admit((0, 0), &key, 11), Err(DataRefused::ValueTooLarge { bytes: 11, limit: 10 }));
    }
}
