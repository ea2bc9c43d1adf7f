//! What an application gets to see of a request's credentials: all but those that are ours.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
};
use kerria::{bearer, cookies};
use kerria_core::{RefreshToken, TokenKind};

use crate::app::App;

/// The `Cookie` header without the cookies that are ours, if there are others.
pub(super) fn foreign_cookies(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    let App { session_cookie, access_cookie, refresh_cookie, device_cookie, visit_cookie, .. } = app;
    let own = [session_cookie, access_cookie, refresh_cookie, device_cookie, visit_cookie];
    let mut kept: Vec<u8> = Vec::new();
    for cookie in cookies(headers).filter(|cookie| !cookie.text.is_empty()) {
        if own.iter().any(|own| own.name().as_bytes() == cookie.name) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(cookie.text);
    }
    HeaderValue::from_maybe_shared(Bytes::from(kept)).ok().filter(|kept| !kept.is_empty())
}

/// What our tokens begin with. A JWT of ours may be meant for the application, if it is for nobody here.
const OURS: [&str; 3] = [TokenKind::Session.prefix(), TokenKind::Access.prefix(), RefreshToken::PREFIX];

/// The `Authorization` header, unless it holds a token of ours. A bearer token, if there is one, is what was looked at; so if
/// somebody `is_signed_in`, it is theirs.
pub(super) fn foreign_authorization(headers: &HeaderMap, is_signed_in: bool) -> Option<HeaderValue> {
    let value = headers.get(header::AUTHORIZATION)?;
    let is_ours = |text: &[u8]| OURS.iter().any(|prefix| text.starts_with(prefix.as_bytes()));
    match bearer(value) {
        Some(text) if is_signed_in || is_ours(text) => None,
        _ => Some(value.clone()),
    }
}
