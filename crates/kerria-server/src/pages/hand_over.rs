//! Handing the session over to a host of another domain.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Deserialize;

use crate::{
    app::App,
    forward_auth::hand_over::Wish,
    login::return_to::HOME,
    pages::{query::PageQuery, reply::see_other, visitor::PageUser},
};

/// Where the browser wants to come back to.
#[derive(Default, Deserialize)]
pub struct Target {
    to: Option<String>,
}

/// `GET /hand-over`.
pub async fn show(
    State(app): State<Arc<App>>,
    user: PageUser,
    PageQuery(target): PageQuery<Target>,
) -> Response {
    let wish = target.to.as_deref().and_then(|to| Wish::read(&app, to));
    let granted = wish.and_then(|wish| wish.grant(&app, user.checked.session.id, user.current.now()));
    see_other(granted.as_deref().unwrap_or(HOME))
}
