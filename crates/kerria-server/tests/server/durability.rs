//! The real program, killed in the middle of its work, and with a disk that is full or cannot be written.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use hyper::StatusCode;
use serde_json::json;
use tokio::{process::Command, task::JoinSet};

use crate::{
    cast::{OPERATOR_TOKEN, PASSWORD},
    program::{Client, Program, command},
};

/// How often the program is killed. Each time hits another moment of its work.
const KILLS: u32 = 12;

/// Clients that work at the same time.
const CLIENTS: usize = 6;

/// What the server has acknowledged to one client, over all its lives.
#[derive(Default)]
struct Acknowledged {
    /// Tokens whose session stands, with the counter under it: what was acknowledged, and what may have been added.
    live: BTreeMap<String, Counter>,
    /// Tokens whose session was ended.
    ended: Vec<String>,
    /// Tokens whose end was asked for and not answered.
    unknown: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Counter {
    acknowledged: i64,
    possible: i64,
}

impl Acknowledged {
    /// Signs in, counts, signs out, over and over, until the server is gone.
    async fn work(mut self, client: Client, user: usize) -> Self {
        loop {
            let Some(token) = client.login(user).await else { return self };
            let session = client.with(&token);
            let counter = self.live.entry(token.clone()).or_default();
            for _ in 0..3 {
                counter.possible += 1;
                let Some((status, sum)) =
                    session.send("POST", "/api/v1/session/data/n", &json!({ "increment": 1 })).await
                else {
                    return self;
                };
                assert_eq!(status, StatusCode::OK);
                counter.acknowledged = sum.as_i64().unwrap();
            }
            if self.live.len().is_multiple_of(2) {
                continue;
            }
            self.live.remove(&token);
            match session.send("POST", "/api/v1/logout", &json!({})).await {
                Some((status, _)) => {
                    assert_eq!(status, StatusCode::NO_CONTENT);
                    self.ended.push(token);
                }
                None => {
                    self.unknown.push(token);
                    return self;
                }
            }
        }
    }

    /// Nothing that was acknowledged is lost, and nothing that ended is back.
    async fn check(&mut self, client: &Client) {
        for (token, counter) in &mut self.live {
            let session = client.with(token);
            assert_eq!(
                session.status("/api/v1/session").await,
                StatusCode::OK,
                "an acknowledged sign-in is lost"
            );
            let (status, sum) = session.send("GET", "/api/v1/session/data/n", &json!({})).await.unwrap();
            let sum = if status == StatusCode::OK { sum.as_i64().unwrap() } else { 0 };
            assert!(
                (counter.acknowledged..=counter.possible).contains(&sum),
                "an acknowledged write is lost"
            );
            *counter = Counter { acknowledged: sum, possible: sum };
        }
        // What was in flight is whole or absent; from now on it stays as it is.
        for token in std::mem::take(&mut self.unknown) {
            match client.with(&token).status("/api/v1/session").await {
                StatusCode::UNAUTHORIZED => self.ended.push(token),
                status => assert_eq!(status, StatusCode::OK),
            }
        }
        for token in &self.ended {
            let status = client.with(token).status("/api/v1/session").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "an ended session is back");
        }
    }

    fn operations(&self) -> usize {
        self.live.len() + self.ended.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_its_work_it_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<Acknowledged> = (0..CLIENTS).map(|_| Acknowledged::default()).collect();
    for round in 0..KILLS {
        let program = Program::start(folder.path()).await;
        if round == 0 {
            for user in 0..CLIENTS {
                let new = json!({ "name": format!("user{user}"), "password": PASSWORD });
                let (status, _) =
                    program.operator().send("POST", "/api/v1/operator/users", &new).await.unwrap();
                assert_eq!(status, StatusCode::CREATED);
            }
        }
        let client = program.client();
        for books in &mut acknowledged {
            books.check(&client).await;
        }
        let mut work = JoinSet::new();
        for (user, books) in acknowledged.drain(..).enumerate() {
            work.spawn(books.work(client.clone(), user));
        }
        // The moment moves with the round: after so many more sign-ins of somebody who only looks on.
        for _ in 0..=round {
            client.login(0).await.unwrap();
        }
        program.kill().await;
        acknowledged = work.join_all().await;
    }
    let program = Program::start(folder.path()).await;
    for books in &mut acknowledged {
        books.check(&program.client()).await;
    }
    let operations: usize = acknowledged.iter().map(Acknowledged::operations).sum();
    assert!(operations > KILLS as usize, "the clients have hardly worked: {operations}");
}

#[tokio::test]
async fn with_a_full_disk_it_says_so_keeps_checking_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // A small disk of its own, in a namespace of its own: no rights are needed for it, and nothing is left behind.
    let mount = format!("mount -t tmpfs -o size=4m disk '{0}' && cd '{0}' && exec \"$@\"", disk.display());
    let plain = command(&disk);
    let mut confined = Command::new("unshare");
    confined.args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh"]);
    confined.arg(plain.as_std().get_program()).args(plain.as_std().get_args());
    confined.env("KERRIA_OPERATOR_TOKEN", OPERATOR_TOKEN);
    let program = Program::spawn(confined).await;
    let new = json!({ "name": "user0", "password": PASSWORD });
    program.operator().send("POST", "/api/v1/operator/users", &new).await.unwrap();
    let client = program.client();
    let session = client.with(&client.login(0).await.unwrap());
    let other = client.with(&client.login(0).await.unwrap());

    let ballast = inside(&program, &disk).join("ballast");
    fill(&ballast);
    // The file has some room of its own; it is used up first.
    let login = json!({ "login": "user0", "password": PASSWORD, "transport": "bearer" });
    let mut acknowledged = Vec::new();
    let refused = loop {
        let (status, body) = client.send("POST", "/api/v1/login", &login).await.unwrap();
        if status != StatusCode::OK {
            break status;
        }
        acknowledged.push(body["token"].as_str().unwrap().to_owned());
    };
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    let logout = other.send("POST", "/api/v1/logout", &json!({})).await.unwrap().0;
    assert_eq!(logout, StatusCode::SERVICE_UNAVAILABLE, "a log-out that is not on disk is not acknowledged");
    assert_eq!(session.status("/api/v1/session").await, StatusCode::OK, "checks go on");
    assert_eq!(client.status("/sign-in").await, StatusCode::OK, "public pages go on");

    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(client.status("/health/ready").await, StatusCode::OK);
    assert!(client.login(0).await.is_some());
    for token in &acknowledged {
        assert_eq!(client.with(token).status("/api/v1/session").await, StatusCode::OK);
    }
    assert_eq!(other.send("POST", "/api/v1/logout", &json!({})).await.unwrap().0, StatusCode::NO_CONTENT);
    assert_eq!(other.status("/api/v1/session").await, StatusCode::UNAUTHORIZED);
    program.kill().await;
}

/// The folder as the program sees it, from outside of its namespace.
fn inside(program: &Program, folder: &Path) -> PathBuf {
    let process = program.id();
    PathBuf::from(format!("/proc/{process}/root{}", folder.display()))
}

/// Writes until there is no more space.
fn fill(path: &Path) {
    use std::io::Write;

    let mut file = std::fs::File::create(path).unwrap();
    for size in [64 * 1024, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}

#[tokio::test]
async fn a_second_program_on_the_same_folder_is_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Program::start(folder.path()).await;
    let second = command(folder.path()).output().await.unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another Kerria process is using"), "{said}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "a file where the folder should be").unwrap();
    let refused = command(folder.path()).output().await.unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("data") && said.contains("data_dir"), "{said}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/kerria.db");
    Program::start(folder.path()).await.kill().await;
    for leftover in ["data/kerria.db-wal", "data/kerria.db-shm"] {
        drop(std::fs::remove_file(folder.path().join(leftover)));
    }
    let damaged = vec![b'x'; 8_192];
    std::fs::write(&file, &damaged).unwrap();
    let refused = command(folder.path()).output().await.unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("kerria.db"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
}
