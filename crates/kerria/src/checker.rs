//! Answers "is this session good?" from memory.
//!
//! The path of a check is: parse, hash, cache, revocations, expiry, answer. It touches the store only for a genuine
//! token whose session is not in memory.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::Duration,
};

use kerria_core::{
    Bearing, Cause, Device, Expiry, Grant, Lease, LogEntry, LogEvent, LogNumber, Place, Profile, RevokedSet,
    RotationRule, Selector, Session, SessionId, SessionPolicy, Standing, Store, StoreError, Timestamp, Token,
    TokenHash, TokenKey, TokenKind, TokenStep, Transport, UserId, Verdict,
    store::{
        Follower, Found, LogPage, SessionDetails, SessionRotation, Source, Successor, TokenUse, Trouble,
    },
};
use tokio::{sync::watch, time::timeout};
use tracing::warn;

use crate::{
    binding::Binding,
    cache::{Cached, Keep, SessionCache, note},
    consistency::Consistency,
    display_name::DisplayName,
    jwt::{self, AccessClaims, NumericDate},
    moves::{Move, Moves},
    outage::{Outage, PATIENCE, Trust},
    profiles::Profiles,
    reading::{Outcome, Readings, Turn},
};

/// Entries of the revocation log that are held in memory at most. Beyond that, sessions that were not checked since
/// are read again.
const SET_CAPACITY: usize = 100_000;

/// How long entries of the revocation log are held in memory.
const SET_RETENTION: Duration = Duration::from_secs(60 * 60);

/// How many entries of the revocation log are read at the start, at most.
const RECENT: u32 = 10_000;

/// How often a reading is repeated that was overtaken by a change.
const READ_ATTEMPTS: u32 = 8;

/// How many "last seen" are written in one step.
const TOUCH_BATCH: usize = 1_000;

/// How a checker decides.
#[derive(Clone, Copy, Debug)]
pub struct CheckerSettings {
    /// How long sessions last.
    pub policy: SessionPolicy,
    /// What happens when a session is used from another place.
    pub binding: Binding,
    /// How many sessions are kept in memory.
    pub cache_entries: u32,
    /// When session tokens in cookies are replaced, by layers that
    /// [do that](crate::SessionLayer::with_rotation), and how long one is accepted beside its successor.
    pub rotation: RotationRule,
    /// What happens when the source does not answer and the lease has run out.
    pub outage: Outage,
}

/// Answers whether a token carries a good session, from the memory of this process.
pub struct Checker {
    source: Arc<dyn Source>,
    /// Under which memory may answer.
    lease: Lease,
    /// Counts how often everything was forgotten.
    life: AtomicU64,
    key: TokenKey,
    settings: CheckerSettings,
    cache: SessionCache,
    revoked: RwLock<RevokedSet>,
    /// The head of `revoked`, readable without its lock.
    head: AtomicU64,
    watched: Mutex<HashMap<SessionId, Watched>>,
    moves: Moves,
    /// When sessions were last used, as far as the store could not be told yet.
    untold: Mutex<HashMap<SessionId, Timestamp>>,
    flushing: tokio::sync::Mutex<()>,
    /// What is being read from the store.
    readings: Readings<TokenHash>,
    profiles: Profiles,
    /// What is being read of users.
    readings_of_users: Readings<UserId>,
    /// What was over at this instant may be gone from the store.
    swept_until: AtomicI64,
    trust: Trust,
    counters: CheckCounters,
}

/// What a check has found.
#[derive(Debug)]
pub enum Check {
    /// The session is good.
    Good(Checked),
    /// It is not.
    Refused(Refusal),
}

/// A good session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The hash of the token that was presented.
    pub token: TokenHash,
    /// The session.
    pub session: Session,
    /// What to call its user.
    pub user_name: DisplayName,
    /// It was good as of this number of the revocation log.
    pub as_of: LogNumber,
    /// When it will be over if it is not used again.
    pub expires_at: Timestamp,
    /// Whether this request comes from another place than the one that opened the session.
    pub moved: bool,
    /// What the store has to hear of this use of the token, if anything.
    pub token_step: TokenStep,
}

/// Why a token does not carry a good session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// It is no token of this installation.
    NoToken,
    /// It carries no session, or not any more.
    Unknown,
    /// Its session was not used for too long.
    Idle,
    /// Its session's lifetime is over.
    Expired,
    /// Its session was ended.
    Revoked,
    /// Its session is bound to another place.
    Moved,
    /// Its session is carried in another way: a cookie's token is no bearer token, nor the reverse.
    OtherTransport,
    /// It is a good access token that is for less than the session (`insufficient_scope`, RFC 6750, section 3.1).
    InsufficientScope,
}

/// How checks turned out since the start.
#[derive(Debug, Default)]
pub struct CheckCounters {
    /// The session was in memory.
    pub hits: AtomicU64,
    /// The store was asked, because the session was not in memory, or because that is what was wanted.
    pub misses: AtomicU64,
    /// Of these, because the lease had run out.
    pub without_lease: AtomicU64,
    /// Nobody could tell: the store did not answer.
    pub undecided: AtomicU64,
    /// Somebody was accepted on trust, because the source did not answer ([`Outage::TrustFor`]).
    pub trusted: AtomicU64,
    /// The session was good.
    pub good: AtomicU64,
    /// Refused, by the reason.
    pub refused: [AtomicU64; Refusal::ALL.len()],
    /// A session turned up in another place, and went on or was refused, as is set. Counted once for each place.
    pub moved: AtomicU64,
}

struct Watched {
    user: Option<UserId>,
    /// Why the session was ended, once it is.
    ended: watch::Sender<Option<Cause>>,
}

impl Refusal {
    /// All of them, in the order of [`CheckCounters::refused`].
    pub const ALL: [Self; 8] = [
        Self::NoToken,
        Self::Unknown,
        Self::Idle,
        Self::Expired,
        Self::Revoked,
        Self::Moved,
        Self::OtherTransport,
        Self::InsufficientScope,
    ];

    /// The word for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Unknown => "unknown",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Moved => "moved",
            Self::OtherTransport => "other_transport",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

impl From<jwt::Refused> for Refusal {
    fn from(refused: jwt::Refused) -> Self {
        match refused {
            jwt::Refused::Expired => Self::Expired,
            jwt::Refused::Revoked => Self::Revoked,
            jwt::Refused::CannotTell => Self::Unknown,
            _ => Self::NoToken,
        }
    }
}

impl Checked {
    /// The session that these claims name, as far as they tell of it. None in a token of a client itself.
    pub(crate) fn said_by(claims: &AccessClaims, now: Timestamp) -> Option<Self> {
        let id = claims.sid?;
        let session = Session {
            id,
            user: claims.user(),
            transport: Transport::Tokens,
            remembered: false,
            opened_at: claims.iat.timestamp(),
            last_seen_at: now,
            // If it does not say, it was long ago.
            authenticated_at: claims.auth_time.map_or(Timestamp::EPOCH, NumericDate::timestamp),
            place: Place::default(),
            expiry: Expiry::BY_POLICY,
        };
        Some(Self {
            token: TokenHash::of_handle(id),
            session,
            user_name: DisplayName::of(None),
            as_of: claims.as_of.unwrap_or_default(),
            expires_at: claims.exp.timestamp(),
            moved: false,
            token_step: TokenStep::None,
        })
    }
}

impl Checker {
    /// A checker over `store`, which tells it of every end from now on.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn start(
        store: Arc<dyn Store>,
        key: TokenKey,
        settings: CheckerSettings,
    ) -> Result<Arc<Self>, StoreError> {
        Self::over(Arc::new(store), key, settings).await
    }

    /// The same over anything that tells of sessions and of their ends.
    ///
    /// # Errors
    /// If it fails.
    pub async fn over(
        source: Arc<dyn Source>,
        key: TokenKey,
        settings: CheckerSettings,
    ) -> Result<Arc<Self>, StoreError> {
        let checker = Arc::new(Self {
            lease: source.lease(),
            source: Arc::clone(&source),
            life: AtomicU64::new(0),
            key,
            settings,
            cache: SessionCache::new(settings.cache_entries),
            revoked: RwLock::default(),
            head: AtomicU64::new(0),
            watched: Mutex::default(),
            moves: Moves::default(),
            untold: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            readings: Readings::default(),
            profiles: Profiles::new(settings.cache_entries as usize),
            readings_of_users: Readings::default(),
            swept_until: AtomicI64::new(i64::MIN),
            trust: Trust::new(settings.outage),
            counters: CheckCounters::default(),
        });
        let follower: Weak<dyn Follower> = Arc::downgrade(&checker) as _;
        let head = source.follow(follower).await?;
        checker.start_with(recent(&*source, head).await?);
        Ok(checker)
    }

    /// Whether `text` carries a good session at `now`, in the way it was presented and from where it came. Without a
    /// `device`, the session may be used from anywhere.
    ///
    /// # Errors
    /// If the session is not in memory and the store fails. Then nothing is known: neither that the session is good nor
    /// that it is not.
    pub async fn check(
        &self,
        text: &[u8],
        transport: Transport,
        device: Option<&Device>,
        now: Timestamp,
    ) -> Result<Check, StoreError> {
        match self.recall(text, transport, device.cloned(), now, Consistency::Leased) {
            Ok(check) => Ok(check),
            Err(question) => self.read(&question.asked_from(device.cloned())).await,
        }
    }

    /// The answer from memory, or the question to [read](Self::read).
    pub(crate) fn recall(
        &self,
        text: &[u8],
        transport: Transport,
        device: Option<Device>,
        now: Timestamp,
        consistency: Consistency,
    ) -> Result<Check, Box<Question>> {
        let Some(token) = Token::parse(TokenKind::Session, text, &self.key) else {
            return Ok(self.count(Check::Refused(Refusal::NoToken)));
        };
        let from = device.map(|device| Box::new((device.place(), device)));
        let subject = Subject::Token(transport);
        self.recall_what(
            Question { hash: token.hash(), subject, from, asked_from: None, now, alone: false },
            consistency,
        )
    }

    /// The same of a session that an access token names, for a token that is good by itself: whether its session, and
    /// nothing that would have ended the token alone, says otherwise.
    pub(crate) fn recall_bearing(
        &self,
        bearing: &Bearing,
        as_of: LogNumber,
        device: Option<Device>,
        now: Timestamp,
        consistency: Consistency,
    ) -> Result<Check, Box<Question>> {
        let Some(session) = bearing.session else {
            return Ok(self.count(Check::Refused(Refusal::NoToken)));
        };
        match self.verdict_on(bearing, as_of) {
            Verdict::Stands => {}
            Verdict::Ended => return Ok(self.count(Check::Refused(Refusal::Revoked))),
            // Whether the token was ended by itself is not known any more. Its client gets a new one for its refresh token.
            Verdict::Reread => return Ok(self.count(Check::Refused(Refusal::Unknown))),
        }
        let from = device.map(|device| Box::new((device.place(), device)));
        let subject = Subject::AccessToken(session, *bearing, as_of);
        let hash = TokenHash::of_handle(session);
        let asked = Question { hash, subject, from, asked_from: None, now, alone: false };
        self.recall_what(asked, consistency)
    }

    /// The same of the session with this handle, for who knows by other means that the request may use it.
    pub(crate) fn recall_session(
        &self,
        session: SessionId,
        device: Option<Device>,
        now: Timestamp,
        consistency: Consistency,
    ) -> Result<Check, Box<Question>> {
        let from = device.map(|device| Box::new((device.place(), device)));
        let (hash, subject) = (TokenHash::of_handle(session), Subject::Handle(session));
        let asked = Question { hash, subject, from, asked_from: None, now, alone: false };
        self.recall_what(asked, consistency)
    }

    /// Whether the session that an access token names is good at `now`, and nothing has ended the token alone, for a token
    /// that is good by itself and was issued as of `as_of`. Counts as a use of the session, from wherever.
    ///
    /// # Errors
    /// If the session is not in memory and the store fails.
    pub async fn check_bearing(
        &self,
        bearing: &Bearing,
        as_of: LogNumber,
        now: Timestamp,
    ) -> Result<Check, StoreError> {
        match self.recall_bearing(bearing, as_of, None, now, Consistency::Leased) {
            Ok(check) => Ok(check),
            Err(question) => self.read(&question).await,
        }
    }

    /// What became of an access token that was issued as of `as_of`, as far as this process remembers. Says nothing about
    /// how long its session lasts.
    #[must_use]
    pub fn verdict_on(&self, bearing: &Bearing, as_of: LogNumber) -> Verdict {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).verdict_on(bearing, as_of)
    }

    /// The same, by all that was committed before, even if the lease has run out.
    ///
    /// # Errors
    /// If it has, and the store fails.
    pub async fn verdict_now(&self, bearing: &Bearing, as_of: LogNumber) -> Result<Verdict, StoreError> {
        let verdict = self.verdict_on(bearing, as_of);
        if self.lease.holds() {
            return Ok(verdict);
        }
        self.source.catch_up().await?;
        Ok(self.verdict_on(bearing, as_of))
    }

    /// The lease under which memory answers.
    #[must_use]
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The number of the last entry of the revocation log that was applied.
    #[must_use]
    pub fn head(&self) -> LogNumber {
        LogNumber(self.head.load(SeqCst))
    }

    /// What this process has changed itself counts here, also where memory is trusted without a lease: if it has not heard of that
    /// change from the store yet, it forgets what it remembers, and what is being read.
    pub(crate) fn forget_unless_applied(&self, change: LogNumber) {
        if self.head() < change {
            self.life.fetch_add(1, SeqCst);
            self.cache.clear();
        }
    }

    /// The session that this session token carries, with its exact last use. Asks the store, and counts as no use.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError> {
        let Some(mut found) = self.source.find(token).await? else { return Ok(None) };
        let session = found.session.id;
        // In this order: what has departed from the cache is on its way to the untold.
        let by_others = self.remembered_otherwise(&found);
        let seen = by_others.max(self.remembered(token, session)).max(self.untold(session));
        found.session.last_seen_at =
            seen.map_or(found.session.last_seen_at, |seen| seen.max(found.session.last_seen_at));
        Ok(Some(found))
    }

    /// The sessions that these session tokens carry, whether they still count or not: by a clock that is wrong, say. Asks the store.
    ///
    /// # Errors
    /// If it fails.
    pub async fn carried_by(
        &self,
        tokens: impl IntoIterator<Item = TokenHash>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let mut sessions = Vec::new();
        for token in tokens {
            sessions.extend(self.source.find(&token).await?.map(|found| found.session.id));
        }
        Ok(sessions)
    }

    /// The session with this handle and what it was opened for, with its exact last use. Asks the store, and counts as no
    /// use.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError> {
        let Some((mut found, grant)) = self.source.session(session).await? else { return Ok(None) };
        // In this order: what has departed from the cache is on its way to the untold.
        let seen = self.remembered_otherwise(&found).max(self.untold(session));
        found.session.last_seen_at =
            seen.map_or(found.session.last_seen_at, |seen| seen.max(found.session.last_seen_at));
        Ok(Some((found, grant)))
    }

    /// What applications are told of a user who has a session: from memory, and as true as what memory says of sessions. `None` if
    /// there is no such user. Whether the user is signed in is another question, and to be asked first: of one who was deleted
    /// without a session, memory may go on to tell.
    ///
    /// # Errors
    /// If it is not in memory and the store fails.
    pub async fn profile(&self, user: UserId) -> Result<Option<Arc<Profile>>, StoreError> {
        if let Some(profile) = self.recall_profile(user) {
            return Ok(Some(profile));
        }
        match self.readings_of_users.turn(user).await {
            Turn::Mine(reading) => {
                let answer = self.read_profile(user).await;
                reading.ends(match &answer {
                    Ok(None) => Outcome::Unknown,
                    Ok(Some(_)) => Outcome::Read,
                    Err(error) => Outcome::Failed(error.trouble),
                });
                answer
            }
            Turn::Read(Outcome::Unknown) => Ok(None),
            Turn::Read(Outcome::Failed(trouble)) => Err(trouble.into()),
            Turn::Read(Outcome::Read) => match self.recall_profile(user) {
                Some(profile) => Ok(Some(profile)),
                None => self.read_profile(user).await,
            },
        }
    }

    /// The same, if it is in memory.
    #[must_use]
    pub fn recall_profile(&self, user: UserId) -> Option<Arc<Profile>> {
        // In this order: whoever starts over writes the number first, and forgets then.
        let life = self.profiles.life();
        let head = self.head();
        let profile = self.profiles.get(life, user, head, |as_of| {
            as_of >= head
                || self.revoked.read().unwrap_or_else(PoisonError::into_inner).is_unchanged(user, as_of)
        });
        profile.filter(|_| self.lease.holds())
    }

    /// The same from the store, whatever memory says.
    ///
    /// # Errors
    /// If it fails.
    pub async fn read_profile(&self, user: UserId) -> Result<Option<Arc<Profile>>, StoreError> {
        // What was applied before was committed before: whoever reads from now on sees it.
        let life = self.profiles.life();
        let as_of = self.head();
        let profile = self.source.profile(user).await?.map(Arc::new);
        if let Some(profile) = &profile {
            self.profiles.keep(life, profile, as_of);
        }
        Ok(profile)
    }

    /// An access token was refused by itself, or is not for the session itself.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Refusal {
        self.count(Check::Refused(refusal));
        refusal
    }

    fn recall_what(&self, asked: Question, consistency: Consistency) -> Result<Check, Box<Question>> {
        self.start_over_if_time_went_back(asked.now);
        if consistency == Consistency::Strict {
            return Err(Box::new(Question { alone: true, ..asked }));
        }
        let Some(check) = self.look_up(&asked, Reading::Remembered) else { return Err(Box::new(asked)) };
        if !self.lease.holds() {
            let ran_out = self.lease.ran_out().filter(|ran_out| self.trust.lasts(*ran_out));
            if ran_out.is_some_and(|ran_out| self.trust.is_silent(ran_out)) {
                return Ok(self.on_trust(check));
            }
            self.counters.without_lease.fetch_add(1, Relaxed);
            return Err(Box::new(asked));
        }
        self.trust.ends();
        self.counters.hits.fetch_add(1, Relaxed);
        Ok(self.count(check))
    }

    /// The answer from the store.
    pub(crate) async fn read(&self, asked: &Question) -> Result<Check, StoreError> {
        self.counters.misses.fetch_add(1, Relaxed);
        let reading = async {
            match asked.subject {
                Subject::Token(_) | Subject::Handle(_) if !asked.alone => self.read_once(asked).await,
                // What is true of one access token of a session need not be of another.
                _ => self.ask_store(asked).await,
            }
        };
        let answer = if self.may_trust(asked) {
            let late = |late| Err(StoreError::new(Trouble::Unavailable, late));
            timeout(PATIENCE, reading).await.unwrap_or_else(late)
        } else {
            reading.await
        };
        match answer {
            Ok(check) => {
                self.trust.has_answered();
                Ok(self.count(check))
            }
            Err(error) => match self.without_an_answer(asked, &error) {
                Some(check) => Ok(self.on_trust(check)),
                None => {
                    self.counters.undecided.fetch_add(1, Relaxed);
                    Err(error)
                }
            },
        }
    }

    /// Whether memory has an answer that it may give on trust, should there be no other one.
    fn may_trust(&self, asked: &Question) -> bool {
        let lasts = self.lease.ran_out().is_some_and(|ran_out| self.trust.lasts(ran_out));
        lasts && !asked.alone && self.look_up(asked, Reading::Remembered).is_some()
    }

    /// What memory says, if it is trusted although the source was asked and has failed.
    fn without_an_answer(&self, asked: &Question, error: &StoreError) -> Option<Check> {
        let ran_out = self.lease.ran_out()?;
        if !self.trust.has_failed(error, ran_out) || !self.trust.lasts(ran_out) || asked.alone {
            return None;
        }
        if let Subject::AccessToken(_, bearing, as_of) = &asked.subject
            && self.verdict_on(bearing, *as_of) != Verdict::Stands
        {
            return None;
        }
        self.look_up(asked, Reading::Remembered)
    }

    /// Counts what memory says without a lease. The source does not have to hear of the use: it would not answer.
    fn on_trust(&self, mut check: Check) -> Check {
        if let Check::Good(checked) = &mut check {
            self.trust.begins();
            self.counters.trusted.fetch_add(1, Relaxed);
            checked.token_step = TokenStep::None;
        }
        self.count(check)
    }

    /// The answer from the store, of which many who want to know the same ask once.
    async fn read_once(&self, asked: &Question) -> Result<Check, StoreError> {
        match self.readings.turn(asked.hash).await {
            Turn::Mine(reading) => {
                let answer = self.ask_store(asked).await;
                reading.ends(match &answer {
                    Ok(Check::Refused(Refusal::Unknown)) => Outcome::Unknown,
                    Ok(_) => Outcome::Read,
                    Err(error) => Outcome::Failed(error.trouble),
                });
                answer
            }
            Turn::Read(Outcome::Unknown) => Ok(Check::Refused(Refusal::Unknown)),
            Turn::Read(Outcome::Failed(trouble)) => Err(trouble.into()),
            // What is in memory counts under the lease alone, and says more to one than to another.
            Turn::Read(Outcome::Read) => match self.look_up(asked, Reading::Remembered) {
                Some(check) if self.lease.holds() => Ok(check),
                _ => self.ask_store(asked).await,
            },
        }
    }

    fn count(&self, check: Check) -> Check {
        let counter = match &check {
            Check::Good(_) => &self.counters.good,
            Check::Refused(refusal) => &self.counters.refused[*refusal as usize],
        };
        counter.fetch_add(1, Relaxed);
        check
    }

    /// Keeps a session in memory that was just opened or given a new token, so that its first use is quick too.
    pub fn keep(&self, token: &TokenHash, found: &Found) {
        self.cache.insert(*token, found);
    }

    /// A session that was just opened or given a new token, as a check would find it.
    pub(crate) fn as_checked(&self, token: TokenHash, found: &Found) -> Checked {
        let session = found.session;
        let expires_at = match self.policy().standing(&session, session.last_seen_at) {
            Standing::Active { expires_at } => expires_at,
            _ => self.policy().absolute_end(&session),
        };
        Checked {
            token,
            session,
            user_name: DisplayName::of(found.user_name.as_deref()),
            as_of: found.as_of,
            expires_at,
            moved: false,
            token_step: TokenStep::None,
        }
    }

    /// Keeps a session in memory that was asked for in this life. If everything was forgotten meanwhile, it would be remembered from
    /// before: then it is forgotten, too, and the answer is `false`.
    fn keep_of(&self, life: u64, token: &TokenHash, found: &Found) -> bool {
        self.cache.insert(*token, found);
        let still = self.life.load(SeqCst) == life;
        if !still {
            self.cache.clear();
        }
        still
    }

    /// Takes note of the use of a session token, with all that follows from it. The audit log tells from which `device`, if
    /// that is the end of the session.
    pub(crate) async fn rotate(
        &self,
        presented: TokenHash,
        successor: Option<Successor>,
        device: Option<Device>,
        now: Timestamp,
    ) -> Result<SessionRotation, StoreError> {
        let (rule, life) = (self.settings.rotation, self.life.load(SeqCst));
        let rotation = self.source.rotate(TokenUse { presented, successor, rule, device, now }).await?;
        match &rotation {
            // Not under the successor: until that is used, it would not be seen here that the session is.
            SessionRotation::Rotated(found) | SessionRotation::Confirmed(found) => {
                self.keep_of(life, &presented, found);
            }
            SessionRotation::Replayed { session, user } => {
                warn!(session.id = %session, user.id = ?user, "a session token was used after its time: session {session} ended");
            }
            SessionRotation::Repeated(_) | SessionRotation::Unchanged | SessionRotation::Gone => {}
        }
        Ok(rotation)
    }

    /// Whether a session that was good when it was checked has neither ended nor run out since. Says nothing about its
    /// token.
    #[must_use]
    pub fn still_stands(&self, checked: &Checked, now: Timestamp) -> bool {
        let Session { id, user, .. } = checked.session;
        self.verdict(id, user, checked.as_of) != Verdict::Ended
            && matches!(self.settings.policy.standing(&checked.session, now), Standing::Active { .. })
    }

    /// How many wait for the end of this session.
    #[must_use]
    pub fn watchers(&self, session: SessionId) -> usize {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.get(&session).map_or(0, |watched| watched.ended.receiver_count())
    }

    /// Completes when the session is ended, with the cause, if it is known. (An expiry is no end in this sense: nothing
    /// happens then.)
    pub async fn ended(&self, checked: &Checked) -> Option<Cause> {
        let session = checked.session.id;
        let mut watching = {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let user = checked.session.user;
            let entry =
                watched.entry(session).or_insert_with(|| Watched { user, ended: watch::channel(None).0 });
            Watching { checker: self, session, receiver: Some(entry.ended.subscribe()) }
        };
        // Registered first, asked second: an end in between is seen by one or the other.
        if self.verdict(session, checked.session.user, checked.as_of) == Verdict::Ended {
            return None;
        }
        let receiver = watching.receiver.as_mut()?;
        receiver.wait_for(Option::is_some).await.ok().and_then(|cause| *cause)
    }

    /// Writes when sessions were last used, and forgets revocations that nobody needs any more. To be called every so
    /// often; how often is how exact "last seen" is in the store.
    ///
    /// # Errors
    /// If the store fails. What could not be written is written the next time: a session in use must never look unused
    /// to the store, which would remove it.
    pub async fn flush(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.revoked
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .drop_old(now - SET_RETENTION, SET_CAPACITY);
        // One at a time: who sweeps next has to know that everything before has been written.
        let _alone = self.flushing.lock().await;
        let seen = self.take_seen();
        for batch in seen.chunks(TOUCH_BATCH) {
            self.source.touch(batch.to_vec()).await?;
            self.told(batch);
        }
        Ok(seen.len())
    }

    /// Tells the store when these sessions were last used, which it has listed, so that it knows which of them count.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn flush_these(&self, stored: &[SessionDetails]) -> Result<(), StoreError> {
        let later = |details: &SessionDetails| {
            let used = self.last_use(details)?;
            (used > details.session.last_seen_at).then_some((details.session.id, used))
        };
        let seen: Vec<_> = stored.iter().filter_map(later).collect();
        if seen.is_empty() { Ok(()) } else { self.source.touch(seen).await }
    }

    /// The sessions that a store has listed, with exact last uses, whatever it has heard of so far.
    #[must_use]
    pub fn with_last_uses(&self, mut sessions: Vec<SessionDetails>) -> Vec<SessionDetails> {
        for details in &mut sessions {
            let stored = details.session.last_seen_at;
            details.session.last_seen_at = self.last_use(details).map_or(stored, |used| used.max(stored));
        }
        sessions
    }

    /// When memory saw the session last.
    fn last_use(&self, details: &SessionDetails) -> Option<Timestamp> {
        let session = details.session.id;
        let names = [Some(TokenHash::of_handle(session)), Some(details.token), details.previous];
        // In this order: what has departed from the cache is on its way to the untold.
        let remembered = names.into_iter().flatten().filter_map(|name| self.remembered(&name, session));
        remembered.max().max(self.untold(session))
    }

    /// When the cache saw a session last under another token than the one by which it was found, or by its handle.
    fn remembered_otherwise(&self, found: &Found) -> Option<Timestamp> {
        let session = found.session.id;
        let by_handle = self.remembered(&TokenHash::of_handle(session), session);
        by_handle.max(found.other_token.and_then(|token| self.remembered(&token, session)))
    }

    /// When the cache saw the session last under this token, as far as the untold do not say it.
    fn remembered(&self, token: &TokenHash, session: SessionId) -> Option<Timestamp> {
        self.last_seen(token).max(self.cache.departed(token, session))
    }

    /// What was over at `until` may be removed from the store from now on, without an entry in its log. Should the clock
    /// go back behind that instant, memory is not believed any more.
    pub fn sweep_until(&self, until: Timestamp) {
        self.swept_until.fetch_max(until.as_millis(), SeqCst);
    }

    /// The moves of sessions that wait to be told, as soon as there is one. From then on they count as told.
    pub async fn moves(&self) -> Vec<Move> {
        self.moves.next().await
    }

    /// The same, if there is one now.
    #[must_use]
    pub fn moves_so_far(&self) -> Vec<Move> {
        self.moves.take()
    }

    /// A move could not be told. It comes up again when the session is next used from there.
    pub fn not_told(&self, moved: &Move) {
        self.moves.forget(moved);
    }

    /// How long sessions last.
    #[must_use]
    pub const fn policy(&self) -> &SessionPolicy {
        &self.settings.policy
    }

    /// How long a browser keeps the cookie of this session: until its absolute end, or until the browser is closed.
    #[must_use]
    pub fn cookie_max_age(&self, session: &Session, now: Timestamp) -> Option<Duration> {
        session.remembered.then(|| self.policy().absolute_end(session).since(now))
    }

    /// The key of tokens.
    #[must_use]
    pub const fn key(&self) -> &TokenKey {
        &self.key
    }

    /// Whether checks need to know from where a request comes.
    #[must_use]
    pub fn wants_place(&self) -> bool {
        self.settings.binding != Binding::Off
    }

    /// How checks turned out since the start.
    #[must_use]
    pub const fn counters(&self) -> &CheckCounters {
        &self.counters
    }

    /// How many sessions are in memory.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// The session's `last_seen_at` as memory knows it, if that is later than what the store says.
    #[must_use]
    pub fn last_seen(&self, token: &TokenHash) -> Option<Timestamp> {
        self.cache.look_up(token, |cached| (Keep::Untouched, cached.session.last_seen_at))
    }

    /// All that the store has to be told, what came up since the last time included.
    fn take_seen(&self) -> Vec<(SessionId, Timestamp)> {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, at) in self.cache.take_touched() {
            note(&mut untold, session, at);
        }
        let mut seen: Vec<_> = untold.iter().map(|(session, at)| (*session, *at)).collect();
        // In the order in which stores keep them, so that neighbours are written together.
        seen.sort_unstable_by_key(|(session, _)| *session);
        seen
    }

    fn told(&self, batch: &[(SessionId, Timestamp)]) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, told) in batch {
            if untold.get(session).is_some_and(|at| at <= told) {
                untold.remove(session);
            }
        }
    }

    /// When the session was last used, if the store may not know it yet.
    fn untold(&self, session: SessionId) -> Option<Timestamp> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).get(&session).copied()
    }

    /// A session that was over, and so removed, would look good again to a clock that went back.
    fn start_over_if_time_went_back(&self, now: Timestamp) {
        let swept_until = self.swept_until.load(Relaxed);
        if now.as_millis() < swept_until
            && self.swept_until.compare_exchange(swept_until, now.as_millis(), SeqCst, SeqCst).is_ok()
        {
            self.cache.clear();
        }
    }

    /// What the cache says. `None` if it says nothing that can be relied on.
    fn look_up(&self, asked: &Question, reading: Reading) -> Option<Check> {
        let answer = self.cache.look_up(&asked.hash, |cached| {
            let head = LogNumber(self.head.load(SeqCst));
            if cached.as_of < head {
                match self.verdict(cached.session.id, cached.session.user, cached.as_of) {
                    Verdict::Stands => cached.as_of = head,
                    Verdict::Ended => return (Keep::Remove, Some(Check::Refused(Refusal::Revoked))),
                    Verdict::Reread => return (Keep::Untouched, None),
                }
            }
            match self.judge(cached, asked) {
                // It may be in use under another name: by its handle, at the token endpoint, or in another process.
                (_, Some(Check::Refused(Refusal::Idle))) if reading == Reading::Remembered => {
                    (Keep::Untouched, None)
                }
                answer => answer,
            }
        });
        answer.flatten()
    }

    /// What time, transport, token and place say about a session that was not ended. `None` if it has to be.
    fn judge(&self, cached: &mut Cached, asked: &Question) -> (Keep, Option<Check>) {
        let succession = cached.succession();
        let session = &mut cached.session;
        let refused = |refusal| (Keep::Untouched, Some(Check::Refused(refusal)));
        match self.settings.policy.standing(session, asked.now) {
            Standing::Active { .. } => {}
            Standing::Idle => return refused(Refusal::Idle),
            Standing::Expired => return refused(Refusal::Expired),
            Standing::Revoked => return (Keep::Remove, Some(Check::Refused(Refusal::Revoked))),
        }
        let mut step = TokenStep::None;
        if let Subject::Token(transport) = asked.subject {
            if transport != session.transport {
                return refused(Refusal::OtherTransport);
            }
            // Of a bearer token, nobody would hear that it was replaced.
            if transport == Transport::Cookie {
                step = succession.step(&self.settings.rotation, asked.now);
            }
        }
        if step == TokenStep::EndForReplay {
            return (Keep::Untouched, None);
        }
        let elsewhere = asked.from.as_deref().filter(|(place, _)| *place != session.place);
        if let Some((place, device)) = elsewhere {
            let refuse = self.settings.binding == Binding::Refuse;
            self.note_move(session, *place, device, asked.now, refuse);
            if refuse {
                return refused(Refusal::Moved);
            }
        }
        session.last_seen_at = session.last_seen_at.max(asked.now);
        let Standing::Active { expires_at } = self.settings.policy.standing(session, asked.now) else {
            return refused(Refusal::Expired);
        };
        let checked = Checked {
            token: asked.hash,
            session: *session,
            user_name: cached.user_name.clone(),
            as_of: cached.as_of,
            expires_at,
            moved: elsewhere.is_some(),
            token_step: step,
        };
        (Keep::Touched, Some(Check::Good(checked)))
    }

    fn note_move(&self, session: &Session, place: Place, device: &Device, at: Timestamp, refused: bool) {
        let moved = || Move { at, session: session.id, user: session.user, device: device.clone(), refused };
        if self.moves.note(place, moved, session.id) {
            self.counters.moved.fetch_add(1, Relaxed);
        }
    }

    /// Asks the store. A reading that a revocation has overtaken loses: the revocations are asked after it.
    async fn ask_store(&self, asked: &Question) -> Result<Check, StoreError> {
        for _ in 0..READ_ATTEMPTS {
            let life = self.life.load(SeqCst);
            let found = match asked.subject {
                Subject::Token(_) => self.source.find(&asked.hash).await?,
                Subject::AccessToken(session, bearing, as_of) => {
                    // Whether the token was ended by itself only the log says.
                    match self.verdict_now(&bearing, as_of).await? {
                        Verdict::Stands => {}
                        Verdict::Ended => return Ok(Check::Refused(Refusal::Revoked)),
                        Verdict::Reread => return Ok(Check::Refused(Refusal::Unknown)),
                    }
                    self.source.session(session).await?.map(|(found, _)| found)
                }
                Subject::Handle(session) => self.source.session(session).await?.map(|(found, _)| found),
            };
            let Some(mut found) = found else { return Ok(Check::Refused(Refusal::Unknown)) };
            // In this order: what has departed from the cache is on its way to the untold.
            let session = found.session.id;
            let by_others = self.remembered_otherwise(&found);
            let departed = self.cache.departed(&asked.hash, session);
            let seen = by_others.max(departed).max(self.untold(session));
            found.session.last_seen_at =
                seen.map_or(found.session.last_seen_at, |seen| seen.max(found.session.last_seen_at));
            match self.verdict(found.session.id, found.session.user, found.as_of) {
                Verdict::Ended => return Ok(Check::Refused(Refusal::Revoked)),
                Verdict::Reread => continue,
                Verdict::Stands if self.keep_of(life, &asked.hash, &found) => {}
                Verdict::Stands => continue,
            }
            if let Some(check) = self.look_up(asked, Reading::Fresh) {
                return Ok(check);
            }
            if found.succession.step(&self.settings.rotation, asked.now) == TokenStep::EndForReplay {
                match self.rotate(asked.hash, None, asked.asked_from.clone(), asked.now).await? {
                    SessionRotation::Replayed { .. } => return Ok(Check::Refused(Refusal::Revoked)),
                    SessionRotation::Gone => return Ok(Check::Refused(Refusal::Unknown)),
                    _ => {}
                }
            }
        }
        Err(Trouble::Unavailable.into())
    }

    fn verdict(&self, session: SessionId, user: Option<UserId>, as_of: LogNumber) -> Verdict {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).verdict(session, user, as_of)
    }

    /// Takes `start` as the beginning of what is known. What was applied meanwhile stays.
    fn start_with(&self, mut start: RevokedSet) {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        revoked.entries().for_each(|entry| start.apply(*entry));
        *revoked = start;
        self.head.store(revoked.head().0, SeqCst);
    }

    fn tell_watchers(&self, entry: &LogEntry) {
        let LogEvent::Ended { cause } = entry.event else { return };
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let tell = |watched: &Watched| {
            watched.ended.send_replace(Some(cause));
        };
        match entry.selector {
            Selector::Session { session } => {
                if let Some(watched) = watched.get(&session) {
                    tell(watched);
                }
            }
            Selector::User { user } => watched.values().filter(|w| w.user == Some(user)).for_each(tell),
            Selector::UserExcept { user, except } => watched
                .iter()
                .filter(|(session, w)| w.user == Some(user) && **session != except)
                .for_each(|(_, w)| tell(w)),
            // No session is selected by one of its access tokens, and those of a client have entries of their own.
            Selector::Token { .. } | Selector::Client { .. } => {}
            Selector::Everyone => watched.values().for_each(tell),
        }
    }
}

impl Follower for Checker {
    fn apply(&self, entries: &[LogEntry]) {
        {
            let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
            for entry in entries {
                revoked.apply(*entry);
            }
            self.head.store(revoked.head().0, SeqCst);
        }
        for entry in entries {
            self.tell_watchers(entry);
        }
    }

    fn start_over(&self, head: LogNumber) {
        {
            let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
            *revoked = RevokedSet::starting_at(head);
            self.life.fetch_add(1, SeqCst);
            self.head.store(head.0, SeqCst);
        }
        self.cache.clear();
        self.profiles.clear();
    }
}

/// What the log says of the time before `head`, as far back as it is worth reading: access tokens from before a restart
/// are good after it.
async fn recent(source: &dyn Source, head: LogNumber) -> Result<RevokedSet, StoreError> {
    for entries in [RECENT, RECENT / 10, RECENT / 100, RECENT / 1_000] {
        let before = LogNumber(head.0.saturating_sub(entries.into()));
        if let LogPage::Entries(page) = source.log_after(before, entries).await? {
            let mut set = RevokedSet::starting_at(before);
            page.into_iter().for_each(|entry| set.apply(entry));
            return Ok(set);
        }
    }
    Ok(RevokedSet::starting_at(head))
}

/// What a check is about.
pub(crate) struct Question {
    hash: TokenHash,
    subject: Subject,
    /// From where, if that decides.
    from: Option<Box<(Place, Device)>>,
    /// From where, for the audit log.
    asked_from: Option<Device>,
    pub(crate) now: Timestamp,
    /// Whether what somebody else has read does not count, however recently.
    alone: bool,
}

impl Question {
    /// The same, asked from this device. Only who has to ask the store needs to know it.
    pub(crate) fn asked_from(self, device: Option<Device>) -> Self {
        Self { asked_from: device, ..self }
    }
}

/// How a session that is looked up came into memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Some time ago.
    Remembered,
    /// Just now, from the store.
    Fresh,
}

/// By what a session is known.
enum Subject {
    /// By its own token, which counts only in this way.
    Token(Transport),
    /// By its handle, in an access token that was issued as of some number.
    AccessToken(SessionId, Bearing, LogNumber),
    /// By its handle alone.
    Handle(SessionId),
}

/// One who watches a session. When the last one goes away, the session is forgotten.
struct Watching<'a> {
    checker: &'a Checker,
    session: SessionId,
    /// Gone only while this is dropped: under the lock, so that of two who leave at once one is the last.
    receiver: Option<watch::Receiver<Option<Cause>>>,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let mut watched = self.checker.watched.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.receiver.take());
        if watched.get(&self.session).is_some_and(|watched| watched.ended.receiver_count() == 0) {
            watched.remove(&self.session);
        }
    }
}
