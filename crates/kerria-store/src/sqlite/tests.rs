//! What is SQLite's own: files, threads, and what happens when they fail.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Weak, mpsc},
    time::Duration,
};

use kerria_core::{
    AccessTokenForm, Algorithm, Cause, Client, ClientAuthentication, ClientId, DataKey, DataLimits, Grant,
    GrantType, Groups, KeyState, LogEntry, LogNumber, Method, PasswordHash, RotationNonce, Selector,
    SessionId, SessionPolicy, SigningKey, StoreError, Timestamp, TokenHash, TokenId, Transport, UserId,
    UserName,
    account::CredentialVersion,
    device::Device,
    store::{
        Accounts, CarryOver, Clients, DataOwner, Follower, LogPage, NewSession, NewUser, Opened, Reference,
        Refresh, Rotation, SessionData, Sessions, SignIn, SigningKeys, Store, Tokens, Trouble, UserCreation,
    },
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    BackupError, Migrated, OpenError, SqliteStore, backup, check, groups_in_use, migrate, pending_migrations,
};
use crate::{
    queue::{Answer, Asked},
    sql::Step,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("kerria.db")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.database()).unwrap()
    }
}

fn visitor(number: u64) -> NewSession {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    NewSession {
        id: SessionId::from_bytes(id),
        token: TokenHash::from_bytes(bytes),
        transport: Transport::Cookie,
        remembered: false,
        device: Device::new("curl/8", "192.0.2.7".parse().unwrap()),
        now: NOW,
    }
}

async fn put(store: &SqliteStore, number: u64, json: &str) -> Result<(), Trouble> {
    let key = DataKey::parse("cart").unwrap();
    let limits = DataLimits { value_bytes: u32::MAX, total_bytes: u32::MAX, ..DataLimits::default() };
    let written = store.put_data(DataOwner::Visitor(visitor(number)), &key, json.to_owned(), limits).await;
    written.map(drop).map_err(|error| error.trouble)
}

async fn end_everything(store: &SqliteStore) -> LogNumber {
    store.revoke(Selector::Everyone, Cause::Operator, None, NOW).await.unwrap().number
}

fn new_user(name: &str) -> NewUser {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    NewUser {
        id: UserId::from_bytes(id),
        name: Some(UserName::parse(name).unwrap()),
        email: None,
        password: PasswordHash::new("$hash".to_owned()),
        device: None,
        now: NOW,
    }
}

fn hash(byte: u8) -> TokenHash {
    TokenHash::from_bytes([byte; 32])
}

fn shop() -> Client {
    Client {
        id: "shop".parse().unwrap(),
        name: "The shop".to_owned(),
        authentication: ClientAuthentication::Secret(hash(7)),
        grants: GrantType::ALL.to_vec(),
        scope: "read write".parse().unwrap(),
        audiences: vec!["https://api.example.com".parse().unwrap()],
        access_tokens: AccessTokenForm::Jwt(Algorithm::Es256),
        created_at: NOW,
    }
}

fn key(kid: &str, state: KeyState) -> SigningKey {
    SigningKey {
        kid: kid.to_owned(),
        algorithm: Algorithm::EdDsa,
        state,
        sealed: vec![1, 2, 3],
        public: "{}".to_owned(),
        created_at: NOW,
        since: NOW,
    }
}

fn grant() -> Grant {
    Grant {
        client: shop().id,
        scope: "read".parse().unwrap(),
        audience: "https://api.example.com".parse().unwrap(),
    }
}

fn reference(id: u8, session: Option<SessionId>) -> Reference {
    Reference {
        id: TokenId::from_bytes([id; 16]),
        session,
        grant: grant(),
        issued_at: NOW,
        expires_at: NOW + Duration::from_secs(300),
    }
}

/// The use of a refresh token, with its successor and nonce.
fn refresh(session: SessionId, presented: u8, next: u8) -> Refresh {
    Refresh {
        session,
        presented: hash(presented),
        successor: hash(next),
        nonce: RotationNonce::from_bytes([next; 32]),
        client: shop().id,
        window: Duration::from_secs(30),
        policy: SessionPolicy::default(),
        device: None,
        now: NOW,
    }
}

/// The shop, a keyring, and Alice in a session whose second refresh token is the present one: `[0x12; 32]` after
/// `[0x11; 32]`, with a reference token `[0x21; 32]`. One of the shop itself is `[0x22; 32]`.
async fn with_tokens(store: &SqliteStore) -> SessionId {
    let alice = new_user("alice");
    let user = alice.id;
    store.create_user(alice, None).await.unwrap();
    assert!(store.add_client(&shop()).await.unwrap());
    let keys = vec![key("a", KeyState::Active), key("b", KeyState::Next)];
    store.begin_keyring(Algorithm::EdDsa, keys).await.unwrap();
    let session = NewSession { token: hash(0x11), transport: Transport::Tokens, ..visitor(1) };
    let id = session.id;
    let sign_in = SignIn {
        session,
        user,
        version: Some(CredentialVersion(1)),
        method: Method::Password,
        replaces: None,
        carry_over: CarryOver::default(),
        limit: None,
        policy: SessionPolicy::default(),
        grant: Some(grant()),
    };
    assert!(matches!(store.open(sign_in).await.unwrap(), Opened::Opened(_)));
    assert!(matches!(store.rotate_refresh(refresh(id, 0x11, 0x12)).await.unwrap(), Rotation::Rotated(..)));
    assert!(store.keep_reference(&hash(0x21), reference(1, Some(id))).await.unwrap());
    assert!(store.keep_reference(&hash(0x22), reference(2, None)).await.unwrap());
    assert!(store.spend(shop().id, "jti", NOW + Duration::from_secs(60)).await.unwrap());
    id
}

/// Sends a step without waiting for its answer.
fn send<T: Send + 'static>(
    store: &SqliteStore,
    step: impl Fn(&mut Step<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<Answer<T>, StoreError> {
    let (asked, answer) = Asked::new(step);
    store.driver.writer.send(Box::new(asked))?;
    Ok(answer)
}

/// Keeps the writer busy until the answer is dropped, so that what is sent meanwhile is committed together.
fn hold_up(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (arrived, arrival) = mpsc::channel();
    let sent = send(store, move |_| {
        arrived.send(()).unwrap();
        // Until the other end is dropped.
        let _ = held.recv();
        Ok(())
    });
    drop(sent.unwrap());
    arrival.recv().unwrap();
    release
}

#[derive(Default)]
struct Listener(std::sync::Mutex<Vec<LogEntry>>);

impl Follower for Listener {
    fn apply(&self, entries: &[LogEntry]) {
        self.0.lock().unwrap().extend(entries);
    }

    fn start_over(&self, _: LogNumber) {}
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let folder = Folder::new();
    let store = folder.store();
    assert_eq!(
        store.create_user(new_user("alice"), None).await.unwrap(),
        UserCreation::Created(CredentialVersion(1))
    );
    end_everything(&store).await;
    drop(store);
    assert!(!folder.path("kerria.db-wal").exists(), "a closed store is one file");
    let store = folder.store();
    assert!(store.has_users().await.unwrap());
    assert_eq!(end_everything(&store).await, LogNumber(2));
}

#[tokio::test]
async fn tokens_clients_and_keys_are_there_after_a_restart() {
    let folder = Folder::new();
    let store = folder.store();
    let session = with_tokens(&store).await;
    let ended = [
        Selector::Token { token: TokenId::from_bytes([9; 16]) },
        Selector::Client { client: "x".repeat(40).parse().unwrap() },
    ];
    for selector in ended {
        store.revoke(selector, Cause::GivenBack, None, NOW).await.unwrap();
    }
    let found = store.session(session).await.unwrap();
    drop(store);
    let store = folder.store();
    assert_eq!(store.session(session).await.unwrap(), found);
    assert_eq!(found.unwrap().1, Some(grant()));
    assert_eq!(store.clients().await.unwrap(), [shop()]);
    assert_eq!(store.signing_keys().await.unwrap(), [key("a", KeyState::Active), key("b", KeyState::Next)]);
    assert_eq!(store.reference(&hash(0x21)).await.unwrap(), Some(reference(1, Some(session))));
    assert_eq!(store.reference(&hash(0x22)).await.unwrap(), Some(reference(2, None)));
    assert!(!store.spend(shop().id, "jti", NOW).await.unwrap());
    let LogPage::Entries(entries) = store.log_after(LogNumber(0), 10).await.unwrap() else { panic!() };
    assert_eq!(entries.iter().map(|entry| entry.selector).collect::<Vec<_>>(), ended);
    let repeated = store.rotate_refresh(refresh(session, 0x11, 0x13)).await.unwrap();
    let nonce = RotationNonce::from_bytes([0x12; 32]);
    assert!(matches!(repeated, Rotation::Repeated(_, _, again) if again == nonce), "{repeated:?}");
    let rotated = store.rotate_refresh(refresh(session, 0x12, 0x13)).await.unwrap();
    assert!(matches!(rotated, Rotation::Rotated(..)), "{rotated:?}");
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let folder = Folder::new();
    let store = folder.store();
    for refused in [SqliteStore::open(&folder.database()).map(drop), migrate(&folder.database()).map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }));
        let sentence = error.to_string();
        assert!(sentence.starts_with("another Kerria process is using "), "{sentence}");
        assert!(sentence.contains("kerria.db: stop it first"), "{sentence}");
    }
    drop(store);
    folder.store();
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.store();
    end_everything(&store).await;
    let mut files = Vec::new();
    for file in fs::read_dir(folder.0.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
        files.push(file.file_name().into_string().unwrap());
    }
    files.sort();
    assert_eq!(files, ["kerria.db", "kerria.db-shm", "kerria.db-wal", "kerria.db.lock"]);
}

#[tokio::test]
async fn what_is_committed_is_on_the_disk() {
    let folder = Folder::new();
    let store = folder.store();
    let setting = async |sql: &'static str| {
        store.write(move |step| step.the(sql, (), |row| row.get::<String>(0))).await.unwrap()
    };
    assert_eq!(setting("SELECT journal_mode FROM pragma_journal_mode").await, "wal");
    assert_eq!(setting("SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous").await, "2");
    assert_eq!(setting("SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys").await, "1");
}

#[test]
fn an_empty_file_is_migrated_once() {
    let folder = Folder::new();
    let path = folder.database();
    fs::write(&path, "").unwrap();
    assert_eq!(
        pending_migrations(&path).unwrap(),
        ["0001_initial", "0002_tokens", "0003_errands", "0004_groups", "0005_expiry"]
    );
    assert_eq!(migrate(&path).unwrap(), Migrated { from: 0, to: 5 });
    assert_eq!(migrate(&path).unwrap(), Migrated { from: 5, to: 5 });
    assert_eq!(pending_migrations(&path).unwrap(), [""; 0]);
    assert_eq!(check(&path).unwrap().schema, 5);
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.database();
    migrate(&path).unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    let sentence = error.to_string();
    assert!(sentence.contains("schema version 7, and this program knows versions up to 5"), "{sentence}");
    assert!(matches!(check(&path), Err(OpenError::Newer { found: 7, known: 5, .. })));
    assert!(matches!(pending_migrations(&path), Err(OpenError::Newer { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn files_that_are_not_ours_are_refused() {
    let folder = Folder::new();
    let theirs = folder.path("theirs.db");
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(SqliteStore::open(&theirs), Err(OpenError::NotOurs { .. })));
    let text = folder.path("text.db");
    fs::write(&text, "This is not a database. ".repeat(100)).unwrap();
    assert!(matches!(SqliteStore::open(&text), Err(OpenError::Sqlite { trouble: Trouble::Damaged, .. })));
    let nowhere = SqliteStore::open(&folder.path("nowhere/kerria.db")).unwrap_err();
    assert!(matches!(nowhere, OpenError::Io { .. }));
    assert!(nowhere.to_string().contains("nowhere/kerria.db cannot be opened"));
    assert!(matches!(SqliteStore::open(folder.0.path()), Err(OpenError::Io { .. })));
    assert!(check(&folder.path("nowhere.db")).is_err());
    assert!(!folder.path("nowhere.db").exists(), "looking creates nothing");
}

#[tokio::test]
async fn a_full_disk_is_said_so_and_forgotten_when_there_is_space_again() {
    let folder = Folder::new();
    let store = folder.store();
    let most_pages = async |count: u32| {
        let limit = format!("PRAGMA max_page_count = {count}");
        store.write(move |step| step.the(&limit, (), |_| Ok(()))).await.unwrap();
    };
    put(&store, 1, "1").await.unwrap();
    most_pages(1).await;
    let large = "x".repeat(100_000);
    for number in 2..5 {
        assert_eq!(put(&store, number, &large).await, Err(Trouble::Full));
        assert_eq!(store.find(&visitor(number).token).await.unwrap(), None);
        assert!(store.find(&visitor(1).token).await.unwrap().is_some(), "what is there can be read");
    }
    most_pages(u32::MAX).await;
    put(&store, 2, &large).await.unwrap();
    assert_eq!(end_everything(&store).await, LogNumber(1));
    store.check_health().await.unwrap();
}

/// A follower, as a store holds it.
fn weak<F: Follower + 'static>(follower: &Arc<F>) -> Weak<dyn Follower> {
    Arc::downgrade(follower) as _
}

/// SQLite rolls back the whole transaction when the disk is full.
#[tokio::test]
async fn steps_that_were_undone_with_another_one_are_not_reported_as_done() {
    let folder = Folder::new();
    let store = Arc::new(folder.store());
    let listener = Arc::new(Listener::default());
    store.follow(weak(&listener)).await.unwrap();
    store.write(|step| step.the("PRAGMA max_page_count = 1", (), |_| Ok(()))).await.unwrap();
    let release = hold_up(&store);
    let (ending, large) = (Arc::clone(&store), Arc::clone(&store));
    let ended =
        tokio::spawn(async move { ending.revoke(Selector::Everyone, Cause::Operator, None, NOW).await });
    let large = tokio::spawn(async move { put(&large, 1, &"x".repeat(100_000)).await });
    tokio::task::yield_now().await;
    drop(release);
    assert_eq!(large.await.unwrap(), Err(Trouble::Full));
    assert_eq!(ended.await.unwrap().unwrap_err().trouble, Trouble::Full);
    assert!(listener.0.lock().unwrap().is_empty());
    assert_eq!(end_everything(&store).await, LogNumber(1), "what fits is written");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_to_says_so() {
    let folder = Folder::new();
    let store = folder.store();
    put(&store, 1, "1").await.unwrap();
    store.write(|step| step.all("PRAGMA query_only = true", (), |_| Ok(()))).await.unwrap();
    assert_eq!(put(&store, 2, "1").await, Err(Trouble::ReadOnly));
    assert_eq!(store.check_health().await.unwrap_err().trouble, Trouble::ReadOnly);
    assert!(store.find(&visitor(1).token).await.unwrap().is_some());
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_damage() {
    let folder = Folder::new();
    let store = folder.store();
    put(&store, 1, "1").await.unwrap();
    store.write(|step| step.change("UPDATE session SET address = 'nowhere'", ())).await.unwrap();
    assert_eq!(store.find(&visitor(1).token).await.unwrap_err().trouble, Trouble::Damaged);
}

#[tokio::test]
async fn a_step_that_fails_or_panics_is_undone_alone() {
    let folder = Folder::new();
    let store = Arc::new(folder.store());
    let listener = Arc::new(Listener::default());
    store.follow(weak(&listener)).await.unwrap();
    let release = hold_up(&store);
    let [before, after] = [Arc::clone(&store), Arc::clone(&store)];
    let sent = send(&store, |step| {
        step.write_log(Selector::Everyone, kerria_core::LogEvent::Changed, NOW)?;
        step.change("INSERT INTO door VALUES (NULL, 0, 0, 0)", ())
    });
    let failing = sent.unwrap();
    let first = tokio::spawn(async move { end_everything(&before).await });
    tokio::task::yield_now().await;
    let sent = send(&store, |step| -> Result<(), StoreError> {
        step.write_log(Selector::Everyone, kerria_core::LogEvent::Changed, NOW)?;
        panic!("on purpose")
    });
    let panicking = sent.unwrap();
    let second = tokio::spawn(async move { end_everything(&after).await });
    tokio::task::yield_now().await;
    drop(release);
    assert_eq!(failing.await.unwrap().unwrap_err().trouble, Trouble::Failed);
    assert_eq!(panicking.await.unwrap().unwrap_err().trouble, Trouble::Failed);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (LogNumber(1), LogNumber(2)));
    let heard: Vec<_> = listener.0.lock().unwrap().iter().map(|entry| entry.number.0).collect();
    assert_eq!(heard, [1, 2]);
}

#[tokio::test]
async fn a_commit_that_fails_undoes_the_batch_and_announces_nothing() {
    let folder = Folder::new();
    let store = Arc::new(folder.store());
    let listener = Arc::new(Listener::default());
    store.follow(weak(&listener)).await.unwrap();
    let release = hold_up(&store);
    let ending = Arc::clone(&store);
    let ended =
        tokio::spawn(async move { ending.revoke(Selector::Everyone, Cause::Operator, None, NOW).await });
    tokio::task::yield_now().await;
    let sent = send(&store, |step| {
        step.all("PRAGMA defer_foreign_keys = true", (), |_| Ok(()))?;
        step.change("INSERT INTO known_device VALUES (zeroblob(16), zeroblob(32), 0)", ())
    });
    let sent = sent.unwrap();
    drop(release);
    assert_eq!(sent.await.unwrap().unwrap_err().trouble, Trouble::Failed);
    assert_eq!(ended.await.unwrap().unwrap_err().trouble, Trouble::Failed);
    assert!(listener.0.lock().unwrap().is_empty());
    assert_eq!(end_everything(&store).await, LogNumber(1));
    assert_eq!(listener.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_step_whose_caller_gave_up_is_committed() {
    let folder = Folder::new();
    let store = folder.store();
    let release = hold_up(&store);
    let gave_up = timeout(Duration::from_millis(1), put(&store, 1, "1")).await;
    assert!(gave_up.is_err());
    drop(release);
    end_everything(&store).await;
    drop(store);
    let checked = check(&folder.database()).unwrap();
    assert_eq!((checked.sessions, checked.last_number), (0, LogNumber(1)));
    let lines = folder.store().audit(None, 10).await.unwrap();
    assert_eq!(lines[0].detail, "operator, 1 session", "it was there to be ended");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_more_work_or_does_not_answer_says_so() {
    let folder = Folder::new();
    let store = folder.store();
    let release = hold_up(&store);
    assert_eq!(put(&store, 1, "1").await, Err(Trouble::Unavailable), "the deadline");
    while send(&store, |_| Ok(())).is_ok() {}
    assert_eq!(store.touch(Vec::new()).await.unwrap_err().trouble, Trouble::Busy);
    drop(release);
    tokio::time::resume();
    while store.check_health().await.is_err() {}
}

#[tokio::test]
async fn when_a_follower_panics_nothing_is_answered_any_more() {
    struct Panicking;
    impl Follower for Panicking {
        fn apply(&self, _: &[LogEntry]) {
            panic!("on purpose")
        }

        fn start_over(&self, _: LogNumber) {}
    }
    let store = SqliteStore::open_in_memory().unwrap();
    let panicking = Arc::new(Panicking);
    store.follow(weak(&panicking)).await.unwrap();
    store.check_health().await.unwrap();
    for _ in 0..2 {
        let ended = store.revoke(Selector::Everyone, Cause::Operator, None, NOW).await;
        assert_eq!(ended.unwrap_err().trouble, Trouble::Unavailable);
    }
    assert_eq!(store.check_health().await.unwrap_err().trouble, Trouble::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_the_server_writes_is_whole() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = Arc::new(folder.store());
    let page = "x".repeat(100_000);
    for number in 0..100 {
        put(&store, number, &page).await.unwrap();
    }
    store.create_user(new_user("alice"), None).await.unwrap();
    let writing = Arc::clone(&store);
    let (stop, stopped) = mpsc::channel::<()>();
    let writer = tokio::spawn(async move {
        let mut number = 100;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            put(&writing, number, "1").await.unwrap();
            number += 1;
        }
        number
    });
    let (from, to) = (folder.database(), folder.path("backup.db"));
    let reports = tokio::task::spawn_blocking({
        let to = to.clone();
        move || {
            let mut reports = Vec::new();
            backup(&from, &to, |done, total| reports.push((done, total))).unwrap();
            reports
        }
    });
    let reports = reports.await.unwrap();
    drop(stop);
    let written = writer.await.unwrap();
    assert!(reports.len() > 1 && reports.is_sorted(), "{reports:?}");
    assert_eq!(reports.last().map(|(done, total)| done == total), Some(true));
    let checked = check(&to).unwrap();
    assert_eq!(checked.problems, [""; 0]);
    assert!(written >= 100);
    assert_eq!((checked.users, checked.sessions), (1, 0));
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(backup(&folder.database(), &to, |_, _| ()), Err(BackupError::Exists { .. })));
    let left: Vec<_> = fs::read_dir(folder.0.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| Path::new(name).extension() == Some("partial".as_ref())), "{left:?}");
    let restored = SqliteStore::open(&to).unwrap();
    assert!(restored.has_users().await.unwrap());
    assert_eq!(restored.find(&visitor(0).token).await.unwrap(), None, "what ended since would come back");
}

#[tokio::test]
async fn a_backup_keeps_clients_and_neither_keys_nor_anything_that_was_issued() {
    let folder = Folder::new();
    let store = folder.store();
    let session = with_tokens(&store).await;
    let before = end_everything(&store).await;
    let (in_cookie, of_shop) = (visitor(2), reference(3, None));
    put(&store, 2, "1").await.unwrap();
    assert!(store.keep_reference(&hash(0x23), of_shop).await.unwrap());
    let to = folder.path("backup.db");
    backup(&folder.database(), &to, |_, _| ()).unwrap();
    // What happens after the backup, of which the copy does not know.
    let mut latest = before;
    for _ in 0..100 {
        latest = end_everything(&store).await;
    }
    let checked = check(&to).unwrap();
    assert_eq!((checked.problems.as_slice(), checked.sessions), (&[][..], 0));
    assert!(checked.last_number > latest, "no number is given to two ends");
    let restored = SqliteStore::open(&to).unwrap();
    assert_eq!(restored.clients().await.unwrap(), [shop()]);
    assert_eq!(
        restored.signing_keys().await.unwrap(),
        [],
        "a key that was thrown away since must not come back"
    );
    assert_eq!(restored.session(session).await.unwrap(), None);
    assert_eq!(restored.find(&in_cookie.token).await.unwrap(), None);
    for token in [0x21, 0x22, 0x23] {
        assert_eq!(restored.reference(&hash(token)).await.unwrap(), None);
    }
    assert!(!restored.spend(shop().id, "jti", NOW).await.unwrap(), "what was used once stays used");
    let start_over = LogPage::StartOver { head: checked.last_number };
    assert_eq!(restored.log_after(latest, 10).await.unwrap(), start_over);
    let next = end_everything(&restored).await;
    assert_eq!(next, LogNumber(checked.last_number.0 + 1));
    assert_eq!(check(&to).unwrap().problems, [""; 0]);
}

#[tokio::test]
async fn the_groups_that_somebody_is_in_are_told() {
    let folder = Folder::new();
    let store = folder.store();
    assert_eq!(groups_in_use(&folder.database()).unwrap(), Groups::default());
    for (name, groups) in [("alice", "staff"), ("bob", "staff cooks"), ("carol", "")] {
        let user = new_user(name);
        store.create_user(user.clone(), None).await.unwrap();
        store.change_groups(user.id, &groups.parse().unwrap(), &Groups::default(), NOW).await.unwrap();
    }
    assert_eq!(groups_in_use(&folder.database()).unwrap().to_string(), "cooks staff");
    assert!(groups_in_use(&folder.path("nowhere.db")).is_err());
}

#[tokio::test]
async fn a_check_names_what_is_wrong_with_tokens_and_keys() {
    let folder = Folder::new();
    let store = folder.store();
    with_tokens(&store).await;
    assert!(
        store
            .keep_reference(
                &hash(0x24),
                Reference { grant: Grant { client: ClientId::OWN, ..grant() }, ..reference(4, None) }
            )
            .await
            .unwrap()
    );
    assert_eq!(check(&folder.database()).unwrap().problems, [""; 0]);
    store.write(|step| step.change("DELETE FROM client", ())).await.unwrap();
    store.write(|step| step.change("DELETE FROM signing_key WHERE state = 'active'", ())).await.unwrap();
    assert_eq!(
        check(&folder.database()).unwrap().problems,
        [
            "there are sessions of clients that were removed: 1",
            "there are access tokens of clients that were removed: 2",
            "there are algorithms with keys none of which is active: 1",
        ]
    );
}

#[tokio::test]
async fn a_client_or_key_that_cannot_be_read_is_damage() {
    let folder = Folder::new();
    let store = folder.store();
    with_tokens(&store).await;
    for (column, word) in [
        ("grants", "refresh_token unheard_of"),
        ("scope", "\""),
        ("audiences", "https://api.example.com é"),
        ("access_tokens", "none"),
    ] {
        let set = format!("UPDATE client SET {column} = ?1");
        store.write(move |step| step.change(&set, [word])).await.unwrap();
        assert_eq!(store.clients().await.unwrap_err().trouble, Trouble::Damaged, "{column}");
        let whole = shop();
        assert!(store.change_client(&whole).await.unwrap());
        assert_eq!(store.client(whole.id).await.unwrap(), Some(whole));
    }
    store.write(|step| step.change("UPDATE signing_key SET algorithm = 'none'", ())).await.unwrap();
    assert_eq!(store.signing_keys().await.unwrap_err().trouble, Trouble::Damaged);
}

#[tokio::test]
async fn a_check_counts_what_is_there_and_names_what_is_wrong() {
    let folder = Folder::new();
    let store = folder.store();
    store.create_user(new_user("alice"), None).await.unwrap();
    put(&store, 1, "1").await.unwrap();
    end_everything(&store).await;
    put(&store, 2, "1").await.unwrap();
    let sound = check(&folder.database()).unwrap();
    assert_eq!((sound.users, sound.sessions, sound.last_number), (1, 1, LogNumber(1)));
    assert_eq!(sound.problems, [""; 0]);
    store.write(|step| step.change("DELETE FROM session", ())).await.unwrap();
    store.write(|step| step.change("DELETE FROM log", ())).await.unwrap();
    let unsound = check(&folder.database()).unwrap();
    assert_eq!(
        unsound.problems,
        [
            "there are values of sessions that were ended: 1",
            "there are entries missing from the revocation log, or too many: 1"
        ]
    );
}

#[tokio::test]
async fn old_lines_of_the_audit_log_are_removed_a_few_at_a_time() {
    let folder = Folder::new();
    let store = folder.store();
    for minutes in 0..5 {
        let now = NOW + Duration::from_secs(60 * minutes);
        store.revoke(Selector::Everyone, Cause::Operator, None, now).await.unwrap();
    }
    let before = NOW + Duration::from_secs(60 * 3);
    assert_eq!(store.trim_audit(before, 2).await.unwrap(), 2);
    assert_eq!(store.trim_audit(before, 2).await.unwrap(), 1);
    assert_eq!(store.trim_audit(before, 2).await.unwrap(), 0);
    assert_eq!(store.audit(None, 10).await.unwrap().len(), 2);
}

#[test]
fn debug_output_shows_nothing() {
    assert_eq!(format!("{:?}", SqliteStore::open_in_memory().unwrap()), "SqliteStore(..)");
}
