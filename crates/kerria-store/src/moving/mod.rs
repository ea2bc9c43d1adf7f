//! Moving an installation from an SQLite file to a PostgreSQL database, with every session in it.
//!
//! Until the last row is copied, the file is the installation: a server can go on with it, and the next attempt begins
//! anew. An attempt that was interrupted, and whose file nobody has used since, goes on where it was. At the end the file
//! is marked as moved, and only then may a server use the database. So there are never two installations. Should it be interrupted
//! between the last two steps, no server starts on either, and another attempt does what is left.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use kerria_core::store::StoreError;
use rusqlite::Connection as File;

use crate::{
    postgres::{self, ConnectError, PostgresConnection, PostgresOptions},
    sql::{Ask, Held, Result as Asked, Value},
    sqlite::{self, Mark, OpenError},
};

/// Rows that are written and committed together. What they hold has to be fewer values than a statement takes, 65,535.
const TOGETHER: usize = 500;

/// All tables, in an order in which what a row refers to is there before it.
const TABLES: [&str; 16] = [
    "installation",
    "account",
    "known_device",
    "invitation",
    "client",
    "signing_key",
    "session",
    "session_data",
    "reference_token",
    "spent",
    "door",
    "log_counter",
    "log",
    "audit",
    "sessions_elsewhere",
    "errand",
];

/// Under which name the database knows which attempt has left what is there.
const ATTEMPT: &str = "attempt";

/// Those whose rows the database numbers.
const NUMBERED: [&str; 2] = ["audit", "errand"];

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many users.
    pub users: u64,
    /// How many sessions, expired ones included.
    pub sessions: u64,
    /// How many rows in all, of which an earlier attempt may have moved some.
    pub rows: u64,
    /// Where they are now, without the secrets of the URL.
    pub to: String,
}

/// Why nothing was moved, or not everything. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] ConnectError),
    /// There is something in the database.
    #[error("the database {database} is not empty: create another one for the move")]
    NotEmpty {
        /// The database.
        database: String,
    },
    /// An earlier attempt was about another file.
    #[error(
        "the move of another installation into the database {database} was begun: finish that one, or create another database"
    )]
    AnotherFile {
        /// The database.
        database: String,
    },
    /// The file was moved, and not to this database.
    #[error("{} was moved before, and not into the database {database}: there is nothing left to do", path.display())]
    MovedBefore {
        /// The file.
        path: PathBuf,
        /// The database.
        database: String,
    },
    /// There are fewer rows in the database than in the file, or more.
    #[error(
        "the table {table} has {found} rows in the database {database}, and {expected} in the file: create another database, and \
         move the file there"
    )]
    Miscounted {
        /// The table.
        table: &'static str,
        /// The database.
        database: String,
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// The file could not be read to its end.
    #[error("{} cannot be read: look for damage with `kerria db check`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// Moves what is in the file `from` into the database `to`, which has to be empty, or hold what an interrupted attempt has
/// left. No server may be using the file. `progress` hears how many rows are there, and of how many.
///
/// # Errors
/// What is in the way, in words for the operator. The file stays what it was, and can be used.
pub async fn move_to_postgres(
    from: &Path,
    to: PostgresOptions,
    progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<Moved, MoveError> {
    let from = from.to_owned();
    postgres::on_a_connection(&to, move |database, place| {
        let file = sqlite::WholeFile::take(&from)?;
        postgres::prepare_for_a_move(database, place)?;
        Move { file: &file.connection, path: &file.path, database, place, progress }.run()
    })
    .await
}

/// A move under way.
struct Move<'a, P> {
    file: &'a File,
    path: &'a Path,
    database: &'a PostgresConnection,
    place: &'a str,
    progress: P,
}

/// How an attempt begins.
enum Beginning {
    /// With nothing.
    Anew,
    /// Where the last one was interrupted.
    Again,
}

impl<P: FnMut(u64, u64)> Move<'_, P> {
    fn run(mut self) -> Result<Moved, MoveError> {
        if matches!(self.beginning()?, Beginning::Anew) {
            self.begin()?;
        }
        self.copy_all()?;
        let moved = self.count()?;
        NUMBERED.iter().try_for_each(|table| self.go_on_counting(table))?;
        sqlite::mark(self.file, self.path, Mark::Moved)?;
        self.on_database(|database| database.batch("DROP TABLE moving; ANALYZE"))?;
        Ok(moved)
    }

    /// Looks what there is on both sides.
    fn beginning(&self) -> Result<Beginning, MoveError> {
        let mark = sqlite::mark_of(self.file, self.path)?;
        let moved_before =
            || MoveError::MovedBefore { path: self.path.to_owned(), database: self.place.to_owned() };
        if !self.on_database(postgres::is_being_moved_into)? {
            if mark == Mark::Moved {
                return Err(moved_before());
            }
            for table in TABLES {
                // The counter of the log is there from the first.
                if self.rows_in_database(table)? > u64::from(table == "log_counter") {
                    return Err(MoveError::NotEmpty { database: self.place.to_owned() });
                }
            }
            return Ok(Beginning::Anew);
        }
        let key = |asked: &dyn Ask| {
            asked.one("SELECT token_key FROM installation", (), |row| row.get::<[u8; 16]>(0))
        };
        let (here, there) = (self.in_file(key)?, self.on_database(|database| key(database))?);
        if there.is_some() && here != there {
            return Err(MoveError::AnotherFile { database: self.place.to_owned() });
        }
        let attempt = self.on_database(|database| {
            let database: &dyn Ask = database;
            database.one("SELECT copied FROM moving WHERE name = ?1", [ATTEMPT], |row| row.get::<i64>(0))
        })?;
        let same = attempt.is_some() && attempt == sqlite::attempt_in(self.file, self.path)?;
        match (mark, same) {
            (Mark::BeingMoved | Mark::Moved, true) => Ok(Beginning::Again),
            (Mark::Moved, false) => Err(moved_before()),
            (Mark::InUse, _) | (Mark::BeingMoved, false) => Ok(Beginning::Anew),
        }
    }

    /// Empties the database of what an earlier attempt has left. From then on this one can be taken up again, until a server
    /// uses the file, or another attempt is made.
    fn begin(&self) -> Result<(), MoveError> {
        let attempt: i64 = self.in_file(|file| file.the("SELECT random()", (), |row| row.get(0)))?;
        self.on_database(|database| {
            database.batch("BEGIN")?;
            database.batch(&format!("TRUNCATE {}", TABLES.join(", ")))?;
            database.batch(postgres::BEGIN_TO_MOVE)?;
            let asked: &dyn Ask = database;
            asked.change("INSERT INTO moving (name, copied) VALUES (?1, ?2)", (ATTEMPT, attempt))?;
            database.batch("COMMIT")
        })?;
        Ok(sqlite::mark_as_being_moved(self.file, self.path, attempt)?)
    }

    fn copy_all(&mut self) -> Result<(), MoveError> {
        let of = TABLES.iter().map(|table| self.rows_in_file(table)).sum::<Result<u64, _>>()?;
        let mut before = 0;
        for table in TABLES {
            self.copy(table, before, of)?;
            before += self.rows_in_file(table)?;
        }
        Ok(())
    }

    /// Copies what is missing of a table.
    fn copy(&mut self, table: &'static str, before: u64, of: u64) -> Result<(), MoveError> {
        let columns = self.in_file(|file| Columns::of(file, table))?;
        let there: u64 = self.on_database(|database| {
            let database: &dyn Ask = database;
            let copied =
                database.one("SELECT copied FROM moving WHERE name = ?1", [table], |row| row.get(0))?;
            Ok(copied.unwrap_or(0))
        })?;
        let Self { file, database, place, progress, .. } = self;
        let (mut rows, mut failed, mut copied) = (Vec::new(), None, there);
        let mut write = |rows: &mut Vec<Kept>| {
            let written = copied + rows.len() as u64 / columns.names.len() as u64;
            columns.write(database, table, &std::mem::take(rows), written)?;
            copied = written;
            progress(before + copied, of);
            Ok::<_, StoreError>(())
        };
        let file: &dyn Ask = *file;
        let read = file.query(&columns.select(table), &[there.into()], &mut |row| {
            for at in 0..columns.names.len() {
                rows.push(Kept::of(row.held(at)?));
            }
            if rows.len() >= TOGETHER * columns.names.len() {
                failed = write(&mut rows).err();
            }
            Ok(failed.is_none())
        });
        if failed.is_none() && !rows.is_empty() {
            failed = write(&mut rows).err();
        }
        match failed {
            Some(source) => Err(ConnectError::server(place, source).into()),
            None => read.map_err(|source| MoveError::Unreadable { path: self.path.to_owned(), source }),
        }
    }

    /// Makes sure that nothing is missing.
    fn count(&self) -> Result<Moved, MoveError> {
        let mut moved = Moved { users: 0, sessions: 0, rows: 0, to: self.place.to_owned() };
        for table in TABLES {
            let (expected, found) = (self.rows_in_file(table)?, self.rows_in_database(table)?);
            if expected != found {
                return Err(MoveError::Miscounted {
                    table,
                    database: self.place.to_owned(),
                    found,
                    expected,
                });
            }
            moved.rows += found;
            match table {
                "account" => moved.users = found,
                "session" => moved.sessions = found,
                _ => {}
            }
        }
        Ok(moved)
    }

    /// Lets the database number what comes next with numbers that were never given.
    fn go_on_counting(&self, table: &str) -> Result<(), MoveError> {
        let last: i64 = self.in_file(|file| {
            file.the(
                &format!(
                    "SELECT max(coalesce((SELECT max(id) FROM {table}), 0), \
                     coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0))"
                ),
                [table],
                |row| row.get(0),
            )
        })?;
        self.on_database(|database| {
            let database: &dyn Ask = database;
            let next = "SELECT setval(pg_get_serial_sequence(?1, 'id'), ?2, FALSE)";
            database.the(next, (table, last + 1), |row| row.get::<i64>(0)).map(drop)
        })
    }

    fn rows_in_file(&self, table: &str) -> Result<u64, MoveError> {
        self.in_file(|file| rows_in(file, table))
    }

    fn rows_in_database(&self, table: &str) -> Result<u64, MoveError> {
        self.on_database(|database| rows_in(database, table))
    }

    fn in_file<T>(&self, ask: impl FnOnce(&dyn Ask) -> Asked<T>) -> Result<T, MoveError> {
        ask(self.file).map_err(|source| MoveError::Unreadable { path: self.path.to_owned(), source })
    }

    fn on_database<T>(&self, ask: impl FnOnce(&PostgresConnection) -> Asked<T>) -> Result<T, MoveError> {
        ask(self.database).map_err(|source| ConnectError::server(self.place, source).into())
    }
}

fn rows_in(asked: &dyn Ask, table: &str) -> Asked<u64> {
    asked.the(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))
}

/// The columns of a table, which are called the same on both sides.
struct Columns {
    names: Vec<String>,
    /// In the order of what.
    key: Vec<String>,
}

impl Columns {
    fn of(file: &dyn Ask, table: &str) -> Asked<Self> {
        let columns =
            file.all("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid", [table], |row| {
                Ok((row.get::<String>(0)?, row.get::<u32>(1)?))
            })?;
        let mut key: Vec<_> = columns.iter().filter(|(_, place)| *place > 0).collect();
        key.sort_by_key(|(_, place)| *place);
        let key = key.into_iter().map(|(name, _)| name.clone()).collect();
        let names = columns.into_iter().map(|(name, _)| name).collect();
        Ok(Self { names, key })
    }

    /// All rows but the first, as many as are said.
    fn select(&self, table: &str) -> String {
        let (names, key) = (self.names.join(", "), self.key.join(", "));
        format!("SELECT {names} FROM {table} ORDER BY {key} LIMIT -1 OFFSET ?1")
    }

    /// Writes rows, and how many there are with them, in one transaction.
    fn write(&self, database: &PostgresConnection, table: &str, values: &[Kept], copied: u64) -> Asked<()> {
        let width = self.names.len();
        let row = |row: usize| {
            let places: Vec<_> = (1..=width).map(|column| format!("?{}", row * width + column)).collect();
            format!("({})", places.join(", "))
        };
        let rows: Vec<_> = (0..values.len() / width).map(row).collect();
        let insert = format!(
            "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE VALUES {}",
            self.names.join(", "),
            rows.join(", ")
        );
        database.batch("BEGIN")?;
        let asked: &dyn Ask = database;
        asked.execute(&insert, &values.iter().map(Kept::value).collect::<Vec<_>>())?;
        asked.change(
            "INSERT INTO moving (name, copied) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET copied = excluded.copied",
            (table, copied),
        )?;
        database.batch("COMMIT")
    }
}

/// What stood in a column.
enum Kept {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Kept {
    fn of(held: Held<'_>) -> Self {
        match held {
            Held::Null => Self::Null,
            Held::Integer(number) => Self::Integer(number),
            Held::Text(text) => Self::Text(text.to_owned()),
            Held::Bytes(bytes) => Self::Bytes(bytes.to_owned()),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => (*number).into(),
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => bytes.as_slice().into(),
        }
    }
}
