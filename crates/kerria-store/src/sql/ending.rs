//! Ending sessions: their rows and their data go, and the log says so.

use kerria_core::{
    Cause, ClientId, LogEvent, LogNumber, Selector, SessionId, Timestamp,
    audit::{AuditEntry, AuditEvent},
    store::Renew,
};

use super::{Result, Step, Value, ask::Values, audit, rows, sessions, tokens};
use crate::{data_cache::DataChange, errand::Order};

/// Does what was decided about sessions, here, and says how many ended. `line` goes into the audit log, with that number.
pub(super) fn carry_out(
    step: &mut Step<'_>,
    order: &Order,
    line: &AuditEntry,
    now: Timestamp,
) -> Result<u64> {
    match *order {
        Order::End { selector, cause, keep } => {
            let removed = remove(step, selector)?;
            audit::record(step, &audit::counted(line, removed.sessions))?;
            if removed.is_to_be_logged() {
                removed.log(step, cause, now)?;
            } else {
                step.rest_on_log()?;
            }
            if let Some((kept, token)) = &keep {
                sessions::give_new_token(step, *kept, token, Renew::Proved, now)?;
            }
            Ok(removed.sessions)
        }
        Order::Changed { user } => {
            audit::record(step, line)?;
            step.write_log(Selector::User { user }, LogEvent::Changed, now)?;
            Ok(0)
        }
    }
}

/// The line about an end that is about no user.
pub(super) fn line_about(cause: Cause, at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        event: AuditEvent::SessionsEnded,
        user: None,
        session: None,
        address: None,
        detail: format!("{}, {}", cause.as_str(), audit::COUNT),
    }
}

/// What was removed, and is not in the log yet.
pub(super) struct Removed {
    selector: Selector,
    pub(super) sessions: u64,
    of_client: Vec<SessionId>,
}

/// Removes what `selector` selects.
pub(super) fn remove(step: &mut Step<'_>, selector: Selector) -> Result<Removed> {
    let of_client = match selector {
        Selector::Client { client } => sessions_of(step, client)?,
        _ => Vec::new(),
    };
    let sessions = delete(step, selector, &of_client)?;
    tokens::delete_references(step, selector)?;
    Ok(Removed { selector, sessions, of_client })
}

impl Removed {
    /// If there was nothing, nothing is written, unless there may be tokens that nobody keeps.
    pub(super) fn is_to_be_logged(&self) -> bool {
        let always =
            matches!(self.selector, Selector::Everyone | Selector::Client { .. } | Selector::Token { .. });
        self.sessions > 0 || always
    }

    /// Writes it to the log, and returns the last number. The sessions of a client are written one by one, before the
    /// client: others may have been issued tokens in them (RFC 8693), which do not say for which client their session
    /// was opened.
    pub(super) fn log(&self, step: &mut Step<'_>, cause: Cause, now: Timestamp) -> Result<LogNumber> {
        for session in &self.of_client {
            step.write_log(Selector::Session { session: *session }, LogEvent::Ended { cause }, now)?;
        }
        step.write_log(self.selector, LogEvent::Ended { cause }, now)
    }
}

fn sessions_of(step: &Step<'_>, client: ClientId) -> Result<Vec<SessionId>> {
    step.all("SELECT id FROM session WHERE client_id = ?1 ORDER BY id", [client.as_str()], |row| {
        row.get(0).map(SessionId::from_bytes)
    })
}

/// Deletes sessions with their data, and says how many that were.
fn delete(step: &mut Step<'_>, selector: Selector, of_client: &[SessionId]) -> Result<u64> {
    match selector {
        Selector::Session { session } => {
            step.data_changes.push(DataChange::Session(session));
            step.change("DELETE FROM session_data WHERE session_id = ?1", [session.as_bytes()])?;
            step.change("DELETE FROM session WHERE id = ?1", [session.as_bytes()])
        }
        Selector::User { user } => {
            step.change(
                "DELETE FROM session_data WHERE session_id IN (SELECT id FROM session WHERE user_id = ?1)",
                [user.as_bytes()],
            )?;
            let ended =
                step.all("DELETE FROM session WHERE user_id = ?1 RETURNING id", [user.as_bytes()], |row| {
                    rows::session_id(row, 0)
                })?;
            Ok(gone(step, &ended))
        }
        Selector::UserExcept { user, except } => {
            step.change(
                "DELETE FROM session_data \
                 WHERE session_id IN (SELECT id FROM session WHERE user_id = ?1 AND id <> ?2)",
                (user.as_bytes(), except.as_bytes()),
            )?;
            let ended = step.all(
                "DELETE FROM session WHERE user_id = ?1 AND id <> ?2 RETURNING id",
                (user.as_bytes(), except.as_bytes()),
                |row| rows::session_id(row, 0),
            )?;
            Ok(gone(step, &ended))
        }
        Selector::Token { .. } => Ok(0),
        Selector::Client { client } => {
            step.change(
                "DELETE FROM session_data WHERE session_id IN (SELECT id FROM session WHERE client_id = ?1)",
                [client.as_str()],
            )?;
            gone(step, of_client);
            step.change("DELETE FROM session WHERE client_id = ?1", [client.as_str()])
        }
        // Without a condition, SQLite empties a table without looking at its rows.
        Selector::Everyone => {
            step.data_changes.push(DataChange::Everything);
            step.change("DELETE FROM session_data", ())?;
            step.change("DELETE FROM session", ())
        }
    }
}

/// The data of these sessions has gone with them. Returns how many they are.
fn gone(step: &mut Step<'_>, sessions: &[SessionId]) -> u64 {
    step.data_changes.extend(sessions.iter().copied().map(DataChange::Session));
    sessions.len() as u64
}

/// Session data that is deleted by one statement.
const TOGETHER: usize = 32;

const OF_THESE_SESSIONS: &str = "DELETE FROM session_data WHERE session_id IN ( \
     ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
     ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32)";

/// Deletes the data of sessions that are gone.
pub(super) fn delete_data(step: &mut Step<'_>, sessions: &[SessionId]) -> Result<()> {
    gone(step, sessions);
    for some in sessions.chunks(TOGETHER) {
        let mut values: Vec<Value<'_>> = some.iter().map(|session| session.as_bytes().into()).collect();
        // A session has an identifier, so that nothing is none's.
        values.resize(TOGETHER, Value::Null);
        step.change(OF_THESE_SESSIONS, Values(values))?;
    }
    Ok(())
}
