//! Sessions in a Redis or Valkey server, which many processes share, beside a directory in SQL.
//!
//! All keys are in one hash slot, so that one script commits a step: an end and its entry in the log are one thing. Decisions are
//! those of every other store, in Rust; a commit holds only if what was decided on is still so (see `step.rs`). Checks ask the server
//! for nothing, so one server is enough; of a cluster or of several replicas, it is the one that takes writes.
//!
//! A server that was restarted, promoted or emptied is in another *life*: its ledger is empty, and numbers of the log go on beyond all
//! that were given before (see `lua/life.lua`). What was ended shortly before that is ended again (see `memory.rs`).

mod connection;
mod doors;
mod ending;
mod errands;
mod errors;
mod ledger;
mod listener;
mod log;
mod memory;
mod options;
mod record;
mod rotation;
mod script;
mod session_data;
mod sessions;
mod step;
mod survey;
#[cfg(test)]
mod tests;
mod tokens;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kerria_core::{
    Cause, Lease, LeaseTerms, LogNumber, SessionId, UserId,
    lease::RollCall,
    store::{Acknowledged, Follower, Found, Leases},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

pub use errors::RedisError;
pub use options::RedisOptions;

use crate::{
    feed::{Feed, Node},
    last_written::LastWritten,
    observer::Observer,
    sql::Result,
};
use connection::{ANSWER, Link};
use ledger::RedisLedger;
use memory::Memory;
use step::{Commit, Locks, commit_on};

/// How long it waits before it tries again what has failed in the background.
const AGAIN: Duration = Duration::from_millis(200);
/// How often it looks for what was left by sessions of everyone, which were ended in one stroke, and how much it removes at once.
const LOOK: Duration = Duration::from_secs(60);
const LEFTOVERS: &[u8] = b"500";

/// What was found at a server that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExaminedSessions {
    /// Where it is.
    pub place: String,
    /// What it is and its version, as in `Redis 7.0.15`.
    pub version: String,
    /// What is not as it should be, in words for the operator.
    pub warnings: Vec<String>,
}

/// Sessions in a Redis or Valkey server.
pub(crate) struct RedisSessions {
    link: Arc<Link>,
    feed: Feed,
    /// Follows the log for as long as it is here.
    _memory: Arc<Memory>,
    /// Everyone's sessions were ended, and are to be removed.
    leftovers: Arc<Notify>,
    locks: Locks,
    last_written: LastWritten,
    observer: Arc<dyn Observer>,
    tasks: [JoinHandle<()>; 3],
}

/// What came of opening a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// The session stands.
    Entered {
        /// It.
        found: Found,
        /// The sessions that were ended for it.
        ended: Vec<(SessionId, Cause)>,
    },
    /// The user has as many sessions as they may have. Nothing was changed.
    LimitReached,
}

/// What an end came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// How many sessions it ended.
    pub(crate) sessions: u64,
    /// The last number of the log afterwards.
    pub(crate) number: LogNumber,
    /// Whose session it was, if it was one session that had a user.
    pub(crate) user: Option<UserId>,
    /// Whether it was written to the log: there was something to end, or there may have been tokens that nobody keeps.
    pub(crate) logged: bool,
    /// What it took until no checker accepted it any more, if that was waited for.
    pub(crate) acknowledged: Option<Acknowledged>,
}

/// What came of an errand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// How many sessions it ended.
    pub(crate) ended: u64,
    /// The session that was to stay, if it was still there.
    pub(crate) kept: Option<Found>,
}

impl RedisSessions {
    /// Connects to the server as `node`, and begins to renew a lease. Needs a Tokio runtime.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub(crate) async fn connect(
        options: RedisOptions,
        node: Node,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, RedisError> {
        let servers = options.servers()?;
        let examined = survey::examine(&servers).await?;
        for warning in &examined.warnings {
            warn!("the session store at {}: {warning}", examined.place);
        }
        let memory = Arc::new(Memory::default());
        let link = Arc::new(Link::new(Arc::clone(&servers), Some(Arc::clone(&memory)), ANSWER));
        let refused = |error| RedisError::server(&examined.place, error);
        link.see_to_it().await.map_err(refused)?;
        let ledger = || Arc::new(RedisLedger::new(&servers));
        let feed = Feed::start(ledger(), ledger(), node, LeaseTerms::default(), Arc::clone(&observer));
        let follower: Weak<dyn Follower> = Arc::downgrade(&memory) as _;
        feed.follow(follower).await.map_err(refused)?;
        let leftovers = Arc::new(Notify::new());
        let tasks = [
            listener::start(servers, feed.waker()),
            tokio::spawn(end_again(Arc::clone(&link), Arc::clone(&memory))),
            tokio::spawn(remove_leftovers(Arc::clone(&link), Arc::clone(&leftovers))),
        ];
        let (locks, last_written) = (Locks::new(), LastWritten::default());
        Ok(Self { link, feed, _memory: memory, leftovers, locks, last_written, observer, tasks })
    }

    /// Looks at the server, and changes nothing. Other processes may be using it.
    ///
    /// # Errors
    /// What is in the way of using it, in words for the operator.
    pub(crate) async fn examine(options: RedisOptions) -> Result<ExaminedSessions, RedisError> {
        survey::examine(&options.servers()?).await
    }

    /// Lets `follower` apply every entry of the log after the one whose number is returned.
    pub(crate) async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber> {
        self.feed.follow(follower).await
    }

    /// The lease of this process.
    pub(crate) fn lease(&self) -> Lease {
        self.feed.lease()
    }

    /// Lets the followers apply all that was committed before.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        self.feed.catch_up().await
    }

    /// Who shares the sessions.
    pub(crate) async fn roll_call(&self) -> Result<RollCall> {
        self.feed.roll_call().await
    }

    /// The ledger of the checkers.
    pub(crate) fn ledger(&self) -> Arc<dyn Leases> {
        self.feed.ledger()
    }

    /// Gives up the lease for good.
    pub(crate) async fn leave(&self) -> Result<()> {
        self.feed.leave().await
    }

    /// Whether the server answers and can be written to.
    pub(crate) async fn check_health(&self) -> Result<()> {
        let mut commit = Commit::default();
        commit.order(&[b"HINCRBY", b"{kerria}:state", b"checked", b"1"]);
        self.commit_always(&commit).await.map(drop)
    }
}

impl Drop for RedisSessions {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for RedisSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisSessions(..)")
    }
}

/// Does again what may have been lost, whenever it may have been.
async fn end_again(link: Arc<Link>, memory: Arc<Memory>) {
    loop {
        memory.lost.notified().await;
        while let Err(error) = link.see_to_it().await {
            debug!("the latest ends cannot be done again yet: {error}");
            sleep(AGAIN).await;
        }
    }
}

/// Removes, little by little, what was left when everyone's sessions were ended.
async fn remove_leftovers(link: Arc<Link>, told: Arc<Notify>) {
    let mut commit = Commit::default();
    commit.order(&[b"sweep_old", LEFTOVERS]);
    loop {
        match commit_on(&link, &commit).await {
            Ok(Some(committed)) if committed.removed > 0 => tokio::task::yield_now().await,
            looked => {
                if let Err(error) = looked {
                    debug!("what was left by ended sessions cannot be removed yet: {error}");
                }
                let _told_or_not = timeout(LOOK, told.notified()).await;
            }
        }
    }
}
