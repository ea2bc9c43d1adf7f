//! The session of the one who asks, and their other ones.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use kerria::{CurrentSession, SecretCookie, SessionState};
use kerria_core::{Cause, Secret, Selector};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        ending::{self, WaitFor, Waiting},
        extract::{AnySession, ApiUser, Body, InPath, InQuery, handle, no_session, no_such_session},
        login::signed_in_answer,
        shapes::{ListedSession, SessionShape},
        throttled,
        tokens::Keep,
    },
    app::App,
    client::From,
    login::{
        self,
        step_up::{StepUp, is_fresh, step_up},
    },
    problem::Problem,
};

/// The media type of JSON (RFC 8259, section 11).
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `GET /api/v1/session`: who am I?
pub async fn show(current: CurrentSession) -> Response {
    answer(current.state())
}

/// The answer to a check. Most are given without the router, by the [front door](crate::front).
pub fn answer(state: &SessionState) -> Response {
    match state {
        SessionState::Good(checked) => {
            ([(header::CONTENT_TYPE, JSON)], SessionShape::of(checked).to_json()).into_response()
        }
        SessionState::Unknown(error) => Problem::from(error).into_response(),
        SessionState::None | SessionState::Refused(_) => no_session(state).into_response(),
    }
}

/// `GET /api/v1/session/csrf-token`: what to send in `X-CSRF-Token`.
pub async fn csrf_token(State(app): State<Arc<App>>, AnySession(checked): AnySession) -> Json<Value> {
    Json(json!({ "csrf_token": app.form_key.token(checked.session.id) }))
}

/// `POST /api/v1/logout`: ends the session of the one who asks. Without a session there is nothing to end, and that is
/// fine.
pub async fn logout(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    headers: HeaderMap,
    InQuery(Waiting { wait }): InQuery<Waiting>,
) -> Result<Response, Problem> {
    if let SessionState::Unknown(error) = current.state() {
        return Err(error.into());
    }
    let ends = login::to_sign_out(&app, &current, &headers, wait != WaitFor::None).await?;
    for session in ends {
        ending::end(&app, Selector::Session { session }, Cause::SignedOut, Some(device.clone()), wait)
            .await?;
    }
    current.remove_cookie();
    let status = if wait == WaitFor::None { StatusCode::ACCEPTED } else { StatusCode::NO_CONTENT };
    let forget =
        [(header::HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cache\""))];
    let sent = |cookie: &&SecretCookie| cookie.values(&headers).next().is_some();
    let of_tokens = [&app.refresh_cookie, &app.access_cookie].into_iter().filter(sent);
    let removed: Vec<_> = of_tokens.map(|cookie| (header::SET_COOKIE, cookie.remove())).collect();
    Ok((status, forget, AppendHeaders(removed)).into_response())
}

/// `GET /api/v1/sessions`: all sessions of the user who asks, the last used first.
pub async fn list(State(app): State<Arc<App>>, user: ApiUser) -> Result<Json<Value>, Problem> {
    let sessions: Vec<ListedSession> = live_sessions(&app, &user).await?;
    Ok(Json(json!({ "sessions": sessions })))
}

/// The live sessions of a user.
pub async fn live_sessions(app: &App, user: &ApiUser) -> Result<Vec<ListedSession>, Problem> {
    let now = user.current.now();
    let details = app.sessions_of(user.user).await?;
    let policy = app.checker.policy();
    let listed = details.iter().filter_map(|details| ListedSession::of(details, policy, now));
    Ok(listed.map(|listed| listed.with_current(user.checked.session.id)).collect())
}

/// `DELETE /api/v1/sessions/{handle}`: ends one session of the user who asks.
pub async fn end_one(
    State(app): State<Arc<App>>,
    user: ApiUser,
    From(device): From,
    InPath(text): InPath<String>,
    InQuery(Waiting { wait }): InQuery<Waiting>,
) -> Result<Response, Problem> {
    let session = handle(&text)?;
    let theirs = app.store.sessions_of(user.user).await?;
    if !theirs.iter().any(|details| details.session.id == session) {
        return Err(no_such_session());
    }
    let own = session == user.checked.session.id;
    let cause = if own { Cause::SignedOut } else { Cause::EndedByUser };
    let ending = ending::end(&app, Selector::Session { session }, cause, Some(device), wait).await?;
    if own {
        user.current.remove_cookie();
    }
    Ok(ending.for_users())
}

/// Which sessions to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndMany {
    scope: Scope,
    #[serde(default)]
    wait: WaitFor,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    Others,
    All,
}

/// `DELETE /api/v1/sessions?scope=others|all`: ends all other sessions of the user who asks, or all.
pub async fn end_many(
    State(app): State<Arc<App>>,
    user: ApiUser,
    From(device): From,
    InQuery(EndMany { scope, wait }): InQuery<EndMany>,
) -> Result<Response, Problem> {
    let selector = match scope {
        Scope::Others => Selector::UserExcept { user: user.user, except: user.checked.session.id },
        Scope::All if !is_fresh(&app, &user.checked, user.current.now()) => return Err(Problem::not_fresh()),
        Scope::All => Selector::User { user: user.user },
    };
    let ending = ending::end(&app, selector, Cause::EndedByUser, Some(device), wait).await?;
    if matches!(scope, Scope::All) {
        user.current.remove_cookie();
    }
    Ok(ending.for_users())
}

/// A password to confirm.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    password: Secret<String>,
}

/// `POST /api/v1/session/step-up`: proves again who one is. The session gets a new token.
pub async fn confirm(
    State(app): State<Arc<App>>,
    user: ApiUser,
    From(device): From,
    Body(Confirm { password }): Body<Confirm>,
) -> Result<Response, Problem> {
    user.in_person()?;
    match step_up(&app, &user.checked, user.user, &password, &device, &user.current).await? {
        StepUp::Renewed(signed_in) => Ok(signed_in_answer(&app, StatusCode::OK, signed_in, Keep::default())),
        StepUp::Refused => Err(wrong_password()),
        StepUp::Throttled { retry_at } => Err(throttled(&app, retry_at)),
        StepUp::Gone => Err(Problem::not_signed_in()),
    }
}

/// The password of somebody who is signed in is not right.
pub fn wrong_password() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "wrong-password",
        "The password is not right",
        "This is not your password.",
    )
}
