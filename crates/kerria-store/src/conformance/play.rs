//! The cast and the props of the rules.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kerria_core::{
    AccessTokenForm, Cause, Client, ClientAuthentication, ClientId, CredentialVersion, DataKey, DataLimits,
    Device, Grant, GrantType, LogEntry, LogEvent, LogNumber, LoginName, Method, PasswordHash, RevokedSet,
    RotationNonce, RotationRule, Selector, SessionId, SessionPolicy, Store, Timestamp, TokenHash, TokenId,
    Transport, UserId, UserName, Verdict,
    store::{
        AtLimit, CarryOver, DataOwner, DataWrite, Follower, Found, LogPage, NewSession, NewUser, Opened,
        Reference, Refresh, Revoked, SessionLimit, SignIn, Successor, TokenUse, UserCreation, Wait,
    },
};
use tokio::sync::Barrier;

/// When the play begins.
pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(super) const FIRST: CredentialVersion = CredentialVersion(1);
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// How long a lost reply is forgiven.
pub(super) const WINDOW: Duration = Duration::from_secs(30);
/// How long a session token is in use before it is replaced.
pub(super) const AFTER: Duration = Duration::from_secs(600);
/// How long it is good beside a successor that was used.
pub(super) const GRACE: Duration = Duration::from_secs(60);
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// So many seconds after the start.
pub(super) fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

/// The store on stage, and new names for all who enter.
#[derive(Clone)]
pub(super) struct Play {
    pub(super) store: Arc<dyn Store>,
    next: Arc<AtomicU64>,
}

impl Play {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, next: Arc::new(AtomicU64::new(1)) }
    }

    fn unique<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes[8..16].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes
    }

    pub(super) fn token(&self) -> TokenHash {
        TokenHash::from_bytes(self.unique())
    }

    pub(super) fn session_id(&self) -> SessionId {
        SessionId::from_bytes(self.unique())
    }

    pub(super) fn user_id(&self) -> UserId {
        UserId::from_bytes(self.unique())
    }

    pub(super) fn token_id(&self) -> TokenId {
        TokenId::from_bytes(self.unique())
    }

    pub(super) fn new_user(&self, called: &str) -> NewUser {
        NewUser {
            id: self.user_id(),
            name: Some(name(called)),
            email: None,
            password: password("first"),
            device: None,
            now: START,
        }
    }

    /// A user with this name.
    pub(super) async fn user(&self, called: &str) -> UserId {
        let user = self.new_user(called);
        let id = user.id;
        assert_eq!(self.store.create_user(user, None).await.unwrap(), UserCreation::Created(FIRST));
        id
    }

    pub(super) fn new_session(&self, now: Timestamp) -> NewSession {
        NewSession {
            id: self.session_id(),
            token: self.token(),
            transport: Transport::Cookie,
            remembered: false,
            device: device(),
            now,
        }
    }

    pub(super) fn sign_in(&self, user: UserId) -> SignIn {
        self.sign_in_at(user, START)
    }

    pub(super) fn sign_in_at(&self, user: UserId, now: Timestamp) -> SignIn {
        SignIn {
            session: self.new_session(now),
            user,
            version: Some(FIRST),
            method: Method::Password,
            replaces: None,
            carry_over: CarryOver::default(),
            limit: None,
            policy: SessionPolicy::default(),
            grant: None,
        }
    }

    /// Opens what must open.
    pub(super) async fn open(&self, sign_in: SignIn) -> Found {
        match self.store.open(sign_in).await.unwrap() {
            Opened::Opened(found) => found,
            refused => panic!("{refused:?}"),
        }
    }

    /// A session of that user, and its token.
    pub(super) async fn signed_in(&self, user: UserId) -> (SessionId, TokenHash) {
        self.signed_in_at(user, START).await
    }

    pub(super) async fn signed_in_at(&self, user: UserId, now: Timestamp) -> (SessionId, TokenHash) {
        let sign_in = self.sign_in_at(user, now);
        let carried = (sign_in.session.id, sign_in.session.token);
        self.open(sign_in).await;
        carried
    }

    /// A client of this name.
    pub(super) async fn client(&self, name: &str) -> ClientId {
        let client = client(name);
        assert!(self.store.add_client(&client).await.unwrap());
        client.id
    }

    /// A session of that user, carried in tokens of that client, and its first refresh token.
    pub(super) async fn with_tokens(&self, user: UserId, client: ClientId) -> (SessionId, TokenHash) {
        let mut sign_in = self.sign_in_with_tokens(user, client);
        sign_in.version = Some(self.store.credentials_of(user).await.unwrap().unwrap().version);
        let carried = (sign_in.session.id, sign_in.session.token);
        self.open(sign_in).await;
        carried
    }

    pub(super) fn sign_in_with_tokens(&self, user: UserId, client: ClientId) -> SignIn {
        let mut sign_in = self.sign_in(user);
        (sign_in.session.transport, sign_in.grant) = (Transport::Tokens, Some(grant(client)));
        sign_in
    }

    /// The use of `presented`, with another nonce each time.
    pub(super) fn refresh(
        &self,
        session: SessionId,
        presented: TokenHash,
        client: ClientId,
        now: Timestamp,
    ) -> Refresh {
        Refresh {
            session,
            presented,
            successor: self.token(),
            nonce: RotationNonce::from_bytes(self.unique()),
            client,
            window: WINDOW,
            policy: SessionPolicy::default(),
            device: Some(device()),
            now,
        }
    }

    /// The use of the session token `presented`, with another successor each time.
    pub(super) fn token_use(&self, presented: TokenHash, now: Timestamp) -> TokenUse {
        let nonce = RotationNonce::from_bytes(self.unique());
        TokenUse {
            presented,
            successor: Some(Successor { token: self.token(), nonce }),
            rule: RotationRule { after: AFTER, grace: GRACE },
            device: Some(device()),
            now,
        }
    }

    /// A reference token to be, good for five minutes.
    pub(super) fn reference(&self, session: Option<SessionId>, client: ClientId) -> Reference {
        Reference {
            id: self.token_id(),
            session,
            grant: grant(client),
            issued_at: START,
            expires_at: at(300),
        }
    }

    /// A reference token that was kept, and its `jti`.
    pub(super) async fn kept(&self, session: Option<SessionId>, client: ClientId) -> (TokenHash, TokenId) {
        let (token, reference) = (self.token(), self.reference(session, client));
        let id = reference.id;
        assert!(self.store.keep_reference(&token, reference).await.unwrap());
        (token, id)
    }

    /// Whether that reference token stands for anything.
    pub(super) async fn stands(&self, token: &TokenHash) -> bool {
        self.store.reference(token).await.unwrap().is_some()
    }

    /// An anonymous session with `value` under `key`, and its token.
    pub(super) async fn visitor(&self, key: &str, value: &str) -> (SessionId, TokenHash) {
        let session = self.new_session(START);
        let carried = (session.id, session.token);
        let written = self
            .store
            .put_data(DataOwner::Visitor(session), &data_key(key), value.to_owned(), DataLimits::default())
            .await
            .unwrap();
        assert!(matches!(written, DataWrite::Written { opened: Some(_), .. }), "{written:?}");
        carried
    }

    /// Writes what must be written.
    pub(super) async fn put(&self, session: SessionId, key: &str, value: &str) {
        let written = self
            .store
            .put_data(DataOwner::Session(session), &data_key(key), value.to_owned(), DataLimits::default())
            .await
            .unwrap();
        assert_eq!(written, DataWrite::Written { json: value.to_owned(), opened: None });
    }

    pub(super) async fn data(&self, session: SessionId, key: &str) -> Option<String> {
        self.store.data(session, &data_key(key)).await.unwrap()
    }

    pub(super) async fn lives(&self, token: &TokenHash) -> bool {
        self.store.find(token).await.unwrap().is_some()
    }

    /// Ends what `selector` selects, and says how many that were.
    pub(super) async fn end(&self, selector: Selector) -> u64 {
        self.store.revoke(selector, Cause::SignedOut, None, START).await.unwrap().ended
    }

    /// The same, and waits for whom `wait` says.
    pub(super) async fn end_and_wait(&self, selector: Selector, wait: Wait) -> Revoked {
        self.store.revoke_and_wait(selector, Cause::SignedOut, None, START, wait).await.unwrap()
    }

    /// The whole log.
    pub(super) async fn log(&self) -> Vec<LogEntry> {
        match self.store.log_after(LogNumber(0), u32::MAX).await.unwrap() {
            LogPage::Entries(entries) => entries,
            LogPage::StartOver { head } => panic!("the log was trimmed up to {head:?}"),
        }
    }

    /// What the log says, without numbers and times.
    pub(super) async fn events(&self) -> Vec<(Selector, LogEvent)> {
        self.log().await.into_iter().map(|entry| (entry.selector, entry.event)).collect()
    }

    pub(super) async fn head(&self) -> LogNumber {
        self.log().await.last().map_or(LogNumber(0), |entry| entry.number)
    }

    pub(super) async fn sessions_of(&self, user: UserId) -> Vec<SessionId> {
        let sessions = self.store.sessions_of(user).await.unwrap();
        sessions.into_iter().map(|details| details.session.id).collect()
    }

    /// A checker that follows from here on.
    pub(super) async fn checker(&self) -> Arc<Checker> {
        let checker = Arc::new(Checker::default());
        let follower: Weak<dyn Follower> = Arc::downgrade(&checker) as _;
        let head = self.store.follow(follower).await.unwrap();
        assert_eq!(head, self.head().await);
        *checker.set.lock().unwrap() = RevokedSet::starting_at(head);
        checker
    }
}

/// A public client of this name.
pub(super) fn client(name: &str) -> Client {
    Client {
        id: name.parse().unwrap(),
        name: format!("The {name}"),
        authentication: ClientAuthentication::Public,
        grants: vec![GrantType::RefreshToken],
        scope: "read write".parse().unwrap(),
        audiences: vec!["https://api.example.com".parse().unwrap()],
        access_tokens: AccessTokenForm::Reference,
        created_at: START,
    }
}

pub(super) fn grant(client: ClientId) -> Grant {
    Grant { client, scope: "read".parse().unwrap(), audience: "https://api.example.com".parse().unwrap() }
}

pub(super) fn device() -> Device {
    Device::new(FIREFOX, ADDRESS)
}

pub(super) fn name(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

pub(super) fn login(name: &str) -> LoginName {
    LoginName::parse(name)
}

pub(super) fn password(word: &str) -> PasswordHash {
    PasswordHash::new(format!("$test${word}"))
}

pub(super) fn data_key(key: &str) -> DataKey {
    DataKey::parse(key).unwrap()
}

pub(super) fn ended(selector: Selector, cause: Cause) -> (Selector, LogEvent) {
    (selector, LogEvent::Ended { cause })
}

pub(super) fn one(session: SessionId) -> Selector {
    Selector::Session { session }
}

pub(super) fn limit(per_user: u32, at_limit: AtLimit) -> Option<SessionLimit> {
    Some(SessionLimit { per_user: NonZeroU32::new(per_user).unwrap(), at_limit })
}

/// One who follows the log, as a checker does.
#[derive(Default)]
pub(super) struct Checker {
    set: Mutex<RevokedSet>,
    heard: Mutex<Vec<LogEntry>>,
}

impl Checker {
    pub(super) fn verdict(&self, found: &Found) -> Verdict {
        self.set.lock().unwrap().verdict(found.session.id, found.session.user, found.as_of)
    }

    pub(super) fn heard(&self) -> Vec<LogEntry> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn head(&self) -> LogNumber {
        self.heard.lock().unwrap().last().map_or(LogNumber(0), |entry| entry.number)
    }
}

impl Follower for Checker {
    fn apply(&self, entries: &[LogEntry]) {
        let mut set = self.set.lock().unwrap();
        entries.iter().for_each(|entry| set.apply(*entry));
        self.heard.lock().unwrap().extend(entries);
    }

    fn start_over(&self, head: LogNumber) {
        *self.set.lock().unwrap() = RevokedSet::starting_at(head);
    }
}

/// Two who start at the same moment.
pub(super) async fn together<A: Send + 'static, B: Send + 'static>(
    one: impl Future<Output = A> + Send + 'static,
    other: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let start = Arc::new(Barrier::new(2));
    let also = Arc::clone(&start);
    let one = tokio::spawn(async move {
        also.wait().await;
        one.await
    });
    let other = tokio::spawn(async move {
        start.wait().await;
        other.await
    });
    (one.await.unwrap(), other.await.unwrap())
}

/// Many who start at the same moment.
pub(super) async fn crowd<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    mut enter: impl FnMut(usize) -> F,
) -> Vec<T> {
    let start = Arc::new(Barrier::new(count));
    let all: Vec<_> = (0..count)
        .map(|number| {
            let (start, entered) = (Arc::clone(&start), enter(number));
            tokio::spawn(async move {
                start.wait().await;
                entered.await
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for one in all {
        outcomes.push(one.await.unwrap());
    }
    outcomes
}
