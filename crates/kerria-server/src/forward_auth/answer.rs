//! What a proxy is answered.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    response::{Html, IntoResponse},
};

use super::{
    original::{Dialect, Original},
    return_address::by_way_of,
};
use crate::{app::App, problem::Problem};

/// The request may pass. `cookies` and `authorization` are what the application may see of them, if anything.
pub(super) fn pass(
    identity: HeaderMap,
    cookies: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    *headers = identity;
    if let Some(cookies) = cookies {
        headers.insert(header::COOKIE, cookies);
    }
    if let Some(authorization) = authorization {
        headers.insert(header::AUTHORIZATION, authorization);
    }
    response
}

/// Somebody has to sign in: a browser is sent to do so, a program is told.
pub(super) fn sign_in(
    app: &App,
    dialect: Dialect,
    original: &Original,
    headers: &HeaderMap,
    problem: Problem,
) -> Response<Body> {
    if is_navigation(original, headers) {
        return redirect(dialect, &by_way_of(app, "/sign-in", original));
    }
    problem.into_response()
}

/// The user has to prove again who they are.
pub(super) fn confirm(
    app: &App,
    dialect: Dialect,
    original: &Original,
    headers: &HeaderMap,
) -> Response<Body> {
    if is_navigation(original, headers) {
        return redirect(dialect, &by_way_of(app, "/confirm", original));
    }
    Problem::not_fresh().into_response()
}

/// What somebody sees who is signed in and may not get there.
#[derive(Template)]
#[template(path = "not_for_you.html")]
struct NotForYou<'p> {
    site_name: &'p str,
    user_name: &'p str,
    host: &'p str,
    sign_in: String,
    home: &'p str,
}

/// The request is not for this user.
pub(super) fn forbidden(
    app: &App,
    original: &Original,
    headers: &HeaderMap,
    user_name: &str,
) -> Response<Body> {
    if is_navigation(original, headers) {
        let page = NotForYou {
            site_name: &app.config.site_name,
            user_name,
            host: &original.host,
            sign_in: by_way_of(app, "/sign-in", original),
            home: app.config.public_url.as_str(),
        };
        if let Ok(html) = page.render() {
            return (StatusCode::FORBIDDEN, Html(html)).into_response();
        }
    }
    Problem::new(
        StatusCode::FORBIDDEN,
        "not-allowed",
        "This is not for you",
        "You are signed in, and the rules do not let you do this.",
    )
    .into_response()
}

/// nginx takes a redirect for an error, and passes the header of a 401 on.
fn redirect(dialect: Dialect, target: &str) -> Response<Body> {
    let status = if dialect == Dialect::Nginx { StatusCode::UNAUTHORIZED } else { StatusCode::FOUND };
    let location = HeaderValue::from_str(target).expect("a URL that was written by us is plain ASCII");
    (status, [(header::LOCATION, location)]).into_response()
}

/// Whether a person looks at the answer: a browser that opens a page, and not a script, a form or a WebSocket.
fn is_navigation(original: &Original, headers: &HeaderMap) -> bool {
    let says = |name: &str, wanted: &[u8]| headers.get(name).is_some_and(|value| value.as_bytes() == wanted);
    matches!(original.method, Method::GET | Method::HEAD)
        && headers.get_all(header::ACCEPT).iter().any(|accept| takes_html(accept.as_bytes()))
        && !headers.contains_key("x-requested-with")
        && !headers.contains_key(header::UPGRADE)
        && (!headers.contains_key("sec-fetch-mode") || says("sec-fetch-mode", b"navigate"))
}

fn takes_html(accept: &[u8]) -> bool {
    accept.windows(b"text/html".len()).any(|part| part.eq_ignore_ascii_case(b"text/html"))
}
