//! Nodes that are replaced one by one, by a newer program or by the same one, while people work; and a node on the schema of a newer
//! program.
//!
//! `OLDER_KERRIA` names an older program; without it, the present one plays both parts. `scripts/rolling-upgrade` builds one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use hyper::StatusCode;
use kerria::Stopwatch;
use kerria_store::testing::{TestRedis, TestServer};
use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet, task::spawn_blocking, time::sleep};

use super::installation::{Cluster, Node, SESSION, SOON, until};
use crate::{cast::PASSWORD, program::Answered};

/// Names an older program.
const VARIABLE: &str = "OLDER_KERRIA";

const NODES: usize = 3;
const PEOPLE: usize = 4;

/// How many sessions are open all the time.
const OPEN: usize = 12;

/// How many sessions are opened and ended between one change of a node and the next.
const BETWEEN: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_replaced_one_by_one_and_nobody_notices() {
    nobody_notices(Cluster::prepare(&TestServer::shared(), None, None, NODES)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_redis_nodes_are_replaced_one_by_one_and_nobody_notices() {
    let knows_redis = Command::new(older()).args(["config", "explain", "redis.url"]).output().await.unwrap();
    if !knows_redis.status.success() {
        println!("the older program knows no Redis: nothing was played");
        return;
    }
    let redis = spawn_blocking(TestRedis::start).await.unwrap();
    nobody_notices(Cluster::prepare(&TestServer::shared(), None, Some(&redis), NODES)).await;
}

fn older() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| env!("CARGO_BIN_EXE_kerria").into(), PathBuf::from)
}

/// From three old nodes to three new ones. On the way an old one starts again beside a new one, and a new one gives way to an old one.
#[expect(
    clippy::print_stdout,
    reason = "whoever plays against an older program wants to know what was played"
)]
async fn nobody_notices(cluster: Cluster) {
    let older = older();
    let is_older = older != Path::new(env!("CARGO_BIN_EXE_kerria"));
    for node in &cluster.nodes {
        assert_eq!(node.try_start_of(&older).await, Ok(()));
    }
    cluster.users(PEOPLE).await;
    let play = Arc::new(Play { cluster, is_over: AtomicBool::new(false), ended: AtomicUsize::new(0) });
    let [first, second, third] = &play.cluster.nodes[..] else { unreachable!() };
    let mut open = Vec::new();
    for number in 0..OPEN {
        open.push(play.cluster.nodes[number % NODES].sign_in(number % PEOPLE).await);
    }
    let mut work = JoinSet::new();
    for person in 0..PEOPLE {
        work.spawn(Arc::clone(&play).sign_in_and_out(person));
    }
    work.spawn(Arc::clone(&play).refresh());
    work.spawn(Arc::clone(&play).look_at(open.clone()));

    play.goes_on().await;
    replaced(first, None).await.unwrap();
    play.goes_on().await;
    // In the middle of an upgrade, a machine may fail whose turn has not come; and one may be taken back.
    let comes_back = replaced(second, Some(&older)).await;
    if let Err(log) = &comes_back {
        assert!(is_older && log.contains("knows versions up to"), "{log}");
        println!(
            "an old node does not start on the new schema, as programs did not before they looked who can work on it"
        );
        second.start().await;
    }
    play.goes_on().await;
    if comes_back.is_ok() {
        replaced(first, Some(&older)).await.unwrap();
        play.goes_on().await;
        replaced(first, None).await.unwrap();
        play.goes_on().await;
        replaced(second, None).await.unwrap();
        play.goes_on().await;
    }
    replaced(third, None).await.unwrap();
    play.goes_on().await;
    play.is_over.store(true, SeqCst);
    work.join_all().await;
    for session in &open {
        play.cluster.is_good_everywhere(session).await;
        first.sign_out(session).await;
        play.cluster.is_refused_everywhere(session).await;
    }
    println!("{} sessions were opened and ended meanwhile", play.ended.load(SeqCst));
}

/// Stops a node in good order, and starts this program in its place, or the present one.
async fn replaced(node: &Node, by: Option<&PathBuf>) -> Result<(), String> {
    node.stop().await;
    match by {
        Some(program) => node.try_start_of(program).await,
        None => node.try_start().await,
    }
}

struct Play {
    cluster: Cluster,
    is_over: AtomicBool,
    /// How many sessions were opened and ended.
    ended: AtomicUsize,
}

impl Play {
    fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    /// Waits until people have done something with the nodes as they are now.
    async fn goes_on(&self) {
        let before = self.ended.load(SeqCst);
        until("people go on", async || self.ended.load(SeqCst) >= before + BETWEEN).await;
    }

    /// What this node answers, if it is there. One that is not about to stop always answers.
    async fn ask_at(
        &self,
        node: usize,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Option<Answered> {
        let node = &self.cluster.nodes[node % NODES];
        let client = node.client_if_it_runs()?;
        let client = token.map_or_else(|| client.clone(), |token| client.with(token));
        let answer = client.ask(method, path, body).await;
        assert!(answer.is_some() || node.client_if_it_runs().is_none(), "{method} {path}: no answer");
        answer
    }

    /// What the first node answers that is there, as a load balancer passes it on.
    async fn ask(
        &self,
        first: usize,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answered {
        for node in first..first + NODES {
            if let Some(answer) = self.ask_at(node, token, method, path, body).await {
                return answer;
            }
        }
        panic!("nobody answers");
    }

    /// The session of this token is said to be this by every node that is there.
    async fn everywhere(&self, token: &str, expected: StatusCode) {
        let asked = (0..NODES).map(async |node| {
            let answer = self.ask_at(node, Some(token), "GET", SESSION, &json!({})).await;
            answer.map_or(expected, |answer| answer.status)
        });
        assert_eq!(join_all(asked).await, [expected; NODES]);
    }

    async fn sign_in_and_out(self: Arc<Self>, person: usize) {
        let login = json!({ "login": format!("user{person}"), "password": PASSWORD, "transport": "bearer" });
        for turn in person.. {
            if self.is_over() {
                break;
            }
            let opened = self.ask(turn, None, "POST", "/api/v1/login", &login).await;
            assert_eq!(opened.status, StatusCode::OK, "{}", opened.text);
            let token = opened.json()["token"].as_str().unwrap().to_owned();
            self.everywhere(&token, StatusCode::OK).await;
            let watch = Stopwatch::start();
            let out = self.ask(turn + 1, Some(&token), "POST", "/api/v1/logout", &json!({})).await;
            assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.text);
            let took = watch.elapsed();
            assert!(took < SOON, "{took:?}");
            self.everywhere(&token, StatusCode::UNAUTHORIZED).await;
            self.ended.fetch_add(1, SeqCst);
        }
    }

    /// One session in tokens, of which each use buys the next ones, at one node after the other.
    async fn refresh(self: Arc<Self>) {
        let login = json!({ "login": "user0", "password": PASSWORD, "transport": "tokens" });
        let mut held = self.ask(0, None, "POST", "/api/v1/login", &login).await;
        for turn in 0.. {
            assert_eq!(held.status, StatusCode::OK, "{}", held.text);
            if self.is_over() {
                break;
            }
            let tokens = held.json();
            self.everywhere(tokens["access_token"].as_str().unwrap(), StatusCode::OK).await;
            let refresh = json!({ "refresh_token": tokens["refresh_token"] });
            held = self.ask(turn, None, "POST", "/api/v1/session/refresh", &refresh).await;
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Those who are signed in stay so, and what they have put into their sessions is there.
    async fn look_at(self: Arc<Self>, open: Vec<String>) {
        for turn in 0.. {
            if self.is_over() {
                break;
            }
            let token = &open[turn % open.len()];
            self.everywhere(token, StatusCode::OK).await;
            let put = self.ask(turn, Some(token), "PUT", "/api/v1/session/data/turn", &json!(turn)).await;
            assert!(put.status.is_success(), "{}", put.text);
            let got = self.ask(turn + 1, Some(token), "GET", "/api/v1/session/data/turn", &json!({})).await;
            assert_eq!((got.status, got.json()), (StatusCode::OK, json!(turn)), "{}", got.text);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_works_on_a_schema_that_a_newer_program_has_only_added_to() {
    let cluster = Cluster::start(2).await;
    cluster.users(1).await;
    let [here, there] = &cluster.nodes[..] else { unreachable!() };
    let before = here.sign_in(0).await;
    cluster.run_sql(
        "ALTER TABLE session ADD COLUMN colour TEXT; ALTER TABLE account ADD COLUMN motto TEXT; \
         ALTER TABLE log ADD COLUMN reason TEXT; ALTER TABLE ledger ADD COLUMN address TEXT; \
         CREATE TABLE ring (session_id BYTEA NOT NULL PRIMARY KEY, finger SMALLINT NOT NULL); \
         UPDATE kerria_schema SET version = version + 1",
    );
    // It was running, and it starts again, beside one that was running.
    for _ in 0..2 {
        cluster.is_good_everywhere(&before).await;
        for node in &cluster.nodes {
            let session = node.sign_in(0).await;
            cluster.is_good_everywhere(&session).await;
            there.sign_out(&session).await;
            cluster.is_refused_everywhere(&session).await;
        }
        here.stop().await;
        here.start().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_refuses_a_schema_that_it_cannot_work_on_and_says_why() {
    let cluster = Cluster::start(2).await;
    let [runs, restarts] = &cluster.nodes[..] else { unreachable!() };
    cluster.run_sql(
        "ALTER TABLE session RENAME COLUMN user_agent TO browser; UPDATE kerria_schema SET version = 7, oldest = 6",
    );
    restarts.stop().await;
    let refused = restarts.try_start().await.unwrap_err();
    let says = "has schema version 7, on which programs can work that know version 6 or a later one, and this program knows";
    assert!(refused.contains(says), "{refused}");
    assert!(refused.contains("run a newer Kerria"), "{refused}");
    assert_eq!(runs.client().status("/health/live").await, StatusCode::OK);
}
