//! What applications are told of a user.

use std::collections::BTreeSet;

use kerria_core::{EmailAddress, StoreError, UserId, UserName};

use crate::app::App;

/// What applications are told of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Who it is.
    pub user: UserId,
    /// The name to sign in with.
    pub name: Option<UserName>,
    /// The e-mail address to sign in with.
    pub email: Option<EmailAddress>,
    /// The groups that an operator has put the user in.
    pub groups: BTreeSet<String>,
}

impl Profile {
    /// What to call the user: the name, or else the e-mail address.
    #[must_use]
    pub fn display_name(&self) -> &str {
        match (&self.name, &self.email) {
            (Some(name), _) => name.as_str(),
            (None, Some(email)) => email.as_str(),
            (None, None) => "",
        }
    }

    #[cfg(test)]
    pub(super) fn of_test(name: &str, groups: &[&str]) -> Self {
        let entropy = kerria::SystemEntropy;
        Self {
            user: UserId::new(kerria_core::Timestamp::from_millis(1_800_000_000_000), &entropy),
            name: UserName::parse(name).ok(),
            email: None,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }
    }
}

/// The profile of a user; `None` if there is no such user any more.
///
/// # Errors
/// If the store fails.
pub async fn profile_of(app: &App, user: UserId) -> Result<Option<std::sync::Arc<Profile>>, StoreError> {
    Ok(app.store.user(user).await?.map(|user| {
        std::sync::Arc::new(Profile {
            user: user.id,
            name: user.name,
            email: user.email,
            groups: BTreeSet::new(),
        })
    }))
}
