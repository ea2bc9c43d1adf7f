//! The thread that writes.
//!
//! It takes all that is waiting, runs each step in a savepoint of its own, commits once ("group commit": one wait for
//! the disk serves them all), lets the followers apply the new log entries, and only then answers.

use std::{
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use kerria_core::{
    LogEntry, LogEvent, LogNumber, Selector, Timestamp,
    store::{Follower, StoreError, Trouble},
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tracing::{debug, error};

use crate::observer::{Began, Observer};

use super::{
    errors::trouble,
    log,
    queue::{Answer, Asked, not_taken},
    readers::join,
    rows::Ask,
};

/// Steps that may wait. One more is refused.
const QUEUE: usize = 4096;
/// Steps that are committed together at most.
const BATCH: usize = 256;

/// The thread that writes.
pub(super) struct Writer {
    queue: Option<SyncSender<Task>>,
    thread: Option<JoinHandle<()>>,
}

enum Task {
    Step(Box<dyn Job>),
    Follow(Asked<Weak<dyn Follower>, LogNumber>),
}

/// A step that waits to be run, and then to be answered.
trait Job: Send {
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), Trouble>;
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
}

impl<Work, T> Job for Asked<Work, T>
where
    Work: FnOnce(&mut Step<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), Trouble> {
        Self::run(self, |work| work(step))
    }

    fn answer(self: Box<Self>) {
        Self::answer(*self);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        Self::fail(*self, error);
    }
}

impl Writer {
    pub(super) fn start(connection: Connection, observer: Arc<dyn Observer>) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("kerria-writer".to_owned())
            .spawn(move || write(connection, &waiting, &*observer))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) fn send<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Step<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Answer<T>, StoreError> {
        let (asked, answer) = Asked::new(step);
        self.enqueue(Task::Step(Box::new(asked)))?;
        Ok(answer)
    }

    pub(super) fn follow(&self, follower: Weak<dyn Follower>) -> Result<Answer<LogNumber>, StoreError> {
        let (asked, answer) = Asked::new(follower);
        self.enqueue(Task::Follow(asked))?;
        Ok(answer)
    }

    fn enqueue(&self, task: Task) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().expect("the queue is taken away only on drop");
        queue.try_send(task).map_err(|error| not_taken(&error))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

/// A follower that panicked has not applied what was committed, so nothing may be answered any more: the panic ends
/// the thread, and every caller is told that the store does not answer.
fn write(mut connection: Connection, waiting: &Receiver<Task>, observer: &dyn Observer) {
    let mut followers: Vec<Weak<dyn Follower>> = Vec::new();
    while let Ok(first) = waiting.recv() {
        let (mut steps, mut follow) = (Vec::new(), Vec::new());
        for task in std::iter::once(first).chain(waiting.try_iter().take(BATCH - 1)) {
            match task {
                Task::Step(job) => steps.push(job),
                Task::Follow(asked) => follow.push(asked),
            }
        }
        commit_together(&mut connection, steps, &followers, observer);
        for mut asked in follow {
            let started = asked.run(|follower| {
                let number = log::last_number(&connection)?;
                followers.push(follower);
                Ok(number)
            });
            debug!(?started, "a follower starts");
            asked.answer();
        }
    }
}

fn commit_together(
    connection: &mut Connection,
    mut steps: Vec<Box<dyn Job>>,
    followers: &[Weak<dyn Follower>],
    observer: &dyn Observer,
) {
    if steps.is_empty() {
        return;
    }
    match commit(connection, &mut steps) {
        Ok(entries) => {
            if !entries.is_empty() {
                let committed = Began::now();
                followers.iter().filter_map(Weak::upgrade).for_each(|follower| follower.apply(&entries));
                observer.announced(committed.elapsed());
            }
            steps.into_iter().for_each(Job::answer);
        }
        Err(undone) => {
            steps.into_iter().for_each(|step| step.fail(undone.error()));
        }
    }
}

/// Runs `steps` in one transaction, and returns the log entries that they wrote. If it fails, nothing has changed.
fn commit(connection: &mut Connection, steps: &mut [Box<dyn Job>]) -> Result<Vec<LogEntry>, Undone> {
    let mut entries = Vec::new();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps.iter_mut() {
        run_alone(&transaction, step.as_mut(), &mut entries)?;
    }
    transaction.commit()?;
    debug!(steps = steps.len(), entries = entries.len(), "committed");
    Ok(entries)
}

/// Runs one step. If it fails, it alone is undone, and will say so.
fn run_alone(
    transaction: &Transaction<'_>,
    job: &mut dyn Job,
    entries: &mut Vec<LogEntry>,
) -> Result<(), Undone> {
    transaction.change("SAVEPOINT step", ())?;
    let written_before = entries.len();
    let mut step = Step { connection: transaction, entries };
    let ran = catch_unwind(AssertUnwindSafe(|| job.run(&mut step))).unwrap_or_else(|_| {
        error!("a step panicked; it was undone, and its caller was told that the store failed");
        Err(Trouble::Failed)
    });
    if let Err(trouble) = ran {
        entries.truncate(written_before);
        // After some errors (a full disk, for one) SQLite has rolled back everything, the steps before this one too.
        if transaction.is_autocommit() {
            return Err(Undone { trouble, source: None });
        }
        transaction.change("ROLLBACK TO step", ())?;
    }
    transaction.change("RELEASE step", ())?;
    Ok(())
}

/// The transaction was rolled back, or nobody can tell.
struct Undone {
    trouble: Trouble,
    source: Option<Arc<rusqlite::Error>>,
}

impl Undone {
    fn error(&self) -> StoreError {
        match &self.source {
            Some(source) => StoreError::new(self.trouble, Arc::clone(source)),
            None => self.trouble.into(),
        }
    }
}

impl From<rusqlite::Error> for Undone {
    fn from(error: rusqlite::Error) -> Self {
        Self { trouble: trouble(&error), source: Some(Arc::new(error)) }
    }
}

/// The inside of a transaction: a connection, and the log entries that will be announced after the commit.
pub(super) struct Step<'a> {
    connection: &'a Connection,
    entries: &'a mut Vec<LogEntry>,
}

impl Step<'_> {
    /// Writes an entry to the revocation log, with the next number. Comes last in a step: where there are several
    /// writers, the counter is what they wait at.
    pub(super) fn write_log(
        &mut self,
        selector: Selector,
        event: LogEvent,
        at: Timestamp,
    ) -> rusqlite::Result<LogNumber> {
        let entry = log::append(self.connection, selector, event, at)?;
        self.entries.push(entry);
        Ok(entry.number)
    }
}

impl Deref for Step<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
