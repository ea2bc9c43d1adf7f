//! Looking whether a file is sound.

use std::path::Path;

use kerria_core::{Groups, LogNumber};

use super::{errors::OpenError, migrations, opening};
use crate::sql::{Ask, Result as Asked, accounts, log};

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong with it, a sentence each; empty if it is sound.
    pub problems: Vec<String>,
    /// The version of its schema.
    pub schema: u32,
    /// How many users it holds.
    pub users: u64,
    /// How many sessions it holds, expired ones included.
    pub sessions: u64,
    /// The number of the last entry of the revocation log.
    pub last_number: LogNumber,
}

/// Reads the whole file and looks for damage. A server may be using it.
///
/// # Errors
/// If it cannot be read, is not a file of ours, or waits for a migration.
pub fn check(path: &Path) -> Result<Checked, OpenError> {
    let connection = opening::connect_for_reading(path)?;
    let schema = migrations::version(&connection, path)?;
    // One snapshot for all of it.
    let snapshot = connection.unchecked_transaction().map_err(|source| OpenError::sqlite(path, source))?;
    examine(&*snapshot, schema).map_err(|source| OpenError::unreadable(path, source))
}

/// The groups that somebody is in. A server may be using the file.
///
/// # Errors
/// If it cannot be read, is not a file of ours, or is older than groups are.
pub fn groups_in_use(path: &Path) -> Result<Groups, OpenError> {
    let connection = opening::connect_for_reading(path)?;
    migrations::version(&connection, path)?;
    accounts::groups_in_use(&connection).map_err(|source| OpenError::unreadable(path, source))
}

fn examine(snapshot: &dyn Ask, schema: u32) -> Asked<Checked> {
    let count = |sql| snapshot.the(sql, (), |row| row.get(0));
    Ok(Checked {
        problems: problems(snapshot, schema)?,
        schema,
        users: count("SELECT count(*) FROM account")?,
        sessions: count("SELECT count(*) FROM session")?,
        last_number: log::last_number(snapshot)?,
    })
}

fn problems(snapshot: &dyn Ask, schema: u32) -> Asked<Vec<String>> {
    let mut problems = snapshot.all("PRAGMA integrity_check", (), |row| row.get::<String>(0))?;
    problems.retain(|line| line != "ok");
    let about_tokens: &[_] = if schema < TOKENS { &[] } else { &ABOUT_TOKENS };
    for (sql, problem) in ALWAYS.iter().chain(about_tokens) {
        let count: u64 = snapshot.the(sql, (), |row| row.get(0))?;
        if count > 0 {
            problems.push(format!("there are {problem}: {count}"));
        }
    }
    Ok(problems)
}

/// What is counted, and what it means if there is any.
type Question = (&'static str, &'static str);

const ALWAYS: [Question; 4] = [
    ("SELECT count(*) FROM pragma_foreign_key_check", "rows that belong to something that is not there"),
    (
        "SELECT count(*) FROM session_data WHERE session_id NOT IN (SELECT id FROM session)",
        "values of sessions that were ended",
    ),
    (
        "SELECT count(*) FROM session WHERE user_id IS NOT NULL AND user_id NOT IN (SELECT id FROM account)",
        "sessions of users that were deleted",
    ),
    (
        "SELECT abs(number - removed - (SELECT count(*) FROM log)) FROM log_counter",
        "entries missing from the revocation log, or too many",
    ),
];

/// The schema version since which there are tokens, clients and signing keys.
const TOKENS: u32 = 2;

const ABOUT_TOKENS: [Question; 3] = [
    (
        "SELECT count(*) FROM session WHERE client_id <> 'kerria' AND client_id NOT IN (SELECT id FROM client)",
        "sessions of clients that were removed",
    ),
    (
        "SELECT count(*) FROM reference_token WHERE client_id <> 'kerria' AND client_id NOT IN (SELECT id FROM client)",
        "access tokens of clients that were removed",
    ),
    (
        "SELECT count(DISTINCT algorithm) FROM signing_key WHERE algorithm NOT IN ( \
             SELECT algorithm FROM signing_key WHERE state = 'active')",
        "algorithms with keys none of which is active",
    ),
];
