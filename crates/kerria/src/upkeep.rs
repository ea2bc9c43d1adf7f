//! What a process with sessions does in the background.

use std::time::Duration;

use kerria_core::{
    Store, StoreError, Timestamp,
    audit::{AuditEntry, AuditEvent},
};
use tracing::debug;

use crate::{Checker, Move};

/// How often what is over is to be removed, unless "last seen" is written more seldom.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How many rows one step removes at most, so that no sign-in waits long for it.
const SWEEP_BATCH: u32 = 500;

/// How long what is over is left alone. A request that came just before may still be under way, and what it notes has to
/// find its session.
const SWEEP_GRACE: Duration = Duration::from_secs(10);

/// How long what is no longer of use is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// How exact "last seen" is in the store.
    pub last_seen_precision: Duration,
    /// How old entries of the revocation log and of the audit log get.
    pub log_retention: Duration,
}

/// Removes everything that is over, in bounded batches.
///
/// # Errors
/// If the store fails. What was removed stays removed; the rest is found the next time.
pub async fn sweep(
    store: &dyn Store,
    checker: &Checker,
    kept: Kept,
    now: Timestamp,
) -> Result<(), StoreError> {
    // What is in memory only would make a session in use look idle.
    checker.flush(now).await?;
    // Another process may have seen it used, and not have said so yet.
    let untold = if checker.lease().is_limited() { kept.last_seen_precision } else { Duration::ZERO };
    let over_since = now - SWEEP_GRACE - untold;
    checker.sweep_until(over_since);
    let mut removed = 0;
    while let batch @ 1.. = store.sweep_sessions(*checker.policy(), over_since, SWEEP_BATCH).await? {
        removed += batch;
    }
    while let batch @ 1.. = store.sweep_doors(now, SWEEP_BATCH).await? {
        removed += batch;
    }
    while let batch @ 1.. = store.sweep_tokens(now, SWEEP_BATCH).await? {
        removed += batch;
    }
    let kept_since = now - kept.log_retention;
    while let batch @ 1.. = store.trim_log(kept_since, SWEEP_BATCH).await? {
        removed += batch;
    }
    while let batch @ 1.. = store.trim_audit(kept_since, SWEEP_BATCH).await? {
        removed += batch;
    }
    if removed > 0 {
        debug!(rows = removed, "removed {removed} rows that were over");
    }
    Ok(())
}

/// Tells of sessions that turned up in another place, in the audit log.
///
/// # Errors
/// If the store fails. What was not told is told when the session is used from there again.
pub async fn tell(store: &dyn Store, checker: &Checker, moves: Vec<Move>) -> Result<(), StoreError> {
    let mut told = Ok(());
    for moved in moves {
        let entry = AuditEntry {
            at: moved.at,
            event: AuditEvent::PlaceChanged,
            user: moved.user,
            session: Some(moved.session),
            address: Some(moved.device.address),
            detail: format!(
                "{}, {}",
                moved.device.in_words(),
                if moved.refused { "refused" } else { "went on" }
            ),
        };
        if let Err(error) = store.record(&entry).await {
            checker.not_told(&moved);
            told = Err(error);
        }
    }
    told
}
