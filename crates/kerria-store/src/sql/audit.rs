//! The audit log.

use kerria_core::{
    Device, SessionId, Timestamp, UserId,
    audit::{AuditEntry, AuditEvent},
};

use super::{Ask, Result, rows};

pub(super) fn trim(asked: &dyn Ask, before: Timestamp, limit: u32) -> Result<u64> {
    asked.change(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?2) AND at < ?1",
        (before.as_millis(), limit),
    )
}

pub(super) fn record(asked: &dyn Ask, entry: &AuditEntry) -> Result<()> {
    asked.change(
        "INSERT INTO audit (at, event, user_id, session_id, address, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            entry.at.as_millis(),
            entry.event.as_str(),
            entry.user.as_ref().map(UserId::as_bytes),
            entry.session.as_ref().map(SessionId::as_bytes),
            entry.address.map(|address| address.to_string()),
            &entry.detail,
        ),
    )?;
    Ok(())
}

pub(super) fn latest(asked: &dyn Ask, user: Option<UserId>, limit: u32) -> Result<Vec<AuditEntry>> {
    match user {
        None => asked.all(
            "SELECT at, event, user_id, session_id, address, detail FROM audit ORDER BY id DESC LIMIT ?1",
            [limit],
            rows::audit_entry,
        ),
        Some(user) => asked.all(
            "SELECT at, event, user_id, session_id, address, detail FROM audit WHERE user_id = ?1 \
             ORDER BY id DESC LIMIT ?2",
            (user.as_bytes(), limit),
            rows::audit_entry,
        ),
    }
}

/// A line about a user, without a session.
pub(super) fn about_user(
    event: AuditEvent,
    user: UserId,
    device: Option<&Device>,
    detail: String,
    at: Timestamp,
) -> AuditEntry {
    AuditEntry {
        at,
        event,
        user: Some(user),
        session: None,
        address: device.map(|device| device.address),
        detail,
    }
}

/// Stands for a number of sessions that is not known yet.
pub(super) const COUNT: &str = "{}";

/// A line with the number of sessions that ended.
pub(super) fn counted(line: &AuditEntry, ended: u64) -> AuditEntry {
    AuditEntry { detail: line.detail.replace(COUNT, &sessions(ended)), ..line.clone() }
}

/// "1 session", "2 sessions".
pub(super) fn sessions(count: u64) -> String {
    if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") }
}
