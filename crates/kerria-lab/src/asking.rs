//! Checks of a node beside the usual way: a server that asks its store at every request.
//!
//! The usual server is axum as well. It looks a token up as it is, by `GET` through the one connection that the client library
//! shares, or by `SELECT` with the primary key in a prepared statement on one of eight connections; and answers in JSON what it
//! has found. So it does less than it should: a store that is read by others gives its tokens away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::get,
};
use kerria::SystemClock;
use kerria_core::Clock;
use redis::{AsyncTypedCommands, aio::MultiplexedConnection};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_postgres::{NoTls, Statement};

use crate::{
    Measure,
    numbers::median,
    process::{On, Server},
    report::Report,
    shared::{Shared, signed_up},
    wrk::{Ask, Outcome, drive_on},
};

/// How many ask at the same time: so many that the server is never waiting and sends questions to its store together, and one alone.
const CONNECTIONS: [u32; 2] = [64, 1];
/// The connections of the server to PostgreSQL.
const TO_POSTGRES: usize = 8;
const TOKEN: &str = "8Gk1pJq0lT6v2xQe5nYb7rWc9sZd3mFh4aKu8oLi";
const TABLE: &str = "CREATE TABLE usual (token text PRIMARY KEY, handle text NOT NULL, user_id text NOT NULL, \
     user_name text NOT NULL, opened_at bigint NOT NULL, expires_at bigint NOT NULL)";
const SELECT: &str = "SELECT handle, user_id, user_name, opened_at, expires_at FROM usual WHERE token = $1";

/// Compares processor times: of a request, and of the store meanwhile.
pub(crate) async fn measure(measure: &Measure, report: &mut Report) -> anyhow::Result<()> {
    let on_redis = Shared::with_redis(&measure.folder.join("asking-redis"))?;
    let on_postgres = Shared::postgres(&measure.folder.join("asking-postgres"))?;
    let redis_url = on_redis.redis.as_ref().context("it was started with Redis")?.url(1);
    fill(&on_redis, &on_postgres)?;

    let hello = Server::hello().await?;
    let (asks_redis, asks_postgres) =
        (Server::asking(&redis_url).await?, Server::asking(&on_postgres.database.url()).await?);
    let (node_on_redis, node_on_postgres) =
        (on_redis.node(On::OneCore, 0).await?, on_postgres.node(On::OneCore, 0).await?);
    let bearer = |token: &str| format!("authorization: Bearer {token}");
    let usual = bearer(TOKEN);
    let of_redis = bearer(&signed_up(&node_on_redis, "alice").await?);
    let of_postgres = bearer(&signed_up(&node_on_postgres, "alice").await?);

    for connections in CONNECTIONS {
        let load = Load { connections, seconds: measure.seconds };
        let (mut of_hello, mut beside_redis, mut beside_postgres) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..measure.rounds {
            of_hello.push(drive_on(connections, &hello, Ask::Same(None), measure.seconds).await?.cpu);
            beside_redis.push(Pair {
                asks: load.on(&asks_redis, &usual, &on_redis).await?,
                node: load.on(&node_on_redis, &of_redis, &on_redis).await?,
            });
            beside_postgres.push(Pair {
                asks: load.on(&asks_postgres, &usual, &on_postgres).await?,
                node: load.on(&node_on_postgres, &of_postgres, &on_postgres).await?,
            });
        }
        let hello = median(of_hello);
        let at_once = format!("{connections} at a time");
        report.note(&format!("axum hello, {at_once}: processor time of a request"), hello, "µs");
        say(report, &at_once, "Redis", "GET", &beside_redis, hello);
        say(report, &at_once, "PostgreSQL", "SELECT", &beside_postgres, hello);
    }
    Ok(())
}

/// How much is asked at the same time, and for how long.
struct Load {
    connections: u32,
    seconds: u32,
}

/// Microseconds of processor time for one request.
struct Cost {
    server: f64,
    store: f64,
}

impl Cost {
    const fn all(&self) -> f64 {
        self.server + self.store
    }
}

impl Load {
    async fn on(&self, server: &Server, header: &str, shared: &Shared) -> anyhow::Result<Cost> {
        let before = shared.cpu()?;
        let Outcome { requests, refused, cpu, .. } =
            drive_on(self.connections, server, Ask::Same(Some(header)), self.seconds).await?;
        ensure!(refused == 0, "a good session was refused");
        let store = shared.cpu()? - before;
        Ok(Cost { server: cpu, store: store.as_micros() as f64 / requests as f64 })
    }
}

/// What was measured one after the other.
struct Pair {
    asks: Cost,
    node: Cost,
}

fn say(report: &mut Report, at_once: &str, store: &str, question: &str, pairs: &[Pair], hello: f64) {
    let of = |figure: fn(&Pair) -> f64| median(pairs.iter().map(figure));
    let asks = format!("asking {store} at every request ({question}), {at_once}");
    report.note(&format!("{asks}: processor time of the server"), of(|pair| pair.asks.server), "µs");
    report.note(&format!("  of {store}"), of(|pair| pair.asks.store), "µs");
    report.note(
        &format!("a node with {store} behind it, {at_once}: processor time"),
        of(|pair| pair.node.server),
        "µs",
    );
    report.note(&format!("  of {store}"), of(|pair| pair.node.store), "µs");
    let check = |pair: &Pair| 100.0 * (pair.node.all() - hello) / (pair.asks.all() - hello);
    report.at_most(
        &format!("  the check alone (what is more than hello, {store} included): of that of asking"),
        median(pairs.iter().map(check)),
        20.0,
        "%",
    );
    report.note(
        "  the whole request, HTTP included: asking, times a node's",
        of(|pair| pair.asks.all() / pair.node.all()),
        "×",
    );
    report.note(
        "  the server alone, HTTP included: asking, times a node's",
        of(|pair| pair.asks.server / pair.node.server),
        "×",
    );
}

/// A session as applications keep it.
#[derive(Serialize, Deserialize)]
struct Usual {
    handle: String,
    user_id: String,
    user_name: String,
    opened_at: i64,
    expires_at: i64,
}

fn fill(on_redis: &Shared, on_postgres: &Shared) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let usual = Usual {
        handle: "01a0cf5e-5d2c-7d0e-8a43-1f6a0c9be217".to_owned(),
        user_id: "01a0cf5e-3b81-7b1c-9f0d-6f1f2f7b9a55".to_owned(),
        user_name: "alice".to_owned(),
        opened_at: now.as_millis(),
        expires_at: (now + Duration::from_secs(24 * 60 * 60)).as_millis(),
    };
    let redis = on_redis.redis.as_ref().context("it was started with Redis")?;
    redis.ask::<()>(1, &["SET", &redis_key(TOKEN), &serde_json::to_string(&usual)?]);
    let Usual { handle, user_id, user_name, opened_at, expires_at } = usual;
    let values = format!("('{TOKEN}', '{handle}', '{user_id}', '{user_name}', {opened_at}, {expires_at})");
    on_postgres.database.run(&format!("{TABLE}; INSERT INTO usual VALUES {values}"));
    Ok(())
}

fn redis_key(token: &str) -> String {
    format!("session:{token}")
}

/// Where the server looks.
enum Store {
    Redis(MultiplexedConnection),
    Postgres(Vec<(tokio_postgres::Client, Statement)>, AtomicUsize),
}

/// Serves checks that ask the store with this URL.
pub(crate) async fn serve(port: u16, store: &str) -> anyhow::Result<()> {
    let store = if store.starts_with("redis:") {
        Store::Redis(redis::Client::open(store)?.get_multiplexed_async_connection().await?)
    } else {
        let mut connections = Vec::new();
        for _ in 0..TO_POSTGRES {
            let (client, connection) = tokio_postgres::connect(store, NoTls).await?;
            tokio::spawn(connection);
            let select = client.prepare(SELECT).await?;
            connections.push((client, select));
        }
        Store::Postgres(connections, AtomicUsize::new(0))
    };
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/api/v1/session", get(check))
        .with_state(Arc::new(store));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, router).await?;
    Ok(())
}

async fn check(State(store): State<Arc<Store>>, headers: HeaderMap) -> Result<Json<Usual>, StatusCode> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
    let found = store.find(token).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let is_good = |usual: &Usual| usual.expires_at > SystemClock.now().as_millis();
    found.filter(is_good).map(Json).ok_or(StatusCode::UNAUTHORIZED)
}

impl Store {
    async fn find(&self, token: &str) -> anyhow::Result<Option<Usual>> {
        match self {
            Self::Redis(connection) => {
                let found = connection.clone().get(redis_key(token)).await?;
                Ok(found.map(|json| serde_json::from_str(&json)).transpose()?)
            }
            Self::Postgres(connections, turn) => {
                let (client, select) = &connections[turn.fetch_add(1, Relaxed) % TO_POSTGRES];
                let found = client.query_opt(select, &[&token]).await?;
                let usual = |row: tokio_postgres::Row| {
                    anyhow::Ok(Usual {
                        handle: row.try_get(0)?,
                        user_id: row.try_get(1)?,
                        user_name: row.try_get(2)?,
                        opened_at: row.try_get(3)?,
                        expires_at: row.try_get(4)?,
                    })
                };
                found.map(usual).transpose()
            }
        }
    }
}
