//! The store in a PostgreSQL database, which many processes share.
//!
//! A few threads talk to the server, each in a connection of its own. Steps run in parallel and hold what they are about
//! (see `sql/hold.rs`); nothing waits for the server longer than its callers do.

mod connection;
mod errors;
mod feed;
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

use kerria_core::{
    LogNumber,
    store::{Follower, StoreError, Trouble},
};
use tokio::sync::{Notify, oneshot};

pub use errors::ConnectError;
pub use options::PostgresOptions;

use crate::{
    observer::Observer,
    queue::{Asked, Job, Query},
    sql::{Driver, Reach, SqlStore},
};
use connection::Connection;
use feed::{Feed, Listener};
use options::Server;
use workers::{Task, Workers, runtime};

/// The store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// A PostgreSQL database.
pub struct Postgres {
    workers: Workers,
    _listener: Listener,
}

impl PostgresStore {
    /// Connects to the database, and brings it up to date.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn connect(
        options: PostgresOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ConnectError> {
        let servers: Arc<[Server]> = options.servers()?.into();
        migrate(Arc::clone(&servers), options.database()).await?;
        let feed = Arc::new(Feed::new(Arc::clone(&observer)));
        let workers =
            Workers::start(options.most_connections(), &servers, &feed).map_err(ConnectError::Thread)?;
        let listener = Listener::start(servers, feed).map_err(ConnectError::Thread)?;
        Ok(Self::new(Postgres { workers, _listener: listener }, observer))
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

impl Driver for Postgres {
    const NAME: &'static str = "PostgresStore";

    fn write(&self, reach: Reach, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.workers.send(Task::Write(reach, job))
    }

    fn read(&self, query: Box<dyn Query>) -> Result<(), StoreError> {
        self.workers.send(Task::Read(query))
    }

    fn follow(&self, asked: Asked<Weak<dyn Follower>, LogNumber>) -> Result<(), StoreError> {
        self.workers.send(Task::Follow(asked))
    }
}
