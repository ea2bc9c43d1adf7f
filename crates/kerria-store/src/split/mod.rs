//! The store whose directory is in an SQL database, and whose sessions are in Redis.
//!
//! The directory keeps users and what they sign in with, clients, signing keys and the audit log. Redis keeps sessions with their
//! data and tokens, the revocation log, the ledger of the checkers, and the doors. No transaction spans both. Two rules
//! take its place:
//!
//! **What the directory decides about sessions is an errand.** "The password is changed" and "the sessions end" are one thing: the step
//! that changes the password leaves an [errand](crate::errand) in the same transaction. After the commit it is run in Redis, which
//! answers when no checker accepts any more what has ended; then its row is removed, and only then the caller is answered.
//! Should the process die in between, or Redis not answer, any process runs it later: at its start before it serves, and once
//! a second. Redis runs an errand once, however often it is asked to.
//!
//! **A sign-in looks twice.** It looks at the credentials in the directory, opens the session in Redis, and looks
//! again in the transaction that notes the sign-in. Either this sees that the credentials have changed meanwhile: then the session
//! is ended, and was never given to anybody. Or the change is committed after it. Then its errand is run after
//! the session was opened, and ends it. What was opened with the new credentials is spared by an errand
//! that is older: before it opens anything, a sign-in runs the errands that it finds.
//!
//! Errands that concern one user are run in the order in which they were decided: their numbers are given in transactions
//! that hold the user, and whoever runs one has run those before it.

mod accounts;
mod lines;
mod outbox;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_trait::async_trait;
use kerria_core::{
    Lease, LogNumber, Timestamp, UserId,
    audit::AuditEntry,
    lease::RollCall,
    store::{Doors, Follower, InstallationKeys, Leases, Store, StoreError},
    throttle::{Admission, Door},
};
use tokio::task::JoinHandle;
use tracing::info;

#[cfg(feature = "postgres")]
use crate::{ConnectError, PostgresOptions, PostgresStore, postgres::Postgres};
use crate::{
    ExaminedSessions, Node, OpenError, RedisError, RedisOptions, SqliteStore,
    observer::Observer,
    redis::RedisSessions,
    sql::{Driver, Result, SqlStore},
    sqlite::Sqlite,
};
use lines::Lines;

/// The store whose directory is in an SQL database, and whose sessions are in Redis. Needs a Tokio runtime.
pub struct SplitStore<D: Driver> {
    shared: Arc<Shared<D>>,
    outbox: Mutex<Option<JoinHandle<()>>>,
}

/// What the background works with, too.
struct Shared<D> {
    directory: SqlStore<D>,
    sessions: RedisSessions,
    lines: Lines,
}

/// Why the store cannot be opened. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The file of the directory.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The database of the directory.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Database(#[from] ConnectError),
    /// Redis.
    #[error(transparent)]
    Sessions(#[from] RedisError),
    /// What was left to do could not be done.
    #[error("what the directory has decided about sessions cannot be done in Redis: {0}")]
    Errands(#[source] StoreError),
}

/// Looks at the Redis that keeps sessions, or is to keep them, and changes nothing. Others may be using it.
///
/// # Errors
/// What is in the way of using it, in words for the operator.
pub async fn examine_sessions(redis: RedisOptions) -> Result<ExaminedSessions, RedisError> {
    RedisSessions::examine(redis).await
}

impl SplitStore<Sqlite> {
    /// Opens the directory in this file, and connects to Redis as `node`. No other process can use the file; `now` is when.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn on_sqlite(
        path: &Path,
        redis: RedisOptions,
        node: Node,
        observer: Arc<dyn Observer>,
        now: Timestamp,
    ) -> Result<Self, SplitError> {
        let directory = SqliteStore::open_directory(path, Arc::clone(&observer))?;
        Self::open(directory, redis, node, observer, now).await
    }
}

#[cfg(feature = "postgres")]
impl SplitStore<Postgres> {
    /// Connects to the directory in this database and to Redis, as `node`. Other processes may use both; `now` is when.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn on_postgres(
        database: PostgresOptions,
        redis: RedisOptions,
        node: Node,
        observer: Arc<dyn Observer>,
        now: Timestamp,
    ) -> Result<Self, SplitError> {
        let directory = PostgresStore::connect_directory(database, Arc::clone(&observer)).await?;
        Self::open(directory, redis, node, observer, now).await
    }
}

impl<D: Driver> SplitStore<D> {
    async fn open(
        directory: SqlStore<D>,
        redis: RedisOptions,
        node: Node,
        observer: Arc<dyn Observer>,
        now: Timestamp,
    ) -> Result<Self, SplitError> {
        let sessions = RedisSessions::connect(redis, node, observer).await?;
        let was_elsewhere = directory.begin_elsewhere(now).await.map_err(SplitError::Errands)?;
        if !was_elsewhere {
            info!("sessions are kept in Redis from now on: those from before have ended");
        }
        let shared = Arc::new(Shared { directory, sessions, lines: Lines::default() });
        shared.run_all_errands().await.map_err(SplitError::Errands)?;
        let outbox = tokio::spawn(outbox::run_what_is_left(Arc::downgrade(&shared)));
        Ok(Self { shared, outbox: Mutex::new(Some(outbox)) })
    }

    fn directory(&self) -> &SqlStore<D> {
        &self.shared.directory
    }

    fn sessions(&self) -> &RedisSessions {
        &self.shared.sessions
    }

    fn take_outbox(&self) -> Option<JoinHandle<()>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<D: Driver> Drop for SplitStore<D> {
    fn drop(&mut self) {
        if let Some(outbox) = self.take_outbox() {
            outbox.abort();
        }
    }
}

#[async_trait]
impl<D: Driver> Store for SplitStore<D> {
    async fn installation_keys(&self, fresh: InstallationKeys) -> Result<InstallationKeys> {
        self.directory().installation_keys(fresh).await
    }

    async fn record(&self, entry: &AuditEntry) -> Result<()> {
        self.directory().record(entry).await
    }

    async fn audit(&self, user: Option<UserId>, limit: u32) -> Result<Vec<AuditEntry>> {
        self.directory().audit(user, limit).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.directory().trim_audit(before, limit).await
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber> {
        self.sessions().follow(follower).await
    }

    fn lease(&self) -> Lease {
        self.sessions().lease()
    }

    async fn catch_up(&self) -> Result<()> {
        self.sessions().catch_up().await
    }

    async fn roll_call(&self) -> Result<Option<RollCall>> {
        self.sessions().roll_call().await.map(Some)
    }

    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        Some(self.sessions().ledger())
    }

    /// An end that the directory has decided may not have come to Redis yet.
    async fn until_acknowledged(&self) -> Result<()> {
        self.shared.run_all_errands().await?;
        self.sessions().until_acknowledged().await
    }

    async fn leave(&self) -> Result<()> {
        if let Some(outbox) = self.take_outbox() {
            outbox.abort();
            // It was told to stop, and says so.
            drop(outbox.await);
        }
        self.shared.write_late_lines().await?;
        self.sessions().leave().await
    }

    async fn check_health(&self) -> Result<()> {
        self.directory().check_health().await?;
        self.sessions().check_health().await
    }
}

#[async_trait]
impl<D: Driver> Doors for SplitStore<D> {
    async fn knock(&self, doors: Vec<Door>, now: Timestamp) -> Result<Admission> {
        self.sessions().knock(doors, now).await
    }

    async fn take_back(&self, doors: Vec<Door>) -> Result<()> {
        self.sessions().take_back(doors).await
    }

    async fn reset(&self, doors: Vec<Door>) -> Result<()> {
        self.sessions().reset(doors).await
    }

    /// Doors there, invitations here.
    async fn sweep_doors(&self, now: Timestamp, limit: u32) -> Result<u64> {
        let doors = self.sessions().sweep_doors(now, limit).await?;
        let left = u32::try_from(u64::from(limit).saturating_sub(doors)).unwrap_or(0);
        Ok(doors + self.directory().sweep_doors(now, left).await?)
    }
}

impl<D: Driver> fmt::Debug for SplitStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SplitStore({:?})", self.directory())
    }
}
