//! A question on its way to a thread, and its answer on the way back.

use std::{
    sync::mpsc::TrySendError,
    thread::{self, JoinHandle},
};

use kerria_core::store::{StoreError, Trouble};
use tokio::sync::oneshot;
use tracing::error;

use crate::sql::{Ask, Step};

/// Work of some kind, with one who waits for what comes of it.
pub(crate) struct Asked<Work, T> {
    work: Work,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

pub(crate) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

impl<Work, T> Asked<Work, T> {
    pub(crate) fn new(work: Work) -> (Self, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (Self { work, outcome: None, reply }, answer)
    }

    /// Does the work, and keeps what came of it. Done once more, only the last time counts.
    pub(crate) fn work(&mut self, work: impl FnOnce(&Work) -> Result<T, StoreError>) -> Result<(), Trouble> {
        self.outcome = None;
        let outcome = work(&self.work);
        let done = outcome.as_ref().map(drop).map_err(|error| error.trouble);
        self.outcome = Some(outcome);
        done
    }
}

/// One who waits for an answer.
pub trait Waiting: Send {
    /// Whether anybody still waits.
    fn is_awaited(&self) -> bool;

    /// Answers what came of the work. Work that was not done, or panicked, has failed.
    fn answer(self: Box<Self>);

    /// Answers that it failed, whatever came of it.
    fn fail(self: Box<Self>, error: StoreError);
}

impl<Work: Send, T: Send> Waiting for Asked<Work, T> {
    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    fn answer(mut self: Box<Self>) {
        let outcome = self.outcome.take().unwrap_or_else(|| Err(Trouble::Failed.into()));
        // Whoever does not wait any more does not want to know.
        let _ = self.reply.send(outcome);
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

/// A step that waits to be run, and then to be answered.
pub trait Job: Waiting {
    /// Runs it, once more if need be.
    ///
    /// # Errors
    /// The kind of what its caller will be told.
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), Trouble>;
}

impl<Work, T> Job for Asked<Work, T>
where
    Work: Fn(&mut Step<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), Trouble> {
        self.work(|work| work(step))
    }
}

/// A question that changes nothing.
pub trait Query: Waiting {
    /// Asks, once more if need be.
    ///
    /// # Errors
    /// The kind of what its caller will be told.
    fn ask(&mut self, asked: &dyn Ask) -> Result<(), Trouble>;
}

impl<Work, T> Query for Asked<Work, T>
where
    Work: Fn(&dyn Ask) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn ask(&mut self, asked: &dyn Ask) -> Result<(), Trouble> {
        self.work(|work| work(asked))
    }
}

/// A queue that is full, or whose thread has stopped.
pub(crate) fn not_taken<T>(error: &TrySendError<T>) -> StoreError {
    match error {
        TrySendError::Full(_) => Trouble::Busy.into(),
        TrySendError::Disconnected(_) => StoreError::new(Trouble::Unavailable, "its thread has stopped"),
    }
}

/// Waits for a thread to end, except for the one that is asking: a follower may hold the last handle to its store.
pub(crate) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() && thread.join().is_err() {
        error!("a thread of the store panicked");
    }
}
