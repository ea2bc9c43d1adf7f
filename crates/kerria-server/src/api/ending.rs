//! Ends that somebody asks for, and for whom their answer waits: `?wait=none|store|checkers`.

use std::sync::Arc;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kerria_core::{
    Cause, Device, Selector,
    store::{Revoked, Wait},
};
use serde::Deserialize;
use serde_json::json;

use crate::{api::shapes::Ended, app::App, login, problem::Problem};

/// For whom the answer to an end waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitFor {
    /// For nobody, not even the store: it is done in a moment, and nothing is promised.
    None,
    /// Until it is committed, and true at this node.
    Store,
    /// Until no checker accepts any more what has ended.
    #[default]
    Checkers,
}

/// A query that says nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// For whom to wait.
    #[serde(default)]
    pub wait: WaitFor,
}

/// What came of asking for an end.
pub enum Ending {
    /// It is taken in, and done later.
    Later,
    /// It is done.
    Done(Revoked, Wait),
}

impl WaitFor {
    /// What the store has to wait for. `None` if it is done later.
    #[must_use]
    pub const fn in_store(self) -> Option<Wait> {
        match self {
            Self::None => None,
            Self::Store => Some(Wait::Store),
            Self::Checkers => Some(Wait::Checkers),
        }
    }
}

/// Ends what `selector` selects, and waits for whom `wait` says.
///
/// # Errors
/// If the store fails; or if too much is to be done later already.
pub async fn end(
    app: &Arc<App>,
    selector: Selector,
    cause: Cause,
    device: Option<Device>,
    wait: WaitFor,
) -> Result<Ending, Problem> {
    match wait.in_store() {
        Some(wait) => Ok(Ending::Done(login::end_and_wait(app, selector, cause, device, wait).await?, wait)),
        None => {
            login::end_later(app, selector, cause, device)?;
            Ok(Ending::Later)
        }
    }
}

impl Ending {
    /// The answer for the user who has asked. What the machines are called is not for them.
    #[must_use]
    pub fn for_users(self) -> Response {
        self.answer(|ended| Ended { number: None, late: None, ..ended })
    }

    /// The answer for operators.
    #[must_use]
    pub fn for_operators(self) -> Response {
        self.answer(|ended| ended)
    }

    fn answer(self, tell: impl FnOnce(Ended) -> Ended) -> Response {
        match self {
            Self::Later => (StatusCode::ACCEPTED, Json(json!({ "waited_for": "none" }))).into_response(),
            Self::Done(revoked, wait) => Json(tell(Ended::of(revoked, wait))).into_response(),
        }
    }
}
