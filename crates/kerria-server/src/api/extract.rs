//! What API handlers ask for, and the problems that answer when it is not there.

use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

use axum::{
    Json,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
};
use kerria::{Checked, CurrentSession, Refusal, SessionState};
use kerria_core::{SessionId, UserId};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use crate::{app::App, login::step_up::is_fresh, problem::Problem};

/// A good session, a user's or an anonymous one.
pub struct AnySession(pub Checked);

/// The signed-in user of a request.
pub struct ApiUser {
    /// Who.
    pub user: UserId,
    /// Their session.
    pub checked: Checked,
    /// The request's session, to change its cookie.
    pub current: CurrentSession,
}

/// The signed-in user of a request, who has proved recently who they are.
pub struct FreshUser(pub ApiUser);

/// A body that is a JSON object.
pub struct Body<T>(pub T);

/// A body that is any JSON value.
pub struct AnyJson(pub Value);

/// A JSON object. What serde derives for a struct also takes an array of its members in their order, which nobody means.
pub struct Object<T>(pub T);

/// An identifier in the form in which it is written, and no other.
pub struct Identifier<T>(pub T);

/// A value in the path.
pub struct InPath<T>(pub T);

/// The query string.
pub struct InQuery<T>(pub T);

/// What is known of the session, or the problem that it could not be found out.
pub async fn current(parts: &mut Parts) -> Result<CurrentSession, Problem> {
    let Ok(current) = CurrentSession::from_request_parts(parts, &()).await;
    match current.state() {
        SessionState::Unknown(error) => Err(error.into()),
        _ => Ok(current),
    }
}

impl<S: Sync> FromRequestParts<S> for AnySession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let current = current(parts).await?;
        current.checked().cloned().map(Self).ok_or_else(|| no_session(current.state()))
    }
}

impl<S: Sync> FromRequestParts<S> for ApiUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let current = current(parts).await?;
        let checked = current.checked().cloned().ok_or_else(|| no_session(current.state()))?;
        let user = checked.session.user.ok_or_else(Problem::anonymous)?;
        Ok(Self { user, checked, current })
    }
}

/// Why nobody is signed in: nothing was presented, or what was presented is not good.
pub fn no_session(state: &SessionState) -> Problem {
    match state {
        SessionState::Refused(Refusal::InsufficientScope) => Problem::insufficient_scope(),
        SessionState::Refused(_) => Problem::session_token_refused(),
        _ => Problem::not_signed_in(),
    }
}

impl ApiUser {
    /// Whether the session has not ended since it was checked. To be asked once the whole request has arrived: a client
    /// may take its time over the body.
    ///
    /// # Errors
    /// The problem that answers if it has ended.
    pub fn still_there(&self, app: &App) -> Result<(), Problem> {
        let stands = app.checker.still_stands(&self.checked, app.clock.now());
        if stands { Ok(()) } else { Err(no_session(self.current.state())) }
    }

    /// Whether the session itself is presented, not an access token of it: only then may the account be changed. An access
    /// token may be in other hands than the session.
    ///
    /// # Errors
    /// The problem that answers if not.
    pub fn in_person(&self) -> Result<(), Problem> {
        if self.current.is_in_person() { Ok(()) } else { Err(Problem::session_needed()) }
    }

    /// The same, and whether the last proof of identity is still recent enough.
    ///
    /// # Errors
    /// The problem that answers if not.
    pub fn still_fresh(&self, app: &App) -> Result<(), Problem> {
        self.still_there(app)?;
        if is_fresh(app, &self.checked, app.clock.now()) { Ok(()) } else { Err(Problem::not_fresh()) }
    }
}

impl FromRequestParts<Arc<App>> for FreshUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let user = ApiUser::from_request_parts(parts, app).await?;
        user.in_person()?;
        if is_fresh(app, &user.checked, user.current.now()) {
            Ok(Self(user))
        } else {
            Err(Problem::not_fresh())
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Object(body) = json(request, state).await?;
        Ok(Self(body))
    }
}

impl<S: Send + Sync> FromRequest<S> for AnyJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        json(request, state).await.map(Self)
    }
}

async fn json<T: DeserializeOwned, S: Send + Sync>(request: Request, state: &S) -> Result<T, Problem> {
    match Json::from_request(request, state).await {
        Ok(Json(body)) => Ok(body),
        Err(JsonRejection::MissingJsonContentType(_)) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "The body is not JSON",
            "Send JSON, with the header Content-Type: application/json.",
        )),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            "Send less in one request.",
        )),
        Err(JsonRejection::JsonSyntaxError(error)) => {
            Err(not_taken("The body is not JSON", &error.body_text()))
        }
        Err(rejection) => Err(not_taken("The body is not what is taken here", &rejection.body_text())),
    }
}

/// A bad request, with the reason alone of what the framework says before it ("Failed to deserialize …: reason").
fn not_taken(what: &str, told: &str) -> Problem {
    let reason = told.split_once(": ").map_or(told, |(_, reason)| reason);
    Problem::bad_request(format!("{what}: {reason}."))
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Identifier<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value))
            .map_err(|rejection| not_taken("The path cannot be read", &rejection.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(value)| Self(value))
            .map_err(|rejection| not_taken("The query is not what is taken here", &rejection.body_text()))
    }
}

/// The handle in a path, if it is one. One that cannot be one is like one that does not exist.
pub fn handle(text: &str) -> Result<SessionId, Problem> {
    text.parse().map_err(|_| no_such_session())
}

/// There is no such session, or it is somebody else's.
pub fn no_such_session() -> Problem {
    Problem::not_found("None of your sessions has this handle. It may have ended already.")
}
