//! How pages answer.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use tracing::error;

use crate::{
    app::App,
    pages::views::{ErrorPage, Layout},
    problem::log_store_error,
};

/// A page, or the error page in its place.
pub type Page = Result<Response, Response>;

/// Renders a page.
pub fn page(app: &App, status: StatusCode, view: &impl Template) -> Response {
    match view.render() {
        Ok(html) => {
            (status, [(header::CONTENT_SECURITY_POLICY, app.page_policy.clone())], Html(html)).into_response()
        }
        Err(error) => {
            error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Renders an error page, with its own status.
pub fn error_page(app: &App, view: &ErrorPage) -> Response {
    let status = StatusCode::from_u16(view.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    page(app, status, view)
}

/// The error page for a store that failed or too much work at once: 503, and nobody is signed out.
pub fn unavailable(app: &App) -> Response {
    let mut response = error_page(app, &ErrorPage::unavailable(Layout::visitor(&app.config.site_name)));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The error page for a failure that was only reported.
pub fn failed(app: &App, failure: impl Into<crate::login::Failure>) -> Response {
    if let crate::login::Failure::Store(error) = failure.into() {
        log_store_error(&error);
    }
    unavailable(app)
}

/// Sends the browser on, with GET (RFC 9110, section 15.4.4).
pub fn see_other(target: &str) -> Response {
    let location = HeaderValue::from_str(target).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}
