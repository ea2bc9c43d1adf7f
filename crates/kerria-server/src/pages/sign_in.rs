//! Signing in and out.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kerria::{CurrentSession, SessionState};
use kerria_core::{LoginName, Secret, Timestamp};
use serde::Deserialize;

use crate::{
    api::login::{device_cookie, device_token},
    app::App,
    client::From,
    config::SignUp,
    forward_auth::return_address::signed_target,
    login::{self, Attempt, Carrier, Carry, SignInOutcome, return_to::return_to},
    pages::{
        form::{Nothing, ProtectedForm},
        query::PageQuery,
        reply::{Page, failed, page, see_other},
        views::{SignInPage, SignedOutPage},
        visitor::{layout, signed_in},
        words::count,
    },
    problem::seconds_until,
};

/// `GET /`: home. Nobody is sent to sign in whose session cannot be looked at right now.
pub async fn home(current: CurrentSession) -> Response {
    let may_be_signed_in =
        signed_in(&current).is_some() || matches!(current.state(), SessionState::Unknown(_));
    see_other(if may_be_signed_in { login::return_to::HOME } else { "/sign-in" })
}

/// Where to go after signing in.
#[derive(Default, Deserialize)]
pub struct Target {
    /// The wanted page.
    pub return_to: Option<String>,
}

/// `GET /sign-in`.
pub async fn show(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    PageQuery(target): PageQuery<Target>,
) -> Response {
    let wanted = target.return_to;
    let notice = wanted.is_some().then(|| "Sign in to go on.".to_owned());
    let view = SignInPage { notice, ..blank(&app, &current, wanted.as_deref()) };
    page(&app, StatusCode::OK, &view)
}

/// What the sign-in form sends.
#[derive(Deserialize)]
pub struct SignInForm {
    login: String,
    password: Secret<String>,
    remember: Option<String>,
    return_to: Option<String>,
}

/// `POST /sign-in`.
pub async fn submit(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    headers: HeaderMap,
    ProtectedForm(form): ProtectedForm<SignInForm>,
) -> Page {
    let remembered = form.remember.as_deref() == Some("yes");
    let attempt = Attempt {
        login: LoginName::parse(&form.login),
        password: form.password,
        carry: Carry { by: Carrier::Cookie, remembered, device },
        known_device: device_token(&app, &headers),
    };
    let outcome = login::sign_in(&app, attempt, &current).await.map_err(|failure| failed(&app, failure))?;
    let again = |status, error: String| {
        let blank = blank(&app, &current, form.return_to.as_deref());
        let view =
            SignInPage { login: form.login.clone(), remember: remembered, error: Some(error), ..blank };
        page(&app, status, &view)
    };
    Ok(match outcome {
        SignInOutcome::SignedIn(signed_in) => {
            let target = safe_target(&app, form.return_to.as_deref());
            (device_cookie(&app, &signed_in), see_other(&target)).into_response()
        }
        SignInOutcome::Refused => again(
            StatusCode::UNPROCESSABLE_ENTITY,
            "That name and password do not belong together.".to_owned(),
        ),
        SignInOutcome::Throttled { retry_at } => throttled(&app, retry_at, again),
        SignInOutcome::LimitReached => again(
            StatusCode::CONFLICT,
            "You are signed in at as many places as you may be. Sign out at one of them first.".to_owned(),
        ),
    })
}

/// The page again, saying when the next attempt may be made.
pub fn throttled(
    app: &App,
    retry_at: Timestamp,
    again: impl FnOnce(StatusCode, String) -> Response,
) -> Response {
    let seconds = seconds_until(retry_at, app.clock.now());
    let wait = if seconds < 120 { count(seconds, "second") } else { count(seconds.div_ceil(60), "minute") };
    let mut response =
        again(StatusCode::TOO_MANY_REQUESTS, format!("Too many attempts. Try again in {wait}."));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn blank(app: &App, current: &CurrentSession, wanted: Option<&str>) -> SignInPage {
    SignInPage {
        layout: layout(app, current),
        login: String::new(),
        remember: false,
        return_to: wanted.map(|wanted| kept_target(app, Some(wanted))),
        sign_up_open: app.config.sign_up == SignUp::Open,
        notice: None,
        error: None,
    }
}

/// Where to go, if that is one of our own pages, a configured origin, or where a proxy has sent somebody from.
pub fn safe_target(app: &App, wanted: Option<&str>) -> String {
    match wanted.and_then(|wanted| signed_target(app, wanted)) {
        Some(target) => target.to_owned(),
        None => return_to(wanted, &app.config.public_url, &app.config.return_to_origins),
    }
}

/// The same, to be sent along with a form: what is signed keeps its signature.
pub fn kept_target(app: &App, wanted: Option<&str>) -> String {
    match wanted.filter(|wanted| signed_target(app, wanted).is_some()) {
        Some(wanted) => wanted.to_owned(),
        None => safe_target(app, wanted),
    }
}

/// `POST /sign-out`.
pub async fn sign_out(
    State(app): State<Arc<App>>,
    current: CurrentSession,
    From(device): From,
    headers: HeaderMap,
    ProtectedForm(Nothing {}): ProtectedForm<Nothing>,
) -> Page {
    if let SessionState::Unknown(_) = current.state() {
        return Err(crate::pages::reply::unavailable(&app));
    }
    login::sign_out(&app, &current, &headers, &device).await.map_err(|error| failed(&app, error))?;
    Ok(signed_out_redirect())
}

/// On to the page that says so, with nothing personal left in the browser's cache.
pub fn signed_out_redirect() -> Response {
    let forget = [(HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cache\""))];
    (forget, see_other("/signed-out")).into_response()
}

/// `GET /signed-out`.
pub async fn signed_out(State(app): State<Arc<App>>, current: CurrentSession) -> Response {
    if signed_in(&current).is_some() {
        return see_other(login::return_to::HOME);
    }
    page(&app, StatusCode::OK, &SignedOutPage { layout: layout(&app, &current), notice: None })
}
