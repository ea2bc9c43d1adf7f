//! What SQLite says, in the words of the contract and of the operator.

use std::{
    io,
    path::{Path, PathBuf},
};

use kerria_core::store::{StoreError, Trouble};
use rusqlite::{Error, ErrorCode, ffi};

/// Why the file could not be opened. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error(
        "another Kerria process is using {}: stop it first, or give this one a folder of its own",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a newer version of the program.
    #[error(
        "{} has schema version {found}, and this program knows versions up to {known}: \
         run a newer Kerria, or restore the backup made before the update",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest version that this program knows.
        known: u32,
    },
    /// Its sessions are kept elsewhere, and somebody would keep them there.
    #[error(
        "the sessions of {} are kept in Redis: set redis.url, or run `kerria db without-redis` to keep them in the file from \
         now on, which signs everybody out",
        path.display()
    )]
    Elsewhere {
        /// The file.
        path: PathBuf,
    },
    /// It is an SQLite file, but not one of ours.
    #[error("{} belongs to another program: choose another file", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// It was moved to a PostgreSQL database.
    #[error(
        "{} was moved to a PostgreSQL database: say in the configuration where that is (database.url_file), and keep this file \
         until you are sure that you do not need it",
        path.display()
    )]
    Moved {
        /// The file.
        path: PathBuf,
    },
    /// A setting without which nothing would be safe has no effect here.
    #[error(
        "{} cannot be used safely: SQLite's {setting} is {found} here, and has to be {needed} (is it on a network \
         file system?)",
        path.display()
    )]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        needed: &'static str,
    },
    /// The file system refused.
    #[error("{} cannot be opened", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in it cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// SQLite refused.
    #[error("{} cannot be opened: {trouble}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What kind of trouble it is.
        trouble: Trouble,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn unreadable(path: &Path, source: StoreError) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    pub(super) fn sqlite(path: &Path, source: Error) -> Self {
        Self::Sqlite { path: path.to_owned(), trouble: trouble(&source), source: source.into() }
    }
}

pub(super) fn store_error(error: Error) -> StoreError {
    StoreError::new(trouble(&error), error)
}

pub(super) fn trouble(error: &Error) -> Trouble {
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => Trouble::Full,
            // SQLite says "full" by itself, except when it cannot grow the index of the write-ahead log.
            ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Trouble::Full,
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Trouble::ReadOnly,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Trouble::Unavailable,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Trouble::Damaged,
            _ => Trouble::Failed,
        },
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..) => Trouble::Damaged,
        _ => Trouble::Failed,
    }
}
