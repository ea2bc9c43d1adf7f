//! What is wrong with a configuration: all of it at once, each with where it is and what to do.

use std::fmt;

use super::{sources::Place, suggest::Guess};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is written.
    pub place: Place,
    /// The setting, if it is one.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

/// All that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    pub(crate) fn at(place: &Place, key: &str, message: impl Into<String>) -> Self {
        Self { place: place.clone(), key: Some(key.to_owned()), message: message.into() }
    }

    pub(super) fn unknown(place: &Place, key: &str, guess: &Guess) -> Self {
        Self::at(place, key, format!("there is no such setting; {guess}"))
    }

    pub(super) fn elsewhere(place: Place, message: impl Into<String>) -> Self {
        Self { place, key: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "--listen: …" and "KERRIA_LISTEN: …" say the setting already.
        match &self.key {
            Some(key) if matches!(self.place, Place::File { .. } | Place::Default) => {
                write!(f, "{}: {key}: {}", self.place, self.message)
            }
            _ => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}
