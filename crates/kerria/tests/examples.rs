//! The examples, as programs that are asked over TCP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{path::Path, process::Stdio};

use kerria_store::testing::TestDatabase;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// An example that runs, and is killed when this is dropped.
struct Example {
    address: String,
    _child: Child,
    _folder: TempDir,
}

#[derive(Default)]
struct Browser {
    cookie: Option<String>,
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
                return Self { address: address.to_owned(), _child: child, _folder: folder };
            }
        }
    }

    async fn ask(&self, browser: &mut Browser, method: &str, path: &str, form: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let cookie = browser.cookie.as_ref().map(|cookie| format!("Cookie: session={cookie}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n{}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            cookie.unwrap_or_default(),
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        if let Some(set) = header("set-cookie") {
            let value = set.strip_prefix("session=").unwrap().split(';').next().unwrap();
            browser.cookie = (!value.is_empty()).then(|| value.to_owned());
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, location: header("location"), body: body.to_owned() }
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
        let copy = Browser { cookie: laptop.cookie.clone() };
        assert_eq!(one.ask(&mut laptop, "POST", "/sign-out-everywhere", "").await.status, 303);
        for mut browser in [phone, copy] {
            assert_eq!(other.get(&mut browser, "/").await.location.as_deref(), Some("/sign-in"));
        }
        assert_eq!(one.get(&mut somebody, "/").await.status, 200);
    }
}
