//! Hosts of other domains, to which browsers do not send the session cookie: the session is handed over to them.
//!
//! A browser that opens a page there is sent to [our page](PAGE), signs in if it has to, and comes back to [a path](PATH) that
//! is ours on every such host, with a code that works once. What it gets there is a *visit*: a cookie of that host that
//! names the session and is good for nothing but to be let through there. Whatever ends the session ends its visits, and a new
//! proof in it ends those from before: then the browser is sent away once more, and comes back without a click.
//!
//! Nobody must be able to bring somebody else's browser into their own session, nor to use a code that they have seen. So a
//! code counts only in the browser that was sent away. That browser is known by the value of the same cookie: a visit that goes
//! on, or a random value that it was given on the way. The [wish](Wish) to come back and the code carry a signature of it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kerria::{Checked, bearer};
use kerria_core::{ClientId, Entropy, Secret, SessionId, StoreError, Timestamp, entropy::random_bytes};
use tracing::info;
use url::{Url, form_urlencoded};

use super::{Asked, original::Original, signed::Purpose};
use crate::{app::App, login::return_to};

/// The page of ours that hands a session over.
pub const PAGE: &str = "/hand-over";

/// Where a browser comes back to with a code, on every host of another domain.
pub const PATH: &str = "/.kerria/hand-over";

/// The cookie of such a host.
pub const COOKIE: &str = "kerria-visit";

/// How long a code is good.
const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// How long a browser is known on its way: a sign-in may take a while.
const WAY_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How long a random value is, in base64url.
const RANDOM: usize = 22;

/// Whether browsers know a session on this host by a visit.
#[must_use]
pub fn is_elsewhere(app: &App, host: &str) -> bool {
    !app.config.session_cookie_reaches(host)
}

/// The right to be let through at one host in a session, until somebody proves in it anew who they are.
pub(super) struct Visit {
    /// The session.
    pub(super) session: SessionId,
    /// The last proof when it began.
    proved_at: Timestamp,
}

impl Visit {
    /// The visit that a request with these headers belongs to. A bearer token speaks for the request alone.
    pub(super) fn of(app: &App, asked: &Asked<'_>) -> Option<Self> {
        let host = &asked.original.host;
        if !is_elsewhere(app, host) || asked.headers.get(header::AUTHORIZATION).and_then(bearer).is_some() {
            return None;
        }
        held(app, host, asked.headers)?.visit
    }

    /// Whether it goes on, in this session as it is now. A copy of it is worth nothing after a new proof, like one of a session token.
    pub(super) fn goes_on(&self, checked: &Checked) -> bool {
        checked.session.authenticated_at == self.proved_at
    }

    /// The cookie of a visit that begins. Browsers keep it as long as the session's own.
    pub(super) fn begin(app: &App, asked: &Asked<'_>, checked: &Checked) -> HeaderValue {
        let (session, original) = (checked.session.id, asked.original);
        info!(session.id = %session, "session {session} was handed over to {}", original.origin());
        let text = format!("{session}.{}", checked.session.authenticated_at.as_millis());
        let signature = Purpose::Visit.sign(app, &format!("{text} {}", original.host));
        let max_age = app.checker.cookie_max_age(&checked.session, asked.now);
        app.visit_cookie.set(&Secret::new(format!("{text}.{signature}")), max_age)
    }

    fn read(app: &App, host: &str, value: &str) -> Option<Self> {
        let (text, signature) = value.rsplit_once('.')?;
        let (session, proved_at) = text.split_once('.')?;
        let is_ours = Purpose::Visit.has_signed(app, &format!("{text} {host}"), signature);
        let proved_at = Timestamp::from_millis(proved_at.parse().ok()?);
        session.parse().ok().filter(|_| is_ours).map(|session| Self { session, proved_at })
    }
}

/// What a browser has in the cookie of a host.
struct Held<'h> {
    /// By this it is known.
    value: &'h str,
    /// If it is a visit, going on or not.
    visit: Option<Visit>,
}

/// The one value of ours that a browser has for this host.
fn held<'h>(app: &'h App, host: &str, headers: &'h HeaderMap) -> Option<Held<'h>> {
    let values = app.visit_cookie.values(headers).filter_map(|value| std::str::from_utf8(value).ok());
    let mut ours = values
        .map(|value| Held { value, visit: Visit::read(app, host, value) })
        .filter(|held| held.visit.is_some() || is_random(held.value));
    ours.next().filter(|_| ours.next().is_none())
}

fn is_random(value: &str) -> bool {
    value.len() == RANDOM && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn random(entropy: &dyn Entropy) -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<16>(entropy))
}

/// What becomes of the visit of a browser that is sent away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Visits {
    /// It is over: somebody has to sign in.
    Over,
    /// If there is one, it goes on.
    GoOn,
}

/// A browser is sent away: the path of our page that hands the session over and leads back to what was asked for, and the cookie by
/// which the browser is known then, if it has none.
pub(super) fn send_away(app: &App, asked: &Asked<'_>, visits: Visits) -> (String, Option<HeaderValue>) {
    let held = held(app, &asked.original.host, asked.headers);
    let (value, cookie) = match held {
        Some(Held { value, visit: Some(_) }) if visits == Visits::GoOn => (value.to_owned(), None),
        _ => {
            // Several pages may be on their way. A visit that is over is known to who has a copy of it, and nobody is known by it.
            let on_its_way = held.filter(|held| held.visit.is_none()).map(|held| held.value.to_owned());
            let value = on_its_way.unwrap_or_else(|| random(&*app.entropy));
            (value.clone(), Some(app.visit_cookie.set(&Secret::new(value), Some(WAY_LIFETIME))))
        }
    };
    let browser = Purpose::Browser.sign(app, &value);
    let page = |target: &str| {
        let signed = Purpose::Wish.write(app, &format!("{browser}.{target}"));
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("to", &signed).finish();
        format!("{PAGE}?{query}")
    };
    // What cannot be given back whole, because it is too long, leads to the beginning.
    let whole = Some(page(&asked.original.url())).filter(|page| return_to::is_plain(page));
    (whole.unwrap_or_else(|| page(&(asked.original.origin() + "/"))), cookie)
}

/// What a browser that was sent to us wants to come back to.
pub struct Wish<'w> {
    browser: &'w str,
    target: &'w str,
}

impl<'w> Wish<'w> {
    /// Reads what we have signed, as long as a rule is about the host and it is of another domain.
    #[must_use]
    pub fn read(app: &App, text: &'w str) -> Option<Self> {
        let wish = Purpose::Wish.read(app, text)?;
        let (browser, target) = wish.split_once('.')?;
        let url = Url::parse(target).ok().filter(|_| return_to::is_plain(target))?;
        let host = url.host_str()?;
        let is_still_so = app.config.forward_auth.rules.name_host(host) && is_elsewhere(app, host);
        is_still_so.then_some(Self { browser, target })
    }

    /// Where the browser goes with a new code for this session.
    #[must_use]
    pub fn grant(&self, app: &App, session: SessionId, now: Timestamp) -> Option<String> {
        let expires_at = (now + CODE_LIFETIME).as_millis();
        let Self { browser, target } = self;
        let text = format!("{session}.{}.{expires_at}.{browser}.{target}", random(&*app.entropy));
        let mut url = Url::parse(target).ok()?;
        url.set_path(PATH);
        url.query_pairs_mut().clear().append_pair("code", &Purpose::Code.write(app, &text));
        Some(url.into())
    }
}

/// The right to visit one host in a session: once, within a minute, in one browser.
struct Code<'c> {
    session: SessionId,
    /// Tells it from all others.
    nonce: &'c str,
    expires_at: Timestamp,
    /// Our signature of the value by which the browser is known.
    browser: &'c str,
    /// Where the browser wants to go.
    target: &'c str,
}

impl<'c> Code<'c> {
    /// Reads one that we have signed, for the origin that it has come to.
    fn read(app: &App, original: &Original<'_>, text: &'c str) -> Option<Self> {
        let mut parts = Purpose::Code.read(app, text)?.splitn(5, '.');
        let mut next = || parts.next();
        let session = next()?.parse().ok()?;
        let nonce = next()?;
        let expires_at = Timestamp::from_millis(next()?.parse().ok()?);
        let (browser, target) = (next()?, next()?);
        let is_of_this_origin =
            target.strip_prefix(&original.origin()).is_some_and(|rest| rest.starts_with('/'));
        is_of_this_origin.then_some(Self { session, nonce, expires_at, browser, target })
    }

    /// Uses it up. Of all who do, one is answered `true`. It is remembered for longer than any clock of ours may be wrong.
    async fn spend(&self, app: &App) -> Result<bool, StoreError> {
        let until = self.expires_at + CODE_LIFETIME;
        app.store.spend(ClientId::OWN, &format!("{} {}", Purpose::Code.as_str(), self.nonce), until).await
    }
}

/// What comes of a code.
pub(super) enum Arrival {
    /// It is good: for a visit in this session, which has to be good, too.
    Good(SessionId, String),
    /// It is none, or not any more, and the browser is known: it asks for its page again.
    Again(String),
    /// It does not work. The page that was wanted, if that can be told.
    Failed(Option<String>),
}

/// A browser has come back with a code. Whoever brings one uses it up, so that nobody else can.
pub(super) async fn arrive(app: &App, asked: &Asked<'_>) -> Result<Arrival, StoreError> {
    let mut given =
        form_urlencoded::parse(asked.original.query().as_bytes()).filter(|(name, _)| name == "code");
    let text = given.next().map(|(_, text)| text).filter(|_| given.next().is_none());
    let Some(code) = text.as_deref().and_then(|text| Code::read(app, asked.original, text)) else {
        return Ok(Arrival::Failed(None));
    };
    let target = code.target.to_owned();
    if asked.now >= code.expires_at {
        return Ok(Arrival::Failed(Some(target)));
    }
    let is_first = code.spend(app).await?;
    Ok(match held(app, &asked.original.host, asked.headers) {
        // Without a cookie it would be sent away and come back for ever.
        None => Arrival::Failed(Some(target)),
        Some(held) if is_first && Purpose::Browser.has_signed(app, held.value, code.browser) => {
            Arrival::Good(code.session, target)
        }
        // Another tab was quicker, or it is a link that somebody else was sent.
        Some(_) => Arrival::Again(target),
    })
}
