//! An application that was written with tower-sessions and has moved: who comes with a cookie of before finds their session again,
//! once, and gets a new cookie.
//!
//! ```sh
//! cargo run --package kerria --features sqlite --example from-tower-sessions -- 127.0.0.1:3000 tower-sessions.db
//! ```
//!
//! The second argument is the SQLite file in which `tower-sessions-sqlx-store` has kept its table. Once what is in there has
//! expired, take [`take_over`] away, and the file.

use std::{collections::HashMap, error::Error, path::Path, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use kerria::{SecretCookie, Session, SessionError, SessionOptions, Sessions, SqliteStore, UserId};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// What the cookie was called, if the application has not said otherwise.
const OLD_COOKIE: &str = "id";

/// Under which key the application has kept who is signed in.
const OLD_USER: &str = "user_id";

/// The table of before, one request at a time: of several with the same cookie, one finds its session.
#[derive(Clone)]
struct OldSessions(Arc<Mutex<Connection>>);

type OldError = Box<dyn Error + Send + Sync>;

impl OldSessions {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Moves the session of this cookie, if there is one that is not over, into the session of the request. The row goes last: what
    /// breaks off before is done again with the next request.
    async fn move_into(&self, session: &Session, id: &str) -> Result<(), OldError> {
        let rows = self.0.lock().await;
        // Somebody who has signed in since is not to become who they were before.
        if session.user().is_none()
            && let Some(mut data) = find(&rows, id)?
        {
            let user = data.remove(OLD_USER).and_then(|user| user.as_u64());
            for (key, value) in data {
                match session.insert(&key, &value).await {
                    Err(SessionError::Data(refused)) => eprintln!("{key:?} stays behind: {refused}"),
                    done => done?,
                }
            }
            if let Some(user) = user {
                session.login(UserId::from_number(user)).await?;
            }
        }
        rows.execute("DELETE FROM tower_sessions WHERE id = ?1", [id])?;
        Ok(())
    }
}

fn find(rows: &Connection, id: &str) -> Result<Option<HashMap<String, Value>>, OldError> {
    let live = "SELECT data FROM tower_sessions WHERE id = ?1 AND unixepoch(expiry_date) > unixepoch()";
    let row: Option<Vec<u8>> = rows.query_row(live, [id], |row| row.get(0)).optional()?;
    // Three things in MessagePack: the id, the data, and when it expires.
    let read = |row: Vec<u8>| rmp_serde::from_slice::<(IgnoredAny, HashMap<String, Value>, IgnoredAny)>(&row);
    Ok(row.map(read).transpose()?.map(|(_, data, _)| data))
}

/// Takes the session of a cookie of before over, and removes that cookie.
async fn take_over(
    State(old): State<OldSessions>,
    session: Session,
    request: Request,
    next: Next,
) -> Response {
    let cookie = SecretCookie::called(OLD_COOKIE);
    let Some(id) = only(&cookie, request.headers()) else { return next.run(request).await };
    if let Err(why) = old.move_into(&session, &id).await {
        eprintln!("a session of before could not be moved: {why}");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().append(header::SET_COOKIE, cookie.remove());
    response
}

/// The value of a cookie, if there is one of that name and no other.
fn only(cookie: &SecretCookie, headers: &HeaderMap) -> Option<String> {
    let mut values = cookie.values(headers);
    let first = values.next().filter(|_| values.next().is_none())?;
    String::from_utf8(first.to_vec()).ok()
}

async fn show(session: Session) -> Result<Json<Value>, SessionError> {
    let mut data = HashMap::new();
    for key in session.keys().await? {
        data.insert(key.clone(), session.get::<Value>(&key).await?);
    }
    Ok(Json(json!({ "user": session.user(), "data": data })))
}

async fn sign_out(session: Session) -> Result<(), SessionError> {
    session.logout().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, old] = &arguments[..] else {
        return Err("usage: from-tower-sessions ADDRESS OLD_DATABASE".into());
    };
    let old = OldSessions::open(old.as_ref())?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let store = Arc::new(SqliteStore::open("sessions.db".as_ref())?);
    let sessions = Sessions::start(store, SessionOptions::new(url.parse()?)).await?;
    let app = Router::new()
        .route("/", get(show))
        .route("/sign-out", post(sign_out))
        .layer(from_fn_with_state(old, take_over))
        .layer(sessions.layer());
    eprintln!("listening on {url}");
    Ok(axum::serve(listener, app).await?)
}
