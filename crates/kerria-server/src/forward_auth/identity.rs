//! What an application is told of the user, in headers: plainly, and in a signed JWT for those who trust no header.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use kerria::{Checked, jwt::NumericDate};
use kerria_core::{Algorithm, Audience, GroupName, Profile, SessionId, Timestamp, UserName};
use serde::Serialize;

use super::original::Original;
use crate::{
    app::App,
    config::RemoteUser,
    keys::{KeyError, Keyring},
};

/// The headers with the identity. Every answer that lets a request through has all of them, so that nothing that a client has
/// sent under these names is left.
pub static NAMES: [HeaderName; 5] = [
    HeaderName::from_static("remote-user"),
    HeaderName::from_static("remote-name"),
    HeaderName::from_static("remote-email"),
    HeaderName::from_static("remote-groups"),
    HeaderName::from_static("remote-jwt"),
];

/// How long a signed identity is good.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long one is given out: half of that is always left.
const GIVEN_OUT: Duration = Duration::from_secs(30);

/// For how many sessions identities are kept at most.
const KEPT: usize = 20_000;

/// For how many audiences of one session: a rule with a wildcard may be about as many hosts as somebody can think of.
const AUDIENCES: usize = 16;

/// The `typ` of the JWT, so that it is never taken for an access token (RFC 8725, section 3.11).
const TYP: &str = "identity+jwt";

/// What the JWT says.
#[derive(Serialize)]
struct Claims<'c> {
    iss: String,
    aud: &'c str,
    sub: String,
    sid: String,
    iat: NumericDate,
    exp: NumericDate,
    auth_time: NumericDate,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'c str>,
    groups: Vec<&'c str>,
}

/// Identities that were written and signed a short time ago. Signing costs more than everything else about a request.
#[derive(Default)]
pub struct Identities(Mutex<HashMap<SessionId, Vec<Identity>>>);

struct Identity {
    audience: Box<str>,
    profile: Arc<Profile>,
    authenticated_at: Timestamp,
    signed_at: Timestamp,
    headers: HeaderMap,
}

/// The headers of an answer that lets a request of nobody through.
#[must_use]
pub fn nobody() -> HeaderMap {
    headers([const { HeaderValue::from_static("") }; 5])
}

/// The headers of an answer that lets a request through: the identity, and an application that sees nothing of cookies and other
/// credentials unless that is put in. Nobody but the proxy ever sees them, so they protect no page.
fn headers(identity: [HeaderValue; 5]) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.extend(NAMES.iter().cloned().zip(identity));
    headers.insert(header::COOKIE, HeaderValue::from_static(""));
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static(""));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// For whom a signed identity is meant.
#[derive(Clone, Copy)]
pub enum For<'r> {
    /// For whom the rule says.
    Audience(&'r Audience),
    /// For the origin of the request.
    Origin(&'r Original<'r>),
}

impl For<'_> {
    fn is(self, audience: &str) -> bool {
        match self {
            Self::Audience(named) => named.as_str() == audience,
            Self::Origin(original) => original.has_origin(audience),
        }
    }

    fn written(self) -> Box<str> {
        match self {
            Self::Audience(named) => named.as_str().into(),
            Self::Origin(original) => original.origin().into(),
        }
    }
}

impl Identities {
    /// The headers with the identity of the user of a session, for `audience`.
    ///
    /// # Errors
    /// If there is no key to sign with.
    pub fn of(
        &self,
        app: &App,
        checked: &Checked,
        profile: &Arc<Profile>,
        audience: For<'_>,
        now: Timestamp,
    ) -> Result<HeaderMap, KeyError> {
        let authenticated_at = checked.session.authenticated_at;
        let is_same = |kept: &Identity| {
            audience.is(&kept.audience)
                && kept.authenticated_at == authenticated_at
                && (Arc::ptr_eq(&kept.profile, profile) || kept.profile == *profile)
                && kept.signed_at <= now
                && now.since(kept.signed_at) < GIVEN_OUT
        };
        if let Some(kept) =
            self.lock().get(&checked.session.id).and_then(|all| all.iter().find(|kept| is_same(kept)))
        {
            return Ok(kept.headers.clone());
        }
        let audience = audience.written();
        let headers = headers(write(app, checked, profile, &audience, now)?);
        let identity = Identity {
            audience,
            profile: Arc::clone(profile),
            authenticated_at,
            signed_at: now,
            headers: headers.clone(),
        };
        self.keep(checked.session.id, identity, now);
        Ok(headers)
    }

    fn keep(&self, session: SessionId, identity: Identity, now: Timestamp) {
        let is_young = |kept: &Identity| kept.signed_at <= now && now.since(kept.signed_at) < GIVEN_OUT;
        let mut all = self.lock();
        if all.len() >= KEPT && !all.contains_key(&session) {
            all.retain(|_, kept| kept.iter().any(is_young));
            if all.len() >= KEPT {
                all.clear();
            }
        }
        let kept = all.entry(session).or_default();
        kept.retain(|kept| is_young(kept) && kept.audience != identity.audience);
        if kept.len() >= AUDIENCES {
            kept.remove(0);
        }
        kept.push(identity);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Vec<Identity>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(
    app: &App,
    checked: &Checked,
    profile: &Profile,
    audience: &str,
    now: Timestamp,
) -> Result<[HeaderValue; 5], KeyError> {
    let name = profile.display_name();
    let email = profile.email.as_ref().map(|email| email.as_str());
    let user = profile.user.to_string();
    let groups: Vec<&str> = profile.groups.iter().map(GroupName::as_str).collect();
    let told_groups = groups.join(",");
    let told_user = match app.config.forward_auth.remote_user {
        RemoteUser::Id => user.as_str(),
        // Of an e-mail address nobody has made sure.
        RemoteUser::Name => profile.name.as_ref().map_or(user.as_str(), UserName::as_str),
    };
    let claims = Claims {
        iss: app.issuer(),
        aud: audience,
        sub: user.clone(),
        sid: checked.session.id.to_string(),
        iat: NumericDate::at(now),
        exp: NumericDate::at(now + LIFETIME),
        auth_time: NumericDate::at(checked.session.authenticated_at),
        name: Some(name).filter(|name| !name.is_empty()),
        email,
        groups,
    };
    let jwt = sign(&app.keyring, &claims)?;
    Ok([value(told_user), value(name), value(email.unwrap_or_default()), value(&told_groups), value(&jwt)])
}

fn sign(keyring: &Keyring, claims: &Claims<'_>) -> Result<String, KeyError> {
    keyring.sign(Algorithm::EdDsa, TYP, claims)
}

/// Names are UTF-8, and have no control characters.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(const { HeaderValue::from_static("") })
}

#[cfg(test)]
mod tests {
    use kerria_core::{Groups, UserId};

    use super::*;

    #[test]
    fn however_many_hosts_somebody_asks_for_few_identities_of_a_session_are_kept() {
        let identities = Identities::default();
        let (session, now) = (SessionId::from_bytes([1; 16]), Timestamp::from_millis(1_800_000_000_000));
        let user = UserId::from_bytes([2; 16]);
        let profile = Arc::new(Profile { user, name: None, email: None, groups: Groups::default() });
        for number in 0..1_000 {
            let identity = Identity {
                audience: format!("https://{number}.example.com").into(),
                profile: Arc::clone(&profile),
                authenticated_at: now,
                signed_at: now,
                headers: nobody(),
            };
            identities.keep(session, identity, now);
        }
        let all = identities.lock();
        assert_eq!(all[&session].len(), AUDIENCES);
        assert_eq!(&*all[&session][AUDIENCES - 1].audience, "https://999.example.com");
    }
}
