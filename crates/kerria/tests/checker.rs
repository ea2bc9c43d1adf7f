//! The checker over a real store: what is in memory, what is on disk, and what happens in between.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;

use kerria::{Binding, Check, Checked, Checker, CheckerSettings, Outage, SystemEntropy};
use kerria_core::{
    Cause, CredentialVersion, Device, Grant, Groups, Lease, LogNumber, Method, Moment, PasswordHash, Profile,
    RotationRule, Selector, SessionId, SessionPolicy, Store, StoreError, Timestamp, Token, TokenHash,
    TokenKey, TokenKind, Transport, UserId, UserName,
    store::{
        CarryOver, Follower, Found, Grouping, LogPage, NewSession, NewUser, Opened, SessionRotation, SignIn,
        Source, TokenUse, Trouble,
    },
};
use kerria_store::SqliteStore;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A user, and a checker with room for `cache_entries` of their sessions.
struct Play {
    store: Arc<dyn Store>,
    checker: Arc<Checker>,
    user: UserId,
}

impl Play {
    async fn new(cache_entries: u32) -> Self {
        Self::behind(cache_entries, |store| Arc::new(store)).await
    }

    /// The same; the checker learns of the store by what `source` makes of it.
    async fn behind(cache_entries: u32, source: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Source>) -> Self {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let policy = SessionPolicy::default();
        let rotation = RotationRule::default();
        let settings = CheckerSettings {
            policy,
            binding: Binding::Off,
            cache_entries,
            rotation,
            outage: Outage::Refuse,
        };
        let key = TokenKey::from_bytes([7; 16]);
        let checker = Checker::over(source(Arc::clone(&store)), key, settings).await.unwrap();
        let user = UserId::new(START, &SystemEntropy);
        let alice = NewUser {
            id: user,
            name: Some(UserName::parse("alice").unwrap()),
            email: None,
            password: PasswordHash::new("$test$".to_owned()),
            device: None,
            now: START,
        };
        store.create_user(alice, None).await.unwrap();
        Self { store, checker, user }
    }

    async fn sign_in(&self) -> (Token, SessionId) {
        let token = Token::random(TokenKind::Session, &SystemEntropy);
        let session = NewSession {
            id: SessionId::new(START, &SystemEntropy),
            token: token.hash(),
            transport: Transport::Bearer,
            remembered: false,
            device: Device::new("curl/8", IpAddr::V4(Ipv4Addr::LOCALHOST)),
            now: START,
        };
        let id = session.id;
        let sign_in = SignIn {
            session,
            user: self.user,
            version: Some(CredentialVersion(1)),
            method: Method::Password,
            replaces: None,
            carry_over: CarryOver::default(),
            limit: None,
            policy: SessionPolicy::default(),
            grant: None,
        };
        assert!(matches!(self.store.open(sign_in).await.unwrap(), Opened::Opened(_)));
        (token, id)
    }

    async fn check(&self, token: &Token, now: Timestamp) -> Option<Checked> {
        let text = token.write(self.checker.key());
        match self.checker.check(text.expose().as_bytes(), Transport::Bearer, None, now).await.unwrap() {
            Check::Good(checked) => Some(checked),
            Check::Refused(_) => None,
        }
    }

    async fn end(&self, selector: Selector) {
        self.store.revoke(selector, Cause::Operator, None, START).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_flushes_finds_everything_written_that_another_flush_has_taken() {
    let play = Arc::new(Play::new(10_000).await);
    let mut tokens = Vec::new();
    for _ in 0..3_000 {
        tokens.push(play.sign_in().await.0);
    }
    for round in 1..=5 {
        let now = START + Duration::from_secs(60 * round);
        for token in &tokens {
            play.check(token, now).await.unwrap();
        }
        let other = Arc::clone(&play);
        let flush = tokio::spawn(async move { other.checker.flush(now).await.unwrap() });
        tokio::task::yield_now().await;
        play.checker.flush(now).await.unwrap();
        for token in &tokens {
            let found = play.store.find(&token.hash()).await.unwrap().unwrap();
            assert_eq!(found.session.last_seen_at, now, "a sweep would take it for unused");
        }
        flush.await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_gave_way_in_memory_is_as_recently_used_as_before() {
    // Room for one in each of the 64 shards: most checks push another session out.
    let play = Play::new(64).await;
    let mut tokens = Vec::new();
    for _ in 0..500 {
        tokens.push(play.sign_in().await.0);
    }
    // The idle limit is two hours. Nothing is written in between.
    for minutes in [0, 90, 180, 270, 360] {
        let now = START + Duration::from_secs(60 * minutes);
        for token in &tokens {
            assert!(play.check(token, now).await.is_some(), "after {minutes} minutes");
        }
        if minutes == 180 {
            play.checker.flush(now).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_end_hears_of_it_however_the_two_race() {
    let play = Arc::new(Play::new(1_000).await);
    for round in 0..300 {
        let (token, session) = play.sign_in().await;
        let checked = play.check(&token, START).await.unwrap();
        let waiting = {
            let (play, checked) = (Arc::clone(&play), checked.clone());
            tokio::spawn(async move { play.checker.ended(&checked).await })
        };
        let selector =
            if round % 2 == 0 { Selector::Session { session } } else { Selector::User { user: play.user } };
        play.end(selector).await;
        let cause = waiting.await.unwrap();
        assert!(cause.is_none() || cause == Some(Cause::Operator));
        assert!(!play.checker.still_stands(&checked, START));
        assert!(play.check(&token, START).await.is_none());
        assert_eq!(play.checker.watchers(session), 0);
    }
}

#[tokio::test]
async fn a_session_that_ran_out_does_not_stand_any_more() {
    let play = Play::new(1_000).await;
    let (token, _) = play.sign_in().await;
    let checked = play.check(&token, START).await.unwrap();
    assert!(play.checker.still_stands(&checked, START + HOUR));
    assert!(!play.checker.still_stands(&checked, START + 2 * HOUR));
}

#[tokio::test]
async fn garbage_never_reaches_the_store() {
    let play = Play::new(1_000).await;
    let foreign = Token::random(TokenKind::Session, &SystemEntropy).write(&TokenKey::from_bytes([8; 16]));
    for text in ["", "kst_", foreign.expose(), &"x".repeat(10_000)] {
        let check = play.checker.check(text.as_bytes(), Transport::Bearer, None, START).await.unwrap();
        assert!(matches!(check, Check::Refused(kerria::Refusal::NoToken)));
    }
    assert_eq!(play.checker.counters().misses.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// A store that answers when it is allowed to, and counts how often it is asked for a session.
struct Gate {
    store: Arc<dyn Store>,
    open: Semaphore,
    asked: watch::Sender<u32>,
    fails: AtomicBool,
    lease: Lease,
}

impl Gate {
    /// Waits until it was asked so often.
    async fn is_asked(&self, times: u32) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }

    fn asked(&self) -> u32 {
        *self.asked.borrow()
    }
}

#[async_trait]
impl Source for Gate {
    async fn find(&self, token: &TokenHash) -> Result<Option<Found>, StoreError> {
        let found = self.store.find(token).await;
        self.asked.send_modify(|asked| *asked += 1);
        self.open.acquire().await.unwrap().forget();
        if self.fails.load(SeqCst) { Err(Trouble::Unavailable.into()) } else { found }
    }

    async fn session(&self, session: SessionId) -> Result<Option<(Found, Option<Grant>)>, StoreError> {
        self.store.session(session).await
    }

    async fn profile(&self, user: UserId) -> Result<Option<Profile>, StoreError> {
        let profile = self.store.profile(user).await;
        self.asked.send_modify(|asked| *asked += 1);
        self.open.acquire().await.unwrap().forget();
        profile
    }

    async fn touch(&self, seen: Vec<(SessionId, Timestamp)>) -> Result<(), StoreError> {
        self.store.touch(seen).await
    }

    async fn rotate(&self, token: TokenUse) -> Result<SessionRotation, StoreError> {
        self.store.rotate(token).await
    }

    async fn log_after(&self, number: LogNumber, limit: u32) -> Result<LogPage, StoreError> {
        self.store.log_after(number, limit).await
    }

    async fn follow(&self, follower: Weak<dyn Follower>) -> Result<LogNumber, StoreError> {
        self.store.follow(follower).await
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.store.catch_up().await
    }
}

const MANY: usize = 50;

/// Many requests with a token that is in no memory. The store has been asked by the first one, and has not answered.
async fn a_crowd(
    lease: Lease,
    token: impl FnOnce(&Play) -> Pin<Box<dyn Future<Output = Token> + '_>>,
) -> (Arc<Play>, Arc<Gate>, Token, JoinSet<Result<bool, StoreError>>) {
    let mut gate = None;
    let play = Play::behind(10_000, |store| {
        let (open, asked) = (Semaphore::new(0), watch::Sender::new(0));
        Arc::clone(gate.insert(Arc::new(Gate { store, open, asked, fails: AtomicBool::new(false), lease })))
            as _
    });
    let play = Arc::new(play.await);
    let (gate, token) = (gate.unwrap(), token(&play).await);
    let mut crowd = JoinSet::new();
    for number in 0..MANY {
        let (checker, text) = (Arc::clone(&play.checker), token.write(play.checker.key()).expose().clone());
        crowd.spawn(async move {
            let check = checker.check(text.as_bytes(), Transport::Bearer, None, START).await;
            check.map(|check| matches!(check, Check::Good(_)))
        });
        if number == 0 {
            gate.is_asked(1).await;
        }
    }
    // On one thread, each goes as far as it can.
    tokio::task::yield_now().await;
    (play, gate, token, crowd)
}

fn of_somebody(play: &Play) -> Pin<Box<dyn Future<Output = Token> + '_>> {
    Box::pin(async { play.sign_in().await.0 })
}

fn of_nobody(_: &Play) -> Pin<Box<dyn Future<Output = Token> + '_>> {
    Box::pin(async { Token::random(TokenKind::Session, &SystemEntropy) })
}

#[tokio::test]
async fn of_many_who_ask_for_one_session_at_once_one_reads_it() {
    let (_play, gate, _, crowd) = a_crowd(Lease::unlimited(), of_somebody).await;
    gate.open.add_permits(MANY);
    assert!(crowd.join_all().await.into_iter().all(Result::unwrap));
    assert_eq!(gate.asked(), 1);
}

#[tokio::test]
async fn without_a_lease_nobody_takes_what_another_one_has_read() {
    let (lease, _keeper) = Lease::limited(|| Moment(0));
    let (_play, gate, _, crowd) = a_crowd(lease, of_somebody).await;
    gate.open.add_permits(MANY);
    assert!(crowd.join_all().await.into_iter().all(Result::unwrap));
    assert_eq!(gate.asked() as usize, MANY);
}

#[tokio::test]
async fn of_many_who_ask_for_no_session_one_asks() {
    let (_play, gate, _, crowd) = a_crowd(Lease::unlimited(), of_nobody).await;
    gate.open.add_permits(MANY);
    assert!(!crowd.join_all().await.into_iter().any(Result::unwrap));
    assert_eq!(gate.asked(), 1);
}

#[tokio::test]
async fn whoever_waits_for_a_reading_that_fails_is_told_so_and_waits_no_longer() {
    let (_play, gate, _, crowd) = a_crowd(Lease::unlimited(), of_somebody).await;
    gate.fails.store(true, SeqCst);
    gate.open.add_permits(1);
    assert!(crowd.join_all().await.into_iter().all(|answer| answer.is_err()));
    assert_eq!(gate.asked(), 1);
}

#[tokio::test]
async fn a_reading_whose_reader_has_gone_is_taken_over() {
    let (play, gate, token, crowd) = a_crowd(Lease::unlimited(), of_somebody).await;
    let waiting = tokio::spawn(async move { play.check(&token, START).await.is_some() });
    tokio::task::yield_now().await;
    drop(crowd);
    gate.is_asked(2).await;
    gate.open.add_permits(1);
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn what_was_read_before_everything_was_forgotten_is_read_again() {
    let (play, gate, _, crowd) = a_crowd(Lease::unlimited(), of_somebody).await;
    play.checker.start_over(play.checker.head());
    gate.open.add_permits(2);
    assert!(crowd.join_all().await.into_iter().all(Result::unwrap));
    assert_eq!(gate.asked(), 2);
}

#[tokio::test]
async fn an_end_while_many_wait_for_a_reading_is_an_end_for_all_of_them() {
    let (play, gate, _, crowd) = a_crowd(Lease::unlimited(), of_somebody).await;
    play.end(Selector::User { user: play.user }).await;
    gate.open.add_permits(2 * MANY);
    assert!(!crowd.join_all().await.into_iter().any(Result::unwrap));
}

/// The groups of the user, as the checker tells them.
async fn groups(play: &Play) -> String {
    play.checker.profile(play.user).await.unwrap().unwrap().groups.to_string()
}

/// Whether they are in memory.
fn are_known(play: &Play) -> bool {
    play.checker.recall_profile(play.user).is_some()
}

async fn join(play: &Play, group: &str) {
    let (joined, left) = (group.parse().unwrap(), Groups::default());
    let changed = play.store.change_groups(play.user, &joined, &left, START).await.unwrap();
    assert!(matches!(changed, Grouping::Grouped(_)));
}

#[tokio::test]
async fn names_and_groups_are_told_from_memory_until_they_change() {
    let play = Play::new(10).await;
    assert!(!are_known(&play));
    assert_eq!(groups(&play).await, "");
    let known = play.checker.recall_profile(play.user).unwrap();
    assert_eq!((known.display_name(), known.groups.is_empty()), ("alice", true));
    // What is about others changes nothing.
    let (_, session) = play.sign_in().await;
    play.end(Selector::Session { session }).await;
    assert!(are_known(&play));
    join(&play, "staff").await;
    assert!(!are_known(&play));
    assert_eq!(groups(&play).await, "staff");
    let renamed = play.store.rename(play.user, Some(UserName::parse("Alina").unwrap()), None, None, START);
    renamed.await.unwrap();
    assert_eq!(play.checker.profile(play.user).await.unwrap().unwrap().display_name(), "Alina");
    play.store.delete_user(play.user, None, START).await.unwrap();
    // There was no session any more whose end would have been told.
    assert_eq!(play.checker.read_profile(play.user).await.unwrap(), None);
    assert_eq!(play.checker.profile(UserId::from_bytes([9; 16])).await.unwrap(), None);
}

/// A checker behind a gate, with this lease.
async fn gated(lease: Lease, permits: usize) -> (Arc<Play>, Arc<Gate>) {
    let mut gate = None;
    let play = Play::behind(10, |store| {
        let (open, asked) = (Semaphore::new(permits), watch::Sender::new(0));
        Arc::clone(gate.insert(Arc::new(Gate { store, open, asked, fails: AtomicBool::new(false), lease })))
            as _
    });
    let play = Arc::new(play.await);
    play.store.follow(Arc::downgrade(&play.checker) as _).await.unwrap();
    (play, gate.unwrap())
}

#[tokio::test]
async fn without_a_lease_groups_are_read_each_time() {
    let (lease, _keeper) = Lease::limited(|| Moment(0));
    let (play, gate) = gated(lease, 10).await;
    for times in 1..=3 {
        assert_eq!(groups(&play).await, "");
        assert_eq!(gate.asked(), times);
    }
}

#[tokio::test]
async fn groups_that_were_read_before_they_changed_are_not_remembered() {
    let (play, gate) = gated(Lease::unlimited(), 0).await;
    let asking = Arc::clone(&play);
    let slow = tokio::spawn(async move { groups(&asking).await });
    gate.is_asked(1).await;
    join(&play, "staff").await;
    gate.open.add_permits(10);
    slow.await.unwrap();
    assert!(!are_known(&play));
    assert_eq!(groups(&play).await, "staff");
}

#[tokio::test]
async fn of_many_who_ask_for_the_groups_of_one_user_one_reads_them() {
    let (play, gate) = gated(Lease::unlimited(), 0).await;
    let mut crowd = JoinSet::new();
    for _ in 0..MANY {
        let play = Arc::clone(&play);
        crowd.spawn(async move { groups(&play).await });
    }
    gate.is_asked(1).await;
    tokio::task::yield_now().await;
    gate.open.add_permits(MANY);
    assert!(crowd.join_all().await.iter().all(String::is_empty));
    assert_eq!(gate.asked(), 1);
}
