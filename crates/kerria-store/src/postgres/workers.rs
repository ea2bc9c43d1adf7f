//! The threads that talk to the server.
//!
//! Each has a connection of its own, made when it is first needed, and a small runtime that drives it: a statement is
//! sent and its answer awaited on one thread, whatever the runtime of the caller is busy with.

use std::{
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
};

use kerria_core::{
    LogEntry,
    store::{StoreError, Trouble},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
};
use tracing::{debug, error, warn};

use super::{connection::Connection, errors::Fault, locks, options::Server, waiting::Queue};
use crate::{
    queue::{Job, Query, join},
    sql::{Reach, Result, Step},
};

/// What may wait. One more is refused.
const QUEUE: usize = 4096;
/// How often a step runs that stands in the way of others.
const TRIES: NonZeroU32 = NonZeroU32::new(5).unwrap();

pub(super) enum Task {
    Write(Reach, Box<dyn Job>),
    Read(Box<dyn Query>),
}

/// The threads that talk to the server.
pub(super) struct Workers {
    queue: Arc<Queue<Task>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// So many threads, of this name.
    pub(super) fn start(name: &str, count: usize, servers: &Arc<[Server]>) -> std::io::Result<Self> {
        let mut workers = Self { queue: Arc::new(Queue::new(QUEUE, count)), threads: Vec::new() };
        for number in 0..count {
            let (servers, queue) = (Arc::clone(servers), Arc::clone(&workers.queue));
            let runtime = runtime()?;
            let thread = thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || Worker::new(runtime, servers).work(number, &queue))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    pub(super) fn send(&self, task: Task) -> Result<()> {
        self.queue.put(task)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            join(thread);
        }
    }
}

/// A runtime for one thread and one connection.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

struct Worker {
    runtime: Rc<Runtime>,
    servers: Arc<[Server]>,
    connection: Option<Connection>,
    /// Nobody notifies these connections of anything.
    heard: Arc<Notify>,
}

/// What came of running a step once.
enum Ran {
    /// It is committed.
    Committed,
    /// It failed, was undone, and knows what to answer.
    Failed,
    /// It was undone, or never came to anything, for this reason.
    Undone(Fault, StoreError),
    /// Nobody can tell whether it is committed.
    Unknown,
}

impl Worker {
    fn new(runtime: Runtime, servers: Arc<[Server]>) -> Self {
        Self { runtime: Rc::new(runtime), servers, connection: None, heard: Arc::default() }
    }

    fn work(mut self, number: usize, queue: &Queue<Task>) {
        while let Some(task) = queue.take(number) {
            match task {
                Task::Write(reach, job) => self.write(reach, job),
                Task::Read(query) => self.read(query),
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }

    /// The connection, and whether it has been used before.
    fn connection(&mut self) -> Result<(Connection, bool)> {
        match self.connection.take() {
            Some(connection) if connection.is_open() => Ok((connection, true)),
            _ => Ok((Connection::open(&self.runtime, &self.servers, &self.heard)?, false)),
        }
    }

    /// Keeps a connection for the next one, unless nothing can be done with it any more.
    fn keep(&mut self, connection: Connection, fault: Option<Fault>) {
        if !matches!(fault, Some(Fault::Connection | Fault::Refused | Fault::Silence)) {
            self.connection = Some(connection);
        }
    }

    fn write(&mut self, reach: Reach, mut job: Box<dyn Job>) {
        let (mut tries, mut may_begin_anew) = (1, true);
        loop {
            let (connection, was_used) = match self.connection() {
                Ok(connection) => connection,
                Err(error) => return job.fail(error),
            };
            let ran = run(&connection, reach, &mut *job);
            let fault = match &ran {
                Ran::Committed | Ran::Failed => None,
                Ran::Undone(fault, _) => Some(*fault),
                Ran::Unknown => Some(Fault::Connection),
            };
            let is_idle_broken = was_used && fault.is_some_and(Fault::is_of_connection);
            match ran {
                Ran::Committed => {
                    self.keep(connection, None);
                    return job.answer();
                }
                Ran::Failed => {
                    self.keep(connection, None);
                    return job.answer();
                }
                Ran::Unknown => {
                    warn!("the database did not answer a commit; nobody can tell whether it has happened");
                    return job.fail(Trouble::Unavailable.into());
                }
                Ran::Undone(Fault::InTheWay, _) if tries < TRIES.get() => {
                    tries += 1;
                    debug!(tries, "a step stood in the way of another one, and runs again");
                    self.keep(connection, fault);
                }
                // It was closed while nobody looked.
                Ran::Undone(_, _) if is_idle_broken && may_begin_anew => {
                    may_begin_anew = false;
                    debug!("a connection to the database was closed; the step runs on another one");
                }
                Ran::Undone(_, error) => {
                    self.keep(connection, fault);
                    return job.fail(error);
                }
            }
        }
    }

    fn read(&mut self, mut query: Box<dyn Query>) {
        let mut may_begin_anew = true;
        while query.is_awaited() {
            let (connection, was_used) = match self.connection() {
                Ok(connection) => connection,
                Err(error) => return query.fail(error),
            };
            if catch_unwind(AssertUnwindSafe(|| query.ask(&connection))).is_err() {
                error!("a query panicked; its caller was told that the store failed");
            }
            let fault = connection.take_fault();
            self.keep(connection, fault);
            if !(fault.is_some_and(Fault::is_of_connection) && was_used && may_begin_anew) {
                return query.answer();
            }
            may_begin_anew = false;
        }
    }
}

/// Runs a step in a transaction of its own.
fn run(connection: &Connection, reach: Reach, job: &mut dyn Job) -> Ran {
    let Some(begin) = locks::begin(reach) else { return run_statement(connection, job) };
    let undone = |error: StoreError| Ran::Undone(connection.take_fault().unwrap_or(Fault::Statement), error);
    if let Err(error) = connection.batch(&begin) {
        return undo(connection, undone(error));
    }
    let mut entries = Vec::new();
    match (run_in(connection, job, &mut entries), connection.take_fault()) {
        (Ok(()), None) => {}
        // After a statement that failed, a commit would undo everything, and not say so.
        (Ok(()), Some(fault)) => return undo(connection, Ran::Undone(fault, Trouble::Failed.into())),
        (Err(_), None | Some(Fault::Statement)) => return undo(connection, Ran::Failed),
        (Err(trouble), Some(fault)) => return undo(connection, Ran::Undone(fault, trouble.into())),
    }
    match connection.commit(entries.last().map(|last| last.number)) {
        Some(Ok(())) => Ran::Committed,
        Some(Err(error)) => undo(connection, undone(error)),
        None => Ran::Unknown,
    }
}

/// Runs a step that is one statement, which is committed with its answer.
fn run_statement(connection: &Connection, job: &mut dyn Job) -> Ran {
    let mut entries = Vec::new();
    let ran = run_in(connection, job, &mut entries);
    debug_assert!(entries.is_empty(), "what is written to the log takes a transaction");
    match (ran, connection.take_fault()) {
        (_, Some(Fault::Connection | Fault::Silence)) => Ran::Unknown,
        (Ok(()), None) => Ran::Committed,
        (Err(_), None | Some(Fault::Statement)) => Ran::Failed,
        (ran, Some(fault)) => Ran::Undone(fault, ran.err().unwrap_or(Trouble::Failed).into()),
    }
}

fn run_in(connection: &Connection, job: &mut dyn Job, entries: &mut Vec<LogEntry>) -> Result<(), Trouble> {
    catch_unwind(AssertUnwindSafe(|| job.run(&mut Step::new(connection, entries)))).unwrap_or_else(|_| {
        error!("a step panicked; it was undone, and its caller was told that the store failed");
        Err(Trouble::Failed)
    })
}

/// Leaves the connection as if nothing had been, or says that it is of no use any more.
fn undo(connection: &Connection, ran: Ran) -> Ran {
    match ran {
        Ran::Undone(Fault::Connection | Fault::Refused | Fault::Silence, _) => ran,
        ran => match connection.batch("ROLLBACK") {
            Ok(()) => ran,
            Err(error) => Ran::Undone(connection.take_fault().unwrap_or(Fault::Connection), error),
        },
    }
}
