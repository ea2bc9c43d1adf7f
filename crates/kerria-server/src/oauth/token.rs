//! The token endpoint (RFC 6749, section 3.2): refresh, a client's own tokens, and exchange.

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap};
use kerria::Checked;
use kerria_core::{Client, ClientAuthentication, ClientId, Device, GrantType, LogNumber, Scope, Timestamp};
use serde_json::{Map, Value, json};
use tracing::info;

use super::{
    client_authentication::authenticate,
    error::OAuthError,
    form::Form,
    presented::{self, Access, Presented, concerns},
};
use crate::{
    app::App,
    client::From,
    tokens::{
        access::{self, AccessToken, Subject},
        client,
        refresh::{Refreshed, refresh},
    },
};

/// The type of an access token (RFC 8693, section 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The type of a session token. There is no standard name for it.
const SESSION: &str = "urn:kerria:params:oauth:token-type:session";

/// `POST /oauth2/token`.
pub async fn token(
    State(app): State<Arc<App>>,
    From(device): From,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Map<String, Value>>, OAuthError> {
    // Before the client is read: should it be removed meanwhile, the end comes after this number.
    let as_of = app.checker.head();
    let client = authenticate(&app, &headers, &form).await?;
    let kind = form.required("grant_type", "The grant_type is missing.")?;
    let kind = GrantType::ALL.into_iter().find(|known| known.as_str() == kind);
    match kind.ok_or(OAuthError::UnsupportedGrantType)? {
        kind if !client.grants.contains(&kind) => Err(OAuthError::UnauthorizedClient),
        GrantType::RefreshToken => renew(&app, &client, &form, device).await,
        GrantType::ClientCredentials => for_client(&app, &client, &form, as_of).await,
        GrantType::TokenExchange => exchange(&app, &client, &form, as_of).await,
    }
    .map(Json)
}

/// RFC 6749, section 6.
async fn renew(
    app: &App,
    client: &Client,
    form: &Form,
    device: Device,
) -> Result<Map<String, Value>, OAuthError> {
    let text = form.required("refresh_token", "The refresh_token is missing.")?;
    match refresh(app, text, client, form.scope()?, form.audience()?, device).await? {
        Refreshed::Tokens(set) => {
            let mut answer = answer(&set.access);
            answer.insert("refresh_token".to_owned(), json!(set.refresh.expose()));
            Ok(answer)
        }
        Refreshed::Refused => Err(OAuthError::InvalidGrant),
        Refreshed::NotGranted(refused) => Err(refused.into()),
    }
}

/// RFC 6749, section 4.4: for confidential clients, and without a refresh token.
async fn for_client(
    app: &App,
    client: &Client,
    form: &Form,
    as_of: LogNumber,
) -> Result<Map<String, Value>, OAuthError> {
    must_be_confidential(client)?;
    let grant = client::grant(client, GrantType::ClientCredentials, form.scope()?, form.audience()?)?;
    let token = access::issue(app, client, Subject::Client(as_of), &grant).await?;
    let token = token.ok_or(OAuthError::InvalidClient)?;
    info!(client.id = %client.id, token.id = %token.id, "an access token for {} itself", client.id);
    Ok(answer(&token))
}

/// RFC 8693: an access token for another audience, in the session of the token that is presented. For confidential clients:
/// a resource server must not get, with nothing but a token that was sent to it, one for others.
async fn exchange(
    app: &App,
    client: &Client,
    form: &Form,
    read_as_of: LogNumber,
) -> Result<Map<String, Value>, OAuthError> {
    must_be_confidential(client)?;
    if form.get("actor_token").is_some() {
        return Err(OAuthError::InvalidRequest("There are no actor tokens here."));
    }
    if form.get("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(OAuthError::InvalidRequest("Only an access token can be had here."));
    }
    let subject = subject(app, client, form).await?;
    let mut grant = client::grant(client, GrantType::TokenExchange, form.scope()?, form.audience()?)?;
    if let Some(bound) = &subject.bound {
        grant.scope = narrowed(&grant.scope, bound, form)?;
    }
    let Checked { session, as_of, .. } = subject.session;
    // What has ended either of them since it was read has to end the token.
    let as_of = as_of.min(read_as_of);
    let token =
        access::issue_until(app, client, Subject::Session(&session, as_of), &grant, subject.until).await?;
    let token = token.ok_or(UNACCEPTABLE)?;
    info!(session.id = %session.id, client.id = %client.id, token.id = %token.id, "an access token in exchange, for {}", client.id);
    let mut answer = answer(&token);
    answer.insert("issued_token_type".to_owned(), json!(ACCESS_TOKEN));
    Ok(answer)
}

/// What a `subject_token` stands for.
struct ExchangeSubject {
    session: Checked,
    /// What comes of it may not do more.
    bound: Option<Scope>,
    /// What comes of it may not last longer.
    until: Option<Timestamp>,
}

/// RFC 8693, section 2.2.2: a subject token that is not good is no `invalid_grant`.
const UNACCEPTABLE: OAuthError =
    OAuthError::InvalidRequest("The subject_token is not good, or not for this client to exchange.");

async fn subject(app: &App, client: &Client, form: &Form) -> Result<ExchangeSubject, OAuthError> {
    let text = form.required("subject_token", "The subject_token is missing.")?;
    let kind = form.required("subject_token_type", "The subject_token_type is missing.")?;
    match (kind, presented::look_at(app, text).await?) {
        // A session token is in the hands of its own user, who handed it to this client.
        (SESSION, Some(Presented::Session(session))) => {
            Ok(ExchangeSubject { session, bound: None, until: None })
        }
        (ACCESS_TOKEN, Some(token @ Presented::Access(_))) if concerns(app, client, &token) => match token {
            // What its audience may have made itself is good for that audience, and must not become a token for others.
            Presented::Access(Access {
                session: Some(session), grant, expires_at, is_shared: false, ..
            }) => {
                let unbound = grant.client == ClientId::OWN && client::own_scope().is_within(&grant.scope);
                Ok(ExchangeSubject {
                    session,
                    // Our own client's tokens may do all that their user may, unless less was asked for; others as much as
                    // they say.
                    bound: (!unbound).then_some(grant.scope),
                    until: Some(expires_at),
                })
            }
            _ => Err(UNACCEPTABLE),
        },
        (SESSION | ACCESS_TOKEN, _) => Err(UNACCEPTABLE),
        _ => Err(OAuthError::InvalidRequest("There is no such subject_token_type here.")),
    }
}

/// A scope that was asked for has to be within the bound; else as much is granted as is within both.
fn narrowed(scope: &Scope, bound: &Scope, form: &Form) -> Result<Scope, OAuthError> {
    if scope.is_within(bound) {
        return Ok(scope.clone());
    }
    if form.get("scope").is_some() {
        return Err(OAuthError::InvalidScope);
    }
    let common: Vec<_> = scope.iter().filter(|word| bound.iter().any(|other| other == *word)).collect();
    Ok(common.join(" ").parse().expect("part of a scope is a scope"))
}

fn must_be_confidential(client: &Client) -> Result<(), OAuthError> {
    match client.authentication {
        ClientAuthentication::Public => Err(OAuthError::UnauthorizedClient),
        ClientAuthentication::Secret(_) | ClientAuthentication::PrivateKeyJwt(_) => Ok(()),
    }
}

/// RFC 6749, section 5.1.
fn answer(token: &AccessToken) -> Map<String, Value> {
    let members = [
        ("access_token", json!(token.text.expose())),
        ("token_type", json!("Bearer")),
        ("expires_in", json!(token.expires_in())),
        ("scope", json!(token.grant.scope)),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
