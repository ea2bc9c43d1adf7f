//! Whole numbers, as JSON has them: `41.0` is one, too (and some languages write it so), and none is larger than every reader
//! understands (RFC 8259, section 6).

use std::fmt;

use kerria_core::{LogNumber, Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use super::Millis;

/// The largest one.
const LARGEST: u64 = (1 << 53) - 1;

/// A whole number that is not negative.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeVisitor).map(Self)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {LARGEST}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        let beyond = || E::invalid_value(Unexpected::Unsigned(number), &self);
        (number <= LARGEST).then_some(number).ok_or_else(beyond)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        if number.fract() == 0.0 && (0.0..=LARGEST as f64).contains(&number) {
            Ok(number as u64)
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

pub(super) fn log_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogNumber, D::Error> {
    Whole::deserialize(deserializer).map(|Whole(number)| LogNumber(number))
}

/// Has to be there, if only as `null`.
pub(super) fn log_number_or_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<LogNumber>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|Whole(number)| LogNumber(number)))
}

pub(super) fn timestamp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let Whole(millis) = Whole::deserialize(deserializer)?;
    Ok(Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
}

pub(super) fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let Whole(number) = Whole::deserialize(deserializer)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Whole::deserialize(deserializer).map(|Whole(millis)| Self(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Whole>(text).ok().map(|Whole(number)| number);
        for (text, number) in
            [("0", 0), ("41", 41), ("41.0", 41), ("4.1e1", 41), ("9007199254740991", LARGEST)]
        {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["-1", "41.5", "9007199254740992", "1e300", "\"41\"", "null", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
