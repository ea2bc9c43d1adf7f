//! The tools of an operator: migrating a database, and looking at its server. Neither takes part in serving.

use std::{rc::Rc, sync::Arc, thread};

use kerria_core::{
    Groups, SigningKey,
    store::{StoreError, Trouble},
};
use tokio::sync::{Notify, oneshot};

use super::{
    connection::Connection,
    errors::ConnectError,
    migrations,
    options::{PostgresOptions, Server},
    workers::runtime,
};
use crate::{
    Migrated,
    sql::{Ask, Result as Asked, accounts, errands, keys},
};

/// What was found at a server that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The version of the server, as in `15.4`.
    pub version: String,
    /// What texts are encoded in.
    pub encoding: String,
    /// The version of the schema; 0 if there is nothing of ours yet.
    pub schema: u32,
    /// The latest one that this program knows.
    pub known_schema: u32,
    /// Settings that are off, and without which what is committed may be lost when the machine fails.
    pub unsafe_settings: Vec<String>,
    /// The signing keys, which the sealing key opens.
    pub signing_keys: Vec<SigningKey>,
    /// The groups that somebody is in, if the schema is the latest one.
    pub groups: Option<Groups>,
}

/// Brings the database up to date.
pub(super) async fn migrate(options: &PostgresOptions) -> Result<Migrated, ConnectError> {
    on_a_connection(options, migrate_for_use).await
}

fn migrate_for_use(connection: &Connection, database: &str) -> Result<Migrated, ConnectError> {
    migrations::refuse_what_is_being_moved(connection, database)?;
    migrations::run(connection, database)
}

/// Brings the database up to date for what is to be moved into it.
pub(crate) fn prepare_for_a_move(connection: &Connection, database: &str) -> Result<(), ConnectError> {
    migrations::run(connection, database)?;
    connection.be_patient().map_err(|source| ConnectError::server(database, source))
}

/// The same, for somebody who keeps the sessions there, too.
pub(super) async fn migrate_for_sessions(options: &PostgresOptions) -> Result<(), ConnectError> {
    on_a_connection(options, |connection, database| {
        migrate_for_use(connection, database)?;
        let server = |source| ConnectError::server(database, source);
        if errands::is_elsewhere(connection).map_err(server)? {
            return Err(ConnectError::Elsewhere { database: database.to_owned() });
        }
        Ok(())
    })
    .await
}

/// Forgets that the sessions are kept elsewhere.
pub(super) async fn keep_sessions_here(options: &PostgresOptions) -> Result<(), ConnectError> {
    on_a_connection(options, |connection, database| {
        migrate_for_use(connection, database)?;
        errands::end_elsewhere(connection).map_err(|source| ConnectError::server(database, source))
    })
    .await
}

/// Looks at the server and the database, and changes nothing.
pub(super) async fn examine(options: &PostgresOptions) -> Result<Examined, ConnectError> {
    on_a_connection(options, |connection, database| {
        migrations::check_server(connection, database)?;
        migrations::refuse_what_is_being_moved(connection, database)?;
        let schema = migrations::version(connection, database)?;
        look(connection, schema).map_err(|source| ConnectError::server(database, source))
    })
    .await
}

fn look(asked: &dyn Ask, schema: u32) -> Asked<Examined> {
    let setting = |name: &str| asked.the("SELECT current_setting(?1)", [name], |row| row.get::<String>(0));
    // Connections of ours turn the last one on for themselves; this is what all others begin with.
    let unsafe_settings = asked.all(
        "SELECT name FROM pg_settings WHERE reset_val = 'off' \
         AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name",
        (),
        |row| row.get::<String>(0),
    )?;
    let signing_keys = if schema == 0 { Vec::new() } else { keys::all(asked)? };
    let is_current = schema == migrations::known();
    Ok(Examined {
        version: setting("server_version")?,
        encoding: setting("server_encoding")?,
        schema,
        known_schema: migrations::known(),
        unsafe_settings,
        signing_keys,
        groups: is_current.then(|| accounts::groups_in_use(asked)).transpose()?,
    })
}

/// On a thread of its own, like everything that talks to the server.
pub(crate) async fn on_a_connection<T: Send + 'static, E: From<ConnectError> + Send + 'static>(
    options: &PostgresOptions,
    work: impl FnOnce(&Connection, &str) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let servers: Arc<[Server]> = options.servers()?.into();
    let database = options.place();
    let (reply, answer) = oneshot::channel();
    let working = database.clone();
    thread::Builder::new()
        .name("kerria-postgres-schema".to_owned())
        .spawn(move || {
            let outcome = connect(&servers, &working).map_err(E::from).and_then(|connection| {
                let outcome = work(&connection, &working);
                connection.close();
                outcome
            });
            // Whoever does not wait any more does not want to know.
            let _ = reply.send(outcome);
        })
        .map_err(ConnectError::Thread)?;
    answer.await.unwrap_or_else(|stopped| {
        Err(ConnectError::server(&database, StoreError::new(Trouble::Failed, stopped)).into())
    })
}

fn connect(servers: &[Server], database: &str) -> Result<Connection, ConnectError> {
    let runtime = Rc::new(runtime().map_err(ConnectError::Thread)?);
    Connection::open(&runtime, servers, &Arc::new(Notify::new()))
        .map_err(|source| ConnectError::server(database, source))
}
