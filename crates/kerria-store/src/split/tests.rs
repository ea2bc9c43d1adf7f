//! What the rules of the contract do not say: what happens between the directory and Redis.

use std::{
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    time::Duration,
};

use kerria_core::{
    Cause, CredentialVersion, Device, LoginName, Method, PasswordHash, Selector, SessionId, SessionPolicy,
    Status, Timestamp, TokenHash, Transport, UserId, UserName,
    audit::AuditEvent,
    store::{
        Accounts, CarryOver, NewSession, NewUser, Opened, PasswordChange, PasswordChanged, Sessions, SignIn,
        Store, UserCreation,
    },
};
use tempfile::TempDir;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    errand::Errand,
    observer::Nobody,
    sql::{Reach, Step, accounts},
    testing::{Cable, Proxy, TestDatabase, TestSessions, node},
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ALICE: UserId = UserId::from_bytes([1; 16]);
const FIRST: CredentialVersion = CredentialVersion(1);

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

type SplitOnFile = SplitStore<Sqlite>;

/// A file and a Redis, which outlive the processes that use them.
struct Place {
    folder: TempDir,
    redis: TestSessions,
}

impl Place {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), redis: TestSessions::create() }
    }

    async fn open(&self) -> SplitOnFile {
        self.open_by(&self.redis.url()).await
    }

    async fn open_by(&self, url: &str) -> SplitOnFile {
        let options = RedisOptions::from_url(url).unwrap();
        let path = self.folder.path().join("kerria.db");
        SplitStore::on_sqlite(&path, options, node(), Arc::new(Nobody), NOW).await.unwrap()
    }
}

async fn with_alice(store: &impl Store) {
    let alice = NewUser {
        id: ALICE,
        name: Some(UserName::parse("Alice").unwrap()),
        email: None,
        password: PasswordHash::new("first".to_owned()),
        device: None,
        now: NOW,
    };
    assert_eq!(store.create_user(alice, None).await.unwrap(), UserCreation::Created(FIRST));
}

const fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

const fn token(number: u8) -> TokenHash {
    TokenHash::from_bytes([number; 32])
}

fn sign_in(number: u8, version: u64) -> SignIn {
    SignIn {
        session: NewSession {
            id: session(number),
            token: token(number),
            transport: Transport::Cookie,
            remembered: false,
            device: Device { user_agent: String::new(), address: [192, 0, 2, 7].into() },
            now: NOW,
        },
        user: ALICE,
        version: Some(CredentialVersion(version)),
        method: Method::Password,
        replaces: None,
        carry_over: CarryOver::default(),
        limit: None,
        policy: SessionPolicy::default(),
        grant: None,
    }
}

async fn signed_in(store: &impl Store, number: u8, version: u64) {
    let opened = store.open(sign_in(number, version)).await.unwrap();
    assert!(matches!(opened, Opened::Opened(_)), "{opened:?}");
}

fn change(version: u64, keep: Option<(SessionId, TokenHash)>) -> PasswordChange {
    PasswordChange {
        user: ALICE,
        version: Some(CredentialVersion(version)),
        password: PasswordHash::new(format!("after {version}")),
        keep,
        device: None,
        now: NOW,
    }
}

/// The step of the directory alone, as of a process that dies after it.
async fn decide<D: Driver>(store: &SplitStore<D>, change: PasswordChange) -> Vec<Errand> {
    let (changed, errands) = store
        .directory()
        .write_with_errands(Reach::Part, move |step| accounts::change_password(step, &change))
        .await
        .unwrap();
    assert!(matches!(changed, PasswordChanged::Changed { .. }));
    assert_eq!(errands.len(), 1);
    errands
}

async fn is_there(store: &impl Store, number: u8) -> bool {
    store.find(&token(number)).await.unwrap().is_some()
}

async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_true().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_has_left_is_done_before_the_next_one_serves() {
    let place = Place::new();
    let store = place.open().await;
    with_alice(&store).await;
    for number in [2, 3, 4] {
        signed_in(&store, number, 1).await;
    }
    // It would do it itself.
    store.take_outbox().unwrap().abort();
    decide(&store, change(1, Some((session(2), token(9))))).await;
    store.leave().await.unwrap();
    drop(store);

    let store = place.open().await;
    assert!(!is_there(&store, 3).await && !is_there(&store, 4).await, "they ended with the password");
    assert!(!is_there(&store, 2).await && is_there(&store, 9).await, "the one that stays has its new token");
    let lines = store.audit(Some(ALICE), 10).await.unwrap();
    assert_eq!((lines[0].event, &*lines[0].detail), (AuditEvent::PasswordChanged, "2 sessions ended"));
    assert_eq!(store.directory().errands().await.unwrap(), []);
    store.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_done_by_whoever_runs() {
    let place = Place::new();
    let store = place.open().await;
    with_alice(&store).await;
    signed_in(&store, 2, 1).await;
    decide(&store, change(1, None)).await;
    until("the session ends", async || !is_there(&store, 2).await).await;
    until("the line is written", async || {
        store.audit(Some(ALICE), 1).await.unwrap()[0].event == AuditEvent::PasswordChanged
    })
    .await;
    store.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_does_not_answer_nothing_is_said_to_be_done_and_it_is_done_later() {
    let place = Place::new();
    let proxy = Proxy::to(&place.redis.url());
    let store = place.open_by(proxy.url()).await;
    with_alice(&store).await;
    signed_in(&store, 2, 1).await;
    let alice = LoginName::parse("alice");
    for cable in [Cable::Cut, Cable::BlackHole] {
        proxy.set(cable);
        let version = store.credentials(&alice).await.unwrap().unwrap().version;
        let refused = store.change_password(change(version.0, None)).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(store.check_health().await.is_err());
        assert!(!store.directory().errands().await.unwrap().is_empty());
        assert_ne!(store.credentials(&alice).await.unwrap().unwrap().version, version, "it is changed");
        proxy.set(Cable::Whole);
        until("the session ends", async || matches!(store.find(&token(2)).await, Ok(None))).await;
        until("nothing is left", async || store.directory().errands().await.unwrap().is_empty()).await;
        until("it is well", async || store.check_health().await.is_ok()).await;
        let version = store.credentials(&alice).await.unwrap().unwrap().version;
        signed_in(&store, 2, version.0).await;
    }
    // Asked once more, it is not said to be nothing before it is done.
    proxy.set(Cable::Cut);
    for _ in 0..2 {
        let refused = store.delete_user(ALICE, None, NOW).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    proxy.set(Cable::Whole);
    until("there is nobody", async || {
        matches!(store.delete_user(ALICE, None, NOW).await, Ok(kerria_core::store::Removal::Unknown))
    })
    .await;
    assert!(!is_there(&store, 2).await);
    store.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_opened_after_a_change_is_spared_by_its_errand() {
    let place = Place::new();
    let store = place.open().await;
    store.take_outbox().unwrap().abort();
    with_alice(&store).await;
    signed_in(&store, 2, 1).await;
    let errands = decide(&store, change(1, None)).await;
    signed_in(&store, 3, 2).await;
    assert!(!is_there(&store, 2).await, "the sign-in has run the errand");
    // Somebody who has stood still for long runs it once more.
    store.shared.run(errands).await.unwrap();
    assert!(is_there(&store, 3).await);
    store.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_that_a_change_overtakes_is_undone() {
    let place = Place::new();
    let store = Arc::new(place.open().await);
    store.take_outbox().unwrap().abort();
    with_alice(&*store).await;
    // A change has begun, and waits until the sign-in has looked and has opened its session.
    let (has_begun, begins) = mpsc::channel();
    let (may_go, goes) = mpsc::channel();
    let changing = {
        let (store, goes) = (Arc::clone(&store), Mutex::new(goes));
        tokio::spawn(async move {
            let step = move |step: &mut Step<'_>| {
                has_begun.send(()).unwrap();
                goes.lock().unwrap().recv().unwrap();
                accounts::change_password(step, &change(1, None))
            };
            store.directory().write_with_errands(Reach::Part, step).await.unwrap()
        })
    };
    spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    let signing_in = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.open(sign_in(2, 1)).await.unwrap() })
    };
    until("its session is opened", async || store.sessions().find(&token(2)).await.unwrap().is_some()).await;
    may_go.send(()).unwrap();
    changing.await.unwrap();
    assert_eq!(signing_in.await.unwrap(), Opened::CredentialsChanged);
    assert!(!is_there(&*store, 2).await, "nobody has its token");
    let lines = store.audit(Some(ALICE), 10).await.unwrap();
    assert!(lines.iter().all(|line| line.event != AuditEvent::SignedIn));
    store.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_changes_are_done_in_their_order() {
    let place = Place::new();
    let store = place.open().await;
    store.take_outbox().unwrap().abort();
    with_alice(&store).await;
    signed_in(&store, 2, 1).await;
    let first = decide(&store, change(1, Some((session(2), token(8))))).await;
    let second = decide(&store, change(2, Some((session(2), token(9))))).await;
    let done = store.shared.run(second).await.unwrap();
    assert_eq!(done.kept.unwrap().session.id, session(2));
    store.shared.run(first).await.unwrap();
    assert!(is_there(&store, 9).await && !is_there(&store, 8).await, "the later token counts");
    assert_eq!(store.directory().errands().await.unwrap(), []);
    store.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_somebody_who_is_disabled_waits_for_what_the_first_one_has_left() {
    let place = Place::new();
    let store = place.open().await;
    store.take_outbox().unwrap().abort();
    with_alice(&store).await;
    signed_in(&store, 2, 1).await;
    store
        .directory()
        .write_with_errands(Reach::Everything, |step| {
            accounts::set_status(step, ALICE, Status::Disabled, NOW)
        })
        .await
        .unwrap();
    assert_eq!(store.set_status(ALICE, Status::Disabled, NOW).await.unwrap(), Some(0));
    assert!(!is_there(&store, 2).await, "its end was answered");
    store.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_know_where_the_sessions_of_a_database_are_is_refused() {
    let (database, redis) = (TestDatabase::create(), TestSessions::create());
    let options = PostgresOptions::parse(&database.url()).unwrap().connections(NonZeroUsize::MIN);
    let sessions = RedisOptions::from_url(&redis.url()).unwrap();
    let store =
        SplitStore::on_postgres(options.clone(), sessions, node(), Arc::new(Nobody), NOW).await.unwrap();
    store.leave().await.unwrap();
    drop(store);
    let refused = PostgresStore::connect(options.clone(), node(), Arc::new(Nobody)).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Elsewhere { .. }), "{refused}");
    PostgresStore::keep_sessions_here(options.clone()).await.unwrap();
    PostgresStore::connect(options, node(), Arc::new(Nobody)).await.unwrap().leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_directory_does_not_answer_sessions_end_and_the_audit_log_hears_of_it_later() {
    let database = TestDatabase::create();
    let redis = TestSessions::create();
    let proxy = Proxy::to(&database.url());
    let options = PostgresOptions::parse(proxy.url()).unwrap().connections(NonZeroUsize::MIN);
    let redis = (RedisOptions::from_url(&redis.url()).unwrap(), redis);
    let store = SplitStore::on_postgres(options, redis.0, node(), Arc::new(Nobody), NOW).await.unwrap();
    with_alice(&store).await;
    signed_in(&store, 2, 1).await;
    proxy.set(Cable::Cut);
    let selector = Selector::Session { session: session(2) };
    let revoked = store.revoke(selector, Cause::SignedOut, None, NOW).await.unwrap();
    assert_eq!(revoked.ended, 1);
    proxy.set(Cable::Whole);
    until("the line is written", async || {
        let lines = store.audit(Some(ALICE), 1).await.unwrap_or_default();
        lines.first().is_some_and(|line| line.event == AuditEvent::SessionsEnded)
    })
    .await;
    store.leave().await.unwrap();
}
