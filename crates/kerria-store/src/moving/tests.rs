//! A move that goes well, one that is interrupted, and those that are refused.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use kerria_core::{
    AccessTokenForm, Algorithm, Cause, Client, ClientAuthentication, CredentialVersion, DataKey, DataLimits,
    Device, Grant, GrantType, KeyState, LogNumber, Method, PasswordHash, Selector, SessionId, SessionPolicy,
    SigningKey, Timestamp, TokenHash, TokenId, Transport, UserId, UserName,
    store::{
        Accounts, CarryOver, Clients, DataOwner, Doors, InstallationKeys, Invitation, NewSession, NewUser,
        Opened, Reference, SessionData, Sessions, SignIn, SigningKeys, Store, Tokens,
    },
    throttle::{Door, ThrottleRule},
};
use tempfile::TempDir;

use super::*;
use crate::{
    PostgresStore, SqliteStore,
    observer::Nobody,
    testing::{self, TestDatabase},
};

const RULE: ThrottleRule = ThrottleRule {
    free: 3,
    delay: Duration::from_secs(1),
    longest: Duration::from_secs(60),
    closes_after: 100,
    forget_after: Duration::from_secs(3600),
};
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ALICE: UserId = UserId::from_bytes([7; 16]);
/// What a directory holds whose sessions are in Redis. Of its errands, the last ones were done.
const ELSEWHERE: &str = "INSERT INTO sessions_elsewhere (one, since) VALUES (1, 5); \
     INSERT INTO errand (at, what) VALUES (1, '{}'), (2, '{}'), (3, '{}'), (4, '{}'); DELETE FROM errand WHERE id > 2";
/// More than are written together, and no multiple of that.
const SESSIONS: u64 = 1203;

/// An installation in a file, and a database to move it to.
struct Scene {
    folder: TempDir,
    database: TestDatabase,
}

impl Scene {
    async fn set() -> Self {
        let scene = Self { folder: TempDir::new().unwrap(), database: TestDatabase::create() };
        let store = SqliteStore::open(&scene.file()).unwrap();
        live_in(&store).await;
        scene
    }

    /// The same, of an installation that has kept its sessions in Redis.
    async fn set_elsewhere() -> Self {
        let scene = Self::set().await;
        let file = rusqlite::Connection::open(scene.file()).unwrap();
        file.execute_batch(ELSEWHERE).unwrap();
        scene
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("kerria.db")
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions::parse(&self.database.url()).unwrap()
    }

    async fn move_it(&self) -> Result<Moved, MoveError> {
        move_to_postgres(&self.file(), self.options(), |_, _| ()).await
    }

    /// Moves it, and dies when so many rows are there.
    async fn move_until(&self, rows: u64) -> MoveError {
        let dying = move |done, _| assert!(done < rows, "it dies here");
        move_to_postgres(&self.file(), self.options(), dying).await.unwrap_err()
    }

    /// Moves it, and says how many rows were there when the first ones had been written.
    async fn move_on(&self) -> u64 {
        let first = Arc::new(Mutex::new(None));
        let told = Arc::clone(&first);
        let listening = move |done, _| {
            told.lock().unwrap().get_or_insert(done);
        };
        move_to_postgres(&self.file(), self.options(), listening).await.unwrap();
        let first = *first.lock().unwrap();
        first.unwrap()
    }

    async fn store(&self) -> Result<PostgresStore, ConnectError> {
        PostgresStore::connect(self.options(), testing::node(), Arc::new(Nobody)).await
    }

    /// The number that the database gives to the next row of this table.
    async fn next_number(&self, table: &'static str) -> i64 {
        postgres::on_a_connection(&self.options(), move |database, _| {
            let database: &dyn Ask = database;
            let next = "SELECT nextval(pg_get_serial_sequence(?1, 'id'))";
            Ok::<_, ConnectError>(database.the(next, [table], |row| row.get(0)).unwrap())
        })
        .await
        .unwrap()
    }

    /// Every row of the file, as text.
    fn rows_in_file(&self) -> Vec<String> {
        let file = rusqlite::Connection::open(self.file()).unwrap();
        all_rows(&file, &file)
    }

    async fn rows_in_database(&self) -> Vec<String> {
        let file = self.file();
        postgres::on_a_connection(&self.options(), move |database, _| {
            let file = rusqlite::Connection::open(file).unwrap();
            Ok::<_, ConnectError>(all_rows(&file, database))
        })
        .await
        .unwrap()
    }
}

/// Every row that is `held` somewhere, of the tables and columns that the file has.
fn all_rows(file: &dyn Ask, held: &dyn Ask) -> Vec<String> {
    let mut rows = Vec::new();
    for table in tables_of(file) {
        let columns =
            file.all("SELECT name FROM pragma_table_info(?1)", [&table], |row| row.get::<String>(0)).unwrap();
        let select = format!("SELECT {} FROM {table}", columns.join(", "));
        let of_table = held.all(&select, (), |row| {
            let values =
                (0..columns.len()).map(|at| Ok(format!("{:?}", row.held(at)?))).collect::<Asked<Vec<_>>>()?;
            Ok(format!("{table}: {}", values.join(" ")))
        });
        rows.extend(of_table.unwrap());
    }
    rows.sort();
    rows
}

fn tables_of(file: &dyn Ask) -> Vec<String> {
    file.all(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'moving' \
         ORDER BY name",
        (),
        |row| row.get(0),
    )
    .unwrap()
}

fn device() -> Device {
    Device::new("Mozilla/5.0 Firefox/145.0", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)))
}

fn new_session(number: u64, transport: Transport) -> NewSession {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    NewSession {
        id: SessionId::from_bytes(id),
        token: token(number),
        transport,
        remembered: number.is_multiple_of(2),
        device: device(),
        now: NOW,
    }
}

fn token(number: u64) -> TokenHash {
    let mut hash = [1; 32];
    hash[24..].copy_from_slice(&number.to_be_bytes());
    TokenHash::from_bytes(hash)
}

fn grant() -> Grant {
    Grant {
        client: "app".parse().unwrap(),
        scope: "read write".parse().unwrap(),
        audience: "https://api.example.com".parse().unwrap(),
    }
}

async fn sign_in(store: &SqliteStore, number: u64, transport: Transport) -> SessionId {
    let session = new_session(number, transport);
    let id = session.id;
    let sign_in = SignIn {
        session,
        user: ALICE,
        version: Some(CredentialVersion(1)),
        method: Method::Password,
        replaces: None,
        carry_over: CarryOver::default(),
        limit: None,
        policy: SessionPolicy::default(),
        grant: (transport == Transport::Tokens).then(grant),
    };
    assert!(matches!(store.open(sign_in).await.unwrap(), Opened::Opened(_)));
    id
}

/// Leaves something in every table.
async fn live_in(store: &SqliteStore) {
    store.installation_keys(InstallationKeys { token: [3; 16], form: [4; 32] }).await.unwrap();
    let alice = NewUser {
        id: ALICE,
        name: Some(UserName::parse("Zoë 木").unwrap()),
        email: None,
        password: PasswordHash::new("$hash".to_owned()),
        device: Some(device()),
        now: NOW,
    };
    store.create_user(alice, None).await.unwrap();
    store.know_device(ALICE, &token(1), NOW).await.unwrap();
    let invitation = Invitation { expires_at: NOW + Duration::from_secs(60), first_account: false };
    store.invite(&token(2), invitation, NOW).await.unwrap();
    let client = Client {
        id: "app".parse().unwrap(),
        name: "An application".to_owned(),
        authentication: ClientAuthentication::Public,
        grants: vec![GrantType::RefreshToken],
        scope: "read write".parse().unwrap(),
        audiences: vec!["https://api.example.com".parse().unwrap()],
        access_tokens: AccessTokenForm::Reference,
        created_at: NOW,
    };
    store.add_client(&client).await.unwrap();
    let key = SigningKey {
        kid: "key".to_owned(),
        algorithm: Algorithm::EdDsa,
        state: KeyState::Active,
        sealed: vec![0, 255, 10],
        public: "{}".to_owned(),
        created_at: NOW,
        since: NOW,
    };
    store.begin_keyring(Algorithm::EdDsa, vec![key]).await.unwrap();
    for number in 0..SESSIONS {
        sign_in(store, number, Transport::Cookie).await;
    }
    let carried = sign_in(store, SESSIONS, Transport::Tokens).await;
    let reference = Reference {
        id: TokenId::from_bytes([9; 16]),
        session: Some(carried),
        grant: grant(),
        issued_at: NOW,
        expires_at: NOW,
    };
    assert!(store.keep_reference(&token(3), reference).await.unwrap());
    assert!(store.spend("app".parse().unwrap(), "once", NOW).await.unwrap());
    let visitor = DataOwner::Visitor(new_session(SESSIONS + 1, Transport::Cookie));
    let key = DataKey::parse("cart").unwrap();
    store.put_data(visitor, &key, "[1,\"é\"]".to_owned(), DataLimits::default()).await.unwrap();
    let ended = Selector::Session { session: new_session(5, Transport::Cookie).id };
    store.revoke(ended, Cause::SignedOut, Some(device()), NOW).await.unwrap();
    store.trim_log(NOW + Duration::from_secs(1), 1).await.unwrap();
    store
        .revoke(Selector::Token { token: TokenId::from_bytes([8; 16]) }, Cause::Operator, None, NOW)
        .await
        .unwrap();
    store.knock(vec![Door { name: "account 7".to_owned(), rule: RULE }], NOW).await.unwrap();
}

#[tokio::test]
async fn every_row_of_every_table_is_moved_and_the_file_is_not_used_any_more() {
    let scene = Scene::set_elsewhere().await;
    let before = scene.rows_in_file();
    let moved = scene.move_it().await.unwrap();
    assert_eq!((moved.users, moved.sessions), (1, SESSIONS + 1), "{moved:?}");
    assert_eq!(moved.rows, before.len() as u64);
    assert!(scene.rows_in_database().await == before);

    scene.database.run("DELETE FROM sessions_elsewhere");
    let store = scene.store().await.unwrap();
    let found = store.find(&token(700)).await.unwrap().unwrap();
    assert_eq!((found.session.user, found.as_of), (Some(ALICE), LogNumber(2)));
    assert_eq!(store.find(&token(5)).await.unwrap(), None, "it had ended");
    let newest = store.audit(None, 2).await.unwrap();
    assert_eq!(newest[1].session, Some(new_session(5, Transport::Cookie).id), "{newest:?}");
    assert_eq!(scene.next_number("errand").await, 5, "no number is given twice");
    let everyone = store.revoke(Selector::Everyone, Cause::Operator, None, NOW).await.unwrap();
    assert_eq!((everyone.ended, everyone.number), (SESSIONS + 1, LogNumber(3)), "the log goes on");

    let refused = SqliteStore::open(&scene.file()).unwrap_err();
    assert!(matches!(refused, OpenError::Moved { .. }), "{refused}");
    let refused = scene.move_it().await.unwrap_err();
    assert!(matches!(refused, MoveError::MovedBefore { .. }), "{refused}");
}

#[tokio::test]
async fn there_is_something_in_every_table_that_is_moved() {
    let scene = Scene::set_elsewhere().await;
    let file = rusqlite::Connection::open(scene.file()).unwrap();
    let mut tables = TABLES.map(str::to_owned);
    tables.sort();
    assert_eq!(tables_of(&file), tables);
    for table in TABLES {
        assert!(rows_in(&file, table).unwrap() > 0, "{table}");
    }
}

#[tokio::test]
async fn a_move_that_was_interrupted_goes_on_where_it_was() {
    let scene = Scene::set().await;
    let died = scene.move_until(900).await;
    assert!(matches!(died, MoveError::Database(_)), "{died}");
    let refused = scene.store().await.unwrap_err();
    assert!(matches!(refused, ConnectError::BeingMoved { .. }), "half of it is none: {refused}");
    assert!(PostgresStore::examine(scene.options()).await.is_err());
    // What was there when it died is not written again.
    assert!(scene.move_on().await > 900);
    assert!(scene.rows_in_database().await == scene.rows_in_file());
    scene.store().await.unwrap();
}

#[tokio::test]
async fn a_server_can_go_on_with_the_file_after_an_interrupted_move_and_nothing_is_lost() {
    let scene = Scene::set().await;
    scene.move_until(900).await;
    {
        let store = SqliteStore::open(&scene.file()).unwrap();
        let ended = Selector::Session { session: new_session(9, Transport::Cookie).id };
        store.revoke(ended, Cause::SignedOut, None, NOW).await.unwrap();
        sign_in(&store, 5000, Transport::Cookie).await;
    }
    assert!(scene.move_on().await < 900, "it begins anew");
    assert!(scene.rows_in_database().await == scene.rows_in_file());
    let store = scene.store().await.unwrap();
    assert_eq!(store.find(&token(9)).await.unwrap(), None);
    assert!(store.find(&token(5000)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_move_that_was_interrupted_at_its_very_end_is_finished() {
    let scene = Scene::set().await;
    scene.move_until(scene.rows_in_file().len() as u64).await;
    let file = rusqlite::Connection::open(scene.file()).unwrap();
    file.pragma_update(None, "application_id", Mark::Moved as u32).unwrap();
    drop(file);
    assert!(scene.store().await.is_err() && SqliteStore::open(&scene.file()).is_err(), "neither is used");
    let moved = scene.move_it().await.unwrap();
    assert_eq!(moved.sessions, SESSIONS + 1);
    scene.store().await.unwrap();
}

/// What an attempt has left in a database, when another one has moved the file to another database.
#[tokio::test]
async fn what_another_attempt_has_left_is_never_finished() {
    let (scene, other) = (Scene::set().await, TestDatabase::create());
    scene.move_until(scene.rows_in_file().len() as u64).await;
    let elsewhere = PostgresOptions::parse(&other.url()).unwrap();
    move_to_postgres(&scene.file(), elsewhere, |_, _| ()).await.unwrap();
    let refused = scene.move_it().await.unwrap_err();
    assert!(matches!(refused, MoveError::MovedBefore { .. }), "{refused}");
    assert!(scene.store().await.is_err(), "there is one installation");
}

/// Another attempt, at another database, began after a server had used the file.
#[tokio::test]
async fn what_an_earlier_attempt_has_left_is_not_taken_up_by_a_later_one() {
    let (scene, other) = (Scene::set().await, TestDatabase::create());
    scene.move_until(900).await;
    {
        let store = SqliteStore::open(&scene.file()).unwrap();
        store.set_status(ALICE, kerria_core::Status::Disabled, NOW).await.unwrap();
    }
    let elsewhere = PostgresOptions::parse(&other.url()).unwrap();
    let dying = |done, _| assert!(done < 900, "it dies here");
    move_to_postgres(&scene.file(), elsewhere, dying).await.unwrap_err();
    scene.move_it().await.unwrap();
    assert!(scene.rows_in_database().await == scene.rows_in_file());
}

#[tokio::test]
async fn what_is_missing_is_noticed_before_the_file_is_given_up() {
    let scene = Scene::set().await;
    scene.move_until(900).await;
    scene.database.run("DELETE FROM session WHERE id IN (SELECT id FROM session LIMIT 1)");
    let refused = scene.move_it().await.unwrap_err();
    let MoveError::Miscounted { table, found, expected, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*table, *found, *expected), ("session", SESSIONS, SESSIONS + 1));
    SqliteStore::open(&scene.file()).unwrap();
}

#[tokio::test]
async fn a_database_with_something_in_it_is_not_touched() {
    let scene = Scene::set().await;
    let there = scene.store().await.unwrap();
    there.installation_keys(InstallationKeys { token: [1; 16], form: [2; 32] }).await.unwrap();
    let refused = scene.move_it().await.unwrap_err();
    assert!(matches!(refused, MoveError::NotEmpty { .. }), "{refused}");
    SqliteStore::open(&scene.file()).unwrap();
}

#[tokio::test]
async fn two_installations_are_not_moved_into_one_database() {
    let scene = Scene::set().await;
    scene.move_until(900).await;
    let other = Scene::set().await;
    let file = rusqlite::Connection::open(other.file()).unwrap();
    file.execute("UPDATE installation SET token_key = zeroblob(16)", ()).unwrap();
    drop(file);
    let refused = move_to_postgres(&other.file(), scene.options(), |_, _| ()).await.unwrap_err();
    assert!(matches!(refused, MoveError::AnotherFile { .. }), "{refused}");
    assert!(scene.move_on().await > 900, "the first one is not disturbed");
}

#[tokio::test]
async fn a_file_in_use_is_not_moved() {
    let scene = Scene::set().await;
    let _serving = SqliteStore::open(&scene.file()).unwrap();
    let refused = scene.move_it().await.unwrap_err();
    assert!(matches!(refused, MoveError::File(OpenError::InUse { .. })), "{refused}");
}
