//! What the test suites of other session libraries ask, asked of this one, in our own words. `docs/coming-from.md` says which of
//! their behaviours is shown by which test, and where we differ on purpose.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod django;
mod express_session;
mod tower_sessions;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, Request, StatusCode, header},
    routing::{get, post},
};
use kerria::{
    ManualClock, Session, SessionError, SessionOptions, Sessions,
    testing::{TestSessions, sessions_over},
    upkeep::{Kept, sweep},
};
use kerria_core::{Clock, SessionPolicy, Store, UserId};
use kerria_store::SqliteStore;
use tower::ServiceExt;

const MINUTE: Duration = Duration::from_secs(60);
const HTTP: &str = "http://localhost:3000";
const HTTPS: &str = "https://shop.example.com";

/// An application with sessions, and what moves its time.
struct Shop {
    sessions: Sessions,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    app: Router,
}

/// Somebody with a cookie jar.
#[derive(Clone, Debug, Default, PartialEq)]
struct Browser(BTreeMap<String, String>);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Shop {
    async fn open() -> Self {
        Self::at(HTTP, |options| options).await
    }

    async fn at(origin: &str, options: impl FnOnce(SessionOptions) -> SessionOptions) -> Self {
        Self::over(Arc::new(SqliteStore::open_in_memory().unwrap()), origin, options).await
    }

    async fn over(
        store: Arc<dyn Store>,
        origin: &str,
        options: impl FnOnce(SessionOptions) -> SessionOptions,
    ) -> Self {
        let options = options(SessionOptions::new(origin.parse().unwrap()));
        let TestSessions { sessions, clock, store, .. } = sessions_over(store, options).await;
        let app = routes().layer(sessions.layer());
        Self { sessions, store: store as _, clock, app }
    }

    /// The same with routes of its own.
    fn with(self, routes: Router) -> Self {
        Self { app: routes.layer(self.sessions.layer()).merge(self.app), ..self }
    }

    async fn ask(&self, browser: &mut Browser, request: Request<Body>) -> Answer {
        let mut request = request;
        if !browser.0.is_empty() {
            request.headers_mut().insert(header::COOKIE, browser.cookies().parse().unwrap());
        }
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        browser.keep(&headers);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, browser: &mut Browser, path: &str) -> Answer {
        self.ask(browser, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, browser: &mut Browser, path: &str) -> Answer {
        self.ask(browser, Request::post(path).body(Body::empty()).unwrap()).await
    }

    /// What is under a key, for this browser.
    async fn value(&self, browser: &Browser, key: &str) -> String {
        self.get(&mut browser.clone(), &format!("/value/{key}")).await.text
    }

    async fn who(&self, browser: &Browser) -> String {
        self.get(&mut browser.clone(), "/who").await.text
    }

    /// A visitor with a value in their session.
    async fn visitor(&self) -> Browser {
        let mut browser = Browser::default();
        self.post(&mut browser, "/value/cart/book").await;
        browser
    }

    async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = Browser::default();
        self.post(&mut browser, &format!("/sign-in/{user}")).await;
        browser
    }

    /// How many sessions the store has.
    async fn count(&self) -> usize {
        self.store.all_sessions(None, 100).await.unwrap().len()
    }

    /// What is done in the background.
    async fn sweep(&self) {
        let kept = Kept { last_seen_precision: MINUTE, log_retention: 60 * MINUTE };
        sweep(&*self.store, self.sessions.checker(), kept, self.clock.now()).await.unwrap();
    }
}

impl Browser {
    fn of(name: &str, value: &str) -> Self {
        Self(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    fn cookies(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// The token of the session.
    fn token(&self) -> &str {
        self.0.get("session").map_or("", String::as_str)
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for set in set_cookies(headers) {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            match set.contains("Max-Age=0") {
                true => drop(self.0.remove(name)),
                false => drop(self.0.insert(name.to_owned(), value.to_owned())),
            }
        }
    }
}

impl Answer {
    /// The one cookie that it sets, if it does.
    fn set(&self) -> Option<&str> {
        let mut set = set_cookies(&self.headers);
        let first = set.next();
        assert_eq!(set.next(), None, "one is enough");
        first
    }

    /// What follows the value in the cookie that it sets.
    fn attributes(&self) -> &str {
        self.set().unwrap().split_once("; ").unwrap().1
    }
}

fn set_cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::SET_COOKIE).iter().map(|set| set.to_str().unwrap())
}

fn user(name: &str) -> UserId {
    UserId::from_number(if name == "alice" { 1 } else { 2 })
}

fn idle() -> Duration {
    SessionPolicy::default().ordinary.idle
}

fn routes() -> Router {
    Router::new()
        .route("/", get(async || "nothing of a session"))
        .route("/visits", get(visits))
        .route("/value/{key}", get(value))
        .route("/value/{key}/{value}", post(put))
        .route("/take/{key}", post(take))
        .route("/remove/{key}", post(remove))
        .route("/clear", post(async |session: Session| session.clear().await))
        .route("/sign-in/{user}", post(sign_in))
        .route("/sign-in/{user}/remembered", post(sign_in_remembered))
        .route("/sign-out", post(async |session: Session| session.logout().await))
        .route("/flush", post(async |session: Session| session.flush().await))
        .route("/cycle", post(async |session: Session| session.cycle_id().await))
        .route("/who", get(who))
        .route("/fail/{key}/{value}", post(put_and_fail))
}

async fn visits(session: Session) -> Result<String, SessionError> {
    Ok(session.update("visits", |visits: Option<u64>| visits.unwrap_or(0) + 1).await?.to_string())
}

async fn value(session: Session, Path(key): Path<String>) -> Result<String, SessionError> {
    Ok(session.get::<String>(&key).await?.unwrap_or_else(|| "nothing".to_owned()))
}

async fn put(session: Session, Path((key, value)): Path<(String, String)>) -> Result<(), SessionError> {
    session.insert(&key, &value).await
}

async fn take(session: Session, Path(key): Path<String>) -> Result<String, SessionError> {
    Ok(session.take::<String>(&key).await?.unwrap_or_else(|| "nothing".to_owned()))
}

async fn remove(session: Session, Path(key): Path<String>) -> Result<String, SessionError> {
    Ok(session.remove(&key).await?.to_string())
}

async fn sign_in(session: Session, Path(name): Path<String>) -> Result<(), SessionError> {
    session.login(user(&name)).await
}

async fn sign_in_remembered(session: Session, Path(name): Path<String>) -> Result<(), SessionError> {
    session.login_remembered(user(&name)).await
}

async fn who(session: Session) -> &'static str {
    match session.user() {
        Some(one) if one == user("alice") => "alice",
        Some(_) => "bob",
        None => "nobody",
    }
}

async fn put_and_fail(
    session: Session,
    Path((key, value)): Path<(String, String)>,
) -> Result<StatusCode, SessionError> {
    session.insert(&key, &value).await?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}
