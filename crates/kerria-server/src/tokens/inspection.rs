//! Saying in words what a token is, for whoever operates the server. Looks, and counts no use.

use kerria::jwt::{AccessClaims, Compact, Header, Refused};
use kerria_core::{
    RefreshToken, SessionId, Standing, StoreError, Token, TokenHash, TokenKind, Transport, Verdict,
    store::Found,
};
use serde::Serialize;

use crate::{api::shapes::Rfc3339, app::App};

/// What a token is.
#[derive(Default, Serialize)]
pub struct Inspection {
    /// In a sentence.
    summary: String,
    /// The kind of token, in a word.
    kind: &'static str,
    /// Whether it would be accepted now.
    good: bool,
    session: Option<SessionId>,
    user: Option<String>,
    client: Option<String>,
    scope: Option<String>,
    audience: Option<String>,
    key: Option<String>,
    issued_at: Option<Rfc3339>,
    expires_at: Option<Rfc3339>,
}

impl Inspection {
    fn of(kind: &'static str, what: &str, state: Result<&str, &str>) -> Self {
        let (good, state) = match state {
            Ok(state) => (true, state),
            Err(state) => (false, state),
        };
        Self { summary: format!("This is {what}, and {state}."), kind, good, ..Self::default() }
    }

    fn with_session(mut self, found: &Found) -> Self {
        self.session = Some(found.session.id);
        self.user = found.user_name.as_deref().map(ToOwned::to_owned);
        self
    }
}

/// Looks at a token of any kind.
///
/// # Errors
/// If the store fails.
pub async fn inspect(app: &App, text: &str) -> Result<Inspection, StoreError> {
    let key = app.checker.key();
    let is_genuine = |kind| Token::parse(kind, text.as_bytes(), key);
    match text.split_once('_').map(|(kind, _)| kind) {
        Some("kst") => match is_genuine(TokenKind::Session) {
            Some(token) => session_token(app, &token.hash()).await,
            None => Ok(forged("session_token", "a session token")),
        },
        Some("krt") => match RefreshToken::parse(text.as_bytes(), key) {
            Some(token) => refresh_token(app, &token).await,
            None => Ok(forged("refresh_token", "a refresh token")),
        },
        Some("kat") => match is_genuine(TokenKind::Access) {
            Some(token) => reference_token(app, &token.hash()).await,
            None => Ok(forged("access_token", "an opaque access token")),
        },
        Some("kin") => Ok(named("invitation", "an invitation", is_genuine(TokenKind::Invitation).is_some())),
        Some("kdt") => {
            Ok(named("device", "the mark of a known device", is_genuine(TokenKind::Device).is_some()))
        }
        Some("kcs") => Ok(named(
            "client_secret",
            "the secret of a client",
            is_genuine(TokenKind::ClientSecret).is_some(),
        )),
        _ => jwt(app, text).await,
    }
}

fn forged(kind: &'static str, what: &str) -> Inspection {
    Inspection::of(kind, what, Err("it was not written by this installation, or not copied in full"))
}

fn named(kind: &'static str, what: &str, genuine: bool) -> Inspection {
    match genuine {
        true => Inspection::of(kind, what, Ok("it was written by this installation")),
        false => forged(kind, what),
    }
}

async fn session_token(app: &App, hash: &TokenHash) -> Result<Inspection, StoreError> {
    const WHAT: &str = "a session token";
    let Some(found) = app.store.find(hash).await? else {
        return Ok(Inspection::of("session_token", WHAT, Err("it carries no session, or not any more")));
    };
    let by = match found.session.transport {
        Transport::Cookie => "it is good in the session cookie",
        Transport::Bearer | Transport::Tokens => "it is good as a bearer token",
    };
    Ok(standing(app, "session_token", WHAT, by, &found))
}

async fn refresh_token(app: &App, token: &RefreshToken) -> Result<Inspection, StoreError> {
    const WHAT: &str = "a refresh token";
    let Some((found, Some(grant))) = app.store.session(token.session()).await? else {
        return Ok(Inspection::of("refresh_token", WHAT, Err("its session has ended")));
    };
    let present = app.store.is_present_refresh(token.session(), &token.hash()).await?;
    let mut inspection = match present {
        true => standing(app, "refresh_token", WHAT, "it buys the next access token", &found),
        false => {
            Inspection::of("refresh_token", WHAT, Err("it was used before: using it again ends its session"))
        }
    };
    inspection.client = Some(grant.client.to_string());
    inspection.scope = Some(grant.scope.to_string());
    inspection.audience = Some(grant.audience.to_string());
    Ok(inspection.with_session(&found))
}

fn standing(app: &App, kind: &'static str, what: &str, good: &str, found: &Found) -> Inspection {
    let state = app.checker.policy().standing(&found.session, app.clock.now());
    let mut inspection = match state {
        Standing::Active { .. } => Inspection::of(kind, what, Ok(good)),
        Standing::Idle => Inspection::of(kind, what, Err("its session was not used for too long")),
        Standing::Expired => Inspection::of(kind, what, Err("the lifetime of its session is over")),
        Standing::Revoked => Inspection::of(kind, what, Err("its session was ended")),
    };
    inspection.issued_at = Some(Rfc3339(found.session.opened_at));
    if let Standing::Active { expires_at } = state {
        inspection.expires_at = Some(Rfc3339(expires_at));
    }
    inspection.with_session(found)
}

async fn reference_token(app: &App, hash: &TokenHash) -> Result<Inspection, StoreError> {
    const WHAT: &str = "an opaque access token";
    let Some(reference) = app.store.reference(hash).await? else {
        return Ok(Inspection::of("access_token", WHAT, Err("it was ended, or is over for long")));
    };
    let state = if app.clock.now() < reference.expires_at { Ok("it is good") } else { Err("it is over") };
    Ok(Inspection {
        session: reference.session,
        client: Some(reference.grant.client.to_string()),
        scope: Some(reference.grant.scope.to_string()),
        audience: Some(reference.grant.audience.to_string()),
        issued_at: Some(Rfc3339(reference.issued_at)),
        expires_at: Some(Rfc3339(reference.expires_at)),
        ..Inspection::of("access_token", WHAT, state)
    })
}

async fn jwt(app: &App, text: &str) -> Result<Inspection, StoreError> {
    const WHAT: &str = "an access token in the form of a JWT";
    let read = Compact::parse(text.as_bytes()).and_then(|jws| {
        let header = Header::parse(&jws.header).ok()?;
        Some((header, AccessClaims::parse(&jws.payload).ok()?))
    });
    let Some((header, claims)) = read else {
        return Ok(Inspection::of(
            "unknown",
            "no token of ours",
            Err("it is no access token in the form of a JWT either"),
        ));
    };
    let state = match app.verifier.verify_issued(text.as_bytes(), app.clock.now()) {
        Err(Refused::Expired) => Err("it is over"),
        Err(Refused::BadSignature | Refused::UnknownKey) => Err("none of our keys has signed it"),
        Err(Refused::WrongIssuer) => Err("somebody else has issued it"),
        Err(Refused::WrongAudience) => Err("it is signed with the secret of another audience"),
        Err(_) => Err("it would be refused"),
        Ok(_) => match app.checker.verdict_now(&claims.bearing(), claims.as_of.unwrap_or_default()).await? {
            Verdict::Stands => Ok("it is good"),
            Verdict::Ended => Err("it was ended: itself, or its session, its user or its client"),
            Verdict::Reread => Err("it is from before what this process knows of"),
        },
    };
    Ok(Inspection {
        session: claims.sid,
        user: claims.user().map(|user| user.to_string()),
        client: Some(claims.client_id.to_string()),
        scope: Some(claims.scope.to_string()),
        audience: Some(claims.aud.join(", ")),
        key: header.kid,
        issued_at: Some(Rfc3339(claims.iat.timestamp())),
        expires_at: Some(Rfc3339(claims.exp.timestamp())),
        ..Inspection::of("access_token", WHAT, state)
    })
}
