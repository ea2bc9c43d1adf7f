//! Sessions for axum and tower that are checked in memory and ended at once.
//!
//! A [`Checker`] answers the one question of every request, "is this session good?", from the memory of its own
//! process. The [`SessionLayer`] asks it and hands the answer to the handlers as a [`CurrentSession`]. The store that
//! stands behind them is told of every sign-in and asked about every token that is not in memory; it announces every
//! end before the call that caused it returns.
//!
//! Behind a checker in an application stands a Kerria node instead of a store: the `RemoteChecker` (feature `remote`)
//! follows it over HTTP, with the same promise.
//!
//! # Features
//!
//! None is on by itself, and each only adds.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `sqlite` | `SqliteStore`: sessions in a file, or in memory |
//! | `postgres` | `PostgresStore`: sessions in a database that several processes share |
//! | `redis` | `SplitStore`: sessions in Redis or Valkey, beside one of the two |
//! | `remote` | `RemoteChecker`: follows a Kerria server |
//! | `fetch` | `jwt::HttpKeySource`: fetches the keys that access tokens are verified with |
//! | `testing` | `testing`: for the tests of an application |

pub mod binding;
pub mod cache;
pub mod checker;
pub mod consistency;
pub mod cookie;
pub mod csrf;
pub mod current;
pub mod display_name;
#[cfg(feature = "fetch")]
pub mod https;
pub mod jwt;
pub mod layer;
pub mod moves;
pub mod outage;
mod profiles;
pub mod protocol;
mod reading;
#[cfg(feature = "remote")]
pub mod remote;
pub mod sessions;
pub mod system;
#[cfg(feature = "testing")]
pub mod testing;
pub mod upkeep;

pub use binding::Binding;
pub use checker::{Check, CheckCounters, Checked, Checker, CheckerSettings, Refusal};
pub use consistency::Consistency;
pub use cookie::{PresentedCookie, SecretCookie, cookies};
pub use csrf::{FormKey, OriginVerdict, OwnOrigin};
pub use current::{CurrentSession, SessionState};
pub use display_name::DisplayName;
pub use kerria_core::{
    Audience, Cause, CheckerId, Clock, DataLimits, Device, Entropy, Expiry, Groups, Lifetimes, Profile,
    RotationRule, Scope, Secret, SessionId, SessionPolicy, Store, StoreError, Timestamp, Transport, UserId,
    store::{AtLimit, Revoked, SessionDetails, SessionLimit},
};
#[cfg(feature = "sqlite")]
pub use kerria_store::SqliteStore;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub use kerria_store::{Nobody, Node, Observer};
#[cfg(feature = "postgres")]
pub use kerria_store::{PostgresOptions, PostgresStore};
#[cfg(feature = "redis")]
pub use kerria_store::{RedisOptions, SplitStore};
pub use layer::{ClientAddress, SessionLayer, bearer, session_tokens};
pub use moves::Move;
pub use outage::Outage;
#[cfg(feature = "remote")]
pub use remote::{RemoteChecker, RemoteError, RemoteOptions};
pub use sessions::{
    CurrentUser, Denied, LoadUser, Require, Session, SessionError, SessionOptions, SessionValue, Sessions,
    StartError, Stored, require, require_fresh, require_login, require_own_page,
};
pub use system::{ManualClock, Stopwatch, SystemClock, SystemEntropy};

/// What the page on the library shows is compiled, and run where it can be.
#[cfg(all(doctest, feature = "testing", feature = "remote"))]
#[doc = include_str!("../../../docs/library.md")]
struct Page;
