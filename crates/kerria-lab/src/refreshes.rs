//! Refreshes: each one a durable write, and a new refresh token and access token to sign.
//!
//! The server has one core; clients in a process of their own have the other. Each client has a session, and uses its
//! refresh token again and again without pause, each time the one it has just got.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use kerria::Stopwatch;
use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet};

use crate::{
    Measure,
    client::Client,
    numbers::{median, percentile},
    process::{On, Server},
    report::Report,
};

const CLIENTS: u32 = 128;
const CORE: &str = "1";
const PASSWORD: &str = "a copper kettle on the third shelf";
/// The passwords of this part are not what is measured.
const QUICK: [&str; 5] = [
    "sign_up.mode=open",
    "password.memory_kib=8",
    "password.iterations=1",
    "throttle.network_free=1000000",
    "throttle.network_closes_after=1000000",
];

/// Compares refreshes per second with what we aim at.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let folder = measure.folder.join("refreshes");
    drop(fs::remove_dir_all(&folder));
    let server = Server::kerria(On::OneCore, &folder, &QUICK).await?;
    let (mut per_second, mut p99, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        let before = server.cpu()?;
        let round = Round::of(server.port, measure.seconds).await?;
        cpu.push((server.cpu()? - before).as_micros() as f64 / round.refreshes);
        per_second.push(round.refreshes / f64::from(measure.seconds));
        p99.push(round.p99);
    }
    report.at_least(
        "refreshes per second on one core, each of them on the disk",
        median(per_second),
        3_000.0,
        "",
    );
    report.note("  processor time, signing in included", median(cpu), "µs");
    report.at_most("  p99", median(p99), 50.0, "ms");
    server.stop().await
}

struct Round {
    refreshes: f64,
    /// Milliseconds.
    p99: f64,
}

impl Round {
    /// Lets the clients work in a process of their own.
    async fn of(port: u16, seconds: u32) -> anyhow::Result<Self> {
        let mut clients = Command::new("taskset");
        clients.args(["--cpu-list", CORE]).arg(std::env::current_exe()?);
        clients.args(["refresh", &port.to_string(), &seconds.to_string()]);
        let output = clients.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let (refreshes, p99) = text.trim().split_once(' ').context("the clients said something else")?;
        Ok(Self { refreshes: refreshes.parse()?, p99: p99.parse()? })
    }
}

/// Refreshes for some seconds, and prints how often, and the p99 in milliseconds.
#[expect(clippy::print_stdout, reason = "the one who started this process reads it")]
pub(crate) async fn work(port: u16, seconds: u32) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    let run = std::process::id();
    for number in 0..CLIENTS {
        let (mut client, token) = signed_up(port, &format!("user{run}-{number}")).await?;
        clients.spawn(async move { refresh(&mut client, token, Duration::from_secs(seconds.into())).await });
    }
    let times = clients.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    println!("{} {}", times.len(), percentile(times, 99.0));
    Ok(())
}

async fn refresh(client: &mut Client, mut token: String, round: Duration) -> anyhow::Result<Vec<f64>> {
    let (mut times, whole) = (Vec::new(), Stopwatch::start());
    while whole.elapsed() < round {
        let since = Stopwatch::start();
        let body = json!({ "refresh_token": token }).to_string();
        let answer = client.post("/api/v1/session/refresh", &body).await?;
        times.push(since.elapsed().as_secs_f64() * 1e3);
        token = refresh_token(answer.status, &answer.body)?;
    }
    Ok(times)
}

async fn signed_up(port: u16, name: &str) -> anyhow::Result<(Client, String)> {
    let mut client = Client::connect(port).await?;
    let account = json!({ "name": name, "password": PASSWORD, "transport": "tokens" }).to_string();
    let answer = client.post("/api/v1/users", &account).await?;
    let token = refresh_token(answer.status, &answer.body)?;
    Ok((client, token))
}

fn refresh_token(status: u16, body: &[u8]) -> anyhow::Result<String> {
    ensure!(status < 300, "answered {status}: {}", String::from_utf8_lossy(body));
    let body: Value = serde_json::from_slice(body)?;
    Ok(body["refresh_token"].as_str().context("no refresh token in the answer")?.to_owned())
}
