//! Users, and the names they sign in with.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::{group::Groups, id::UserId, time::Timestamp};

/// A user's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The identifier.
    pub id: UserId,
    /// The name to sign in with. A user has a name, an e-mail address, or both.
    pub name: Option<UserName>,
    /// The e-mail address to sign in with.
    pub email: Option<EmailAddress>,
    /// The groups that an operator has put the user in.
    pub groups: Groups,
    /// Whether the user may sign in.
    pub status: Status,
    /// When the account was created.
    pub created_at: Timestamp,
    /// When the user last signed in.
    pub last_sign_in_at: Option<Timestamp>,
}

impl User {
    /// What to call the user: the name, or else the e-mail address.
    #[must_use]
    pub fn display_name(&self) -> &str {
        display_name(self.name.as_ref(), self.email.as_ref())
    }

    /// What applications are told of the user.
    #[must_use]
    pub fn into_profile(self) -> Profile {
        Profile { user: self.id, name: self.name, email: self.email, groups: self.groups }
    }
}

/// What applications are told of a user: nothing that changes without an entry in the revocation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Who it is.
    pub user: UserId,
    /// The name to sign in with.
    pub name: Option<UserName>,
    /// The e-mail address to sign in with.
    pub email: Option<EmailAddress>,
    /// The groups that an operator has put the user in.
    pub groups: Groups,
}

impl Profile {
    /// What to call the user: the name, or else the e-mail address.
    #[must_use]
    pub fn display_name(&self) -> &str {
        display_name(self.name.as_ref(), self.email.as_ref())
    }
}

fn display_name<'n>(name: Option<&'n UserName>, email: Option<&'n EmailAddress>) -> &'n str {
    match (name, email) {
        (Some(name), _) => name.as_str(),
        (None, Some(email)) => email.as_str(),
        (None, None) => "",
    }
}

/// Whether a user may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// May sign in.
    Active,
    /// May not. Disabling a user ends all their sessions.
    Disabled,
}

impl Status {
    /// The word that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// Counts the changes of a user's credentials and status. A session is opened only if the count is still what it was
/// when the password was verified, so that a sign-in cannot overtake a password change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialVersion(pub u64);

/// A password hash in the PHC string format, with its algorithm and parameters: `$argon2id$v=19$m=…`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a PHC string.
    #[must_use]
    pub const fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The longest name or e-mail address, in bytes (for an address, RFC 5321, section 4.5.3.1.3, as corrected).
pub const NAME_BYTES: usize = 254;

/// A name to sign in with, as the user wrote it, without white space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// Reads a name: 1 to 64 characters, letters, digits and marks of any script, `.`, `-`, `_` and `'`, single spaces
    /// inside. There is no `@` in it, so that a name is never mistaken for an e-mail address.
    ///
    /// # Errors
    /// What is wrong, in a sentence for the user.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let name: String = text.trim().nfc().collect();
        let length = name.chars().count();
        if length == 0 {
            return Err(BadName("Enter a name."));
        }
        if length > 64 || fold(&name).len() > NAME_BYTES {
            return Err(BadName("Choose a name of at most 64 characters."));
        }
        if name.contains('@') {
            return Err(BadName("A name has no @ in it. Put an e-mail address in the field for it."));
        }
        let allowed = |c: char| {
            c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c) || ".-_' ".contains(c)
        };
        if !name.chars().all(allowed) || name.contains("  ") {
            return Err(BadName("A name is made of letters, digits, single spaces and . - _ '"));
        }
        if name.chars().any(is_unseen) {
            return Err(BadName("There is a character in this name that cannot be seen. Type it anew."));
        }
        if name.parse::<UserId>().is_ok() {
            return Err(BadName("This name looks like an identifier. Choose another one."));
        }
        if !name.chars().any(char::is_alphanumeric) {
            return Err(BadName("A name has at least one letter or digit."));
        }
        Ok(Self(name))
    }

    /// The name as the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that is compared.
    #[must_use]
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

/// An e-mail address, as the user wrote it, without white space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads an address: one `@` with something on either side, no white space or control characters. Whether mail
    /// arrives there is not asked.
    ///
    /// # Errors
    /// What is wrong, in a sentence for the user.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let address: String = text.trim().nfc().collect();
        if address.len().max(fold(&address).len()) > NAME_BYTES {
            return Err(BadName("An e-mail address has at most 254 characters."));
        }
        let plain =
            |c: char| !c.is_whitespace() && !c.is_control() && !is_unseen(c) && !"<>()[],;:\\\"".contains(c);
        match address.split_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && !domain.is_empty()
                    && !domain.contains('@')
                    && !domain.starts_with(['.', '-'])
                    && !domain.ends_with(['.', '-'])
                    && !domain.contains("..")
                    && address.chars().all(plain) =>
            {
                Ok(Self(address))
            }
            _ => Err(BadName("Enter an e-mail address such as alice@example.com.")),
        }
    }

    /// The address as the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that is compared.
    #[must_use]
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

/// What somebody typed to say who they are: a name or an e-mail address, in the form that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoginName(String);

impl LoginName {
    /// Reads what was typed. Anything is read, up to [`NAME_BYTES`]; whether it names a user is for the store to say.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut key = fold(text.trim());
        let mut end = key.len().min(NAME_BYTES);
        while !key.is_char_boundary(end) {
            end -= 1;
        }
        key.truncate(end);
        Self(key)
    }

    /// The form that is compared.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }

    /// Whether this can only be an e-mail address.
    #[must_use]
    pub fn is_email(&self) -> bool {
        self.0.contains('@')
    }
}

/// Characters that leave no mark, or turn the direction of the others: two names that differ by one of them look alike
/// (`Default_Ignorable_Code_Point` and `Bidi_Control` of the Unicode Character Database, without what is unassigned).
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The form in which names are compared: compatibility characters unified, case and its leftovers removed.
fn fold(text: &str) -> String {
    text.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

/// A name or an e-mail address that cannot be one. Its text is a sentence for the user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadName(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one_name() {
        let key = UserName::parse("Zoë").unwrap().key();
        for spelling in ["zoë", " ZOË ", "Zoe\u{308}", "ＺＯë"] {
            assert_eq!(LoginName::parse(spelling).key(), key, "{spelling}");
        }
        let key = EmailAddress::parse("Alice@Example.COM").unwrap().key();
        assert_eq!(LoginName::parse("alice@example.com ").key(), key);
    }

    #[test]
    fn names_that_cannot_be_names_are_refused_with_a_reason() {
        for unseen in ["victim\u{3164}", "\u{115f}\u{1160}", "al\u{200b}ice", "a\u{202e}b"] {
            assert!(UserName::parse(unseen).is_err(), "{unseen:?}");
            assert!(EmailAddress::parse(&format!("{unseen}@example.com")).is_err(), "{unseen:?}");
        }
        assert!(UserName::parse("01a2091e-b291-7c8e-8fe0-2f2c41a8826d").is_err());
        for bad in ["", "   ", "a@b", "a  b", "a\nb", "<script>", "...", &"x".repeat(65), "a\0b"] {
            assert!(UserName::parse(bad).is_err(), "{bad:?}");
        }
        // One character of it is 18 in the form that is compared.
        assert!(UserName::parse(&"\u{fdfa}".repeat(60)).is_err());
        for good in ["alice", "Zoë O'Hara-Smith", "山田", "a_b.c", "x"] {
            assert!(UserName::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_addresses_are_refused() {
        for bad in
            ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@.b", "a@b.", "a@b..c", "<a@b>", "a@b,c@d", "a\r\n@b"]
        {
            assert!(EmailAddress::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a@b", "first.last+tag@example.co.uk", "o'hara@example.com"] {
            assert!(EmailAddress::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn whatever_is_typed_is_bounded() {
        assert!(LoginName::parse(&"ß".repeat(10_000)).key().len() <= NAME_BYTES);
    }
}
