//! Sessions that are carried in tokens: what a client may wish at sign-in, and new tokens for a refresh token.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use kerria::{Checked, OriginVerdict};
use kerria_core::{ClientAuthentication, ClientId, Grant, GrantType, Scope, Secret, Transport};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api::extract::{ApiUser, Body},
    app::App,
    client::From as ClientDevice,
    field::Field,
    login::Carrier,
    problem::Problem,
    tokens::{
        TokenSet,
        access::{self, Subject},
        client::{self, NotGranted},
        inspection::{self, Inspection},
        refresh::{Refreshed, refresh},
    },
};

/// Where a client keeps its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Itself: both are in the answer.
    #[default]
    Both,
    /// The access token itself, in memory; the refresh token in a cookie that no script can read.
    RefreshInCookie,
    /// Both in cookies that no script can read. Requests then need protection against foreign pages.
    BothInCookies,
}

/// What a client wishes at sign-in.
#[derive(Default)]
pub struct Wish {
    /// Which client it is (`client_id`); our own, if it does not say.
    pub client_id: Option<String>,
    /// What the access tokens may do (`scope`); all that the client may, if it does not say.
    pub scope: Option<String>,
    /// For whom they are meant; the client's first audience, if it does not say.
    pub audience: Option<String>,
}

/// In what a session is to be carried, for a client that wishes this.
///
/// # Errors
/// The problem that answers if it may not.
pub async fn carrier(app: &App, transport: Transport, wish: Wish) -> Result<Carrier, Problem> {
    match transport {
        Transport::Cookie => Ok(Carrier::Cookie),
        Transport::Bearer => Ok(Carrier::Bearer),
        Transport::Tokens => {
            let id = read(wish.client_id.as_deref(), Field::ClientId)?.unwrap_or(ClientId::OWN);
            let client = client::find(app, id).await?.filter(|client| {
                // Whoever sends a password here is a program in its user's hands; it has no secret.
                client.authentication == ClientAuthentication::Public
            });
            let client = client.ok_or_else(|| {
                Problem::invalid(
                    Field::ClientId,
                    "There is no public client of this name that may sign people in.",
                )
            })?;
            let (scope, audience) = (
                read(wish.scope.as_deref(), Field::Scope)?,
                read(wish.audience.as_deref(), Field::Audience)?,
            );
            let grant = client::grant(&client, GrantType::RefreshToken, scope, audience)?;
            Ok(Carrier::Tokens(Box::new(client), grant))
        }
    }
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: Option<&str>,
    field: Field,
) -> Result<Option<T>, Problem> {
    text.map(str::parse)
        .transpose()
        .map_err(|bad: T::Err| Problem::invalid(field, format!("This is not possible: {bad}.")))
}

impl From<NotGranted> for Problem {
    fn from(refused: NotGranted) -> Self {
        match refused {
            NotGranted::Grant => Self::invalid(Field::ClientId, "This client may not have refresh tokens."),
            NotGranted::Scope => {
                Self::invalid(Field::Scope, "This is more than the client may do, or was granted.")
            }
            NotGranted::Audience => {
                Self::invalid(Field::Audience, "The client may not have access tokens for this audience.")
            }
        }
    }
}

/// The use of a refresh token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    refresh_token: Option<Secret<String>>,
    client_id: Option<String>,
    scope: Option<String>,
    #[serde(default)]
    keep: Keep,
}

/// `POST /api/v1/session/refresh`: new tokens for a refresh token, which comes in the body or in its cookie.
pub async fn renew(
    State(app): State<Arc<App>>,
    ClientDevice(device): ClientDevice,
    headers: HeaderMap,
    Body(body): Body<Refresh>,
) -> Result<Response, Problem> {
    let (token, keep) = match body.refresh_token {
        Some(token) => (token, body.keep),
        None => (from_cookie(&app, &headers)?, body.keep.in_cookies()),
    };
    let id = read(body.client_id.as_deref(), Field::ClientId)?.unwrap_or(ClientId::OWN);
    let scope: Option<Scope> = read(body.scope.as_deref(), Field::Scope)?;
    let public = client::find(&app, id).await?.filter(|c| c.authentication == ClientAuthentication::Public);
    let Some(client) = public else { return Err(refresh_token_refused()) };
    match refresh(&app, token.expose(), &client, scope, None, device).await? {
        Refreshed::Tokens(set) => Ok(answer(&app, StatusCode::OK, Map::new(), &set, keep)),
        Refreshed::NotGranted(refused) => Err(refused.into()),
        Refreshed::Refused => Err(refresh_token_refused()),
    }
}

/// The refresh token of a browser. The browser attaches it by itself, so the request has to come from our own pages.
fn from_cookie(app: &App, headers: &HeaderMap) -> Result<Secret<String>, Problem> {
    if app.own_origin.judge(&axum::http::Method::POST, headers) != OriginVerdict::Own {
        return Err(Problem::foreign("A refresh token in a cookie is used by our own pages only."));
    }
    let mut values = app.refresh_cookie.values(headers);
    match (values.next().and_then(|value| std::str::from_utf8(value).ok()), values.next()) {
        (Some(token), None) => Ok(token.into()),
        _ => Err(refresh_token_refused()),
    }
}

/// For whom an access token is to be meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    audience: String,
    scope: Option<String>,
}

/// `POST /api/v1/session/token`: an access token of the user who asks, for an audience that is set, without any client. Only
/// in person: an access token must not make others.
pub async fn for_audience(
    State(app): State<Arc<App>>,
    user: ApiUser,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, Problem> {
    user.in_person()?;
    user.still_there(&app)?;
    let Some(audience) = app.config.tokens.audiences.iter().find(|known| known.as_str() == wanted.audience)
    else {
        return Err(Problem::invalid(
            Field::Audience,
            "There are no access tokens for this audience here. An operator can name it in the setting tokens.audiences.",
        ));
    };
    let own = client::own(&app);
    let scope = read::<Scope>(wanted.scope.as_deref(), Field::Scope)?.unwrap_or_else(|| own.scope.clone());
    if !scope.is_within(&own.scope) {
        return Err(NotGranted::Scope.into());
    }
    let grant = Grant { client: own.id, scope, audience: audience.clone() };
    let Checked { session, as_of, .. } = user.checked;
    let token = access::issue(&app, &own, Subject::Session(&session, as_of), &grant).await?;
    let token = token.ok_or_else(Problem::session_token_refused)?;
    Ok(Json(json!({
        "access_token": token.text.expose(),
        "token_type": "Bearer",
        "expires_in": token.expires_in(),
        "scope": token.grant.scope,
    })))
}

fn refresh_token_refused() -> Problem {
    let detail = "The refresh token carries no session: it has ended or expired, or the token was used before. Sign in again \
                  with POST /api/v1/login.";
    Problem::new(StatusCode::UNAUTHORIZED, "not-signed-in", "You are not signed in", detail)
}

impl Keep {
    /// What stays in cookies at a refresh that came in a cookie: the refresh token always does.
    const fn in_cookies(self) -> Self {
        match self {
            Self::Both => Self::RefreshInCookie,
            keep => keep,
        }
    }
}

/// The answer with new tokens: the members of RFC 6749, section 5.1, after what `body` holds already.
pub fn answer(
    app: &App,
    status: StatusCode,
    mut body: Map<String, Value>,
    TokenSet { found, access, refresh }: &TokenSet,
    keep: Keep,
) -> Response {
    let now = app.clock.now();
    let mut cookies: Vec<(header::HeaderName, HeaderValue)> = Vec::new();
    let kept = found.session.remembered;
    if keep == Keep::Both {
        body.insert("refresh_token".to_owned(), json!(refresh.expose()));
    } else {
        let end = app.checker.policy().absolute_end(&found.session);
        let age = kept.then(|| end.since(now));
        cookies.push((header::SET_COOKIE, app.refresh_cookie.set(refresh, age)));
    }
    if keep == Keep::BothInCookies {
        let age = access.expires_at.since(now);
        cookies.push((header::SET_COOKIE, app.access_cookie.set(&access.text, Some(age))));
        body.insert("csrf_token".to_owned(), json!(app.form_key.token(found.session.id)));
    } else {
        body.insert("access_token".to_owned(), json!(access.text.expose()));
    }
    body.insert("token_type".to_owned(), json!("Bearer"));
    body.insert("expires_in".to_owned(), json!(access.expires_in()));
    body.insert("scope".to_owned(), json!(access.grant.scope));
    (status, AppendHeaders(cookies), Json(body)).into_response()
}

/// `GET /.well-known/jwks.json`: the public keys that verify access tokens (RFC 7517, section 5).
pub async fn keys(State(app): State<Arc<App>>) -> Response {
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json")),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_str(&format!("public, max-age={}", app.config.tokens.jwks_max_age.as_secs()))
                .expect("digits are ASCII"),
        ),
        // Other sites' pages verify tokens, too.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (about, app.keyring.published()).into_response()
}

/// A token to look at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspect {
    token: Secret<String>,
}

/// `POST /api/v1/operator/tokens/inspect`: what a token is, in words.
pub async fn inspect(
    State(app): State<Arc<App>>,
    Body(Inspect { token }): Body<Inspect>,
) -> Result<Json<Inspection>, Problem> {
    Ok(Json(inspection::inspect(&app, token.expose()).await?))
}
