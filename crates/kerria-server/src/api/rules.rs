//! The operator's API on the rules of forward-auth.

use std::sync::Arc;

use axum::{Json, extract::State, http::Method};
use serde::Deserialize;

use crate::{
    api::{extract::Body, operator::find_user},
    app::App,
    field::Field,
    forward_auth::{
        explain::{Explanation, explain},
        original::Original,
    },
    problem::Problem,
};

/// A request that somebody might send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    url: String,
    method: Option<String>,
    /// The name, e-mail address or identifier of whoever sends it; nobody, if it is left out.
    user: Option<String>,
}

/// `POST /api/v1/operator/rules/test`: which rule decides on a request, and why.
pub async fn test(
    State(app): State<Arc<App>>,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Explanation>, Problem> {
    let method = wanted.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Problem::invalid(Field::Method, "method is a word such as GET or POST."))?;
    let original = Original::typed(method, &wanted.url).map_err(|_| {
        Problem::invalid(Field::Url, "url is a whole address, as in https://wiki.example.com/admin.")
    })?;
    let profile = match &wanted.user {
        Some(text) => Some(find_user(&app, text).await?.into_profile()),
        None => None,
    };
    Ok(Json(explain(&app.config.forward_auth.rules, &original, profile.as_ref())))
}
