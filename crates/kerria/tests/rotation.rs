//! The layer replaces session tokens, whatever becomes of the request.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{future::pending, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode, header};
use kerria::{
    Binding, Checker, CheckerSettings, CurrentSession, ManualClock, Outage, SecretCookie, SessionLayer,
    SystemEntropy,
};
use kerria_core::{
    Cause, DataKey, DataLimits, Device, RotationRule, Selector, SessionId, SessionPolicy, Store, Timestamp,
    Token, TokenKey, TokenKind, Transport,
    store::{DataOwner, NewSession},
};
use kerria_store::SqliteStore;
use tower_service::Service;

const AFTER: Duration = Duration::from_secs(600);

/// A visitor, whose token is due, in front of an application.
struct Play {
    app: Router,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    key: TokenKey,
    token: Token,
}

impl Play {
    async fn new() -> Self {
        let start = Timestamp::from_millis(1_800_000_000_000);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let rotation = RotationRule { after: AFTER, ..RotationRule::default() };
        let policy = SessionPolicy::default();
        let settings = CheckerSettings {
            policy,
            binding: Binding::Off,
            cache_entries: 100,
            rotation,
            outage: Outage::Refuse,
        };
        let key = TokenKey::from_bytes([7; 16]);
        let checker = Checker::start(Arc::clone(&store), key.clone(), settings).await.unwrap();
        let token = Token::random(TokenKind::Session, &SystemEntropy);
        let visitor = NewSession {
            id: SessionId::new(start, &SystemEntropy),
            token: token.hash(),
            transport: Transport::Cookie,
            remembered: false,
            device: Device::new("Firefox", Ipv4Addr::LOCALHOST.into()),
            now: start,
        };
        let cart = DataKey::parse("cart").unwrap();
        store
            .put_data(DataOwner::Visitor(visitor), &cart, "1".to_owned(), DataLimits::default())
            .await
            .unwrap();
        let clock = Arc::new(ManualClock::new(start + AFTER));
        let cookie = SecretCookie::new("kerria", &"http://localhost".parse().unwrap());
        let layer = SessionLayer::new(checker, Arc::clone(&clock) as _, cookie)
            .with_rotation(Arc::new(SystemEntropy));
        let ending = Arc::clone(&store);
        let end = async move |current: CurrentSession| {
            let session = current.checked().unwrap().session.id;
            let selector = Selector::Session { session };
            ending.revoke(selector, Cause::Operator, None, current.now()).await.unwrap();
        };
        let app = Router::new()
            .route(
                "/",
                get(async |current: CurrentSession| match current.checked() {
                    Some(_) => StatusCode::OK,
                    None => StatusCode::UNAUTHORIZED,
                }),
            )
            .route("/fails", get(async || StatusCode::INTERNAL_SERVER_ERROR))
            .route("/panics", get(async || -> StatusCode { panic!("as it was told to") }))
            .route("/hangs", get(pending::<StatusCode>))
            .route("/ends", get(end))
            .layer(layer);
        Self { app, store, clock, key, token }
    }

    fn call(&self, path: &str) -> impl Future<Output = Response<Body>> + Send + 'static {
        let cookie = format!("kerria={}", self.token.write(&self.key).expose());
        let request = Request::get(path).header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        let mut app = self.app.clone();
        async move { app.call(request).await.unwrap() }
    }

    /// The status, and how many cookies are set.
    async fn ask(&self, path: &str) -> (StatusCode, usize) {
        let response = self.call(path).await;
        (response.status(), response.headers().get_all(header::SET_COOKIE).iter().count())
    }
}

#[tokio::test]
async fn a_handler_that_fails_answers_with_the_new_token() {
    let play = Play::new().await;
    assert_eq!(play.ask("/fails").await, (StatusCode::INTERNAL_SERVER_ERROR, 1));
    assert_eq!(play.ask("/").await, (StatusCode::OK, 1), "and the old one is good");
}

#[tokio::test]
async fn a_handler_that_panics_leaves_the_old_token_good() {
    let play = Play::new().await;
    assert!(tokio::spawn(play.call("/panics")).await.unwrap_err().is_panic());
    play.clock.advance(AFTER);
    assert_eq!(play.ask("/").await, (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_client_that_goes_away_at_any_moment_keeps_a_good_token() {
    let play = Play::new().await;
    tokio::time::timeout(Duration::from_millis(1), play.call("/hangs")).await.unwrap_err();
    for polls in 0..5 {
        let mut request = Box::pin(play.call("/"));
        for _ in 0..polls {
            if go_on(request.as_mut()).await.is_some() {
                break;
            }
        }
        drop(request);
        assert_eq!(play.ask("/").await, (StatusCode::OK, 1));
    }
}

#[tokio::test]
async fn a_session_that_is_ended_while_its_request_is_under_way_gets_no_token() {
    let play = Play::new().await;
    assert_eq!(play.ask("/ends").await, (StatusCode::OK, 0));
    assert_eq!(play.ask("/").await, (StatusCode::UNAUTHORIZED, 0));
    assert_eq!(play.store.find(&play.token.hash()).await.unwrap(), None);
}

/// Lets a future go on once, as far as it comes by itself, unless it is done.
async fn go_on<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    use std::{future::poll_fn, pin::Pin, task::Poll};
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx))).await;
    tokio::task::yield_now().await;
    match polled {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
