//! How far this process has heard of the revocation log, for those who wait for more.

use kerria_core::{LogEntry, LogNumber, store::Follower};
use tokio::sync::watch;

/// Hears of every entry.
#[derive(Default)]
pub struct News(watch::Sender<LogNumber>);

impl News {
    /// Everything up to this number had happened before it began to hear.
    pub fn begin(&self, head: LogNumber) {
        self.0.send_if_modified(|heard| {
            let is_more = *heard < head;
            *heard = (*heard).max(head);
            is_more
        });
    }

    /// Completes when an entry after this one was heard of.
    pub async fn after(&self, number: LogNumber) {
        // The sender is ours, and does not go away meanwhile.
        let _ = self.0.subscribe().wait_for(|heard| *heard > number).await;
    }
}

impl Follower for News {
    fn apply(&self, entries: &[LogEntry]) {
        if let Some(last) = entries.last() {
            self.0.send_replace(last.number);
        }
    }

    fn start_over(&self, head: LogNumber) {
        self.0.send_replace(head);
    }
}
