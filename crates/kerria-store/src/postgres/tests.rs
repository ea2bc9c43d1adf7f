//! What is PostgreSQL's own: connections that break, processes that share a database, and steps that meet.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc, Barrier, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use kerria_core::{
    Cause, CheckerId, DataKey, DataLimits, Groups, LogEntry, LogEvent, LogNumber, Method, PasswordHash,
    Selector, SessionId, SessionPolicy, StoreError, Timestamp, TokenHash, Transport, UserId, UserName,
    device::Device,
    lease::Renewal,
    store::{
        Accounts, AtLimit, CarryOver, DataOwner, DataWrite, Doors, Follower, NewSession, NewUser,
        PasswordChange, Renew, SessionData, SessionLimit, Sessions, SignIn, Store, Tokens, Trouble,
    },
    throttle::{Admission, Door, ThrottleRule},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{ConnectError, PostgresOptions, PostgresStore, Refusal};
use crate::{
    last_written::tests::remembers_what_it_has_written,
    observer::Nobody,
    sql::Root,
    testing::{self, Cable, Proxy, TestDatabase, TestServer},
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MANY: Duration = Duration::from_secs(10);

async fn connect(url: &str, connections: usize) -> Result<PostgresStore, ConnectError> {
    let connections = NonZeroUsize::new(connections).unwrap();
    let options = PostgresOptions::parse(url).unwrap().connections(connections);
    PostgresStore::connect(options, testing::node(), Arc::new(Nobody)).await
}

async fn store_in(database: &TestDatabase) -> PostgresStore {
    connect(&database.url(), 8).await.unwrap()
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        id: UserId::from_bytes([7; 16]),
        name: Some(UserName::parse(name).unwrap()),
        email: None,
        password: PasswordHash::new("$hash".to_owned()),
        device: None,
        now: NOW,
    }
}

fn visitor(number: u64) -> NewSession {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut token = [0; 32];
    token[24..].copy_from_slice(&number.to_be_bytes());
    NewSession {
        id: SessionId::from_bytes(id),
        token: TokenHash::from_bytes(token),
        transport: Transport::Cookie,
        remembered: false,
        device: Device::new("curl/8", "192.0.2.7".parse().unwrap()),
        now: NOW,
    }
}

async fn put(store: &PostgresStore, visitor: NewSession) -> Result<DataWrite, Trouble> {
    let key = DataKey::parse("cart").unwrap();
    let written =
        store.put_data(DataOwner::Visitor(visitor), &key, "1".to_owned(), DataLimits::default()).await;
    written.map_err(|error| error.trouble)
}

async fn end_everything(store: &PostgresStore) -> Result<LogNumber, StoreError> {
    store.revoke(Selector::Everyone, Cause::Operator, None, NOW).await.map(|revoked| revoked.number)
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
    async fn of(store: &PostgresStore) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        store.follow(weak(&heard)).await.unwrap();
        heard
    }

    fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|entry| entry.number.0).collect()
    }

    /// Waits until it has heard of the entry with this number.
    async fn hears_of(&self, number: u64) {
        let waiting = async {
            while !self.numbers().contains(&number) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(MANY, waiting).await.expect("it hears of it");
    }

    /// Waits until it has heard of this many entries.
    async fn has_heard(&self, count: usize) {
        let waiting = async {
            while self.numbers().len() < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(MANY, waiting).await.expect("the entries arrive");
    }
}

fn weak<F: Follower + 'static>(follower: &Arc<F>) -> Weak<dyn Follower> {
    Arc::downgrade(follower) as _
}

/// Closes all connections to the database, except for the one that does it.
fn close_connections(database: &TestDatabase) {
    database.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
}

#[tokio::test]
async fn a_store_goes_on_after_the_server_was_restarted() {
    let server = Arc::new(TestServer::start());
    let database = TestDatabase::create_on(&server);
    let store = store_in(&database).await;
    let heard = Heard::of(&store).await;
    put(&store, visitor(1)).await.unwrap();
    server.stop();
    assert_eq!(put(&store, visitor(2)).await, Err(Trouble::Unavailable));
    assert_eq!(store.check_health().await.unwrap_err().trouble, Trouble::Unavailable);
    server.start_again();
    store.check_health().await.unwrap();
    assert!(store.find(&visitor(1).token).await.unwrap().is_some());
    // The ledger was lost: everybody starts over, before that or after it.
    end_everything(&store).await.unwrap();
    assert_eq!(heard.1.lock().unwrap().len(), 1);
    // Whoever listens comes back, too.
    let another = store_in(&database).await;
    let LogNumber(number) = end_everything(&another).await.unwrap();
    heard.hears_of(number).await;
}

#[tokio::test]
async fn nobody_notices_that_idle_connections_were_closed() {
    let database = TestDatabase::create();
    let store = connect(&database.url(), 2).await.unwrap();
    for number in 0..10 {
        put(&store, visitor(number)).await.unwrap();
        close_connections(&database);
        assert!(store.find(&visitor(number).token).await.unwrap().is_some());
        close_connections(&database);
    }
}

#[tokio::test]
async fn a_server_that_keeps_silent_holds_nobody_for_longer_than_the_deadline() {
    let database = TestDatabase::create();
    let proxy = Proxy::to(&database.url());
    let store = connect(proxy.url(), 1).await.unwrap();
    let heard = Heard::of(&store).await;
    store.check_health().await.unwrap();
    proxy.set(Cable::BlackHole);
    // In a connection that was there, and then in none.
    for _ in 0..2 {
        let waited = timeout(Duration::from_secs(7), store.check_health()).await.expect("it is answered");
        assert_eq!(waited.unwrap_err().trouble, Trouble::Unavailable);
    }
    proxy.set(Cable::Whole);
    let recovered = async { while store.check_health().await.is_err() {} };
    timeout(MANY, recovered).await.expect("the thread is free, and connects anew");
    let another = store_in(&database).await;
    end_everything(&another).await.unwrap();
    heard.has_heard(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_processes_that_find_an_empty_database_one_migrates_it() {
    let database = TestDatabase::create();
    let connecting: Vec<_> = (0..6)
        .map(|_| {
            let url = database.url();
            tokio::spawn(async move { connect(&url, 1).await.unwrap() })
        })
        .collect();
    for store in connecting {
        store.await.unwrap().check_health().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_and_left_alone() {
    let database = TestDatabase::create();
    drop(store_in(&database).await);
    database.run("UPDATE kerria_schema SET version = 1000, oldest = 999");
    let refused = connect(&database.url(), 1).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Newer { found: 1000, oldest: 999, known: 5, .. }));
    assert!(refused.to_string().ends_with(
        " has schema version 1000, on which programs can work that know version 999 or a later one, and this program knows \
         versions up to 5: run a newer Kerria, or restore the backup made before the update"
    ));
    database.run("DO $$ BEGIN ASSERT (SELECT version = 1000 FROM kerria_schema); END $$");
}

#[tokio::test]
async fn a_database_that_a_newer_program_has_only_added_to_is_used_and_not_migrated_back() {
    let database = TestDatabase::create();
    drop(store_in(&database).await);
    let options = || PostgresOptions::parse(&database.url()).unwrap();
    let known = PostgresStore::examine(options()).await.unwrap().known_schema;
    database.run("UPDATE kerria_schema SET version = version + 1");
    store_in(&database).await.check_health().await.unwrap();
    let migrated = PostgresStore::migrate(options()).await.unwrap();
    assert_eq!((migrated.from, migrated.to), (known + 1, known + 1));
    assert_eq!(PostgresStore::examine(options()).await.unwrap().schema, known + 1);
}

#[tokio::test]
async fn a_schema_that_does_not_say_who_can_work_on_it_is_one_of_its_own_program() {
    let database = TestDatabase::create();
    drop(store_in(&database).await);
    database.run("ALTER TABLE kerria_schema DROP COLUMN oldest");
    drop(store_in(&database).await);
    database.run("UPDATE kerria_schema SET version = version + 1");
    assert!(matches!(connect(&database.url(), 1).await, Err(ConnectError::Newer { .. })));
    // As the first schema was left by its program.
    database.run(
        "DROP FUNCTION put_session_data; DROP TABLE errand, sessions_elsewhere; ALTER TABLE account DROP COLUMN member_of; \
         ALTER TABLE session DROP COLUMN expiry; UPDATE kerria_schema SET version = 1",
    );
    drop(store_in(&database).await);
    database.run("DO $$ BEGIN ASSERT (SELECT version = 5 AND oldest = 2 FROM kerria_schema); END $$");
}

#[tokio::test]
async fn a_process_remembers_what_it_has_written_and_is_told_if_that_has_changed() {
    let database = TestDatabase::create();
    let [here, elsewhere] = [store_in(&database).await, store_in(&database).await];
    put(&here, visitor(1)).await.unwrap();
    remembers_what_it_has_written(&here, &elsewhere, visitor(1).id).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_ours_is_refused() {
    let database = TestDatabase::create();
    database.run("CREATE TABLE account (x INTEGER)");
    assert!(matches!(connect(&database.url(), 1).await, Err(ConnectError::NotOurs { .. })));
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_what_to_do() {
    let database = TestDatabase::create();
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let (stranger, guest) = (format!("{name}_stranger"), format!("{name}_guest"));
    database.run(&format!("CREATE ROLE {stranger} NOLOGIN; CREATE ROLE {guest} LOGIN"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("postgres://postgres@{}/kerria", silent.local_addr().unwrap());
    let as_user = |user: &str| database.url().replace("postgres@", &format!("{user}@"));
    for (url, expected, words) in [
        (format!("{}_nowhere", database.url()), Refusal::Missing, "_nowhere at "),
        (
            "postgres://postgres:secret@127.0.0.1:1/kerria".to_owned(),
            Refusal::Unreachable,
            "kerria at 127.0.0.1:1 ",
        ),
        (silent, Refusal::Silent, "does not answer in time"),
        (as_user(&stranger), Refusal::SignIn, "does not let us in"),
        (as_user(&guest), Refusal::Rights, "the database's owner"),
    ] {
        let refused = connect(&url, 1).await.unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, ConnectError::Server { why, .. } if why == expected), "{refused:?}");
        assert!(told.contains(words) && !told.contains("secret"), "{told}");
    }
    database.run(&format!("DROP ROLE {stranger}; DROP ROLE {guest}"));
    database.run(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$",
    );
    let refused = connect(&database.url(), 1).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Server { why: Refusal::ReadOnly, .. }), "{refused:?}");
}

/// Two steps that hold two sessions in different orders, which no step of ours does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_stands_in_the_way_of_another_one_runs_again() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    for number in [1, 2] {
        put(&store, visitor(number)).await.unwrap();
    }
    let (both, runs) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    let step = |first: u64, second: u64| {
        let (both, runs) = (Arc::clone(&both), Arc::clone(&runs));
        store.write_part(move |step| {
            step.hold(Root::Session(visitor(first).id))?;
            if runs.fetch_add(1, Ordering::SeqCst) < 2 {
                both.wait();
            }
            step.hold(Root::Session(visitor(second).id))?;
            step.change(
                "UPDATE session_data SET json = json || '1' WHERE session_id = ?1",
                [visitor(first).id.as_bytes()],
            )
        })
    };
    let (one, other) = tokio::join!(step(1, 2), step(2, 1));
    assert_eq!((one.unwrap(), other.unwrap()), (1, 1));
    // Or more often: whoever was undone may take a row before the other one has woken up, and they meet again.
    assert!(runs.load(Ordering::SeqCst) >= 3, "one of them ran again");
    for number in [1, 2] {
        let held = store.data(visitor(number).id, &DataKey::parse("cart").unwrap()).await.unwrap();
        assert_eq!(held.as_deref(), Some("11"), "what was undone counts once");
    }
}

/// The same few sessions of one user, from all sides. Steps that hold things in different orders deadlock here; that
/// they would run again is not what is wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_steps_of_ours_deadlock() {
    let database = TestDatabase::create();
    let stores = [Arc::new(store_in(&database).await), Arc::new(store_in(&database).await)];
    let alice = new_user("alice");
    let user = alice.id;
    stores[0].create_user(alice, None).await.unwrap();
    let working = (0..12_u64).map(|worker| {
        let store = Arc::clone(&stores[worker as usize % 2]);
        tokio::spawn(async move {
            for round in 0..40 {
                let listed = store.sessions_of(user).await.unwrap();
                let (sessions, tokens): (Vec<_>, Vec<_>) =
                    listed.iter().map(|held| (held.session.id, held.token)).unzip();
                let one = sessions.get(round as usize % sessions.len().max(1)).copied();
                match (worker % 6, one) {
                    (0, Some(_)) if round % 4 == 0 => {
                        store.revoke(Selector::User { user }, Cause::EndedByUser, None, NOW).await.unwrap();
                    }
                    (1, Some(except)) if round % 4 == 1 => {
                        let others = Selector::UserExcept { user, except };
                        store.revoke(others, Cause::EndedByUser, None, NOW).await.unwrap();
                    }
                    (3, Some(session)) => {
                        let key = DataKey::parse("count").unwrap();
                        let owner = DataOwner::Session(session);
                        store.increment_data(owner, &key, 1, DataLimits::default()).await.unwrap();
                    }
                    (4, kept) if round % 4 == 2 => {
                        let token = visitor(800_000 + worker * 1_000 + round).token;
                        let change = PasswordChange {
                            user,
                            version: None,
                            password: PasswordHash::new("$hash".to_owned()),
                            keep: kept.map(|session| (session, token)),
                            device: None,
                            now: NOW,
                        };
                        store.change_password(change).await.unwrap();
                    }
                    (5, _) | (_, None) => {
                        let replaces = one.filter(|_| round % 4 == 3);
                        let version = store.credentials_of(user).await.unwrap().unwrap().version;
                        let sign_in = SignIn {
                            session: visitor(worker * 1_000 + round),
                            user,
                            version: Some(version),
                            method: Method::Password,
                            replaces,
                            carry_over: CarryOver::Keys(vec![DataKey::parse("count").unwrap()]),
                            limit: Some(SessionLimit {
                                per_user: NonZeroU32::new(4).unwrap(),
                                at_limit: AtLimit::EndOldest,
                            }),
                            policy: SessionPolicy::default(),
                            grant: None,
                        };
                        store.open(sign_in).await.unwrap();
                    }
                    (_, Some(_)) => {
                        let seen = sessions.iter().rev().map(|session| (*session, NOW + MANY)).collect();
                        store.touch(seen).await.unwrap();
                        store
                            .renew(
                                &tokens[0],
                                &visitor(900_000 + worker * 1_000 + round).token,
                                Renew::Proved,
                                NOW,
                            )
                            .await
                            .unwrap();
                    }
                }
            }
        })
    });
    for worked in working.collect::<Vec<_>>() {
        worked.await.unwrap();
    }
    // What a connection has counted is known at its end at the latest.
    drop(stores);
    database.run(
        "DO $$ BEGIN ASSERT (SELECT deadlocks = 0 FROM pg_stat_database WHERE datname = current_database()); END $$",
    );
    database.run(
        "DO $$ BEGIN ASSERT NOT EXISTS (SELECT 1 FROM session_data WHERE session_id NOT IN (SELECT id FROM session)); \
         END $$",
    );
}

#[tokio::test]
async fn followers_hear_what_other_processes_write() {
    let database = TestDatabase::create();
    let [here, there] = [store_in(&database).await, store_in(&database).await];
    end_everything(&there).await.unwrap();
    let heard = Heard::of(&here).await;
    end_everything(&there).await.unwrap();
    heard.has_heard(1).await;
    assert_eq!(heard.numbers(), [2], "and nothing from before");
    // No notification comes of this.
    database.run("UPDATE log_counter SET number = 3; INSERT INTO log VALUES (3, 0, 'everyone')");
    heard.has_heard(2).await;
    assert_eq!(heard.numbers(), [2, 3]);
}

/// As after a restore, or when nothing was heard for so long that the log was trimmed meanwhile.
#[tokio::test]
async fn followers_that_missed_entries_start_over() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    let heard = Heard::of(&store).await;
    database.run("UPDATE log_counter SET number = 7, removed = 7");
    let waiting = async {
        while heard.1.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(MANY, waiting).await.expect("they are told");
    // And when the log has lost what they have applied.
    database.run("UPDATE log_counter SET number = 5, removed = 5");
    let waiting = async {
        while heard.1.lock().unwrap().len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(MANY, waiting).await.expect("they are told");
    assert_eq!(end_everything(&store).await.unwrap(), LogNumber(6));
    assert_eq!(
        (heard.numbers(), heard.1.lock().unwrap().clone()),
        (vec![6], vec![LogNumber(7), LogNumber(5)])
    );
}

/// A server that takes another one's place may not have heard of the last entries, and may have given their numbers to others by
/// the time that somebody asks for what follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_ledger_was_lost_everybody_starts_over_and_no_number_is_given_again() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    let heard = Heard::of(&store).await;
    for _ in 0..3 {
        end_everything(&store).await.unwrap();
    }
    assert_eq!(heard.numbers(), [1, 2, 3]);
    database.run("TRUNCATE ledger, checker; ALTER SEQUENCE checker_renewal RESTART");
    let waiting = async {
        while heard.1.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(MANY, waiting).await.expect("they are told");
    let LogNumber(next) = end_everything(&store).await.unwrap();
    assert!(next > 1 << 32, "{next}");
    heard.hears_of(next).await;
    assert_eq!(heard.1.lock().unwrap().len(), 1, "once is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_in_several_processes_hear_every_entry_once_and_in_order() {
    let database = TestDatabase::create();
    let stores = [Arc::new(store_in(&database).await), Arc::new(store_in(&database).await)];
    let heard = [Heard::of(&stores[0]).await, Heard::of(&stores[1]).await];
    let ending = (0..12).map(|number| {
        let (store, heard) = (Arc::clone(&stores[number % 2]), Arc::clone(&heard[number % 2]));
        tokio::spawn(async move {
            for round in 0..10 {
                let visitor = visitor(number as u64 * 1_000 + round);
                let selector = Selector::Session { session: visitor.id };
                put(&store, visitor).await.unwrap();
                let ended = store.revoke(selector, Cause::SignedOut, None, NOW).await.unwrap();
                assert_eq!(ended.ended, 1);
                assert!(heard.numbers().contains(&ended.number.0), "answered before it was announced");
            }
        })
    });
    for ended in ending.collect::<Vec<_>>() {
        ended.await.unwrap();
    }
    for heard in heard {
        heard.has_heard(120).await;
        assert_eq!(heard.numbers(), (1..=120).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_server_that_became_one_to_read_from_is_left() {
    let database = TestDatabase::create();
    let store = connect(&database.url(), 1).await.unwrap();
    put(&store, visitor(1)).await.unwrap();
    store.write(|step| step.change("SET default_transaction_read_only = on", ())).await.unwrap();
    put(&store, visitor(2)).await.expect("another connection takes writes");
    // Nor is a single statement lost, which the server has refused.
    store.write(|step| step.change("SET default_transaction_read_only = on", ())).await.unwrap();
    let (owner, cart) = (DataOwner::Session(visitor(2).id), DataKey::parse("cart").unwrap());
    let written = store.put_data(owner, &cart, "3".to_owned(), DataLimits::default()).await;
    assert!(matches!(written, Ok(DataWrite::Written { .. })), "{written:?}");
    // And now no connection does.
    database.run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$");
    store.check_health().await.expect("what was connected before goes on");
    close_connections(&database);
    assert_eq!(store.check_health().await.unwrap_err().trouble, Trouble::Unavailable);
}

#[tokio::test]
async fn health_finds_a_server_that_only_reads() {
    let database = TestDatabase::create();
    let store = connect(&database.url(), 1).await.unwrap();
    database.run("CREATE ROLE kerria_reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO kerria_reader");
    store.write(|step| step.change("SET ROLE kerria_reader", ())).await.unwrap();
    assert_eq!(store.check_health().await.unwrap_err().trouble, Trouble::ReadOnly);
    assert!(store.find(&visitor(1).token).await.unwrap().is_none(), "what is there can be read");
    drop(store);
    database.run("DROP OWNED BY kerria_reader; DROP ROLE kerria_reader");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_damage() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    put(&store, visitor(1)).await.unwrap();
    database.run("UPDATE session SET address = 'nowhere'");
    assert_eq!(store.find(&visitor(1).token).await.unwrap_err().trouble, Trouble::Damaged);
}

#[tokio::test]
async fn a_step_that_fails_or_panics_is_undone() {
    let database = TestDatabase::create();
    let store = connect(&database.url(), 1).await.unwrap();
    let heard = Heard::of(&store).await;
    let failing = store.write(|step| {
        step.write_log(Selector::Everyone, LogEvent::Changed, NOW)?;
        step.change("INSERT INTO door VALUES (NULL, 0, 0, 0)", ())
    });
    assert_eq!(failing.await.unwrap_err().trouble, Trouble::Failed);
    // It does not know that nothing it did will last.
    let careless = store.write(|step| {
        step.write_log(Selector::Everyone, LogEvent::Changed, NOW)?;
        let _ = step.change("INSERT INTO door VALUES (NULL, 0, 0, 0)", ());
        Ok(())
    });
    assert_eq!(careless.await.unwrap_err().trouble, Trouble::Failed);
    let panicking = store.write(|step| -> Result<(), StoreError> {
        step.write_log(Selector::Everyone, LogEvent::Changed, NOW)?;
        panic!("on purpose")
    });
    assert_eq!(panicking.await.unwrap_err().trouble, Trouble::Failed);
    assert_eq!(end_everything(&store).await.unwrap(), LogNumber(1));
    assert_eq!(heard.numbers(), [1]);
}

#[tokio::test]
async fn when_a_follower_panics_memory_is_not_relied_on_any_more() {
    struct Panicking;
    impl Follower for Panicking {
        fn apply(&self, _: &[LogEntry]) {
            panic!("on purpose")
        }

        fn start_over(&self, _: LogNumber) {}
    }
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    let panicking = Arc::new(Panicking);
    store.follow(weak(&panicking)).await.unwrap();
    assert!(store.lease().holds());
    end_everything(&store).await.unwrap();
    assert!(!store.lease().holds());
    assert_eq!(store.catch_up().await.unwrap_err().trouble, Trouble::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_store_does_not_mind_the_clock_of_its_callers() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    tokio::time::resume();
    store.check_health().await.unwrap();
}

#[tokio::test]
async fn looking_for_sessions_that_are_over_does_not_read_all_of_them() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    // As the server knows them, a tenth is over, so that a few would soon be found in any order.
    database.run(&format!(
        "INSERT INTO session (id, token_hash, transport, remembered, opened_at, last_seen_at, authenticated_at, user_agent, address) \
         SELECT decode(repeat('00', 8), 'hex') || int8send(number), sha256(int8send(number)), 'cookie', 0, at, at, at, '', '' \
         FROM generate_series(1, 20000) AS number, \
             LATERAL (SELECT CASE number % 10 WHEN 0 THEN 0 ELSE {} END AS at) AS times; \
         ANALYZE session",
        NOW.as_millis()
    ));
    let sweep =
        async |store: &PostgresStore| store.sweep_sessions(SessionPolicy::default(), NOW, 500).await.unwrap();
    for _ in 0..4 {
        assert_eq!(sweep(&store).await, 500);
    }
    let before = rows_read_in_no_order(&database, store).await;
    let store = store_in(&database).await;
    for _ in 0..10 {
        assert_eq!(sweep(&store).await, 0);
    }
    let read = rows_read_in_no_order(&database, store).await - before;
    assert!(read < 1_000, "{read} rows are read to find none");
}

/// How many sessions were read by going through the table, until this store was closed: the server counts what a connection has read when
/// that ends.
async fn rows_read_in_no_order(database: &TestDatabase, store: PostgresStore) -> i64 {
    drop(store);
    let others = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while database.count(others) > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    database.count("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'session'")
}

/// PostgreSQL cannot hold it.
#[tokio::test]
async fn a_nul_in_a_text_is_replaced_and_fails_nothing() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    let strange = NewSession { device: Device::new("curl\0/8", "192.0.2.7".parse().unwrap()), ..visitor(1) };
    put(&store, strange).await.unwrap();
    let listed = store.all_sessions(None, 10).await.unwrap();
    assert_eq!(listed[0].device.user_agent, "curl\u{fffd}/8");
    let by = "shop".parse().unwrap();
    assert!(store.spend(by, "a\0b", NOW).await.unwrap());
    assert!(!store.spend(by, "a\0b", NOW).await.unwrap());
    let rule = ThrottleRule {
        free: 1,
        delay: Duration::from_secs(1),
        longest: Duration::from_secs(1),
        closes_after: 10,
        forget_after: Duration::from_secs(60),
    };
    let door = vec![Door { name: "al\0ice".to_owned(), rule }];
    assert_eq!(store.knock(door.clone(), NOW).await.unwrap(), Admission::Admitted);
    assert!(matches!(store.knock(door, NOW).await.unwrap(), Admission::Throttled { .. }));
}

#[tokio::test]
async fn a_server_is_believed_only_with_a_certificate_for_its_name_from_an_authority() {
    let server = Arc::new(TestServer::start_with_tls());
    let database = TestDatabase::create_on(&server);
    let by_address = database.url() + "?sslmode=require";
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let certified = |url: &str| PostgresOptions::parse(url).unwrap().authorities(&server.authority());
    let store = PostgresStore::connect(certified(&by_name), testing::node(), Arc::new(Nobody)).await.unwrap();
    let is_encrypted = store.read(|asked| {
        asked.the("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", (), |row| row.get::<bool>(0))
    });
    assert!(is_encrypted.await.unwrap());
    let wrong_name = PostgresStore::connect(certified(&by_address), testing::node(), Arc::new(Nobody)).await;
    assert!(matches!(wrong_name, Err(ConnectError::Server { .. })));
    let unknown =
        PostgresStore::connect(PostgresOptions::parse(&by_name).unwrap(), testing::node(), Arc::new(Nobody))
            .await;
    assert!(matches!(unknown, Err(ConnectError::Server { .. })));
    let nothing =
        PostgresOptions::parse(&by_name).unwrap().authorities(&server.authority().with_extension("key"));
    let nothing = PostgresStore::connect(nothing, testing::node(), Arc::new(Nobody)).await;
    assert!(matches!(nothing, Err(ConnectError::Certificates { .. })));
}

/// Without TLS there is nothing to be had from one who insists on it.
#[tokio::test]
async fn a_server_without_tls_is_not_talked_to_where_it_has_to_be_encrypted() {
    let database = TestDatabase::create();
    assert!(matches!(
        connect(&(database.url() + "?sslmode=require"), 1).await,
        Err(ConnectError::Server { .. })
    ));
}

#[tokio::test]
async fn debug_output_shows_nothing() {
    let database = TestDatabase::create();
    assert_eq!(format!("{:?}", store_in(&database).await), "PostgresStore(..)");
}

#[tokio::test]
async fn whoever_shares_a_database_is_called_by_name_until_it_leaves() {
    let database = TestDatabase::create();
    let (one, two) = (store_in(&database).await, store_in(&database).await);
    let (_one_hears, _two_hears) = (Heard::of(&one).await, Heard::of(&two).await);
    let number = end_everything(&one).await.unwrap();
    let call = one.roll_call().await.unwrap().expect("others can share it");
    assert_eq!((call.head, call.settled, call.nodes.len()), (number, true, 2));
    assert!(call.nodes.iter().all(|node| node.name.starts_with("test ") && node.behind(number) == 0));
    assert!(call.nodes.iter().any(|node| node.id == call.this));
    assert_ne!(two.roll_call().await.unwrap().unwrap().this, call.this);
    two.leave().await.unwrap();
    assert_eq!(one.roll_call().await.unwrap().unwrap().nodes.len(), 1);
}

#[tokio::test]
async fn however_long_others_take_to_renew_the_own_lease_holds() {
    let database = TestDatabase::create();
    let store = store_in(&database).await;
    store.follow(weak(&Arc::new(Heard::default()))).await.unwrap();
    let ledger = store.ledger().unwrap();
    let shop = |number| Renewal { checker: CheckerId::from_bytes([number; 16]), applied: None };
    for number in 0..20 {
        ledger.renew_lease(shop(number), "a shop").await.unwrap();
    }
    database.run(
        "CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_sleep(0.3); RETURN new; END $$; \
         CREATE TRIGGER slow BEFORE UPDATE ON checker FOR EACH ROW WHEN (new.name = 'a shop') EXECUTE FUNCTION take_long()",
    );
    let mut renewing = JoinSet::new();
    for number in 0..40 {
        let ledger = Arc::clone(&ledger);
        renewing.spawn(async move { ledger.renew_lease(shop(number % 20), "a shop").await });
    }
    // More than two leases, and fewer than it takes them all.
    let until = kerria_feed::moment() + Duration::from_millis(2_500);
    while kerria_feed::moment() < until {
        assert!(store.lease().holds());
        sleep(Duration::from_millis(20)).await;
    }
    while renewing.try_join_next().is_some() {}
    assert!(!renewing.is_empty(), "they take longer");
}

#[tokio::test]
async fn a_database_is_migrated_and_examined_without_taking_part() {
    let database = TestDatabase::create();
    let options = || PostgresOptions::parse(&database.url()).unwrap();
    let found = PostgresStore::examine(options()).await.unwrap();
    assert_eq!((found.schema, found.encoding.as_str(), found.signing_keys.len()), (0, "UTF8", 0));
    assert_eq!(found.groups, None, "they are not known");
    assert!(found.version.split('.').next().unwrap().parse::<u32>().unwrap() >= 15, "{found:?}");
    // As the server for the tests is started.
    assert_eq!(found.unsafe_settings, ["fsync", "full_page_writes"]);
    let migrated = PostgresStore::migrate(options()).await.unwrap();
    assert_eq!((migrated.from, migrated.to), (0, found.known_schema));
    let migrated = PostgresStore::migrate(options()).await.unwrap();
    assert_eq!((migrated.from, migrated.to), (found.known_schema, found.known_schema));
    database.run(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
    );
    let found = PostgresStore::examine(options()).await.unwrap();
    assert_eq!(found.schema, found.known_schema);
    assert_eq!(found.unsafe_settings, ["fsync", "full_page_writes", "synchronous_commit"]);
    let store = store_in(&database).await;
    Heard::of(&store).await;
    let user = new_user("alice");
    store.create_user(user.clone(), None).await.unwrap();
    store.change_groups(user.id, &"staff cooks".parse().unwrap(), &Groups::default(), NOW).await.unwrap();
    let found = PostgresStore::examine(options()).await.unwrap();
    assert_eq!(found.groups, Some("cooks staff".parse().unwrap()));
    assert_eq!(store.roll_call().await.unwrap().unwrap().nodes.len(), 1);
}
