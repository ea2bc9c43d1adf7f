//! The tower layer that checks the session of every request.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, header};
use kerria_core::{
    Clock, Device, Entropy, RotationNonce, Scope, SessionId, StoreError, Timestamp, Token, TokenHash,
    TokenKey, TokenKind, TokenStep, Transport,
    store::{SessionRotation, Successor, Trouble},
};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{debug, warn};

use crate::{
    checker::{Checked, Checker, Question, Refusal},
    consistency::Consistency,
    cookie::SecretCookie,
    current::{CurrentSession, PresentedIn, SessionState},
    jwt::Verifier,
    sessions::Sessions,
    system::SystemClock,
};

/// The address of the client, as a server has found it out; put into a request's extensions for the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Checks the session of every request, and sets or removes the session cookie where a handler asked for it. Such an answer is not to
/// be kept (`Cache-Control: no-store`), unless the handler has said what else is.
///
/// The layer itself refuses nothing. A request that passes through two of these layers is checked once.
#[derive(Clone)]
pub struct SessionLayer(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    /// Without it nobody is asked, and access tokens alone are accepted.
    asks: Option<Asks>,
    clock: Arc<dyn Clock>,
    access: Option<AccessTokens>,
    consistency: Consistency,
    /// Where successors of tokens come from, if tokens are replaced.
    entropy: Option<Arc<dyn Entropy>>,
    /// What handlers do with sessions, if the application keeps its users itself.
    sessions: Option<Sessions>,
}

/// Who knows of sessions.
#[derive(Clone)]
struct Asks {
    checker: Arc<Checker>,
    /// Where a browser keeps the token of one.
    cookie: SecretCookie,
}

/// Access tokens that are accepted in the place of a session token.
#[derive(Clone)]
struct AccessTokens {
    verifier: Arc<Verifier>,
    /// Where a browser may keep one.
    cookie: Option<SecretCookie>,
    /// What one has to be for.
    scope: Scope,
}

impl SessionLayer {
    /// A layer that asks `checker`.
    #[must_use]
    pub fn new(checker: Arc<Checker>, clock: Arc<dyn Clock>, cookie: SecretCookie) -> Self {
        Self(Arc::new(Inner {
            asks: Some(Asks { checker, cookie }),
            clock,
            access: None,
            consistency: Consistency::default(),
            entropy: None,
            sessions: None,
        }))
    }

    /// A layer that asks nobody: it accepts access tokens (RFC 9068) in the `Authorization` header that `verifier` finds good and that
    /// are for all of `scope`. A session that was ended goes on being accepted until its token is over, unless the verifier hears of
    /// revocations.
    ///
    /// The session is what the token says of it: its handle, its user, and when that user last proved who they are. With
    /// [`with_access_tokens`](Self::with_access_tokens), a cookie may hold the token, too.
    #[must_use]
    pub fn offline(verifier: Arc<Verifier>, scope: Scope) -> Self {
        Self(Arc::new(Inner {
            asks: None,
            clock: Arc::new(SystemClock),
            access: Some(AccessTokens { verifier, cookie: None, scope }),
            consistency: Consistency::default(),
            entropy: None,
            sessions: None,
        }))
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { clock, ..Inner::clone(&self.0) }))
    }

    /// Accepts access tokens (RFC 9068) that `verifier` finds good, too: in the `Authorization` header, or in `cookie`. The
    /// session that one names is checked like every other, so its end, its idle and its absolute limit count at once.
    ///
    /// Only tokens with all of `scope` open it: a session may do everything that its user may, and a token whose client was
    /// granted less must not.
    #[must_use]
    pub fn with_access_tokens(self, verifier: Arc<Verifier>, cookie: SecretCookie, scope: Scope) -> Self {
        let access = Some(AccessTokens { verifier, cookie: Some(cookie), scope });
        Self(Arc::new(Inner { access, ..Inner::clone(&self.0) }))
    }

    /// Answers on this ground. Around a route, it holds for that route.
    #[must_use]
    pub fn with_consistency(self, consistency: Consistency) -> Self {
        Self(Arc::new(Inner { consistency, ..Inner::clone(&self.0) }))
    }

    /// Replaces session tokens in cookies by the [rule](crate::CheckerSettings::rotation) of the checker: a request that is
    /// due gets the new token with its answer.
    ///
    /// That happens after the handler, and only if the handler has not decided itself what becomes of the cookie. A token
    /// that was replaced is good until its successor is used, and for the rule's grace after that; so a handler that fails, a
    /// client that goes away and a reply that is lost leave the client with one good token at least.
    #[must_use]
    pub fn with_rotation(self, entropy: Arc<dyn Entropy>) -> Self {
        Self(Arc::new(Inner { entropy: Some(entropy), ..Inner::clone(&self.0) }))
    }

    /// Lets handlers do more with the session than ask for it.
    pub(crate) fn with_sessions(self, sessions: Sessions) -> Self {
        Self(Arc::new(Inner { sessions: Some(sessions), ..Inner::clone(&self.0) }))
    }

    /// What memory says about the session of this request; `None` if only the store can tell, or has to hear of it. For a
    /// server that answers a check without its router.
    ///
    /// What was found and cannot be answered yet goes along with the request, so that this layer, in front of the router, does
    /// not look and count a second time.
    #[must_use]
    pub fn recall<Q>(&self, request: &mut Request<Q>, client: ClientAddress) -> Option<SessionState> {
        let now = self.0.clock.now();
        let presented = self.0.presented(request.headers());
        let presented_in = presented.presented_in();
        let state =
            self.0.recall(&presented, request.headers(), Some(client), now, self.0.consistency).ok()?;
        if !is_rotation_due(&state) {
            return Some(state);
        }
        request.extensions_mut().insert(Recalled(self.0.current(state, presented_in, now)));
        None
    }

    /// What is true of the session of a request with these headers, on this ground if it is not the layer's own. For a server
    /// that answers a check without its router, and gives out no cookie with the answer: no token is replaced.
    pub async fn check(
        &self,
        headers: &HeaderMap,
        client: ClientAddress,
        consistency: Option<Consistency>,
    ) -> SessionState {
        let layer = &self.0;
        let now = layer.clock.now();
        let presented = layer.presented(headers);
        let consistency = consistency.unwrap_or(layer.consistency);
        let state = match layer.recall(&presented, headers, Some(client), now, consistency) {
            Ok(state) => state,
            Err(asking) => asking.answer(Some(device(headers, client))).await,
        };
        // That a successor was used, its predecessor has to hear of. Whatever else is due waits for an answer that sets a cookie.
        if matches!(&state, SessionState::Good(checked) if checked.token_step == TokenStep::Confirm)
            && let Some(Due { token, device, checker }) = layer.due(&presented, headers, Some(client), &state)
            && let Err(error) = checker.rotate(token.hash(), None, device, now).await
        {
            warn!("the use of a session token was not noted: {error}");
        }
        state
    }

    /// The same of the session with this handle, whatever the headers carry. For a server that knows by other means that the
    /// request may use it.
    pub async fn check_session(
        &self,
        session: SessionId,
        headers: &HeaderMap,
        client: ClientAddress,
        consistency: Option<Consistency>,
    ) -> SessionState {
        let layer = &self.0;
        let Some(Asks { checker, .. }) = &layer.asks else { return SessionState::None };
        let place = checker.wants_place().then(|| device(headers, client));
        let consistency = consistency.unwrap_or(layer.consistency);
        match checker.recall_session(session, place, layer.clock.now(), consistency) {
            Ok(check) => check.into(),
            Err(question) => {
                let asking = Asking { checker: Arc::clone(checker), question };
                asking.answer(Some(device(headers, client))).await
            }
        }
    }
}

impl Inner {
    fn current(&self, state: SessionState, presented_in: PresentedIn, now: Timestamp) -> CurrentSession {
        let checker = self.asks.as_ref().map(|asks| Arc::clone(&asks.checker));
        CurrentSession::new(state, presented_in, now, self.consistency, checker)
    }

    /// What memory says about the session of a request, or the question to the store.
    fn recall(
        &self,
        presented: &Presented<'_>,
        headers: &HeaderMap,
        client: Option<ClientAddress>,
        now: Timestamp,
        consistency: Consistency,
    ) -> Result<SessionState, Asking> {
        let Some(Asks { checker, .. }) = &self.asks else { return Ok(alone(presented, now, consistency)) };
        let asking = |question| Asking { checker: Arc::clone(checker), question };
        let place = || client.filter(|_| checker.wants_place()).map(|client| device(headers, client));
        Ok(match *presented {
            Presented::Nothing => SessionState::None,
            Presented::Ambiguous => SessionState::Refused(Refusal::NoToken),
            Presented::Token(text, transport) => {
                checker.recall(text, transport, place(), now, consistency).map_err(asking)?.into()
            }
            Presented::AccessToken { text, access, .. } => match access.verifier.verify_offline(text, now) {
                Ok(token) if !access.scope.is_within(&token.claims.scope) => {
                    debug!(client.id = %token.claims.client_id, "an access token is not for the session itself");
                    SessionState::Refused(checker.refuse(Refusal::InsufficientScope))
                }
                // The checker asks the revocations, and whether the session still counts.
                Ok(token) => {
                    let as_of = token.claims.as_of.unwrap_or_default();
                    let bearing = token.claims.bearing();
                    let recalled = checker.recall_bearing(&bearing, as_of, place(), now, consistency);
                    recalled.map_err(asking)?.into()
                }
                Err(refused) => {
                    debug!(reason = refused.as_str(), "an access token was refused");
                    SessionState::Refused(checker.refuse(refused.into()))
                }
            },
        })
    }

    /// The token of a request, if the store has to hear of its use.
    fn due(
        &self,
        presented: &Presented<'_>,
        headers: &HeaderMap,
        client: Option<ClientAddress>,
        state: &SessionState,
    ) -> Option<Due> {
        match presented {
            Presented::Token(text, _) if is_rotation_due(state) => {
                let checker = Arc::clone(&self.asks.as_ref()?.checker);
                let token = Token::parse(TokenKind::Session, text, checker.key())?;
                Some(Due { token, device: client.map(|client| device(headers, client)), checker })
            }
            _ => None,
        }
    }

    /// The same for a request whose token is due. What the handler has decided about the cookie stands.
    async fn rotate_and_finish<R>(
        &self,
        current: &CurrentSession,
        due: Due,
        response: Response<R>,
    ) -> Response<R> {
        // A stricter layer within may have done so.
        let is_set = self.asks.as_ref().is_some_and(|asks| asks.cookie.is_set_by(response.headers()));
        if !current.changes_cookie() && !is_set {
            self.rotate(current, due).await;
        }
        self.finish(current, response)
    }

    /// Has the response set the successor of its request's token, unless the session has ended meanwhile.
    async fn rotate(&self, current: &CurrentSession, due: Due) {
        let Some(checked) = current.checked() else { return };
        let checker = Arc::clone(&due.checker);
        match self.successor(due, current.now()).await {
            Ok(Some(next)) if checker.still_stands(checked, current.now()) => {
                let max_age = checker.cookie_max_age(&checked.session, current.now());
                // They leave after this.
                let _ = current.set_cookie(next.write(checker.key()), max_age);
            }
            Ok(_) => {}
            // The old token is good as before. It is tried again with the next request.
            Err(error) => {
                warn!(session.id = %checked.session.id, "a session token was left as it is: {error}");
            }
        }
    }

    /// What its client gets in the place of the token, if anything. `now` is when the request was checked: whatever was in time
    /// then stays so, however long the handler took.
    async fn successor(&self, due: Due, now: Timestamp) -> Result<Option<Token>, StoreError> {
        let Due { token, device, checker } = due;
        let nonce = self.entropy.as_deref().map(RotationNonce::random);
        let successor = nonce.map(|nonce| Successor { token: token.successor(&nonce).hash(), nonce });
        Ok(match checker.rotate(token.hash(), successor, device, now).await? {
            SessionRotation::Rotated(_) => nonce.map(|nonce| token.successor(&nonce)),
            SessionRotation::Repeated(nonce) => Some(token.successor(&nonce)),
            _ => None,
        })
    }

    fn finish<R>(&self, current: &CurrentSession, mut response: Response<R>) -> Response<R> {
        if let Some(Asks { cookie, .. }) = &self.asks
            && let Some(value) = current.take_header(cookie)
        {
            response.headers_mut().append(header::SET_COOKIE, value);
            // Whoever keeps the answer for others would give them the session along with it.
            let cache_control = response.headers_mut().entry(header::CACHE_CONTROL);
            cache_control.or_insert(HeaderValue::from_static("no-store"));
        }
        response
    }

    /// The one token of a request. A bearer token, if there is one, speaks for the request alone. Of several cookies of
    /// our name exactly one has to be a token of this installation; their order never decides.
    fn presented<'h>(&'h self, headers: &'h HeaderMap) -> Presented<'h> {
        let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
        match (authorizations.next().and_then(bearer), authorizations.next()) {
            (Some(text), None) => return self.bearer_token(text),
            (_, Some(_)) => return Presented::Ambiguous,
            (None, None) => {}
        }
        let Some(Asks { checker, cookie }) = &self.asks else { return self.access_cookie(headers) };
        let mut cookies = cookie.values(headers);
        let Some(first) = cookies.next() else { return self.access_cookie(headers) };
        let Some(second) = cookies.next() else { return Presented::Token(first, Transport::Cookie) };
        let genuine = |text: &&[u8]| Token::parse(TokenKind::Session, text, checker.key()).is_some();
        let mut genuine = [first, second].into_iter().chain(cookies).filter(genuine);
        match (genuine.next(), genuine.next()) {
            (Some(only), None) => Presented::Token(only, Transport::Cookie),
            _ => Presented::Ambiguous,
        }
    }

    fn bearer_token<'h>(&'h self, text: &'h [u8]) -> Presented<'h> {
        match &self.access {
            // What begins a JSON object, in base64url. No token of ours does.
            Some(access) if text.starts_with(b"ey") => {
                Presented::AccessToken { text, access, by_cookie: false }
            }
            _ => Presented::Token(text, Transport::Bearer),
        }
    }

    fn access_cookie<'h>(&'h self, headers: &'h HeaderMap) -> Presented<'h> {
        let Some(access) = &self.access else { return Presented::Nothing };
        let Some(cookie) = &access.cookie else { return Presented::Nothing };
        let mut values = cookie.values(headers);
        match (values.next(), values.next()) {
            (None, _) => Presented::Nothing,
            (Some(text), None) => Presented::AccessToken { text, access, by_cookie: true },
            (Some(_), Some(_)) => Presented::Ambiguous,
        }
    }
}

fn is_rotation_due(state: &SessionState) -> bool {
    matches!(state, SessionState::Good(checked) if checked.token_step != TokenStep::None)
}

/// What [`SessionLayer::recall`] has found of a request that goes on to the router.
#[derive(Clone)]
struct Recalled(CurrentSession);

/// A question that memory could not answer, and whom to ask.
struct Asking {
    checker: Arc<Checker>,
    question: Box<Question>,
}

impl Asking {
    async fn answer(self, asked_from: Option<Device>) -> SessionState {
        let question = self.question.asked_from(asked_from);
        self.checker.read(&question).await.map_or_else(SessionState::Unknown, SessionState::from)
    }
}

/// What is true where nobody is asked: an access token counts by itself.
fn alone(presented: &Presented<'_>, now: Timestamp, consistency: Consistency) -> SessionState {
    let (text, access) = match *presented {
        Presented::Nothing => return SessionState::None,
        Presented::Ambiguous | Presented::Token(..) => return SessionState::Refused(Refusal::NoToken),
        Presented::AccessToken { text, access, .. } => (text, access),
    };
    if consistency == Consistency::Strict {
        let why = "a strict answer was asked for, of a layer that asks nobody";
        return SessionState::Unknown(StoreError::new(Trouble::Failed, why));
    }
    match access.verifier.verify(text, now) {
        Ok(token) if !access.scope.is_within(&token.claims.scope) => {
            SessionState::Refused(Refusal::InsufficientScope)
        }
        // A token of a client itself has no session.
        Ok(token) => Checked::said_by(&token.claims, now)
            .map_or(SessionState::Refused(Refusal::NoToken), SessionState::Good),
        Err(refused) => {
            debug!(reason = refused.as_str(), "an access token was refused");
            SessionState::Refused(refused.into())
        }
    }
}

/// A token whose use the store has to hear of, and from where it came.
struct Due {
    token: Token,
    device: Option<Device>,
    checker: Arc<Checker>,
}

enum Presented<'h> {
    Nothing,
    Token(&'h [u8], Transport),
    AccessToken { text: &'h [u8], access: &'h AccessTokens, by_cookie: bool },
    Ambiguous,
}

impl Presented<'_> {
    const fn presented_in(&self) -> PresentedIn {
        match *self {
            Self::Token(_, Transport::Cookie) => PresentedIn::Cookie,
            Self::Token(_, Transport::Bearer) => PresentedIn::Bearer,
            Self::AccessToken { by_cookie, .. } => PresentedIn::AccessToken { by_cookie },
            // A session in tokens has no token of its own to present.
            Self::Token(_, Transport::Tokens) | Self::Nothing | Self::Ambiguous => PresentedIn::Nothing,
        }
    }
}

/// The credentials of an `Authorization` header of the scheme `Bearer` (RFC 6750, section 2.1; the scheme's case does not
/// matter, RFC 9110, section 11.1).
#[must_use]
pub fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii_start())
}

/// All session tokens of this installation that a request carries, as cookies of this name and as bearer tokens, whether a check
/// would accept them or not: for who signs out.
pub fn session_tokens<'h>(
    cookie: &'h SecretCookie,
    key: &'h TokenKey,
    headers: &'h HeaderMap,
) -> impl Iterator<Item = TokenHash> {
    let bearers = headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer);
    let tokens = cookie.values(headers).chain(bearers);
    tokens.filter_map(|text| Some(Token::parse(TokenKind::Session, text, key)?.hash()))
}

/// From where a request comes: what somebody who knows of proxies has put there, or else the peer of the connection.
pub(crate) fn client(extensions: &Extensions) -> ClientAddress {
    let told = extensions.get::<ClientAddress>().copied();
    let peer = || extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    told.unwrap_or_else(|| ClientAddress(peer().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
}

pub(crate) fn device(headers: &HeaderMap, client: ClientAddress) -> Device {
    let user_agent =
        headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Device::new(user_agent, client.0)
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { layer: self.clone(), inner }
    }
}

/// The service that [`SessionLayer`] makes.
#[derive(Clone)]
pub struct SessionService<S> {
    layer: SessionLayer,
    inner: S,
}

impl<S, Q, R> Service<Request<Q>> for SessionService<S>
where
    S: Service<Request<Q>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    Q: Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let layer = Arc::clone(&self.layer.0);
        // One that is stricter than the layer around it asks again.
        let is_strict = layer.consistency == Consistency::Strict;
        if request
            .extensions()
            .get::<CurrentSession>()
            .is_some_and(|current| current.is_strict() || !is_strict)
        {
            return Box::pin(self.inner.call(request));
        }
        let client = match &layer.sessions {
            Some(sessions) => {
                request.extensions_mut().insert(sessions.clone());
                // The same place that a session is opened from, or no session would be found at its own.
                Some(client(request.extensions()))
            }
            None => request.extensions().get::<ClientAddress>().copied(),
        };
        let recalled = request.extensions_mut().remove::<Recalled>();
        let presented = layer.presented(request.headers());
        let presented_in = presented.presented_in();
        let current = match recalled {
            Some(Recalled(current)) => Ok(current),
            None => {
                let now = layer.clock.now();
                let state = layer.recall(&presented, request.headers(), client, now, layer.consistency);
                match state {
                    Ok(state) => Ok(layer.current(state, presented_in, now)),
                    Err(asking) => Err((asking, now)),
                }
            }
        };
        match current {
            // The usual case: nothing to wait for, and so no copy of the service and little to keep until the answer.
            Ok(current) => {
                let due = layer.due(&presented, request.headers(), client, current.state());
                request.extensions_mut().insert(current.clone());
                let response = self.inner.call(request);
                match due {
                    None => Box::pin(async move { Ok(layer.finish(&current, response.await?)) }),
                    Some(due) => Box::pin(async move {
                        let response = response.await?;
                        Ok(layer.rotate_and_finish(&current, due, response).await)
                    }),
                }
            }
            Err((asking, now)) => {
                // The clone takes over the readiness that was polled; the original stays to be polled again.
                let clone = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, clone);
                let asked_from = client.map(|client| device(request.headers(), client));
                Box::pin(async move {
                    let current = layer.current(asking.answer(asked_from).await, presented_in, now);
                    let headers = request.headers();
                    let due = layer.due(&layer.presented(headers), headers, client, current.state());
                    request.extensions_mut().insert(current.clone());
                    let response = inner.call(request).await?;
                    Ok(match due {
                        None => layer.finish(&current, response),
                        Some(due) => layer.rotate_and_finish(&current, due, response).await,
                    })
                })
            }
        }
    }
}
