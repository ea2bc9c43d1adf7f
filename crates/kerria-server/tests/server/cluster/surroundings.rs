//! What surrounds the nodes: a clock that jumps, and a disk that is full.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{Method, StatusCode};
use kerria_store::testing::TestServer;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{
    installation::{Cluster, Node, SESSION, SOON, until},
    succeeds,
};
use crate::cast::PASSWORD;

/// In seconds: there, back, and back to the true time.
const JUMPS: [i64; 3] = [600, -600, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_at_one_node_makes_nothing_good_that_was_ended() {
    let cluster = Cluster::prepare(&TestServer::shared(), None, None, 3);
    let [here, jumps, there] = &cluster.nodes[..] else { unreachable!() };
    here.start().await;
    let clock = MovedClock::in_folder(jumps.folder());
    assert_eq!(jumps.try_start_of(&clock.program).await, Ok(()));
    there.start().await;
    cluster.users(1).await;
    let stays = jumps.sign_in(0).await;
    for jump in JUMPS {
        let late = [here.late().await, jumps.late().await];
        let access = tokens(there).await;
        clock.shows(jump);
        until("its clock has jumped", async || {
            let ahead = opened_at(jumps).await - opened_at(here).await;
            (ahead - jump * 1000).abs() < 30_000
        })
        .await;
        // Leases compare no clocks, and what came first is told by numbers.
        for (one, other) in [(here, jumps), (jumps, here), (jumps, jumps), (there, here)] {
            let session = one.sign_in(0).await;
            cluster.is_good_everywhere(&session).await;
            let took = other.sign_out(&session).await;
            assert!(took < SOON, "{took:?}");
            cluster.is_refused_everywhere(&session).await;

            let access = tokens(one).await;
            one.sign_out(&access).await;
            cluster.is_refused_everywhere(&access).await;
        }
        assert_eq!([here.late().await, jumps.late().await], late, "nobody's lease was waited for");
        cluster.is_good_everywhere(&stays).await;
        // Times of the wall clock are what limits are about, and each node goes by its own: there, this one is over, or not yet issued.
        let is_over = if jump == 0 { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(
            cluster.everywhere(&access).await,
            [StatusCode::OK, is_over, StatusCode::OK],
            "{jump} seconds"
        );
        succeeds(there, &access, Method::GET, SESSION, json!({})).await;
    }
    // Everything of the user, whatever clock has seen it begin.
    clock.shows(600);
    let ahead = jumps.sign_in(0).await;
    let behind = here.sign_in(0).await;
    succeeds(here, &behind, Method::DELETE, "/api/v1/sessions?scope=all", json!({})).await;
    for session in [&stays, &ahead, &behind] {
        cluster.is_refused_everywhere(session).await;
    }
}

async fn tokens(node: &Node) -> String {
    node.sign_in_by("tokens", 0).await.json()["access_token"].as_str().unwrap().to_owned()
}

/// When a session that is opened now is said to have been opened, in milliseconds.
async fn opened_at(node: &Node) -> i64 {
    let session = node.sign_in(0).await;
    let answer = succeeds(node, &session, Method::GET, SESSION, json!({})).await;
    node.sign_out(&session).await;
    milliseconds(&answer["opened_at"])
}

fn milliseconds(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// The program, with a clock that shows what it is told to.
struct MovedClock {
    program: PathBuf,
    shown: PathBuf,
}

impl MovedClock {
    /// The clock on the wall alone: time that passes goes on as it does.
    fn in_folder(folder: &Path) -> Self {
        let (program, shown) = (folder.join("kerria"), folder.join("clock"));
        let (library, shows) = (library().display().to_string(), shown.display());
        let script = format!(
            "#!/bin/sh\nexport LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={shows} FAKETIME_NO_CACHE=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1\nexec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_kerria")
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let clock = Self { program, shown };
        clock.shows(0);
        clock
    }

    /// So many seconds before or after what is true.
    fn shows(&self, seconds: i64) {
        let new = self.shown.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(new, &self.shown).unwrap();
    }
}

/// Where Debian has libfaketime.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let mut found =
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("the package faketime is installed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_of_the_database_is_full_no_end_is_acknowledged_that_is_none() {
    let server = Arc::new(spawn_blocking(TestServer::start_on_a_small_disk).await.unwrap());
    let cluster = Cluster::start_on(&server, 2).await;
    cluster.users(1).await;
    let [here, there] = &cluster.nodes[..] else { unreachable!() };
    let stays = here.sign_in(0).await;
    let mut to_end = Vec::new();
    for _ in 0..6 {
        to_end.push(there.sign_in(0).await);
    }
    for session in &to_end {
        cluster.is_good_everywhere(session).await;
    }

    server.fill_the_disk();
    // Tables have some room of their own; it is used up first.
    let login = json!({ "login": "user0", "password": PASSWORD, "transport": "bearer" });
    let mut opened = Vec::new();
    until("there is no room for another session", async || {
        let (status, body) = here.client().send("POST", "/api/v1/login", &login).await.unwrap();
        if status == StatusCode::OK {
            opened.push(body["token"].as_str().unwrap().to_owned());
        }
        assert!(matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE), "{status}: {body}");
        status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let mut unknown = Vec::new();
    for session in to_end {
        let (status, body) =
            there.client().with(&session).send("POST", "/api/v1/logout", &json!({})).await.unwrap();
        match status {
            StatusCode::NO_CONTENT => cluster.is_refused_everywhere(&session).await,
            StatusCode::SERVICE_UNAVAILABLE => unknown.push(session),
            other => panic!("{other}: {body}"),
        }
    }
    for node in &cluster.nodes {
        assert_eq!(node.client().status("/sign-in").await, StatusCode::OK, "public pages go on");
        let checked = node.check(&stays).await;
        assert!(matches!(checked, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE), "{checked}");
    }

    server.free_the_disk();
    for node in &cluster.nodes {
        let is_ready = async || node.client().status("/health/ready").await == StatusCode::OK;
        tokio::time::timeout(Duration::from_secs(10), until("it goes on by itself", is_ready)).await.unwrap();
    }
    for session in opened.iter().chain([&stays]) {
        cluster.is_good_everywhere(session).await;
    }
    for session in unknown.iter().chain([&stays]) {
        here.sign_out(session).await;
        cluster.is_refused_everywhere(session).await;
    }
    let session = there.sign_in(0).await;
    cluster.is_good_everywhere(&session).await;
}
