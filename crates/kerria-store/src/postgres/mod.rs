//! The store in a PostgreSQL database, which many processes share.
//!
//! A few threads talk to the server, each in a connection of its own. Steps run in parallel and hold what they are about
//! (see `sql/hold.rs`); nothing waits for the server longer than its callers do.

mod connection;
mod errors;
mod ledger;
mod listener;
mod locks;
mod maintenance;
mod migrations;
mod options;
#[cfg(test)]
mod tests;
mod values;
mod waiting;
mod workers;

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use kerria_core::{
    Lease, LeaseTerms, LogNumber,
    lease::RollCall,
    store::{Acknowledged, Follower, Leases, StoreError, Trouble, Wait},
};

pub(crate) use connection::Connection as PostgresConnection;
pub use errors::{ConnectError, Refusal};
pub use maintenance::Examined;
pub(crate) use maintenance::{on_a_connection, prepare_for_a_move};
pub(crate) use migrations::{BEGIN_TO_MOVE, is_being_moved_into};
pub use options::PostgresOptions;

use crate::{
    Migrated,
    feed::{Feed, Node, moment},
    last_written::LastWritten,
    observer::Observer,
    queue::{Job, Query},
    sql::{Driver, Reach, SqlStore},
};
use ledger::PostgresLedger;
use listener::Listener;
use options::Server;
use workers::{Task, Workers};

/// The store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// A PostgreSQL database.
pub struct Postgres {
    workers: Workers,
    /// `None` if sessions, their log and the ledger are kept elsewhere.
    following: Option<Following>,
    last_written: LastWritten,
}

/// What keeps the followers of this process up to date.
struct Following {
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
        maintenance::migrate_for_sessions(&options).await?;
        let servers: Arc<[Server]> = options.servers()?.into();
        let workers = Workers::start("kerria-postgres", options.most_connections(), &servers)
            .map_err(ConnectError::Thread)?;
        let ledger = || PostgresLedger::start(&servers).map(Arc::new).map_err(ConnectError::Thread);
        let (own, for_others) = (ledger()?, ledger()?);
        let feed = Feed::start(own, for_others, node, LeaseTerms::default(), Arc::clone(&observer));
        let listener = Listener::start(servers, feed.waker()).map_err(ConnectError::Thread)?;
        let following = Some(Following { feed, _listener: listener });
        Ok(Self::new(Postgres { workers, following, last_written: LastWritten::default() }, observer))
    }

    /// Connects to the database for somebody who keeps the sessions elsewhere: without a lease, and with followers that hear
    /// nothing.
    pub(crate) async fn connect_directory(
        options: PostgresOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ConnectError> {
        maintenance::migrate(&options).await?;
        let servers: Arc<[Server]> = options.servers()?.into();
        let workers = Workers::start("kerria-postgres", options.most_connections(), &servers)
            .map_err(ConnectError::Thread)?;
        Ok(Self::new(Postgres { workers, following: None, last_written: LastWritten::default() }, observer))
    }

    /// Brings the database up to date, and does nothing else. Other processes may be using it.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn migrate(options: PostgresOptions) -> Result<Migrated, ConnectError> {
        maintenance::migrate(&options).await
    }

    /// Forgets that the sessions are kept elsewhere: from now on they are kept in the database, and nobody is signed in. No other
    /// process may be using it.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn keep_sessions_here(options: PostgresOptions) -> Result<(), ConnectError> {
        maintenance::keep_sessions_here(&options).await
    }

    /// Looks at the server and the database, and changes nothing. Other processes may be using it.
    ///
    /// # Errors
    /// What is in the way of using it, in words for the operator.
    pub async fn examine(options: PostgresOptions) -> Result<Examined, ConnectError> {
        maintenance::examine(&options).await
    }
}

impl Postgres {
    fn feed(&self) -> Result<&Feed, StoreError> {
        let nowhere = || StoreError::new(Trouble::Failed, "the revocation log is kept elsewhere");
        self.following.as_ref().map(|following| &following.feed).ok_or_else(nowhere)
    }
}

#[async_trait]
impl Driver for Postgres {
    const NAME: &'static str = "PostgresStore";
    const PUTS_BY_ONE_STATEMENT: bool = true;

    fn write(&self, reach: Reach, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.workers.send(Task::Write(reach, job))
    }

    fn read(&self, query: Box<dyn Query>) -> Result<(), StoreError> {
        self.workers.send(Task::Read(query))
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.feed()?.follow(follower).await
    }

    async fn waited(&self, number: LogNumber, wait: Wait) -> Option<Acknowledged> {
        match self.feed() {
            Ok(feed) => feed.waited(number, wait).await,
            Err(_) => None,
        }
    }

    /// Whoever keeps sessions elsewhere has the lease there; this one never holds.
    fn lease(&self) -> Lease {
        self.feed().map_or_else(|_| Lease::limited(moment).0, Feed::lease)
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.feed()?.catch_up().await
    }

    async fn roll_call(&self) -> Result<Option<RollCall>, StoreError> {
        self.feed()?.roll_call().await.map(Some)
    }

    async fn leave(&self) -> Result<(), StoreError> {
        match self.feed() {
            Ok(feed) => feed.leave().await,
            Err(_) => Ok(()),
        }
    }

    fn ledger(&self) -> Option<Arc<dyn Leases>> {
        self.feed().ok().map(Feed::ledger)
    }

    fn last_written(&self) -> Option<&LastWritten> {
        Some(&self.last_written)
    }
}
