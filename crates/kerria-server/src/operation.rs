//! What operators and their tools ask: is it well, what does it measure. And the files that pages refer to.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    app::App,
    metrics::CONTENT_TYPE,
    pages::assets::{self, Asset},
    problem::{log_store_error, trouble_word},
};

/// `GET /health/live`: the process answers.
pub async fn live() -> &'static str {
    "live\n"
}

/// `GET /health/ready`: the store answers and can be written to.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.store.check_health().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            log_store_error(&error);
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", trouble_word(error.trouble)))
                .into_response()
        }
    }
}

/// `GET /metrics`: in the OpenMetrics text format.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.render(&app.checker)).into_response()
}

/// `GET /assets/{name}`: a file whose address changes with its content.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    assets::asset(&name).map_or_else(|| StatusCode::NOT_FOUND.into_response(), |asset| serve(asset, &headers))
}

/// `GET /favicon.ico`: for browsers that ask without having been told.
pub async fn favicon(headers: HeaderMap) -> Response {
    serve(&assets::MARK, &headers)
}

fn serve(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let etag = asset.etag();
    let kept = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let about = [
        (header::CONTENT_TYPE, asset.content_type.to_owned()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
        (header::ETAG, etag),
    ];
    if kept {
        (StatusCode::NOT_MODIFIED, about).into_response()
    } else {
        (about, asset.bytes).into_response()
    }
}
