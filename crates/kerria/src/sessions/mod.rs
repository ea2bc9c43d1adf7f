//! The sessions of an application that keeps its users itself.
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Router, routing::get};
//! use kerria::{Session, SessionError, SessionOptions, Sessions};
//! # use kerria_store::SqliteStore; // with the feature `sqlite`, it is `kerria::SqliteStore`
//!
//! async fn count(session: Session) -> Result<String, SessionError> {
//!     let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1).await?;
//!     Ok(format!("You were here {visits} times.\n"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("sessions.db");
//! let store = Arc::new(SqliteStore::open(&path)?);
//! let sessions = Sessions::start(store, SessionOptions::new("http://localhost:3000".parse()?)).await?;
//! let app: Router = Router::new().route("/", get(count)).layer(sessions.layer());
//! # Ok(())
//! # }
//! ```

mod flash;
mod require;
mod session;
mod stored;
mod upkeep;

use std::{fmt, sync::Arc, time::Duration};

use kerria_core::{
    Cause, Clock, DataLimits, Entropy, RotationRule, Selector, SessionId, SessionPolicy, Store, StoreError,
    TokenKey, UserId,
    entropy::random_bytes,
    store::{InstallationKeys, Revoked, SessionDetails, SessionLimit},
};
use url::Url;

pub use require::{Denied, Require, require, require_fresh, require_login, require_own_page};
pub use session::{CurrentUser, LoadUser, MissingLayer, Session, SessionError, UserError};
pub use stored::{SessionValue, Stored};

use crate::{
    Binding, Checker, CheckerSettings, Outage, SecretCookie, SessionLayer, SystemClock, SystemEntropy,
    csrf::OwnOrigin,
};

/// What an application may decide about its sessions. Each has a default that does for most.
#[derive(Clone)]
pub struct SessionOptions {
    origin: Url,
    cookie: String,
    policy: SessionPolicy,
    limit: Option<SessionLimit>,
    binding: Binding,
    rotation: RotationRule,
    outage: Outage,
    data: DataLimits,
    cache_entries: u32,
    last_seen_precision: Duration,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl SessionOptions {
    /// For an application that browsers find at this address, as in `https://shop.example.com`. If it begins with `https`, the
    /// cookie is for TLS alone.
    #[must_use]
    pub fn new(origin: Url) -> Self {
        Self {
            origin,
            cookie: "session".to_owned(),
            policy: SessionPolicy::default(),
            limit: None,
            binding: Binding::default(),
            rotation: RotationRule::default(),
            outage: Outage::default(),
            data: DataLimits::default(),
            cache_entries: 100_000,
            last_seen_precision: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// What the cookie is called: `session`, if nothing is said. On an `https` origin, `__Host-` is put before it.
    #[must_use]
    pub fn cookie(self, name: &str) -> Self {
        Self { cookie: name.to_owned(), ..self }
    }

    /// How long sessions last without use, and in any case.
    #[must_use]
    pub fn policy(self, policy: SessionPolicy) -> Self {
        Self { policy, ..self }
    }

    /// How many sessions a user may have.
    #[must_use]
    pub fn limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// What happens when a session is used from another place than the one that opened it: by another kind of browser, or from
    /// another network, if the application knows from where requests come. The audit log of the store tells of it.
    #[must_use]
    pub fn binding(self, binding: Binding) -> Self {
        Self { binding, ..self }
    }

    /// When the tokens in cookies are replaced while they are used.
    #[must_use]
    pub fn rotation(self, rotation: RotationRule) -> Self {
        Self { rotation, ..self }
    }

    /// What happens to sessions in memory when a store that several processes share does not answer.
    #[must_use]
    pub fn outage(self, outage: Outage) -> Self {
        Self { outage, ..self }
    }

    /// How much one session may hold.
    #[must_use]
    pub fn data(self, limits: DataLimits) -> Self {
        Self { data: limits, ..self }
    }

    /// How many sessions are kept in memory: 100,000, if nothing is said. More than that still work.
    #[must_use]
    pub fn cache_entries(self, entries: u32) -> Self {
        Self { cache_entries: entries, ..self }
    }

    /// How often it is written down when sessions were last used: every 30 seconds, if nothing is said. To another process, a session may
    /// look unused for so much longer than it is.
    #[must_use]
    pub fn last_seen_precision(self, every: Duration) -> Self {
        Self { last_seen_precision: every, ..self }
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Takes random bytes from here. Whoever can guess them can guess every token; what is not the system's is for tests.
    #[must_use]
    pub fn entropy(self, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, ..self }
    }
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions").field("origin", &self.origin.as_str()).finish_non_exhaustive()
    }
}

/// Why an application cannot have sessions.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No cookie can be called so.
    #[error("no cookie can be called {0:?}: take a name of letters, digits, '-' and '_', as in \"session\"")]
    CookieName(String),
}

/// Whether a cookie can be called so (RFC 6265, section 4.1.1): whether it is a token of RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}

/// The sessions of an application. A clone is the same.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    checker: Arc<Checker>,
    cookie: SecretCookie,
    own_origin: OwnOrigin,
    options: SessionOptions,
}

impl Sessions {
    /// Sessions in this store. Needs a Tokio runtime: what is over is removed in the background, for as long as there is a clone
    /// of this.
    ///
    /// # Errors
    /// If the store fails, or no cookie can be called what the options say.
    pub async fn start(store: Arc<dyn Store>, options: SessionOptions) -> Result<Self, StartError> {
        if !is_token(&options.cookie) {
            return Err(StartError::CookieName(options.cookie));
        }
        let entropy = &*options.entropy;
        let fresh = InstallationKeys { token: random_bytes(entropy), form: random_bytes(entropy) };
        let keys = store.installation_keys(fresh).await?;
        let settings = CheckerSettings {
            policy: options.policy,
            binding: options.binding,
            cache_entries: options.cache_entries,
            rotation: options.rotation,
            outage: options.outage,
        };
        let checker = Checker::start(Arc::clone(&store), TokenKey::from_bytes(keys.token), settings).await?;
        let cookie = SecretCookie::new(&options.cookie, &options.origin);
        let own_origin = OwnOrigin::new(&options.origin);
        let sessions = Arc::new(Inner { store, checker, cookie, own_origin, options });
        upkeep::start(&sessions);
        Ok(Self(sessions))
    }

    /// The layer that finds the session of every request, for [`Session`] and for what requires one.
    #[must_use]
    pub fn layer(&self) -> SessionLayer {
        let Inner { checker, cookie, options, .. } = &*self.0;
        SessionLayer::new(Arc::clone(checker), Arc::clone(&options.clock), cookie.clone())
            .with_rotation(Arc::clone(&options.entropy))
            .with_sessions(self.clone())
    }

    /// What checks sessions.
    #[must_use]
    pub fn checker(&self) -> &Arc<Checker> {
        &self.0.checker
    }

    /// Tells requests of own pages from those of others, by `Sec-Fetch-Site` and `Origin`.
    #[must_use]
    pub fn own_origin(&self) -> &OwnOrigin {
        &self.0.own_origin
    }

    /// The sessions of a user, the last used first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn of(&self, user: UserId) -> Result<Vec<SessionDetails>, StoreError> {
        Ok(self.0.checker.with_last_uses(self.0.store.sessions_of(user).await?))
    }

    /// Ends one session. Once this has returned, nobody accepts it any more.
    ///
    /// # Errors
    /// If the store fails. Then it is not known whether the session has ended.
    pub async fn end(&self, session: SessionId) -> Result<Revoked, StoreError> {
        self.revoke(Selector::Session { session }, Cause::Operator).await
    }

    /// Ends all sessions of a user: their password was changed, or they may not be here any more. To be called once that is stored;
    /// a sign-in that is under way may still open one after it, unless it looks again (see [`login`](Session::login)).
    ///
    /// # Errors
    /// If the store fails. Then it is not known which have ended.
    pub async fn end_all(&self, user: UserId) -> Result<Revoked, StoreError> {
        self.revoke(Selector::User { user }, Cause::Operator).await
    }

    /// Writes down when sessions were last used and from where, and gives up the lease, so that nobody has to wait for this process. The last
    /// thing that is asked of it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.0.flush().await?;
        self.0.store.leave().await
    }

    /// How much one session may hold.
    pub(crate) fn data_limits(&self) -> DataLimits {
        self.0.options.data
    }

    async fn revoke(&self, selector: Selector, cause: Cause) -> Result<Revoked, StoreError> {
        let revoked = self.0.store.revoke(selector, cause, None, self.0.options.clock.now()).await?;
        self.0.checker.forget_unless_applied(revoked.number);
        Ok(revoked)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.0.options.origin)
    }
}
