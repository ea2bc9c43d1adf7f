//! The threads that read.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use kerria_core::store::StoreError;
use rusqlite::Connection;
use tracing::error;

use super::{
    errors::OpenError,
    opening,
    queue::{Answer, Asked, Query, not_taken},
};

const READERS: usize = 2;
/// Questions that may wait. One more is refused.
const QUEUE: usize = 4096;

type Shared = Arc<Mutex<Receiver<Box<dyn Query>>>>;

/// The threads that read, each with a connection of its own.
pub(super) struct Readers {
    queue: Option<SyncSender<Box<dyn Query>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Self, OpenError> {
        let (queue, waiting) = sync_channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut readers = Self { queue: Some(queue), threads: Vec::new() };
        for number in 1..=READERS {
            let (connection, waiting) = (opening::connect_for_reading(path)?, Arc::clone(&waiting));
            let thread = thread::Builder::new()
                .name(format!("kerria-reader-{number}"))
                .spawn(move || read(&connection, &waiting))
                .map_err(|source| OpenError::io(path, source))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    pub(super) fn send<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Answer<T>, StoreError> {
        let (asked, answer) = Asked::new(query);
        let queue = self.queue.as_ref().expect("the queue is taken away only on drop");
        queue.try_send(Box::new(asked)).map_err(|error| not_taken(&error))?;
        Ok(answer)
    }
}

fn read(connection: &Connection, waiting: &Shared) {
    // One thread waits at the queue, the others for their turn to wait there.
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(query) = next() {
        if catch_unwind(AssertUnwindSafe(|| query.run(connection))).is_err() {
            error!("a query panicked; its caller was told that the store failed");
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            join(thread);
        }
    }
}

/// Waits for a thread to end, except for the one that is asking: a follower may hold the last handle to its store.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() && thread.join().is_err() {
        error!("a thread of the store panicked");
    }
}
