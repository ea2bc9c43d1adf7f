//! The same with sessions in Redis, beside accounts in PostgreSQL, and what can happen to Redis alone.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use kerria::Stopwatch;
use kerria_store::testing::{Cable, TestRedis};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    a_sign_out_is_true_everywhere, every_other_end_is_as_true,
    installation::{Cluster, Node, SESSION, SOON, until},
    old_memory_does_not_answer, refuses_behind,
};
use crate::{
    cast::{OTHER_PASSWORD, PASSWORD},
    program::{Program, command, kerria},
};

/// How long it may take from the death of a primary until all nodes use the one that the sentinels have chosen: a second until they think
/// so, and some for the election.
const BY_SENTINELS: Duration = Duration::from_secs(15);

async fn redis() -> Arc<TestRedis> {
    Arc::new(spawn_blocking(TestRedis::start).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_redis_a_sign_out_at_one_node_is_refused_by_all_once_it_is_answered() {
    let redis = redis().await;
    a_sign_out_is_true_everywhere(&Cluster::start_beside(&redis, 3).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_redis_every_other_way_to_end_a_session_is_as_true() {
    let redis = redis().await;
    every_other_end_is_as_true(&Cluster::start_beside(&redis, 3).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_redis_a_node_that_stood_still_does_not_answer_from_old_memory() {
    let redis = redis().await;
    old_memory_does_not_answer(&Cluster::start_beside(&redis, 2).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_from_redis_refuses_instead_of_guessing() {
    let redis = redis().await;
    refuses_behind(&Cluster::start_beside(&redis, 2).await, Cable::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_redis_keeps_silent_refuses_instead_of_guessing() {
    let redis = redis().await;
    refuses_behind(&Cluster::start_beside(&redis, 2).await, Cable::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_signs_everybody_out_and_nobody_in() {
    let redis = redis().await;
    forgets(&redis, |redis| {
        redis.stop();
        redis.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_somebody_empties_signs_everybody_out_and_nobody_in() {
    let redis = redis().await;
    forgets(&redis, |redis| redis.ask::<()>(0, &["FLUSHALL"])).await;
}

/// It loses everything, and the nodes go on without a restart.
async fn forgets(redis: &Arc<TestRedis>, forget: fn(&TestRedis)) {
    let cluster = Cluster::start_beside(redis, 3).await;
    cluster.users(1).await;
    for _ in 0..3 {
        let (live, ended) = (cluster.nodes[0].sign_in(0).await, cluster.nodes[1].sign_in(0).await);
        for session in [&live, &ended] {
            cluster.is_good_everywhere(session).await;
        }
        cluster.nodes[2].sign_out(&ended).await;
        let forgetting = Arc::clone(redis);
        spawn_blocking(move || forget(&forgetting)).await.unwrap();
        for node in &cluster.nodes {
            until("it knows that nothing is left", async || {
                assert_ne!(node.check(&ended).await, StatusCode::OK, "it was ended");
                node.check(&live).await == StatusCode::UNAUTHORIZED
            })
            .await;
        }
        until("everything goes on", async || {
            let Some(session) = cluster.nodes[0].client().login_if_it_can(0).await else { return false };
            cluster.is_good_everywhere(&session).await;
            cluster.nodes[1].sign_out(&session).await;
            cluster.is_refused_everywhere(&session).await;
            true
        })
        .await;
        for session in [&live, &ended] {
            cluster.is_refused_everywhere(session).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_changed_while_redis_is_away_ends_the_sessions_when_it_is_back() {
    let redis = redis().await;
    let cluster = Cluster::start_beside(&redis, 2).await;
    cluster.users(1).await;
    let [here, there] = &cluster.nodes[..] else { unreachable!() };
    let session = there.sign_in(0).await;
    cluster.is_good_everywhere(&session).await;

    // One node is cut off; the operator asks it, and learns that nobody knows.
    here.cable_to_sessions(Cable::Cut);
    let changed = set_password(here, OTHER_PASSWORD).await;
    assert_eq!(changed, StatusCode::SERVICE_UNAVAILABLE);
    // The other one does what it has left.
    until("the session has ended", async || there.check(&session).await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(login(there, PASSWORD).await, StatusCode::UNAUTHORIZED);
    assert_eq!(login(there, OTHER_PASSWORD).await, StatusCode::OK);

    here.cable_to_sessions(Cable::Whole);
    until("it goes on", async || here.client().status("/health/ready").await == StatusCode::OK).await;
    // The one that decides dies before it is done, and is the only one.
    there.stop().await;
    let session = token(here, OTHER_PASSWORD).await;
    here.cable_to_sessions(Cable::BlackHole);
    let changing = {
        let client = here.operator();
        let new = json!({ "password": PASSWORD });
        tokio::spawn(async move { client.send("PUT", "/api/v1/operator/users/user0/password", &new).await })
    };
    until("the password is changed", async || cluster.errands() > 0).await;
    here.kill().await;
    drop(changing.await);
    here.cable_to_sessions(Cable::Whole);
    here.start().await;
    assert_eq!(here.client().with(&session).status(SESSION).await, StatusCode::UNAUTHORIZED);
    assert_eq!(cluster.errands(), 0);
    assert_eq!(login(here, PASSWORD).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_from_the_accounts_still_checks_and_signs_out() {
    let redis = redis().await;
    let cluster = Cluster::start_beside(&redis, 2).await;
    cluster.users(1).await;
    let [cut, there] = &cluster.nodes[..] else { unreachable!() };
    for cable in [Cable::Cut, Cable::BlackHole] {
        let (stays, ends) = (there.sign_in(0).await, there.sign_in(0).await);
        for session in [&stays, &ends] {
            cluster.is_good_everywhere(session).await;
        }
        cluster.is_quiet().await;
        cut.cable(cable);
        let took = cut.sign_out(&ends).await;
        assert!(took < SOON, "{took:?}");
        cluster.is_refused_everywhere(&ends).await;
        cluster.is_good_everywhere(&stays).await;
        there.sign_out(&stays).await;
        cluster.is_refused_everywhere(&stays).await;
        assert_eq!(login(cut, PASSWORD).await, StatusCode::SERVICE_UNAVAILABLE);
        cut.cable(Cable::Whole);
        until("it signs in again", async || login(cut, PASSWORD).await == StatusCode::OK).await;
    }
    until("the audit log has heard of all four", async || {
        let audit = there.run("audit list").await.to_string();
        audit.matches("signed_out, 1 session").count() == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_redis_a_server_is_refused_until_an_operator_takes_the_sessions_back() {
    let (redis, folder) = (redis().await, tempfile::tempdir().unwrap());
    let with_redis = || {
        let mut command = command(folder.path());
        command.env("KERRIA_REDIS_URL", redis.url(0));
        command
    };
    let server = Program::spawn(with_redis()).await;
    let user = json!({ "name": "user0", "password": PASSWORD });
    let created = server.operator().send("POST", "/api/v1/operator/users", &user).await.unwrap().0;
    assert_eq!(created, StatusCode::CREATED);
    let first = server.client().login(0).await.unwrap();
    server.stop().await;
    let Err(told) = Program::try_spawn(command(folder.path())).await else { panic!("it starts") };
    assert!(told.contains("set redis.url") && told.contains("kerria db without-redis"), "{told}");

    let server = Program::spawn(with_redis()).await;
    assert_eq!(server.client().with(&first).status(SESSION).await, StatusCode::OK, "nothing has happened");
    server.stop().await;
    let mut taking_back = kerria(folder.path());
    taking_back.args(["db", "without-redis", "--data-dir=data"]).env("KERRIA_REDIS_URL", redis.url(0));
    assert!(taking_back.status().await.unwrap().success());
    let server = Program::start(folder.path()).await;
    assert_eq!(server.client().with(&first).status(SESSION).await, StatusCode::UNAUTHORIZED);
    let second = server.client().login(0).await.unwrap();
    server.stop().await;
    let server = Program::spawn(with_redis()).await;
    for session in [first, second] {
        assert_eq!(server.client().with(&session).status(SESSION).await, StatusCode::UNAUTHORIZED);
    }
    server.stop().await;
}

async fn set_password(node: &Node, password: &str) -> StatusCode {
    let new = json!({ "password": password });
    let changed = node.operator().send("PUT", "/api/v1/operator/users/user0/password", &new).await;
    changed.expect("the node answers").0
}

async fn login(node: &Node, password: &str) -> StatusCode {
    let login = json!({ "login": "user0", "password": password, "transport": "bearer" });
    node.client().send("POST", "/api/v1/login", &login).await.expect("the node answers").0
}

async fn token(node: &Node, password: &str) -> String {
    let login = json!({ "login": "user0", "password": password, "transport": "bearer" });
    let (status, body) = node.client().send("POST", "/api/v1/login", &login).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    body["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_replace_a_primary_that_dies_and_nothing_that_was_ended_is_back() {
    let starting = spawn_blocking(|| {
        let primary = TestRedis::start();
        let replica = primary.replica();
        let sentinels = primary.sentinels("kerria", 3);
        (primary, replica, sentinels)
    });
    let (primary, replica, sentinels) = starting.await.unwrap();
    let hosts: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
    let cluster = Cluster::start_beside_url(&format!("redis+sentinel://{}/kerria", hosts.join(",")), 3).await;
    cluster.users(2).await;
    let (stays, ends) = (cluster.nodes[0].sign_in(0).await, cluster.nodes[1].sign_in(0).await);
    let theirs = [cluster.nodes[1].sign_in(1).await, cluster.nodes[2].sign_in(1).await];
    for session in [&stays, &ends, &theirs[0], &theirs[1]] {
        cluster.is_good_everywhere(session).await;
    }
    let generation: String = primary.ask(0, &["HGET", "{kerria}:state", "generation"]);
    let all = format!("{{kerria}}:{generation}:all");
    let sessions = |server: &TestRedis| server.ask::<u64>(0, &["ZCARD", &all]);
    until("the replica has them", async || sessions(&replica) == 4).await;

    // The replica is not let in any more, and misses what follows.
    replica.ask::<()>(0, &["CONFIG", "SET", "masterauth", "wrong"]);
    replica.ask::<()>(0, &["CLIENT", "KILL", "TYPE", "master"]);
    cluster.nodes[0].sign_out(&ends).await;
    let owner = cluster.nodes[2].client().with(&theirs[0]);
    let (status, body) = owner.send("DELETE", "/api/v1/sessions?scope=all", &json!({})).await.unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    let ended = [&ends, &theirs[0], &theirs[1]];
    for session in ended {
        cluster.is_refused_everywhere(session).await;
    }
    assert_eq!((sessions(&primary), sessions(&replica)), (1, 4), "the replica has missed the ends");
    primary.stop();
    let watch = Stopwatch::start();
    until("every node uses the replica", async || {
        for session in ended {
            let accepted = cluster.everywhere(session).await.contains(&StatusCode::OK);
            assert!(!accepted, "what was ended is accepted");
        }
        let standing = cluster.everywhere(&stays).await;
        assert!(!standing.contains(&StatusCode::UNAUTHORIZED), "nobody has ended it");
        // From memory, it is good for a moment after the primary has died, too.
        replica.ask::<String>(0, &["INFO", "replication"]).contains("role:master")
            && standing.iter().all(|status| *status == StatusCode::OK)
    })
    .await;
    let took = watch.elapsed();
    assert!(took < BY_SENTINELS, "{took:?}");
    for session in ended {
        cluster.is_refused_everywhere(session).await;
    }
    assert_eq!(sessions(&replica), 1);

    // The old one comes back as a replica, and costs nothing.
    primary.start_again();
    for (here, there) in [(0, 1), (1, 2), (2, 0)] {
        let session = cluster.nodes[here].sign_in(0).await;
        cluster.is_good_everywhere(&session).await;
        cluster.nodes[there].sign_out(&session).await;
        cluster.is_refused_everywhere(&session).await;
    }
    cluster.is_good_everywhere(&stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_memory_of_redis_is_full_people_stay_signed_in_and_ends_are_true() {
    let redis = redis().await;
    let cluster = Cluster::start_beside(&redis, 2).await;
    cluster.users(1).await;
    let [here, there] = &cluster.nodes[..] else { unreachable!() };
    let stays = here.sign_in(0).await;
    let ends = [there.sign_in(0).await, here.sign_in(0).await, there.sign_in(0).await];
    for session in ends.iter().chain([&stays]) {
        cluster.is_good_everywhere(session).await;
    }
    // The first life of a server is not settled, and costs a lease.
    here.sign_out(&there.sign_in(0).await).await;
    let late = [here.late().await, there.late().await];

    redis.ask::<()>(0, &["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(login(here, PASSWORD).await, StatusCode::SERVICE_UNAVAILABLE, "there is no room");
    for (session, node) in ends.iter().zip([here, here, there]) {
        node.sign_out(session).await;
        cluster.is_refused_everywhere(session).await;
        cluster.is_good_everywhere(&stays).await;
    }
    assert_eq!([here.late().await, there.late().await], late, "leases are renewed");
    there.stop().await;
    there.start().await;
    cluster.is_good_everywhere(&stays).await;
    redis.ask::<()>(0, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(login(here, PASSWORD).await, StatusCode::OK);
    assert_eq!(login(there, PASSWORD).await, StatusCode::OK);
}
