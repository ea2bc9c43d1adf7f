//! Using a refresh token (RFC 6749, section 6): a new one each time, and a replay ends the session (RFC 9700, section
//! 4.14.2).

use kerria_core::{
    Audience, Client, Device, Grant, GrantType, RefreshToken, RotationNonce, Scope,
    store::{Found, Refresh, Rotation},
};
use tracing::{debug, warn};

use super::{IssueError, TokenSet, access, access::Subject, client::NotGranted};
use crate::app::App;

/// What came of using a refresh token.
pub enum Refreshed {
    /// New tokens.
    Tokens(Box<TokenSet>),
    /// It is no good refresh token of this client, or not any more. Nobody is told which.
    Refused,
    /// It is good, and something else was asked for than was granted. It was not used.
    NotGranted(NotGranted),
}

/// Uses a refresh token of `client`, presented from `device`. `scope` narrows what the access token may do; the refresh token
/// keeps all of it.
///
/// # Errors
/// If the store fails, or there is no key to sign with.
pub async fn refresh(
    app: &App,
    text: &str,
    client: &Client,
    scope: Option<Scope>,
    audience: Option<Audience>,
    device: Device,
) -> Result<Refreshed, IssueError> {
    let Some(token) = RefreshToken::parse(text.as_bytes(), app.checker.key()) else {
        return Ok(Refreshed::Refused);
    };
    if !client.grants.contains(&GrantType::RefreshToken) {
        return Ok(Refreshed::NotGranted(NotGranted::Grant));
    }
    if let Some(refused) = more_than_granted(app, &token, client, scope.as_ref(), audience.as_ref()).await? {
        return Ok(Refreshed::NotGranted(refused));
    }
    // A token that is used up and not answered counts on being repeated soon. What can be known before is known before.
    access::can_issue(app, client)?;
    let nonce = RotationNonce::random(&*app.entropy);
    let successor = token.successor(&nonce);
    let refresh = Refresh {
        session: token.session(),
        presented: token.hash(),
        successor: successor.hash(),
        nonce,
        client: client.id,
        window: app.config.tokens.refresh_grace,
        policy: *app.checker.policy(),
        device: Some(device),
        now: app.clock.now(),
    };
    match app.store.rotate_refresh(refresh).await? {
        Rotation::Rotated(found, grant) => deliver(app, client, found, grant, scope, &successor).await,
        Rotation::Repeated(found, grant, nonce) => {
            deliver(app, client, found, grant, scope, &token.successor(&nonce)).await
        }
        Rotation::Replayed { user } => {
            let session = token.session();
            let user = user.map(|user| user.to_string()).unwrap_or_default();
            warn!(session.id = %session, user.id = %user, client.id = %client.id, "a refresh token was used twice: session {session} ended");
            Ok(Refreshed::Refused)
        }
        Rotation::OtherClient => {
            warn!(session.id = %token.session(), client.id = %client.id, "a client presented the refresh token of another");
            Ok(Refreshed::Refused)
        }
        Rotation::Gone => Ok(Refreshed::Refused),
    }
}

/// Asked before the token is used, so that a request that asks for too much costs nothing.
async fn more_than_granted(
    app: &App,
    token: &RefreshToken,
    client: &Client,
    scope: Option<&Scope>,
    audience: Option<&Audience>,
) -> Result<Option<NotGranted>, IssueError> {
    if scope.is_none() && audience.is_none() {
        return Ok(None);
    }
    let Some((_, Some(grant))) = app.store.session(token.session()).await? else { return Ok(None) };
    Ok(match (scope, audience) {
        // Of another client's token nothing is told.
        _ if grant.client != client.id => None,
        (Some(scope), _) if !scope.is_within(&grant.scope) => Some(NotGranted::Scope),
        (_, Some(audience)) if *audience != grant.audience => Some(NotGranted::Audience),
        _ => None,
    })
}

async fn deliver(
    app: &App,
    client: &Client,
    found: Found,
    mut grant: Grant,
    scope: Option<Scope>,
    refresh: &RefreshToken,
) -> Result<Refreshed, IssueError> {
    let session = found.session.id;
    if let Some(scope) = scope.filter(|scope| scope.is_within(&grant.scope)) {
        grant.scope = scope;
    }
    let subject = Subject::Session(&found.session, found.as_of);
    let Some(access) = access::issue(app, client, subject, &grant).await? else {
        return Ok(Refreshed::Refused);
    };
    debug!(session.id = %session, client.id = %client.id, token.id = %access.id, "session {session} refreshed");
    let set = TokenSet { found, access, refresh: refresh.write(app.checker.key()) };
    Ok(Refreshed::Tokens(Box::new(set)))
}
