//! Checks while people sign in: hashing passwords must not keep those waiting who are signed in.
//!
//! The server has all cores, as in production. Four connections ask one question every 4 ms each, so that neither the
//! server nor this program is busy with that; the time is taken from sending to answer. In turns, eight users sign in
//! without pause, with Argon2id as configured by default, and nobody does.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use kerria::Stopwatch;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Measure,
    client::Client,
    numbers::{median, percentile},
    process::{On, Server},
    report::Report,
};

const CONNECTIONS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(4);
const USERS: u32 = 8;
const PASSWORD: &str = "a copper kettle on the third shelf";

/// Compares the p99 of checks with and without sign-ins beside them.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let folder = measure.folder.join("sign-ins");
    drop(fs::remove_dir_all(&folder));
    let server = Server::kerria(On::AllCores, &folder, &["sign_up.mode=open"]).await?;
    for user in 0..USERS {
        sign_up(server.port, user).await?;
    }
    let bearer = format!("authorization: Bearer {}", sign_in(server.port, 0).await?);
    let (mut idle, mut busy, mut per_second) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        idle.push(percentile(checks(server.port, &bearer, measure.round()).await?, 99.0));
        let sign_ins = SignIns::start(server.port);
        busy.push(percentile(checks(server.port, &bearer, measure.round()).await?, 99.0));
        per_second.push(sign_ins.stop().await? as f64 / f64::from(measure.seconds));
    }
    report.note("check while nothing else happens, p99", median(idle.clone()), "ms");
    report.note(&format!("check while {USERS} users sign in without pause, p99"), median(busy.clone()), "ms");
    report.note("  sign-ins per second", median(per_second), "");
    let ratio = busy.iter().zip(&idle).map(|(busy, idle)| busy / idle);
    report.at_most("  p99, times that of the idle server", median(ratio), 5.0, "×");
    server.stop().await
}

/// Milliseconds of each check.
async fn checks(port: u16, bearer: &str, round: Duration) -> anyhow::Result<Vec<f64>> {
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut client, bearer) = (Client::connect(port).await?, bearer.to_owned());
        connections.spawn(async move {
            let (mut times, whole) = (Vec::new(), Stopwatch::start());
            while whole.elapsed() < round {
                tokio::time::sleep(PAUSE).await;
                let since = Stopwatch::start();
                let answer = client.get("/api/v1/session", &bearer).await?;
                times.push(since.elapsed().as_secs_f64() * 1e3);
                ensure!(answer.status == 200, "a check was answered {}", answer.status);
            }
            anyhow::Ok(times)
        });
    }
    Ok(connections.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

/// Users who sign in again and again.
struct SignIns {
    tasks: JoinSet<anyhow::Result<()>>,
    over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl SignIns {
    fn start(port: u16) -> Self {
        let (over, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for user in 0..USERS {
            let (over, count) = (Arc::clone(&over), Arc::clone(&count));
            tasks.spawn(async move {
                while !over.load(Relaxed) {
                    sign_in(port, user).await?;
                    count.fetch_add(1, Relaxed);
                }
                Ok(())
            });
        }
        Self { tasks, over, count }
    }

    /// How many there were.
    async fn stop(self) -> anyhow::Result<u64> {
        let count = self.count.load(Relaxed);
        self.over.store(true, Relaxed);
        self.tasks.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok(count)
    }
}

async fn sign_up(port: u16, user: u32) -> anyhow::Result<()> {
    let account = json!({ "name": name(user), "password": PASSWORD, "transport": "bearer" });
    let answer = Client::connect(port).await?.post("/api/v1/users", &account.to_string()).await?;
    ensure!(
        answer.status == 201,
        "sign-up was answered {}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(())
}

async fn sign_in(port: u16, user: u32) -> anyhow::Result<String> {
    let login = json!({ "login": name(user), "password": PASSWORD, "transport": "bearer" });
    let answer = Client::connect(port).await?.post("/api/v1/login", &login.to_string()).await?;
    ensure!(
        answer.status == 200,
        "sign-in was answered {}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok(body["token"].as_str().context("no token in the answer")?.to_owned())
}

fn name(user: u32) -> String {
    format!("user{user}")
}
