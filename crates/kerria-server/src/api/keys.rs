//! The operator's API on signing keys.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use kerria_core::{Algorithm, KeyState, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{extract::Body, shapes::Rfc3339},
    app::App,
    field::Field,
    keys::Turned,
    problem::Problem,
};

/// `GET /api/v1/operator/keys`: the signing keys. Their private parts are nobody's to see.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    app.keyring.reload().await?;
    Ok(Json(shown(&app)))
}

/// Which keyring to turn on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// One algorithm; all that are in use, if it is left out.
    algorithm: Option<Algorithm>,
}

/// `POST /api/v1/operator/keys/rotate`: the next key signs from now on. What the old one signed stays good.
pub async fn rotate(
    State(app): State<Arc<App>>,
    Body(Rotate { algorithm }): Body<Rotate>,
) -> Result<Json<Value>, Problem> {
    app.keyring.reload().await?;
    let keys = app.keyring.keys();
    let active = keys.iter().filter(|key| key.state == KeyState::Active).map(|key| key.algorithm);
    let chosen: Vec<_> = active.filter(|of| algorithm.is_none_or(|wanted| wanted == *of)).collect();
    if chosen.is_empty() {
        return Err(Problem::invalid(Field::Algorithm, "No key signs with this algorithm."));
    }
    let now = app.clock.now();
    // All or none, as far as it can be known before.
    for next in keys.iter().filter(|key| key.state == KeyState::Next && chosen.contains(&key.algorithm)) {
        let known_at = next.created_at + app.config.tokens.jwks_max_age;
        if now < known_at {
            return Err(too_new(next.algorithm, known_at));
        }
    }
    for algorithm in chosen {
        match app.keyring.turn(algorithm, now).await? {
            Turned::To(_) => {}
            Turned::TooSoon { at } => return Err(too_new(algorithm, at)),
            Turned::Overtaken => {
                return Err(Problem::conflict(
                    "key-rotated",
                    "Somebody else was quicker",
                    "The keyring was turned at the same moment. Look at the keys before you try again.",
                ));
            }
        }
    }
    Ok(Json(shown(&app)))
}

fn too_new(algorithm: Algorithm, known_at: Timestamp) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "key-too-new",
        "The next key is too new",
        format!(
            "The next {} key was published a moment ago, and whoever verifies may not have fetched it yet. Rotate after {}, \
             or throw all keys away if one of them is in wrong hands.",
            algorithm.as_str(),
            Rfc3339(known_at)
        ),
    )
}

/// Nothing has to be said about it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {}

/// `POST /api/v1/operator/keys/reset`: throws all keys away and ends everything of everyone.
pub async fn reset(State(app): State<Arc<App>>, Body(Reset {}): Body<Reset>) -> Result<Json<Value>, Problem> {
    app.keyring.reset(app.clock.now()).await?;
    Ok(Json(shown(&app)))
}

fn shown(app: &App) -> Value {
    let keys: Vec<_> = app
        .keyring
        .keys()
        .into_iter()
        .map(|key| {
            json!({
                "kid": key.kid,
                "algorithm": key.algorithm,
                "state": key.state,
                "created_at": Rfc3339(key.created_at),
                "since": Rfc3339(key.since),
            })
        })
        .collect();
    json!({ "keys": keys })
}
