//! Giving a token back (RFC 7009).

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use kerria_core::{
    Cause, Client, ClientId, Device, RefreshToken, Selector, StoreError, Token, TokenKind, Verdict,
};

use super::{client_authentication::authenticate, error::OAuthError, form::Form, presented};
use crate::{app::App, client::From, login};

/// `POST /oauth2/revoke`. A refresh token and a session token end their session, and with it everything that was issued in
/// it; an access token ends alone. A token that is not known, not good, or another client's is answered like one that was
/// ended (RFC 7009, section 2.2), and stays what it is.
pub async fn revoke(
    State(app): State<Arc<App>>,
    From(device): From,
    headers: HeaderMap,
    form: Form,
) -> Result<StatusCode, OAuthError> {
    let client = authenticate(&app, &headers, &form).await?;
    // A `token_type_hint` would only help to find it, and every token says what it is.
    let token = form.required("token", "The token is missing.")?;
    match selected(&app, &client, token).await? {
        Some(selector) => give_back(&app, selector, device).await?,
        None => app.store.until_acknowledged().await?,
    }
    Ok(StatusCode::OK)
}

async fn give_back(app: &App, selector: Selector, device: Device) -> Result<(), StoreError> {
    login::end(app, selector, Cause::GivenBack, Some(device)).await.map(drop)
}

/// What ends with a token, if it is this client's.
async fn selected(app: &App, client: &Client, text: &str) -> Result<Option<Selector>, StoreError> {
    let (bytes, key) = (text.as_bytes(), app.checker.key());
    if let Some(token) = RefreshToken::parse(bytes, key) {
        // One that was used before ends the session, too: so it would if it were used.
        let grant = app.store.session(token.session()).await?.and_then(|(_, grant)| grant);
        let theirs = grant.is_some_and(|grant| grant.client == client.id);
        return Ok(theirs.then_some(Selector::Session { session: token.session() }));
    }
    if let Some(token) = Token::parse(TokenKind::Session, bytes, key) {
        // Those are our own client's. Whoever holds one may sign out with it.
        let found = app.store.find(&token.hash()).await?.filter(|_| client.id == ClientId::OWN);
        return Ok(found.map(|found| Selector::Session { session: found.session.id }));
    }
    if let Some(token) = Token::parse(TokenKind::Access, bytes, key) {
        let kept = app.store.reference(&token.hash()).await?.filter(|kept| kept.grant.client == client.id);
        return Ok(kept.map(|kept| Selector::Token { token: kept.id }));
    }
    let claims = presented::issued(app, bytes, app.clock.now()).filter(|claims| {
        // No store keeps it, so every time would be one more line in the logs; ended once is enough.
        let as_of = claims.as_of.unwrap_or_default();
        claims.client_id == client.id && app.checker.verdict_on(&claims.bearing(), as_of) != Verdict::Ended
    });
    Ok(claims.map(|claims| Selector::Token { token: claims.jti }))
}
