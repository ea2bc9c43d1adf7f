//! Files and connections.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{errors::OpenError, migrations};

/// How long a connection waits for another one. Shorter than the deadline of a caller.
const BUSY: Duration = Duration::from_secs(3);

/// More than the statements there are.
const STATEMENTS: usize = 128;

/// Creates the file if there is none, for its owner alone, and returns its one true path.
pub(super) fn create(path: &Path) -> Result<PathBuf, OpenError> {
    let created = private().create(true).truncate(false).open(path).and_then(|_| path.canonicalize());
    created.map_err(|source| OpenError::io(path, source))
}

/// How files are opened that nobody but their owner may read. SQLite gives its other files the mode of the first.
pub(super) fn private() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// `path` with something at its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps other processes from using the same file, until it is dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let lock = beside(path, ".lock");
        let file = private()
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(|source| OpenError::io(&lock, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(OpenError::io(&lock, source)),
        }
    }
}

/// A file that nobody else uses, brought up to date.
pub(crate) struct WholeFile {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    _lock: Lock,
}

impl WholeFile {
    /// Takes a file that is there.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let path = path.canonicalize().map_err(|source| OpenError::io(path, source))?;
        let lock = Lock::take(&path)?;
        let connection = connect_for_writing(&path)?;
        migrations::run(&connection, &path)?;
        Ok(Self { connection, path, _lock: lock })
    }
}

/// The connection of the writer: what it commits is on the disk.
pub(super) fn connect_for_writing(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::sqlite(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    settle(&connection).map_err(sqlite)?;
    require(&connection, path, "journal_mode", "wal")?;
    // 2 is FULL.
    require(&connection, path, "synchronous", "2")?;
    Ok(connection)
}

/// A connection that only reads. There has to be one that writes.
pub(super) fn connect_for_reading(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::sqlite(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    settle(&connection).map_err(sqlite)?;
    Ok(connection)
}

pub(super) fn connect_in_memory() -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::sqlite(Path::new(":memory:"), source);
    let connection = Connection::open_in_memory().map_err(sqlite)?;
    settle(&connection).map_err(sqlite)?;
    Ok(connection)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")
}

/// Makes a setting, and reads it back: SQLite keeps silent about what it cannot do.
fn require(
    connection: &Connection,
    path: &Path,
    setting: &'static str,
    needed: &'static str,
) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::sqlite(path, source);
    // Changing the journal mode answers with a row, changing the other setting does not.
    connection.pragma_update_and_check(None, setting, needed, |_| Ok(())).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(sqlite(error)),
    })?;
    let found = connection
        .pragma_query_value(None, setting, |row| {
            row.get_ref(0).map(|value| match value.as_i64() {
                Ok(number) => number.to_string(),
                Err(_) => value.as_str().unwrap_or_default().to_owned(),
            })
        })
        .map_err(sqlite)?;
    if found == needed {
        Ok(())
    } else {
        Err(OpenError::Unsafe { path: path.to_owned(), setting, found, needed })
    }
}

/// Makes sure that a file's new name survives a power loss.
pub(super) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::File::open(folder)?.sync_all(),
        _ => fs::File::open(".")?.sync_all(),
    }
}
