//! What operators notice: memory, and how soon a server answers.

use std::{fs, path::Path, time::Duration};

use anyhow::ensure;
use kerria::Stopwatch;
use tokio::process::Command;

use crate::{
    Measure,
    client::Client,
    numbers::median,
    process::{On, Server},
    report::Report,
    world::World,
};

const FEW: u32 = 1_000;
/// Sessions that are checked for the first time since the start.
const FIRST_CHECKS: usize = 200;
/// By then a server that has started is at rest.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures starts, first checks and memory.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    report.at_most(
        "memory of a cached session, all told",
        footprint(measure.sessions).await?,
        200.0,
        "bytes",
    );

    let (mut cold, mut idle) = (Vec::new(), Vec::new());
    let fresh = measure.folder.join("fresh");
    for _ in 0..measure.rounds {
        drop(fs::remove_dir_all(&fresh));
        let server = Server::kerria(On::AllCores, &fresh, &[]).await?;
        cold.push(server.first_answer.as_secs_f64() * 1e3);
        tokio::time::sleep(SETTLE).await;
        idle.push(server.resident()? as f64 / f64::from(1 << 20));
        server.stop().await?;
    }
    report.at_most("first start, from exec to the first answer", median(cold), 100.0, "ms");
    report.at_most("memory of a fresh server", median(idle), 20.0, "MiB");

    let few = World::prepare(&measure.folder, FEW).await?;
    let many = World::prepare(&measure.folder, measure.sessions).await?;
    let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..measure.rounds {
        of_few.push(Start::of(&few).await?);
        of_many.push(Start::of(&many).await?);
    }
    let [few, many] = [of_few, of_many].map(|starts| {
        (
            median(starts.iter().map(|start| start.first_answer)),
            median(starts.iter().map(|start| start.first_check)),
        )
    });
    report.note("start with 1,000 sessions on disk, to the first answer", few.0, "ms");
    report.at_most(&format!("start with {}, to the first answer", measure.sessions), many.0, 100.0, "ms");
    report.note("first check of a session that is on disk, of 1,000", few.1, "ms");
    report.note(&format!("first check of a session that is on disk, of {}", measure.sessions), many.1, "ms");
    report.at_most("  times as long as of 1,000", many.1 / few.1, 1.5, "×");
    Ok(())
}

/// Milliseconds.
struct Start {
    first_answer: f64,
    first_check: f64,
}

impl Start {
    async fn of(world: &World) -> anyhow::Result<Self> {
        let server = Server::kerria(On::AllCores, &world.data, &[]).await?;
        let first_answer = server.first_answer.as_secs_f64() * 1e3;
        let first_check = median(first_checks(&server, &world.tokens).await?);
        server.stop().await?;
        Ok(Self { first_answer, first_check })
    }
}

async fn first_checks(server: &Server, tokens: &Path) -> anyhow::Result<Vec<f64>> {
    let tokens = fs::read_to_string(tokens)?;
    let tokens: Vec<_> = tokens.lines().collect();
    let mut client = Client::connect(server.port).await?;
    let mut times = Vec::new();
    for token in tokens.iter().step_by(tokens.len() / FIRST_CHECKS) {
        let header = format!("cookie: kerria={token}");
        let since = Stopwatch::start();
        let answer = client.get("/api/v1/session", &header).await?;
        times.push(since.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status == 200, "a check was answered {}", answer.status);
    }
    Ok(times)
}

async fn footprint(sessions: u32) -> anyhow::Result<f64> {
    let output =
        Command::new(std::env::current_exe()?).arg("footprint").arg(sessions.to_string()).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
