//! The storage contract: what a store must do, as steps.
//!
//! One method is one atomic step, named for what happens. A step that answers has been committed, durably; a step
//! that fails has changed nothing, or cannot say so, and then its caller must not claim success. Every step that ends
//! sessions, or changes what a checker may have read of them, writes its entries to the revocation log in the same
//! transaction, with the next numbers.
//!
//! The rules that no signature can express are sentences in the conformance suite of `kerria-store`, which runs on
//! every store.

mod accounts;
mod doors;
mod leases;
mod session_data;
mod sessions;
mod source;
mod tokens;

use std::{
    error::Error,
    sync::{Arc, Weak},
};

use async_trait::async_trait;

pub use accounts::{
    Accounts, Credentials, Grouping, Invitation, KNOWN_DEVICES, NewUser, PasswordChange, PasswordChanged,
    Removal, Renaming, UserCreation,
};
pub use doors::Doors;
pub use leases::Leases;
pub use session_data::{DataOwner, DataWrite, Overtaken, SessionData};
pub use sessions::{
    Acknowledged, AtLimit, CarryOver, Found, LogPage, NewSession, Opened, Renew, Renewal, Revoked,
    SessionDetails, SessionLimit, SessionRotation, Sessions, SignIn, Successor, TokenUse, Wait,
};
pub use source::Source;
pub use tokens::{Clients, Reference, Refresh, Rotation, SigningKeys, Tokens};

use crate::{
    audit::AuditEntry,
    id::UserId,
    lease::{Lease, RollCall},
    revocation::{LogEntry, LogNumber},
    time::Timestamp,
};

/// Everything that Kerria keeps.
#[async_trait]
pub trait Store: Sessions + SessionData + Accounts + Doors + Tokens + Clients + SigningKeys {
    /// The keys of this installation. The first call keeps `fresh` and returns it; every later one, from any process,
    /// returns what the first one kept.
    async fn installation_keys(&self, fresh: InstallationKeys) -> Result<InstallationKeys, StoreError>;

    /// Adds a line to the audit log, for what is not already part of another step.
    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError>;

    /// The latest `limit` lines of the audit log, newest first; only those about `user`, if one is given.
    async fn audit(&self, user: Option<UserId>, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Removes up to `limit` lines of the audit log that were written before `before`, the oldest first, and returns how
    /// many.
    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Lets `follower` apply every entry of the revocation log that is written from now on, and returns the number of
    /// the last one before. The follower is called in the order of the numbers, after the commit, and before the step
    /// that wrote the entry is answered. The store does not keep the follower alive: one that is gone is no longer
    /// called.
    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError>;

    /// The lease under which what followers remember may be relied on. Does not run out if no other process can write to this
    /// store.
    fn lease(&self) -> Lease {
        Lease::unlimited()
    }

    /// Lets the followers apply all that was committed before. For those who have to answer from memory, and have no lease.
    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The processes that share this store. `None` if no other process can.
    async fn roll_call(&self) -> Result<Option<RollCall>, StoreError> {
        Ok(None)
    }

    /// The ledger of the checkers, for checkers in other processes that follow the log through this one. `None` if this store
    /// does not wait for any.
    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        None
    }

    /// Waits until nobody accepts any more what had ended before, whoever ended it. For those who find that there is nothing left
    /// to end, and answer that it is ended: whoever ended it may be waiting still.
    async fn until_acknowledged(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Gives up the lease for good, so that nobody waits for it to run out. The last thing that is asked of a store.
    async fn leave(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether the store answers and can be written to.
    async fn check_health(&self) -> Result<(), StoreError>;
}

/// One who applies the entries of the revocation log as they are committed.
pub trait Follower: Send + Sync {
    /// Applies `entries`, which follow each other. Must be quick, and must not wait for the store.
    fn apply(&self, entries: &[LogEntry]);

    /// Forgets all that it remembers of sessions and of the log, and goes on from the entry after `head`: entries were missed,
    /// or lost. Must be quick, too.
    fn start_over(&self, head: LogNumber);
}

/// Keys that belong to an installation, shared by all its processes.
#[derive(Clone, PartialEq, Eq)]
pub struct InstallationKeys {
    /// For the tag of tokens.
    pub token: [u8; 16],
    /// For the tokens of forms.
    pub form: [u8; 32],
}

impl std::fmt::Debug for InstallationKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstallationKeys(..)")
    }
}

/// The store is broken, or did not answer. There is nothing to decide; the caller can only report it.
#[derive(Debug, thiserror::Error)]
#[error("{trouble}")]
pub struct StoreError {
    /// What kind of trouble it is.
    pub trouble: Trouble,
    /// What the engine said.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// What is wrong with a store, in words for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It did not answer in time.
    #[error("the store does not answer")]
    Unavailable,
    /// So much work waits for it that it was not even asked.
    #[error("too much work waits for the store")]
    Busy,
    /// There is no space left.
    #[error("the store's disk is full: free some space; nothing was changed")]
    Full,
    /// It cannot be written to.
    #[error("the store cannot be written to: check the owner and the permissions of its files and folder")]
    ReadOnly,
    /// What it holds cannot be read.
    #[error("the store is damaged: run `kerria db check`, and restore a backup if it finds damage")]
    Damaged,
    /// Anything else.
    #[error("the store failed")]
    Failed,
}

impl StoreError {
    /// An error of this kind, caused by `source`.
    pub fn new(trouble: Trouble, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { trouble, source: Some(source.into()) }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, source: None }
    }
}
