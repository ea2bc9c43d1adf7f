//! The revocation log.

use kerria_core::{LogEntry, LogEvent, LogNumber, Selector, Timestamp, store::LogPage};
use rusqlite::Connection;

use super::rows::{self, Ask};

/// The number of the last entry.
pub(super) fn last_number(connection: &Connection) -> rusqlite::Result<LogNumber> {
    connection.the("SELECT number FROM log_counter", (), |row| rows::number(row, 0))
}

/// Writes an entry with the next number.
pub(super) fn append(
    connection: &Connection,
    selector: Selector,
    event: LogEvent,
    at: Timestamp,
) -> rusqlite::Result<LogEntry> {
    let (kind, user, session) = match selector {
        Selector::Session { session } => ("session", None, Some(session)),
        Selector::User { user } => ("user", Some(user), None),
        Selector::UserExcept { user, except } => ("user_except", Some(user), Some(except)),
        Selector::Token { .. } => ("token", None, None),
        Selector::Client { .. } => ("client", None, None),
        Selector::Everyone => ("everyone", None, None),
    };
    let token = if let Selector::Token { token } = &selector { Some(token.as_bytes()) } else { None };
    let client = if let Selector::Client { client } = &selector { Some(client.as_str()) } else { None };
    let cause = match event {
        LogEvent::Ended { cause } => Some(cause.as_str()),
        LogEvent::Changed => None,
    };
    let number =
        connection.the("UPDATE log_counter SET number = number + 1 RETURNING number", (), |row| {
            rows::number(row, 0)
        })?;
    connection.change(
        "INSERT INTO log (number, at, selector, user_id, session_id, token_id, client_id, cause) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            number.0,
            at.as_millis(),
            kind,
            user.as_ref().map(|user| user.as_bytes()),
            session.as_ref().map(|session| session.as_bytes()),
            token,
            client,
            cause,
        ),
    )?;
    Ok(LogEntry { number, at, selector, event })
}

/// Up to `limit` entries after `number`. One statement, so that the counter and the entries are of one instant.
pub(super) fn after(connection: &Connection, number: LogNumber, limit: u32) -> rusqlite::Result<LogPage> {
    let (mut head, mut removed) = (LogNumber(0), LogNumber(0));
    let entries = connection.all(
        "SELECT e.number, e.at, e.selector, e.user_id, e.session_id, e.cause, c.number, c.removed, \
         e.token_id, e.client_id \
         FROM log_counter c LEFT JOIN (SELECT * FROM log WHERE number > ?1 ORDER BY number LIMIT ?2) e ON true \
         ORDER BY e.number",
        // A number that SQLite cannot hold is after every entry.
        (i64::try_from(number.0).unwrap_or(i64::MAX), limit),
        |row| {
            (head, removed) = (rows::number(row, 6)?, rows::number(row, 7)?);
            let none_left = row.get_ref(0)? == rusqlite::types::ValueRef::Null;
            if none_left { Ok(None) } else { rows::log_entry(row).map(Some) }
        },
    )?;
    // A number that was never given is from before a backup was restored: what its owner knows is of another life.
    if number < removed || number > head {
        Ok(LogPage::StartOver { head })
    } else {
        Ok(LogPage::Entries(entries.into_iter().flatten().collect()))
    }
}

/// Removes up to `limit` entries from before `before`, from the oldest on. One that was written later stops it, even
/// if a clock that went back wrote older ones after it: the log has no holes.
pub(super) fn trim(connection: &Connection, before: Timestamp, limit: u32) -> rusqlite::Result<u64> {
    let removed = connection.the(
        "UPDATE log_counter SET removed = min( \
             number, \
             removed + ?2, \
             coalesce((SELECT min(e.number) FROM log e WHERE e.number <= removed + ?2 AND e.at >= ?1) - 1, number)) \
         RETURNING removed",
        (before.as_millis(), limit),
        |row| rows::number(row, 0),
    )?;
    connection.change("DELETE FROM log WHERE number <= ?1", [removed.0])
}
