//! Applications and nodes while cables break and nodes stand still, at random.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use fastrand::Rng;
use hyper::StatusCode;
use kerria_store::testing::{Cable, Proxy};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use super::application::{Application, Said, cable_to};
use crate::{
    cast::PASSWORD,
    cluster::installation::{Cluster, until},
    program::Client,
};

const CLIENTS: usize = 4;
const FAULTS: usize = 20;

/// How many sessions each has, before one is ended.
const LIVE: usize = 8;

/// Two nodes, and two applications that follow them, each over cables of its own.
struct World {
    cluster: Cluster,
    shops: Vec<Application>,
    /// Of each application, one to each node.
    cables: Vec<Vec<Proxy>>,
    stop: AtomicBool,
    /// Sessions that were ended, and asked about after that.
    ended: AtomicUsize,
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::start(2).await;
        cluster.users(CLIENTS).await;
        let (mut shops, mut cables) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let origins = cluster.nodes.iter().map(|node| format!("http://{}", node.program().address));
            let (own, through): (Vec<_>, Vec<_>) = origins.map(|origin| cable_to(&origin)).unzip();
            shops.push(Application::follows(&[&through[0], &through[1]]).await);
            cables.push(own);
        }
        Self { cluster, shops, cables, stop: AtomicBool::new(false), ended: AtomicUsize::new(0) }
    }

    /// Signs in and out, and asks the applications, until it is told to stop.
    async fn work(&self, user: usize, mut random: Rng) {
        let mut live: Vec<String> = Vec::new();
        while !self.stop.load(SeqCst) {
            let node = self.cluster.nodes[random.usize(..2)].client();
            if live.len() < LIVE {
                live.extend(self.sign_in(user, &node).await);
                continue;
            }
            let session = live.swap_remove(random.usize(..live.len()));
            let answer = node.with(&session).send("POST", "/api/v1/logout", &json!({})).await;
            if !matches!(answer, Some((StatusCode::NO_CONTENT, _))) {
                // It may have ended, and it may not.
                continue;
            }
            for shop in &self.shops {
                assert_ne!(shop.says(&session).await, Said::Good, "what was ended is accepted");
            }
            self.ended.fetch_add(1, SeqCst);
        }
    }

    /// A new session, in the memory of whichever application can be sure of it.
    async fn sign_in(&self, user: usize, node: &Client) -> Option<String> {
        let login = json!({ "login": format!("user{user}"), "password": PASSWORD, "transport": "bearer" });
        let (StatusCode::OK, body) = node.send("POST", "/api/v1/login", &login).await? else { return None };
        let session = body["token"].as_str().unwrap().to_owned();
        for shop in &self.shops {
            let said = shop.says(&session).await;
            assert!(!matches!(said, Said::Refused(_)), "a sign-in is lost: {said:?}");
        }
        Some(session)
    }

    async fn break_things(&self, mut random: Rng) {
        for _ in 0..FAULTS {
            let node = &self.cluster.nodes[random.usize(..2)];
            let cables = &self.cables[random.usize(..self.shops.len())];
            let broken = if random.bool() { Cable::Cut } else { Cable::BlackHole };
            match random.usize(..6) {
                0 => node.stand_still().await,
                1 => node.cable(broken),
                2 => cables[random.usize(..cables.len())].set(broken),
                _ => cables.iter().for_each(|cable| cable.set(broken)),
            }
            sleep(Duration::from_millis(random.u64(50..2_000))).await;
            self.cluster.nodes.iter().for_each(|node| {
                node.cable(Cable::Whole);
                node.go_on();
            });
            self.cables.iter().flatten().for_each(|cable| cable.set(Cable::Whole));
            sleep(Duration::from_millis(random.u64(..400))).await;
        }
        self.stop.store(true, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_no_application_accepts_what_was_ended() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let world = Arc::new(World::new().await);
    let mut work = JoinSet::new();
    for user in 0..CLIENTS {
        let (world, random) = (Arc::clone(&world), Rng::with_seed(seed.wrapping_add(user as u64)));
        work.spawn(async move { world.work(user, random).await });
    }
    world.break_things(Rng::with_seed(!seed)).await;
    work.join_all().await;
    let ended = world.ended.load(SeqCst);
    assert!(ended > 30, "they have hardly worked: {ended} ended");
    for shop in &world.shops {
        until("it recovers by itself", async || shop.is_leased()).await;
        let session = world.cluster.nodes[0].sign_in(0).await;
        assert_eq!(shop.says(&session).await, Said::Good);
    }
}
