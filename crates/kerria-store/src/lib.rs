//! Where Kerria keeps things: in an SQLite file, in a PostgreSQL database, or the sessions in Redis beside one of these.
//!
//! [`SqliteStore`] and `PostgresStore` implement the storage contract of `kerria_core::store`, with the same steps in
//! the same SQL, and `SplitStore` with one of them and Redis. Around the first are the tools of an operator: [`migrate`], [`pending_migrations`], [`check`] and
//! [`backup`]. The rules of the contract are written down as sentences in the conformance suite (feature
//! `conformance`), which every store has to pass.
//!
//! # Features
//!
//! None is on by itself, and each only adds.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `postgres` | `PostgresStore`, and moving there from a file |
//! | `redis` | `SplitStore`: sessions in Redis or Valkey |
//! | `conformance` | the rules, for a store of your own |
//! | `testing` | PostgreSQL and Redis servers for tests |
#![cfg_attr(
    not(all(feature = "postgres", feature = "redis")),
    expect(dead_code, reason = "what only another store uses is here in any case")
)]

#[cfg(feature = "conformance")]
pub mod conformance;
mod data_cache;
mod errand;
mod feed;
mod last_written;
#[cfg(feature = "postgres")]
mod moving;
mod observer;
#[cfg(feature = "postgres")]
mod postgres;
mod queue;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod split;
mod sql;
mod sqlite;
#[cfg(all(unix, feature = "testing"))]
pub mod testing;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod tls;

pub use feed::Node;
#[cfg(feature = "postgres")]
pub use moving::{MoveError, Moved, move_to_postgres};
pub use observer::{Access, Nobody, Observer};
#[cfg(feature = "postgres")]
pub use postgres::{ConnectError, Examined, PostgresOptions, PostgresStore, Refusal};
#[cfg(feature = "redis")]
pub use redis::{ExaminedSessions, RedisError, RedisOptions};
#[cfg(feature = "redis")]
pub use split::{SplitError, SplitStore, examine_sessions};
pub use sql::SqlStore;
pub use sqlite::{
    BackupError, Checked, Migrated, OpenError, SqliteStore, backup, check, groups_in_use, keep_sessions_here,
    migrate, pending_migrations,
};
