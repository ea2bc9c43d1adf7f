//! Who plays in the tests: a Kerria, and browsers and programs that use it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use kerria::{
    SystemEntropy,
    testing::{FaultyStore, ManualClock},
};
use kerria_core::{Clock, Timestamp};
use kerria_server::{
    app::{App, Edge, control_socket_path, database_path},
    config::{self, Flag, Sources},
    maintenance,
    metrics::Metrics,
    serve::Server,
};
use kerria_store::{SqliteStore, testing};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    time::timeout,
};

/// A password that nobody would guess, for everyone.
pub const PASSWORD: &str = "correct horse battery staple";

/// Another one.
pub const OTHER_PASSWORD: &str = "several unrelated words here";

pub const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
pub const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1";

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// With what applications follow the server in the tests.
pub const CHECKERS_TOKEN: &str = "the-applications-of-the-tests";

/// What opens the operator's API in the tests.
pub const OPERATOR_TOKEN: &str = "the-operator-of-the-tests";

/// As a setting: what is in the file, for what can be set nowhere else.
pub const FILE: &str = "the file";

/// A running server.
pub struct Kerria {
    pub app: Arc<App>,
    pub clock: Arc<ManualClock>,
    pub address: SocketAddr,
    /// Between the server and its database: breaks when it is told to.
    pub store: Arc<FaultyStore>,
    server: Option<Server>,
    folder: Arc<TempDir>,
    settings: Vec<(String, String)>,
}

impl Kerria {
    /// With the defaults, on an empty folder.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With the defaults and without a token for the operator.
    pub async fn without_operator_token() -> Self {
        Self::with(&[("operator.token", "")]).await
    }

    /// With these settings, on an empty folder.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        // A day in 2027, so that no test depends on today.
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::open(folder, clock, settings).await
    }

    async fn open(folder: Arc<TempDir>, clock: Arc<ManualClock>, settings: Vec<(String, String)>) -> Self {
        let config = configuration(&folder, &settings);
        let edge = Edge { clock: Arc::clone(&clock) as Arc<dyn Clock>, entropy: Arc::new(SystemEntropy) };
        std::fs::create_dir_all(&config.data_dir).unwrap();
        let path = database_path(&config.data_dir);
        let store = match config.checkers_token {
            Some(_) => SqliteStore::open_for_checkers(&path, testing::node(), Arc::new(Metrics::new())).await,
            None => SqliteStore::open(&path),
        };
        let store = Arc::new(FaultyStore::new(Arc::new(store.unwrap())));
        let app = App::over(config, Arc::clone(&store) as _, edge).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(Arc::clone(&app), listener).unwrap();
        Self { app, clock, address: server.address, store, server: Some(server), folder, settings }
    }

    /// Stops in good order, and starts again on the same folder.
    pub async fn restart(self) -> Self {
        self.restart_with(&[]).await
    }

    /// The same, with more settings.
    pub async fn restart_with(mut self, more: &[(&str, &str)]) -> Self {
        self.stop().await;
        let (folder, clock, mut settings) =
            (Arc::clone(&self.folder), Arc::clone(&self.clock), self.settings.clone());
        settings.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        drop(self);
        Self::open(folder, clock, settings).await
    }

    /// Stops in good order.
    pub async fn stop(&mut self) {
        self.server.take().unwrap().stop().await;
    }

    /// The database, to look into. Sees what is committed and writes nothing.
    pub fn database(&self) -> Connection {
        let path = database_path(&self.app.config.data_dir);
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    /// What a query of one number finds in the database.
    pub fn count(&self, sql: &str) -> u64 {
        self.database().query_row(sql, (), |row| row.get(0)).unwrap()
    }

    /// Does what is done in the background every minute.
    pub async fn sweep(&self) {
        maintenance::sweep_all(&self.app).await.unwrap();
    }

    /// The audit log, the oldest line first.
    pub async fn audit(&self) -> Vec<Value> {
        let answer = self.operator().get("/api/v1/operator/audit?limit=1000").await;
        let mut entries = answer.json()["entries"].as_array().unwrap().clone();
        entries.reverse();
        entries
    }

    /// A value out of `/metrics`, as in `kerria_sign_ins_total{outcome="failed"}`.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.operator().get("/metrics").await.text;
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series));
        line.unwrap_or_else(|| panic!("{series} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Sends bytes as they are, and returns all that comes back until the server closes the connection.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let (address, bytes) = (self.address, bytes.to_vec());
        let exchange = move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // A server that has had enough may close before it has read all of it.
            drop(stream.write_all(&bytes));
            let mut answer = Vec::new();
            if let Err(error) = stream.read_to_end(&mut answer) {
                assert_ne!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock,
                    "the server keeps the connection open"
                );
            }
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }

    /// A request on the control socket.
    pub async fn control(&self, method: &str, path: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(control_socket_path(&self.app.config.data_dir)).await.unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        read(send(stream, request).await).await
    }

    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        Browser::new(self.address)
    }

    /// A program without cookies.
    pub fn program(&self) -> Browser {
        let mut program = Browser::new(self.address);
        program.is_browser = false;
        program.site = None;
        program.user_agent = "curl/8.5.0".to_owned();
        program
    }

    /// The operator, with their credential.
    pub fn operator(&self) -> Browser {
        let mut operator = self.program();
        operator.bearer = Some(OPERATOR_TOKEN.to_owned());
        operator
    }

    /// Creates a user with [`PASSWORD`].
    pub async fn user(&self, name: &str) -> String {
        let answer = self
            .operator()
            .send("POST", "/api/v1/operator/users", &json!({ "name": name, "password": PASSWORD }))
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// A browser in which `name`, who exists, has signed in.
    pub async fn signed_in(&self, name: &str) -> Browser {
        let mut browser = self.browser();
        let answer = browser.sign_in(name, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        browser
    }

    /// The number of live sessions, as the operator sees them.
    pub async fn sessions(&self) -> usize {
        let answer = self.operator().get("/api/v1/operator/sessions").await;
        answer.json()["sessions"].as_array().unwrap().len()
    }
}

pub fn configuration(folder: &TempDir, settings: &[(String, String)]) -> config::Config {
    let data_dir = folder.path().join("data").display().to_string();
    let mut flags = vec![
        Flag::set("data_dir", &data_dir),
        // As little work as Argon2id allows: these tests are not about how long it takes.
        Flag::set("password.memory_kib", "8"),
        Flag::set("password.iterations", "1"),
    ];
    // A secret is not taken from the command line.
    let secret = |name: &str| settings.iter().find(|(key, _)| key == name).map(|(_, token)| token.as_str());
    let secrets = [
        ("KERRIA_OPERATOR_TOKEN", secret("operator.token").unwrap_or(OPERATOR_TOKEN)),
        ("KERRIA_CHECKERS_TOKEN", secret("checkers.token").unwrap_or_default()),
    ];
    let set = secrets.into_iter().filter(|(_, token)| !token.is_empty());
    let variables = set.map(|(name, token)| (name.into(), token.into())).collect();
    let file = settings.iter().rev().find(|(key, _)| key == FILE).map(|(_, text)| {
        let path = folder.path().join("kerria.toml");
        std::fs::write(&path, text).unwrap();
        path
    });
    let elsewhere = ["operator.token", "checkers.token", FILE];
    let settings = settings.iter().filter(|(key, _)| !elsewhere.contains(&key.as_str()));
    flags.extend(settings.map(|(key, value)| Flag::set(key, value)));
    config::load(&Sources { file, flags, variables, ..Sources::default() }).unwrap()
}

/// Somebody who sends requests: a browser that keeps cookies, or a program.
#[derive(Clone)]
pub struct Browser {
    pub address: SocketAddr,
    pub cookies: BTreeMap<String, String>,
    pub user_agent: String,
    pub bearer: Option<String>,
    /// A browser keeps cookies; a program does not.
    pub is_browser: bool,
    /// What a browser says of where a request comes from; programs and old browsers say nothing.
    pub site: Option<&'static str>,
    /// Whom it believes to talk to.
    pub host: String,
    /// More headers, for every request.
    pub headers: Vec<(String, String)>,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|_| panic!("not JSON: {} {:?}", self.status, self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The kind of a problem, as in `sign-in-failed`.
    pub fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap().to_owned();
        kind.strip_prefix("urn:kerria:problem:").unwrap().to_owned()
    }
}

impl Browser {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            cookies: BTreeMap::new(),
            user_agent: FIREFOX.to_owned(),
            bearer: None,
            is_browser: true,
            site: Some("same-origin"),
            host: "localhost:8080".to_owned(),
            headers: Vec::new(),
        }
    }

    /// The session token, as the cookie holds it.
    pub fn token(&self) -> String {
        self.cookies["kerria"].clone()
    }

    /// Somebody who has got hold of this browser's session token, and of nothing else.
    pub fn thief(&self) -> Self {
        let mut thief = Self::new(self.address);
        thief.cookies.insert("kerria".to_owned(), self.token());
        thief
    }

    /// Signs in through the API.
    pub async fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        self.send("POST", "/api/v1/login", &json!({ "login": name, "password": password })).await
    }

    /// Whether the API says that somebody is signed in.
    pub async fn is_signed_in(&self) -> bool {
        let answer = self.clone().get("/api/v1/session").await;
        match answer.status {
            StatusCode::OK => !answer.json()["user"].is_null(),
            StatusCode::UNAUTHORIZED => false,
            StatusCode::FORBIDDEN if answer.problem() == "insufficient-scope" => false,
            status => panic!("{status}: {}", answer.text),
        }
    }

    /// The handle of the session.
    pub async fn handle(&self) -> String {
        self.clone().get("/api/v1/session").await.json()["handle"].as_str().unwrap().to_owned()
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, None, String::new()).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.request("DELETE", path, None, String::new()).await
    }

    /// Sends JSON.
    pub async fn send(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        self.request(method, path, Some("application/json"), body.to_string()).await
    }

    /// Opens the page at `on`, takes the token of its form, and sends the form to `action`.
    pub async fn submit(&mut self, on: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(on).await;
        let token =
            page.text.split("name=\"csrf_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let mut fields: Vec<_> = fields.to_vec();
        fields.extend(token.map(|token| ("csrf_token", token)));
        self.post_form(action, &fields).await
    }

    /// Sends a form as it is.
    pub async fn post_form(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.request("POST", path, Some("application/x-www-form-urlencoded"), body).await
    }

    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: String,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::USER_AGENT, &self.user_agent);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(site) = self.site {
            request = request.header("sec-fetch-site", site);
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = read(send(stream, request).await).await;
        self.keep_cookies(&answer);
        answer
    }

    /// The same browser with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut browser = self.clone();
        browser.headers.push((name.to_owned(), value.to_owned()));
        browser
    }

    /// The same browser, which says something else, or nothing, of where a request comes from.
    pub fn sent_from(&self, site: Option<&'static str>) -> Self {
        Self { site, ..self.clone() }
    }

    /// What scripts present in `X-CSRF-Token`.
    pub async fn csrf_token(&self) -> String {
        let answer = self.clone().get("/api/v1/session/csrf-token").await;
        answer.json()["csrf_token"].as_str().unwrap().to_owned()
    }

    /// Opens `/session/events`.
    pub async fn watch(&self) -> Watcher {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder()
            .uri("/session/events")
            .header(header::HOST, "localhost:8080")
            .header(header::USER_AGENT, &self.user_agent)
            .header(header::COOKIE, pairs.join("; "))
            .body(Full::new(Bytes::new()))
            .unwrap();
        let response = send(TcpStream::connect(self.address).await.unwrap(), request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let (parts, body) = response.into_parts();
        Watcher { headers: parts.headers, body, text: String::new() }
    }

    fn keep_cookies(&mut self, answer: &Answer) {
        if !self.is_browser {
            return;
        }
        for cookie in answer.set_cookies() {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if cookie.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    timeout(PATIENCE, sender.send_request(request)).await.expect("the server answers").unwrap()
}

async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// An open tab that listens to `/session/events`.
pub struct Watcher {
    pub headers: header::HeaderMap,
    body: Incoming,
    text: String,
}

impl Watcher {
    /// The name and the data of the next event; `None` when the stream is over.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let found = field("event:").map(str::to_owned).zip(field("data:").map(str::to_owned));
                self.text = rest.to_owned();
                if let Some((name, data)) = found {
                    return Some((name, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("something happens");
            match frame {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    self.text.push_str(&String::from_utf8_lossy(&bytes));
                }
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Why the session ended.
    pub async fn reason(&mut self) -> String {
        let (event, data) = self.next().await.expect("the stream says that the session has ended");
        assert_eq!(event, "ended");
        data["reason"].as_str().unwrap().to_owned()
    }
}

/// A different number at every call, for what has to be unique.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}
