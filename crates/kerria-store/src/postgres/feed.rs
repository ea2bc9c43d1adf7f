//! Letting the followers in this process apply what is written to the log, by whichever process.
//!
//! Followers hear every entry in the order of the numbers, without a gap. What was written elsewhere is read from the
//! log: by a step of ours that has written something after it, before it is answered; and by a thread that listens, and
//! asks now and then in case it has missed a notification. If the log does not go back that far, or ends before, they start
//! over.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use kerria_core::{
    LogEntry, LogNumber,
    store::{Follower, LogPage, StoreError, Trouble},
};
use tokio::{runtime::Runtime, sync::Notify, time::timeout};
use tracing::{debug, error, warn};

use super::{connection::Connection, options::Server, workers::runtime};
use crate::{
    observer::{Began, Observer},
    queue::join,
    sql::{Result, log},
};

/// How long the thread that listens waits before it looks by itself.
const LOOK: Duration = Duration::from_millis(250);
/// How long it waits before it connects again: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Entries that are read at once.
const PAGE: u32 = 500;

/// Tells those who listen, once the transaction is committed, that the log has grown to `number`.
pub(super) fn notify(number: LogNumber) -> String {
    format!("SELECT pg_notify('kerria_log', '{}'); ", number.0)
}

/// What is said when nothing can be said any more.
pub(super) fn broken() -> StoreError {
    StoreError::new(Trouble::Unavailable, "a follower has failed to apply what was committed")
}

/// The followers of this process, and how far they are.
pub(super) struct Feed {
    followers: Mutex<Followers>,
    observer: Arc<dyn Observer>,
}

#[derive(Default)]
struct Followers {
    all: Vec<Weak<dyn Follower>>,
    /// The number of the last entry that they have applied.
    applied: LogNumber,
}

impl Feed {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { followers: Mutex::default(), observer }
    }

    /// A follower that panicked has not applied what was committed, so nothing may be answered any more.
    pub(super) fn is_broken(&self) -> bool {
        self.followers.is_poisoned()
    }

    /// Lets `follower` apply what is written from now on, and returns the number of the last entry before.
    pub(super) fn follow(&self, connection: &Connection, follower: &Weak<dyn Follower>) -> Result<LogNumber> {
        let mut followers = self.followers()?;
        let head = log::last_number(connection)?;
        if followers.is_empty() {
            followers.applied = head;
        } else {
            self.catch_up(&mut followers, connection, head)?;
        }
        followers.all.push(Weak::clone(follower));
        Ok(followers.applied)
    }

    /// Lets the followers apply `entries`, which are committed, and what comes before them.
    pub(super) fn announce(&self, connection: &Connection, entries: &[LogEntry]) -> Result<()> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let committed = Began::now();
        let mut followers = self.followers()?;
        if followers.is_empty() || last.number <= followers.applied {
            return Ok(());
        }
        if first.number.0 == followers.applied.0 + 1 {
            followers.apply(entries);
        } else {
            self.catch_up(&mut followers, connection, last.number)?;
        }
        self.observer.announced(committed.elapsed());
        Ok(())
    }

    /// Lets the followers apply what others have written.
    fn look(&self, connection: &Connection) -> Result<()> {
        let mut followers = self.followers()?;
        if followers.is_empty() {
            return Ok(());
        }
        let head = log::last_number(connection)?;
        if head < followers.applied {
            error!(
                applied = followers.applied.0,
                head = head.0,
                "the revocation log ends before what was applied here, as after a restore; the followers start over"
            );
            followers.start_over(head);
        }
        self.catch_up(&mut followers, connection, head)
    }

    /// Reads the log until the followers have applied everything up to `number`. It is committed, so all of it is there.
    fn catch_up(&self, followers: &mut Followers, connection: &Connection, number: LogNumber) -> Result<()> {
        while followers.applied < number {
            match log::after(connection, followers.applied, PAGE)? {
                LogPage::Entries(entries) if entries.is_empty() => break,
                LogPage::Entries(entries) => followers.apply(&entries),
                LogPage::StartOver { head } => {
                    error!(
                        after = followers.applied.0,
                        head = head.0,
                        "entries of the revocation log were removed before they were applied here; \
                         the followers start over"
                    );
                    followers.start_over(head);
                }
            }
        }
        Ok(())
    }

    fn followers(&self) -> Result<MutexGuard<'_, Followers>> {
        self.followers.lock().map_err(|_| broken())
    }
}

impl Followers {
    fn is_empty(&mut self) -> bool {
        self.all.retain(|follower| follower.strong_count() > 0);
        self.all.is_empty()
    }

    fn apply(&mut self, entries: &[LogEntry]) {
        self.all.iter().filter_map(Weak::upgrade).for_each(|follower| follower.apply(entries));
        self.applied = entries.last().map_or(self.applied, |last| last.number);
    }

    fn start_over(&mut self, head: LogNumber) {
        self.all.iter().filter_map(Weak::upgrade).for_each(|follower| follower.start_over(head));
        self.applied = head;
    }
}

/// The thread that listens.
pub(super) struct Listener {
    heard: Arc<Notify>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(super) fn start(servers: Arc<[Server]>, feed: Arc<Feed>) -> std::io::Result<Self> {
        let (heard, stop) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let runtime = runtime()?;
        let (told, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = thread::Builder::new().name("kerria-postgres-feed".to_owned()).spawn(move || {
            listen(&Rc::new(runtime), &servers, &feed, &told, &stopped);
        })?;
        Ok(Self { heard, stop, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.heard.notify_one();
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

fn listen(runtime: &Rc<Runtime>, servers: &[Server], feed: &Feed, heard: &Arc<Notify>, stop: &AtomicBool) {
    let mut wait = BACK_OFF.0;
    while !stop.load(Ordering::Acquire) && !feed.is_broken() {
        let listened = Connection::open(runtime, servers, heard).and_then(|connection| {
            connection.batch("LISTEN kerria_log")?;
            wait = BACK_OFF.0;
            let looked = look_until(&connection, feed, heard, stop);
            connection.close();
            looked
        });
        if let Err(error) = listened {
            warn!(
                error = &error as &dyn std::error::Error,
                "not listening to the revocation log; trying again"
            );
            // Woken up by a connection that breaks, it would not wait at all.
            let until = || async {
                while !stop.load(Ordering::Acquire) {
                    heard.notified().await;
                }
            };
            let _ = runtime.block_on(async { timeout(wait, until()).await });
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }
    debug!("no longer listening to the revocation log");
}

fn look_until(connection: &Connection, feed: &Feed, heard: &Notify, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Acquire) && !feed.is_broken() {
        feed.look(connection)?;
        if !connection.is_open() {
            return Err(StoreError::new(Trouble::Unavailable, "the connection was closed"));
        }
        connection.listen(heard, LOOK);
    }
    Ok(())
}
