//! The thread that writes.
//!
//! It takes all that is waiting, runs each step in a savepoint of its own, commits once ("group commit": one wait for
//! the disk serves them all), lets the followers apply the new log entries, and only then answers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use kerria_core::{
    LogEntry, LogNumber,
    store::{Follower, StoreError, Trouble},
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tracing::{debug, error};

use super::errors::trouble;
use crate::{
    data_cache::{DataCache, DataChange},
    observer::{Began, Observer},
    queue::{Asked, Job, Waiting, join, not_taken},
    sql::{Step, log},
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

impl Writer {
    pub(super) fn start(
        connection: Connection,
        data: Arc<DataCache>,
        observer: Arc<dyn Observer>,
    ) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("kerria-writer".to_owned())
            .spawn(move || write(connection, &waiting, &data, &*observer))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) fn send(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.enqueue(Task::Step(job))
    }

    pub(super) fn follow(&self, asked: Asked<Weak<dyn Follower>, LogNumber>) -> Result<(), StoreError> {
        self.enqueue(Task::Follow(asked))
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
fn write(mut connection: Connection, waiting: &Receiver<Task>, data: &DataCache, observer: &dyn Observer) {
    let mut followers: Vec<Weak<dyn Follower>> = Vec::new();
    while let Ok(first) = waiting.recv() {
        let (mut steps, mut follow) = (Vec::new(), Vec::new());
        for task in std::iter::once(first).chain(waiting.try_iter().take(BATCH - 1)) {
            match task {
                Task::Step(job) => steps.push(job),
                Task::Follow(asked) => follow.push(asked),
            }
        }
        commit_together(&mut connection, steps, &followers, data, observer);
        for mut asked in follow {
            let started = asked.work(|follower| {
                let number = log::last_number(&connection)?;
                followers.push(Weak::clone(follower));
                Ok(number)
            });
            debug!(?started, "a follower starts");
            Box::new(asked).answer();
        }
    }
}

fn commit_together(
    connection: &mut Connection,
    mut steps: Vec<Box<dyn Job>>,
    followers: &[Weak<dyn Follower>],
    data: &DataCache,
    observer: &dyn Observer,
) {
    if steps.is_empty() {
        return;
    }
    match commit(connection, &mut steps, data) {
        Ok(entries) => {
            if !entries.is_empty() {
                let committed = Began::now();
                followers.iter().filter_map(Weak::upgrade).for_each(|follower| follower.apply(&entries));
                observer.announced(committed.elapsed());
            }
            steps.into_iter().for_each(Waiting::answer);
        }
        Err(undone) => {
            steps.into_iter().for_each(|step| step.fail(undone.error()));
        }
    }
}

/// Runs `steps` in one transaction, and returns the log entries that they wrote. If it fails, nothing has changed.
fn commit(
    connection: &mut Connection,
    steps: &mut [Box<dyn Job>],
    data: &DataCache,
) -> Result<Vec<LogEntry>, Undone> {
    let (mut entries, mut data_changes) = (Vec::new(), Vec::new());
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps.iter_mut() {
        run_alone(&transaction, step.as_mut(), &mut entries, &mut data_changes)?;
    }
    let changing = data.changing(data_changes);
    transaction.commit()?;
    changing.committed();
    debug!(steps = steps.len(), entries = entries.len(), "committed");
    Ok(entries)
}

/// Runs one step. If it fails, it alone is undone, and will say so.
fn run_alone(
    transaction: &Transaction<'_>,
    job: &mut dyn Job,
    entries: &mut Vec<LogEntry>,
    data_changes: &mut Vec<DataChange>,
) -> Result<(), Undone> {
    run(transaction, "SAVEPOINT step")?;
    let written_before = entries.len();
    let mut step = Step::new(&**transaction, entries);
    let ran = catch_unwind(AssertUnwindSafe(|| job.run(&mut step))).unwrap_or_else(|_| {
        error!("a step panicked; it was undone, and its caller was told that the store failed");
        Err(Trouble::Failed)
    });
    let mut changed = std::mem::take(&mut step.data_changes);
    if let Err(trouble) = ran {
        entries.truncate(written_before);
        changed.clear();
        // After some errors (a full disk, for one) SQLite has rolled back everything, the steps before this one too.
        if transaction.is_autocommit() {
            return Err(Undone { trouble, source: None });
        }
        run(transaction, "ROLLBACK TO step")?;
    }
    run(transaction, "RELEASE step")?;
    data_changes.append(&mut changed);
    Ok(())
}

fn run(transaction: &Transaction<'_>, sql: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached(sql)?.execute(()).map(drop)
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
