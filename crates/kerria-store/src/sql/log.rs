//! The revocation log.

use kerria_core::{LogEntry, LogEvent, LogNumber, Selector, Timestamp, store::LogPage};

use super::{Ask, Result, rows};

/// The number of the last entry.
pub(crate) fn last_number(asked: &dyn Ask) -> Result<LogNumber> {
    asked.the("SELECT number FROM log_counter", (), |row| rows::number(row, 0))
}

/// Writes an entry with the next number.
pub(super) fn append(
    asked: &dyn Ask,
    selector: Selector,
    event: LogEvent,
    at: Timestamp,
) -> Result<LogEntry> {
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
    let number = asked
        .the("UPDATE log_counter SET number = number + 1 RETURNING number", (), |row| rows::number(row, 0))?;
    asked.change(
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
pub(crate) fn after(asked: &dyn Ask, number: LogNumber, limit: u32) -> Result<LogPage> {
    let (mut head, mut removed) = (LogNumber(0), LogNumber(0));
    let entries = asked.all(
        "SELECT e.number, e.at, e.selector, e.user_id, e.session_id, e.cause, c.number, c.removed, \
         e.token_id, e.client_id \
         FROM log_counter c LEFT JOIN (SELECT * FROM log WHERE number > ?1 ORDER BY number LIMIT ?2) e ON true \
         ORDER BY e.number",
        (number.0, limit),
        |row| {
            (head, removed) = (rows::number(row, 6)?, rows::number(row, 7)?);
            if row.is_null(0)? { Ok(None) } else { rows::log_entry(row).map(Some) }
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
pub(super) fn trim(asked: &dyn Ask, before: Timestamp, limit: u32) -> Result<u64> {
    let removed = asked.the(
        // The smallest of three: the last number, the limit, and the one before the first entry that stays.
        "UPDATE log_counter SET removed = (SELECT min(bound.last) FROM ( \
             SELECT number AS last \
             UNION ALL SELECT removed + ?2 \
             UNION ALL SELECT min(e.number) - 1 FROM log e WHERE e.number <= removed + ?2 AND e.at >= ?1) bound) \
         RETURNING removed",
        (before.as_millis(), limit),
        |row| rows::number(row, 0),
    )?;
    asked.change("DELETE FROM log WHERE number <= ?1", [removed.0])
}
