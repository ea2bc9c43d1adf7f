//! Bringing the database's schema up to date.
//!
//! A migration that was released is never changed; another one follows it. The number of those that were run stands in
//! the table `kerria_schema`.

use tracing::info;

use super::{connection::Connection, errors::ConnectError, locks};
use crate::sql::{Ask, Result};

struct Migration {
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 1] =
    [Migration { name: "0001_initial", sql: include_str!("../../migrations/postgres/0001_initial.sql") }];

/// The latest schema version that this program knows.
fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("there are not that many migrations")
}

/// Looks whether the database is one that we can use, and brings it up to date. Of several processes that want to, one
/// does, and the others wait for it.
pub(super) fn run(connection: &Connection, database: &str) -> Result<(), ConnectError> {
    let asked: &dyn Ask = connection;
    let server = |source| ConnectError::Server { database: database.to_owned(), source };
    let encoding: String =
        asked.the("SELECT current_setting('server_encoding')", (), |row| row.get(0)).map_err(server)?;
    if encoding != "UTF8" {
        return Err(ConnectError::Encoding { database: database.to_owned(), found: encoding });
    }
    // Looking takes no lock and no right to change anything.
    if version(connection, database)? == known() {
        return Ok(());
    }
    connection.be_patient().and_then(|()| connection.batch(&locks::hold_schema())).map_err(server)?;
    let from = version(connection, database)?;
    apply(connection, from).map_err(server)?;
    for migration in MIGRATIONS.iter().skip(from as usize) {
        info!(migration = migration.name, "migrated the database {database} to {}", migration.name);
    }
    Ok(())
}

fn apply(connection: &Connection, from: u32) -> Result<()> {
    let asked: &dyn Ask = connection;
    connection.batch("BEGIN ISOLATION LEVEL READ COMMITTED")?;
    connection.batch(
        "CREATE TABLE IF NOT EXISTS kerria_schema ( \
             one SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL)",
    )?;
    for migration in MIGRATIONS.iter().skip(from as usize) {
        connection.batch(migration.sql)?;
    }
    asked.change(
        "INSERT INTO kerria_schema (one, version) VALUES (1, ?1) \
         ON CONFLICT (one) DO UPDATE SET version = excluded.version",
        [known()],
    )?;
    connection.batch("COMMIT")
}

/// The schema version of the database; 0 if there is nothing of ours in it.
fn version(asked: &dyn Ask, database: &str) -> Result<u32, ConnectError> {
    let server = |source| ConnectError::Server { database: database.to_owned(), source };
    let exists = |table: &str| {
        asked.the("SELECT to_regclass(?1) IS NOT NULL", [table], |row| row.get::<bool>(0)).map_err(server)
    };
    if !exists("kerria_schema")? {
        if exists("session")? || exists("account")? {
            return Err(ConnectError::NotOurs { database: database.to_owned() });
        }
        return Ok(0);
    }
    let found = asked
        .one("SELECT version FROM kerria_schema", (), |row| row.get::<u32>(0))
        .map_err(server)?
        .unwrap_or(0);
    if found > known() {
        return Err(ConnectError::Newer { database: database.to_owned(), found, known: known() });
    }
    Ok(found)
}
