//! Where Kerria keeps things: in an SQLite file, in a PostgreSQL database, or the sessions in Redis beside one of these.
//!
//! [`SqliteStore`] and [`PostgresStore`] implement the storage contract of `kerria_core::store`, with the same steps in
//! the same SQL, and [`SplitStore`] with one of them and Redis. Around the first are the tools of an operator: [`migrate`], [`pending_migrations`], [`check`] and
//! [`backup`]. The rules of the contract are written down as sentences in the conformance suite (feature
//! `conformance`), which every store has to pass.

#[cfg(feature = "conformance")]
pub mod conformance;
mod data_cache;
mod errand;
mod feed;
mod moving;
mod observer;
mod postgres;
mod queue;
mod redis;
mod split;
mod sql;
mod sqlite;
#[cfg(all(unix, feature = "testing"))]
pub mod testing;
mod tls;

pub use feed::Node;
pub use moving::{MoveError, Moved, move_to_postgres};
pub use observer::{Access, Nobody, Observer};
pub use postgres::{ConnectError, Examined, PostgresOptions, PostgresStore, Refusal};
pub use redis::{ExaminedSessions, RedisError, RedisOptions};
pub use split::{SplitError, SplitStore, examine_sessions};
pub use sql::SqlStore;
pub use sqlite::{
    BackupError, Checked, Migrated, OpenError, SqliteStore, backup, check, keep_sessions_here, migrate,
    pending_migrations,
};
