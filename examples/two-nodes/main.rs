//! An application that runs more than once, over one PostgreSQL database: who signs out everywhere at one node is signed out at
//! the others, too, before the answer is there.
//!
//! ```sh
//! cargo run --package kerria --features postgres --example two-nodes -- 127.0.0.1:3001 postgres://localhost/sessions
//! cargo run --package kerria --features postgres --example two-nodes -- 127.0.0.1:3002 postgres://localhost/sessions
//! ```
//!
//! Cookies know nothing of ports, so a browser that has signed in at one is signed in at the other. In earnest, both are behind one
//! reverse proxy, whose address is [`ORIGIN`].

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{
    Form, Router,
    extract::Request,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use kerria::{
    CheckerId, Clock, Denied, Session, SessionError, SessionOptions, Sessions, SystemClock, SystemEntropy,
    UserId, require_login, require_own_page,
    stores::{Nobody, Node, PostgresOptions, PostgresStore},
};
use serde::Deserialize;

/// Where browsers find the application, whichever node answers.
const ORIGIN: &str = "http://localhost:3000";

#[derive(Deserialize)]
struct Credentials {
    user: u64,
}

async fn form() -> Html<&'static str> {
    Html(
        "<form method=post><label>User number <input name=user type=number></label><button>Sign in</button></form>",
    )
}

/// Believes whoever says a number, so that there is less to read. `examples/login` verifies a password.
async fn sign_in(session: Session, Form(credentials): Form<Credentials>) -> Result<Redirect, SessionError> {
    session.login(UserId::from_number(credentials.user)).await?;
    Ok(Redirect::to("/"))
}

async fn home(session: Session) -> Result<Html<String>, SessionError> {
    let sessions = session.list().await?.len();
    Ok(Html(format!(
        "<p>You are signed in {sessions} times.\
         <form method=post action=/sign-out-everywhere><button>Sign out everywhere</button></form>"
    )))
}

/// The answer waits until every node refuses these sessions, or can hold no lease from before.
async fn sign_out_everywhere(session: Session) -> Result<Redirect, SessionError> {
    session.logout_everywhere().await?;
    Ok(Redirect::to("/sign-in"))
}

fn to_the_form(denied: Denied, _: &Request) -> Response {
    match denied {
        Denied::NotSignedIn => Redirect::to("/sign-in").into_response(),
        other => other.into_response(),
    }
}

async fn interrupted() {
    tokio::signal::ctrl_c().await.expect("the program can hear of Ctrl+C");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, database] = &arguments[..] else { return Err("usage: two-nodes ADDRESS DATABASE".into()) };
    let listener = tokio::net::TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Made anew at each start: a node that was started again remembers nothing of before.
    let node = Node { id: CheckerId::new(SystemClock.now(), &SystemEntropy), name: url.clone() };
    let store = PostgresStore::connect(PostgresOptions::parse(database)?, node, Arc::new(Nobody)).await?;
    let sessions = Sessions::start(Arc::new(store), SessionOptions::new(ORIGIN.parse()?)).await?;
    let app = Router::new()
        .route("/", get(home))
        .route("/sign-out-everywhere", post(sign_out_everywhere))
        .layer(require_login().or(to_the_form))
        .route("/sign-in", get(form).post(sign_in))
        .layer(require_own_page(sessions.own_origin()))
        .layer(sessions.layer())
        .into_make_service_with_connect_info::<SocketAddr>();
    eprintln!("listening on {url}");
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    // No other node has to wait for this one any more.
    Ok(sessions.stop().await?)
}
