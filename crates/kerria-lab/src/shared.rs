//! What several nodes share: a PostgreSQL server, and perhaps a Redis server for the sessions, started for it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use kerria_store::testing::{TestDatabase, TestRedis, TestServer};
use serde_json::{Value, json};

use crate::{
    client::Client,
    process::{On, Server, cpu_of_family},
};

/// What applications present to follow a node.
pub(crate) const CHECKERS_TOKEN: &str = "the-checkers-of-the-lab-0123456789";

/// Neither passwords nor throttling are what is measured with these.
pub(crate) const SETTINGS: [&str; 6] = [
    "checkers.max=1000",
    "sign_up.mode=open",
    "password.memory_kib=8",
    "password.iterations=1",
    "throttle.network_free=1000000",
    "throttle.network_closes_after=1000000",
];

/// What a node says to Redis itself.
const ASKED: [&str; 3] = ["evalsha", "eval", "ping"];

const PASSWORD: &str = "a copper kettle on the third shelf";

/// The servers, and the files in which nodes find them.
pub(crate) struct Shared {
    folder: PathBuf,
    /// Dropped before its server.
    pub(crate) database: TestDatabase,
    postgres: Arc<TestServer>,
    pub(crate) redis: Option<TestRedis>,
}

impl Shared {
    /// A PostgreSQL server that waits for the disk at every commit.
    pub(crate) fn postgres(folder: &Path) -> anyhow::Result<Self> {
        drop(fs::remove_dir_all(folder));
        fs::create_dir_all(folder)?;
        let postgres = Arc::new(TestServer::start_durable());
        let database = TestDatabase::create_on(&postgres);
        let shared = Self { folder: folder.to_owned(), database, postgres, redis: None };
        // URLs may hold passwords, so they stand in files.
        fs::write(shared.file("database-url"), shared.database.url())?;
        fs::write(shared.file("checkers-token"), CHECKERS_TOKEN)?;
        Ok(shared)
    }

    /// And a Redis server for the sessions, which writes to the disk once a second.
    pub(crate) fn with_redis(folder: &Path) -> anyhow::Result<Self> {
        let redis = TestRedis::start_with(&["--appendonly", "yes"]);
        let shared = Self::postgres(folder)?;
        fs::write(shared.file("redis-url"), redis.url(0))?;
        Ok(Self { redis: Some(redis), ..shared })
    }

    /// Another empty database on the PostgreSQL server.
    pub(crate) fn theirs(&self) -> TestDatabase {
        TestDatabase::create_on(&self.postgres)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts a node.
    pub(crate) async fn node(&self, on: On, number: usize) -> anyhow::Result<Server> {
        let mut settings: Vec<String> = SETTINGS.map(str::to_owned).into();
        settings.push(format!("database.url_file={}", self.file("database-url").display()));
        settings.push(format!("tokens.sealing_key_file={}", self.file("sealing.key").display()));
        settings.push(format!("checkers.token_file={}", self.file("checkers-token").display()));
        if self.redis.is_some() {
            settings.push(format!("redis.url_file={}", self.file("redis-url").display()));
        }
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        Server::kerria(on, &self.folder.join(format!("node-{number}")), &settings).await
    }

    /// Starts so many of them.
    pub(crate) async fn nodes(&self, count: usize) -> anyhow::Result<Vec<Server>> {
        let mut nodes = Vec::new();
        for number in 0..count {
            nodes.push(self.node(On::AllCores, number).await?);
        }
        Ok(nodes)
    }

    /// The processor time that PostgreSQL has used.
    pub(crate) fn postgres_cpu(&self) -> anyhow::Result<Duration> {
        cpu_of_family(self.postgres.process())
    }

    /// The processor time that both have used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let of_redis = self.redis.as_ref().map(|redis| cpu_of_family(redis.process())).transpose()?;
        Ok(self.postgres_cpu()? + of_redis.unwrap_or_default())
    }

    /// How many questions Redis was asked: scripts count once, not what they do.
    pub(crate) fn questions(&self) -> anyhow::Result<i64> {
        let Some(redis) = &self.redis else { return Ok(0) };
        let info: String = redis.ask(0, &["INFO", "commandstats"]);
        let asked = info.lines().filter_map(|line| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            ASKED.contains(&name).then_some(figures.split_once(',')?.0)
        });
        Ok(asked.map(str::parse::<i64>).sum::<Result<_, _>>()?)
    }
}

/// The token of somebody who has just signed up.
pub(crate) async fn signed_up(node: &Server, name: &str) -> anyhow::Result<String> {
    let account = json!({ "name": name, "password": PASSWORD, "transport": "bearer" }).to_string();
    let answer = Client::connect(node.port).await?.post("/api/v1/users", &account).await?;
    ensure!(answer.status < 300, "signing up: {}", String::from_utf8_lossy(&answer.body));
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok(body["token"].as_str().context("no token in the answer")?.to_owned())
}
