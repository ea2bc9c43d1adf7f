//! One connection to a server.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use kerria_core::{LogNumber, SessionId, Timestamp, store::Trouble};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Runtime,
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement, types::ToSql};
use tracing::debug;

use super::{
    errors::{Fault, is_fatal, silent, store_error},
    listener, locks,
    options::{CONNECT, Server},
};
use crate::sql::{Ask, Read, Result, Root, Value};

/// How long the server may take for one statement. It gives up itself a little earlier, and says so.
const STATEMENT: Duration = Duration::from_millis(4500);

/// Settings of every connection. Nothing waits for ever, and least of all for a process that stands still in the middle of a step:
/// what that holds, the server takes away long before others have waited for too long. And what is committed is on the disk, whatever the server does
/// by default.
const SETTINGS: &str = "SET statement_timeout = '4s'; SET lock_timeout = '4s'; \
     SET idle_in_transaction_session_timeout = '2s'; SET default_transaction_isolation = 'read committed'; \
     SET jit = off; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// A connection that is used by one thread, which waits for every answer.
pub(crate) struct Connection {
    runtime: Rc<Runtime>,
    client: Client,
    task: Driving,
    statements: RefCell<HashMap<Box<str>, Statement>>,
    fault: Cell<Option<Fault>>,
    patience: Cell<Duration>,
}

impl Connection {
    /// Connects to the first of `servers` that takes writes. `heard` is told of notifications.
    pub(super) fn open(runtime: &Rc<Runtime>, servers: &[Server], heard: &Arc<Notify>) -> Result<Self> {
        let mut refused = None;
        for server in servers {
            let attempt = async { timeout(CONNECT, connect(server, heard)).await.map_err(silent)? };
            match runtime.block_on(attempt) {
                Ok((client, task)) => {
                    let connection = Self {
                        runtime: Rc::clone(runtime),
                        client,
                        task,
                        statements: RefCell::default(),
                        fault: Cell::new(None),
                        patience: Cell::new(STATEMENT),
                    };
                    connection.batch(SETTINGS)?;
                    return Ok(connection);
                }
                // The first one says best why there is none.
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| Trouble::Unavailable.into()))
    }

    /// Whether it can still be used, as far as anybody has said.
    pub(super) fn is_open(&self) -> bool {
        // The task that reads from the server runs only while somebody waits here.
        self.runtime.block_on(tokio::task::yield_now());
        !self.client.is_closed()
    }

    /// What has failed since somebody last asked.
    pub(super) fn take_fault(&self) -> Option<Fault> {
        self.fault.take()
    }

    /// Runs statements without values.
    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Commits, and lets those who listen know that the log has grown to `number`. `None` if nobody can tell whether it has
    /// happened.
    pub(super) fn commit(&self, number: Option<LogNumber>) -> Option<Result<()>> {
        let notified = number.map(listener::notify).unwrap_or_default();
        // A commit whose wait for a standby is cancelled by a time-out claims to have succeeded. Without one, it is
        // our own patience that ends, and we know that we do not know.
        let sql = format!("{notified}SET LOCAL statement_timeout = 0; COMMIT");
        match self.wait(self.client.batch_execute(&sql)) {
            Ok(()) => Some(Ok(())),
            Err(error) => {
                let said = error.source.as_ref()?.downcast_ref::<tokio_postgres::Error>()?.as_db_error()?;
                if is_fatal(said) { None } else { Some(Err(error)) }
            }
        }
    }

    /// Lets statements take as long as they need. For migrations.
    pub(super) fn be_patient(&self) -> Result<()> {
        self.patience.set(Duration::from_secs(3600));
        self.batch(
            "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
        )
    }

    /// Waits for a notification, for `longest`.
    pub(super) fn listen(&self, heard: &Notify, longest: Duration) {
        // Whether it was heard or the time is over: the log is read.
        let _ = self.runtime.block_on(async { timeout(longest, heard.notified()).await });
    }

    /// Says goodbye.
    pub(super) fn close(self) {
        let Self { runtime, client, mut task, .. } = self;
        drop(client);
        // It ends by itself, or with the thread.
        let _ = runtime.block_on(async { timeout(Duration::from_millis(100), &mut task.0).await });
    }

    pub(super) fn prepared(&self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(&numbered(sql)))?;
        self.statements.borrow_mut().insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement with values of its own kinds.
    pub(super) fn run(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let statement = self.prepared(sql)?;
        self.wait(self.client.execute(&statement, values))
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        match self.runtime.block_on(async { timeout(self.patience.get(), answer).await }) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.fault.set(Some(Fault::of(&error)));
                Err(store_error(error))
            }
            Err(elapsed) => {
                self.fault.set(Some(Fault::Silence));
                Err(silent(elapsed))
            }
        }
    }
}

/// The task that reads from a connection and writes to it, as long as somebody uses it.
struct Driving(JoinHandle<()>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ask for Connection {
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64> {
        self.run(sql, &values.iter().map(|value| value as _).collect::<Vec<_>>())
    }

    fn query(&self, sql: &str, values: &[Value<'_>], read: &mut Read<'_>) -> Result<()> {
        let statement = self.prepared(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        for row in self.wait(self.client.query(&statement, &values))? {
            if !read(&row)? {
                break;
            }
        }
        Ok(())
    }

    fn hold(&self, root: &Root<'_>) -> Result<()> {
        locks::hold(self, root)
    }

    fn touch(&self, seen: &[(SessionId, Timestamp)]) -> Result<()> {
        let sessions: Vec<_> = seen.iter().map(|(session, _)| session.as_bytes().as_slice()).collect();
        let times: Vec<_> = seen.iter().map(|(_, at)| at.as_millis()).collect();
        self.run(
            "UPDATE session SET last_seen_at = seen.at \
             FROM unnest(?1::bytea[], ?2::bigint[]) AS seen (id, at) \
             WHERE session.id = seen.id AND session.last_seen_at < seen.at",
            &[&sessions, &times],
        )
        .map(drop)
    }
}

async fn connect(server: &Server, heard: &Arc<Notify>) -> Result<(Client, Driving)> {
    let heard = Arc::clone(heard);
    match &server.tls {
        None => {
            let (client, connection) = server.config.connect(NoTls).await.map_err(store_error)?;
            Ok((client, Driving(tokio::spawn(drive(connection, heard)))))
        }
        Some(tls) => {
            let (client, connection) = server.config.connect(tls.clone()).await.map_err(store_error)?;
            Ok((client, Driving(tokio::spawn(drive(connection, heard)))))
        }
    }
}

/// Reads what the server sends, and sends what it is asked.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, heard: Arc<Notify>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => heard.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                debug!(error = &error as &dyn std::error::Error, "a connection to the database broke");
                break;
            }
            None => break,
        }
    }
    // Who waits for a notification looks after the connection.
    heard.notify_one();
}

/// To PostgreSQL, `$1` is the first value. There is no other `?` in a statement.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}
