//! Ending sessions: their rows and their data go, and the log says so.

use kerria_core::{Cause, ClientId, LogEvent, Selector, SessionId, Timestamp};

use super::{rows::Ask, tokens, writer::Step};

/// Ends what `selector` selects, and says how many sessions that were. If there was none, nothing is written, unless there
/// may be tokens that nobody keeps. The sessions of a client are written one by one, before the client.
pub(super) fn end(
    step: &mut Step<'_>,
    selector: Selector,
    cause: Cause,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let of_client = match selector {
        Selector::Client { client } => sessions_of(step, client)?,
        _ => Vec::new(),
    };
    let ended = delete(step, selector)?;
    tokens::delete_references(step, selector)?;
    // Others may have been issued tokens in them (RFC 8693), which do not say for which client their session was opened.
    for session in of_client {
        step.write_log(Selector::Session { session }, LogEvent::Ended { cause }, now)?;
    }
    let always = matches!(selector, Selector::Everyone | Selector::Client { .. } | Selector::Token { .. });
    if ended > 0 || always {
        step.write_log(selector, LogEvent::Ended { cause }, now)?;
    }
    Ok(ended)
}

fn sessions_of(step: &Step<'_>, client: ClientId) -> rusqlite::Result<Vec<SessionId>> {
    step.all("SELECT id FROM session WHERE client_id = ?1 ORDER BY id", [client.as_str()], |row| {
        row.get(0).map(SessionId::from_bytes)
    })
}

/// Deletes sessions with their data, and says how many that were.
pub(super) fn delete(step: &Step<'_>, selector: Selector) -> rusqlite::Result<u64> {
    match selector {
        Selector::Session { session } => {
            step.change("DELETE FROM session_data WHERE session_id = ?1", [session.as_bytes()])?;
            step.change("DELETE FROM session WHERE id = ?1", [session.as_bytes()])
        }
        Selector::User { user } => {
            step.change(
                "DELETE FROM session_data WHERE session_id IN (SELECT id FROM session WHERE user_id = ?1)",
                [user.as_bytes()],
            )?;
            step.change("DELETE FROM session WHERE user_id = ?1", [user.as_bytes()])
        }
        Selector::UserExcept { user, except } => {
            step.change(
                "DELETE FROM session_data \
                 WHERE session_id IN (SELECT id FROM session WHERE user_id = ?1 AND id <> ?2)",
                (user.as_bytes(), except.as_bytes()),
            )?;
            step.change(
                "DELETE FROM session WHERE user_id = ?1 AND id <> ?2",
                (user.as_bytes(), except.as_bytes()),
            )
        }
        Selector::Token { .. } => Ok(0),
        Selector::Client { client } => {
            step.change(
                "DELETE FROM session_data WHERE session_id IN (SELECT id FROM session WHERE client_id = ?1)",
                [client.as_str()],
            )?;
            step.change("DELETE FROM session WHERE client_id = ?1", [client.as_str()])
        }
        // Without a condition, SQLite empties a table without looking at its rows.
        Selector::Everyone => {
            step.change("DELETE FROM session_data", ())?;
            step.change("DELETE FROM session", ())
        }
    }
}
