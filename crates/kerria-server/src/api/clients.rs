//! The operator's part: clients.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use kerria_core::{Audience, Cause, Client, ClientAuthentication, ClientId, GrantType, Scope, Selector};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::info;

use crate::{
    api::{
        extract::{Body, InPath},
        shapes::{Ended, Rfc3339},
    },
    app::App,
    field::Field,
    login,
    problem::Problem,
    registration::{self, Description, Proof, Registration, authentication_word, form_word},
};

/// A client as it is told. Its secret is not: nobody knows it but the client.
#[derive(Serialize)]
struct ClientShape {
    id: ClientId,
    name: String,
    authentication: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<Value>,
    grants: Vec<GrantType>,
    scope: Scope,
    audiences: Vec<Audience>,
    access_tokens: &'static str,
    created_at: Rfc3339,
}

impl From<Client> for ClientShape {
    fn from(client: Client) -> Self {
        Self {
            id: client.id,
            name: client.name,
            authentication: authentication_word(&client.authentication),
            jwks: match &client.authentication {
                ClientAuthentication::PrivateKeyJwt(jwks) => serde_json::from_str(jwks).ok(),
                ClientAuthentication::Public | ClientAuthentication::Secret(_) => None,
            },
            grants: client.grants,
            scope: client.scope,
            audiences: client.audiences,
            access_tokens: form_word(client.access_tokens),
            created_at: Rfc3339(client.created_at),
        }
    }
}

/// What is said of a client. On a change, everything that is not said is as in a new one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    id: Option<String>,
    name: Option<String>,
    authentication: Option<String>,
    jwks: Option<Value>,
    grants: Option<Vec<String>>,
    scope: Option<String>,
    audiences: Vec<String>,
    access_tokens: Option<String>,
}

impl Described {
    fn read(self, app: &App, id: &str) -> Result<Registration, Problem> {
        let description = Description {
            name: self.name,
            authentication: self.authentication,
            jwks: self.jwks.map(|jwks| jwks.to_string()),
            grants: self.grants,
            scope: self.scope,
            audiences: self.audiences,
            access_tokens: self.access_tokens,
        };
        registration::read(id, description, &app.config.tokens).map_err(|wrong| {
            let first = wrong.into_iter().next().expect("what is refused has a reason");
            Problem::invalid(first.member, first.message)
        })
    }
}

/// `GET /api/v1/operator/clients`: all clients, by their identifiers.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let clients: Vec<ClientShape> = app.store.clients().await?.into_iter().map(ClientShape::from).collect();
    Ok(Json(json!({ "clients": clients })))
}

/// `GET /api/v1/operator/clients/{client}`: one client.
pub async fn show(State(app): State<Arc<App>>, InPath(id): InPath<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(told(find(&app, &id).await?, None)))
}

/// `POST /api/v1/operator/clients`: registers a client. If it is to have a secret, the answer holds it, once.
pub async fn add(
    State(app): State<Arc<App>>,
    Body(described): Body<Described>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let id =
        described.id.clone().ok_or_else(|| Problem::invalid(Field::Id, "Give the client an identifier."))?;
    let registration = described.read(&app, &id)?;
    let (text, hash) = registration::new_secret(app.checker.key(), &*app.entropy);
    let secret = (registration.proof == Proof::Secret).then_some(text);
    begin(&app, &registration).await?;
    let client = registration.client(hash, app.clock.now());
    if !app.store.add_client(&client).await? {
        let detail = "There is a client with this identifier. Change that one, or choose another identifier.";
        return Err(Problem::conflict("client-exists", "The client exists", detail));
    }
    info!(client.id = %client.id, "client {} registered", client.id);
    Ok((StatusCode::CREATED, Json(told(client, secret.as_ref().map(|secret| secret.expose().as_str())))))
}

/// `PUT /api/v1/operator/clients/{client}`: says anew everything of a client but its identifier. What it was granted before
/// stays granted. A client that has a secret keeps it; one that is to have one from now on gets it, once.
pub async fn change(
    State(app): State<Arc<App>>,
    InPath(id): InPath<String>,
    Body(described): Body<Described>,
) -> Result<Json<Value>, Problem> {
    let before = find(&app, &id).await?;
    if described.id.as_ref().is_some_and(|other| *other != id) {
        return Err(Problem::invalid(Field::Id, "An identifier cannot be changed. Register a new client."));
    }
    let registration = described.read(&app, &id)?;
    begin(&app, &registration).await?;
    let (text, hash) = registration::new_secret(app.checker.key(), &*app.entropy);
    let client = registration.client(hash, before.created_at);
    if !app.store.change_client(&client).await? {
        return Err(no_such_client());
    }
    info!(client.id = %client.id, "client {} changed", client.id);
    // Whether it had a secret to keep, the store knows: it may have got or lost one since it was read.
    let kept = find(&app, &id).await?.authentication;
    let secret = (kept == ClientAuthentication::Secret(hash)).then_some(text);
    Ok(Json(told(client, secret.as_ref().map(|secret| secret.expose().as_str()))))
}

/// `POST /api/v1/operator/clients/{client}/secret`: gives a client a new secret, which the answer holds, once. The old one is
/// over at once.
pub async fn new_secret(
    State(app): State<Arc<App>>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, Problem> {
    let client = find(&app, &id).await?;
    let (secret, hash) = registration::new_secret(app.checker.key(), &*app.entropy);
    if !app.store.set_client_secret(client.id, &hash).await? {
        let detail = "The client has no secret: it is registered with another way to prove who it is.";
        return Err(Problem::conflict("no-secret", "The client has no secret", detail));
    }
    info!(client.id = %client.id, "client {} has a new secret", client.id);
    Ok(Json(told(client, Some(secret.expose()))))
}

/// `DELETE /api/v1/operator/clients/{client}`: removes a client, and ends everything that was issued to it.
pub async fn remove(State(app): State<Arc<App>>, InPath(id): InPath<String>) -> Result<Json<Ended>, Problem> {
    let client = find(&app, &id).await?.id;
    // The removal ends them, too; this way it can be said how many they were.
    let revoked = login::end(&app, Selector::Client { client }, Cause::Operator, None).await?;
    if !app.store.remove_client(client, app.clock.now()).await? {
        return Err(no_such_client());
    }
    info!(client.id = %client, "client {client} removed");
    Ok(Json(Ended::sessions(revoked.ended)))
}

async fn begin(app: &App, registration: &Registration) -> Result<(), Problem> {
    registration::begin(&app.keyring, registration.access_tokens, app.clock.now()).await?;
    Ok(())
}

async fn find(app: &App, id: &str) -> Result<Client, Problem> {
    // Our own client is not registered, and so cannot be changed.
    let id: ClientId = id.parse().map_err(|_| no_such_client())?;
    app.store.client(id).await?.ok_or_else(no_such_client)
}

fn no_such_client() -> Problem {
    Problem::not_found("No client is registered with this identifier.")
}

fn told(client: Client, secret: Option<&str>) -> Value {
    let mut told = json!(ClientShape::from(client));
    if let Some(secret) = secret {
        told["secret"] = json!(secret);
    }
    told
}
