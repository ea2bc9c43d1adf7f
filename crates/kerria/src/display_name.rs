//! What to call a user, kept without an allocation of its own where it can be.

use std::fmt;

/// The longest name that is kept in place, in bytes.
const SHORT: usize = 22;

/// What to call the user of a session; nobody's in an anonymous one.
///
/// A short name lies beside its session: an allocation of its own takes more memory, and more time to look at.
#[derive(Clone, PartialEq, Eq)]
pub struct DisplayName(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Nobody,
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

impl DisplayName {
    /// This name.
    #[must_use]
    pub fn of(name: Option<&str>) -> Self {
        let Some(name) = name else { return Self(Form::Nobody) };
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..name.len()) {
            Some(start) => start.copy_from_slice(name.as_bytes()),
            None => return Self(Form::Long(name.into())),
        }
        Self(Form::Short { length: name.len() as u8, bytes })
    }

    /// The name; `None` of nobody.
    #[must_use]
    pub fn as_deref(&self) -> Option<&str> {
        match &self.0 {
            Form::Nobody => None,
            Form::Short { length, bytes } => std::str::from_utf8(&bytes[..usize::from(*length)]).ok(),
            Form::Long(name) => Some(name),
        }
    }
}

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_deref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_whether_short_or_long() {
        for name in ["", "alice", "Zoë", "exactly-22-bytes-long.", "one-byte-more-than-that", &"ä".repeat(64)]
        {
            assert_eq!(DisplayName::of(Some(name)).as_deref(), Some(name));
        }
        assert_eq!(DisplayName::of(None).as_deref(), None);
    }
}
