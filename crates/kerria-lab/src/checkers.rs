//! Ends while applications follow the nodes: what each checker more adds to the time until an end is true everywhere, and to what
//! the nodes and the store have to do.
//!
//! The checkers are those of the library, all in this process, each with a connection of its own to one of the nodes.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use kerria::{Check, RemoteChecker, RemoteOptions, Stopwatch, SystemClock};
use kerria_core::{Clock, Store as _, TokenKey, Transport};
use kerria_store::{Nobody, PostgresOptions, PostgresStore, testing::node};
use tokio::task::JoinSet;

use crate::{
    Measure,
    client::Client,
    crowd::{Crowd, Original},
    numbers::{median, percentile},
    process::Server,
    report::Report,
    shared::{CHECKERS_TOKEN, Shared},
};

const NODES: usize = 3;
/// How many checkers follow them.
const CHECKERS: [usize; 4] = [0, 1, 10, 100];
/// Sessions that are ended one after the other.
const ENDS: u32 = 100;
/// And at the same time, by so many who each wait for an answer before the next.
const A_SECOND: u32 = 1_000;
const AT_ONCE: u32 = 128;

/// Lets more and more checkers follow.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let shared = Shared::postgres(&measure.folder.join("checkers"))?;
    let round = ENDS + A_SECOND * measure.seconds;
    let mut sessions = Sessions::written(&shared, round * CHECKERS.len() as u32).await?;
    let nodes = shared.nodes(NODES).await?;
    let mut checkers = Vec::new();
    for count in CHECKERS {
        while checkers.len() < count {
            checkers.push(checker(&nodes, checkers.len()).await?);
        }
        let times = one_by_one(&nodes, &checkers, &mut sessions).await?;
        let what =
            format!("sign-out with {NODES} nodes and {count} checkers, true everywhere when it is answered");
        report.note(&format!("{what}: p50"), median(times.iter().copied()), "ms");
        report.note("  p99", percentile(times, 99.0), "ms");
        let before = (cpu(&nodes)?, shared.postgres_cpu()?);
        let Burst { took, times } = burst(&nodes, &mut sessions, measure.seconds).await?;
        let share = |before: Duration, after: Duration| 100.0 * (after - before).as_secs_f64() / took;
        report.note(
            &format!("  {A_SECOND} a second are asked for: answered"),
            times.len() as f64 / took,
            "a second",
        );
        report.note("    p50", median(times.iter().copied()), "ms");
        report.note("    p99", percentile(times, 99.0), "ms");
        report.note("    processor time of the nodes", share(before.0, cpu(&nodes)?), "% of a core");
        report.note("    of PostgreSQL", share(before.1, shared.postgres_cpu()?), "% of a core");
    }
    for checker in checkers {
        checker.stop().await?;
    }
    for node in nodes {
        node.stop().await?;
    }
    Ok(())
}

fn cpu(nodes: &[Server]) -> anyhow::Result<Duration> {
    nodes.iter().map(Server::cpu).sum()
}

/// Follows one of the nodes, and knows the others.
async fn checker(nodes: &[Server], number: usize) -> anyhow::Result<RemoteChecker> {
    let origin = |turn: usize| format!("http://localhost:{}", nodes[(number + turn) % NODES].port);
    let options = RemoteOptions::new((0..NODES).map(origin), CHECKERS_TOKEN);
    Ok(RemoteChecker::start(options.name(format!("shop-{number}"))).await?)
}

/// Sessions that nobody has used yet.
struct Sessions {
    key: TokenKey,
    numbers: std::ops::Range<u32>,
}

impl Sessions {
    /// Writes them before the nodes start.
    async fn written(shared: &Shared, count: u32) -> anyhow::Result<Self> {
        let options = PostgresOptions::parse(&shared.database.url())?;
        let store = PostgresStore::connect(options, node(), Arc::new(Nobody)).await?;
        let crowd = Crowd::new(count, u32::MAX);
        let original = Original::open(&store, crowd.now).await?;
        store.leave().await?;
        tokio::task::block_in_place(|| {
            crowd.write_accounts(&shared.database);
            crowd.write_to_postgres(&shared.database);
        });
        // The first one is over.
        Ok(Self { key: original.key, numbers: 1..count })
    }

    fn next(&mut self) -> Option<String> {
        Some(Crowd::token(self.numbers.next()?).write(&self.key).expose().clone())
    }
}

/// Ends sessions that all nodes and checkers have in memory, and makes sure that none accepts them afterwards. How long each took, in
/// milliseconds.
async fn one_by_one(
    nodes: &[Server],
    checkers: &[RemoteChecker],
    sessions: &mut Sessions,
) -> anyhow::Result<Vec<f64>> {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::connect(node.port).await?);
    }
    let mut times = Vec::new();
    for turn in 0..ENDS as usize - 1 {
        let token = sessions.next().context("too few sessions")?;
        let header = format!("authorization: Bearer {token}");
        for client in &mut clients {
            ensure!(client.get("/api/v1/session", &header).await?.status == 200, "a session is not known");
        }
        ensure!(accepting(checkers, &token).await? == checkers.len(), "a checker does not know a session");
        let since = Stopwatch::start();
        let answer = clients[turn % NODES].post_with("/api/v1/logout", &header, "{}").await?;
        times.push(since.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status < 300, "signing out is answered with {}", answer.status);
        ensure!(accepting(checkers, &token).await? == 0, "a checker accepts what has ended");
        for client in &mut clients {
            ensure!(
                client.get("/api/v1/session", &header).await?.status == 401,
                "an ended session is accepted"
            );
        }
    }
    Ok(times)
}

/// How many checkers accept a token.
async fn accepting(checkers: &[RemoteChecker], token: &str) -> anyhow::Result<usize> {
    let now = SystemClock.now();
    let check = |one: &'_ RemoteChecker| {
        let checker = Arc::clone(one.checker());
        async move { checker.check(token.as_bytes(), Transport::Bearer, None, now).await }
    };
    let checks = try_join_all(checkers.iter().map(check)).await?;
    Ok(checks.iter().filter(|check| matches!(check, Check::Good(_))).count())
}

/// Many ends at the same time.
struct Burst {
    /// Seconds, until the last one was answered.
    took: f64,
    /// Milliseconds, each from when it was due.
    times: Vec<f64>,
}

/// Ends so many sessions a second for some seconds, or as many as are answered.
async fn burst(nodes: &[Server], sessions: &mut Sessions, seconds: u32) -> anyhow::Result<Burst> {
    let mut tokens = vec![Vec::new(); AT_ONCE as usize];
    for number in 0..A_SECOND * seconds {
        tokens[(number % AT_ONCE) as usize].push((number, sessions.next().context("too few sessions")?));
    }
    let (whole, mut asking) = (Stopwatch::start(), JoinSet::new());
    for (number, tokens) in tokens.into_iter().enumerate() {
        let mut client = Client::connect(nodes[number % NODES].port).await?;
        asking.spawn(async move {
            let mut times = Vec::new();
            for (number, token) in tokens {
                let due = Duration::from_secs(1) * number / A_SECOND;
                tokio::time::sleep(due.saturating_sub(whole.elapsed())).await;
                let header = format!("authorization: Bearer {token}");
                let answer = client.post_with("/api/v1/logout", &header, "{}").await?;
                times.push((whole.elapsed() - due).as_secs_f64() * 1e3);
                ensure!(answer.status < 300, "signing out is answered with {}", answer.status);
            }
            anyhow::Ok(times)
        });
    }
    let times = asking.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    Ok(Burst { took: whole.elapsed().as_secs_f64(), times })
}
