//! The store in an SQLite file, or in memory.
//!
//! All writes go through one thread, which commits what is waiting together and then announces it; reads go through a
//! few threads with connections of their own. Callers wait for neither longer than [`DEADLINE`].

mod accounts;
mod audit;
mod backup;
mod clients;
mod doors;
mod ending;
mod errors;
mod keys;
mod log;
mod maintenance;
mod migrations;
mod opening;
mod queue;
mod readers;
mod rotation;
mod rows;
mod session_data;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use kerria_core::{
    LogNumber, Timestamp, UserId,
    audit::AuditEntry,
    store::{Follower, InstallationKeys, Store, StoreError, Trouble},
};
use rusqlite::Connection;
use tokio::{sync::oneshot, time::timeout};

pub use backup::{BackupError, backup};
pub use errors::OpenError;
pub use maintenance::{Checked, check};
pub use migrations::{Migrated, migrate, pending_migrations};

use crate::observer::{Access, Began, Nobody, Observer};
use opening::Lock;
use readers::Readers;
use rows::Ask;
use writer::{Step, Writer};

/// How long a caller waits for an answer. A step whose caller gave up may still be committed.
const DEADLINE: Duration = Duration::from_secs(5);

/// The store in an SQLite file, or in memory.
///
/// Needs a Tokio runtime with timers. Dropping it waits for the steps that were sent, and closes the file.
pub struct SqliteStore {
    // In this order: the readers close before the writer, which then tidies up the file, and the lock goes last.
    readers: Option<Readers>,
    writer: Writer,
    observer: Arc<dyn Observer>,
    _lock: Option<Lock>,
}

impl SqliteStore {
    /// Opens the store in this file, creates it if there is none, and brings it up to date.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_observed(path, Arc::new(Nobody))
    }

    /// The same, with somebody who measures.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub fn open_observed(path: &Path, observer: Arc<dyn Observer>) -> Result<Self, OpenError> {
        let path = opening::create(path)?;
        let lock = Lock::take(&path)?;
        let connection = opening::connect_for_writing(&path)?;
        migrations::run(&connection, &path)?;
        let writer = Writer::start(connection, Arc::clone(&observer))
            .map_err(|source| OpenError::io(&path, source))?;
        let readers = Readers::start(&path)?;
        Ok(Self { readers: Some(readers), writer, observer, _lock: Some(lock) })
    }

    /// An empty store in memory. Everything in it is gone when it is dropped.
    ///
    /// # Errors
    /// If SQLite cannot be used at all.
    pub fn open_in_memory() -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let connection = opening::connect_in_memory()?;
        migrations::run(&connection, path)?;
        let observer: Arc<dyn Observer> = Arc::new(Nobody);
        let writer =
            Writer::start(connection, Arc::clone(&observer)).map_err(|source| OpenError::io(path, source))?;
        Ok(Self { readers: None, writer, observer, _lock: None })
    }

    /// Runs a step in a transaction, and answers when it is committed.
    async fn write<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Step<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let began = Began::now();
        let answer = in_time(self.writer.send(step)?).await;
        self.observer.answered(Access::Write, began.elapsed());
        answer
    }

    /// Asks one question. A query of several statements would see several states; use one.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.readers {
            Some(readers) => {
                let began = Began::now();
                let answer = in_time(readers.send(query)?).await;
                self.observer.answered(Access::Read, began.elapsed());
                answer
            }
            // What is in memory has one connection. Between the steps of a batch the answer is as good: it is given
            // after the commit.
            None => self.write(move |step| query(step)).await,
        }
    }
}

/// The answer, if it comes in time. A thread that has stopped answers nothing.
async fn in_time<T>(answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(stopped)) => Err(StoreError::new(Trouble::Unavailable, stopped)),
        Err(elapsed) => Err(StoreError::new(Trouble::Unavailable, elapsed)),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn installation_keys(&self, fresh: InstallationKeys) -> Result<InstallationKeys, StoreError> {
        self.write(move |step| {
            step.change(
                "INSERT INTO installation (one, token_key, form_key) VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING",
                (fresh.token, fresh.form),
            )?;
            step.the("SELECT token_key, form_key FROM installation", (), |row| {
                Ok(InstallationKeys { token: row.get(0)?, form: row.get(1)? })
            })
        })
        .await
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let entry = entry.clone();
        self.write(move |step| audit::record(step, &entry)).await
    }

    async fn audit(&self, user: Option<UserId>, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |connection| audit::latest(connection, user, limit)).await
    }

    async fn trim_audit(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(move |step| audit::trim(step, before, limit)).await
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        in_time(self.writer.follow(follower)?).await
    }

    async fn check_health(&self) -> Result<(), StoreError> {
        // It writes what was there already, through to the disk: nothing less tells whether there is space.
        self.write(|step| step.change("UPDATE log_counter SET number = number", ())).await?;
        self.read(log::last_number).await?;
        Ok(())
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore(..)")
    }
}
