//! Which clients there are: those that were registered, and our own.

use std::time::Duration;

use kerria_core::{
    AccessTokenForm, Algorithm, Audience, Client, ClientAuthentication, ClientId, Grant, GrantType, Scope,
    StoreError, Timestamp,
};

use crate::app::App;

/// What access tokens of our own client may do, and what one needs at our own API: everything that their user may do here.
#[must_use]
pub fn own_scope() -> Scope {
    "account".parse().expect("this is a scope")
}

/// The client of this name. Our own is always there, and nobody can register in its place.
///
/// # Errors
/// If the store fails.
pub async fn find(app: &App, id: ClientId) -> Result<Option<Client>, StoreError> {
    if id == ClientId::OWN { Ok(Some(own(app))) } else { app.store.client(id).await }
}

/// Our own client: for sign-ins that name none. Its access tokens are meant for us.
#[must_use]
pub fn own(app: &App) -> Client {
    Client {
        id: ClientId::OWN,
        name: app.config.site_name.clone(),
        authentication: ClientAuthentication::Public,
        grants: vec![GrantType::RefreshToken],
        scope: own_scope(),
        audiences: vec![app.own_audience()],
        access_tokens: AccessTokenForm::Jwt(Algorithm::EdDsa),
        created_at: Timestamp::EPOCH,
    }
}

/// Why a client does not get what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotGranted {
    /// It may not use this grant.
    Grant,
    /// More than it may do, or more than it was granted.
    Scope,
    /// It may not have tokens for this audience.
    Audience,
}

/// What a client gets when it asks for this: all of its own scope and its first audience where it names none.
///
/// # Errors
/// Why not.
pub fn grant(
    client: &Client,
    kind: GrantType,
    scope: Option<Scope>,
    audience: Option<Audience>,
) -> Result<Grant, NotGranted> {
    if !client.grants.contains(&kind) {
        return Err(NotGranted::Grant);
    }
    let scope = scope.unwrap_or_else(|| client.scope.clone());
    if !scope.is_within(&client.scope) {
        return Err(NotGranted::Scope);
    }
    let audience = match audience {
        Some(audience) if client.audiences.contains(&audience) => audience,
        Some(_) => return Err(NotGranted::Audience),
        None => client.audiences.first().cloned().ok_or(NotGranted::Audience)?,
    };
    Ok(Grant { client: client.id, scope, audience })
}

/// How long an access token is good, of a session that is over at `end`: not longer than that.
pub(super) fn lifetime(app: &App, now: Timestamp, end: Option<Timestamp>) -> Duration {
    let lifetime = app.config.tokens.access_lifetime;
    end.map_or(lifetime, |end| lifetime.min(end.since(now)))
}
