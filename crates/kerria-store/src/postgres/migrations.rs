//! Bringing the database's schema up to date.
//!
//! A migration that was released is never changed; another one follows it. The number of those that were run stands in
//! the table `kerria_schema`, and beside it the oldest program that can still work on what they have made. So nodes can be
//! replaced one by one: an older one goes on, and even starts again, on a schema that was only added to.

use tracing::{info, warn};

use super::{connection::Connection, errors::ConnectError, locks};
use crate::{
    Migrated,
    sql::{Ask, Result},
};

struct Migration {
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 5] = [
    Migration { name: "0001_initial", sql: include_str!("../../migrations/postgres/0001_initial.sql") },
    Migration { name: "0002_errands", sql: include_str!("../../migrations/postgres/0002_errands.sql") },
    Migration { name: "0003_groups", sql: include_str!("../../migrations/postgres/0003_groups.sql") },
    Migration { name: "0004_expiry", sql: include_str!("../../migrations/postgres/0004_expiry.sql") },
    Migration {
        name: "0005_put_session_data",
        sql: include_str!("../../migrations/postgres/0005_put_session_data.sql"),
    },
];

/// The oldest program that can work on the schema as the last migration leaves it, by the latest version that it knows. One that adds
/// something leaves this as it is; one that removes or changes what older programs use, or relies on what they do not do, raises it.
const OLDEST_PROGRAM: u32 = 2;

/// The oldest server that will do, as `server_version_num` writes it. Before it, there are no unlogged sequences.
const OLDEST: u32 = 150_000;

/// The latest schema version that this program knows.
pub(super) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("there are not that many migrations")
}

/// Looks whether the database is one that we can use, and brings it up to date. Of several processes that want to, one
/// does, and the others wait for it.
pub(super) fn run(connection: &Connection, database: &str) -> Result<Migrated, ConnectError> {
    check_server(connection, database)?;
    // Looking takes no lock and no right to change anything.
    let found = version(connection, database)?;
    if found > known() {
        warn!(
            "the database {database} has schema version {found}, and this program knows versions up to {}: it can work on it, and \
             should be replaced by the newer one soon",
            known()
        );
    }
    if found >= known() {
        return Ok(Migrated { from: found, to: found });
    }
    let server = |source| ConnectError::server(database, source);
    connection.be_patient().and_then(|()| connection.batch(&locks::hold_schema())).map_err(server)?;
    let from = version(connection, database)?;
    // Another process was first, and may be a newer one.
    if from >= known() {
        return Ok(Migrated { from, to: from });
    }
    apply(connection, from).map_err(server)?;
    for migration in MIGRATIONS.iter().skip(from as usize) {
        info!(migration = migration.name, "migrated the database {database} to {}", migration.name);
    }
    Ok(Migrated { from, to: known() })
}

/// Begins a move into the database. The table says how much of each table is there, and under `attempt`, which move it is. As long
/// as it exists, nobody may use the database.
pub(crate) const BEGIN_TO_MOVE: &str = "CREATE TABLE IF NOT EXISTS moving (name TEXT NOT NULL PRIMARY KEY, copied BIGINT NOT NULL); \
     TRUNCATE moving";

/// Whether a move into the database was begun, and is not finished.
pub(crate) fn is_being_moved_into(asked: &Connection) -> Result<bool> {
    let asked: &dyn Ask = asked;
    asked.the("SELECT to_regclass('moving') IS NOT NULL", (), |row| row.get(0))
}

/// A half of an installation is none.
pub(super) fn refuse_what_is_being_moved(
    connection: &Connection,
    database: &str,
) -> Result<(), ConnectError> {
    match is_being_moved_into(connection) {
        Ok(false) => Ok(()),
        Ok(true) => Err(ConnectError::BeingMoved { database: database.to_owned() }),
        Err(source) => Err(ConnectError::server(database, source)),
    }
}

/// Looks whether the server and the database can do what is asked of them.
pub(super) fn check_server(asked: &dyn Ask, database: &str) -> Result<(), ConnectError> {
    let (number, version, encoding) = asked
        .the(
            "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), \
             current_setting('server_encoding')",
            (),
            |row| Ok((row.get::<u32>(0)?, row.get::<String>(1)?, row.get::<String>(2)?)),
        )
        .map_err(|source| ConnectError::server(database, source))?;
    judge(database, number, version, encoding)
}

fn judge(database: &str, number: u32, version: String, encoding: String) -> Result<(), ConnectError> {
    let database = database.to_owned();
    if number < OLDEST {
        return Err(ConnectError::Old { database, found: version });
    }
    if encoding != "UTF8" {
        return Err(ConnectError::Encoding { database, found: encoding });
    }
    Ok(())
}

fn apply(connection: &Connection, from: u32) -> Result<()> {
    let asked: &dyn Ask = connection;
    connection.batch("BEGIN ISOLATION LEVEL READ COMMITTED")?;
    connection.batch(
        "CREATE TABLE IF NOT EXISTS kerria_schema ( \
             one SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL); \
         ALTER TABLE kerria_schema ADD COLUMN IF NOT EXISTS oldest INTEGER NOT NULL DEFAULT 1",
    )?;
    for migration in MIGRATIONS.iter().skip(from as usize) {
        connection.batch(migration.sql)?;
    }
    asked.change(
        "INSERT INTO kerria_schema (one, version, oldest) VALUES (1, ?1, ?2) \
         ON CONFLICT (one) DO UPDATE SET version = excluded.version, oldest = excluded.oldest",
        [known(), OLDEST_PROGRAM],
    )?;
    connection.batch("COMMIT")
}

/// The schema version of the database; 0 if there is nothing of ours in it. It may be newer than what this program knows, if it can
/// work on it nevertheless.
pub(super) fn version(asked: &dyn Ask, database: &str) -> Result<u32, ConnectError> {
    let server = |source| ConnectError::server(database, source);
    let exists = |table: &str| {
        asked.the("SELECT to_regclass(?1) IS NOT NULL", [table], |row| row.get::<bool>(0)).map_err(server)
    };
    if !exists("kerria_schema")? {
        if exists("session")? || exists("account")? {
            return Err(ConnectError::NotOurs { database: database.to_owned() });
        }
        return Ok(0);
    }
    // Whoever has made a newer one has added the column.
    let (found, oldest) = asked
        .one(
            "SELECT version, coalesce((to_jsonb(kerria_schema) ->> 'oldest')::integer, version) FROM kerria_schema",
            (),
            |row| Ok((row.get::<u32>(0)?, row.get::<u32>(1)?)),
        )
        .map_err(server)?
        .unwrap_or_default();
    if found > known() && oldest > known() {
        return Err(ConnectError::Newer { database: database.to_owned(), found, oldest, known: known() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused_in_plain_words() {
        let judged = |number, encoding: &str| {
            let told = judge("kerria", number, "14.9 (Debian 14.9-1)".to_owned(), encoding.to_owned());
            told.map_err(|why| why.to_string())
        };
        assert_eq!(
            judged(140_009, "UTF8").unwrap_err(),
            "the database kerria is on PostgreSQL 14.9 (Debian 14.9-1), and needs 15 or newer: upgrade the server, or \
             choose another one"
        );
        assert_eq!(judged(150_000, "UTF8"), Ok(()));
        assert!(judged(170_002, "LATIN1").unwrap_err().contains("LATIN1"));
    }
}
