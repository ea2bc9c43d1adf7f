//! Several processes that share a PostgreSQL database: how long it takes until an end is true everywhere, and what it costs to
//! share when nobody ends anything.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use kerria::Stopwatch;
use kerria_store::testing::{TestDatabase, TestServer};
use serde_json::{Value, json};

use crate::{
    Measure,
    client::Client,
    numbers::{median, percentile},
    process::{On, Server},
    report::Report,
    wrk::{Ask, Outcome, drive},
};

const NODES: usize = 3;
/// Sessions that are ended in a round.
const ENDS: usize = 200;
const IDLE: Duration = Duration::from_secs(5);
const PASSWORD: &str = "a copper kettle on the third shelf";

/// Compares with what we aim at.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let folder = measure.folder.join("cluster");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder)?;
    let database = TestDatabase::create_on(&Arc::new(TestServer::start_durable()));
    fs::write(url_file(&folder), database.url())?;
    let mut nodes = Vec::new();
    for number in 0..NODES {
        nodes.push(node(&folder, number).await?);
    }
    let before = nodes[0].cpu()?;
    tokio::time::sleep(IDLE).await;
    let idle = (nodes[0].cpu()? - before).as_secs_f64() / IDLE.as_secs_f64();
    report.note("processor time of a node of three that has nothing to do", idle * 100.0, "% of a core");

    let (mut quiet, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        quiet.extend(ends(&nodes, 0).await?);
    }
    say(report, "nobody asks anything", quiet);
    let token = signed_up(&nodes[0], "busy").await?;
    let header = format!("authorization: Bearer {token}");
    for _ in 0..measure.rounds {
        let load = drive(&nodes[1], Ask::Same(Some(&header)), measure.seconds);
        let (load, times) = tokio::join!(load, ends(&nodes, 1));
        ensure!(load?.refused == 0, "a good session was refused");
        loaded.extend(times?);
    }
    say(report, "one node checks sessions without pause", loaded);
    for node in nodes {
        node.stop().await?;
    }
    throughput(measure, &folder, report).await
}

fn say(report: &mut Report, when: &str, times: Vec<f64>) {
    report.at_most(
        &format!("sign-out with {NODES} nodes, true everywhere when it is answered, while {when}: p50"),
        percentile(times.clone(), 50.0),
        3.0,
        "ms",
    );
    report.at_most("  p99", percentile(times, 99.0), 15.0, "ms");
}

/// Checks per second, beside those of a node that has its own SQLite.
async fn throughput(measure: &Measure, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let settings = settings(folder, true);
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    let shared = Server::kerria(On::OneCore, &folder.join("node-0"), &settings).await?;
    let alone = self::settings(folder, false);
    let alone: Vec<_> = alone.iter().map(String::as_str).collect();
    let alone = Server::kerria(On::OneCore, &folder.join("alone"), &alone).await?;
    let of_shared = format!("authorization: Bearer {}", signed_up(&shared, "reader").await?);
    let of_alone = format!("authorization: Bearer {}", signed_up(&alone, "reader").await?);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        with.push(drive(&shared, Ask::Same(Some(&of_shared)), measure.seconds).await?);
        without.push(drive(&alone, Ask::Same(Some(&of_alone)), measure.seconds).await?);
    }
    let share = |(with, without): (&Outcome, &Outcome)| 100.0 * with.per_second / without.per_second;
    let share = median(with.iter().zip(&without).map(share));
    report.at_least("checks per second with PostgreSQL behind it, of those with SQLite", share, 95.0, "%");
    shared.stop().await?;
    alone.stop().await
}

async fn node(folder: &Path, number: usize) -> anyhow::Result<Server> {
    let settings = settings(folder, true);
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    Server::kerria(On::AllCores, &folder.join(format!("node-{number}")), &settings).await
}

/// Neither passwords nor throttling are what is measured here.
const SETTINGS: [&str; 5] = [
    "sign_up.mode=open",
    "password.memory_kib=8",
    "password.iterations=1",
    "throttle.network_free=1000000",
    "throttle.network_closes_after=1000000",
];

fn settings(folder: &Path, shared: bool) -> Vec<String> {
    let mut settings: Vec<String> = SETTINGS.map(str::to_owned).into();
    if shared {
        settings.push(format!("database.url_file={}", url_file(folder).display()));
        settings.push(format!("tokens.sealing_key_file={}", folder.join("sealing.key").display()));
    }
    settings
}

/// The URL of the database may hold a password, so it stands in a file.
fn url_file(folder: &Path) -> PathBuf {
    folder.join("database-url")
}

/// Signs people up, lets every node remember their sessions, and signs them out at one of the nodes. How long that took, in
/// milliseconds; and that no node accepts the session afterwards.
async fn ends(nodes: &[Server], round: usize) -> anyhow::Result<Vec<f64>> {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::connect(node.port).await?);
    }
    let mut times = Vec::new();
    for number in 0..ENDS {
        let token = signed_up(&nodes[0], &format!("r{round}-{number}-{}", unique())).await?;
        let header = format!("authorization: Bearer {token}");
        for client in &mut clients {
            ensure!(client.get("/api/v1/session", &header).await?.status == 200, "a session is not known");
        }
        let since = Stopwatch::start();
        let answer = clients[number % NODES].post_with("/api/v1/logout", &header, "{}").await?;
        times.push(since.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status < 300, "signing out is answered with {}", answer.status);
        for client in &mut clients {
            ensure!(
                client.get("/api/v1/session", &header).await?.status == 401,
                "an ended session is accepted"
            );
        }
    }
    Ok(times)
}

async fn signed_up(node: &Server, name: &str) -> anyhow::Result<String> {
    let account = json!({ "name": name, "password": PASSWORD, "transport": "bearer" }).to_string();
    let answer = Client::connect(node.port).await?.post("/api/v1/users", &account).await?;
    ensure!(answer.status < 300, "signing up: {}", String::from_utf8_lossy(&answer.body));
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok(body["token"].as_str().context("no token in the answer")?.to_owned())
}

fn unique() -> u64 {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
