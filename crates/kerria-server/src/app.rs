//! The application: everything that a request needs, once per process.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    fs::{File, TryLockError},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use anyhow::Context;
use axum::http::HeaderValue;
use kerria::{
    Checker, CheckerSettings, FormKey, Outage, OwnOrigin, SecretCookie, SessionLayer, SystemClock,
    SystemEntropy,
    jwt::{Verifier, VerifierSettings},
    upkeep::tell,
};
use kerria_core::{
    Algorithm, Audience, CheckerId, Clock, Entropy, LogEntry, LogNumber, Selector, Store, StoreError, Token,
    TokenKey, TokenKind, UserId,
    entropy::random_bytes,
    store::{Follower, InstallationKeys, Invitation, SessionDetails, Trouble},
};
use kerria_store::{
    ConnectError, Node, Observer, PostgresOptions, PostgresStore, RedisError, RedisOptions, SplitStore,
    SqliteStore,
};
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
};
use tracing::{info, warn};

use crate::{
    config::{Config, DatabaseSettings, RedisSettings},
    followers::Followers,
    forward_auth::hand_over,
    keys::{Keyring, sealing::SealingFile},
    maintenance,
    metrics::Metrics,
    news::News,
    passwords::Passwords,
    registration, tokens,
};

/// How long the link to the first account is good. A later start prints a new one.
const FIRST_ACCOUNT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How much may be done later at once.
const MOST_LATER: usize = 1_000;

/// Everything that a request needs.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Answers whether a session is good.
    pub checker: Arc<Checker>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Password hashing.
    pub passwords: Passwords,
    /// Makes and verifies the tokens of forms.
    pub form_key: FormKey,
    /// Tells our own pages from others.
    pub own_origin: OwnOrigin,
    /// Holds the session token.
    pub session_cookie: SecretCookie,
    /// Marks a device that its user has signed in from.
    pub device_cookie: SecretCookie,
    /// Holds the refresh token of a browser application that asks for that.
    pub refresh_cookie: SecretCookie,
    /// Holds its access token.
    pub access_cookie: SecretCookie,
    /// Names the session on hosts of other domains, and knows a browser again that comes back to one.
    pub visit_cookie: SecretCookie,
    /// Signs access tokens.
    pub keyring: Keyring,
    /// Verifies them.
    pub verifier: Arc<Verifier>,
    /// The `Content-Security-Policy` of the pages.
    pub page_policy: HeaderValue,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Wakes those who wait for entries of the revocation log.
    pub news: Arc<News>,
    /// The checkers in applications that renew their leases here.
    pub followers: Followers,
    /// The key of tokens, for checkers in other processes.
    pub token_key: [u8; 16],
    /// Hears of keys that another process has changed.
    key_watch: Arc<KeyWatch>,
    stop: watch::Sender<bool>,
    background: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    /// What was taken in, and is done without anybody waiting for it.
    later: Mutex<JoinSet<()>>,
    _folder: Option<File>,
}

/// Where time and randomness come from.
pub struct Edge {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Edge {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }
}

impl App {
    /// Opens the store in the configured folder (creating both on the first start), starts what works in the
    /// background, and returns the application. Fails if another process serves the same folder.
    ///
    /// # Errors
    /// A message for the operator that says what to do.
    pub async fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        Self::open_at(config, Edge::default()).await
    }

    /// The same, with time and randomness from `edge`.
    ///
    /// # Errors
    /// A message for the operator that says what to do.
    pub async fn open_at(config: Config, edge: Edge) -> anyhow::Result<Arc<Self>> {
        create_private_folder(&config.data_dir).with_context(|| {
            format!("cannot create the folder {} (setting data_dir)", config.data_dir.display())
        })?;
        let metrics = Arc::new(Metrics::new());
        let observer = Arc::clone(&metrics) as Arc<dyn Observer>;
        let database = postgres(&config.database)?;
        // A file has a lock of its own.
        let folder = database.as_ref().map(|_| lock_folder(&config.data_dir)).transpose()?;
        let store = open_store(&config, &edge, database, observer).await?;
        Self::assemble(config, store, metrics, edge, folder).await
    }

    /// The application over a store that is open already.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn over(config: Config, store: Arc<dyn Store>, edge: Edge) -> anyhow::Result<Arc<Self>> {
        Self::assemble(config, store, Arc::new(Metrics::new()), edge, None).await
    }

    async fn assemble(
        config: Config,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        edge: Edge,
        folder: Option<File>,
    ) -> anyhow::Result<Arc<Self>> {
        if config.checkers_token.is_some() && store.ledger().is_none() {
            anyhow::bail!("checkers in other processes cannot follow this store: remove checkers.token");
        }
        let fresh =
            InstallationKeys { token: random_bytes(&*edge.entropy), form: random_bytes(&*edge.entropy) };
        let keys = store.installation_keys(fresh).await?;
        let settings = CheckerSettings {
            policy: config.session.policy,
            binding: config.session.binding,
            cache_entries: config.session.cache_entries,
            rotation: config.session.rotation,
            outage: Outage::Refuse,
        };
        let checker = Checker::start(Arc::clone(&store), TokenKey::from_bytes(keys.token), settings).await?;
        let counts: Weak<dyn Follower> = Arc::downgrade(&metrics) as _;
        store.follow(counts).await?;
        let news = Arc::new(News::default());
        let hearing: Weak<dyn Follower> = Arc::downgrade(&news) as _;
        news.begin(store.follow(hearing).await?);
        let key_watch = Arc::new(KeyWatch::default());
        let watching: Weak<dyn Follower> = Arc::downgrade(&key_watch) as _;
        store.follow(watching).await?;
        let keyring = open_keyring(&config, &store, &edge).await?;
        if let Some(path) = &config.clients_file {
            registration::file::apply(path, &*store, &keyring, &config.tokens, edge.clock.now()).await?;
        }
        let cookie = |name| SecretCookie::new(name, &config.public_url);
        let app = Arc::new(Self {
            passwords: Passwords::start(config.password.clone(), Arc::clone(&edge.entropy)),
            form_key: FormKey::from_bytes(&keys.form),
            own_origin: OwnOrigin::new(&config.public_url),
            session_cookie: match &config.session.cookie_domain {
                Some(domain) => SecretCookie::for_domain("kerria", &config.public_url, domain),
                None => cookie("kerria"),
            },
            device_cookie: cookie("kerria-device"),
            refresh_cookie: cookie("kerria-refresh").strict(),
            access_cookie: cookie("kerria-access").strict(),
            visit_cookie: cookie(hand_over::COOKIE),
            verifier: Arc::clone(keyring.verifier()),
            keyring,
            page_policy: page_policy(&config),
            metrics,
            news,
            followers: Followers::default(),
            token_key: keys.token,
            key_watch,
            stop: watch::channel(false).0,
            background: tokio::sync::Mutex::default(),
            later: Mutex::default(),
            _folder: folder,
            clock: edge.clock,
            entropy: edge.entropy,
            config,
            store,
            checker,
        });
        *app.background.lock().await = vec![
            tokio::spawn(maintenance::run(Arc::clone(&app), app.stop.subscribe())),
            tokio::spawn(maintenance::follow_keys(Arc::clone(&app), app.stop.subscribe())),
        ];
        Ok(app)
    }

    /// Stops what works in the background and writes what is still to be written. "Last seen" of very many sessions may take
    /// longer than a stop should; then the rest of it stays as exact as `session.last_seen_precision` promises.
    pub async fn close(&self) {
        self.begin_stop();
        for task in std::mem::take(&mut *self.background.lock().await) {
            drop(task.await);
        }
        let later = std::mem::take(&mut *self.later());
        later.join_all().await;
        let told = tell(&*self.store, &self.checker, self.checker.moves_so_far()).await;
        let grace = self.config.shutdown_grace;
        let flushed = tokio::time::timeout(grace, self.checker.flush(self.clock.now())).await;
        if flushed.is_err() {
            warn!("the last uses of some sessions were not written within {grace:?}");
        }
        // Nobody has to wait for this process any more.
        let left = self.store.leave().await;
        for failed in [told.err(), flushed.ok().and_then(Result::err), left.err()].into_iter().flatten() {
            crate::problem::log_store_error(&failed);
        }
    }

    /// Does something without anybody waiting for it. [`close`](Self::close) waits for it.
    ///
    /// # Errors
    /// If too much is to be done already.
    pub fn do_later(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), StoreError> {
        let mut later = self.later();
        while later.try_join_next().is_some() {}
        if later.len() >= MOST_LATER {
            return Err(StoreError::new(Trouble::Busy, "too much is to be done later already"));
        }
        later.spawn(work);
        Ok(())
    }

    fn later(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everything that waits (open event streams, background work) that the server is about to stop.
    pub fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Completes when the server is about to stop.
    pub async fn stopping(&self) {
        maintenance::stopped(&mut self.stop.subscribe()).await;
    }

    /// Completes when the signing keys may be others than this process knows of.
    pub async fn keys_may_have_changed(&self) {
        tokio::select! {
            () = self.verifier.unknown_key() => {}
            () = self.key_watch.0.notified() => {}
        }
    }

    /// The layer that checks the session of every request.
    pub fn session_layer(&self) -> SessionLayer {
        SessionLayer::new(Arc::clone(&self.checker), Arc::clone(&self.clock), self.session_cookie.clone())
            .with_access_tokens(
                Arc::clone(&self.verifier),
                self.access_cookie.clone(),
                tokens::client::own_scope(),
            )
            .with_consistency(self.config.session.consistency)
            .with_rotation(Arc::clone(&self.entropy))
    }

    /// The sessions of a user, the last used first. Their last uses are exact, as far as this process knows.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn sessions_of(&self, user: UserId) -> Result<Vec<SessionDetails>, StoreError> {
        let mut sessions = self.checker.with_last_uses(self.store.sessions_of(user).await?);
        sessions.sort_by_key(|details| Reverse((details.session.last_seen_at, details.session.id)));
        Ok(sessions)
    }

    /// Who we are as an authorization server (RFC 8414, section 2).
    #[must_use]
    pub fn issuer(&self) -> String {
        issuer(&self.config)
    }

    /// Who we are as a resource server: what the access tokens of our own client are meant for.
    #[must_use]
    pub fn own_audience(&self) -> Audience {
        own_audience(&self.config)
    }

    /// A one-time link that creates the first account, if there is no account yet. Older such links stop working.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn first_account_link(&self) -> Result<Option<String>, StoreError> {
        if self.store.has_users().await? {
            return Ok(None);
        }
        self.store.withdraw_first_account_invitations().await?;
        self.invite(FIRST_ACCOUNT_LIFETIME, true).await.map(|(link, _)| Some(link))
    }

    /// A new invitation: the link, and when it is over.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn invite(
        &self,
        lifetime: Duration,
        first_account: bool,
    ) -> Result<(String, kerria_core::Timestamp), StoreError> {
        let now = self.clock.now();
        let token = Token::random(TokenKind::Invitation, &*self.entropy);
        let expires_at = now + lifetime;
        self.store.invite(&token.hash(), Invitation { expires_at, first_account }, now).await?;
        let mut link = self.config.public_url.clone();
        link.set_path("/join");
        link.query_pairs_mut().append_pair("invitation", token.write(self.checker.key()).expose());
        Ok((link.into(), expires_at))
    }
}

/// Hears when everyone's sessions were ended: that is when all signing keys are thrown away.
#[derive(Default)]
struct KeyWatch(Notify);

impl Follower for KeyWatch {
    fn apply(&self, entries: &[LogEntry]) {
        if entries.iter().any(|entry| entry.selector == Selector::Everyone) {
            self.0.notify_one();
        }
    }

    fn start_over(&self, _: LogNumber) {
        self.0.notify_one();
    }
}

/// Opens what the settings say, and tells the operator what that is.
async fn open_store(
    config: &Config,
    edge: &Edge,
    database: Option<PostgresOptions>,
    observer: Arc<dyn Observer>,
) -> anyhow::Result<Arc<dyn Store>> {
    let (node, path, now) = (node(config, edge), database_path(&config.data_dir), edge.clock.now());
    Ok(match (database, redis(&config.redis)?) {
        (None, None) if config.checkers_token.is_some() => {
            Arc::new(SqliteStore::open_for_checkers(&path, node, observer).await?)
        }
        (None, None) => Arc::new(SqliteStore::open_observed(&path, observer)?),
        (Some(database), None) => {
            info!("everything is kept in PostgreSQL");
            Arc::new(PostgresStore::connect(database, node, observer).await?)
        }
        (None, Some(redis)) => {
            info!("accounts are kept in {}, and sessions in Redis at {}", path.display(), redis.place());
            Arc::new(SplitStore::on_sqlite(&path, redis, node, observer, now).await?)
        }
        (Some(database), Some(redis)) => {
            info!("accounts are kept in PostgreSQL, and sessions in Redis at {}", redis.place());
            Arc::new(SplitStore::on_postgres(database, redis, node, observer, now).await?)
        }
    })
}

/// So that no two processes use one folder, and fight for its control socket.
fn lock_folder(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("kerria.lock");
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another Kerria process is using the folder {}: give this one a data_dir of its own; they may share the database",
            folder.display()
        ),
        Err(TryLockError::Error(why)) => Err(why).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// How the database is reached, if it is PostgreSQL.
///
/// # Errors
/// If its URL is none.
pub fn postgres(settings: &DatabaseSettings) -> Result<Option<PostgresOptions>, ConnectError> {
    let Some(url) = &settings.url else { return Ok(None) };
    let mut options = PostgresOptions::parse(url.expose())?;
    if let Some(connections) = NonZeroUsize::new(settings.connections as usize) {
        options = options.connections(connections);
    }
    if let Some(authorities) = &settings.ca_file {
        options = options.authorities(authorities);
    }
    Ok(Some(options))
}

/// How Redis is reached, if it keeps the sessions.
///
/// # Errors
/// If its URL is none.
pub fn redis(settings: &RedisSettings) -> Result<Option<RedisOptions>, RedisError> {
    let Some(url) = &settings.url else { return Ok(None) };
    let options = RedisOptions::from_url(url.expose())?;
    Ok(Some(match &settings.ca_file {
        Some(authorities) => options.with_ca_file(authorities),
        None => options,
    }))
}

/// This process among all that share a database.
fn node(config: &Config, edge: &Edge) -> Node {
    Node { id: CheckerId::new(edge.clock.now(), &*edge.entropy), name: node_name(config) }
}

/// What people call this process.
pub(crate) fn node_name(config: &Config) -> String {
    config.database.node_name.clone().unwrap_or_else(|| {
        let machine = rustix::system::uname();
        format!("{}:{}", machine.nodename().to_string_lossy(), std::process::id())
    })
}

fn issuer(config: &Config) -> String {
    config.public_url.origin().ascii_serialization()
}

fn own_audience(config: &Config) -> Audience {
    issuer(config).parse().expect("an origin is short plain ASCII")
}

async fn open_keyring(config: &Config, store: &Arc<dyn Store>, edge: &Edge) -> anyhow::Result<Keyring> {
    let sealing = SealingFile::open(sealing_key_path(config))?;
    let (store, entropy) = (Arc::clone(store), Arc::clone(&edge.entropy));
    let verifying = VerifierSettings {
        algorithms: Algorithm::ALL.to_vec(),
        // We have issued them by the same clock.
        leeway: Duration::ZERO,
        ..VerifierSettings::new(issuer(config), own_audience(config))
    };
    Ok(Keyring::open(store, entropy, sealing, &config.tokens, verifying, edge.clock.now()).await?)
}

/// The file with the key that encrypts the signing keys.
#[must_use]
pub fn sealing_key_path(config: &Config) -> PathBuf {
    config.tokens.sealing_key_file.clone().unwrap_or_else(|| config.data_dir.join("kerria.key"))
}

/// The database file in a data folder.
pub fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("kerria.db")
}

/// The control socket in a data folder.
pub fn control_socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("kerria.sock")
}

fn create_private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Nothing but our own style sheet, script and mark. Forms go to us, and from there to the origins that a sign-in may
/// return to (browsers apply `form-action` to the redirect, too).
fn page_policy(config: &Config) -> HeaderValue {
    let origins = config.return_to_origins.iter().map(|url| url.origin().ascii_serialization());
    let hosts = config.forward_auth.rules.hosts();
    let behind_proxies = hosts.map(|host| format!("{}://{host}:*", config.public_url.scheme()));
    let targets: BTreeSet<_> = origins.chain(behind_proxies).collect();
    let targets: String = targets.iter().map(|target| format!(" {target}")).collect();
    let policy = format!(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'{targets}; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
    );
    HeaderValue::from_str(&policy).expect("an origin is plain ASCII")
}
