//! Session data: a cart, the last form.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use kerria::CurrentSession;
use kerria_core::{
    DataKey, DataRefused, Device, SessionId, Token, TokenKind, Transport,
    store::{DataOwner, DataWrite, NewSession},
    throttle::Admission,
};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Number;

use crate::{
    api::{
        extract::{AnyJson, AnySession, Body, InPath, no_session},
        throttled,
    },
    app::App,
    client::From,
    login::{deliver, doors::Doors},
    problem::Problem,
};

/// `GET /api/v1/session/data/{key}`: the value.
pub async fn get(
    State(app): State<Arc<App>>,
    AnySession(checked): AnySession,
    InPath(key): InPath<String>,
) -> Result<Response, Problem> {
    let key = parse_key(&key)?;
    match app.store.data(checked.session.id, &key).await? {
        Some(json) => Ok(raw_json(StatusCode::OK, json)),
        None => Err(no_value(&key)),
    }
}

/// `PUT /api/v1/session/data/{key}`: writes a value. A visitor without a session gets one, with nobody signed in.
pub async fn put(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    headers: HeaderMap,
    InPath(key): InPath<String>,
    AnyJson(value): AnyJson,
) -> Result<Response, Problem> {
    let key = parse_key(&key)?;
    let (owner, token) = owner(&app, &current, &headers, device).await?;
    let written = app.store.put_data(owner, &key, value.to_string(), app.config.session.data).await?;
    answer(&app, &current, token.as_ref(), written)
}

/// A step up or down.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Increment {
    #[serde(deserialize_with = "whole_number")]
    increment: i64,
}

/// Reads `1.0` as 1, as JSON Schema does (section 6.1.1) and as some languages write it.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = Number::deserialize(deserializer)?;
    let whole = number.as_i64().or_else(|| number.as_f64().and_then(exactly));
    whole.ok_or_else(|| Error::custom(format!("{number} is not a whole number of 64 bits")))
}

/// Beyond 2^53 a number with a point has been rounded, and nobody knows what was meant.
#[expect(clippy::cast_possible_truncation, reason = "whole and in range, so nothing is cut off")]
fn exactly(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// `POST /api/v1/session/data/{key}`: adds to a whole number and answers the sum.
pub async fn increment(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    headers: HeaderMap,
    InPath(key): InPath<String>,
    Body(Increment { increment }): Body<Increment>,
) -> Result<Response, Problem> {
    let key = parse_key(&key)?;
    let (owner, token) = owner(&app, &current, &headers, device).await?;
    let written = app.store.increment_data(owner, &key, increment, app.config.session.data).await?;
    answer(&app, &current, token.as_ref(), written)
}

/// `DELETE /api/v1/session/data/{key}`: removes the value.
pub async fn remove(
    State(app): State<Arc<App>>,
    AnySession(checked): AnySession,
    InPath(key): InPath<String>,
) -> Result<StatusCode, Problem> {
    let key = parse_key(&key)?;
    if app.store.remove_data(checked.session.id, &key).await?.is_some() {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_value(&key))
    }
}

/// Whose data it is: the session of the request, or a visitor's to be opened with this token. A token that was presented
/// and is not good is never taken up; and whoever sends credentials in a header keeps no cookies, so that a visitor's
/// session would be lost on them.
async fn owner(
    app: &App,
    current: &CurrentSession,
    headers: &HeaderMap,
    device: Device,
) -> Result<(DataOwner, Option<Token>), Problem> {
    if let kerria::SessionState::Unknown(error) = current.state() {
        return Err(error.into());
    }
    if let Some(checked) = current.checked() {
        return Ok((DataOwner::Session(checked.session.id), None));
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(no_session(current.state()));
    }
    let now = app.clock.now();
    if let Admission::Throttled { retry_at } = Doors::of_visitor(app, &device).knock(app, now).await? {
        return Err(throttled(app, retry_at));
    }
    let token = Token::random(TokenKind::Session, &*app.entropy);
    let session = NewSession {
        id: SessionId::new(now, &*app.entropy),
        token: token.hash(),
        transport: Transport::Cookie,
        remembered: false,
        device,
        now,
    };
    Ok((DataOwner::Visitor(session), Some(token)))
}

fn answer(
    app: &App,
    current: &CurrentSession,
    token: Option<&Token>,
    written: DataWrite,
) -> Result<Response, Problem> {
    match written {
        DataWrite::Written { json, opened } => {
            if let (Some(found), Some(token)) = (opened, token) {
                deliver(app, token, found, current);
            }
            Ok(raw_json(StatusCode::OK, json))
        }
        DataWrite::Refused(refused) => Err(refused.into()),
        DataWrite::Gone => Err(Problem::not_signed_in()),
    }
}

fn parse_key(key: &str) -> Result<DataKey, Problem> {
    DataKey::parse(key).map_err(Problem::from)
}

fn no_value(key: &DataKey) -> Problem {
    Problem::not_found(format!("The session holds nothing under the key {key}."))
}

fn raw_json(status: StatusCode, json: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], json).into_response()
}

impl std::convert::From<DataRefused> for Problem {
    fn from(refused: DataRefused) -> Self {
        let (status, kind) = match refused {
            DataRefused::Key => return Self::bad_key(refused),
            DataRefused::ValueTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "data-value-too-large"),
            DataRefused::TooManyKeys { .. } => (StatusCode::CONFLICT, "data-too-many-keys"),
            DataRefused::Full { .. } => (StatusCode::CONFLICT, "data-full"),
            DataRefused::NotANumber => (StatusCode::CONFLICT, "data-not-a-number"),
        };
        Self::new(status, kind, "The session data was not written", sentence(refused))
    }
}

impl Problem {
    fn bad_key(refused: DataRefused) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "data-key", "This is not a key", sentence(refused))
    }
}

fn sentence(refused: DataRefused) -> String {
    let mut text = refused.to_string();
    text[..1].make_ascii_uppercase();
    text + "."
}
