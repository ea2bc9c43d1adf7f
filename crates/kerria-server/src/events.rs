//! Server-sent events for open pages: a tab learns at once that its session has ended.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::{self, Stream, StreamExt};
use kerria::Checked;
use kerria_core::{Cause, Session, Standing, StoreError, Timestamp};
use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;

use crate::{api::extract::AnySession, app::App, problem::Problem};

/// How often a comment is sent, so that proxies do not take the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How many streams one session may hold open, so that nobody takes all connections.
const STREAMS: usize = 16;

/// How long to wait for a store that could not say whether a session is over.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// `GET /session/events`: `hello` at once, `ended` when the session ends; then the stream is over.
pub async fn stream(State(app): State<Arc<App>>, AnySession(checked): AnySession) -> Response {
    if app.checker.watchers(checked.session.id) >= STREAMS {
        let detail = "Close one of this session's streams first; one is enough for all tabs of a browser.";
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", "Too many streams", detail)
            .into_response();
    }
    let events = Sse::new(events(app, checked)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    ([(header::CACHE_CONTROL, "no-store")], events).into_response()
}

/// Counts a stream as long as it is open.
struct OpenStream(Gauge);

impl OpenStream {
    fn count(streams: &Gauge) -> Self {
        streams.inc();
        Self(streams.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn events(app: Arc<App>, checked: Checked) -> impl Stream<Item = Result<Event, Infallible>> {
    let open = OpenStream::count(&app.metrics.open_streams);
    let hello = stream::once(async { Event::default().event("hello").data("{}") });
    let ended = stream::once(async move {
        let ended = wait_for_end(&app, &checked).await;
        drop(open);
        ended.map(|reason| Event::default().event("ended").data(json!({ "reason": reason }).to_string()))
    });
    hello.chain(ended.filter_map(|event| async { event })).map(Ok)
}

/// Waits until the session is over, and says why; `None` if the server stops first.
async fn wait_for_end(app: &App, checked: &Checked) -> Option<&'static str> {
    tokio::select! {
        cause = app.checker.ended(checked) => Some(cause.map_or("ended", Cause::as_str)),
        () = expiry(app, checked) => Some("expired"),
        () = app.stopping() => None,
    }
}

/// Completes when the session has expired. Its use elsewhere moves the instant on, so it is asked again when it comes.
async fn expiry(app: &App, checked: &Checked) {
    let mut session = checked.session;
    loop {
        let now = app.clock.now();
        if let Some(seen) = app.checker.last_seen(&checked.token) {
            session.last_seen_at = session.last_seen_at.max(seen);
        }
        if let Standing::Active { expires_at } = app.checker.policy().standing(&session, now) {
            tokio::time::sleep(until(expires_at, now)).await;
            continue;
        }
        match as_stored(app, &session).await {
            Ok(Some(used)) if is_active(app, &used, now) => session = used,
            Ok(_) => return,
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// The session as the store knows it: it may be in use under a token that is newer than ours.
async fn as_stored(app: &App, session: &Session) -> Result<Option<Session>, StoreError> {
    let Some(user) = session.user else {
        app.checker.flush(app.clock.now()).await?;
        return Ok(app.store.session(session.id).await?.map(|(found, _)| found.session));
    };
    let theirs = app.sessions_of(user).await?;
    Ok(theirs.into_iter().map(|details| details.session).find(|stored| stored.id == session.id))
}

fn is_active(app: &App, session: &Session, now: Timestamp) -> bool {
    matches!(app.checker.policy().standing(session, now), Standing::Active { .. })
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    at.since(now).max(Duration::from_millis(10))
}
