//! What an application gets to see of a request's credentials: all but those that are ours.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
};
use kerria::bearer;
use kerria_core::{RefreshToken, TokenKind};

use crate::app::App;

/// The `Cookie` header without the cookies that are ours, if there are others.
pub(super) fn foreign_cookies(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    let App { session_cookie, access_cookie, refresh_cookie, device_cookie, visit_cookie, .. } = app;
    let own = [session_cookie, access_cookie, refresh_cookie, device_cookie, visit_cookie];
    let mut kept: Vec<u8> = Vec::new();
    let pairs =
        headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    for pair in pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        if own.iter().any(|cookie| cookie.name().as_bytes() == name) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
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
