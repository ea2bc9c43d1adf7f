//! What is Redis's own: servers that forget, are replaced or fall silent, and processes that meet.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use kerria_core::{
    Cause, DataKey, DataLimits, Device, Grant, LogEntry, LogEvent, LogNumber, Method, Selector, SessionId,
    SessionPolicy, Timestamp, TokenHash, Transport, UserId,
    store::{
        AtLimit, CarryOver, DataOwner, DataWrite, Doors, Follower, Found, LogPage, NewSession, SessionData,
        SessionLimit, SignIn, Trouble,
    },
    throttle::{Admission, Door, ThrottleRule},
};
use tokio::time::{sleep, timeout};

use super::{Entered, RedisError, RedisOptions, RedisSessions};
use crate::{
    errand::{Errand, Order},
    feed::moment,
    last_written::tests::remembers_what_it_has_written,
    observer::Nobody,
    testing::{self, Cable, Proxy, TestRedis, TestSessions},
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MANY: Duration = Duration::from_secs(15);
const ALICE: UserId = UserId::from_bytes([0xa1; 16]);
const BOB: UserId = UserId::from_bytes([0xb0; 16]);

async fn connect(url: &str) -> Result<RedisSessions, RedisError> {
    RedisSessions::connect(RedisOptions::from_url(url).unwrap(), testing::node(), Arc::new(Nobody)).await
}

async fn sessions_in(url: &str) -> RedisSessions {
    connect(url).await.unwrap()
}

fn new_session(number: u64) -> NewSession {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    NewSession {
        id: SessionId::from_bytes(id),
        token: token(number),
        transport: Transport::Cookie,
        remembered: false,
        device: Device::new("curl/8", "192.0.2.7".parse().unwrap()),
        now: NOW,
    }
}

fn token(number: u64) -> TokenHash {
    let mut token = [0; 32];
    token[24..].copy_from_slice(&number.to_be_bytes());
    TokenHash::from_bytes(token)
}

fn sign_in(user: UserId, number: u64) -> SignIn {
    SignIn {
        session: new_session(number),
        user,
        version: Some(kerria_core::CredentialVersion(1)),
        method: Method::Password,
        replaces: None,
        carry_over: CarryOver::default(),
        limit: None,
        policy: SessionPolicy::default(),
        grant: None,
    }
}

async fn open(sessions: &RedisSessions, user: UserId, number: u64) -> Found {
    match sessions.open(&sign_in(user, number)).await.unwrap() {
        Entered::Entered { found, .. } => found,
        Entered::LimitReached => panic!("there is no limit"),
    }
}

async fn is_found(sessions: &RedisSessions, number: u64) -> bool {
    sessions.find(&token(number)).await.unwrap().is_some()
}

async fn end(sessions: &RedisSessions, selector: Selector) -> LogNumber {
    sessions.end(selector, Cause::Operator, NOW).await.unwrap().number
}

#[derive(Default)]
struct Heard(Mutex<Vec<LogEntry>>, Mutex<Vec<LogNumber>>);

impl Follower for Heard {
    fn apply(&self, entries: &[LogEntry]) {
        self.0.lock().unwrap().extend_from_slice(entries);
    }

    fn start_over(&self, head: LogNumber) {
        self.1.lock().unwrap().push(head);
    }
}

impl Heard {
    async fn of(sessions: &RedisSessions) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        let follower: Weak<dyn Follower> = Arc::downgrade(&heard) as _;
        sessions.follow(follower).await.unwrap();
        heard
    }

    async fn has_started_over(&self) -> LogNumber {
        eventually("the follower starts over", async || self.1.lock().unwrap().last().copied()).await
    }
}

async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(MANY, looking).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

#[tokio::test]
async fn nothing_is_left_of_sessions_that_were_ended() {
    let database = TestSessions::create();
    let sessions = sessions_in(&database.url()).await;
    let key = DataKey::parse("cart").unwrap();
    for number in 1..=3 {
        open(&sessions, ALICE, number).await;
        let owner = DataOwner::Session(new_session(number).id);
        sessions.put_data(owner, &key, "1".to_owned(), DataLimits::default()).await.unwrap();
    }
    let visitor = DataOwner::Visitor(new_session(4));
    sessions.put_data(visitor, &key, "1".to_owned(), DataLimits::default()).await.unwrap();
    end(&sessions, Selector::Session { session: new_session(4).id }).await;
    end(&sessions, Selector::UserExcept { user: ALICE, except: new_session(2).id }).await;
    assert!(is_found(&sessions, 2).await && !is_found(&sessions, 1).await);
    end(&sessions, Selector::User { user: ALICE }).await;
    let left: Vec<String> = database.ask(&["KEYS", "{kerria}:0:*"]);
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn what_is_left_of_everyones_sessions_is_removed_afterwards() {
    let database = TestSessions::create();
    let sessions = sessions_in(&database.url()).await;
    for number in 0..1_200 {
        open(&sessions, ALICE, number).await;
    }
    let ended = sessions.end(Selector::Everyone, Cause::Operator, NOW).await.unwrap();
    assert_eq!(ended.sessions, 1_200);
    assert!(!is_found(&sessions, 7).await);
    open(&sessions, ALICE, 7).await;
    eventually("everything is gone", async || {
        let left: Vec<String> = database.ask(&["KEYS", "{kerria}:0:*"]);
        left.is_empty().then_some(())
    })
    .await;
    eventually("it is not looked for any more", async || {
        database.ask::<Vec<String>>(&["SMEMBERS", "{kerria}:old"]).is_empty().then_some(())
    })
    .await;
    assert!(is_found(&sessions, 7).await, "what was opened afterwards stands");
}

#[tokio::test]
async fn the_many_sessions_of_a_client_end_some_at_a_time_and_before_the_client() {
    let database = TestSessions::create();
    let sessions = sessions_in(&database.url()).await;
    let client = "app".parse().unwrap();
    let grant =
        Grant { client, scope: "a".parse().unwrap(), audience: "https://example.com".parse().unwrap() };
    let mut before = LogNumber(0);
    for number in 0..2_050 {
        let mut sign_in = sign_in(ALICE, number);
        (sign_in.session.transport, sign_in.grant) = (Transport::Tokens, Some(grant.clone()));
        let Entered::Entered { found, .. } = sessions.open(&sign_in).await.unwrap() else { panic!() };
        before = found.as_of;
    }
    let ended = sessions.end(Selector::Client { client }, Cause::Operator, NOW).await.unwrap();
    assert_eq!(ended.sessions, 2_050);
    let LogPage::Entries(entries) = sessions.log_after(before, 5_000).await.unwrap() else { panic!() };
    let (last, of_sessions) = entries.split_last().unwrap();
    assert_eq!((last.selector, last.number), (Selector::Client { client }, ended.number));
    let in_order = (0..2_050).map(|number| Selector::Session { session: new_session(number).id });
    assert!(of_sessions.iter().map(|entry| entry.selector).eq(in_order));
    assert_eq!(database.ask::<Vec<String>>(&["KEYS", "{kerria}:0:*"]), [""; 0]);
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let database = TestSessions::create();
    let sessions = sessions_in(&database.url()).await;
    for number in 0..3 {
        database.ask::<()>(&["SCRIPT", "FLUSH"]);
        open(&sessions, ALICE, number).await;
        database.ask::<()>(&["SCRIPT", "FLUSH"]);
        assert!(is_found(&sessions, number).await);
        database.ask::<()>(&["SCRIPT", "FLUSH"]);
        end(&sessions, Selector::Session { session: new_session(number).id }).await;
    }
    sessions.catch_up().await.unwrap();
}

#[tokio::test]
async fn after_a_restart_that_lost_everything_numbers_go_on_and_followers_start_over() {
    let server = TestRedis::start();
    let sessions = sessions_in(&server.url(0)).await;
    let heard = Heard::of(&sessions).await;
    open(&sessions, ALICE, 1).await;
    let before = end(&sessions, Selector::Everyone).await;
    open(&sessions, ALICE, 2).await;
    server.stop();
    assert_eq!(sessions.find(&token(2)).await.unwrap_err().trouble, Trouble::Unavailable);
    server.start_again();
    let head = heard.has_started_over().await;
    assert!(head > before, "{head:?} after {before:?}");
    eventually("the server is used again", async || sessions.find(&token(2)).await.ok()).await;
    assert!(!is_found(&sessions, 2).await);
    let found = open(&sessions, ALICE, 3).await;
    assert!(found.as_of >= head);
    assert_eq!(sessions.log_after(before, 10).await.unwrap(), LogPage::StartOver { head: found.as_of });
}

#[tokio::test]
async fn after_everything_was_flushed_numbers_go_on_and_followers_start_over() {
    let server = TestRedis::start();
    let sessions = sessions_in(&server.url(0)).await;
    let heard = Heard::of(&sessions).await;
    open(&sessions, ALICE, 1).await;
    let before = end(&sessions, Selector::Everyone).await;
    server.ask::<()>(0, &["FLUSHALL"]);
    assert!(heard.has_started_over().await > before);
    open(&sessions, ALICE, 2).await;
    assert!(end(&sessions, Selector::User { user: ALICE }).await > before);
}

#[tokio::test]
async fn nothing_is_acknowledged_for_a_lease_after_the_ledger_was_lost() {
    let server = TestRedis::start();
    let sessions = sessions_in(&server.url(0)).await;
    open(&sessions, ALICE, 1).await;
    // The first life of a server is not settled, either.
    end(&sessions, Selector::User { user: ALICE }).await;
    open(&sessions, ALICE, 2).await;
    let settled = moment();
    end(&sessions, Selector::User { user: ALICE }).await;
    let took = moment().0 - settled.0;
    server.ask::<()>(0, &["FLUSHALL"]);
    let lost = moment();
    open(&sessions, ALICE, 3).await;
    end(&sessions, Selector::User { user: ALICE }).await;
    let waited = moment().0 - lost.0;
    assert!(took < 500_000_000, "{took} ns in a life that is settled");
    assert!(waited >= 1_000_000_000, "{waited} ns in one that is not");
}

#[tokio::test]
async fn ends_that_a_replica_has_missed_are_done_again_before_it_is_asked_for_anything() {
    let (primary, replica) = (TestRedis::start(), TestRedis::start());
    let proxy = Proxy::to(&primary.url(0));
    let port = proxy.url().rsplit_once(':').unwrap().1.split_once('/').unwrap().0.to_owned();
    replica.ask::<()>(0, &["CONFIG", "SET", "repl-diskless-load", "swapdb"]);
    replica.ask::<()>(0, &["REPLICAOF", "127.0.0.1", &port]);
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}/0", primary.port(), replica.port());
    let sessions = sessions_in(&url).await;
    let mut opened = Vec::new();
    for number in 1..=4 {
        let user = if number == 4 { BOB } else { ALICE };
        opened.push(open(&sessions, user, number).await.session.id);
    }
    eventually("the replica has them all", async || {
        let count: u64 = replica.ask(0, &["ZCARD", "{kerria}:0:all"]);
        (count == 4).then_some(())
    })
    .await;

    proxy.set(Cable::BlackHole);
    end(&sessions, Selector::Session { session: opened[0] }).await;
    let before = end(&sessions, Selector::UserExcept { user: ALICE, except: opened[1] }).await;
    let lost: u64 = replica.ask(0, &["ZCARD", "{kerria}:0:all"]);
    assert_eq!(lost, 4, "the replica has missed the ends");
    primary.stop();
    replica.ask::<()>(0, &["REPLICAOF", "NO", "ONE"]);

    // Whatever is answered, it is not that a session stands that was ended.
    let found = eventually("the replica is used", async || sessions.find(&token(1)).await.ok()).await;
    assert_eq!(found, None);
    let standing: Vec<bool> =
        [is_found(&sessions, 2).await, is_found(&sessions, 3).await, is_found(&sessions, 4).await].into();
    assert_eq!(standing, [true, false, true]);
    assert!(open(&sessions, ALICE, 5).await.as_of > before, "numbers go on");
    assert!(is_found(&sessions, 5).await, "what was opened afterwards stands");
}

#[tokio::test]
async fn one_of_several_servers_that_is_silent_does_not_cost_the_lease() {
    let (silent, server) = (TestRedis::start(), TestRedis::start());
    let proxy = Proxy::to(&silent.url(0));
    proxy.set(Cable::BlackHole);
    let proxied = proxy.url().strip_prefix("redis://").unwrap().strip_suffix("/0").unwrap();
    let sessions = sessions_in(&format!("redis://{proxied},127.0.0.1:{}/0", server.port())).await;
    let heard = Heard::of(&sessions).await;
    server.stop();
    server.start_again();
    heard.has_started_over().await;
    sessions.catch_up().await.unwrap();
}

#[tokio::test]
async fn a_primary_whose_replicas_are_gone_takes_nothing_and_says_so() {
    let server = TestRedis::start();
    let sessions = sessions_in(&server.url(0)).await;
    open(&sessions, ALICE, 1).await;
    server.ask::<()>(0, &["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let refused = sessions.end(Selector::User { user: ALICE }, Cause::SignedOut, NOW).await;
    assert_eq!(refused.unwrap_err().trouble, Trouble::Unavailable);
    let read = sessions.find(&token(1)).await;
    assert_eq!(read.unwrap_err().trouble, Trouble::Unavailable, "another one may have taken its place");
    server.ask::<()>(0, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    end(&sessions, Selector::User { user: ALICE }).await;
    assert!(!is_found(&sessions, 1).await);
}

#[tokio::test]
async fn a_server_whose_memory_is_full_says_so_and_ends_sessions_still() {
    let server = TestRedis::start();
    let sessions = sessions_in(&server.url(0)).await;
    open(&sessions, ALICE, 1).await;
    let (owner, cart) = (DataOwner::Session(new_session(1).id), DataKey::parse("cart").unwrap());
    sessions.put_data(owner, &cart, "1".to_owned(), DataLimits::default()).await.unwrap();
    server.ask::<()>(0, &["CONFIG", "SET", "maxmemory", "1"]);
    let refused = sessions.open(&sign_in(ALICE, 2)).await.unwrap_err();
    assert_eq!(refused.trouble, Trouble::Full);
    assert!(is_found(&sessions, 1).await);
    let (session, owner) = (new_session(1).id, DataOwner::Session(new_session(1).id));
    let refused = sessions.put_data(owner, &cart, "2".to_owned(), DataLimits::default()).await.unwrap_err();
    assert_eq!(refused.trouble, Trouble::Full);
    let removed = sessions.remove_data(session, &cart).await.unwrap();
    assert_eq!(removed.as_deref(), Some("1"), "what makes room is done");
    let later = NOW + Duration::from_secs(60);
    sessions.touch(vec![(new_session(1).id, later)]).await.unwrap();
    assert_eq!(sessions.find(&token(1)).await.unwrap().unwrap().session.last_seen_at, later);
    // Somebody who comes in the middle of it gets a lease, too.
    let another = sessions_in(&server.url(0)).await;
    end(&sessions, Selector::User { user: ALICE }).await;
    assert!(!is_found(&another, 1).await);
    end(&sessions, Selector::Everyone).await;
    let nodes = sessions.roll_call().await.unwrap().nodes;
    assert_eq!(nodes.len(), 2, "they renew their leases: {nodes:?}");
    server.ask::<()>(0, &["CONFIG", "SET", "maxmemory", "0"]);
    open(&sessions, ALICE, 2).await;
}

#[tokio::test]
async fn a_first_replica_is_no_reason_to_start_over() {
    let (primary, replica) = (TestRedis::start(), TestRedis::start());
    let sessions = sessions_in(&primary.url(0)).await;
    let life = || primary.ask::<String>(0, &["HGET", "{kerria}:state", "life"]);
    let history = |server: &TestRedis| {
        let info = server.ask::<String>(0, &["INFO", "replication"]);
        info.lines().find_map(|line| line.strip_prefix("master_replid:")).unwrap().to_owned()
    };
    open(&sessions, ALICE, 1).await;
    let before = (life(), history(&primary));
    replica.ask::<()>(0, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    eventually("it has a replica", async || (history(&replica) == history(&primary)).then_some(())).await;
    assert_ne!(history(&primary), before.1, "its history is another one");
    let number = end(&sessions, Selector::User { user: ALICE }).await;
    sessions.catch_up().await.unwrap();
    assert_eq!(life(), before.0);
    // One that was promoted begins another life, though it had no replica before, and gets its first one then.
    replica.ask::<()>(0, &["REPLICAOF", "NO", "ONE"]);
    primary.ask::<()>(0, &["REPLICAOF", "127.0.0.1", &replica.port().to_string()]);
    let promoted = sessions_in(&replica.url(0)).await;
    assert_ne!(replica.ask::<String>(0, &["HGET", "{kerria}:state", "life"]), before.0);
    assert!(open(&promoted, ALICE, 2).await.as_of > number);
}

#[tokio::test]
async fn a_server_that_was_a_replica_for_a_while_begins_another_life() {
    let (server, other) = (TestRedis::start(), TestRedis::start());
    let sessions = sessions_in(&server.url(0)).await;
    open(&sessions, ALICE, 1).await;
    let life = || server.ask::<String>(0, &["HGET", "{kerria}:state", "life"]);
    let before = life();
    let has = |server: &TestRedis| server.ask::<u64>(0, &["ZCARD", "{kerria}:0:all"]);
    other.ask::<()>(0, &["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
    eventually("the other one has it", async || (has(&other) == 1).then_some(())).await;
    // It hears of no end any more, and nobody talks to it while it is the primary.
    other.ask::<()>(0, &["REPLICAOF", "NO", "ONE"]);
    end(&sessions, Selector::User { user: ALICE }).await;
    server.ask::<()>(0, &["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    eventually("the end is forgotten", async || (has(&server) == 1).then_some(())).await;
    server.ask::<()>(0, &["REPLICAOF", "NO", "ONE"]);
    // Nobody has noticed, and the connections are the same.
    let found = eventually("it is asked again", async || sessions.find(&token(1)).await.ok()).await;
    assert_eq!(found, None, "it was ended");
    assert_ne!(life(), before);
    assert_eq!(has(&server), 0);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_at_once() {
    let (one, two) = (TestRedis::start(), TestRedis::start());
    two.ask::<()>(0, &["REPLICAOF", "127.0.0.1", &one.port().to_string()]);
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}/0", one.port(), two.port());
    let sessions = sessions_in(&url).await;
    open(&sessions, ALICE, 1).await;
    open(&sessions, ALICE, 2).await;
    eventually("the replica has them", async || {
        (two.ask::<u64>(0, &["ZCARD", "{kerria}:0:all"]) == 2).then_some(())
    })
    .await;
    two.ask::<()>(0, &["REPLICAOF", "NO", "ONE"]);
    let another = sessions_in(&two.url(0)).await;
    end(&another, Selector::Session { session: new_session(1).id }).await;
    open(&another, BOB, 3).await;
    // It is a replica, and hears of nothing.
    one.ask::<()>(0, &["REPLICAOF", "127.0.0.1", "1"]);
    let (owner, cart) = (DataOwner::Session(new_session(3).id), DataKey::parse("cart").unwrap());
    let written = sessions.put_data(owner, &cart, "1".to_owned(), DataLimits::default()).await.unwrap();
    assert!(matches!(written, DataWrite::Written { .. }), "{written:?}, where it was not known");
    assert!(!is_found(&sessions, 1).await);
    assert!(is_found(&sessions, 2).await);
    end(&sessions, Selector::User { user: ALICE }).await;
    assert!(!is_found(&another, 2).await);
}

#[tokio::test]
async fn who_signs_in_after_the_end_that_is_done_again_stays_signed_in() {
    for selector in [Selector::User { user: ALICE }, Selector::Everyone] {
        let server = TestRedis::start();
        let sessions = sessions_in(&server.url(0)).await;
        open(&sessions, ALICE, 1).await;
        end(&sessions, selector).await;
        let mut later = sign_in(ALICE, 2);
        later.session.now = NOW + Duration::from_millis(1);
        sessions.open(&later).await.unwrap();
        // One that the server has forgotten the end of.
        open(&sessions, BOB, 3).await;
        open(&sessions, ALICE, 4).await;
        // Another history, as after a fail-over.
        server.ask::<()>(0, &["HSET", "{kerria}:state", "server", "another"]);
        let seen = async || {
            let noted: Vec<String> = server.ask(0, &["KEYS", "{kerria}:again:*"]);
            (!noted.is_empty()).then_some(())
        };
        eventually("the end is done again", seen).await;
        assert!(is_found(&sessions, 2).await, "{selector:?}");
        assert!(!is_found(&sessions, 4).await, "{selector:?}");
        assert_eq!(is_found(&sessions, 3).await, selector != Selector::Everyone);
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_an_error_in_time_and_is_used_again_afterwards() {
    let database = TestSessions::create();
    let proxy = Proxy::to(&database.url());
    let sessions = sessions_in(proxy.url()).await;
    open(&sessions, ALICE, 1).await;
    for cable in [Cable::BlackHole, Cable::Cut] {
        proxy.set(cable);
        let asked =
            timeout(Duration::from_secs(6), sessions.find(&token(1))).await.expect("it answers in time");
        assert_eq!(asked.unwrap_err().trouble, Trouble::Unavailable, "{cable:?}");
        proxy.set(Cable::Whole);
        eventually("it is used again", async || sessions.find(&token(1)).await.ok().flatten()).await;
        sessions.catch_up().await.unwrap();
    }
}

#[tokio::test]
async fn of_processes_that_sign_in_at_once_with_a_limit_of_one_one_session_is_left() {
    let database = TestSessions::create();
    let processes = [sessions_in(&database.url()).await, sessions_in(&database.url()).await];
    let limit = SessionLimit { per_user: NonZeroU32::MIN, at_limit: AtLimit::EndOldest };
    for round in 0..20 {
        let limited = |number| SignIn { limit: Some(limit), ..sign_in(ALICE, number) };
        let sign_ins = [1, 2, 3, 4].map(|number| limited(round * 10 + number));
        let (one, two, three, four) = tokio::join!(
            processes[0].open(&sign_ins[0]),
            processes[1].open(&sign_ins[1]),
            processes[0].open(&sign_ins[2]),
            processes[1].open(&sign_ins[3]),
        );
        for opened in [one, two, three, four] {
            assert!(matches!(opened.unwrap(), Entered::Entered { .. }));
        }
        assert_eq!(processes[0].sessions_of(ALICE).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn two_processes_that_count_lose_nothing() {
    let database = TestSessions::create();
    let processes =
        [Arc::new(sessions_in(&database.url()).await), Arc::new(sessions_in(&database.url()).await)];
    open(&processes[0], ALICE, 1).await;
    let key = DataKey::parse("visits").unwrap();
    let mut counting = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (sessions, key) = (Arc::clone(&processes[number % 2]), key.clone());
        counting.spawn(async move {
            let owner = DataOwner::Session(new_session(1).id);
            sessions.increment_data(owner, &key, 1, DataLimits::default()).await.unwrap()
        });
    }
    let written = counting.join_all().await;
    assert!(written.iter().all(|written| matches!(written, DataWrite::Written { .. })));
    let sum = processes[0].data(new_session(1).id, &key).await.unwrap();
    assert_eq!(sum.as_deref(), Some("200"));
}

#[tokio::test]
async fn a_process_remembers_what_it_has_written_and_is_told_if_that_has_changed() {
    let database = TestSessions::create();
    let [here, elsewhere] = [sessions_in(&database.url()).await, sessions_in(&database.url()).await];
    open(&here, ALICE, 1).await;
    remembers_what_it_has_written(&here, &elsewhere, new_session(1).id).await;
}

#[tokio::test]
async fn of_guesses_at_two_processes_at_once_only_the_free_ones_go_through() {
    let database = TestSessions::create();
    let processes =
        [Arc::new(sessions_in(&database.url()).await), Arc::new(sessions_in(&database.url()).await)];
    let rule = ThrottleRule {
        free: 5,
        delay: Duration::from_secs(60),
        longest: Duration::from_secs(60),
        closes_after: 100,
        forget_after: Duration::from_secs(3_600),
    };
    let mut guessing = tokio::task::JoinSet::new();
    for number in 0..200 {
        let sessions = Arc::clone(&processes[number % 2]);
        let doors =
            vec![Door { name: "account".to_owned(), rule }, Door { name: "network".to_owned(), rule }];
        guessing.spawn(async move { sessions.knock(doors, NOW).await.unwrap() });
    }
    let admitted = guessing.join_all().await.into_iter().filter(|one| *one == Admission::Admitted).count();
    assert_eq!(admitted, 5);
    assert_eq!(processes[0].sweep_doors(NOW + Duration::from_secs(3_600), 10).await.unwrap(), 2);
}

#[tokio::test]
async fn an_errand_is_done_once() {
    let database = TestSessions::create();
    let sessions = sessions_in(&database.url()).await;
    for number in 1..=3 {
        open(&sessions, ALICE, number).await;
    }
    let kept = new_session(1).id;
    let errand = Errand {
        id: 7,
        at: NOW,
        what: Order::End {
            selector: Selector::UserExcept { user: ALICE, except: kept },
            cause: Cause::PasswordChanged,
            keep: Some((kept, token(100))),
        },
    };
    let first = sessions.run(&errand).await.unwrap();
    assert_eq!((first.ended, first.kept.as_ref().unwrap().session.id), (2, kept));
    assert!(is_found(&sessions, 100).await && !is_found(&sessions, 1).await);

    let another = open(&sessions, ALICE, 4).await;
    let again = sessions.run(&errand).await.unwrap();
    assert_eq!((again.ended, again.kept.unwrap().session.id), (2, kept));
    assert!(is_found(&sessions, 4).await, "what was opened in between stands");
    assert_eq!(sessions.log_after(another.as_of, 10).await.unwrap(), LogPage::Entries(Vec::new()));

    let changed = Errand { id: 8, at: NOW, what: Order::Changed { user: ALICE } };
    sessions.run(&changed).await.unwrap();
    sessions.run(&changed).await.unwrap();
    let LogPage::Entries(entries) = sessions.log_after(another.as_of, 10).await.unwrap() else { panic!() };
    let about: Vec<_> = entries.iter().map(|entry| (entry.selector, entry.event)).collect();
    assert_eq!(about, [(Selector::User { user: ALICE }, LogEvent::Changed)]);
}

#[tokio::test]
async fn an_errand_whose_session_to_keep_is_gone_ends_the_others() {
    let database = TestSessions::create();
    let sessions = sessions_in(&database.url()).await;
    open(&sessions, ALICE, 1).await;
    let gone = new_session(9).id;
    let errand = Errand {
        id: 1,
        at: NOW,
        what: Order::End {
            selector: Selector::UserExcept { user: ALICE, except: gone },
            cause: Cause::PasswordChanged,
            keep: Some((gone, token(100))),
        },
    };
    let done = sessions.run(&errand).await.unwrap();
    assert_eq!((done.ended, done.kept), (1, None));
    assert!(!is_found(&sessions, 100).await);
}

#[tokio::test]
async fn whose_session_it_was_is_told_of_one_session_only() {
    let database = TestSessions::create();
    let sessions = sessions_in(&database.url()).await;
    open(&sessions, ALICE, 1).await;
    open(&sessions, BOB, 2).await;
    let one = Selector::Session { session: new_session(1).id };
    let ended = sessions.end(one, Cause::SignedOut, NOW).await.unwrap();
    assert_eq!((ended.sessions, ended.user, ended.logged), (1, Some(ALICE), true));
    let nothing = sessions.end(one, Cause::SignedOut, NOW).await.unwrap();
    assert_eq!((nothing.sessions, nothing.user, nothing.logged), (0, None, false));
    let all = sessions.end(Selector::User { user: BOB }, Cause::Operator, NOW).await.unwrap();
    assert_eq!((all.sessions, all.user, all.logged), (1, None, true));
    assert!(!sessions.carries(&token(2), BOB).await.unwrap());
}

#[tokio::test]
async fn a_server_that_throws_things_away_is_refused_and_one_that_keeps_nothing_is_warned_of() {
    let server = TestRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let refused = connect(&server.url(0)).await.unwrap_err();
    assert!(matches!(&refused, RedisError::Evicts { policy, .. } if policy == "allkeys-lru"), "{refused}");

    let examine = async |settings: &[&str]| {
        let server = TestRedis::start_with(settings);
        RedisSessions::examine(RedisOptions::from_url(&server.url(0)).unwrap()).await.unwrap()
    };
    let examined = examine(&[]).await;
    assert!(examined.version.starts_with("Redis ") || examined.version.starts_with("Valkey "));
    assert!(examined.warnings[0].starts_with("it keeps nothing on the disk"), "{examined:?}");
    let examined = examine(&["--save", "60 1"]).await;
    assert!(examined.warnings[0].starts_with("it writes to the disk now and then"), "{examined:?}");
    let examined = examine(&["--appendonly", "yes"]).await;
    assert!(examined.warnings[0].starts_with("it answers before"), "{examined:?}");
    let examined = examine(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    assert_eq!(examined.warnings, [""; 0]);
    let examined = examine(&["--rename-command", "CONFIG", ""]).await;
    assert!(examined.warnings[0].starts_with("it does not show its settings"), "{examined:?}");
}

#[tokio::test]
async fn why_a_server_cannot_be_used_is_said_in_words() {
    let said = async |url: &str| connect(url).await.unwrap_err().to_string();
    assert!(said("redis://127.0.0.1:1/0").await.contains("cannot be reached"));

    let server = TestRedis::start_with(&["--requirepass", "right"]);
    let wrong = format!("redis://:wrong@127.0.0.1:{}/0", server.port());
    let said_wrong = said(&wrong).await;
    assert!(said_wrong.contains("does not let us in"), "{said_wrong}");
    assert!(!said_wrong.contains("wrong"));
    let none = said(&format!("redis://127.0.0.1:{}/0", server.port())).await;
    assert!(none.contains("does not let us in"), "{none}");
    let right = format!("redis://:right@127.0.0.1:{}/0", server.port());
    sessions_in(&right).await.check_health().await.unwrap();

    let server = TestRedis::start();
    let rights = ["ACL", "SETUSER", "kerria", "on", ">right", "&{kerria}:*", "+@all", "-@admin"];
    server.ask::<()>(0, &rights);
    let limited = format!("redis://kerria:right@127.0.0.1:{}/0", server.port());
    let none = said(&limited).await;
    assert!(none.contains("does not allow what is needed"), "{none}");
    server.ask::<()>(0, &["ACL", "SETUSER", "kerria", "~{kerria}:*"]);
    let sessions = sessions_in(&limited).await;
    open(&sessions, ALICE, 1).await;
    end(&sessions, Selector::User { user: ALICE }).await;

    let (primary, replica) = (TestRedis::start(), TestRedis::start());
    replica.ask::<()>(0, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    let replica = said(&replica.url(0)).await;
    assert!(replica.contains("no server that takes writes"), "{replica}");
}

#[tokio::test]
async fn sentinels_say_where_the_primary_is() {
    let primary = TestRedis::start();
    let port = primary.port().to_string();
    let sentinel = TestRedis::start_sentinel(&["monitor kerria 127.0.0.1", &port, "1"].join(" "));
    let url = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/kerria/3", sentinel.port());
    let sessions = sessions_in(&url).await;
    open(&sessions, ALICE, 1).await;
    assert!(is_found(&sessions, 1).await);
    assert_eq!(primary.ask::<u64>(3, &["ZCARD", "{kerria}:0:all"]), 1);
    let unknown = connect(&url.replace("kerria/3", "another")).await.unwrap_err();
    assert!(unknown.to_string().contains("cannot be reached"), "{unknown}");
}

#[tokio::test]
async fn in_a_cluster_the_node_with_our_slot_is_used() {
    let [one, two] =
        [(); 2].map(|()| TestRedis::start_with(&["--cluster-enabled", "yes", "--databases", "1"]));
    let slot: u32 = one.ask(0, &["CLUSTER", "KEYSLOT", "{kerria}"]);
    two.ask::<()>(0, &["CLUSTER", "ADDSLOTSRANGE", &slot.to_string(), &slot.to_string()]);
    one.ask::<()>(0, &["CLUSTER", "ADDSLOTSRANGE", "0", &(slot - 1).to_string()]);
    one.ask::<()>(0, &["CLUSTER", "ADDSLOTSRANGE", &(slot + 1).to_string(), "16383"]);
    one.ask::<()>(0, &["CLUSTER", "MEET", "127.0.0.1", &two.port().to_string()]);
    eventually("they have met", async || {
        let info: String = one.ask(0, &["CLUSTER", "INFO"]);
        let other: String = two.ask(0, &["CLUSTER", "INFO"]);
        (info.contains("cluster_state:ok") && other.contains("cluster_state:ok")).then_some(())
    })
    .await;
    let sessions = sessions_in(&format!("redis+cluster://127.0.0.1:{}", one.port())).await;
    open(&sessions, ALICE, 1).await;
    assert!(is_found(&sessions, 1).await);
    end(&sessions, Selector::User { user: ALICE }).await;
    assert!(!is_found(&sessions, 1).await);
    assert_eq!(one.ask::<u64>(0, &["DBSIZE"]), 0);
}

#[tokio::test]
async fn through_tls_the_certificate_and_the_name_are_verified() {
    let server = TestRedis::start_with_tls();
    let connect = async |host: &str, trusted: bool| {
        let options = RedisOptions::from_url(&format!("rediss://{host}:{}/0", server.port())).unwrap();
        let options = if trusted { options.with_ca_file(&server.authority()) } else { options };
        RedisSessions::connect(options, testing::node(), Arc::new(Nobody)).await
    };
    let sessions = connect("localhost", true).await.unwrap();
    open(&sessions, ALICE, 1).await;
    end(&sessions, Selector::User { user: ALICE }).await;
    for refused in [connect("localhost", false).await, connect("127.0.0.1", true).await] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("cannot be reached through TLS"), "{refused}");
    }
}
