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

const MIGRATIONS: [Migration; 5] = [
    Migration { name: "0001_initial", sql: include_str!("../../migrations/sqlite/0001_initial.sql") },
    Migration { name: "0002_tokens", sql: include_str!("../../migrations/sqlite/0002_tokens.sql") },
    Migration { name: "0003_errands", sql: include_str!("../../migrations/sqlite/0003_errands.sql") },
    Migration { name: "0004_groups", sql: include_str!("../../migrations/sqlite/0004_groups.sql") },
    Migration { name: "0005_expiry", sql: include_str!("../../migrations/sqlite/0005_expiry.sql") },
];

/// Whose file it is, and what has become of it: the file's `application_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is an installation of ours. "KERR", as the first migration sets it.
    InUse = 0x4b45_5252,
    /// The same, and it is being moved to another store, and was not used since. "KERM".
    BeingMoved = 0x4b45_524d,
    /// It was moved. "KERX".
    Moved = 0x4b45_5258,
}

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

/// Forgets that the sessions of this file are kept elsewhere: from now on they are kept in it, and nobody is signed in. No other
/// process may be using it.
///
/// # Errors
/// What is in the way, in words for the operator.
pub fn keep_sessions_here(path: &Path) -> Result<(), OpenError> {
    let path = opening::create(path)?;
    let _lock = Lock::take(&path)?;
    let connection = opening::connect_for_writing(&path)?;
    run(&connection, &path)?;
    mark_as_used(&connection, &path)?;
    connection
        .execute_batch("DELETE FROM sessions_elsewhere")
        .map_err(|source| OpenError::sqlite(&path, source))
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
    let empty = connection
        .query_row("SELECT NOT EXISTS (SELECT * FROM sqlite_schema)", (), |row| row.get(0))
        .map_err(sqlite)?;
    if empty {
        return Ok(0);
    }
    mark_of(connection, path)?;
    match number(connection, "user_version").map_err(sqlite)? {
        found if found > known() => Err(OpenError::Newer { path: path.to_owned(), found, known: known() }),
        found => Ok(found),
    }
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// What has become of the file.
pub(crate) fn mark_of(connection: &Connection, path: &Path) -> Result<Mark, OpenError> {
    let found = number(connection, "application_id").map_err(|source| OpenError::sqlite(path, source))?;
    [Mark::InUse, Mark::BeingMoved, Mark::Moved]
        .into_iter()
        .find(|mark| *mark as u32 == found)
        .ok_or_else(|| OpenError::NotOurs { path: path.to_owned() })
}

/// Marks the file. It is on the disk when this returns.
pub(crate) fn mark(connection: &Connection, path: &Path, mark: Mark) -> Result<(), OpenError> {
    connection
        .pragma_update(None, "application_id", mark as u32)
        .map_err(|source| OpenError::sqlite(path, source))
}

/// Marks the file as being moved, by this attempt.
pub(crate) fn mark_as_being_moved(
    connection: &Connection,
    path: &Path,
    attempt: i64,
) -> Result<(), OpenError> {
    let begin = || {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS moving (attempt INTEGER NOT NULL) STRICT; DELETE FROM moving",
        )?;
        transaction.execute("INSERT INTO moving (attempt) VALUES (?1)", [attempt])?;
        transaction.pragma_update(None, "application_id", Mark::BeingMoved as u32)?;
        transaction.commit()
    };
    begin().map_err(|source| OpenError::sqlite(path, source))
}

/// The attempt that has marked the file, the last time that one has.
pub(crate) fn attempt_in(connection: &Connection, path: &Path) -> Result<Option<i64>, OpenError> {
    let attempt = || {
        if !connection.table_exists(None, "moving")? {
            return Ok(None);
        }
        connection.query_row("SELECT attempt FROM moving", (), |row| row.get(0)).map(Some)
    };
    attempt().map_err(|source| OpenError::sqlite(path, source))
}

/// What was moved is not used any more, and what is used is not being moved.
pub(super) fn mark_as_used(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match mark_of(connection, path)? {
        Mark::InUse => Ok(()),
        Mark::BeingMoved => mark(connection, path, Mark::InUse),
        Mark::Moved => Err(OpenError::Moved { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use kerria_core::{
        Cause, DataKey, LogEvent, LogNumber, Selector, SessionId, TokenHash, TokenId, Transport, UserId,
        store::{Found, LogPage, SessionData, Sessions, Tokens},
    };
    use tempfile::TempDir;

    use super::*;
    use crate::{Checked, SqliteStore, backup, check};

    const VERSION_1: &str = include_str!("samples/version_1.sql");

    /// A file as a server of schema version 1 left it.
    fn of_version_1(folder: &TempDir) -> PathBuf {
        let path = folder.path().join("kerria.db");
        let connection = opening::connect_for_writing(&opening::create(&path).unwrap()).unwrap();
        apply(&connection, 1, &MIGRATIONS[0]).unwrap();
        connection.execute_batch(VERSION_1).unwrap();
        path
    }

    #[tokio::test]
    async fn a_file_from_before_there_were_tokens_loses_no_session_and_no_log_entry() {
        let folder = TempDir::new().unwrap();
        let path = of_version_1(&folder);
        assert_eq!(
            pending_migrations(&path).unwrap(),
            ["0002_tokens", "0003_errands", "0004_groups", "0005_expiry"]
        );
        assert_eq!(migrate(&path).unwrap(), Migrated { from: 1, to: 5 });
        let expected =
            Checked { problems: Vec::new(), schema: 5, users: 1, sessions: 3, last_number: LogNumber(5) };
        assert_eq!(check(&path).unwrap(), expected);
        let store = SqliteStore::open(&path).unwrap();
        let alice = UserId::from_bytes([10; 16]);
        let session = |number| SessionId::from_bytes([number; 16]);
        for (number, transport, user) in [
            (1, Transport::Cookie, Some(alice)),
            (2, Transport::Bearer, Some(alice)),
            (3, Transport::Cookie, None),
        ] {
            let found = store.find(&TokenHash::from_bytes([number; 32])).await.unwrap().unwrap();
            assert_eq!((found.session.id, found.session.transport), (session(number), transport));
            assert_eq!((found.session.user, found.as_of), (user, LogNumber(5)));
            assert_eq!(found.session.last_seen_at.as_millis(), 1_800_000_000_000 + i64::from(number));
            let by_handle = Found { other_token: Some(TokenHash::from_bytes([number; 32])), ..found };
            assert_eq!(store.session(session(number)).await.unwrap(), Some((by_handle, None)));
        }
        let cart = store.data(session(3), &DataKey::parse("cart").unwrap()).await.unwrap();
        assert_eq!(cart.as_deref(), Some("[1]"));
        let LogPage::Entries(entries) = store.log_after(LogNumber(1), 10).await.unwrap() else { panic!() };
        let events: Vec<_> =
            entries.iter().map(|entry| (entry.number.0, entry.selector, entry.event)).collect();
        let ended = |cause| LogEvent::Ended { cause };
        assert_eq!(
            events,
            [
                (2, Selector::Session { session: session(4) }, ended(Cause::SignedOut)),
                (3, Selector::User { user: alice }, LogEvent::Changed),
                (4, Selector::UserExcept { user: alice, except: session(1) }, ended(Cause::PasswordChanged)),
                (5, Selector::Everyone, ended(Cause::Operator)),
            ]
        );
        assert_eq!(entries[0].at.as_millis(), 1_800_000_000_002);
        let start_over = LogPage::StartOver { head: LogNumber(5) };
        assert_eq!(store.log_after(LogNumber(0), 10).await.unwrap(), start_over, "what was trimmed stays so");
        let selector = Selector::Token { token: TokenId::from_bytes([1; 16]) };
        let revoked = store.revoke(selector, Cause::Operator, None, entries[0].at).await.unwrap();
        assert_eq!(revoked.number, LogNumber(6));
    }

    #[test]
    fn a_file_that_waits_for_a_migration_can_be_checked_and_backed_up() {
        let folder = TempDir::new().unwrap();
        let (path, copy) = (of_version_1(&folder), folder.path().join("backup.db"));
        let checked = check(&path).unwrap();
        assert_eq!((checked.problems.as_slice(), checked.schema, checked.sessions), (&[][..], 1, 3));
        backup(&path, &copy, |_, _| ()).unwrap();
        assert_eq!(check(&copy).unwrap().problems, [""; 0]);
        assert_eq!(migrate(&copy).unwrap(), Migrated { from: 1, to: 5 });
        let restored = check(&copy).unwrap();
        assert_eq!((restored.problems.as_slice(), restored.users, restored.sessions), (&[][..], 1, 0));
    }
}
