//! Telling what a token stands for (RFC 7662).

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap};
use kerria::{Checked, jwt::NumericDate};
use kerria_core::{Client, Scope, Session, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    client_authentication::authenticate_confidential,
    error::OAuthError,
    form::Form,
    presented::{self, Access, Presented, concerns},
};
use crate::{
    app::App,
    tokens::access::{PASSWORD, SINGLE_FACTOR},
};

/// With this word in its scope, a client may ask about every token: a gateway before many resource servers, a tool of the
/// operators.
pub const ABOUT_EVERYTHING: &str = "introspect";

/// `POST /oauth2/introspect`. The answer about a token that is not good, and about one that does not concern the client, is
/// the same, and holds nothing else (RFC 7662, sections 2.2 and 4).
pub async fn introspect(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Value>, OAuthError> {
    let client = authenticate_confidential(&app, &headers, &form).await?;
    // The hint is only for finding it sooner, and every token says what it is.
    let token = form.required("token", "The token is missing.")?;
    let token = presented::look_at(&app, token).await?.filter(|token| may_know(&app, &client, token));
    Ok(Json(token.map_or_else(|| json!({ "active": false }), |token| Value::Object(answer(&app, &token)))))
}

fn may_know(app: &App, client: &Client, token: &Presented) -> bool {
    client.scope.iter().any(|word| word == ABOUT_EVERYTHING) || concerns(app, client, token)
}

fn answer(app: &App, token: &Presented) -> Map<String, Value> {
    let mut answer = Map::new();
    let mut put = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    put("active", json!(true));
    put("iss", json!(app.issuer()));
    put("aud", json!(token.audience(app)));
    put("client_id", json!(token.client()));
    let nothing = Scope::default();
    let (scope, issued_at, expires_at) = match token {
        Presented::Session(checked) => (&nothing, checked.session.opened_at, checked.expires_at),
        Presented::Refresh { found, grant, expires_at } => {
            (&grant.scope, found.session.opened_at, *expires_at)
        }
        Presented::Access(access) => (&access.grant.scope, access.issued_at, access.expires_at),
    };
    if !scope.is_empty() {
        put("scope", json!(scope));
    }
    put("iat", seconds(issued_at));
    put("exp", seconds(expires_at));
    match token {
        Presented::Session(checked) => {
            put("token_type", json!("Bearer"));
            about_session(&mut answer, &checked.session, checked.user_name.as_deref());
        }
        // No `token_type`: it opens nothing at a resource server.
        Presented::Refresh { found, .. } => {
            about_session(&mut answer, &found.session, found.user_name.as_deref());
        }
        Presented::Access(Access { id, session, grant, .. }) => {
            put("token_type", json!("Bearer"));
            put("jti", json!(id));
            match session {
                Some(Checked { session, user_name, .. }) => {
                    about_session(&mut answer, session, user_name.as_deref());
                }
                None => drop(put("sub", json!(grant.client))),
            }
        }
    }
    answer
}

fn about_session(answer: &mut Map<String, Value>, session: &Session, user_name: Option<&str>) {
    let mut put = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    put("sid", json!(session.id));
    if let Some(user) = session.user {
        put("sub", json!(user));
        put("username", json!(user_name));
        put("auth_time", seconds(session.authenticated_at));
        put("acr", json!(SINGLE_FACTOR));
        put("amr", json!([PASSWORD]));
    }
}

fn seconds(at: Timestamp) -> Value {
    json!(NumericDate::at(at))
}
