//! What PostgreSQL says, in the words of the contract and of the operator.

use std::path::PathBuf;

use kerria_core::store::{StoreError, Trouble};
use tokio::time::error::Elapsed;
use tokio_postgres::{
    Error,
    error::{DbError, SqlState},
};

/// Why the store cannot be used. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address of the server cannot be read.
    #[error(
        "the address of the database is no PostgreSQL URL: write one such as postgres://user@host:5432/database, with special \
         characters in the password percent-encoded"
    )]
    Address(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The address names no server, or no database.
    #[error("the address of the database names no {0}: write it as postgres://user@host:5432/database")]
    Incomplete(&'static str),
    /// The certificates that servers are to be verified against cannot be read.
    #[error("the certificates in {} cannot be read", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be used at all.
    #[error("TLS cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A newer version of the program has changed it so that this one cannot work on it.
    #[error(
        "the database {database} has schema version {found}, on which programs can work that know version {oldest} or a later one, \
         and this program knows versions up to {known}: run a newer Kerria, or restore the backup made before the update"
    )]
    Newer {
        /// The database.
        database: String,
        /// Its version.
        found: u32,
        /// The version that a program has to know to work on it.
        oldest: u32,
        /// The latest version that this program knows.
        known: u32,
    },
    /// Its sessions are kept elsewhere, and somebody would keep them there.
    #[error(
        "the sessions of the database {database} are kept in Redis: set redis.url, or run `kerria db without-redis` to keep them \
         in the database from now on, which signs everybody out"
    )]
    Elsewhere {
        /// The database.
        database: String,
    },
    /// There are tables of another program in it.
    #[error("the database {database} belongs to another program: choose another one")]
    NotOurs {
        /// The database.
        database: String,
    },
    /// Something is being moved into it.
    #[error(
        "an installation is being moved into the database {database}: finish that with \
         `kerria db migrate --from sqlite:…/kerria.db`, as it was begun"
    )]
    BeingMoved {
        /// The database.
        database: String,
    },
    /// The server is older than what we need.
    #[error(
        "the database {database} is on PostgreSQL {found}, and needs 15 or newer: upgrade the server, or choose another one"
    )]
    Old {
        /// The database.
        database: String,
        /// The server's version.
        found: String,
    },
    /// It cannot hold every text.
    #[error("the database {database} is encoded in {found}, and has to be in UTF8: create it anew")]
    Encoding {
        /// The database.
        database: String,
        /// Its encoding.
        found: String,
    },
    /// The server did not answer, or refused.
    #[error("the database {database} {why}")]
    Server {
        /// The database.
        database: String,
        /// What it means.
        why: Refusal,
        /// What was said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// No thread could be started.
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
}

/// Why a server does not let us use a database, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no connection.
    #[error("cannot be reached (does PostgreSQL run there, and does database.url name the right place?)")]
    Unreachable,
    /// There is no answer.
    #[error("does not answer in time (does PostgreSQL run there, and is the network open?)")]
    Silent,
    /// The user is not let in.
    #[error(
        "does not let us in (check the user and the password in database.url, and the server's pg_hba.conf)"
    )]
    SignIn,
    /// It is not there.
    #[error("does not exist (create it with `createdb`, or correct database.url)")]
    Missing,
    /// The user is let in, and may not do what is needed.
    #[error("lets us in, but does not allow what is needed (make the user the database's owner)")]
    Rights,
    /// It takes no writes.
    #[error("takes no writes (name the primary in database.url, or all servers with commas between them)")]
    ReadOnly,
    /// TLS fails.
    #[error(
        "cannot be reached through TLS (switch it on at the server, and name the certificate that vouches for it in \
         database.ca_file; or write ?sslmode=disable at the end of database.url, in a network that you trust)"
    )]
    Tls,
    /// There are too many connections.
    #[error(
        "has no connection left for us (raise max_connections at the server, or lower database.connections)"
    )]
    Full,
    /// Anything else.
    #[error("cannot be used")]
    Other,
}

impl ConnectError {
    /// What has come of talking to the server about `database`.
    pub(crate) fn server(database: &str, error: StoreError) -> Self {
        Self::Server { database: database.to_owned(), why: Refusal::of(&error), source: error.source }
    }
}

impl Refusal {
    fn of(error: &StoreError) -> Self {
        let Some(source) = &error.source else { return Self::Other };
        if source.is::<Elapsed>() {
            return Self::Silent;
        }
        let Some(said) = source.downcast_ref::<Error>() else { return Self::Other };
        match said.code().map(SqlState::code) {
            Some(code) if code.starts_with("28") => Self::SignIn,
            Some("3D000") => Self::Missing,
            Some("42501") => Self::Rights,
            Some("25006") => Self::ReadOnly,
            Some("53300") => Self::Full,
            Some(_) => Self::Other,
            None => Self::unsaid(said),
        }
    }

    /// What the driver notices by itself, it tells by its words alone.
    fn unsaid(said: &Error) -> Self {
        let mut words = said.to_string();
        let mut cause = std::error::Error::source(said);
        while let Some(next) = cause {
            words.push_str(&next.to_string());
            cause = next.source();
        }
        let tells = |word: &str| words.contains(word);
        match () {
            () if tells("TLS") => Self::Tls,
            () if tells("does not allow writes") => Self::ReadOnly,
            () if tells("password") || tells("authentication") => Self::SignIn,
            () => Self::Unreachable,
        }
    }
}

/// What to do after a statement has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The statement failed, and nothing else.
    Statement,
    /// The transaction stood in the way of another one, and is to be run again.
    InTheWay,
    /// Nothing can be done with this connection any more; with another one, perhaps.
    Connection,
    /// The same, and the server has said so: it has done nothing of what it was asked.
    Refused,
    /// The server kept silent. There is no time left to ask another one.
    Silence,
}

impl Fault {
    /// Whether another connection may do.
    pub(super) const fn is_of_connection(self) -> bool {
        matches!(self, Self::Connection | Self::Refused)
    }

    pub(super) fn of(error: &Error) -> Self {
        let Some(error) = error.as_db_error() else { return Self::Connection };
        match error.code() {
            &SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE => Self::InTheWay,
            // A server that only reads, or stops: the one to write to is another one, or this one soon.
            &SqlState::READ_ONLY_SQL_TRANSACTION if !is_fatal(error) => Self::Refused,
            code if code.code().starts_with("57P") || code.code().starts_with("08") || is_fatal(error) => {
                Self::Connection
            }
            _ => Self::Statement,
        }
    }
}

/// Whether the server has closed the connection with it. After such an error, nobody can tell whether a commit that was
/// under way has happened.
pub(super) fn is_fatal(error: &DbError) -> bool {
    !matches!(error.parsed_severity(), Some(tokio_postgres::error::Severity::Error))
}

pub(super) fn store_error(error: Error) -> StoreError {
    StoreError::new(trouble(&error), error)
}

pub(super) fn silent(error: Elapsed) -> StoreError {
    StoreError::new(Trouble::Unavailable, error)
}

fn trouble(error: &Error) -> Trouble {
    let Some(code) = error.code().map(SqlState::code) else { return Trouble::Unavailable };
    match code {
        // disk_full
        "53100" => Trouble::Full,
        // read_only_sql_transaction, insufficient_privilege
        "25006" | "42501" => Trouble::ReadOnly,
        // data_corrupted, index_corrupted
        "XX001" | "XX002" => Trouble::Damaged,
        // lock_not_available, query_canceled, idle_in_transaction_session_timeout
        "55P03" | "57014" | "25P03" => Trouble::Unavailable,
        // Connections, authorisation, databases that are not there, resources, deadlocks, shutdown.
        _ if ["08", "28", "3D", "53", "40", "57P"].iter().any(|class| code.starts_with(class)) => {
            Trouble::Unavailable
        }
        _ => Trouble::Failed,
    }
}
