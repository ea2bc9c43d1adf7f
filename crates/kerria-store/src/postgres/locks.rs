//! Holding, by PostgreSQL's locks.
//!
//! What may not be there yet (a user's first session, a door) is held by an advisory lock, which is in memory and ends
//! with the transaction; sessions are held by their rows.

use crate::sql::{Reach, Result, Root, Value};

use super::connection::Connection;

/// "KERR": the first number of our advisory locks that are pairs of numbers. Those of one number are a world apart.
const OURS: u32 = 0x4b45_5252;
const INSTALLATION: u32 = 0;
const SCHEMA: u32 = 1;

/// Begins a transaction that holds the installation, all of it or a part. `None` for a statement that needs none.
pub(super) fn begin(reach: Reach) -> Option<String> {
    let shared = match reach {
        Reach::Everything => "",
        Reach::Part => "_shared",
        Reach::Statement => return None,
    };
    Some(format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock{shared}({OURS}, {INSTALLATION})"
    ))
}

/// Holds the schema until the connection is closed. Not in the transaction that changes it: that would begin before the
/// wait is over, and may then believe what it knew of the tables before.
pub(super) fn hold_schema() -> String {
    format!("SELECT pg_advisory_lock({OURS}, {SCHEMA})")
}

/// Rows are locked in the order of their identifiers, and so that what is read after it is what was committed last.
pub(super) fn hold(connection: &Connection, root: &Root<'_>) -> Result<()> {
    match *root {
        Root::User(user) => {
            let half: [u8; 8] = user.as_bytes()[8..].try_into().expect("half of sixteen bytes is eight");
            connection.run("SELECT pg_advisory_xact_lock(?1)", &[&i64::from_be_bytes(half)])
        }
        Root::Session(session) => {
            let session = session.as_bytes().as_slice();
            connection.run("SELECT 1 FROM session WHERE id = ?1 FOR UPDATE", &[&session])
        }
        Root::Sessions(sessions) => {
            let sessions: Vec<_> = sessions.iter().map(|session| session.as_bytes().as_slice()).collect();
            connection
                .run("SELECT 1 FROM session WHERE id = ANY (?1) ORDER BY id FOR UPDATE", &[&sessions])
        }
        Root::SessionWith(token) => connection.run(
            "SELECT 1 FROM session WHERE token_hash = ?1 OR (previous_hash = ?1 AND transport = 'cookie') \
             ORDER BY id FOR UPDATE",
            &[&token.as_bytes().as_slice()],
        ),
        Root::SessionsOf(user, other) => connection.run(
            "SELECT 1 FROM session WHERE user_id = ?1 OR id = ?2 ORDER BY id FOR UPDATE",
            &[&user.as_bytes().as_slice(), &other.as_ref().map(|session| session.as_bytes().as_slice())],
        ),
        Root::Doors(names) => {
            let names: Vec<_> = names.iter().map(|name| Value::from(*name)).collect();
            connection.run(
                "SELECT pg_advisory_xact_lock(key) FROM ( \
                     SELECT DISTINCT hashtextextended(name, 0) AS key FROM unnest(?1::text[]) AS name ORDER BY key \
                 ) AS doors",
                &[&names],
            )
        }
    }
    .map(drop)
}
