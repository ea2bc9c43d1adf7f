//! Several processes that share a PostgreSQL database: how long it takes until an end is true everywhere, and what it costs to
//! share when nobody ends anything.

use std::{
    fs,
    io::{Seek, Write},
};

use anyhow::ensure;
use kerria::Stopwatch;

use crate::{
    Measure,
    client::Client,
    numbers::{median, percentile},
    process::{On, Server},
    report::Report,
    shared::{SETTINGS, Shared, signed_up},
    wrk::{Ask, Outcome, drive},
};

const NODES: usize = 3;
/// Sessions that are ended in a round.
const ENDS: usize = 200;

/// Compares with what we aim at.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let shared = Shared::postgres(&measure.folder.join("cluster"))?;
    let nodes = shared.nodes(NODES).await?;
    report.note(
        "for comparison: what the disk takes to keep 8 KiB, as each end has to be, p50",
        disk()?,
        "ms",
    );
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
    throughput("PostgreSQL", &shared, measure, report).await?;
    throughput("Redis", &Shared::with_redis(&measure.folder.join("redis"))?, measure, report).await
}

/// Where PostgreSQL has its files, too.
fn disk() -> anyhow::Result<f64> {
    let path = std::env::temp_dir().join("kerria-lab-disk");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..ENDS {
        file.rewind()?;
        let since = Stopwatch::start();
        file.write_all(&[7; 8 * 1024])?;
        file.sync_data()?;
        times.push(since.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(path)?;
    Ok(median(times))
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
async fn throughput(
    store: &str,
    shared: &Shared,
    measure: &Measure,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = measure.folder.join("alone");
    drop(fs::remove_dir_all(&folder));
    let (shared, alone) =
        (shared.node(On::OneCore, 0).await?, Server::kerria(On::OneCore, &folder, &SETTINGS).await?);
    let of_shared = format!("authorization: Bearer {}", signed_up(&shared, "reader").await?);
    let of_alone = format!("authorization: Bearer {}", signed_up(&alone, "reader").await?);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        with.push(drive(&shared, Ask::Same(Some(&of_shared)), measure.seconds).await?);
        without.push(drive(&alone, Ask::Same(Some(&of_alone)), measure.seconds).await?);
    }
    let share = |(with, without): (&Outcome, &Outcome)| 100.0 * with.per_second / without.per_second;
    let share = median(with.iter().zip(&without).map(share));
    report.at_least(
        &format!("checks per second with {store} behind it, of those with SQLite"),
        share,
        95.0,
        "%",
    );
    shared.stop().await?;
    alone.stop().await
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

fn unique() -> u64 {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
