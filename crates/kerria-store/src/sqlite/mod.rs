//! The store in an SQLite file, or in memory.
//!
//! All writes go through one thread, which commits what is waiting together and then announces it; reads go through a
//! few threads with connections of their own.

mod ask;
mod backup;
mod checkers;
mod errors;
mod maintenance;
mod migrations;
mod opening;
mod readers;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use kerria_core::{
    Lease, LogNumber,
    lease::RollCall,
    store::{Acknowledged, Follower, Leases, StoreError, Trouble, Wait},
};
use rusqlite::Connection;

pub use backup::{BackupError, backup};
pub use errors::OpenError;
pub use maintenance::{Checked, check, groups_in_use};
pub use migrations::{Migrated, keep_sessions_here, migrate, pending_migrations};

use crate::{
    data_cache::DataCache,
    feed::{Node, moment},
    observer::{Nobody, Observer},
    queue::{Asked, Job, Query, Waiting},
    sql::{Driver, Reach, SqlStore, Step, in_time},
};
#[cfg(feature = "postgres")]
pub(crate) use migrations::{Mark, attempt_in, mark, mark_as_being_moved, mark_of};
#[cfg(feature = "postgres")]
pub(crate) use opening::WholeFile;

use checkers::{Checkers, MemoryLedger};
use opening::Lock;
use readers::Readers;
use writer::Writer;

/// The store in an SQLite file, or in memory.
pub type SqliteStore = SqlStore<Sqlite>;

/// An SQLite file, or a database in memory.
pub struct Sqlite {
    /// In other processes, if there may be any.
    checkers: Option<Checkers>,
    // In this order: the readers close before the writer, which then tidies up the file, and the lock goes last.
    readers: Option<Readers>,
    writer: Writer,
    data: Arc<DataCache>,
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
        Self::open_with(path, observer, |connection, path| {
            let elsewhere = "SELECT EXISTS (SELECT 1 FROM sessions_elsewhere)";
            match connection.query_row(elsewhere, (), |row| row.get(0)) {
                Ok(false) => Ok(()),
                Ok(true) => Err(OpenError::Elsewhere { path: path.to_owned() }),
                Err(source) => Err(OpenError::sqlite(path, source)),
            }
        })
    }

    /// The same, for somebody who keeps the sessions elsewhere.
    pub(crate) fn open_directory(path: &Path, observer: Arc<dyn Observer>) -> Result<Self, OpenError> {
        Self::open_with(path, observer, |_, _| Ok(()))
    }

    fn open_with(
        path: &Path,
        observer: Arc<dyn Observer>,
        judge: impl FnOnce(&Connection, &Path) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let path = opening::create(path)?;
        let lock = Lock::take(&path)?;
        let connection = opening::connect_for_writing(&path)?;
        migrations::run(&connection, &path)?;
        migrations::mark_as_used(&connection, &path)?;
        judge(&connection, &path)?;
        let data = Arc::new(DataCache::default());
        let writer = Writer::start(connection, Arc::clone(&data), Arc::clone(&observer))
            .map_err(|source| OpenError::io(&path, source))?;
        let readers = Some(Readers::start(&path)?);
        Ok(Self::new(Sqlite { checkers: None, readers, writer, data, _lock: Some(lock) }, observer))
    }

    /// The same, as `node`, for a process through which checkers in other processes follow the log: every end waits for them.
    /// Needs a Tokio runtime.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn open_for_checkers(
        path: &Path,
        node: Node,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        let mut store = Self::open_observed(path, Arc::clone(&observer))?;
        let ledger = MemoryLedger::new(node);
        let head = store
            .driver
            .follow(ledger.follower())
            .await
            .map_err(|error| OpenError::unreadable(path, error))?;
        ledger.start_over(head);
        store.driver.checkers = Some(Checkers::start(ledger, observer));
        Ok(store)
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
        let data = Arc::new(DataCache::default());
        let writer = Writer::start(connection, Arc::clone(&data), Arc::clone(&observer))
            .map_err(|source| OpenError::io(path, source))?;
        Ok(Self::new(Sqlite { checkers: None, readers: None, writer, data, _lock: None }, observer))
    }
}

#[async_trait]
impl Driver for Sqlite {
    const NAME: &'static str = "SqliteStore";

    /// There is one writer: whatever a step reaches for, it is alone.
    fn write(&self, _: Reach, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.writer.send(job)
    }

    fn read(&self, query: Box<dyn Query>) -> Result<(), StoreError> {
        match &self.readers {
            Some(readers) => readers.send(query),
            // What is in memory has one connection. Between the steps of a batch the answer is as good: it is given
            // after the commit.
            None => self.writer.send(Box::new(Between(query))),
        }
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        let (asked, answer) = Asked::new(follower);
        self.writer.follow(asked)?;
        in_time(answer).await
    }

    /// The writer has let all followers apply it before it answered. Who else answers from memory is in the ledger.
    async fn waited(&self, number: LogNumber, wait: Wait) -> Option<Acknowledged> {
        match (wait, &self.checkers) {
            (Wait::Store, _) => None,
            (Wait::Checkers, Some(checkers)) => Some(checkers.acknowledged(number).await),
            (Wait::Checkers, None) => Some(Acknowledged::default()),
        }
    }

    fn lease(&self) -> Lease {
        if self.checkers.is_some() { Lease::lasting(moment) } else { Lease::unlimited() }
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn roll_call(&self) -> Result<Option<RollCall>, StoreError> {
        match &self.checkers {
            Some(checkers) => checkers.roll_call().await.map(Some),
            None => Ok(None),
        }
    }

    async fn leave(&self) -> Result<(), StoreError> {
        if let Some(checkers) = &self.checkers {
            checkers.until_leases_are_over().await;
        }
        Ok(())
    }

    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        self.checkers.as_ref().map(Checkers::ledger)
    }

    /// The file is locked: whatever is written in it goes through the writer.
    fn data_cache(&self) -> Option<&DataCache> {
        Some(&self.data)
    }
}

/// A question that is asked between steps.
struct Between(Box<dyn Query>);

impl Waiting for Between {
    fn is_awaited(&self) -> bool {
        self.0.is_awaited()
    }

    fn answer(self: Box<Self>) {
        self.0.answer();
    }

    fn fail(self: Box<Self>, error: StoreError) {
        self.0.fail(error);
    }
}

impl Job for Between {
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), Trouble> {
        self.0.ask(&**step)
    }
}
