//! A token that somebody presents to be told about, exchanged or given back: what it is, and what it stands for.

use kerria::{
    Check, Checked,
    jwt::{AccessClaims, Compact, Header},
};
use kerria_core::{
    Algorithm, Audience, Bearing, Client, ClientId, Grant, LogNumber, RefreshToken, Scope, Standing,
    StoreError, Timestamp, Token, TokenId, TokenKind, Transport, Verdict, store::Found,
};

use crate::{app::App, tokens::client};

/// A token that is good right now. One of each kind that we issue.
pub enum Presented {
    /// A session token, in whatever it is carried.
    Session(Checked),
    /// A refresh token, the present one of its session.
    Refresh {
        /// The session.
        found: Found,
        /// What it was opened for.
        grant: Grant,
        /// When the token is over if it is not used.
        expires_at: Timestamp,
    },
    /// An access token, a JWT or a reference token.
    Access(Access),
}

/// A good access token.
pub struct Access {
    /// Its `jti`.
    pub id: TokenId,
    /// Whose it is, for whom it is meant, and what it may do.
    pub grant: Grant,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
    /// Its session; none of a token of a client itself.
    pub session: Option<Checked>,
    /// Whether somebody else may have made it: its audience shares the secret that it is signed with (HS256).
    pub is_shared: bool,
}

impl Presented {
    /// The client that it was issued to. A session token is our own client's.
    #[must_use]
    pub const fn client(&self) -> ClientId {
        match self {
            Self::Session(_) => ClientId::OWN,
            Self::Refresh { grant, .. } | Self::Access(Access { grant, .. }) => grant.client,
        }
    }

    /// For whom it is meant. A session token and a refresh token are for us alone.
    #[must_use]
    pub fn audience(&self, app: &App) -> Audience {
        match self {
            Self::Session(_) | Self::Refresh { .. } => app.own_audience(),
            Self::Access(access) => access.grant.audience.clone(),
        }
    }
}

/// What a token stands for at this time; `None` if nothing, whatever the reason. Asking about an access token or a session
/// token is a use of its session, from wherever; asking about a refresh token is none.
///
/// # Errors
/// If the store fails.
pub async fn look_at(app: &App, text: &str) -> Result<Option<Presented>, StoreError> {
    let bytes = text.as_bytes();
    let key = app.checker.key();
    if Token::parse(TokenKind::Session, bytes, key).is_some() {
        return Ok(session(app, bytes).await?.map(Presented::Session));
    }
    if let Some(token) = RefreshToken::parse(bytes, key) {
        return refresh(app, &token).await;
    }
    if let Some(token) = Token::parse(TokenKind::Access, bytes, key) {
        return Ok(reference(app, &token).await?.map(Presented::Access));
    }
    // What begins a JSON object, in base64url. No other token of ours does.
    if text.starts_with("ey") {
        return Ok(jwt(app, bytes).await?.map(Presented::Access));
    }
    Ok(None)
}

/// The session that a session token carries, whether in a cookie or as a bearer token.
///
/// # Errors
/// If the store fails.
pub async fn session(app: &App, text: &[u8]) -> Result<Option<Checked>, StoreError> {
    for transport in [Transport::Cookie, Transport::Bearer] {
        if let Check::Good(checked) = app.checker.check(text, transport, None, app.clock.now()).await? {
            return Ok(Some(checked));
        }
    }
    Ok(None)
}

async fn refresh(app: &App, token: &RefreshToken) -> Result<Option<Presented>, StoreError> {
    let Some((found, Some(grant))) = app.checker.session(token.session()).await? else { return Ok(None) };
    let standing = app.checker.policy().standing(&found.session, app.clock.now());
    let Standing::Active { expires_at } = standing else { return Ok(None) };
    let is_present = app.store.is_present_refresh(token.session(), &token.hash()).await?;
    Ok(is_present.then_some(Presented::Refresh { found, grant, expires_at }))
}

/// A reference token says nothing by itself, so the store is asked each time.
async fn reference(app: &App, token: &Token) -> Result<Option<Access>, StoreError> {
    // Before the store is: what comes after this ends it.
    let as_of = app.checker.head();
    let now = app.clock.now();
    let Some(kept) = app.store.reference(&token.hash()).await? else { return Ok(None) };
    if kept.expires_at <= now {
        return Ok(None);
    }
    let bearing = Bearing { token: kept.id, client: kept.grant.client, session: kept.session, user: None };
    let Some(session) = bearer(app, &bearing, as_of, now).await? else { return Ok(None) };
    Ok(Some(Access {
        id: kept.id,
        grant: kept.grant,
        issued_at: kept.issued_at,
        expires_at: kept.expires_at,
        session,
        is_shared: false,
    }))
}

/// A JWT of ours, for whoever it is meant.
async fn jwt(app: &App, text: &[u8]) -> Result<Option<Access>, StoreError> {
    let now = app.clock.now();
    let Some(claims) = issued(app, text, now) else { return Ok(None) };
    let Some(grant) = grant(&claims) else { return Ok(None) };
    let Some(session) = bearer(app, &claims.bearing(), claims.as_of.unwrap_or_default(), now).await? else {
        return Ok(None);
    };
    // Whoever shares a secret with us could name a session to learn whose it is.
    if session.as_ref().is_some_and(|checked| checked.session.user != claims.user()) {
        return Ok(None);
    }
    Ok(Some(Access {
        id: claims.jti,
        grant,
        issued_at: claims.iat.timestamp(),
        expires_at: claims.exp.timestamp(),
        session,
        is_shared: is_signed_with_hs256(text),
    }))
}

/// The claims of a JWT that we have signed and whose time is not over. Our own clock needs no leeway: what is over is over.
#[must_use]
pub fn issued(app: &App, text: &[u8], now: Timestamp) -> Option<std::sync::Arc<AccessClaims>> {
    let token = app.verifier.verify_issued(text, now).ok()?;
    (token.claims.exp.timestamp() > now).then_some(token.claims)
}

fn is_signed_with_hs256(text: &[u8]) -> bool {
    let header = Compact::parse(text).and_then(|jws| Header::parse(&jws.header).ok());
    header.is_some_and(|header| header.alg == Algorithm::Hs256)
}

/// What a JWT of ours was issued for: we name one audience, always.
fn grant(claims: &AccessClaims) -> Option<Grant> {
    let [audience] = claims.aud.as_slice() else { return None };
    let audience = audience.parse().ok()?;
    Some(Grant { client: claims.client_id, scope: Scope::clone(&claims.scope), audience })
}

/// The session of an access token, if it has one; `None` if the token or whoever bears it was ended, or the session is over.
async fn bearer(
    app: &App,
    bearing: &Bearing,
    as_of: LogNumber,
    now: Timestamp,
) -> Result<Option<Option<Checked>>, StoreError> {
    if bearing.session.is_some() {
        return Ok(match app.checker.check_bearing(bearing, as_of, now).await? {
            Check::Good(checked) => Some(Some(checked)),
            Check::Refused(_) => None,
        });
    }
    // Of a client itself: good as long as it is registered.
    let stands = app.checker.verdict_now(bearing, as_of).await? == Verdict::Stands;
    Ok((stands && client::find(app, bearing.client).await?.is_some()).then_some(None))
}

/// Whether `client` may learn what a token stands for, or exchange it: its own, or one that is meant for one of its
/// audiences. A refresh token is nobody's business but its own client's: who took it for an access token would be wrong.
#[must_use]
pub fn concerns(app: &App, client: &Client, token: &Presented) -> bool {
    let for_others = !matches!(token, Presented::Refresh { .. });
    token.client() == client.id || (for_others && client.audiences.contains(&token.audience(app)))
}
