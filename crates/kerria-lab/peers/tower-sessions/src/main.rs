//! A counter with tower-sessions: `counter-with-tower-sessions PORT STORE`, where the store is `memory`, `sqlite:FILE`, or the URL of
//! a PostgreSQL or Redis server.

use std::str::FromStr;

use axum::{Router, routing::get};
use sqlx::{
    PgPool, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::net::TcpListener;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer, SessionStore, session::Error};
use tower_sessions_redis_store::{
    RedisStore,
    fred::prelude::{ClientLike, Config, Pool},
};
use tower_sessions_sqlx_store::{PostgresStore, SqliteStore};

const VISITS: &str = "visits";

async fn read(session: Session) -> Result<String, Failed> {
    Ok(session.get::<u64>(VISITS).await?.unwrap_or(0).to_string())
}

async fn count(session: Session) -> Result<String, Failed> {
    let visits = session.get::<u64>(VISITS).await?.unwrap_or(0) + 1;
    session.insert(VISITS, visits).await?;
    Ok(visits.to_string())
}

/// A store that does not answer.
struct Failed;

impl From<Error> for Failed {
    fn from(_: Error) -> Self {
        Self
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

fn app<S: SessionStore + Clone>(store: S) -> Router {
    let sessions = SessionManagerLayer::new(store).with_secure(false);
    Router::new().route("/read", get(read)).route("/count", get(count)).layer(sessions)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, store] = &arguments[..] else { return Err("say the port and the store".into()) };
    let app = match store.split_once(':') {
        Some(("sqlite", file)) => {
            // A commit that was answered is on the disk, as with Kerria.
            let options = SqliteConnectOptions::from_str(&format!("sqlite://{file}"))?
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
            let store = SqliteStore::new(SqlitePool::connect_with(options).await?);
            store.migrate().await?;
            app(store)
        }
        Some(("postgres" | "postgresql", _)) => {
            let store = PostgresStore::new(PgPool::connect(store).await?);
            store.migrate().await?;
            app(store)
        }
        Some(("redis", _)) => {
            let pool = Pool::new(Config::from_url(store)?, None, None, None, 6)?;
            pool.connect();
            pool.wait_for_connect().await?;
            app(RedisStore::new(pool))
        }
        _ => app(MemoryStore::default()),
    };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    Ok(axum::serve(listener, app).await?)
}
