//! The description of the API, for people's tools.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// The document, in the version of this program.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

/// `GET /api/v1/openapi.json`.
pub async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
