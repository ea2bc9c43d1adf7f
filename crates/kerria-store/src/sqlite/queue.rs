//! A question on its way to a thread, and its answer on the way back.

use kerria_core::store::{StoreError, Trouble};
use rusqlite::Connection;
use tokio::sync::oneshot;

use std::sync::mpsc::TrySendError;

use super::errors::store_error;

/// Work of some kind, with one who waits for what comes of it.
pub(super) struct Asked<Work, T> {
    work: Option<Work>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

pub(super) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

impl<Work, T> Asked<Work, T> {
    pub(super) fn new(work: Work) -> (Self, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (Self { work: Some(work), outcome: None, reply }, answer)
    }

    /// Does the work, once, and keeps what came of it.
    pub(super) fn run(&mut self, run: impl FnOnce(Work) -> rusqlite::Result<T>) -> Result<(), Trouble> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let outcome = run(work).map_err(store_error);
        let done = outcome.as_ref().map(drop).map_err(|error| error.trouble);
        self.outcome = Some(outcome);
        done
    }

    /// Answers what came of it. Work that was not done, or panicked, has failed.
    pub(super) fn answer(mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| Err(Trouble::Failed.into()));
        self.reply_with(outcome);
    }

    pub(super) fn fail(self, error: StoreError) {
        self.reply_with(Err(error));
    }

    fn reply_with(self, outcome: Result<T, StoreError>) {
        // Whoever does not wait any more does not want to know.
        let _ = self.reply.send(outcome);
    }
}

/// A question to a connection that only reads.
pub(super) trait Query: Send {
    /// Asks and answers, unless nobody waits any more.
    fn run(self: Box<Self>, connection: &Connection);
}

impl<Work, T> Query for Asked<Work, T>
where
    Work: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn run(mut self: Box<Self>, connection: &Connection) {
        if !self.reply.is_closed() {
            // The answer says what came of it.
            let _ = Self::run(&mut self, |work| work(connection));
            self.answer();
        }
    }
}

/// A queue that is full, or whose thread has stopped.
pub(super) fn not_taken<T>(error: &TrySendError<T>) -> StoreError {
    let reason = match error {
        TrySendError::Full(_) => "too much work is waiting",
        TrySendError::Disconnected(_) => "its thread has stopped",
    };
    StoreError::new(Trouble::Unavailable, reason)
}
