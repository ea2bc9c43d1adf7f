//! The examples, as programs that are asked over TCP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{collections::BTreeMap, path::Path, process::Stdio};

use kerria_store::testing::TestDatabase;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
};

/// An example that runs, and is killed when this is dropped.
struct Example {
    address: String,
    _child: Child,
    /// What it says. It could not say anything to a pipe that nobody holds.
    _stderr: Lines<BufReader<ChildStderr>>,
    _folder: TempDir,
}

#[derive(Clone, Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

impl Example {
    async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    async fn start_with(name: &str, more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        // Cargo builds examples beside the tests.
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
        let mut child = Command::new(program)
            .arg("127.0.0.1:0")
            .args(more)
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().expect("it says where it listens");
            if let Some(address) = line.strip_prefix("listening on http://") {
                return Self { address: address.to_owned(), _child: child, _stderr: lines, _folder: folder };
            }
        }
    }

    async fn ask(&self, browser: &mut Browser, method: &str, path: &str, form: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let cookies: Vec<_> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies =
            if cookies.is_empty() { String::new() } else { format!("Cookie: {}\r\n", cookies.join("; ")) };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n{}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            cookies,
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let headers = |name: &str| -> Vec<&str> {
            let named = head.lines().filter_map(|line| line.split_once(": "));
            named.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
        };
        for set in headers("set-cookie") {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            match value.is_empty() {
                true => drop(browser.cookies.remove(name)),
                false => drop(browser.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        let location = headers("location").first().map(|&location| location.to_owned());
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, location, body: body.to_owned() }
    }

    async fn get(&self, browser: &mut Browser, path: &str) -> Answer {
        self.ask(browser, "GET", path, "").await
    }
}

#[tokio::test]
async fn the_counter_counts_the_visits_of_each_browser() {
    let counter = Example::start("counter").await;
    let (mut one, mut other) = (Browser::default(), Browser::default());
    for visits in 1..=3 {
        assert_eq!(counter.get(&mut one, "/").await.body, format!("You were here {visits} times.\n"));
    }
    assert_eq!(counter.get(&mut other, "/").await.body, "You were here 1 times.\n");
}

#[tokio::test]
async fn the_login_lets_in_who_knows_the_password_and_signs_them_out_everywhere() {
    let login = Example::start("login").await;
    let (mut laptop, mut phone) = (Browser::default(), Browser::default());
    let stranger = login.get(&mut laptop, "/").await;
    assert_eq!((stranger.status, stranger.location.as_deref()), (303, Some("/sign-in")));
    let wrong = login.ask(&mut laptop, "POST", "/sign-in", "name=alice&password=wrong").await;
    assert_eq!(wrong.location.as_deref(), Some("/sign-in"));
    let message = "That is not a name and its password.";
    assert!(login.get(&mut laptop, "/sign-in").await.body.contains(message));
    assert!(!login.get(&mut laptop, "/sign-in").await.body.contains(message), "it is shown once");
    for browser in [&mut laptop, &mut phone] {
        let right = login.ask(browser, "POST", "/sign-in", "name=alice&password=alice%27s+password").await;
        assert_eq!(right.location.as_deref(), Some("/"));
        assert!(login.get(browser, "/").await.body.contains("Hello, alice"));
    }
    assert_eq!(login.get(&mut phone, "/").await.body.matches("<li>").count(), 2);
    assert_eq!(login.ask(&mut laptop, "POST", "/sign-out-everywhere", "").await.status, 303);
    assert_eq!(login.get(&mut phone, "/").await.status, 303);
}

#[tokio::test]
async fn who_signs_out_everywhere_at_one_node_is_refused_at_the_other_at_once() {
    let database = TestDatabase::create();
    let url = database.url();
    let one = Example::start_with("two-nodes", &[&url]).await;
    let other = Example::start_with("two-nodes", &[&url]).await;
    for _ in 0..20 {
        let (mut laptop, mut phone, mut somebody) =
            (Browser::default(), Browser::default(), Browser::default());
        for (node, browser, user) in
            [(&one, &mut laptop, 1), (&other, &mut phone, 1), (&other, &mut somebody, 2)]
        {
            let form = format!("user={user}");
            assert_eq!(node.ask(browser, "POST", "/sign-in", &form).await.location.as_deref(), Some("/"));
            for node in [&one, &other] {
                assert_eq!(node.get(browser, "/").await.status, 200, "both know of every session");
            }
        }
        assert!(other.get(&mut phone, "/").await.body.contains("signed in 2 times"));
        let copy = laptop.clone();
        assert_eq!(one.ask(&mut laptop, "POST", "/sign-out-everywhere", "").await.status, 303);
        for mut browser in [phone, copy] {
            assert_eq!(other.get(&mut browser, "/").await.location.as_deref(), Some("/sign-in"));
        }
        assert_eq!(one.get(&mut somebody, "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_session_of_tower_sessions_is_found_again_once_and_one_that_never_was_is_not() {
    // Written by tower-sessions-sqlx-store 0.15 itself.
    let written =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/from-tower-sessions/tower-sessions.db");
    let folder = TempDir::new().unwrap();
    let old = folder.path().join("tower-sessions.db");
    std::fs::copy(written, &old).unwrap();
    let rows = || -> u32 {
        let old = rusqlite::Connection::open(&old).unwrap();
        old.query_row("SELECT count(*) FROM tower_sessions", [], |row| row.get(0)).unwrap()
    };
    let moved = Example::start_with("from-tower-sessions", &[old.to_str().unwrap()]).await;
    let from_before = |id: &str| Browser { cookies: BTreeMap::from([("id".to_owned(), id.to_owned())]) };
    let says = async |browser: &mut Browser| -> serde_json::Value {
        serde_json::from_str(&moved.get(browser, "/").await.body).unwrap()
    };
    let nothing = serde_json::json!({ "user": null, "data": {} });
    let alice = kerria_core::UserId::from_number(1);

    let mut browser = from_before("AQAAAAAAAAAAAAAAAAAAAA");
    let hers = serde_json::json!({ "user": alice, "data": { "cart": ["book", "lamp"], "language": "de" } });
    for _ in 0..2 {
        assert_eq!(says(&mut browser).await, hers);
        assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["session"], "the old cookie is removed");
    }
    // Whoever is signed in stays who they are, whatever cookie is planted beside theirs.
    let copy =
        "INSERT INTO tower_sessions SELECT 'planted', data, expiry_date FROM tower_sessions WHERE id = ?1";
    rusqlite::Connection::open(&old).unwrap().execute(copy, ["_v___________________w"]).unwrap();
    browser.cookies.insert("id".to_owned(), "planted".to_owned());
    assert_eq!((says(&mut browser).await, rows()), (hers, 4));
    assert_eq!(says(&mut from_before("AQAAAAAAAAAAAAAAAAAAAA")).await, nothing, "a copy of the old cookie");
    moved.ask(&mut browser, "POST", "/sign-out", "").await;
    assert_eq!(says(&mut browser).await, nothing);

    let mut visitor = from_before("_v___________________w");
    let theirs = serde_json::json!({ "cart": ["map"], "nested": { "a": [1, 2.5, null, true], "größe": -7 } });
    // A key that is none here stays behind.
    assert_eq!(says(&mut visitor).await, serde_json::json!({ "user": null, "data": theirs }));

    let over = "AwAAAAAAAAAAAAAAAAAAAA";
    let empty = "-v__________________fw";
    for id in [over, empty, "AAAAAAAAAAAAAAAAAAAAAA", "'; DROP TABLE tower_sessions; --", "x", ""] {
        let mut stranger = from_before(id);
        assert_eq!(says(&mut stranger).await, nothing, "{id}");
        assert!(stranger.cookies.is_empty(), "{id} is removed, and nothing is in its place");
    }

    // A visitor of today may have a session of before.
    visitor.cookies.insert("id".to_owned(), "BAAAAAAAAAAAAAAAAAAAAA".to_owned());
    let both = visitor.clone();
    let (mut one, mut other) = (visitor, both);
    let (first, second) = tokio::join!(says(&mut one), says(&mut other));
    let signed_in = [&first, &second].iter().filter(|said| said["user"] == serde_json::json!(alice)).count();
    assert_eq!((signed_in, rows()), (1, 0), "one of two at once");
}
