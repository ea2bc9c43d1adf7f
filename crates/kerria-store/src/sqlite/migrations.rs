//! Bringing the file's schema up to date.
//!
//! A migration that was released is never changed; another one follows it. The number of those that were run is the
//! `user_version` of the file.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tracing::info;

use super::{
    errors::OpenError,
    opening::{self, Lock},
};

struct Migration {
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 2] = [
    Migration { name: "0001_initial", sql: include_str!("../../migrations/0001_initial.sql") },
    Migration { name: "0002_tokens", sql: include_str!("../../migrations/0002_tokens.sql") },
];

/// "KERR", as the first migration sets it.
const APPLICATION: u32 = 0x4b45_5252;

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The schema version before; 0 for a new file.
    pub from: u32,
    /// The schema version now.
    pub to: u32,
}

/// The latest schema version that this program knows.
pub(super) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("there are not that many migrations")
}

/// Brings the file up to date, and creates it if there is none. No other process may be using it.
///
/// # Errors
/// What is in the way, in words for the operator.
pub fn migrate(path: &Path) -> Result<Migrated, OpenError> {
    let path = opening::create(path)?;
    let _lock = Lock::take(&path)?;
    run(&opening::connect_for_writing(&path)?, &path)
}

/// The names of the migrations that opening the file would run, in their order. The file may be in use.
///
/// # Errors
/// If it is not a file of ours, or comes from a newer version of the program.
pub fn pending_migrations(path: &Path) -> Result<Vec<&'static str>, OpenError> {
    let found = version(&opening::connect_for_reading(path)?, path)?;
    Ok(MIGRATIONS.iter().skip(found as usize).map(|migration| migration.name).collect())
}

pub(super) fn run(connection: &Connection, path: &Path) -> Result<Migrated, OpenError> {
    let from = version(connection, path)?;
    for (number, migration) in (1..=known()).zip(MIGRATIONS).skip(from as usize) {
        apply(connection, number, &migration).map_err(|source| OpenError::sqlite(path, source))?;
        info!(migration = migration.name, "migrated {} to {}", path.display(), migration.name);
    }
    Ok(Migrated { from, to: known() })
}

fn apply(connection: &Connection, number: u32, migration: &Migration) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration.sql)?;
    transaction.pragma_update(None, "user_version", number)?;
    transaction.commit()
}

/// The schema version of the file; 0 if it is empty.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<u32, OpenError> {
    let sqlite = |source| OpenError::sqlite(path, source);
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map_err(sqlite);
    let empty = connection
        .query_row("SELECT NOT EXISTS (SELECT * FROM sqlite_schema)", (), |row| row.get(0))
        .map_err(sqlite)?;
    if empty {
        return Ok(0);
    }
    if number("application_id")? != APPLICATION {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    match number("user_version")? {
        found if found > known() => Err(OpenError::Newer { path: path.to_owned(), found, known: known() }),
        found => Ok(found),
    }
}
