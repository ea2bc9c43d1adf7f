use std::sync::{Arc, Weak};

use async_trait::async_trait;

use crate::{
    account::{Profile, User},
    client::Grant,
    id::{SessionId, UserId},
    lease::Lease,
    revocation::LogNumber,
    store::{Follower, Found, LogPage, SessionRotation, Store, StoreError, TokenUse},
    time::Timestamp,
    token::TokenHash,
};

/// Where a checker learns of sessions and of their ends: a store, or a node that asks its own store for a checker in another
/// process. Each method says what the one of the same name says in the contract of [`Store`].
#[async_trait]
pub trait Source: Send + Sync {
    /// The session that this session token carries.
    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError>;

    /// The session with this handle and, if it is carried in tokens, what it was opened for.
    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError>;

    /// What applications are told of this user.
    async fn profile(&self, user: UserId) -> Result<Option<Profile>, StoreError>;

    /// Notes when sessions were last used.
    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError>;

    /// Takes note that a session token in a cookie was used.
    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError>;

    /// Up to `limit` entries of the log after `number`.
    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage, StoreError>;

    /// Lets `follower` apply every entry of the log from now on, and returns the number of the last one before.
    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError>;

    /// The lease under which what followers remember may be relied on.
    fn lease(&self) -> Lease;

    /// Lets the followers apply all that was committed before.
    async fn catch_up(&self) -> Result<(), StoreError>;
}

#[async_trait]
impl Source for Arc<dyn Store> {
    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError> {
        (**self).find(token).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError> {
        (**self).session(session).await
    }

    async fn profile(&self, user: UserId) -> Result<Option<Profile>, StoreError> {
        Ok((**self).user(user).await?.map(User::into_profile))
    }

    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError> {
        (**self).touch(seen).await
    }

    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError> {
        (**self).rotate(token).await
    }

    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage, StoreError> {
        (**self).log_after(number, limit).await
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        (**self).follow(follower).await
    }

    fn lease(&self) -> Lease {
        (**self).lease()
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        (**self).catch_up().await
    }
}
