//! What Kerria claims, measured: `scripts/bench` runs all of it.
//!
//! Machines differ, and one machine differs from minute to minute. So everything here is measured next to something that
//! is known (an axum "hello", a JWT check), in turns, and the median of the rounds is compared.

mod asking;
mod checkers;
mod checks;
mod client;
mod cluster;
mod counter;
mod crowd;
mod footprint;
mod forward_auth;
mod hello;
mod http;
mod idle;
mod many;
mod numbers;
mod operation;
mod process;
mod refreshes;
mod report;
mod shared;
mod sign_ins;
mod simulation;
mod timing;
mod tokens;
mod world;
mod wrk;

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use report::Report;

/// Measures what Kerria claims.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, prints a table, and writes it to a file.
    Measure(Measure),
    /// Plays schedules of what can go wrong between checkers, a store, and people who end sessions.
    Simulate(simulation::Simulate),
    /// Serves a greeting, with axum alone.
    Hello {
        /// The port.
        port: u16,
    },
    /// Answers checks as is usual: each asks a store.
    Ask {
        /// The port.
        port: u16,
        /// The URL of the store: Redis or PostgreSQL.
        store: String,
    },
    /// Counts visitors in their sessions.
    Count {
        /// The port.
        port: u16,
        /// `sqlite:FILE`, the URL of a PostgreSQL or Redis server, or `none`.
        store: String,
        /// Where files are kept that the store needs besides.
        folder: PathBuf,
    },
    /// Uses refresh tokens against a server, and prints how often and how slowly.
    Refresh {
        /// The server's port.
        port: u16,
        /// For how long, in seconds.
        seconds: u32,
    },
    /// Prints how many bytes of memory a cached session takes.
    Footprint {
        /// How many sessions to cache.
        sessions: u32,
    },
}

/// What to measure, and how long.
#[derive(clap::Args)]
struct Measure {
    /// The parts: checks, tokens, http, sign-ins, timing, refreshes, asking, cluster, checkers, idle, operation, forward-auth.
    /// All, if none is named; and many and
    /// counter, only if they are named.
    parts: Vec<String>,
    /// Rounds of each comparison; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of load in a round.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Sessions in the large measurements.
    #[arg(long, default_value_t = 1_000_000)]
    sessions: u32,
    /// Sessions in the part `many`. Ten millions take about 15 GB of memory and 10 GB of disk.
    #[arg(long, default_value_t = 10_000_000)]
    many: u32,
    /// Where databases are prepared. They are used again by the next run.
    #[arg(long, default_value = "target/lab")]
    folder: PathBuf,
    /// Where the table is written to.
    #[arg(long, default_value = "target/bench.md")]
    output: PathBuf,
}

impl Measure {
    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    fn round(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

fn main() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    match Cli::parse().command {
        Command::Measure(measure) => runtime.block_on(run(&measure)),
        Command::Simulate(wanted) => simulation::simulate(&wanted),
        Command::Hello { port } => runtime.block_on(hello::serve(port)),
        Command::Ask { port, store } => runtime.block_on(asking::serve(port, &store)),
        Command::Count { port, store, folder } => runtime.block_on(counter::serve(port, &store, &folder)),
        Command::Refresh { port, seconds } => runtime.block_on(refreshes::work(port, seconds)),
        Command::Footprint { sessions } => runtime.block_on(footprint::print(sessions)),
    }
}

async fn run(measure: &Measure) -> anyhow::Result<()> {
    let mut report = Report::default();
    if measure.wants("checks") {
        checks::measure(measure, &mut report).await?;
    }
    if measure.wants("tokens") {
        tokens::measure(measure, &mut report).await?;
    }
    if measure.wants("http") {
        http::measure(measure, &mut report).await?;
    }
    if measure.wants("sign-ins") {
        sign_ins::measure(measure, &mut report).await?;
    }
    if measure.wants("timing") {
        timing::measure(measure, &mut report).await?;
    }
    if measure.wants("refreshes") {
        refreshes::measure(measure, &mut report).await?;
    }
    if measure.wants("asking") {
        asking::measure(measure, &mut report).await?;
    }
    if measure.wants("cluster") {
        cluster::measure(measure, &mut report).await?;
    }
    if measure.wants("checkers") {
        checkers::measure(measure, &mut report).await?;
    }
    if measure.wants("idle") {
        idle::measure(measure, &mut report).await?;
    }
    if measure.wants("operation") {
        operation::measure(measure, &mut report).await?;
    }
    if measure.wants("forward-auth") {
        forward_auth::measure(measure, &mut report).await?;
    }
    let names = |wanted: &str| measure.parts.iter().any(|part| part == wanted);
    if names("counter") {
        counter::measure(measure, &mut report).await?;
    }
    if names("many") {
        many::measure(measure, &mut report).await?;
    }
    report.publish(&measure.output)
}
