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

use super::{errors::OpenError, opening};
use crate::queue::{Query, join, not_taken};

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

    pub(super) fn send(&self, query: Box<dyn Query>) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().expect("the queue is taken away only on drop");
        queue.try_send(query).map_err(|error| not_taken(&error))
    }
}

fn read(connection: &Connection, waiting: &Shared) {
    // One thread waits at the queue, the others for their turn to wait there.
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(mut query) = next() {
        if !query.is_awaited() {
            continue;
        }
        if catch_unwind(AssertUnwindSafe(|| query.ask(connection))).is_err() {
            error!("a query panicked; its caller was told that the store failed");
        }
        query.answer();
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
