//! Forward-auth: a reverse proxy asks for each request whether it may pass, and whose it is.
//!
//! A proxy tells of the [request](original) in its own dialect; the first of the [rules] that matches it decides, on the
//! session that came along; and the answer lets it pass with the [identity] of the user, or says what to do instead. To hosts
//! that the session cookie does not reach, the session is [handed over](hand_over).

mod answer;
mod credentials;
pub mod explain;
pub mod hand_over;
pub mod identity;
pub mod original;
pub mod path;
pub mod return_address;
pub mod rules;
mod signed;

use std::{
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, Response, StatusCode},
    response::IntoResponse,
};
use futures_util::FutureExt;
use kerria::{Checked, ClientAddress, Consistency, SessionLayer, SessionState};
use kerria_core::{Profile, Timestamp};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{api::extract::no_session, app::App, client::Peer, problem::Problem};
use hand_over::{Arrival, Visit};
use identity::{For, Identities};
use original::{Dialect, Original, Told, Untold};
use rules::{Found, Rule, Unclear, Verdict};

const WITHOUT_TLS: &str = "The request came over http, and the session goes over https only. If it did not, have the proxy tell the \
                           scheme that the browser has used.";

/// How often the log says that a proxy asks in a way that is not believed, in milliseconds.
const COMPLAINTS: i64 = 60_000;

/// Answers the proxies.
pub struct ForwardAuth {
    app: Arc<App>,
    sessions: SessionLayer,
    identities: Identities,
    complained_at: AtomicI64,
}

/// What a proxy is answered.
pub enum Answer {
    /// The request may pass. Only the proxy sees this answer.
    Pass(Response<Body>),
    /// It may not, and whoever has sent it sees this.
    Instead(Response<Body>),
}

impl<R: IntoResponse> From<R> for Answer {
    fn from(response: R) -> Self {
        Self::Instead(response.into_response())
    }
}

/// A request of a proxy.
struct Asked<'a> {
    dialect: Dialect,
    original: &'a Original<'a>,
    headers: &'a HeaderMap,
    now: Timestamp,
}

impl ForwardAuth {
    /// With the rules that are configured.
    #[must_use]
    pub fn new(app: &Arc<App>) -> Self {
        Self {
            app: Arc::clone(app),
            sessions: app.session_layer(),
            identities: Identities::default(),
            complained_at: AtomicI64::new(i64::MIN),
        }
    }

    /// Answers a request of a proxy, sooner than its patience ends; `peer` is who has opened the connection.
    pub async fn answer<B>(
        &self,
        dialect: Dialect,
        peer: Peer,
        client: ClientAddress,
        request: &Request<B>,
    ) -> Answer {
        let mut answer = pin!(self.decide(dialect, peer, client, request));
        // What memory tells is there at once, and needs no clock.
        if let Some(answer) = answer.as_mut().now_or_never() {
            return answer;
        }
        let answer = timeout(self.app.config.request_timeout, answer).await;
        answer.unwrap_or_else(|_| {
            warn!("a proxy was not answered in time: the store does not answer");
            Problem::unavailable().into()
        })
    }

    async fn decide<B>(
        &self,
        dialect: Dialect,
        peer: Peer,
        client: ClientAddress,
        request: &Request<B>,
    ) -> Answer {
        let (headers, now) = (request.headers(), self.app.clock.now());
        if !peer.is_trusted {
            return self.refuse(now, &untrusted(peer.address)).into();
        }
        let told = Told::by(headers);
        let original = match Original::read(dialect, request.method(), request.uri(), &told) {
            Ok(original) => original,
            Err(why) => return self.refuse(now, &untold(why)).into(),
        };
        if let Some(name) = told.identity {
            let detail = format!("The client has sent the header {name}, which only Kerria may.");
            return self.refuse(now, &detail).into();
        }
        let asked = Asked { dialect, original: &original, headers, now };
        let rules = &self.app.config.forward_auth.rules;
        if original.path() == hand_over::PATH
            && hand_over::is_elsewhere(&self.app, &original.host)
            && rules.name_host(&original.host)
        {
            return self.take_over(&asked, client).await.map_or_else(Answer::from, Answer::Instead);
        }
        match rules.find(&original, told.overrides_method) {
            Found::Rule(_, rule) => self.judge(&asked, rule, client).await,
            Found::Nothing => {
                debug!(host = &*original.host, "no rule is about the request");
                not_allowed("No rule lets this request through.").into()
            }
            Found::Unclear(why) => {
                debug!(host = &*original.host, "it is not clear which rule is about the request");
                not_allowed(unclear(why)).into()
            }
        }
    }

    async fn judge(&self, asked: &Asked<'_>, rule: &Rule, client: ClientAddress) -> Answer {
        let app = &*self.app;
        let Asked { original, headers, now, .. } = *asked;
        let is_public = rule.allow == rules::Allow::Everyone;
        if !is_public && self.is_without_tls(original) {
            return self.refuse(now, WITHOUT_TLS).into();
        }
        let state = match Visit::of(app, asked) {
            Some(visit) => {
                match self.sessions.check_session(visit.session, headers, client, rule.consistency).await {
                    SessionState::Good(checked) if !visit.goes_on(&checked) => SessionState::None,
                    state => state,
                }
            }
            None => self.sessions.check(headers, client, rule.consistency).await,
        };
        let user = match self.user(&state, rule.consistency).await {
            Ok(user) => user,
            // For everyone means also: whoever it is.
            Err(_) if is_public => None,
            Err(problem) => return problem.into(),
        };
        let (user_of_session, profile) =
            (user.as_ref().map(|(checked, _)| checked), user.as_ref().map(|(_, profile)| &**profile));
        match rule.judge(profile.zip(user_of_session.map(|checked| checked.session.authenticated_at)), now) {
            Verdict::Allowed => {
                let cookies = credentials::foreign_cookies(app, headers);
                let authorization = credentials::foreign_authorization(headers, user.is_some());
                match self.identity(user, rule, original, now) {
                    Ok(identity) => Answer::Pass(answer::pass(identity, cookies, authorization)),
                    Err(problem) => problem.into(),
                }
            }
            Verdict::SignIn => answer::sign_in(app, asked, no_session(&state)).into(),
            Verdict::Confirm => answer::confirm(app, asked).into(),
            Verdict::Forbidden => {
                answer::forbidden(app, asked, profile.map_or("", Profile::display_name)).into()
            }
        }
    }

    /// A browser comes back from us with a code, to a host of another domain.
    async fn take_over(&self, asked: &Asked<'_>, client: ClientAddress) -> Result<Response<Body>, Problem> {
        let Asked { original, headers, now, .. } = *asked;
        if self.is_without_tls(original) {
            return Ok(self.refuse(now, WITHOUT_TLS));
        }
        if original.method != Method::GET {
            return Err(not_allowed("With this path, a sign-in comes to this host, by GET alone."));
        }
        Ok(match hand_over::arrive(&self.app, asked).await? {
            Arrival::Good(session, target) => {
                match self.sessions.check_session(session, headers, client, None).await {
                    SessionState::Good(checked) if checked.session.user.is_some() => {
                        let cookie = Visit::begin(&self.app, asked, &checked);
                        answer::go(asked.dialect, &target, Some(cookie))
                    }
                    SessionState::Unknown(error) => return Err(error.into()),
                    _ => answer::did_not_work(&self.app, asked, Some(target)),
                }
            }
            Arrival::Again(target) => answer::go(asked.dialect, &target, None),
            Arrival::Failed(target) => answer::did_not_work(&self.app, asked, target),
        })
    }

    /// Whether a request has come over a connection that credentials must not go over.
    fn is_without_tls(&self, original: &Original<'_>) -> bool {
        self.app.config.public_url.scheme() == "https" && original.scheme == "http"
    }

    /// The signed-in user of a session.
    async fn user<'s>(
        &self,
        state: &'s SessionState,
        consistency: Option<Consistency>,
    ) -> Result<Option<(&'s Checked, Arc<Profile>)>, Problem> {
        let checked = match state {
            SessionState::Good(checked) => checked,
            SessionState::Unknown(error) => return Err(error.into()),
            SessionState::None | SessionState::Refused(_) => return Ok(None),
        };
        let Some(user) = checked.session.user else { return Ok(None) };
        let checker = &self.app.checker;
        let profile = match consistency.unwrap_or(self.app.config.session.consistency) {
            Consistency::Leased => checker.profile(user).await?,
            Consistency::Strict => checker.read_profile(user).await?,
        };
        // A user who is gone has no session, either.
        Ok(profile.map(|profile| (checked, profile)))
    }

    fn identity(
        &self,
        user: Option<(&Checked, Arc<Profile>)>,
        rule: &Rule,
        original: &Original<'_>,
        now: Timestamp,
    ) -> Result<HeaderMap, Problem> {
        let Some((checked, profile)) = user else { return Ok(identity::nobody()) };
        let audience = rule.audience.as_ref().map_or(For::Origin(original), For::Audience);
        Ok(self.identities.of(&self.app, checked, &profile, audience, now)?)
    }

    /// Refuses what no proxy should ask, and tells the operator now and then.
    fn refuse(&self, now: Timestamp, detail: &str) -> Response<Body> {
        let before = self.complained_at.load(Relaxed);
        let is_due = now.as_millis().saturating_sub(before) >= COMPLAINTS;
        if is_due && self.complained_at.compare_exchange(before, now.as_millis(), Relaxed, Relaxed).is_ok() {
            warn!("a request of a proxy was refused: {detail}");
        }
        Problem::new(StatusCode::FORBIDDEN, "not-believed", "This request of a proxy is not believed", detail)
            .into_response()
    }
}

fn not_allowed(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "not-allowed", "This request is not let through", detail)
}

fn untrusted(peer: IpAddr) -> String {
    format!(
        "It came from {peer}, which is none of the trusted_proxies. If that is your proxy, add its address to that setting."
    )
}

/// What is wrong with what a proxy tells, and what to do.
fn untold(why: Untold) -> String {
    match why {
        Untold::Missing(name) => {
            format!("The proxy does not tell {name}. Configure it as docs/forward-auth.md shows for it.")
        }
        Untold::Repeated(name) => format!("It tells {name} twice; one of them may be the client's."),
        Untold::Unreadable(name) => format!("It tells {name} in a way that cannot be read."),
        Untold::Contradicted(name) => {
            format!("It also tells {name}, which may be the client's. Have the proxy remove that header.")
        }
    }
}

/// Why it cannot be told which rule decides.
#[must_use]
pub fn unclear(why: Unclear) -> String {
    match why {
        Unclear::Path(why) => {
            format!("The path {}. Where rules go by paths, only one that reads in one way passes.", why.words())
        }
        Unclear::Case => "Another rule would decide if large letters in the path counted as small ones, as they do in some \
                          applications."
            .to_owned(),
        Unclear::Method => {
            "It may stand for another method than it has: a header or the query asks for one, or it is in small letters. Rules of this \
             host go by methods.".to_owned()
        }
    }
}
