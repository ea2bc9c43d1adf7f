//! Counts the visits of every browser, in a session that survives a restart.
//!
//! ```sh
//! cargo run --package kerria --features sqlite --example counter -- 127.0.0.1:3000
//! ```

use std::sync::Arc;

use axum::{Router, routing::get};
use kerria::{Session, SessionError, SessionOptions, Sessions, SqliteStore};

async fn count(session: Session) -> Result<String, SessionError> {
    let visits = session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1).await?;
    Ok(format!("You were here {visits} times.\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let store = Arc::new(SqliteStore::open("counter.db".as_ref())?);
    let sessions = Sessions::start(store, SessionOptions::new(url.parse()?)).await?;
    let app = Router::new().route("/", get(count)).layer(sessions.layer());
    eprintln!("listening on {url}");
    Ok(axum::serve(listener, app).await?)
}
