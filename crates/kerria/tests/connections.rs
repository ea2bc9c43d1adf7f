//! Sessions over real connections: clients that go away, handlers that panic, bodies that stream, and what stops when a session
//! ends. And the layer wherever it may stand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Path, Request, State},
    http::{HeaderMap, Response, StatusCode, header},
    middleware::{Next, from_fn},
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use futures_util::{Stream, stream};
use hyper_util::rt::TokioIo;
use kerria::{
    Session, SessionError, Sessions, UserId,
    testing::{self, FaultyStore, TestSessions},
};
use kerria_core::store::Sessions as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{
        Notify,
        mpsc::{UnboundedSender, unbounded_channel},
    },
};
use tower::{Layer, ServiceExt, service_fn};

const ALICE: UserId = UserId::from_bytes([1; 16]);

async fn sessions() -> Sessions {
    testing::sessions().await.sessions
}

/// An application that listens, and the cookie of its one browser.
struct Play {
    address: String,
    cookie: Option<String>,
}

impl Play {
    async fn serving(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { address, cookie: None }
    }

    /// Sends a request, and leaves the answer to the caller.
    async fn send(&self, method: &str, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: session={cookie}\r\n"));
        let cookie = cookie.unwrap_or_default();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{cookie}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// The whole answer, of which nothing may come.
    async fn ask(&mut self, method: &str, path: &str) -> String {
        let mut stream = self.send(method, path, "Connection: close\r\n").await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let set = answer.lines().find_map(|line| line.strip_prefix("set-cookie: session="));
        if let Some(value) = set.and_then(|set| set.split(';').next()) {
            self.cookie = (!value.is_empty()).then(|| value.to_owned());
        }
        answer
    }

    async fn body(&mut self, method: &str, path: &str) -> String {
        let answer = self.ask(method, path).await;
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

/// Reads until this has come.
async fn read_until(stream: &mut TcpStream, wanted: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(wanted) {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
    }
}

async fn login(session: Session) -> Result<(), SessionError> {
    session.login(ALICE).await
}

async fn logout(session: Session) -> Result<(), SessionError> {
    session.logout().await
}

async fn count(session: Session) -> Result<String, SessionError> {
    Ok(session.update("count", |count: Option<u64>| count.unwrap_or(0) + 1).await?.to_string())
}

async fn who(session: Session) -> String {
    format!("{:?}", session.user().map(|user| user == ALICE))
}

async fn count_and_panic(session: Session) {
    count(session).await.unwrap();
    panic!("as it should");
}

async fn login_and_panic(session: Session) {
    login(session).await.unwrap();
    panic!("as it should");
}

/// Answers a panic, as many applications do.
async fn catch(request: Request, next: Next) -> Response<Body> {
    let answer = tokio::spawn(next.run(request)).await;
    answer.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

#[tokio::test]
async fn a_handler_that_panics_takes_nothing_back_and_leaves_a_good_session() {
    let sessions = sessions().await;
    let app = Router::new()
        .route("/count", post(count))
        .route("/count-and-panic", post(count_and_panic))
        .merge(Router::new().route("/login-and-panic", post(login_and_panic)).layer(from_fn(catch)))
        .route("/who", get(who))
        .layer(sessions.layer());
    let mut play = Play::serving(app).await;
    assert_eq!(play.body("POST", "/count").await, "1");
    assert_eq!(play.ask("POST", "/count-and-panic").await, "", "the connection is closed");
    assert_eq!(play.body("POST", "/count").await, "3");
    // Whoever answers the panic inside of the layer sends the cookie, too.
    assert!(play.ask("POST", "/login-and-panic").await.starts_with("HTTP/1.1 500 "));
    assert_eq!(play.body("GET", "/who").await, "Some(true)");
    assert_eq!(play.body("POST", "/count").await, "4");
}

/// Tells when a handler is where it waits, and when it is dropped.
#[derive(Clone, Default)]
struct Waits {
    begun: Arc<Notify>,
    dropped: Arc<Notify>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.dropped.notify_one();
    }
}

async fn count_and_wait(session: Session, State(begun): State<[Arc<Notify>; 2]>) {
    let [begun, dropped] = begun;
    let waits = Waits { begun, dropped };
    count(session).await.unwrap();
    waits.begun.notify_one();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_finds_its_session_as_the_handler_left_it() {
    let sessions = sessions().await;
    let [begun, dropped] = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    let app = Router::new()
        .route("/wait", post(count_and_wait))
        .with_state([Arc::clone(&begun), Arc::clone(&dropped)])
        .route("/count", post(count))
        .layer(sessions.layer());
    let mut play = Play::serving(app).await;
    play.ask("POST", "/count").await;
    let stream = play.send("POST", "/wait", "").await;
    begun.notified().await;
    drop(stream);
    dropped.notified().await;
    assert_eq!(play.body("POST", "/count").await, "3");
}

/// Does something once the headers of the answer have left, and says what came of it.
async fn late(session: Session, Path(what): Path<String>) -> Body {
    Body::from_stream(stream::once(async move {
        let done = match what.as_str() {
            "count" => count(session).await.map(drop),
            "login" => session.login(ALICE).await,
            "token" => session.login_with_token(ALICE).await.map(drop),
            "cycle" => session.cycle_id().await,
            "confirm" => session.confirm().await,
            _ => session.logout().await,
        };
        Ok::<_, Infallible>(match done {
            Ok(()) => "done".to_owned(),
            Err(error) => error.to_string(),
        })
    }))
}

#[tokio::test]
async fn while_the_body_streams_data_is_written_and_what_takes_a_cookie_says_why_not() {
    let sessions = sessions().await;
    let app = Router::new()
        .route("/late/{what}", post(late))
        .route("/count", post(count))
        .route("/login", post(login))
        .route("/who", get(who))
        .layer(sessions.layer());
    let mut play = Play::serving(app).await;
    let too_late = "the headers of the answer have left";
    for (what, is_done) in [("count", false), ("login", false), ("token", true), ("cycle", true)] {
        let answer = play.ask("POST", &format!("/late/{what}")).await;
        assert_eq!((answer.contains("done"), answer.contains(too_late)), (is_done, !is_done), "{answer}");
    }
    assert_eq!(
        (play.cookie.clone(), sessions.of(ALICE).await.unwrap().len()),
        (None, 1),
        "a program's alone"
    );
    play.ask("POST", "/login").await;
    play.ask("POST", "/count").await;
    for what in ["login", "cycle", "confirm"] {
        assert!(play.ask("POST", &format!("/late/{what}")).await.contains(too_late), "{what}");
        assert_eq!(play.body("GET", "/who").await, "Some(true)", "the token is good as before");
    }
    assert!(play.ask("POST", "/late/count").await.contains("done"));
    assert_eq!(play.body("POST", "/count").await, "3");
    // An end is an end: the cookie stays, and nobody accepts it.
    assert!(play.ask("POST", "/late/logout").await.contains("done"));
    assert_eq!((play.body("GET", "/who").await, play.cookie.is_some()), ("None".to_owned(), true));
}

/// Has the store begin something, and answers before it is done. What came of it is told afterwards.
async fn begin(session: Session, Path(what): Path<String>, State((store, told)): State<Begun>) {
    let step = step_of(&what);
    let before = store.asked(step);
    tokio::spawn(async move {
        let done = match what.as_str() {
            "count" => count(session).await.map(drop),
            "insert" => session.insert("key", "value").await,
            "login" => session.login(ALICE).await,
            "cycle" => session.cycle_id().await,
            _ => session.confirm().await,
        };
        told.send(done).unwrap();
    });
    while store.asked(step) == before {
        tokio::task::yield_now().await;
    }
}

type Begun = (Arc<FaultyStore>, UnboundedSender<Result<(), SessionError>>);

fn step_of(what: &str) -> &'static str {
    match what {
        "count" => "change_data",
        "insert" => "put_data",
        "login" => "open",
        _ => "renew",
    }
}

#[tokio::test]
async fn of_a_session_whose_cookie_comes_too_late_nothing_is_left() {
    let TestSessions { sessions, store, .. } = testing::sessions().await;
    let (told, mut heard) = unbounded_channel();
    let app = Router::new()
        .route("/begin/{what}", post(begin))
        .with_state((Arc::clone(&store), told))
        .route("/login", post(login))
        .layer(sessions.layer());
    let mut play = Play::serving(app).await;
    let mut outcome = async |play: &mut Play, what: &str| {
        let held = store.hold(step_of(what));
        let answer = play.ask("POST", &format!("/begin/{what}")).await;
        assert!(!answer.contains("set-cookie"), "{answer}");
        held.release();
        heard.recv().await.unwrap()
    };
    for what in ["insert", "count", "login"] {
        let outcome = outcome(&mut play, what).await;
        assert!(matches!(outcome, Err(SessionError::Answered)), "{what}: {outcome:?}");
        assert_eq!(store.all_sessions(None, 10).await.unwrap(), [], "{what}");
    }
    for what in ["cycle", "confirm"] {
        play.ask("POST", "/login").await;
        let outcome = outcome(&mut play, what).await;
        assert!(matches!(outcome, Err(SessionError::Answered)), "{what}: {outcome:?}");
    }
}

/// Says hello, and then nothing until the session ends.
async fn events(session: Session) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let hello = stream::unfold(Some(session), async |session| {
        let session = session?;
        session.ended().await;
        Some((Ok(Event::default().data("good bye")), None))
    });
    Sse::new(stream::StreamExt::chain(stream::iter([Ok(Event::default().data("hello"))]), hello))
        .keep_alive(KeepAlive::new())
}

/// The same over a WebSocket (RFC 6455), which is closed then.
async fn socket(session: Session, mut request: Request) -> impl IntoResponse {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut socket = TokioIo::new(upgrade.await.unwrap());
        socket.write_all(b"\x81\x05hello").await.unwrap();
        session.ended().await;
        socket.write_all(b"\x88\x02\x03\xf0").await.unwrap();
        socket.shutdown().await.unwrap();
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")])
}

#[tokio::test]
async fn streams_and_sockets_stop_when_their_session_ends() {
    let sessions = sessions().await;
    let app = Router::new()
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/events", get(events))
        .route("/socket", get(socket))
        .layer(sessions.layer());
    let mut play = Play::serving(app).await;
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, headers, last) in [
        ("/events", "Connection: close\r\n", &b"data: good bye\n\n\r\n0\r\n\r\n"[..]),
        ("/socket", upgrade, b"\x88\x02\x03\xf0"),
    ] {
        play.ask("POST", "/login").await;
        let mut open = play.send("GET", path, headers).await;
        read_until(&mut open, "hello").await;
        let session = sessions.of(ALICE).await.unwrap()[0].session.id;
        while sessions.checker().watchers(session) == 0 {
            tokio::task::yield_now().await;
        }
        play.ask("POST", "/logout").await;
        let mut rest = Vec::new();
        open.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(last), "{path}: {}", String::from_utf8_lossy(&rest));
        assert_eq!(sessions.checker().watchers(session), 0);
    }
}

fn cookies(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
}

async fn touch(session: Session, request: Request, next: Next) -> Response<Body> {
    session.insert("seen", &true).await.unwrap();
    next.run(request).await
}

#[tokio::test]
async fn the_layer_may_stand_anywhere_in_a_router_and_several_times() {
    let sessions = sessions().await;
    let layer = || sessions.layer();
    let routes = || Router::new().route("/count", post(count));
    let anywhere = [
        routes().layer(layer()),
        routes().route_layer(layer()),
        Router::new().route("/count", post(count).layer(layer())),
        Router::new().fallback_service(routes().layer(layer())),
        routes().layer(layer()).layer(layer()),
        // What is done between two of them is done in one session.
        Router::new().merge(routes().layer(layer())).layer(from_fn(touch)).layer(layer()),
    ];
    let before = sessions.checker().counters().misses.load(std::sync::atomic::Ordering::Relaxed);
    for (number, app) in anywhere.into_iter().enumerate() {
        let ask = async |cookie: &str| {
            let request = Request::post("/count").header(header::COOKIE, cookie);
            app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let answer = ask("").await;
        let headers = answer.headers().clone();
        assert_eq!((answer.status(), cookies(&headers).len()), (StatusCode::OK, 1), "{number}");
        let answer = ask(cookies(&headers)[0].split(';').next().unwrap()).await;
        assert_eq!(cookies(answer.headers()), [""; 0], "{number}");
        let body = axum::body::to_bytes(answer.into_body(), 10).await.unwrap();
        assert_eq!(body, "2", "{number}");
    }
    let after = sessions.checker().counters().misses.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(before, after);
    let nested = Router::new().nest("/shop", routes().layer(layer())).layer(layer());
    let answer = nested.oneshot(Request::post("/shop/count").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(cookies(answer.headers()).len(), 1);
}

#[derive(Debug, PartialEq)]
struct OutOfOrder;

/// A service that knows nothing of axum's bodies, and fails in its own way.
async fn plain(request: Request<&'static str>) -> Result<Response<u64>, OutOfOrder> {
    let (mut parts, body) = request.into_parts();
    let session = Session::from_request_parts(&mut parts, &()).await.unwrap();
    let count: u64 = session.update("count", |count| count.unwrap_or(0) + 1).await.unwrap();
    if body == "fail" { Err(OutOfOrder) } else { Ok(Response::new(count)) }
}

#[tokio::test]
async fn the_layer_may_stand_around_any_service_and_has_no_errors_of_its_own() {
    let sessions = sessions().await;
    let service = sessions.layer().layer(service_fn(plain));
    let ask = async |cookie: &str, body| {
        let request = Request::post("/").header(header::COOKIE, cookie).body(body).unwrap();
        service.clone().oneshot(request).await
    };
    let first = ask("", "").await.unwrap();
    let cookie = cookies(first.headers())[0].split(';').next().unwrap();
    assert_eq!(ask(cookie, "fail").await.unwrap_err(), OutOfOrder);
    assert_eq!(*ask(cookie, "").await.unwrap().body(), 3);
}
