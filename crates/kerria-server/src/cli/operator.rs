//! The operator's API, spoken over the control socket of a running server, or to a server inside this process.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use axum::{
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tower::ServiceExt;

use crate::{
    app::{App, control_socket_path},
    config::Config,
    routes,
};

/// How long an answer may take. Hashing a password on a busy server is the slowest thing there is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer that is read.
const ANSWER_BYTES: usize = 64 << 20;

/// Who answers.
pub(super) enum Operator {
    /// The server that runs on the data folder, through its control socket.
    Running(PathBuf),
    /// This process, which has opened the data folder.
    Here(Arc<App>),
}

/// What may be done if there is no data folder yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is created.
    Create,
    /// There is nothing to ask about.
    Refuse,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) json: Value,
}

impl Operator {
    /// Finds the server that runs on the configured folder, or opens the folder.
    pub(super) async fn reach(config: Config, missing: Missing) -> anyhow::Result<Self> {
        let folder = config.data_dir.clone();
        if let Some(running) = Self::running(&folder).await? {
            return Ok(running);
        }
        if missing == Missing::Refuse && !folder.exists() {
            bail!(
                "there is no data folder at {}: begin with `kerria serve`, or say where it is with --data-dir",
                folder.display()
            );
        }
        let opened = App::open(config).await;
        let socket = control_socket_path(&folder);
        opened.map(Self::Here).with_context(|| format!("no server answers at {}", socket.display()))
    }

    /// The server that runs on this folder, if one does.
    pub(super) async fn running(folder: &Path) -> anyhow::Result<Option<Self>> {
        let socket = control_socket_path(folder);
        match UnixStream::connect(&socket).await {
            Ok(_) => Ok(Some(Self::Running(socket))),
            // No socket, or one that a killed server has left behind.
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            // A path that is too long for a socket has none.
            Err(why) if why.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(why) => Err(why).with_context(|| {
                format!(
                    "cannot use the control socket {}: run this as the user who runs the server",
                    socket.display()
                )
            }),
        }
    }

    /// Asks for `path` below the operator's API; the answer is the success's JSON. A refusal is an error with the
    /// server's own words.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let reply = self.send(method, &format!("/api/v1/operator/{path}"), json).await?;
        if reply.status.is_success() { Ok(reply.json) } else { Err(anyhow!("{}", refusal(&reply))) }
    }

    /// Sends a request and waits for the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "kerria");
        let request = match json {
            None => request.body(Body::empty()),
            Some(json) => {
                request.header(header::CONTENT_TYPE, "application/json").body(Body::from(json.to_string()))
            }
        };
        let answer = self.exchange(request.context("the request cannot be written")?);
        tokio::time::timeout(PATIENCE, answer)
            .await
            .map_err(|_| anyhow!("the server did not answer within {} seconds", PATIENCE.as_secs()))?
    }

    async fn exchange(&self, request: Request<Body>) -> anyhow::Result<Reply> {
        match self {
            Self::Here(app) => read(routes::control(Arc::clone(app)).oneshot(request).await?).await,
            Self::Running(socket) => {
                let lost = || format!("the connection to the server at {} was lost", socket.display());
                let stream = UnixStream::connect(socket).await.with_context(lost)?;
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(lost)?;
                // Its end is told by the answer, or by its absence.
                tokio::spawn(connection);
                read(sender.send_request(request).await.with_context(lost)?).await.with_context(lost)
            }
        }
    }

    /// Finishes what this process has begun.
    pub(super) async fn close(self) {
        if let Self::Here(app) = self {
            app.close().await;
        }
    }
}

/// A text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => segment.push(char::from(byte)),
            // The dot too: a segment of dots alone would be a way upwards.
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

async fn read<B>(response: Response<B>) -> anyhow::Result<Reply>
where
    B: http_body_util::BodyExt,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|why| anyhow!(why))?.to_bytes();
    // An empty body, or a page in its place, is told by the status.
    Ok(Reply { status: head.status, json: serde_json::from_slice(&body).unwrap_or_default() })
}

/// What a problem (RFC 9457) says, for people.
fn refusal(Reply { status, json }: &Reply) -> String {
    // What is to be done about it is not in the request.
    if *status == StatusCode::SERVICE_UNAVAILABLE
        && let (Some(title), Some(detail)) = (json["title"].as_str(), json["detail"].as_str())
    {
        return format!("{title}. {detail} `kerria doctor` looks for what is wrong.");
    }
    let said = json["detail"].as_str().filter(|detail| !detail.is_empty()).or_else(|| json["title"].as_str());
    match said {
        Some(said) => said.to_owned(),
        None => format!("the server answered {status} and did not say why"),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, extract::Path as InPath, routing::get};
    use serde_json::json;
    use tokio::net::UnixListener;

    use super::*;

    /// A control socket that greets whom it is asked for.
    async fn served(folder: &Path) -> Operator {
        let greet = |InPath(name): InPath<String>| async move {
            match name.as_str() {
                "nobody" => {
                    Err((StatusCode::NOT_FOUND, Json(json!({"title": "Not found", "detail": "No nobody."}))))
                }
                name => Ok(Json(json!({ "hello": name }))),
            }
        };
        let router = Router::new().route("/api/v1/operator/users/{user}", get(greet));
        let listener = UnixListener::bind(control_socket_path(folder)).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Operator::running(folder).await.unwrap().expect("it runs")
    }

    #[tokio::test]
    async fn a_running_server_is_asked_through_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let operator = served(folder.path()).await;
        for name in ["alice", "Zoë O'Hara", "a/b?c#d%", ".."] {
            let answer = operator.ask(Method::GET, &format!("users/{}", segment(name)), None).await.unwrap();
            assert_eq!(answer, json!({ "hello": name }));
        }
        let refused = operator.ask(Method::GET, "users/nobody", None).await.unwrap_err();
        assert_eq!(refused.to_string(), "No nobody.");
    }

    #[tokio::test]
    async fn no_socket_and_a_left_behind_one_mean_that_no_server_runs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Operator::running(folder.path()).await.unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(control_socket_path(folder.path())).unwrap());
        assert!(Operator::running(folder.path()).await.unwrap().is_none());
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let told = |json| refusal(&Reply { status: StatusCode::CONFLICT, json });
        assert_eq!(told(json!({"title": "Taken", "detail": "Choose another name."})), "Choose another name.");
        assert_eq!(told(json!({"title": "Taken"})), "Taken");
        let busy = json!({"title": "This is not possible right now", "detail": "Try again in a moment."});
        assert_eq!(
            refusal(&Reply { status: StatusCode::SERVICE_UNAVAILABLE, json: busy }),
            "This is not possible right now. Try again in a moment. `kerria doctor` looks for what is wrong."
        );
        assert_eq!(told(Value::Null), "the server answered 409 Conflict and did not say why");
    }
}
