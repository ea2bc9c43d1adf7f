//! The application of the demo. It knows nothing of sessions: it is told who the user is.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderMap, Response, StatusCode, header},
    response::{Html, IntoResponse},
};

use crate::app::App;

/// Where the page asks whether it still may.
const NOW: &str = "/now";

#[derive(Template)]
#[template(path = "demo.html")]
struct Page<'p> {
    path: &'p str,
    name: &'p str,
    groups: &'p str,
    kerria: &'p str,
    now: &'p str,
}

/// Answers a request that has passed, with the headers that the proxy was given for the application.
pub(super) fn answer(app: &App, path: &str, told: &HeaderMap) -> Response<Body> {
    if path == NOW {
        return (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response();
    }
    let header = |name| told.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let page = Page {
        path,
        name: header("remote-name").unwrap_or_default(),
        groups: header("remote-groups").unwrap_or_default(),
        kerria: app.config.public_url.as_str(),
        now: NOW,
    };
    match page.render() {
        Ok(html) => ([(header::CACHE_CONTROL, "no-store")], Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
