//! What a process with sessions does in the background.

use kerria_core::{
    Store, StoreError,
    audit::{AuditEntry, AuditEvent},
};

use crate::{Checker, Move};

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
