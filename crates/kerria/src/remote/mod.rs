//! A checker in an application, behind which stands a Kerria server in other processes.
//!
//! It answers from its own memory under a lease, as the nodes of the server themselves do, and with the same promise: once an end
//! has been answered, it accepts nothing that was ended. What goes over the wire is in [`protocol`](crate::protocol).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kerria::{RemoteChecker, RemoteOptions};
//!
//! let token = std::fs::read_to_string("/run/secrets/kerria-checkers-token")?;
//! let options = RemoteOptions::new(["https://sign-in.example.com"], token.trim());
//! let checker = RemoteChecker::start(options.name("shop-1")).await?;
//! let app: axum::Router = axum::Router::new().layer(checker.layer());
//! # Ok(())
//! # }
//! ```

mod nodes;
mod source;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use kerria_core::{CheckerId, Clock, Entropy, LeaseTerms, Secret, SessionPolicy, StoreError, TokenKey};
use tokio::time::{interval, timeout};
use tracing::{debug, warn};

use crate::{
    SystemClock, SystemEntropy,
    checker::{Checker, CheckerSettings},
    cookie::SecretCookie,
    https::CertificatesError,
    layer::SessionLayer,
    outage::Outage,
    protocol::{Settings, paths},
};
pub use nodes::AskError;
use nodes::Nodes;
use source::RemoteSource;

/// How many sessions are kept in memory, unless it is said otherwise.
const CACHE_ENTRIES: u32 = 100_000;

/// How long the last words of a checker may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a [`RemoteChecker`] reaches its server.
#[derive(Clone)]
pub struct RemoteOptions {
    nodes: Vec<String>,
    token: Secret<String>,
    name: Option<String>,
    authorities: Option<PathBuf>,
    insecure_http: bool,
    cache_entries: u32,
    outage: Outage,
    clock: Arc<dyn Clock>,
}

impl RemoteOptions {
    /// Follows these nodes of one installation, each an origin as in `https://sign-in.example.com`. One of them is asked; another
    /// one as soon as that fails. `token` is what is set there as `checkers.token`.
    #[must_use]
    pub fn new<N: Into<String>>(nodes: impl IntoIterator<Item = N>, token: &str) -> Self {
        Self {
            nodes: nodes.into_iter().map(Into::into).collect(),
            token: token.into(),
            name: None,
            authorities: None,
            insecure_http: false,
            cache_entries: CACHE_ENTRIES,
            outage: Outage::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// What people call this process, where all that follow the server are listed.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Verifies nodes against the certificates in this PEM file instead of the system's.
    #[must_use]
    pub fn authorities(mut self, path: &Path) -> Self {
        self.authorities = Some(path.to_owned());
        self
    }

    /// Talks to nodes on other machines without TLS, too. Whoever is on the way can then read the token and who is signed in, and
    /// change what is answered.
    #[must_use]
    pub fn allow_insecure_http(mut self) -> Self {
        self.insecure_http = true;
        self
    }

    /// How many sessions are kept in memory: 100,000, if nothing is said.
    #[must_use]
    pub fn cache_entries(mut self, entries: u32) -> Self {
        self.cache_entries = entries;
        self
    }

    /// What happens to sessions in memory when no node answers.
    #[must_use]
    pub fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// Takes the time from this clock. Leases do not run by it.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl fmt::Debug for RemoteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteOptions").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// Why a checker cannot start. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// What is given as a node is none.
    #[error("{0} is not the address of a node: give its origin, as in https://sign-in.example.com")]
    Address(String),
    /// What is said could be read on the way.
    #[error("{0} is reached without TLS: use https, or allow insecure HTTP in a network that you trust")]
    Insecure(String),
    /// No node is given.
    #[error("no node is given")]
    NoNode,
    /// The token cannot be sent.
    #[error("the token of checkers is empty, or has characters that cannot be sent")]
    Token,
    /// Certificates cannot be read.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// No node has answered as it should. This is what the last one said.
    #[error("no node can be followed: {0}")]
    Ask(#[from] AskError),
    /// A node answers, and no lease can be got.
    #[error("no node lets this process follow it: {}", why(.0))]
    Follow(#[from] StoreError),
}

/// What a node said is more than that it could not be asked.
fn why(error: &StoreError) -> String {
    error.source.as_ref().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A checker that follows a Kerria server in other processes.
pub struct RemoteChecker {
    checker: Arc<Checker>,
    source: Arc<RemoteSource>,
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl RemoteChecker {
    /// Asks a node for what a checker has to know, and begins to follow. Needs a Tokio runtime, and goes on for as long as the
    /// checker is not dropped.
    ///
    /// # Errors
    /// What is in the way, in words for the operator.
    pub async fn start(options: RemoteOptions) -> Result<Self, RemoteError> {
        let nodes = Arc::new(Nodes::new(&options)?);
        let settings: Settings = nodes.read(paths::SETTINGS).await?;
        let clock = options.clock;
        let id = CheckerId::new(clock.now(), &SystemEntropy);
        let name = options.name.unwrap_or_else(|| format!("process {}", std::process::id()));
        let terms = LeaseTerms { length: settings.lease.into() };
        let source = Arc::new(RemoteSource::start(nodes, id, name, terms));
        let checking = CheckerSettings {
            policy: settings.policy.into(),
            binding: settings.binding.into(),
            cache_entries: options.cache_entries,
            rotation: settings.rotation.into(),
            outage: options.outage,
        };
        let key = TokenKey::from_bytes(settings.token_key.0);
        let checker = Checker::over(Arc::clone(&source) as _, key, checking).await?;
        let (told, every) = (Arc::downgrade(&checker), settings.touch_every.into());
        tokio::spawn(tell_uses(told, Arc::clone(&clock), every));
        Ok(Self { checker, source, settings, clock })
    }

    /// The checker itself.
    #[must_use]
    pub const fn checker(&self) -> &Arc<Checker> {
        &self.checker
    }

    /// A layer that checks the session of every request: in the server's cookie, if browsers send it to this application, or as a
    /// bearer token. Access tokens take a [verifier](crate::jwt::Verifier) more, for
    /// [`with_access_tokens`](SessionLayer::with_access_tokens).
    #[must_use]
    pub fn layer(&self) -> SessionLayer {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        SessionLayer::new(Arc::clone(&self.checker), Arc::clone(&self.clock), self.cookie())
            .with_rotation(entropy)
    }

    /// The session cookie of the server.
    #[must_use]
    pub fn cookie(&self) -> SecretCookie {
        SecretCookie::called(&self.settings.cookie)
    }

    /// Who issues the access tokens of the installation (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// How long sessions last.
    #[must_use]
    pub fn policy(&self) -> SessionPolicy {
        self.settings.policy.into()
    }

    /// Tells what is still to be told, and goes away, so that nobody has to wait for this process any more. From then on it asks
    /// for every session, and knows nothing of access tokens.
    ///
    /// # Errors
    /// If the server could not be told. Then it waits for a lease, once.
    pub async fn stop(&self) -> Result<(), StoreError> {
        if !matches!(timeout(FAREWELL, self.checker.flush(self.clock.now())).await, Ok(Ok(_))) {
            warn!("the last uses of some sessions could not be told");
        }
        self.source.leave().await
    }
}

impl fmt::Debug for RemoteChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteChecker({})", self.settings.issuer)
    }
}

/// Tells the server when sessions were used, for as long as the checker is there.
async fn tell_uses(checker: Weak<Checker>, clock: Arc<dyn Clock>, every: Duration) {
    let mut tick = interval(every.max(Duration::from_millis(1)));
    tick.tick().await;
    loop {
        tick.tick().await;
        let Some(checker) = checker.upgrade() else { return };
        match checker.flush(clock.now()).await {
            Ok(sessions) => debug!(sessions, "told when {sessions} sessions were last seen"),
            Err(error) => warn!("when sessions were last seen is told later: {}", why(&error)),
        }
    }
}
