use async_trait::async_trait;

use crate::{
    account::{CredentialVersion, EmailAddress, LoginName, PasswordHash, Status, User, UserName},
    device::Device,
    group::Groups,
    id::{SessionId, UserId},
    store::{Found, StoreError},
    time::Timestamp,
    token::TokenHash,
};

/// How many devices are known of one user.
pub const KNOWN_DEVICES: u32 = 32;

/// Users and what they sign in with.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Creates a user and uses up the invitation, if one is given.
    async fn create_user(
        &self,
        user: NewUser,
        invitation: Option<&TokenHash>,
    ) -> Result<UserCreation, StoreError>;

    /// The user.
    async fn user(&self, user: UserId) -> Result<Option<User>, StoreError>;

    /// The user who signs in with this name or e-mail address, disabled ones too.
    async fn user_called(&self, name: &LoginName) -> Result<Option<User>, StoreError>;

    /// Up to `limit` users whose identifiers come after `after`, in their order.
    async fn users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Whether there is any user.
    async fn has_users(&self) -> Result<bool, StoreError>;

    /// What the user has to be verified against.
    async fn credentials(&self, name: &LoginName) -> Result<Option<Credentials>, StoreError>;

    /// The same, for a user who is known already.
    async fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>, StoreError>;

    /// Gives a user another password and ends their sessions, in one step. One session can be kept; it gets a new
    /// token.
    async fn change_password(&self, change: PasswordChange) -> Result<PasswordChanged, StoreError>;

    /// Replaces the hash of an unchanged password by one with other parameters, if it is still `old`.
    async fn rehash_password(
        &self,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError>;

    /// Gives a user this name and this e-mail address. With `by`, only if that token still carries a session of the user:
    /// what was asked for in a session that has ended meanwhile is not done.
    async fn rename(
        &self,
        user: UserId,
        name: Option<UserName>,
        email: Option<EmailAddress>,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Renaming, StoreError>;

    /// Puts a user in the groups of `joined`, and takes them out of those of `left`. What is kept of the user elsewhere is read again.
    async fn change_groups(
        &self,
        user: UserId,
        joined: &Groups,
        left: &Groups,
        now: Timestamp,
    ) -> Result<Grouping, StoreError>;

    /// Enables or disables a user. Disabling ends all their sessions. Answers how many; `None` if there is no such user.
    async fn set_status(
        &self,
        user: UserId,
        status: Status,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError>;

    /// Deletes a user and ends all their sessions. With `by`, only if that token still carries a session of the user.
    async fn delete_user(
        &self,
        user: UserId,
        by: Option<TokenHash>,
        now: Timestamp,
    ) -> Result<Removal, StoreError>;

    /// Keeps an invitation, good for one account.
    async fn invite(
        &self,
        token: &TokenHash,
        invitation: Invitation,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The invitation, if it is good at `now`.
    async fn invitation(&self, token: &TokenHash, now: Timestamp) -> Result<Option<Invitation>, StoreError>;

    /// Withdraws every invitation to create the first account, so that only the newest such link works.
    async fn withdraw_first_account_invitations(&self) -> Result<(), StoreError>;

    /// Remembers that this user has signed in from the device that carries this token. Beyond [`KNOWN_DEVICES`], the one
    /// that was known first is forgotten.
    async fn know_device(&self, user: UserId, device: &TokenHash, now: Timestamp) -> Result<(), StoreError>;

    /// Whether this user has signed in from the device that carries this token.
    async fn knows_device(&self, user: UserId, device: &TokenHash) -> Result<bool, StoreError>;
}

/// A user to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The identifier.
    pub id: UserId,
    /// The name to sign in with.
    pub name: Option<UserName>,
    /// The e-mail address to sign in with.
    pub email: Option<EmailAddress>,
    /// The hash of the password.
    pub password: PasswordHash,
    /// From where it is created, if by a client.
    pub device: Option<Device>,
    /// When.
    pub now: Timestamp,
}

/// What came of creating a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserCreation {
    /// The user exists.
    Created(CredentialVersion),
    /// Somebody else has that name.
    NameTaken,
    /// Somebody else has that e-mail address.
    EmailTaken,
    /// The invitation does not exist, was used, or is over.
    InvitationSpent,
}

/// What a user is verified against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Who it is.
    pub user: UserId,
    /// Whether they may sign in.
    pub status: Status,
    /// The hash of their password.
    pub password: PasswordHash,
    /// The version of all this.
    pub version: CredentialVersion,
}

/// A change of password.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// Whose.
    pub user: UserId,
    /// The version of the credentials that were verified; `None` if an operator sets the password.
    pub version: Option<CredentialVersion>,
    /// The hash of the new password.
    pub password: PasswordHash,
    /// The session that stays, with the hash of its new token.
    pub keep: Option<(SessionId, TokenHash)>,
    /// From where, if from a client.
    pub device: Option<Device>,
    /// When.
    pub now: Timestamp,
}

/// What came of a change of password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordChanged {
    /// It is changed.
    Changed {
        /// How many sessions ended.
        ended: u64,
        /// The session that was kept, as it is now.
        kept: Option<Found>,
    },
    /// The user is gone, the credentials changed since they were verified, or the session that was to be kept has
    /// ended. Nothing was changed.
    Stale,
}

/// What came of renaming a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renaming {
    /// The user is called that now.
    Renamed,
    /// Somebody else has that name.
    NameTaken,
    /// Somebody else has that e-mail address.
    EmailTaken,
    /// There is no such user, or the session that asked has ended.
    Gone,
}

/// What came of putting a user in groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// The user is in these groups now.
    Grouped(Groups),
    /// They would be in more than [`GROUPS`](crate::group::GROUPS). Nothing was changed.
    TooMany,
    /// There is no such user.
    Unknown,
}

/// What came of deleting a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The user is gone.
    Removed {
        /// How many sessions ended.
        ended: u64,
    },
    /// There was no such user, or the session that asked has ended.
    Unknown,
}

/// The right to create one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// When it is over.
    pub expires_at: Timestamp,
    /// Whether it is the link that the first start prints, for the first account.
    pub first_account: bool,
}
