//! What stands before the handlers of the API: protection against cross-site requests, and the operator's credential.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use kerria::{ClientAddress, CurrentSession, OriginVerdict, bearer};
use kerria_core::Secret;
use subtle::ConstantTimeEq;
use tracing::warn;

use crate::{app::App, problem::Problem};

/// Refuses requests that change something and may come from somebody else's page.
///
/// A session that the browser attaches by itself needs more than silence: either the browser says that the request is from
/// our own pages, or the request presents the session's token in `X-CSRF-Token`. A token that is presented has to be right.
pub async fn own_pages_only(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let verdict = app.own_origin.judge(request.method(), request.headers());
    if verdict == OriginVerdict::Foreign {
        return Err(Problem::foreign("The browser says that another site's page sent it."));
    }
    let by_cookie = current.checked().filter(|_| current.is_by_cookie());
    let presented = request.headers().get("x-csrf-token").map(|token| token.to_str().unwrap_or_default());
    match (by_cookie, presented) {
        (Some(checked), Some(token)) if !app.form_key.verify(checked.session.id, token) => {
            Err(Problem::foreign("The token in X-CSRF-Token is not the one of this session."))
        }
        (Some(_), None) if verdict == OriginVerdict::Unknown => Err(Problem::foreign(
            "Send the token from GET /api/v1/session/csrf-token in the header X-CSRF-Token, or use a bearer token.",
        )),
        _ => Ok(next.run(request).await),
    }
}

/// Lets only the operator through.
pub async fn operators_only(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let refused = [Problem::not_an_operator, Problem::operator_token_refused];
    only_with(app.config.operator_token.as_ref(), "operator token", refused, request, next).await
}

/// Lets only checkers through.
pub async fn checkers_only(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let refused = [Problem::not_a_checker, Problem::checkers_token_refused];
    only_with(app.config.checkers_token.as_ref(), "token of checkers", refused, request, next).await
}

/// Lets only those through who present the token that is set. `refused` answers those who present none, and those who present another one.
async fn only_with(
    expected: Option<&Secret<String>>,
    called: &str,
    refused: [fn() -> Problem; 2],
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match presented(expected, request.headers()) {
        Presented::Right => Ok(next.run(request).await),
        Presented::Wrong => {
            let client = request.extensions().get::<ClientAddress>().map(|client| client.0);
            warn!(address = ?client, "a wrong {called} was presented");
            Err(refused[1]())
        }
        Presented::Nothing => Err(refused[0]()),
    }
}

/// What a request presents as a token that is set.
enum Presented {
    Nothing,
    Wrong,
    Right,
}

fn presented(expected: Option<&Secret<String>>, headers: &HeaderMap) -> Presented {
    let bearer = headers.get(header::AUTHORIZATION).and_then(bearer);
    let Some(presented) = bearer else { return Presented::Nothing };
    match expected {
        Some(expected) if bool::from(presented.ct_eq(expected.expose().as_bytes())) => Presented::Right,
        _ => Presented::Wrong,
    }
}
