//! A page that counts its visitors, with the library, with others' and without sessions.
//!
//! All are the same application on the same core, and are visited with the cookies of a thousand sessions at random. One page reads the
//! number and one counts, so that both are known.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::{Router, routing::get};
use kerria::{Session, SessionError, SessionOptions, Sessions, SystemClock};
use kerria_core::{Clock, Store};
use kerria_store::{
    Nobody, PostgresOptions, PostgresStore, RedisOptions, SplitStore, SqliteStore, testing::node,
};
use tokio::net::TcpListener;

use crate::{
    Measure,
    client::Client,
    numbers::median,
    process::Server,
    report::Report,
    shared::Shared,
    wrk::{Ask, Outcome, drive},
};

const SESSIONS: u32 = 1_000;
const VISITS: &str = "visits";

async fn read(session: Session) -> Result<String, SessionError> {
    Ok(session.get::<u64>(VISITS).await?.unwrap_or(0).to_string())
}

async fn count(session: Session) -> Result<String, SessionError> {
    let visits = session.update(VISITS, |visits: Option<u64>| visits.unwrap_or(0) + 1).await?;
    Ok(visits.to_string())
}

/// Serves the page: with sessions in `sqlite:FILE` or at the URL of a PostgreSQL or Redis server, or with `none`. A directory that Redis
/// needs is kept in `folder`.
pub(crate) async fn serve(port: u16, store: &str, folder: &Path) -> anyhow::Result<()> {
    let store: Option<Arc<dyn Store>> = match store.split_once(':') {
        Some(("sqlite", file)) => Some(Arc::new(SqliteStore::open(file.as_ref())?)),
        Some(("redis", _)) => {
            let (options, now) = (RedisOptions::from_url(store)?, SystemClock.now());
            let directory = folder.join("directory.db");
            Some(Arc::new(SplitStore::on_sqlite(&directory, options, node(), Arc::new(Nobody), now).await?))
        }
        Some(_) => {
            let options = PostgresOptions::parse(store)?;
            Some(Arc::new(PostgresStore::connect(options, node(), Arc::new(Nobody)).await?))
        }
        None => None,
    };
    let router = match store {
        Some(store) => {
            let options = SessionOptions::new(format!("http://localhost:{port}").parse()?);
            let sessions = Sessions::start(store, options).await?;
            Router::new().route("/read", get(read)).route("/count", get(count)).layer(sessions.layer())
        }
        None => Router::new().route("/read", get(async || "1")).route("/count", get(async || "1")),
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, router).await?;
    Ok(())
}

/// An application and what was measured of it.
struct Application<'s> {
    name: &'static str,
    server: Server,
    cookies: PathBuf,
    /// What its sessions are in, if that is another process.
    shared: Option<&'s Shared>,
    reads: Vec<Cost>,
    writes: Vec<Cost>,
}

struct Cost {
    outcome: Outcome,
    /// Microseconds of processor time for one request: of the server and of what its sessions are in.
    all: f64,
}

/// Measures all of them in turns.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let folder = measure.folder.join("counter");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let shared = Shared::with_redis(&folder.join("shared"))?;
    let theirs = shared.theirs();
    let redis =
        |database| shared.redis.as_ref().map(|redis| redis.url(database)).context("Redis was started");
    let sqlite = |name: &str| format!("sqlite:{}", folder.join(name).display());
    let rust = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/tower-sessions");
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/express-session");

    let with = |name, shared| Named { name, folder: &folder, shared };
    let mut applications = vec![
        with("no sessions", None).ours("none").await?,
        with("Kerria, SQLite", None).ours(&sqlite("kerria.db")).await?,
        with("Kerria, PostgreSQL", Some(&shared)).ours(&shared.database.url()).await?,
        with("Kerria, Redis", Some(&shared)).ours(&redis(1)?).await?,
        with("tower-sessions, memory", None).tower(&rust, "memory").await?,
        with("tower-sessions, SQLite", None).tower(&rust, &sqlite("tower.db")).await?,
        with("tower-sessions, PostgreSQL", Some(&shared)).tower(&rust, &theirs.url()).await?,
        with("tower-sessions, Redis", Some(&shared)).tower(&rust, &redis(2)?).await?,
        with("express-session, memory", None).express(&node, "memory").await?,
        with("express-session, Redis", Some(&shared)).express(&node, &redis(3)?).await?,
    ];
    for _ in 0..measure.rounds {
        for application in &mut applications {
            let cost = application.visit("/read", measure.seconds).await?;
            application.reads.push(cost);
        }
        for application in &mut applications {
            let cost = application.visit("/count", measure.seconds).await?;
            application.writes.push(cost);
        }
    }
    for application in &applications {
        application.say("reading", &application.reads, report);
    }
    for application in &applications {
        application.say("counting", &application.writes, report);
    }
    Ok(())
}

struct Named<'s> {
    name: &'static str,
    folder: &'s Path,
    shared: Option<&'s Shared>,
}

impl<'s> Named<'s> {
    async fn ours(self, store: &str) -> anyhow::Result<Application<'s>> {
        let server = Server::counter(store, self.folder).await?;
        self.visited(server).await
    }

    async fn tower(self, folder: &Path, store: &str) -> anyhow::Result<Application<'s>> {
        let server =
            Server::other(&folder.join("target/release/counter-with-tower-sessions"), &[], store).await?;
        self.visited(server).await
    }

    async fn express(self, folder: &Path, store: &str) -> anyhow::Result<Application<'s>> {
        let script = folder.join("counter.mjs").display().to_string();
        let server = Server::other(Path::new("node"), &[&script], store).await?;
        self.visited(server).await
    }

    /// Opens the sessions.
    async fn visited(self, server: Server) -> anyhow::Result<Application<'s>> {
        let mut cookies = String::new();
        let mut client = Client::connect(server.port).await?;
        for _ in 0..SESSIONS {
            let answer = client.get("/count", "").await?;
            ensure!(answer.status == 200, "{} answers {}", self.name, answer.status);
            // The same length for those without sessions.
            let cookie = answer.cookie.unwrap_or_else(|| format!("session={}", "x".repeat(58)));
            cookies.push_str(&cookie);
            cookies.push('\n');
        }
        let file = self.folder.join(format!("{} cookies", self.name));
        fs::write(&file, cookies)?;
        let Self { name, shared, .. } = self;
        Ok(Application { name, server, cookies: file, shared, reads: Vec::new(), writes: Vec::new() })
    }
}

impl Application<'_> {
    async fn visit(&self, path: &str, seconds: u32) -> anyhow::Result<Cost> {
        let cpu = || self.shared.map_or(Ok(Duration::ZERO), Shared::cpu);
        let before = cpu()?;
        let outcome = drive(&self.server, Ask::WithCookies(path, &self.cookies), seconds).await?;
        ensure!(outcome.refused == 0, "{} refuses {path}", self.name);
        let more = cpu()?.saturating_sub(before).as_micros() as f64 / outcome.requests as f64;
        Ok(Cost { all: outcome.cpu + more, outcome })
    }

    fn say(&self, what: &str, costs: &[Cost], report: &mut Report) {
        let of = |figure: fn(&Cost) -> f64| median(costs.iter().map(figure));
        report.note(
            &format!("{what}, {}: requests per second", self.name),
            of(|cost| cost.outcome.per_second),
            "",
        );
        report.note("  processor time, that of the store included", of(|cost| cost.all), "µs");
    }
}
