//! The checker over a real store: what is in memory, what is on disk, and what happens in between.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use kerria::{Binding, Check, Checked, Checker, CheckerSettings, SystemEntropy};
use kerria_core::{
    Cause, CredentialVersion, Device, Method, PasswordHash, RotationRule, Selector, SessionId, SessionPolicy,
    Store, Timestamp, Token, TokenKey, TokenKind, Transport, UserId, UserName,
    store::{NewSession, NewUser, Opened, SignIn},
};
use kerria_store::SqliteStore;

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
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let policy = SessionPolicy::default();
        let rotation = RotationRule::default();
        let settings = CheckerSettings { policy, binding: Binding::Off, cache_entries, rotation };
        let key = TokenKey::from_bytes([7; 16]);
        let checker = Checker::start(Arc::clone(&store), key, settings).await.unwrap();
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
            version: CredentialVersion(1),
            method: Method::Password,
            replaces: None,
            carry_over: Vec::new(),
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
