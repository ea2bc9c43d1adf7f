//! JSON objects without a second meaning: no member twice, at any depth, and not too deep.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// The most members of one object.
const MEMBERS: usize = 64;

/// Whether JSON is that of an object. What is derived with serde would take the members from an array, too.
pub(super) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// Reads every member of an object: `take` gets its name and has to read its value, [`skip`] if nothing else.
///
/// Refuses a name that comes twice, however it is escaped: of two readers of such an object, one takes the first and one
/// the last (RFC 7519, section 4).
pub(super) fn members<'de, A: MapAccess<'de>>(
    mut object: A,
    mut take: impl FnMut(&str, &mut A) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    let mut names: Vec<Cow<'de, str>> = Vec::with_capacity(16);
    while let Some(Name(name)) = object.next_key()? {
        if names.len() == MEMBERS {
            return Err(A::Error::custom("too many members"));
        }
        if names.contains(&name) {
            return Err(A::Error::custom("a member that comes twice"));
        }
        take(&name, &mut object)?;
        names.push(name);
    }
    Ok(())
}

/// Reads a value that means nothing to us.
pub(super) fn skip<'de, A: MapAccess<'de>>(object: &mut A) -> Result<(), A::Error> {
    object.next_value::<Skipped>().map(|Skipped| ())
}

/// A member's name, without a copy where it stands in the text as it is.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// Any value, held to the same rules. (`IgnoredAny` would not look into it, and would go to any depth.)
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SkippedVisitor;

        impl<'de> Visitor<'de> for SkippedVisitor {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_str<E>(self, _: &str) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Skipped, A::Error> {
                while let Some(Skipped) = values.next_element()? {}
                Ok(Skipped)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Skipped, A::Error> {
                members(object, |_, object| skip(object)).map(|()| Skipped)
            }
        }

        deserializer.deserialize_any(SkippedVisitor)
    }
}
