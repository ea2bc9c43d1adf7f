//! Who plays in the tests: a Kerria, and browsers and programs that use it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use kerria::{ManualClock, SystemEntropy};
use kerria_core::{Clock, Timestamp};
use kerria_server::{
    app::{App, Edge},
    config::{self, Flag, Sources},
    serve::Server,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// A password that nobody would guess, for everyone.
pub const PASSWORD: &str = "correct horse battery staple";

/// Another one.
pub const OTHER_PASSWORD: &str = "several unrelated words here";

pub const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
pub const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1";

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What opens the operator's API in the tests.
pub const OPERATOR_TOKEN: &str = "the-operator-of-the-tests";

/// A running server.
pub struct Kerria {
    pub app: Arc<App>,
    pub clock: Arc<ManualClock>,
    pub address: SocketAddr,
    server: Option<Server>,
    folder: Arc<TempDir>,
    settings: Vec<(String, String)>,
}

impl Kerria {
    /// With the defaults, on an empty folder.
    pub async fn start() -> Self {
        Self::with(&[]).await
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
        let app = App::open_at(config, edge).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(Arc::clone(&app), listener).unwrap();
        Self { app, clock, address: server.address, server: Some(server), folder, settings }
    }

    /// Stops in good order, and starts again on the same folder.
    pub async fn restart(mut self) -> Self {
        self.server.take().unwrap().stop().await;
        let (folder, clock, settings) =
            (Arc::clone(&self.folder), Arc::clone(&self.clock), self.settings.clone());
        drop(self);
        Self::open(folder, clock, settings).await
    }

    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        Browser::new(self.address)
    }

    /// A program without cookies.
    pub fn program(&self) -> Browser {
        let mut program = Browser::new(self.address);
        program.is_browser = false;
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

fn configuration(folder: &TempDir, settings: &[(String, String)]) -> config::Config {
    let data_dir = folder.path().join("data").display().to_string();
    let mut flags = vec![
        Flag::set("data_dir", &data_dir),
        // As little work as Argon2id allows: these tests are not about how long it takes.
        Flag::set("password.memory_kib", "8"),
        Flag::set("password.iterations", "1"),
    ];
    flags.extend(settings.iter().map(|(key, value)| Flag::set(key, value)));
    let variables = vec![("KERRIA_OPERATOR_TOKEN".into(), OPERATOR_TOKEN.into())];
    config::load(&Sources { flags, variables, ..Sources::default() }).unwrap()
}

/// Somebody who sends requests: a browser that keeps cookies, or a program.
#[derive(Clone)]
pub struct Browser {
    address: SocketAddr,
    pub cookies: BTreeMap<String, String>,
    pub user_agent: String,
    pub bearer: Option<String>,
    /// A browser says where a request comes from; a program does not.
    pub is_browser: bool,
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
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            cookies: BTreeMap::new(),
            user_agent: FIREFOX.to_owned(),
            bearer: None,
            is_browser: true,
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
            .header(header::HOST, "localhost:8080")
            .header(header::USER_AGENT, &self.user_agent);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if self.is_browser {
            request = request.header("sec-fetch-site", "same-origin");
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = exchange(self.address, request.body(Full::new(Bytes::from(body))).unwrap()).await;
        self.keep_cookies(&answer);
        answer
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

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// A different number at every call, for what has to be unique.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}
