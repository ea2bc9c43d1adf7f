//! The front door: what happens to every request before and after the router, and the one request that needs none.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, response::Parts},
    response::IntoResponse,
};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kerria::{ClientAddress, Refusal, SessionLayer, SessionState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use crate::{
    api::{session, shapes::SessionShape},
    app::App,
    client::{Peer, client_address},
    config::Config,
    forward_auth::{Answer, ForwardAuth, original::Dialect},
    problem::Problem,
    routes::{self, SESSION_PATH},
};

/// What every connection of a listener needs.
pub struct Front {
    app: Arc<App>,
    router: Router,
    /// Answers checks without the router, on the public address.
    checks: Option<SessionLayer>,
    /// Answers reverse proxies, on the public address.
    forward_auth: Option<ForwardAuth>,
    permits: Arc<Semaphore>,
    /// The headers that every response carries.
    protection: HeaderMap,
    /// The same for hosts that are not ours: how they are reached is not ours to say.
    protection_elsewhere: HeaderMap,
    /// The same with the media type of JSON.
    protection_of_json: HeaderMap,
    /// The answer to a token that carries no good session.
    refusal: Prepared,
}

/// An answer that is always the same, written once: a flood of garbage must not cost more than good sessions do.
struct Prepared {
    head: Parts,
    body: Bytes,
}

impl Front {
    /// What is served on the public address.
    pub fn public(app: &Arc<App>) -> Arc<Self> {
        Self::new(app, routes::public(Arc::clone(app)), true)
    }

    /// What is served on the control socket.
    pub fn control(app: &Arc<App>) -> Arc<Self> {
        Self::new(app, routes::control(Arc::clone(app)), false)
    }

    fn new(app: &Arc<App>, router: Router, is_public: bool) -> Arc<Self> {
        let checks = is_public.then(|| app.session_layer());
        let forward_auth = is_public.then(|| ForwardAuth::new(app));
        let permits = Arc::new(Semaphore::new(app.config.max_connections as usize));
        let protection = protection(app.config.public_url.scheme() == "https");
        let protection_elsewhere = self::protection(false);
        let mut protection_of_json = protection.clone();
        protection_of_json.insert(header::CONTENT_TYPE, session::JSON);
        let refusal = Prepared::of(protected(Problem::session_token_refused().into_response(), &protection));
        let app = Arc::clone(app);
        Arc::new(Self {
            app,
            router,
            checks,
            forward_auth,
            permits,
            protection,
            protection_elsewhere,
            protection_of_json,
            refusal,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.app.config
    }

    /// Waits until one more connection may be served. The permit is to be held as long as it is.
    pub async fn admit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Answers one request.
    pub async fn answer(&self, peer: Peer, mut request: Request<Incoming>) -> Response<Body> {
        let client = ClientAddress(client_address(peer, request.headers(), &self.config().trusted_proxies));
        // What panics harms nobody else, here and in the handlers.
        let checked = panic::catch_unwind(AssertUnwindSafe(|| self.check(client, &mut request)));
        let response = match checked {
            Ok(Some(response)) => response,
            Err(_) => protected(panicked(), &self.protection),
            Ok(None) => {
                let dialect = Dialect::at(request.uri().path());
                match self.forward_auth.as_ref().zip(dialect) {
                    Some((proxies, dialect)) => {
                        let answer = AssertUnwindSafe(proxies.answer(dialect, peer, client, &request));
                        match answer.catch_unwind().await.unwrap_or_else(|_| panicked().into()) {
                            Answer::Pass(response) => response,
                            Answer::Instead(response) => protected(response, &self.protection_elsewhere),
                        }
                    }
                    None => protected(self.route(client, request.map(Body::new)).await, &self.protection),
                }
            }
        };
        self.app.metrics.http_requests.of(response.status().as_u16()).inc();
        response
    }

    /// Answers `GET /api/v1/session` from memory. Applications ask it on every request of their own, so it does not take the
    /// way through the router, which costs more than the check itself. If memory cannot tell, that way is taken after all.
    fn check(&self, client: ClientAddress, request: &mut Request<Incoming>) -> Option<Response<Body>> {
        let asks = request.method() == Method::GET && request.uri().path() == SESSION_PATH;
        let state = self.checks.as_ref().filter(|_| asks)?.recall(request, client)?;
        Some(match &state {
            SessionState::Good(checked) => {
                let mut response = Response::new(SessionShape::of(checked).to_json().into());
                response.headers_mut().clone_from(&self.protection_of_json);
                response
            }
            SessionState::Refused(Refusal::InsufficientScope)
            | SessionState::None
            | SessionState::Unknown(_) => protected(session::answer(&state), &self.protection),
            SessionState::Refused(_) => self.refusal.to_response(),
        })
    }

    /// Lets the router answer. A handler that panics answers 500.
    async fn route(&self, client: ClientAddress, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(client);
        let response = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind().await;
        match response {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => panicked(),
        }
    }
}

fn panicked() -> Response<Body> {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal-error",
        "Something went wrong here",
        "This is our fault. The operators find the reason in the log.",
    )
    .into_response()
}

impl Prepared {
    fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().now_or_never().and_then(Result::ok).expect("a problem is written already");
        Self { head, body: body.to_bytes() }
    }

    fn to_response(&self) -> Response<Body> {
        Response::from_parts(self.head.clone(), self.body.clone().into())
    }
}

/// Adds the headers that every response carries. What a handler has set itself stands.
fn protected(mut response: Response<Body>, protection: &HeaderMap) -> Response<Body> {
    let headers = response.headers_mut();
    let own = std::mem::replace(headers, protection.clone());
    headers.extend(own);
    response
}

/// The headers that every response carries: not to be kept, not to be guessed at, not to be framed, and no word to others
/// about where a link came from. (`no-referrer` would say more than that: browsers then send our own forms with the
/// `Origin` of nobody, by which they are told from foreign ones.)
fn protection(strict_transport: bool) -> HeaderMap {
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let strict = (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
    // With room for those of the answer itself.
    let mut protection = HeaderMap::with_capacity(12);
    for (name, value) in headers.into_iter().chain(strict_transport.then_some(strict)) {
        protection.insert(name, HeaderValue::from_static(value));
    }
    protection
}
