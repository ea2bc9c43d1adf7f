//! What is done in the background, for as long as there are sessions.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kerria_core::StoreError;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::Inner;
use crate::upkeep::{self, Kept, SWEEP_EVERY};

/// How long entries of the revocation log and of the audit log are kept at least.
const LOG_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn start(sessions: &Arc<Inner>) {
    tokio::spawn(run(Arc::downgrade(sessions), sessions.options.last_seen_precision));
}

async fn run(sessions: Weak<Inner>, precision: Duration) {
    let precision = precision.max(Duration::from_millis(1));
    let (mut flush, mut sweep) = (interval(precision), interval(SWEEP_EVERY.max(precision)));
    for tick in [&mut flush, &mut sweep] {
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
    }
    loop {
        let is_to_sweep = tokio::select! {
            _ = flush.tick() => false,
            _ = sweep.tick() => true,
        };
        let Some(sessions) = sessions.upgrade() else { return };
        let done = if is_to_sweep { sessions.sweep().await } else { sessions.flush().await };
        if let Err(error) = done {
            let source = error.source.as_ref().map(ToString::to_string).unwrap_or_default();
            warn!(error.source = %source, "background work on sessions was put off: {error}");
        }
    }
}

impl Inner {
    /// Writes down when sessions were last used, and from which other places.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        upkeep::tell(&*self.store, &self.checker, self.checker.moves_so_far()).await?;
        self.checker.flush(self.options.clock.now()).await.map(drop)
    }

    /// Removes what is over.
    async fn sweep(&self) -> Result<(), StoreError> {
        // What ended a session is remembered for as long as the session would have lasted.
        let policy = self.options.policy;
        let longest = policy.ordinary.absolute.max(policy.remembered.absolute);
        let kept = Kept {
            last_seen_precision: self.options.last_seen_precision,
            log_retention: LOG_RETENTION.max(longest),
        };
        upkeep::sweep(&*self.store, &self.checker, kept, self.options.clock.now()).await
    }
}
