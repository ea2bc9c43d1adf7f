//! What is done in the background, for as long as there are sessions.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kerria_core::StoreError;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::Inner;
use crate::upkeep::tell;

/// How often what is over is removed, unless "last seen" is written more seldom.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How many rows one step removes at most, so that no sign-in waits long for it.
const SWEEP_BATCH: u32 = 500;

/// How long what is over is left alone. A request that came just before may still be under way, and what it notes has to
/// find its session.
const SWEEP_GRACE: Duration = Duration::from_secs(10);

/// How long entries of the revocation log and of the audit log are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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
        tell(&*self.store, &self.checker, self.checker.moves_so_far()).await?;
        self.checker.flush(self.options.clock.now()).await.map(drop)
    }

    /// Removes what is over.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.options.clock.now();
        // What is in memory only would make a session in use look idle.
        self.flush().await?;
        // Another process may have seen it used, and not have said so yet.
        let is_shared = self.checker.lease().is_limited();
        let untold = if is_shared { self.options.last_seen_precision } else { Duration::ZERO };
        let over_since = now - SWEEP_GRACE - untold;
        self.checker.sweep_until(over_since);
        let mut removed = 0;
        while let batch @ 1.. =
            self.store.sweep_sessions(self.options.policy, over_since, SWEEP_BATCH).await?
        {
            removed += batch;
        }
        while let batch @ 1.. = self.store.trim_log(now - KEPT, SWEEP_BATCH).await? {
            removed += batch;
        }
        while let batch @ 1.. = self.store.trim_audit(now - KEPT, SWEEP_BATCH).await? {
            removed += batch;
        }
        if removed > 0 {
            debug!(rows = removed, "removed {removed} rows that were over");
        }
        Ok(())
    }
}
