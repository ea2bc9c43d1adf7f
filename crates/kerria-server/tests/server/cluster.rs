//! Several nodes that share a database: what was ended is accepted by none of them, whatever breaks.
//!
//! Each drill has seen the code broken in the way that it is about.

mod history;
pub mod installation;
mod redis;
mod surroundings;
mod upgrade;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use hyper::{Method, StatusCode, header};
use kerria::Stopwatch;
use kerria_store::testing::{Cable, TestServer};
use serde_json::{Value, json};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::cast::{OTHER_PASSWORD, PASSWORD};
use installation::{Cluster, Node, PATIENCE, SESSION, SOON, until};

/// How often a session is ended that all nodes have in memory. A broadcast that nobody waits for is quick, too.
const ROUNDS: usize = 120;

/// How often one is ended in each of the rarer ways.
const FEW: usize = 15;

/// A lease has to be over, so it was waited for: this long at least.
const MOST_OF_A_LEASE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_at_one_node_is_refused_by_all_once_it_is_answered() {
    a_sign_out_is_true_everywhere(&Cluster::start(3).await).await;
}

async fn a_sign_out_is_true_everywhere(cluster: &Cluster) {
    cluster.users(1).await;
    for round in 0..ROUNDS {
        let session = cluster.nodes[(round + 1) % 3].sign_in(0).await;
        cluster.is_good_everywhere(&session).await;
        cluster.nodes[round % 3].sign_out(&session).await;
        cluster.is_refused_everywhere(&session).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_way_to_end_a_session_is_as_true() {
    every_other_end_is_as_true(&Cluster::start(3).await).await;
}

async fn every_other_end_is_as_true(cluster: &Cluster) {
    cluster.users(2).await;
    let user = cluster.nodes[0].operator().send("GET", "/api/v1/operator/users/user0", &json!({})).await;
    let user = user.unwrap().1["id"].as_str().unwrap().to_owned();
    let mut passwords = [PASSWORD, OTHER_PASSWORD];
    for round in 0..FEW {
        let node = &cluster.nodes[round % 3];
        let one = cluster.nodes[(round + 1) % 3].sign_in(0).await;
        let other = node.sign_in(0).await;
        warm(cluster, [&one, &other]).await;
        succeeds(node, &one, Method::DELETE, "/api/v1/sessions?scope=all", json!({})).await;
        refused(cluster, [&one, &other]).await;

        let ended = node.sign_in(0).await;
        cluster.is_good_everywhere(&ended).await;
        let revocation = json!({ "selector": { "kind": "user", "user": user } });
        let revoked = node.operator().send("POST", "/api/v1/operator/revocations", &revocation).await;
        assert_eq!(revoked.unwrap().0, StatusCode::OK);
        cluster.is_refused_everywhere(&ended).await;

        let tokens = node.sign_in_by("tokens", 0).await.json();
        let access = tokens["access_token"].as_str().unwrap();
        cluster.is_good_everywhere(access).await;
        node.sign_out(access).await;
        cluster.is_refused_everywhere(access).await;

        // The other user's, so that the first one may sign in as ever.
        let login = json!({ "login": "user1", "password": passwords[0], "transport": "bearer" });
        let mut both = Vec::new();
        for _ in 0..2 {
            let (status, body) = node.client().send("POST", "/api/v1/login", &login).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{body}");
            both.push(body["token"].as_str().unwrap().to_owned());
        }
        warm(cluster, [&both[0], &both[1]]).await;
        let change = json!({ "current_password": passwords[0], "new_password": passwords[1] });
        let changed = succeeds(node, &both[0], Method::PUT, "/api/v1/password", change).await;
        refused(cluster, [&both[0], &both[1]]).await;
        cluster.is_good_everywhere(changed["token"].as_str().unwrap()).await;
        passwords.swap(0, 1);
    }
}

async fn warm(cluster: &Cluster, tokens: [&str; 2]) {
    join_all(tokens.map(|token| cluster.is_good_everywhere(token))).await;
}

async fn refused(cluster: &Cluster, tokens: [&str; 2]) {
    join_all(tokens.map(|token| cluster.is_refused_everywhere(token))).await;
}

async fn succeeds(node: &Node, token: &str, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = node.client().with(token).send(method.as_str(), path, &body).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_does_not_answer_from_old_memory() {
    old_memory_does_not_answer(&Cluster::start(2).await).await;
}

async fn old_memory_does_not_answer(cluster: &Cluster) {
    cluster.users(1).await;
    let [here, still] = &cluster.nodes[..] else { unreachable!() };
    for _ in 0..4 {
        let session = here.sign_in(0).await;
        cluster.is_good_everywhere(&session).await;
        cluster.stand_still_between_steps(still).await;
        let mut asked: JoinSet<Option<StatusCode>> = JoinSet::new();
        ask_in_vain(&mut asked, still, &session);
        let took = here.sign_out(&session).await;
        assert!((MOST_OF_A_LEASE..SOON).contains(&took), "a lease was waited for: {took:?}");
        ask_in_vain(&mut asked, still, &session);
        still.go_on();
        for _ in 0..20 {
            assert_ne!(still.check(&session).await, StatusCode::OK, "from old memory");
        }
        for answered in asked.join_all().await {
            assert_ne!(answered.expect("it is answered"), StatusCode::OK, "from old memory");
        }
        until("it renews its lease", async || {
            let recent = here.sign_in(0).await;
            still.check(&recent).await == StatusCode::OK
        })
        .await;
        assert_eq!(still.check(&session).await, StatusCode::UNAUTHORIZED);
    }
}

/// Sends requests to a node that will read them when it goes on.
fn ask_in_vain(asked: &mut JoinSet<Option<StatusCode>>, node: &Node, token: &str) {
    for _ in 0..8 {
        let client = node.client().with(token);
        asked.spawn(async move { client.send("GET", SESSION, &json!({})).await.map(|(status, _)| status) });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_somebody_else_has_begun_is_waited_for_too() {
    let cluster = Cluster::start(3).await;
    cluster.users(1).await;
    let [first, second, still] = &cluster.nodes[..] else { unreachable!() };
    let user = first.operator().send("GET", "/api/v1/operator/users/user0", &json!({})).await;
    let user = user.unwrap().1["id"].as_str().unwrap().to_owned();
    for by_operator in [false, true, false, true] {
        let session = first.sign_in(0).await;
        cluster.is_good_everywhere(&session).await;
        cluster.stand_still_between_steps(still).await;
        // It is committed, and waits for the one that stands still.
        let ending = {
            let client = first.client().with(&session);
            tokio::spawn(async move { client.send("POST", "/api/v1/logout", &json!({})).await })
        };
        until("the second node has heard", async || second.check(&session).await != StatusCode::OK).await;
        if by_operator {
            let revocation = json!({ "selector": { "kind": "user", "user": user } });
            let revoked = second.operator().send("POST", "/api/v1/operator/revocations", &revocation).await;
            assert_eq!(revoked.unwrap().0, StatusCode::OK);
        } else {
            second.sign_out(&session).await;
        }
        still.go_on();
        assert_ne!(still.check(&session).await, StatusCode::OK, "its end was answered");
        assert_eq!(ending.await.unwrap().unwrap().0, StatusCode::NO_CONTENT);
        until("it goes on", async || still.check(&session).await == StatusCode::UNAUTHORIZED).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_waits_for_the_store_alone_is_true_at_its_node_at_once_and_elsewhere_soon() {
    let cluster = Cluster::start(3).await;
    cluster.users(1).await;
    let [here, there, still] = &cluster.nodes[..] else { unreachable!() };
    for round in 0..=FEW {
        let session = here.sign_in(0).await;
        cluster.is_good_everywhere(&session).await;
        let stands_still = round == FEW;
        if stands_still {
            cluster.stand_still_between_steps(still).await;
        }
        let watch = Stopwatch::start();
        let client = here.client().with(&session);
        let (status, _) = client.send("POST", "/api/v1/logout?wait=store", &json!({})).await.unwrap();
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(
            here.check(&session).await,
            StatusCode::UNAUTHORIZED,
            "this node has answered it as ended"
        );
        assert!(watch.elapsed() < MOST_OF_A_LEASE, "nobody's lease is waited for: {:?}", watch.elapsed());
        until("another one hears of it", async || there.check(&session).await == StatusCode::UNAUTHORIZED)
            .await;
        if stands_still {
            still.go_on();
        }
        until("the last one, too", async || still.check(&session).await == StatusCode::UNAUTHORIZED).await;
        assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_lost_is_not_taken_for_an_empty_one() {
    let cluster = Cluster::start(2).await;
    cluster.users(1).await;
    let [here, still] = &cluster.nodes[..] else { unreachable!() };
    for _ in 0..3 {
        let session = here.sign_in(0).await;
        cluster.is_good_everywhere(&session).await;
        cluster.stand_still_between_steps(still).await;
        cluster.lose_the_ledger();
        let took = here.sign_out(&session).await;
        still.go_on();
        assert_ne!(still.check(&session).await, StatusCode::OK, "its lease was still running");
        assert!((MOST_OF_A_LEASE..SOON).contains(&took), "a lease was waited for: {took:?}");
        until("it goes on", async || still.check(&session).await == StatusCode::UNAUTHORIZED).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_killed_costs_one_lease_once() {
    let cluster = Cluster::start(2).await;
    cluster.users(1).await;
    let [here, killed] = &cluster.nodes[..] else { unreachable!() };
    let session = here.sign_in(0).await;
    cluster.is_good_everywhere(&session).await;
    killed.kill().await;
    let took = here.sign_out(&session).await;
    assert!((MOST_OF_A_LEASE..SOON).contains(&took), "a lease was waited for: {took:?}");
    let late = here.late().await;
    assert!(late <= 1, "{late} leases");
    nobody_is_waited_for(here, late).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_in_good_order_is_waited_for_by_nobody() {
    let cluster = Cluster::start(2).await;
    cluster.users(1).await;
    let [here, stopped] = &cluster.nodes[..] else { unreachable!() };
    for _ in 0..3 {
        let session = here.sign_in(0).await;
        cluster.is_good_everywhere(&session).await;
        stopped.stop().await;
        here.sign_out(&session).await;
        nobody_is_waited_for(here, 0).await;
        stopped.start().await;
    }
}

/// Signs out often, without waiting for a lease once more.
async fn nobody_is_waited_for(node: &Node, late: u64) {
    let watch = Stopwatch::start();
    for _ in 0..20 {
        let session = node.sign_in(0).await;
        node.sign_out(&session).await;
        assert_eq!(node.check(&session).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(node.late().await, late);
    assert!(watch.elapsed() < Duration::from_secs(15), "{:?}", watch.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_from_the_database_refuses_instead_of_guessing() {
    refuses_behind(&Cluster::start(2).await, Cable::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_database_keeps_silent_refuses_instead_of_guessing() {
    refuses_behind(&Cluster::start(2).await, Cable::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_no_answers_of_its_database_refuses_instead_of_guessing() {
    refuses_behind(&Cluster::start(2).await, Cable::OneWay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_makes_a_node_slow_and_nothing_else() {
    // With the first, a lease can be held; with the second, it is over before it has begun.
    const SLOW: [Duration; 2] = [Duration::from_millis(40), Duration::from_millis(600)];
    let cluster = Cluster::start(2).await;
    cluster.users(1).await;
    let [quick, slow] = &cluster.nodes[..] else { unreachable!() };
    for delay in SLOW {
        slow.cable(Cable::Slow(delay));
        for _ in 0..4 {
            let session = quick.sign_in(0).await;
            cluster.is_good_everywhere(&session).await;
            let took = quick.sign_out(&session).await;
            assert!(took < SOON, "{took:?}");
            cluster.is_refused_everywhere(&session).await;
        }
    }
    slow.cable(Cable::Whole);
    until("it holds a lease again", async || {
        let (session, late) = (slow.sign_in(0).await, quick.late().await);
        quick.sign_out(&session).await;
        cluster.is_refused_everywhere(&session).await;
        quick.late().await == late
    })
    .await;
}

/// Behind a broken cable to the sessions.
async fn refuses_behind(cluster: &Cluster, cable: Cable) {
    cluster.users(1).await;
    let [here, cut] = &cluster.nodes[..] else { unreachable!() };
    let signed_in = here.sign_in_by("cookie", 0).await;
    let cookies = signed_in.headers.get_all(header::SET_COOKIE).iter();
    let cookie = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next()).collect::<Vec<_>>();
    let cookie = cookie.into_iter().find(|cookie| cookie.starts_with("kerria=")).unwrap();
    let visitor = cut.client().with_cookie(cookie);
    assert_eq!(visitor.status(SESSION).await, StatusCode::OK);
    let session = here.sign_in(0).await;
    cluster.is_good_everywhere(&session).await;

    cluster.is_quiet().await;
    cut.cable_to_sessions(cable);
    let is_answered = AtomicBool::new(false);
    let ending = async {
        let took = here.sign_out(&session).await;
        is_answered.store(true, SeqCst);
        assert!((MOST_OF_A_LEASE..SOON).contains(&took), "a lease was waited for: {took:?}");
    };
    let checking = async {
        while !is_answered.load(SeqCst) {
            let waits = timeout(Duration::from_millis(100), cut.check(&session)).await;
            let after = is_answered.load(SeqCst);
            match waits {
                Ok(StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE) | Err(_) => {}
                Ok(other) => panic!("it cannot know: {other} (after the end: {after})"),
            }
        }
    };
    tokio::join!(ending, checking);

    let watch = Stopwatch::start();
    let asked = (0..3).map(async |_| {
        let protected = [SESSION, "/api/v1/sessions", "/account"].map(async |path| {
            let answer = visitor.ask("GET", path, &json!({})).await.unwrap();
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", answer.text);
            assert!(!answer.headers.contains_key(header::SET_COOKIE), "{path}: nobody is signed out");
        });
        let public = ["/sign-in", "/health/live", "/assets/kerria.css"].map(async |path| {
            assert_eq!(visitor.status(path).await, StatusCode::OK, "{path}");
            assert_eq!(cut.client().status(path).await, StatusCode::OK, "{path}");
        });
        join_all(protected).await;
        join_all(public).await;
        assert_eq!(cut.check(&session).await, StatusCode::SERVICE_UNAVAILABLE);
    });
    join_all(asked).await;
    assert!(watch.elapsed() < PATIENCE, "{:?}", watch.elapsed());

    cut.cable_to_sessions(Cable::Whole);
    until("it recovers by itself", async || {
        assert_ne!(cut.check(&session).await, StatusCode::OK, "it was ended");
        visitor.status(SESSION).await == StatusCode::OK
    })
    .await;
    until("it knows", async || match cut.check(&session).await {
        StatusCode::UNAUTHORIZED => true,
        status => {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "it was ended");
            false
        }
    })
    .await;
    until("it holds a lease", async || {
        let late = here.late().await;
        // Its memory may answer a moment before the store is asked again.
        let Some(another) = cut.client().login_if_it_can(0).await else { return false };
        cluster.is_good_everywhere(&another).await;
        here.sign_out(&another).await;
        cluster.is_refused_everywhere(&another).await;
        here.late().await == late
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_one_node_resets_are_not_used_by_the_others() {
    let cluster = Cluster::start(2).await;
    cluster.users(1).await;
    let [here, there] = &cluster.nodes[..] else { unreachable!() };
    for _ in 0..3 {
        let old = [access_token(here).await, access_token(there).await];
        for token in &old {
            cluster.is_good_everywhere(token).await;
        }
        here.run("keys rotate --revoke --yes").await;
        for token in &old {
            cluster.is_refused_everywhere(token).await;
        }
        let new = access_token(here).await;
        let watch = Stopwatch::start();
        until("the other node accepts it", async || there.check(&new).await == StatusCode::OK).await;
        assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
        until("the other node signs with a key that this one publishes", async || {
            let theirs = access_token(there).await;
            let is_published = key_ids(here).await.contains(&key_id(&theirs));
            let is_accepted = here.check(&theirs).await == StatusCode::OK;
            assert_eq!(is_published, is_accepted);
            is_accepted
        })
        .await;
        assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
        assert_eq!(key_ids(here).await, key_ids(there).await);
        for token in &old {
            cluster.is_refused_everywhere(token).await;
        }
    }
}

async fn access_token(node: &Node) -> String {
    node.sign_in_by("tokens", 0).await.json()["access_token"].as_str().unwrap().to_owned()
}

/// By which key a token is signed.
fn key_id(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// The keys that a node publishes.
async fn key_ids(node: &Node) -> Vec<String> {
    let (_, set) = node.client().send("GET", "/.well-known/jwks.json", &json!({})).await.unwrap();
    let keys = set["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// What was acknowledged to one who signs in and out all the time.
#[derive(Default)]
struct Books {
    live: Vec<String>,
    ended: Vec<String>,
}

impl Books {
    /// Signs in and out, at one node after the other, until it is told to stop.
    async fn work(
        mut self,
        cluster: Arc<Cluster>,
        user: usize,
        stop: Arc<AtomicBool>,
        done: Arc<AtomicUsize>,
    ) -> Self {
        for turn in user.. {
            if stop.load(SeqCst) {
                break;
            }
            let node = |further: usize| &cluster.nodes[(turn + further) % cluster.nodes.len()];
            let login =
                json!({ "login": format!("user{user}"), "password": PASSWORD, "transport": "bearer" });
            let (status, body) = node(0).client().send("POST", "/api/v1/login", &login).await.unwrap();
            if status != StatusCode::OK {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                // A server that is not there refuses at once.
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            let token = body["token"].as_str().unwrap().to_owned();
            let checked = cluster.everywhere(&token).await;
            assert!(!checked.contains(&StatusCode::UNAUTHORIZED), "a sign-in is lost: {checked:?}");
            if turn % 4 == 0 {
                self.live.push(token);
                continue;
            }
            let session = node(1).client().with(&token);
            let (status, body) = session.send("POST", "/api/v1/logout", &json!({})).await.unwrap();
            if status != StatusCode::NO_CONTENT {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
                continue;
            }
            let checked = cluster.everywhere(&token).await;
            assert!(!checked.contains(&StatusCode::OK), "what was ended is accepted: {checked:?}");
            self.ended.push(token);
            done.fetch_add(1, SeqCst);
        }
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_restarts_under_load() {
    let server = Arc::new(spawn_blocking(TestServer::start).await.unwrap());
    let cluster = Cluster::start_on(&server, 3).await;
    nothing_acknowledged_is_lost(cluster, 2, move || {
        server.stop();
        server.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_fails_over_to_its_standby_under_load() {
    let starting = spawn_blocking(|| {
        let primary = Arc::new(TestServer::start());
        let standby = primary.standby();
        (primary, standby)
    });
    let (primary, standby) = starting.await.unwrap();
    let cluster = Cluster::start_on_both(&primary, &standby, 3).await;
    nothing_acknowledged_is_lost(cluster, 1, move || {
        primary.stop();
        standby.promote();
    })
    .await;
}

/// Signs in and out all the time while something happens to the database, several times. Whatever was acknowledged is true afterwards,
/// and no node has to be restarted.
async fn nothing_acknowledged_is_lost(
    cluster: Cluster,
    times: usize,
    happens: impl Fn() + Send + Sync + 'static,
) {
    const CLIENTS: usize = 4;
    let (cluster, happens) = (Arc::new(cluster), Arc::new(happens));
    cluster.users(CLIENTS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let mut work = JoinSet::new();
    for user in 0..CLIENTS {
        work.spawn(Books::default().work(Arc::clone(&cluster), user, Arc::clone(&stop), Arc::clone(&done)));
    }
    for _ in 0..times {
        sleep(Duration::from_millis(1500)).await;
        let happens = Arc::clone(&happens);
        spawn_blocking(move || happens()).await.unwrap();
    }
    for node in &cluster.nodes {
        until("it recovers by itself", async || {
            node.client().status("/health/ready").await == StatusCode::OK
        })
        .await;
    }
    sleep(Duration::from_millis(1500)).await;
    until("they have worked", async || done.load(SeqCst) > 60).await;
    stop.store(true, SeqCst);
    let books = work.join_all().await;
    for node in &cluster.nodes {
        until("it recovers by itself", async || {
            let session = node.sign_in(0).await;
            let good = cluster.everywhere(&session).await;
            node.sign_out(&session).await;
            good.iter().all(|status| *status == StatusCode::OK)
        })
        .await;
    }
    for books in &books {
        for token in &books.live {
            cluster.is_good_everywhere(token).await;
        }
        for token in &books.ended {
            cluster.is_refused_everywhere(token).await;
        }
    }
    let (live, ended): (usize, usize) =
        books.iter().fold((0, 0), |(live, ended), one| (live + one.live.len(), ended + one.ended.len()));
    assert!(live > 10 && ended > 30, "they have hardly worked: {live} live, {ended} ended");
}
