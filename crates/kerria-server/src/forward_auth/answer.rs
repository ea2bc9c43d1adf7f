//! What a proxy is answered.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    response::{Html, IntoResponse},
};

use super::{
    Asked,
    original::Dialect,
    return_address::{by_way_of, to_sign_in},
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
pub(super) fn sign_in(app: &App, asked: &Asked<'_>, problem: Problem) -> Response<Body> {
    if !is_navigation(asked) {
        return problem.into_response();
    }
    let way = to_sign_in(app, asked);
    go(asked.dialect, &way.address, way.cookie)
}

/// The user has to prove again who they are.
pub(super) fn confirm(app: &App, asked: &Asked<'_>) -> Response<Body> {
    if !is_navigation(asked) {
        return Problem::not_fresh().into_response();
    }
    let way = by_way_of(app, "/confirm", asked);
    go(asked.dialect, &way.address, way.cookie)
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
pub(super) fn forbidden(app: &App, asked: &Asked<'_>, user_name: &str) -> Response<Body> {
    let way = by_way_of(app, "/sign-in", asked);
    let page = NotForYou {
        site_name: &app.config.site_name,
        user_name,
        host: &asked.original.host,
        sign_in: way.address,
        home: app.config.public_url.as_str(),
    };
    let problem = Problem::new(
        StatusCode::FORBIDDEN,
        "not-allowed",
        "This is not for you",
        "You are signed in, and the rules do not let you do this.",
    );
    with_cookie(refusal(asked, &page, problem), way.cookie)
}

/// What somebody sees whose sign-in does not come to another domain.
#[derive(Template)]
#[template(path = "did_not_work.html")]
struct DidNotWork<'p> {
    site_name: &'p str,
    host: &'p str,
    again: String,
}

/// A sign-in has not come to this host.
pub(super) fn did_not_work(app: &App, asked: &Asked<'_>, target: Option<String>) -> Response<Body> {
    let again = target.unwrap_or_else(|| asked.original.origin() + "/");
    let page = DidNotWork { site_name: &app.config.site_name, host: &asked.original.host, again };
    let problem = Problem::new(
        StatusCode::FORBIDDEN,
        "hand-over-failed",
        "The sign-in did not come here",
        "The code is good once, for a minute, in the browser that asked for the page. Open the page again.",
    );
    refusal(asked, &page, problem)
}

/// A page for those who look at it, and a problem for the others.
fn refusal(asked: &Asked<'_>, page: &impl Template, problem: Problem) -> Response<Body> {
    match page.render() {
        Ok(html) if is_navigation(asked) => (StatusCode::FORBIDDEN, Html(html)).into_response(),
        _ => problem.into_response(),
    }
}

/// Sends the browser on. nginx takes a redirect for an error, and passes the header of a 401 on.
pub(super) fn go(dialect: Dialect, target: &str, cookie: Option<HeaderValue>) -> Response<Body> {
    let status = if dialect == Dialect::Nginx { StatusCode::UNAUTHORIZED } else { StatusCode::FOUND };
    let location = HeaderValue::from_str(target).expect("a URL that was written by us is plain ASCII");
    with_cookie((status, [(header::LOCATION, location)]).into_response(), cookie)
}

/// One cookie at most: not every proxy passes on two.
fn with_cookie(mut response: Response<Body>, cookie: Option<HeaderValue>) -> Response<Body> {
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Whether a person looks at the answer: a browser that opens a page, and not a script, a form or a WebSocket.
fn is_navigation(asked: &Asked<'_>) -> bool {
    let headers = asked.headers;
    let says = |name: &str, wanted: &[u8]| headers.get(name).is_some_and(|value| value.as_bytes() == wanted);
    matches!(asked.original.method, Method::GET | Method::HEAD)
        && headers.get_all(header::ACCEPT).iter().any(|accept| takes_html(accept.as_bytes()))
        && !headers.contains_key("x-requested-with")
        // Some proxies drop `Upgrade` when they ask, and the other is there whenever a WebSocket is opened (RFC 6455, section 4.1).
        && !headers.contains_key(header::UPGRADE)
        && !headers.contains_key(header::SEC_WEBSOCKET_KEY)
        && (!headers.contains_key("sec-fetch-mode") || says("sec-fetch-mode", b"navigate"))
}

fn takes_html(accept: &[u8]) -> bool {
    accept.windows(b"text/html".len()).any(|part| part.eq_ignore_ascii_case(b"text/html"))
}
