//! Lines of the audit log about what happened in Redis.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kerria_core::{audit::AuditEntry, store::Store};
use tokio::time::timeout;
use tracing::{error, warn};

use super::Shared;
use crate::sql::{Driver, Result};

/// Lines that wait for the directory. One more, and the oldest is only in the log of the process.
const WAITING: usize = 4096;

/// How long an answer waits for its line.
const SOON: Duration = Duration::from_secs(1);

/// Lines that the directory could not take when they were due.
#[derive(Default)]
pub(super) struct Lines(Mutex<VecDeque<AuditEntry>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, VecDeque<AuditEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, line: AuditEntry) {
        let mut waiting = self.lock();
        if waiting.len() == WAITING
            && let Some(lost) = waiting.pop_front()
        {
            error!("a line of the audit log is lost: {lost:?}");
        }
        waiting.push_back(line);
    }
}

impl<D: Driver> Shared<D> {
    /// Adds a line about what was done in Redis, at once or when the directory can be written to again. What was done is done:
    /// it is answered either way, and soon.
    pub(super) async fn record(self: &Arc<Self>, line: Option<AuditEntry>) {
        let Some(line) = line else { return };
        let shared = Arc::clone(self);
        // It goes on, whoever does not wait any more.
        let writing = tokio::spawn(async move {
            if let Err(error) = shared.directory.record(&line).await {
                warn!("a line of the audit log has to wait for the directory: {error}");
                shared.lines.keep(line);
            }
        });
        let _written_or_not = timeout(SOON, writing).await;
    }

    /// Adds the lines that wait.
    pub(super) async fn write_late_lines(&self) -> Result<()> {
        loop {
            let Some(line) = self.lines.lock().front().cloned() else { return Ok(()) };
            self.directory.record(&line).await?;
            self.lines.lock().pop_front();
        }
    }
}
