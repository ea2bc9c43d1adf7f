//! A store that several processes share does not answer: who is let through meanwhile, and for how long.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, StatusCode, header, request::Builder},
    routing::get,
};
use jsonwebtoken::EncodingKey;
use kerria::{
    Cause, Clock, Consistency, Outage, SecretCookie, Session, SessionOptions, Sessions, Stopwatch, Store,
    SystemEntropy, UserId,
    jwt::{KeySet, VerificationKey, Verifier, VerifierSettings},
    require_login,
    testing::{FaultyStore, ManualClock, START, Steps, login_as},
};
use kerria_core::{Algorithm, Expiry, LogNumber, Scope, Secret, Selector, TokenId, store::Follower};
use kerria_store::{
    Nobody, PostgresOptions, PostgresStore, RedisOptions, SplitStore, SqliteStore,
    testing::{Cable, Proxy, TestDatabase, TestSessions, node},
};
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALICE: UserId = UserId::from_number(1);
const BOB: UserId = UserId::from_number(2);
const ISSUER: &str = "https://sign-in.example.com";
const SECRET: &[u8] = b"at least as long as a hash of SHA-256";

/// An application, and a store that it shares with others.
struct Play {
    sessions: Sessions,
    clock: Arc<ManualClock>,
    /// As the application reaches it.
    store: Arc<FaultyStore>,
    /// As the others do.
    elsewhere: Arc<dyn Store>,
    app: Router,
}

impl Play {
    async fn new(outage: Outage) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let elsewhere: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let store = FaultyStore::shared(Arc::clone(&elsewhere), Arc::clone(&clock) as Arc<dyn Clock>);
        let store = Arc::new(store);
        let options = SessionOptions::new("http://localhost:3000".parse().unwrap())
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .outage(outage);
        let sessions = Sessions::start(Arc::clone(&store) as _, options).await.unwrap();
        let layer = sessions.layer().with_access_tokens(
            Arc::new(verifier()),
            SecretCookie::called("access"),
            Scope::default(),
        );
        let strict = layer.clone().with_consistency(Consistency::Strict);
        let app = Router::new()
            .route("/account", get(async || "yours").layer(require_login()))
            .merge(Router::new().route("/strict", get(async || "yours").layer(require_login())).layer(strict))
            .route("/logout", get(async |session: Session| session.logout().await))
            .route("/cycle", get(async |session: Session| session.cycle_id().await))
            .route("/login", get(async |session: Session| session.login(BOB).await))
            .route("/expire", get(async |session: Session| session.set_expiry(Expiry::at(START)).await))
            .layer(layer)
            .route("/public", get(async || "everybody's"));
        Self { sessions, clock, store, elsewhere, app }
    }

    async fn get(&self, path: &str, cookie: &HeaderValue) -> StatusCode {
        self.ask(Request::get(path).header(header::COOKIE, cookie)).await
    }

    /// The same with an access token.
    async fn get_with(&self, token: &str, path: &str) -> StatusCode {
        self.ask(Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"))).await
    }

    async fn ask(&self, request: Builder) -> StatusCode {
        self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    /// An access token of the one session of this user.
    async fn access_token(&self, user: UserId) -> String {
        let session = self.elsewhere.sessions_of(user).await.unwrap()[0].session.id;
        let issued = self.clock.now().as_millis() / 1_000;
        let claims = json!({
            "iss": ISSUER, "aud": ISSUER, "sub": user, "sid": session, "client_id": "shop",
            "jti": TokenId::new(self.clock.now(), &SystemEntropy), "iat": issued, "exp": issued + 300,
            "as_of": self.sessions.checker().head(),
        });
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some("shared".to_owned()));
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    /// Somebody signed in, whose session is in memory.
    async fn signed_in(&self, user: UserId) -> HeaderValue {
        let cookie = login_as(&self.sessions, user).await;
        assert_eq!(self.get("/account", &cookie).await, StatusCode::OK);
        cookie
    }

    /// Another process with the same store.
    async fn sessions_elsewhere(&self) -> Sessions {
        let options = SessionOptions::new("http://localhost:3000".parse().unwrap())
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>);
        Sessions::start(Arc::clone(&self.elsewhere), options).await.unwrap()
    }

    /// Ends the sessions of somebody, in another process.
    async fn ends_elsewhere(&self, user: UserId) {
        let (selector, now) = (Selector::User { user }, self.clock.now());
        assert_eq!(self.elsewhere.revoke(selector, Cause::Operator, None, now).await.unwrap().ended, 1);
    }

    fn trusted(&self) -> u64 {
        self.sessions.checker().counters().trusted.load(SeqCst)
    }
}

/// Accepts the access tokens of [`Play::access_token`].
fn verifier() -> Verifier {
    let key = VerificationKey::shared_secret("shared", &Secret::new(SECRET.to_vec())).unwrap();
    let mut settings = VerifierSettings::new(ISSUER, ISSUER.parse().unwrap());
    settings.algorithms.push(Algorithm::Hs256);
    Verifier::new(settings, KeySet::of([key]).unwrap())
}

#[tokio::test]
async fn nobody_is_let_through_without_a_lease_unless_it_is_said() {
    let play = Play::new(Outage::default()).await;
    let alice = play.signed_in(ALICE).await;
    play.store.fail(Steps::All);
    play.clock.advance(SECOND - Duration::from_millis(1));
    assert_eq!(play.get("/account", &alice).await, StatusCode::OK, "the lease still lasts");
    play.clock.advance(Duration::from_millis(1));
    assert_eq!(play.get("/account", &alice).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(play.get("/public", &alice).await, StatusCode::OK);
    play.store.mend();
    assert_eq!((play.get("/account", &alice).await, play.trusted()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_session_in_memory_is_trusted_while_the_store_does_not_answer_and_not_for_longer() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    let bob = login_as(&play.sessions_elsewhere().await, BOB).await;
    play.store.fail(Steps::All);
    play.clock.advance(SECOND);
    assert_eq!((play.get("/account", &alice).await, play.trusted()), (StatusCode::OK, 1));
    assert_eq!(play.get("/strict", &alice).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(play.get("/account", &bob).await, StatusCode::SERVICE_UNAVAILABLE, "not in memory");

    play.clock.advance(MINUTE - Duration::from_millis(1));
    // The layer around the strict one has trusted, too; what counts is the stricter answer.
    assert_eq!((play.get("/account", &alice).await, play.trusted()), (StatusCode::OK, 3));
    play.clock.advance(Duration::from_millis(1));
    assert_eq!(play.get("/account", &alice).await, StatusCode::SERVICE_UNAVAILABLE);

    play.store.mend();
    let asked = play.store.asked("find");
    assert_eq!(play.get("/account", &alice).await, StatusCode::OK);
    assert_eq!((play.trusted(), play.store.asked("find")), (3, asked), "from memory, under a lease");
    assert_eq!(play.get("/account", &bob).await, StatusCode::OK);
    play.ends_elsewhere(ALICE).await;
    assert_eq!(play.get("/account", &alice).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_asked_once_in_a_second() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    play.store.fail(Steps::All);
    play.clock.advance(SECOND);
    let before = play.store.asked("find");
    for seconds in 1..=30 {
        for _ in 0..20 {
            assert_eq!(play.get("/account", &alice).await, StatusCode::OK);
        }
        assert_eq!(play.store.asked("find"), before + seconds);
        play.clock.advance(SECOND);
    }
    assert_eq!(play.trusted(), 600);
}

#[tokio::test]
async fn nobody_waits_for_long_for_a_store_that_hangs_if_memory_has_the_answer() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    play.store.hang(Steps::All);
    play.clock.advance(SECOND);
    let watch = Stopwatch::start();
    assert_eq!((play.get("/account", &alice).await, play.trusted()), (StatusCode::OK, 1));
    let waited = watch.elapsed();
    assert!((SECOND..2 * SECOND).contains(&waited), "{waited:?}");
    assert_eq!((play.get("/account", &alice).await, play.trusted()), (StatusCode::OK, 2));
    assert!(watch.elapsed() < waited + SECOND / 2, "the second one does not wait");
}

#[tokio::test]
async fn an_end_that_was_heard_of_is_never_trusted_away() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    play.ends_elsewhere(ALICE).await;
    play.store.fail(Steps::All);
    for _ in 0..60 {
        assert_ne!(play.get("/account", &alice).await, StatusCode::OK);
        play.clock.advance(SECOND);
    }
    assert_eq!(play.trusted(), 0);
}

/// The risk that is taken, and its bound.
#[tokio::test]
async fn an_end_that_could_not_be_heard_of_counts_as_soon_as_the_store_answers() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let (alice, bob) = (play.signed_in(ALICE).await, play.signed_in(BOB).await);
    play.store.fail(Steps::All);
    play.clock.advance(2 * SECOND);
    play.ends_elsewhere(ALICE).await;
    assert_eq!(play.get("/account", &alice).await, StatusCode::OK);
    play.store.mend();
    assert_eq!(play.get("/account", &alice).await, StatusCode::UNAUTHORIZED);
    assert_eq!(play.get("/account", &bob).await, StatusCode::OK);
}

#[tokio::test]
async fn who_answers_is_believed_and_not_memory() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let (alice, bob) = (play.signed_in(ALICE).await, play.signed_in(BOB).await);
    play.store.fail(Steps::All);
    play.clock.advance(2 * SECOND);
    assert_eq!(play.get("/account", &alice).await, StatusCode::OK);
    play.ends_elsewhere(ALICE).await;
    // It can be asked again, and the lease cannot be renewed yet.
    play.store.fail(Steps::Of("touch"));
    play.clock.advance(SECOND);
    assert_eq!(play.get("/account", &alice).await, StatusCode::UNAUTHORIZED);
    let trusted = play.trusted();
    assert_eq!((play.get("/account", &bob).await, play.trusted()), (StatusCode::OK, trusted));
}

#[tokio::test]
async fn limits_of_a_session_hold_in_an_outage_too() {
    let play = Play::new(Outage::TrustFor(1_000 * MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    play.store.fail(Steps::All);
    // It may have been used elsewhere: that it was not, nobody can tell.
    play.clock.advance(121 * MINUTE);
    assert_eq!(play.get("/account", &alice).await, StatusCode::SERVICE_UNAVAILABLE);
    play.store.mend();
    assert_eq!(play.get("/account", &alice).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_access_token_is_trusted_like_its_session_and_an_end_of_it_alone_counts() {
    let play = Play::new(Outage::TrustFor(10 * MINUTE)).await;
    play.signed_in(ALICE).await;
    let (good, ended) = (play.access_token(ALICE).await, play.access_token(ALICE).await);
    for token in [&good, &ended] {
        assert_eq!(play.get_with(token, "/account").await, StatusCode::OK);
    }
    let claims = verifier().verify_offline(ended.as_bytes(), play.clock.now()).unwrap().claims;
    let alone = Selector::Token { token: claims.jti };
    play.elsewhere.revoke(alone, Cause::GivenBack, None, play.clock.now()).await.unwrap();
    login_as(&play.sessions, BOB).await;
    let not_in_memory = play.access_token(BOB).await;
    play.store.fail(Steps::All);
    play.clock.advance(SECOND);
    for (token, path, status, trusted) in [
        (&good, "/account", StatusCode::OK, 1),
        (&good, "/strict", StatusCode::SERVICE_UNAVAILABLE, 2),
        (&ended, "/account", StatusCode::UNAUTHORIZED, 2),
        (&not_in_memory, "/account", StatusCode::SERVICE_UNAVAILABLE, 2),
        (&good, "/account", StatusCode::OK, 3),
    ] {
        assert_eq!((play.get_with(token, path).await, play.trusted()), (status, trusted), "{path}");
    }
    // Its own time is over before that of the trust.
    play.clock.advance(5 * MINUTE + 10 * SECOND);
    assert_eq!(play.get_with(&good, "/account").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_starts_over_in_an_outage_has_nothing_to_trust() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    let token = play.access_token(ALICE).await;
    assert_eq!(play.get_with(&token, "/account").await, StatusCode::OK);
    play.store.fail(Steps::All);
    play.clock.advance(SECOND);
    assert_eq!(play.get("/account", &alice).await, StatusCode::OK);
    assert_eq!((play.get_with(&token, "/account").await, play.trusted()), (StatusCode::OK, 2));
    // The feed has missed what came in between.
    let checker = play.sessions.checker();
    checker.start_over(LogNumber(checker.head().0 + 5));
    assert_eq!(play.get("/account", &alice).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(play.get_with(&token, "/account").await, StatusCode::UNAUTHORIZED, "its client gets another");
    assert_eq!(play.trusted(), 2);
}

#[tokio::test]
async fn a_question_that_finds_no_room_begins_no_trust() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    play.store.busy(Steps::All);
    play.clock.advance(SECOND);
    for _ in 0..3 {
        assert_eq!(play.get("/account", &alice).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(play.trusted(), 0);
    // Once it was asked and kept silent, a full queue does not shut out those who ask again.
    play.store.fail(Steps::Of("find"));
    assert_eq!(play.get("/account", &alice).await, StatusCode::OK);
    play.store.busy(Steps::Of("find"));
    play.clock.advance(SECOND);
    assert_eq!((play.get("/account", &alice).await, play.trusted()), (StatusCode::OK, 2));
}

/// Without a lease, an end and a new token are committed, and this process has not heard of it from the store.
#[tokio::test]
async fn what_this_process_has_changed_itself_is_never_trusted_away() {
    for change in ["logout", "cycle", "login", "expire", "end", "end of all"] {
        let play = Play::new(Outage::TrustFor(MINUTE)).await;
        let alice = play.signed_in(ALICE).await;
        play.store.fail(Steps::All);
        play.clock.advance(SECOND);
        assert_eq!(play.get("/account", &alice).await, StatusCode::OK, "that is the risk");
        play.store.fail(Steps::Of("find"));
        let session = play.elsewhere.sessions_of(ALICE).await.unwrap()[0].session.id;
        match change {
            "end" => drop(play.sessions.end(session).await.unwrap()),
            "end of all" => drop(play.sessions.end_all(ALICE).await.unwrap()),
            _ => assert_eq!(play.get(&format!("/{change}"), &alice).await, StatusCode::OK),
        }
        let trusted = play.trusted();
        for _ in 0..3 {
            assert_ne!(play.get("/account", &alice).await, StatusCode::OK, "{change}");
            play.clock.advance(SECOND);
        }
        assert_eq!(play.trusted(), trusted, "{change}");
    }
}

#[tokio::test]
async fn what_was_read_before_an_own_change_is_not_kept_after_it() {
    let play = Play::new(Outage::TrustFor(MINUTE)).await;
    let alice = play.signed_in(ALICE).await;
    play.store.fail(Steps::All);
    play.clock.advance(SECOND);
    // It answers, and the feed does not.
    play.store.fail(Steps::Of("touch"));
    let held = play.store.hold("find");
    tokio::join!(play.get("/account", &alice), async {
        held.reached().await;
        play.sessions.end_all(ALICE).await.unwrap();
        held.release();
    });
    play.store.fail(Steps::Of("find"));
    assert_eq!(play.get("/account", &alice).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(play.trusted(), 0);
}

/// Between an application and the database that it shares.
async fn behind(proxy: &Proxy) -> Arc<dyn Store> {
    let options = PostgresOptions::parse(proxy.url()).unwrap();
    Arc::new(PostgresStore::connect(options, node(), Arc::new(Nobody)).await.unwrap())
}

/// Between an application and the Redis that it shares.
async fn beside_redis(folder: &TempDir, proxy: &Proxy) -> Arc<dyn Store> {
    let (path, redis) = (folder.path().join("kerria.db"), RedisOptions::from_url(proxy.url()).unwrap());
    let store = SplitStore::on_sqlite(&path, redis, node(), Arc::new(Nobody), START).await;
    Arc::new(store.unwrap())
}

/// With a real lease, which runs by a clock that nobody moves.
async fn is_trusted_for_a_time(store: Arc<dyn Store>, proxy: &Proxy, broken: Cable) {
    let limit = 3 * SECOND;
    let options = SessionOptions::new("http://localhost:3000".parse().unwrap());
    let sessions = Sessions::start(store, options.outage(Outage::TrustFor(limit))).await.unwrap();
    let app = Router::new().route("/", get(async || "yours").layer(require_login())).layer(sessions.layer());
    let (alice, checker) = (login_as(&sessions, ALICE).await, sessions.checker());
    let visit = async || {
        let request = Request::get("/").header(header::COOKIE, &alice).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    until(async || visit().await == StatusCode::OK && checker.lease().holds()).await;
    proxy.set(broken);
    until(async || !checker.lease().holds()).await;
    let without_lease = Stopwatch::start();
    assert_eq!(visit().await, StatusCode::OK);
    assert!(checker.counters().trusted.load(SeqCst) > 0);
    until(async || visit().await == StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(without_lease.elapsed() > limit - SECOND, "{:?}", without_lease.elapsed());
    proxy.set(Cable::Whole);
    until(async || visit().await == StatusCode::OK && checker.lease().holds()).await;
    let trusted = checker.counters().trusted.load(SeqCst);
    assert_eq!((visit().await, checker.counters().trusted.load(SeqCst)), (StatusCode::OK, trusted));
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, waiting).await.expect("it happens in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_trusted_while_its_database_is_cut_off() {
    let database = TestDatabase::create();
    let proxy = Proxy::to(&database.url());
    is_trusted_for_a_time(behind(&proxy).await, &proxy, Cable::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_trusted_while_its_database_keeps_silent() {
    let database = TestDatabase::create();
    let proxy = Proxy::to(&database.url());
    is_trusted_for_a_time(behind(&proxy).await, &proxy, Cable::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_trusted_while_its_redis_is_cut_off() {
    let (folder, redis) = (TempDir::new().unwrap(), TestSessions::create());
    let proxy = Proxy::to(&redis.url());
    is_trusted_for_a_time(beside_redis(&folder, &proxy).await, &proxy, Cable::Cut).await;
}
