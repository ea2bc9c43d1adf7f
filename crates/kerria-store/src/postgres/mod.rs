//! The store in a PostgreSQL database, which many processes share.
//!
//! A few threads talk to the server, each in a connection of its own. Steps run in parallel and hold what they are about
//! (see `sql/hold.rs`); nothing waits for the server longer than its callers do.

mod connection;
mod errors;
mod ledger;
mod listener;
mod locks;
mod migrations;
mod options;
#[cfg(test)]
mod tests;
mod values;
mod waiting;
mod workers;

use std::{
    rc::Rc,
    sync::{Arc, Weak},
    thread,
};

use async_trait::async_trait;
use kerria_core::{
    Lease, LeaseTerms, LogNumber,
    store::{Follower, StoreError, Trouble},
};
use tokio::sync::{Notify, oneshot};

pub use errors::ConnectError;
pub use options::PostgresOptions;

use crate::{
    feed::{Feed, Node},
    observer::Observer,
    queue::{Job, Query},
    sql::{Driver, Reach, SqlStore},
};
use connection::Connection;
use ledger::PostgresLedger;
use listener::Listener;
use options::Server;
use workers::{Task, Workers, runtime};

/// The store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// A PostgreSQL database.
pub struct Postgres {
    workers: Workers,
    feed: Feed,
    _listener: Listener,
}

impl PostgresStore {
    /// Connects to the database as `node`, brings it up to date, and begins to renew a lease. Needs a Tokio runtime.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn connect(
        options: PostgresOptions,
        node: Node,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ConnectError> {
        let servers: Arc<[Server]> = options.servers()?.into();
        migrate(Arc::clone(&servers), options.database()).await?;
        let workers = Workers::start("kerria-postgres", options.most_connections(), &servers)
            .map_err(ConnectError::Thread)?;
        let ledger = Arc::new(PostgresLedger::start(&servers).map_err(ConnectError::Thread)?);
        let feed = Feed::start(ledger, node, LeaseTerms::default(), Arc::clone(&observer));
        let listener = Listener::start(servers, feed.waker()).map_err(ConnectError::Thread)?;
        Ok(Self::new(Postgres { workers, feed, _listener: listener }, observer))
    }
}

/// On a thread of its own, like everything that talks to the server.
async fn migrate(servers: Arc<[Server]>, database: String) -> Result<(), ConnectError> {
    let (reply, answer) = oneshot::channel();
    let migrating = database.clone();
    thread::Builder::new()
        .name("kerria-postgres-schema".to_owned())
        .spawn(move || {
            // Whoever does not wait any more does not want to know.
            let _ = reply.send(migrate_now(&servers, &migrating));
        })
        .map_err(ConnectError::Thread)?;
    answer.await.unwrap_or_else(|stopped| {
        Err(ConnectError::Server { database, source: StoreError::new(Trouble::Failed, stopped) })
    })
}

fn migrate_now(servers: &[Server], database: &str) -> Result<(), ConnectError> {
    let runtime = Rc::new(runtime().map_err(ConnectError::Thread)?);
    let connection = Connection::open(&runtime, servers, &Arc::new(Notify::new()))
        .map_err(|source| ConnectError::Server { database: database.to_owned(), source })?;
    migrations::run(&connection, database)?;
    connection.close();
    Ok(())
}

#[async_trait]
impl Driver for Postgres {
    const NAME: &'static str = "PostgresStore";

    fn write(&self, reach: Reach, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.workers.send(Task::Write(reach, job))
    }

    fn read(&self, query: Box<dyn Query>) -> Result<(), StoreError> {
        self.workers.send(Task::Read(query))
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.feed.follow(follower).await
    }

    async fn acknowledged(&self, number: LogNumber) {
        self.feed.acknowledged(number).await;
    }

    fn lease(&self) -> Lease {
        self.feed.lease()
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.feed.catch_up().await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.feed.leave().await
    }
}
