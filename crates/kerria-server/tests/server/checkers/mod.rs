//! Checkers in other processes, which follow a node over HTTP: what was ended is accepted by none of them, whatever breaks.
//!
//! Each drill has seen the code broken in the way that it is about.

mod application;
mod embedded;
mod faults;
mod sources;
mod wire;

use std::time::Duration;

use hyper::StatusCode;
use kerria::{Refusal, RemoteError, Stopwatch, remote::AskError};
use kerria_store::testing::{Cable, TestRedis};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    cast::CHECKERS_TOKEN,
    cluster::installation::{Cluster, PATIENCE, SOON, stands_still, until},
    program::Program,
};
use application::{Application, Said, Server, cable_to, example};

/// How often a session is ended that the application has in memory.
const ROUNDS: usize = 100;

/// A lease has to be over, so it was waited for: this long at least.
const MOST_OF_A_LEASE: Duration = Duration::from_millis(500);

const REVOKED: Said = Said::Refused(Refusal::Revoked);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_at_the_server_is_refused_by_an_application_once_it_is_answered() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let shops =
        [Application::follows(&[&server.origin()]).await, Application::follows(&[&server.origin()]).await];
    let watch = Stopwatch::start();
    for _ in 0..ROUNDS {
        let session = server.sign_in().await;
        for shop in &shops {
            assert_eq!(shop.says(&session).await, Said::Good);
            let asked = shop.asked();
            assert_eq!((shop.says(&session).await, shop.asked()), (Said::Good, asked), "from memory");
        }
        server.sign_out(&session).await;
        for shop in &shops {
            assert_eq!(shop.says(&session).await, REVOKED);
        }
    }
    assert!(
        watch.elapsed() < MOST_OF_A_LEASE * ROUNDS as u32 / 4,
        "no lease is waited for: {:?}",
        watch.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_end_a_session_reaches_an_application() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let shop = Application::follows(&[&server.origin()]).await;
    let operator = server.program.operator();
    for selector in [json!({ "kind": "everyone" }), json!({ "kind": "user" })] {
        let (one, other) = (server.sign_in().await, server.sign_in().await);
        assert_eq!((shop.says(&one).await, shop.says(&other).await), (Said::Good, Said::Good));
        let mut selector = selector;
        if selector["kind"] == "user" {
            let (_, user) = operator.send("GET", "/api/v1/operator/users/user0", &json!({})).await.unwrap();
            selector["user"] = user["id"].clone();
        }
        let revocation = json!({ "selector": selector });
        let (status, body) =
            operator.send("POST", "/api/v1/operator/revocations", &revocation).await.unwrap();
        assert_eq!((status, &body["ended"]), (StatusCode::OK, &json!(2)), "{body}");
        assert_eq!((shop.says(&one).await, shop.says(&other).await), (REVOKED, REVOKED));
    }
    let session = server.sign_in().await;
    assert_eq!(shop.says(&session).await, Said::Good);
    let (status, body) =
        operator.send("POST", "/api/v1/operator/users/user0/disable", &json!({})).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(shop.says(&session).await, REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_is_cut_off_refuses_instead_of_guessing() {
    refuses_behind(Cable::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_whose_server_keeps_silent_refuses_instead_of_guessing() {
    refuses_behind(Cable::BlackHole).await;
}

async fn refuses_behind(broken: Cable) {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let (cable, through) = cable_to(&server.origin());
    let shop = Application::follows(&[&through]).await;
    let (ended, kept) = (server.sign_in().await, server.sign_in().await);
    assert_eq!((shop.says(&ended).await, shop.says(&kept).await), (Said::Good, Said::Good));

    cable.set(broken);
    let watch = Stopwatch::start();
    server.sign_out(&ended).await;
    assert!(
        (MOST_OF_A_LEASE..SOON).contains(&watch.elapsed()),
        "a lease was waited for: {:?}",
        watch.elapsed()
    );
    assert!(!shop.is_leased());
    let watch = Stopwatch::start();
    assert_eq!(shop.says(&ended).await, Said::Unknown);
    assert_eq!(shop.says(&kept).await, Said::Unknown, "nobody can tell");
    assert!(watch.elapsed() < 2 * SOON + SOON, "{:?}", watch.elapsed());

    cable.set(Cable::Whole);
    until("it recovers by itself", async || shop.is_leased()).await;
    assert_eq!(shop.says(&kept).await, Said::Good);
    assert!(matches!(shop.says(&ended).await, Said::Refused(_)));
    let asked = shop.asked();
    assert_eq!((shop.says(&kept).await, shop.asked()), (Said::Good, asked), "from memory again");
    server.sign_out(&kept).await;
    assert_eq!(shop.says(&kept).await, REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_may_trusts_its_memory_while_it_is_cut_off_and_not_for_longer() {
    trusts_behind(Cable::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_may_trusts_its_memory_while_its_server_keeps_silent_and_not_for_longer() {
    trusts_behind(Cable::BlackHole).await;
}

async fn trusts_behind(broken: Cable) {
    let limit = 2 * SOON;
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let (cable, through) = cable_to(&server.origin());
    let shop = Application::trusts_for(limit, &[&through]).await;
    let (ended, kept, new) = (server.sign_in().await, server.sign_in().await, server.sign_in().await);
    assert_eq!((shop.says(&ended).await, shop.says(&kept).await), (Said::Good, Said::Good));

    cable.set(broken);
    server.sign_out(&ended).await;
    assert!(!shop.is_leased(), "a lease was waited for");
    let without_lease = Stopwatch::start();
    assert_eq!((shop.says(&kept).await, shop.says(&new).await), (Said::Good, Said::Unknown));
    assert_eq!(shop.says(&ended).await, Said::Good, "the risk that is taken");
    let watch = Stopwatch::start();
    until("it is over", async || shop.says(&kept).await == Said::Unknown).await;
    assert!(without_lease.elapsed() > limit - SOON && watch.elapsed() < limit + 3 * SOON);
    assert_eq!(shop.says(&ended).await, Said::Unknown);

    cable.set(Cable::Whole);
    until("it recovers by itself", async || shop.is_leased()).await;
    assert_eq!((shop.says(&kept).await, shop.says(&new).await), (Said::Good, Said::Good));
    assert!(matches!(shop.says(&ended).await, Said::Refused(_)));
    server.sign_out(&kept).await;
    assert_eq!(shop.says(&kept).await, REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_waits_for_leases_that_it_does_not_know_of() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let (cable, through) = cable_to(&server.origin());
    let shop = Application::follows(&[&through]).await;
    let session = server.sign_in().await;
    assert_eq!(shop.says(&session).await, Said::Good);
    let mut server = server;
    for _ in 0..5 {
        // From now on it does not hear of anything, and has most of its lease.
        until("it holds a lease", async || shop.is_leased()).await;
        let session = server.sign_in().await;
        until("it has it in memory", async || shop.says(&session).await == Said::Good).await;
        cable.set(Cable::Cut);
        server = server.killed_and_started_again().await;
        server.sign_out(&session).await;
        assert_ne!(shop.says(&session).await, Said::Good, "its lease is over, or the end came too early");
        cable.set(Cable::Whole);
    }
    until("it holds a lease", async || shop.is_leased()).await;
    until("it follows as before", async || shop.says(&session).await == Said::Good).await;
    server.sign_out(&session).await;
    assert_eq!(shop.says(&session).await, REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_missed_what_its_server_does_not_hold_any_more_starts_over() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let (cable, through) = cable_to(&server.origin());
    let shop = Application::follows(&[&through]).await;
    let (ended, kept) = (server.sign_in().await, server.sign_in().await);
    assert_eq!((shop.says(&ended).await, shop.says(&kept).await), (Said::Good, Said::Good));
    cable.set(Cable::Cut);
    server.sign_out(&ended).await;
    // What it holds of the log begins with its start.
    let server = server.killed_and_started_again().await;
    cable.set(Cable::Whole);
    until("it holds a lease", async || shop.is_leased()).await;
    assert!(matches!(shop.says(&ended).await, Said::Refused(_)));
    assert_eq!(shop.says(&kept).await, Said::Good);
    server.sign_out(&kept).await;
    assert_eq!(shop.says(&kept).await, REVOKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_turns_to_another_node_when_its_own_is_gone() {
    let cluster = Cluster::start(2).await;
    cluster.users(1).await;
    let origins: Vec<_> =
        cluster.nodes.iter().map(|node| format!("http://{}", node.program().address)).collect();
    let (cable, through) = cable_to(&origins[0]);
    let shop = Application::follows(&[&through, &origins[1]]).await;
    let session = cluster.nodes[0].sign_in(0).await;
    assert_eq!(shop.says(&session).await, Said::Good);
    for round in 0..20 {
        let session = cluster.nodes[round % 2].sign_in(0).await;
        assert_eq!(shop.says(&session).await, Said::Good);
        cluster.nodes[round % 2].sign_out(&session).await;
        assert_eq!(shop.says(&session).await, REVOKED);
    }
    // Silent, not closed: the harder one to notice. It notices while it still holds its lease.
    cable.set(Cable::BlackHole);
    let watch = Stopwatch::start();
    let (mut looked, mut without_lease) = (Duration::ZERO, Duration::ZERO);
    while looked < SOON {
        assert_eq!(shop.says(&session).await, Said::Good);
        tokio::task::yield_now().await;
        let before = std::mem::replace(&mut looked, watch.elapsed());
        without_lease += if shop.is_leased() { Duration::ZERO } else { looked - before };
    }
    assert!(without_lease < MOST_OF_A_LEASE, "it did not turn to the other one in time: {without_lease:?}");
    assert!(shop.is_leased(), "it follows the other one");
    cluster.nodes[0].kill().await;
    for _ in 0..20 {
        let session = cluster.nodes[1].sign_in(0).await;
        assert_eq!(shop.says(&session).await, Said::Good);
        cluster.nodes[1].sign_out(&session).await;
        assert_eq!(shop.says(&session).await, REVOKED);
    }
    let late = cluster.nodes[1].late().await;
    cluster.nodes[1].sign_out(&session).await;
    assert_eq!(shop.says(&session).await, REVOKED);
    assert_eq!(cluster.nodes[1].late().await, late, "nobody is waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_follows_nodes_whose_sessions_are_in_redis() {
    let redis = spawn_blocking(TestRedis::start).await.unwrap();
    let cluster = Cluster::start_beside(&redis, 2).await;
    cluster.users(1).await;
    let origins: Vec<_> =
        cluster.nodes.iter().map(|node| format!("http://{}", node.program().address)).collect();
    let shop = Application::follows(&[&origins[0], &origins[1]]).await;
    for round in 0..ROUNDS / 2 {
        let session = cluster.nodes[round % 2].sign_in(0).await;
        assert_eq!(shop.says(&session).await, Said::Good);
        let asked = shop.asked();
        assert_eq!((shop.says(&session).await, shop.asked()), (Said::Good, asked), "from memory");
        cluster.nodes[(round / 2) % 2].sign_out(&session).await;
        assert_eq!(shop.says(&session).await, REVOKED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_stood_still_does_not_answer_from_old_memory() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let shop = example(folder.path(), &[&server.origin()]).await;
    for _ in 0..4 {
        let session = server.sign_in().await;
        assert_eq!(at(&shop, &session).await, StatusCode::OK);
        until("its memory answers", async || is_following(&shop).await).await;
        shop.signal(Signal::STOP);
        until("all of it stands still", async || stands_still(shop.id())).await;
        let watch = Stopwatch::start();
        server.sign_out(&session).await;
        let took = watch.elapsed();
        assert!((MOST_OF_A_LEASE..SOON).contains(&took), "a lease was waited for: {took:?}");
        // Nobody waits for it any more.
        let (watch, other) = (Stopwatch::start(), server.sign_in().await);
        server.sign_out(&other).await;
        assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
        let client = shop.client().with(&session);
        let asked = tokio::spawn(async move { client.status("/").await });
        shop.signal(Signal::CONT);
        assert_ne!(asked.await.unwrap(), StatusCode::OK, "from old memory");
        for _ in 0..20 {
            assert_ne!(at(&shop, &session).await, StatusCode::OK, "from old memory");
        }
        until("it recovers by itself", async || is_following(&shop).await).await;
        assert_eq!(at(&shop, &session).await, StatusCode::UNAUTHORIZED);
    }
    shop.stop().await;
    let watch = Stopwatch::start();
    let session = server.sign_in().await;
    server.sign_out(&session).await;
    assert!(watch.elapsed() < MOST_OF_A_LEASE, "one that has left is not waited for: {:?}", watch.elapsed());
}

async fn at(application: &Program, session: &str) -> StatusCode {
    timeout(PATIENCE, application.client().with(session).status("/")).await.expect("it answers")
}

async fn is_following(application: &Program) -> bool {
    application
        .client()
        .ask("GET", "/following", &json!({}))
        .await
        .is_some_and(|said| said.text == "from memory\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_have_the_token_follows_nobody() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    for wrong in ["the-applications-of-the-test", "somebody-else-s-token"] {
        let refused = Application::try_follow(&[&server.origin()], wrong).await.err();
        assert!(matches!(refused, Some(RemoteError::Ask(AskError::Token { .. }))), "{refused:?}");
    }
    let nowhere = Application::try_follow(&["http://127.0.0.1:1"], CHECKERS_TOKEN).await.err();
    assert!(matches!(nowhere, Some(RemoteError::Ask(AskError::Unreachable { .. }))), "{nowhere:?}");
    let shown = format!("{:?}", kerria::RemoteOptions::new([server.origin()], CHECKERS_TOKEN));
    assert!(!shown.contains(CHECKERS_TOKEN), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_applications_beside_the_nodes_until_they_leave() {
    let cluster = Cluster::start(1).await;
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let of_cluster = cluster.nodes[0].operator();
    for (origin, operator) in [
        (format!("http://{}", cluster.nodes[0].program().address), of_cluster),
        (server.origin(), server.program.operator()),
    ] {
        let names = async || {
            let (_, seen) = operator.send("GET", "/api/v1/operator/cluster", &json!({})).await.unwrap();
            let nodes = seen["nodes"].as_array().unwrap();
            nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names().await.len(), 1);
        let shop = Application::follows(&[&origin]).await;
        let seen = names().await;
        assert!(seen.len() == 2 && seen.contains(&"an application".to_owned()), "{seen:?}");
        shop.0.stop().await.unwrap();
        assert!(!shop.is_leased());
        assert_eq!(names().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_how_long_each_checker_takes_until_it_leaves() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let operator = server.program.operator();
    let shop = Application::follows(&[&server.origin()]).await;
    server.sign_out(&server.sign_in().await).await;
    let (_, seen) = operator.send("GET", "/api/v1/operator/cluster", &json!({})).await.unwrap();
    let nodes = seen["nodes"].as_array().unwrap();
    let of_shop = nodes.iter().find(|node| node["name"] == "an application").unwrap();
    assert!(of_shop["lag_in_ms"].as_u64().is_some_and(|lag| lag < 1_000), "{seen}");
    let metrics = async || operator.ask("GET", "/metrics", &json!({})).await.unwrap().text;
    let measured = "kerria_checker_lag_seconds_count{checker=\"an application\"} ";
    assert!(metrics().await.contains(measured), "{}", metrics().await);
    shop.0.stop().await.unwrap();
    server.sign_out(&server.sign_in().await).await;
    let said = metrics().await;
    assert!(!said.contains("an application") && said.contains("kerria_late_checkers_total 0\n"), "{said}");
}
