//! The tower layer that checks the session of every request.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, header};
use kerria_core::{Clock, Device, Timestamp, Token, TokenKind, Transport};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    checker::{Checker, Question, Refusal},
    cookie::SecretCookie,
    current::{CurrentSession, SessionState},
};

/// The address of the client, as a server has found it out; put into a request's extensions for the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Checks the session of every request, and sets or removes the session cookie where a handler asked for it.
///
/// The layer itself refuses nothing. A request that passes through two of these layers is checked once.
#[derive(Clone)]
pub struct SessionLayer(Arc<Inner>);

struct Inner {
    checker: Arc<Checker>,
    clock: Arc<dyn Clock>,
    cookie: SecretCookie,
}

impl SessionLayer {
    /// A layer that asks `checker`.
    #[must_use]
    pub fn new(checker: Arc<Checker>, clock: Arc<dyn Clock>, cookie: SecretCookie) -> Self {
        Self(Arc::new(Inner { checker, clock, cookie }))
    }

    /// What memory says about the session of a request with these headers; `None` if only the store can tell. For a server
    /// that answers a check without its router.
    #[must_use]
    pub fn recall(&self, headers: &HeaderMap, client: ClientAddress) -> Option<SessionState> {
        self.0.recall(headers, Some(client), self.0.clock.now()).ok()
    }
}

impl Inner {
    /// What memory says about the session of a request, or the question to the store.
    fn recall(
        &self,
        headers: &HeaderMap,
        client: Option<ClientAddress>,
        now: Timestamp,
    ) -> Result<SessionState, Question> {
        Ok(match self.presented(headers) {
            Presented::Nothing => SessionState::None,
            Presented::Ambiguous => SessionState::Refused(Refusal::NoToken),
            Presented::Token(text, transport) => {
                let device =
                    client.filter(|_| self.checker.wants_place()).map(|client| device(headers, client));
                self.checker.recall(text, transport, device, now)?.into()
            }
        })
    }

    async fn read(&self, question: &Question) -> CurrentSession {
        let state = self.checker.read(question).await.map_or_else(SessionState::Unknown, SessionState::from);
        CurrentSession::new(state, question.now)
    }

    fn finish<R>(&self, current: &CurrentSession, mut response: Response<R>) -> Response<R> {
        if let Some(value) = current.take_header(&self.cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        response
    }

    /// The one token of a request. A bearer token, if there is one, speaks for the request alone. Of several cookies of
    /// our name exactly one has to be a token of this installation; their order never decides.
    fn presented<'h>(&'h self, headers: &'h HeaderMap) -> Presented<'h> {
        let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
        match (authorizations.next().and_then(|value| bearer(value.as_bytes())), authorizations.next()) {
            (Some(token), None) => return Presented::Token(token, Transport::Bearer),
            (_, Some(_)) => return Presented::Ambiguous,
            (None, None) => {}
        }
        let mut cookies = self.cookie.values(headers);
        let Some(first) = cookies.next() else { return Presented::Nothing };
        let Some(second) = cookies.next() else { return Presented::Token(first, Transport::Cookie) };
        let genuine = |text: &&[u8]| Token::parse(TokenKind::Session, text, self.checker.key()).is_some();
        let mut genuine = [first, second].into_iter().chain(cookies).filter(genuine);
        match (genuine.next(), genuine.next()) {
            (Some(only), None) => Presented::Token(only, Transport::Cookie),
            _ => Presented::Ambiguous,
        }
    }
}

enum Presented<'h> {
    Nothing,
    Token(&'h [u8], Transport),
    Ambiguous,
}

/// The credentials of an `Authorization` header of the scheme `Bearer` (RFC 6750, section 2.1; the scheme's case does not
/// matter, RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii_start())
}

fn device(headers: &HeaderMap, client: ClientAddress) -> Device {
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
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        if request.extensions().get::<CurrentSession>().is_some() {
            return Box::pin(self.inner.call(request));
        }
        let layer = Arc::clone(&self.layer.0);
        let client = request.extensions().get::<ClientAddress>().copied();
        let now = layer.clock.now();
        match layer.recall(request.headers(), client, now) {
            // The usual case: nothing to wait for, and so no copy of the service and little to keep until the answer.
            Ok(state) => {
                let current = CurrentSession::new(state, now);
                request.extensions_mut().insert(current.clone());
                let response = self.inner.call(request);
                Box::pin(async move { Ok(layer.finish(&current, response.await?)) })
            }
            Err(question) => {
                // The clone takes over the readiness that was polled; the original stays to be polled again.
                let clone = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, clone);
                Box::pin(async move {
                    let current = layer.read(&question).await;
                    request.extensions_mut().insert(current.clone());
                    Ok(layer.finish(&current, inner.call(request).await?))
                })
            }
        }
    }
}
