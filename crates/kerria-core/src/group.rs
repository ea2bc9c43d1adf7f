//! Groups: what an operator says about users, for rules and applications to decide by.

use std::{borrow::Borrow, collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::account::BadName;

/// How many groups a user may be in. All of them are told to applications with every request.
pub const GROUPS: usize = 64;

/// The name of a group: what the operator calls some users.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(Box<str>);

impl GroupName {
    /// Reads a name: 1 to 64 characters, ASCII letters and digits, and `.`, `_`, `-`, `:` and `/` after the first one. It can
    /// stand in a header and in a list with commas or spaces. Large letters count as small ones.
    ///
    /// # Errors
    /// What is wrong, in a sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let name = text.trim().to_ascii_lowercase();
        if name.is_empty() || name.len() > 64 {
            return Err(BadName("The name of a group has 1 to 64 characters."));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(allowed) {
            return Err(BadName(
                "The name of a group is made of the letters a to z, digits, and . _ - : / after the first one.",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name, in small letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GroupName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::parse(text)
    }
}

impl TryFrom<String> for GroupName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.0.into()
    }
}

impl Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The groups of a user, each once, in the order of the alphabet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Groups(BTreeSet<GroupName>);

impl Groups {
    /// Whether this group, written in small letters, is among them.
    #[must_use]
    pub fn contains(&self, group: &str) -> bool {
        self.0.contains(group)
    }

    /// Whether any of these is among them.
    #[must_use]
    pub fn contains_any<'g>(&self, groups: impl IntoIterator<Item = &'g GroupName>) -> bool {
        groups.into_iter().any(|group| self.0.contains(group))
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &GroupName> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These groups with those of `joined`, and without those of `left`.
    #[must_use]
    pub fn changed(&self, joined: &Self, left: &Self) -> Self {
        Self(self.0.union(&joined.0).filter(|group| !left.0.contains(*group)).cloned().collect())
    }
}

/// Their names, with a space in between.
impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, group) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{group}")?;
        }
        Ok(())
    }
}

/// Reads names with white space in between.
impl FromStr for Groups {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        text.split_whitespace().map(GroupName::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromIterator<GroupName> for Groups {
    fn from_iter<I: IntoIterator<Item = GroupName>>(groups: I) -> Self {
        Self(groups.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(text: &str) -> Groups {
        text.parse().unwrap()
    }

    #[test]
    fn names_can_stand_in_headers_and_lists() {
        for bad in ["", " ", "a b", "a,b", "-a", ":a", "grüße", "a\0", "a\nb", "*", &"x".repeat(65)] {
            assert!(GroupName::parse(bad).is_err(), "{bad:?}");
        }
        for (good, name) in [("staff", "staff"), (" Staff ", "staff"), ("a.b_c-d:e/F9", "a.b_c-d:e/f9")] {
            assert_eq!(GroupName::parse(good).unwrap().as_str(), name);
        }
    }

    #[test]
    fn groups_are_written_and_read_in_order_each_once() {
        let read = groups("staff  Admins staff");
        assert_eq!(read.to_string(), "admins staff");
        assert_eq!(groups(&read.to_string()), read);
        assert_eq!(groups("").to_string(), "");
        assert!(read.contains("admins") && !read.contains("admin"));
    }

    #[test]
    fn who_leaves_a_group_that_they_join_is_not_in_it() {
        let before = groups("a b");
        assert_eq!(before.changed(&groups("c d"), &groups("b d z")), groups("a c"));
        assert_eq!(before.changed(&Groups::default(), &Groups::default()), before);
    }
}
