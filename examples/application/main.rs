//! An application that checks Kerria's sessions in its own memory.
//!
//! ```sh
//! application 127.0.0.1:3000 checkers-token http://localhost:8080
//! ```
//!
//! The second argument is a file that holds what the server has as `checkers.token`; after it come one or more nodes.
//!
//! A browser sends its session cookie only to the host that has set it. So put this application and the server behind one
//! reverse proxy, or send a bearer token.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use kerria::{ClientAddress, CurrentSession, RemoteChecker, RemoteOptions, SessionState};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, token_file, nodes @ ..] = &arguments[..] else {
        eprintln!("usage: application ADDRESS TOKEN_FILE NODE…");
        return ExitCode::from(2);
    };
    match serve(listen, token_file, nodes).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &str, token_file: &str, nodes: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let token = std::fs::read_to_string(token_file)?;
    let options = RemoteOptions::new(nodes, token.trim()).name("application");
    let checker = Arc::new(RemoteChecker::start(options).await?);
    let app = Router::new()
        .route("/", get(greet))
        .layer(checker.layer())
        // Without it, a session that is bound to a place is good from everywhere.
        .layer(from_fn(note_address))
        .route("/following", get(following))
        .with_state(Arc::clone(&checker));
    let listener = TcpListener::bind(listen).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    // Nobody has to wait for this process any more.
    checker.stop().await?;
    Ok(())
}

/// Who is signed in. That nobody can say right now is neither a yes nor a no.
async fn greet(State(checker): State<Arc<RemoteChecker>>, current: CurrentSession) -> Response {
    match current.state() {
        SessionState::Good(checked) => {
            Json(json!({ "user": checked.session.user, "name": checked.user_name.as_deref() }))
                .into_response()
        }
        SessionState::Unknown(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
        SessionState::None | SessionState::Refused(_) => {
            let sign_in = format!("Sign in at {}/sign-in\n", checker.issuer());
            (StatusCode::UNAUTHORIZED, sign_in).into_response()
        }
    }
}

/// Whether memory answers at this moment.
async fn following(State(checker): State<Arc<RemoteChecker>>) -> &'static str {
    if checker.checker().lease().holds() { "from memory\n" } else { "by asking\n" }
}

async fn note_address(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(ClientAddress(peer.ip()));
    next.run(request).await
}
