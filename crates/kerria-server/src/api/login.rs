//! Signing in and signing up.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use kerria::CurrentSession;
use kerria_core::{LoginName, Secret, Token, TokenKind, Transport};
use serde::Deserialize;
use serde_json::{Map, json};

use crate::{
    api::{
        extract::Body,
        shapes::SessionShape,
        throttled,
        tokens::{self, Keep, Wish, carrier},
    },
    app::App,
    client::From,
    login::{Attempt, Carry, SignInOutcome, SignedIn, sign_in},
    problem::Problem,
    sign_up::{NewAccount, SignUpOutcome, sign_up},
    tokens::TokenSet,
};

/// How long a browser keeps the mark that its user has signed in from it.
pub const DEVICE_COOKIE_AGE: std::time::Duration = std::time::Duration::from_secs(180 * 24 * 60 * 60);

/// Who signs in, and how the session is to be carried.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    login: String,
    password: Secret<String>,
    #[serde(default = "by_cookie")]
    transport: Transport,
    #[serde(default)]
    remember: bool,
    client_id: Option<String>,
    scope: Option<String>,
    audience: Option<String>,
    #[serde(default)]
    keep: Keep,
}

fn by_cookie() -> Transport {
    Transport::Cookie
}

/// `POST /api/v1/login`: opens a session.
pub async fn login(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    headers: HeaderMap,
    Body(login): Body<Login>,
) -> Result<Response, Problem> {
    let wish = Wish { client_id: login.client_id, scope: login.scope, audience: login.audience };
    let attempt = Attempt {
        login: LoginName::parse(&login.login),
        password: login.password,
        carry: Carry { by: carrier(&app, login.transport, wish).await?, remembered: login.remember, device },
        known_device: device_token(&app, &headers),
    };
    match sign_in(&app, attempt, &current).await? {
        SignInOutcome::SignedIn(signed_in) => {
            Ok(signed_in_answer(&app, StatusCode::OK, signed_in, login.keep))
        }
        SignInOutcome::Refused => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "sign-in-failed",
            "Sign-in failed",
            "That name and password do not belong together.",
        )),
        SignInOutcome::Throttled { retry_at } => Err(throttled(&app, retry_at)),
        SignInOutcome::LimitReached => Err(Problem::conflict(
            "session-limit",
            "Too many sessions",
            "You are signed in at as many places as you may be. Sign out at one of them first.",
        )),
    }
}

/// The token of a genuine device cookie.
pub fn device_token(app: &App, headers: &HeaderMap) -> Option<Token> {
    app.device_cookie
        .values(headers)
        .find_map(|text| Token::parse(TokenKind::Device, text, app.checker.key()))
}

/// The answer to somebody who has just signed in or proved again who they are.
pub fn signed_in_answer(app: &App, status: StatusCode, signed_in: SignedIn, keep: Keep) -> Response {
    let session = &signed_in.found.session;
    let expires_at = match app.checker.policy().standing(session, session.last_seen_at) {
        kerria_core::Standing::Active { expires_at } => expires_at,
        _ => session.last_seen_at,
    };
    let shape = SessionShape::new(session, signed_in.found.user_name.as_deref(), expires_at);
    let mut body = Map::new();
    body.insert("session".to_owned(), json!(shape));
    if let Some(access) = signed_in.access {
        let set = TokenSet { found: signed_in.found, access, refresh: signed_in.token };
        return tokens::answer(app, status, body, &set, keep);
    }
    match session.transport {
        Transport::Bearer => body.insert("token".to_owned(), json!(signed_in.token.expose())),
        Transport::Cookie | Transport::Tokens => {
            body.insert("csrf_token".to_owned(), json!(app.form_key.token(session.id)))
        }
    };
    (status, device_cookie(app, &signed_in), Json(body)).into_response()
}

/// The header that marks a device, for a browser that was not known.
pub fn device_cookie(
    app: &App,
    signed_in: &SignedIn,
) -> AppendHeaders<Option<(header::HeaderName, header::HeaderValue)>> {
    let by_cookie = signed_in.found.session.transport == Transport::Cookie;
    let token = signed_in.device_token.as_ref().filter(|_| by_cookie);
    AppendHeaders(
        token.map(|token| (header::SET_COOKIE, app.device_cookie.set(token, Some(DEVICE_COOKIE_AGE)))),
    )
}

/// An account to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    email: Option<String>,
    password: Secret<String>,
    #[serde(default)]
    invitation: Option<Secret<String>>,
    #[serde(default = "by_cookie")]
    transport: Transport,
    #[serde(default)]
    remember: bool,
}

/// `POST /api/v1/users`: creates an account and signs in.
pub async fn create_user(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    Body(body): Body<SignUp>,
) -> Result<Response, Problem> {
    let account = NewAccount {
        name: body.name.unwrap_or_default(),
        email: body.email.unwrap_or_default(),
        password: body.password,
        invitation: body.invitation,
    };
    let by = carrier(&app, body.transport, Wish::default()).await?;
    let carry = Carry { by, remembered: body.remember, device };
    match sign_up(&app, account, carry, &current).await? {
        SignUpOutcome::SignedUp(signed_in) => {
            Ok(signed_in_answer(&app, StatusCode::CREATED, signed_in, Keep::default()))
        }
        refused => Err(sign_up_problem(&app, refused)),
    }
}

fn sign_up_problem(app: &App, refused: SignUpOutcome) -> Problem {
    match refused {
        SignUpOutcome::SignedUp(_) => unreachable!("answered before"),
        SignUpOutcome::Invalid { field, reason } => Problem::invalid(field, reason),
        SignUpOutcome::NameTaken => {
            Problem::conflict("name-taken", "The name is taken", "Choose another name.")
        }
        SignUpOutcome::EmailTaken => Problem::conflict(
            "email-taken",
            "The e-mail address is taken",
            "Use another address, or sign in.",
        ),
        SignUpOutcome::NotInvited => Problem::new(
            StatusCode::FORBIDDEN,
            "not-invited",
            "Accounts are by invitation",
            "Ask an operator for an invitation; each is good for one account and for a limited time.",
        ),
        SignUpOutcome::Throttled { retry_at } => throttled(app, retry_at),
    }
}
