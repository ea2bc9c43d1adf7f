//! The ceiling: an axum server that greets, and does nothing else.

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Serves the greeting on every path but `/nothing`.
pub(crate) async fn serve(port: u16) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/", get(greet))
        .route("/api/v1/session", get(greet))
        .route("/forward-auth", get(greet))
        .route("/nothing", get(async || ()))
        .fallback(greet);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, router).await?;
    Ok(())
}

async fn greet() -> Json<Value> {
    Json(json!({ "message": "hello" }))
}
