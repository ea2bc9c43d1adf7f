//! The real program in a process of its own, and clients that talk to it.

use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::cast::{OPERATOR_TOKEN, PASSWORD};

/// A `kerria serve` of its own process.
pub struct Program {
    process: Child,
    pub address: SocketAddr,
    /// What it has said so far.
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts the program on a folder and waits until it says where it listens.
    pub async fn start(folder: &Path) -> Self {
        Self::spawn(command(folder)).await
    }

    /// The same, by this command.
    pub async fn spawn(command: Command) -> Self {
        Self::try_spawn(command).await.unwrap_or_else(|log| panic!("it did not start:\n{log}"))
    }

    /// The same; what it has said instead, if it does not start.
    pub async fn try_spawn(mut command: Command) -> Result<Self, String> {
        let mut process = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let address = loop {
            let Some(line) = lines.next_line().await.unwrap() else { return Err(log) };
            log.push_str(&line);
            log.push('\n');
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(')').unwrap_or(rest.len());
                break rest[..end].parse().unwrap();
            }
        };
        // Somebody has to read the rest, or the program would wait for room in the pipe.
        let log = Arc::new(Mutex::new(log));
        let more = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                more.lock().unwrap().extend([&line, "\n"]);
            }
        });
        Ok(Self { process, address, log })
    }

    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.process.wait().await.unwrap();
        assert!(status.success(), "it does not stop in good order: {status}\n{}", self.log.lock().unwrap());
    }

    pub fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    pub fn client(&self) -> Client {
        Client::of(self.address)
    }

    pub fn operator(&self) -> Client {
        self.client().with(OPERATOR_TOKEN)
    }
}

/// `kerria serve` on a folder.
pub fn command(folder: &Path) -> Command {
    command_at(folder, "127.0.0.1:0")
}

/// The same, at this address.
pub fn command_at(folder: &Path, listen: &str) -> Command {
    serve(kerria(folder), listen)
}

/// The same, of this program.
pub fn serve(mut program: Command, listen: &str) -> Command {
    program.env("KERRIA_OPERATOR_TOKEN", OPERATOR_TOKEN).args([
        "serve",
        &format!("--listen={listen}"),
        "--data-dir=data",
        "--set=password.memory_kib=8",
        "--set=password.iterations=1",
        "--set=throttle.account_free=1000000",
        "--set=throttle.account_closes_after=1000000",
        "--set=throttle.network_free=1000000",
        "--set=throttle.network_closes_after=1000000",
    ]);
    program
}

/// The program, in a folder.
pub fn kerria(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kerria"));
    command.current_dir(folder);
    command
}

/// A program that talks to the server, which may be gone at any moment.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    credential: Option<(header::HeaderName, String)>,
}

/// An answer.
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

impl Client {
    pub fn of(address: SocketAddr) -> Self {
        Self { address, credential: None }
    }

    /// The answer; `None` if the server died before it had answered.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> Option<Answered> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some((name, value)) = &self.credential {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(body.to_string()));
        let response = sender.send_request(request.body(body).unwrap()).await.ok()?;
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.ok()?.to_bytes().into()).unwrap();
        Some(Answered { status: head.status, headers: head.headers, text })
    }

    /// The same, as JSON.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Option<(StatusCode, Value)> {
        self.ask(method, path, body).await.map(|answer| (answer.status, answer.json()))
    }

    pub async fn status(&self, path: &str) -> StatusCode {
        self.send("GET", path, &json!({})).await.expect("the server answers").0
    }

    pub async fn login(&self, user: usize) -> Option<String> {
        let login = json!({ "login": format!("user{user}"), "password": PASSWORD, "transport": "bearer" });
        let (status, body) = self.send("POST", "/api/v1/login", &login).await?;
        assert_eq!(status, StatusCode::OK, "{body}");
        Some(body["token"].as_str().unwrap().to_owned())
    }

    /// The same; `None` as well if the server says that it cannot.
    pub async fn login_if_it_can(&self, user: usize) -> Option<String> {
        let login = json!({ "login": format!("user{user}"), "password": PASSWORD, "transport": "bearer" });
        let (status, body) = self.send("POST", "/api/v1/login", &login).await?;
        (status == StatusCode::OK).then(|| body["token"].as_str().unwrap().to_owned())
    }

    /// The same one with this bearer token.
    pub fn with(&self, token: &str) -> Self {
        Self { credential: Some((header::AUTHORIZATION, format!("Bearer {token}"))), ..*self }
    }

    /// The same one with this cookie.
    pub fn with_cookie(&self, cookie: &str) -> Self {
        Self { credential: Some((header::COOKIE, cookie.to_owned())), ..*self }
    }
}
