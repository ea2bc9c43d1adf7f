//! Routes that want somebody who is signed in.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kerria_core::UserId;
use tower_layer::Layer;
use tower_service::Service;

use super::LoadUser;
use crate::{
    CurrentSession,
    csrf::{OriginVerdict, OwnOrigin},
};

/// Lets only requests of somebody who is signed in through. To be put around routes, inside of the session layer.
#[must_use]
pub fn require_login() -> Require {
    Require::new(|request| signed_in(request).err())
}

/// Lets only requests of a user through whom `allows` allows. The user is the application's own, whom it [finds](LoadUser) with
/// this state, which is that of its router; if it needs none, `()`. Who is signed in and is not allowed gets a 403.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::get};
/// use kerria::{LoadUser, require};
/// use kerria_core::UserId;
///
/// #[derive(Clone)]
/// struct Shop {
///     owner: UserId,
/// }
///
/// struct Person {
///     is_owner: bool,
/// }
///
/// impl LoadUser<Shop> for Person {
///     type Error = StatusCode;
///
///     async fn load(user: UserId, shop: &Shop) -> Result<Option<Self>, StatusCode> {
///         Ok(Some(Self { is_owner: user == shop.owner }))
///     }
/// }
///
/// let shop = Shop { owner: UserId::from_number(1) };
/// let app: Router = Router::new()
///     .route("/prices", get(async || "prices"))
///     .layer(require(shop.clone(), |person: &Person| person.is_owner))
///     .with_state(shop);
/// ```
pub fn require<S, U>(state: S, allows: impl Fn(&U) -> bool + Send + Sync + 'static) -> Require
where
    S: Clone + Send + Sync + 'static,
    U: LoadUser<S>,
{
    let allows = Arc::new(allows);
    Require::judging(move |request| {
        let user = match signed_in(request) {
            Ok(live) => live.user,
            Err(denied) => return Verdict::Denied(denied),
        };
        let (state, allows) = (state.clone(), Arc::clone(&allows));
        Verdict::Awaited(Box::pin(async move {
            match U::load(user, &state).await {
                Ok(Some(user)) if allows(&user) => Ok(None),
                Ok(Some(_)) => Ok(Some(Denied::NotAllowed)),
                Ok(None) => Ok(Some(Denied::NotSignedIn)),
                Err(error) => Err(error.into_response()),
            }
        }))
    })
}

/// Lets only requests through whose user has proved who they are not longer than this ago.
#[must_use]
pub fn require_fresh(within: Duration) -> Require {
    Require::new(move |request| match signed_in(request) {
        Ok(live) => (live.proved_for >= within).then_some(Denied::NotFresh),
        Err(denied) => Some(denied),
    })
}

/// Lets no request through that another site makes a browser send, or that no current browser sends and that a cookie speaks for.
/// To be put around everything that changes something, inside of the session layer: a browser attaches the session's cookie
/// to such requests by itself.
#[must_use]
pub fn require_own_page(origin: &OwnOrigin) -> Require {
    let origin = origin.clone();
    Require::new(move |request| {
        let by_cookie =
            || request.extensions().get::<CurrentSession>().is_none_or(CurrentSession::is_by_cookie);
        match origin.judge(request.method(), request.headers()) {
            OriginVerdict::Own => None,
            OriginVerdict::Foreign => Some(Denied::OtherSite),
            OriginVerdict::Unknown => by_cookie().then_some(Denied::OtherSite),
        }
    })
}

/// Who is signed in.
struct SignedIn {
    user: UserId,
    /// How long ago they have proved who they are.
    proved_for: Duration,
}

fn signed_in(request: &Request) -> Result<SignedIn, Denied> {
    let Some(current) = request.extensions().get::<CurrentSession>() else {
        tracing::error!("no session layer is around a route that requires one: nobody is let through");
        return Err(Denied::NotSignedIn);
    };
    let live = current.standing();
    let session = live.map_err(|_| Denied::Unavailable)?.ok_or(Denied::NotSignedIn)?.session;
    let user = session.user.ok_or(Denied::NotSignedIn)?;
    Ok(SignedIn { user, proved_for: current.now().since(session.authenticated_at) })
}

/// What [`require`], [`require_login`], [`require_fresh`] and [`require_own_page`] make.
#[derive(Clone)]
pub struct Require {
    judge: Arc<Judge>,
    answer: Arc<AnswerTo>,
}

/// What is decided about a request.
enum Verdict {
    Passed,
    Denied(Denied),
    /// Somebody has to be asked. Who cannot say gives the answer.
    Awaited(Pin<Box<dyn Future<Output = Result<Option<Denied>, Response>> + Send>>),
}

type Judge = dyn Fn(&Request) -> Verdict + Send + Sync;
type AnswerTo = dyn Fn(Denied, &Request) -> Response + Send + Sync;

/// Why a request was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody is signed in.
    #[error("sign in first")]
    NotSignedIn,
    /// Somebody is, who may not do this.
    #[error("you may not do this")]
    NotAllowed,
    /// Somebody is, who has not proved for too long who they are.
    #[error("this takes a proof of who you are that is not so old")]
    NotFresh,
    /// Another site has made a browser send the request.
    #[error("this request does not come from a page of ours")]
    OtherSite,
    /// It is not known, because the store does not answer.
    #[error("it cannot be said at the moment who you are; try again in a moment")]
    Unavailable,
}

impl Require {
    fn new(denies: impl Fn(&Request) -> Option<Denied> + Send + Sync + 'static) -> Self {
        Self::judging(move |request| denies(request).map_or(Verdict::Passed, Verdict::Denied))
    }

    fn judging(judge: impl Fn(&Request) -> Verdict + Send + Sync + 'static) -> Self {
        Self { judge: Arc::new(judge), answer: Arc::new(|denied, _| denied.into_response()) }
    }

    /// Answers so in place of a bare status: sends a browser to a page for signing in, say. What cannot be said at the moment
    /// ([`Denied::Unavailable`]) should not look like a sign-out.
    #[must_use]
    pub fn or(self, answer: impl Fn(Denied, &Request) -> Response + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), ..self }
    }
}

impl fmt::Debug for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Require(..)")
    }
}

/// A status and a line. What is not fresh is a challenge of RFC 9470, section 3.
impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let challenge = match self {
            Self::Unavailable => return unavailable(),
            Self::OtherSite | Self::NotAllowed => {
                return (StatusCode::FORBIDDEN, format!("{self}\n")).into_response();
            }
            Self::NotSignedIn => "Bearer",
            Self::NotFresh => "Bearer error=\"insufficient_user_authentication\"",
        };
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], format!("{self}\n"))
            .into_response()
    }
}

/// The answer while nobody knows.
pub(super) fn unavailable() -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{}\n", Denied::Unavailable)).into_response()
}

impl<S> Layer<S> for Require {
    type Service = RequireService<S>;

    fn layer(&self, inner: S) -> RequireService<S> {
        RequireService { require: self.clone(), inner }
    }
}

/// The service that [`Require`] makes.
#[derive(Clone, Debug)]
pub struct RequireService<S> {
    require: Require,
    inner: S,
}

impl<S> Service<Request> for RequireService<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match (self.require.judge)(&request) {
            Verdict::Passed => Box::pin(self.inner.call(request)),
            Verdict::Denied(denied) => {
                let response = (self.require.answer)(denied, &request);
                Box::pin(async move { Ok(response) })
            }
            Verdict::Awaited(verdict) => {
                // The clone takes over the readiness that was polled; the original stays to be polled again.
                let clone = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, clone);
                let answer = Arc::clone(&self.require.answer);
                Box::pin(async move {
                    match verdict.await {
                        Ok(None) => inner.call(request).await,
                        Ok(Some(denied)) => Ok(answer(denied, &request)),
                        Err(response) => Ok(response),
                    }
                })
            }
        }
    }
}
