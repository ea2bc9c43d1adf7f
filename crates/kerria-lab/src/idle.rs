//! What nodes cost when nobody asks them anything.

use std::{fs, path::Path, time::Duration};

use crate::{
    Measure,
    process::{On, Server},
    report::Report,
    shared::{SETTINGS, Shared},
};

/// What happens at a start is over by then.
const SETTLE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(20);

/// Waits, and looks what was used meanwhile.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let folder = measure.folder.join("idle");
    alone(&folder, report).await?;
    for count in [1, 3] {
        together(&format!("{count} on PostgreSQL"), &Shared::postgres(&folder)?, count, report).await?;
        let with_redis = Shared::with_redis(&folder)?;
        together(&format!("{count} on Redis and PostgreSQL"), &with_redis, count, report).await?;
    }
    Ok(())
}

async fn alone(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    drop(fs::remove_dir_all(folder));
    let node = Server::kerria(On::AllCores, folder, &SETTINGS).await?;
    tokio::time::sleep(SETTLE).await;
    let before = node.cpu()?;
    tokio::time::sleep(IDLE).await;
    report.note(
        "nodes that have nothing to do, 1 on SQLite: processor time",
        share(before, node.cpu()?),
        UNIT,
    );
    node.stop().await
}

async fn together(which: &str, shared: &Shared, count: usize, report: &mut Report) -> anyhow::Result<()> {
    let nodes = shared.nodes(count).await?;
    tokio::time::sleep(SETTLE).await;
    let before = Used::now(&nodes, shared)?;
    tokio::time::sleep(IDLE).await;
    let after = Used::now(&nodes, shared)?;
    report.note(
        &format!("nodes that have nothing to do, {which}: processor time of each"),
        share(before.nodes, after.nodes) / count as f64,
        UNIT,
    );
    report.note("  of PostgreSQL", share(before.postgres, after.postgres), UNIT);
    report.note(
        "  transactions in PostgreSQL",
        per_second(before.transactions, after.transactions),
        "a second",
    );
    if shared.redis.is_some() {
        report.note("  of Redis", share(before.redis, after.redis), UNIT);
        report.note("  questions to Redis", per_second(before.questions, after.questions), "a second");
    }
    for node in nodes {
        node.stop().await?;
    }
    Ok(())
}

const UNIT: &str = "% of a core";

/// What was used until now.
struct Used {
    nodes: Duration,
    postgres: Duration,
    redis: Duration,
    transactions: i64,
    questions: i64,
}

impl Used {
    fn now(nodes: &[Server], shared: &Shared) -> anyhow::Result<Self> {
        let postgres = shared.postgres_cpu()?;
        Ok(Self {
            nodes: nodes.iter().map(Server::cpu).sum::<anyhow::Result<_>>()?,
            postgres,
            redis: shared.cpu()? - postgres,
            transactions: shared.database.count(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
            ),
            questions: shared.questions()?,
        })
    }
}

fn share(before: Duration, after: Duration) -> f64 {
    100.0 * (after - before).as_secs_f64() / IDLE.as_secs_f64()
}

fn per_second(before: i64, after: i64) -> f64 {
    (after - before) as f64 / IDLE.as_secs_f64()
}
