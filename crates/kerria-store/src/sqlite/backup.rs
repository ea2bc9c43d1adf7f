//! Copying the file while it is in use.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use super::{
    errors::OpenError,
    migrations,
    opening::{beside, connect_for_reading, private, sync_folder_of},
};

/// How much is copied between two reports of progress: about 4 MB.
const PAGES: i32 = 1024;

/// How many numbers of the revocation log a copy leaves to what happens after the backup: more than a server can give
/// between two backups, and few enough that a number always fits into 53 bits of JSON.
const NUMBERS_LEFT_OUT: i64 = 1 << 32;

/// Why there is no backup. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is a file already.
    #[error("{} exists: choose another name, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What is to be copied cannot be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The copy could not be made.
    #[error("the copy {} cannot be made", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The copy could not be kept.
    #[error("the copy {} cannot be kept", path.display())]
    Io {
        /// The copy.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Copies the file as it is at one instant; a server may be using it, and goes on writing. The copy appears under its
/// name when it is complete and on the disk, and never takes the place of another file. `progress` hears how many pages
/// were copied, and how many there are.
///
/// The copy holds accounts and clients, but no sessions, no reference tokens, no signing keys, no invitations and no known
/// devices: what was ended, thrown away or used up since would come back to life when it is restored. Its revocation log is empty and
/// goes on far behind the last number, so that no access token from before the restore is believed on its number alone.
///
/// # Errors
/// What is in the way, in words for the operator.
pub fn backup(from: &Path, to: &Path, progress: impl FnMut(u64, u64)) -> Result<(), BackupError> {
    if to.exists() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let source = connect_for_reading(from)?;
    migrations::version(&source, from)?;
    let partial = Partial::create(to)?;
    copy(&source, &partial.0, progress)
        .map_err(|source| BackupError::Copy { path: to.to_owned(), source: source.into() })?;
    partial.keep_as(to)
}

fn copy(source: &Connection, to: &Path, mut progress: impl FnMut(u64, u64)) -> rusqlite::Result<()> {
    // The read transaction holds one snapshot. Without it, every write of the server would start the copy over.
    let snapshot = source.unchecked_transaction()?;
    snapshot.query_row("SELECT number FROM log_counter", (), |_| Ok(()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags)?;
    let backup = Backup::new(&snapshot, &mut copy)?;
    loop {
        let step = backup.step(PAGES)?;
        let pages = |count: i32| u64::try_from(count).unwrap_or_default();
        let (total, remaining) = (pages(backup.progress().pagecount), pages(backup.progress().remaining));
        progress(total.saturating_sub(remaining), total);
        if step == StepResult::Done {
            break;
        }
    }
    drop(backup);
    forget_what_may_end(&copy)?;
    copy.execute_batch("VACUUM")?;
    // One file that holds everything, until somebody opens it.
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    copy.close().map_err(|(_, error)| error)
}

/// What was ended or used up after the backup must not come back with it. Accounts are kept; everybody signs in again.
/// What was spent stays spent.
fn forget_what_may_end(copy: &Connection) -> rusqlite::Result<()> {
    let tables = [
        "session",
        "session_data",
        "reference_token",
        "signing_key",
        "invitation",
        "known_device",
        "log",
        // Whoever keeps sessions elsewhere ends all of them when the copy is first used.
        "sessions_elsewhere",
    ];
    for table in tables {
        // A file that waits for a migration does not have them all.
        if copy.table_exists(None, table)? {
            copy.execute(&format!("DELETE FROM {table}"), ())?;
        }
    }
    // An access token bears the number of the log at which it was issued. No number that was given after the backup may
    // be given again after a restore: a token of the life before would outrank what is ended in this one.
    copy.execute("UPDATE log_counter SET number = number + ?1, removed = number + ?1", [NUMBERS_LEFT_OUT])?;
    Ok(())
}

/// A copy that is not complete yet. It is removed if it never is.
struct Partial(PathBuf);

impl Partial {
    fn create(to: &Path) -> Result<Self, BackupError> {
        let path = beside(to, &format!(".{}.partial", std::process::id()));
        match private().create_new(true).open(&path) {
            Ok(_) => Ok(Self(path)),
            Err(source) => Err(BackupError::Io { path, source }),
        }
    }

    fn keep_as(self, to: &Path) -> Result<(), BackupError> {
        let kept = fs::File::open(&self.0).and_then(|file| file.sync_all()).and_then(|()| {
            // A link, because a rename would replace a file that has appeared meanwhile.
            fs::hard_link(&self.0, to)?;
            fs::remove_file(&self.0)?;
            sync_folder_of(to)
        });
        kept.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path: to.to_owned() },
            _ => BackupError::Io { path: to.to_owned(), source },
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already, if all went well.
        let _ = fs::remove_file(&self.0);
    }
}
