//! Every route, one row each.

use std::sync::Arc;

use axum::Router;

use crate::app::App;

/// What is served on the public address.
pub fn public(app: Arc<App>) -> Router {
    Router::new().with_state(app)
}

/// What is served on the control socket, and to the command line when no server runs: the operator's API, without a
/// credential, because only the owner of the folder gets there.
pub fn control(app: Arc<App>) -> Router {
    Router::new().with_state(app)
}
