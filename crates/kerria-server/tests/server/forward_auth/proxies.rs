//! What holds with each proxy, configured as in the examples.

use hyper::StatusCode;
use kerria::testing::Steps;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    change_groups, kerria_with,
    proxy::{Application, OTHER, Proxy, envoy, traefik},
    return_to,
};
use crate::cast::{Answer, Browser, FILE, Kerria, PASSWORD, PATIENCE};

/// A Kerria with the rules of the examples, an application, and a proxy between them.
struct Place {
    kerria: Kerria,
    application: Application,
    proxy: Proxy,
}

impl Place {
    async fn with(start: impl AsyncFnOnce(std::net::SocketAddr, std::net::SocketAddr) -> Proxy) -> Self {
        let rules = include_str!("../../../../../examples/forward-auth/kerria.toml");
        // A host that everyone may use, for those who would like to be taken for its visitors.
        let open = "\n[[forward_auth.rule]]\nhosts = [\"open.example\"]\nallow = \"everyone\"\n";
        let other = format!("\n[[forward_auth.rule]]\nhosts = [\"{OTHER}\"]\nallow = \"signed-in\"\n");
        let kerria = kerria_with(&[(FILE, &format!("{rules}{open}{other}"))]).await;
        let application = Application::start().await;
        let proxy = start(kerria.address, application.address).await;
        Self { kerria, application, proxy }
    }

    fn origin(&self) -> String {
        format!("http://localhost:{}", self.proxy.address.port())
    }

    /// The same browser, which looks at the application.
    fn at_application(&self, browser: &Browser) -> Browser {
        let host = self.origin()["http://".len()..].to_owned();
        Browser { address: self.proxy.address, host, ..browser.clone() }
    }

    /// The same, which opens a page.
    async fn open(&self, browser: &Browser, path: &str) -> Answer {
        self.at_application(browser).with("accept", "text/html").get(path).await
    }

    /// Sends bytes to the proxy as they are; the beginning of what comes back.
    async fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let whole = async {
            let mut buffer = [0; 16 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                answer.extend_from_slice(&buffer[..length]);
                if answer.windows(4).any(|part| part == b"\r\n\r\n") {
                    break;
                }
            }
        };
        timeout(PATIENCE, whole).await.expect("it answers");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The same, with a proxy that tells the port that it listens on.
    async fn holds_with_its_port(self) {
        self.a_client_does_not_say_which_port_it_came_to().await;
        self.holds().await;
    }

    /// Everything that every proxy has to do.
    async fn holds(mut self) {
        self.a_person_signs_in_and_is_out_with_the_next_request().await;
        self.the_session_is_handed_over_to_a_host_of_another_domain().await;
        self.what_a_client_sends_is_not_believed().await;
        self.tricks_with_paths_do_not_pass().await;
        self.a_websocket_is_checked_like_everything().await;
        self.what_kerria_cannot_know_does_not_pass().await;
        self.without_kerria_nothing_passes().await;
    }

    async fn a_person_signs_in_and_is_out_with_the_next_request(&self) {
        let mut browser = self.kerria.browser();
        let answer = self.open(&browser, "/public/x?y=z").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(answer.text.starts_with("GET /public/x?y=z HTTP/1.1"), "{}", answer.text);
        let answer = self.open(&browser, "/reports?a=b").await;
        assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text);
        let location = answer.header("location").unwrap().to_owned();
        let path = location.strip_prefix("http://localhost:8080").unwrap_or_else(|| panic!("{location}"));
        let kept = return_to(&browser.get(path).await);
        let fields = [("login", "alice"), ("password", PASSWORD), ("return_to", &*kept)];
        let answer = browser.submit(path, "/sign-in", &fields).await;
        assert_eq!(answer.header("location"), Some(&*format!("{}/reports?a=b", self.origin())));
        browser.cookies.insert("theme".to_owned(), "dark".to_owned());
        let answer = self.open(&browser, "/reports?a=b").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let user = browser.clone().get("/api/v1/user").await.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(told(&answer, "remote-user"), [user]);
        assert_eq!(told(&answer, "remote-name"), ["alice"]);
        assert_eq!(told(&answer, "remote-jwt")[0].split('.').count(), 3);
        assert_eq!(told(&answer, "cookie"), ["theme=dark"], "without our own");
        assert_eq!(answer.header("remote-jwt"), None, "{:?}", answer.headers);
        let answer = self.open(&browser, "/admin/").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
        assert!(answer.text.contains("You are signed in as alice"), "{}", answer.text);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("frame-ancestors 'none'"), "{:?}", answer.headers);
        let answer = self.at_application(&browser).send("POST", "/admin/", &json!({ "a": "b" })).await;
        assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "not-allowed".to_owned()));
        let bearer = {
            let mut program = self.kerria.program();
            let login = json!({ "login": "bob", "password": PASSWORD, "transport": "bearer" });
            let token = program.send("POST", "/api/v1/login", &login).await.json()["token"].clone();
            program.bearer = Some(token.as_str().unwrap().to_owned());
            program
        };
        let answer = self.at_application(&bearer).get("/").await;
        assert_eq!((answer.status, told(&answer, "remote-name")), (StatusCode::OK, vec!["bob".to_owned()]));
        assert!(told(&answer, "authorization").iter().all(String::is_empty), "{}", answer.text);
        change_groups(&self.kerria, "alice", &json!({ "join": ["admins"] })).await;
        let answer = self.open(&browser, "/admin/").await;
        assert_eq!(
            (answer.status, told(&answer, "remote-groups")),
            (StatusCode::OK, vec!["admins".to_owned()])
        );
        let thief = browser.thief();
        assert_eq!(self.open(&thief, "/reports").await.status, StatusCode::OK);
        browser.send("POST", "/api/v1/logout", &json!({})).await;
        let before = self.application.requests();
        assert_eq!(self.open(&thief, "/reports").await.status, StatusCode::FOUND);
        let answer = self.at_application(&thief).get("/reports").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm=\"kerria\""));
        assert_eq!(self.application.requests(), before);
    }

    async fn the_session_is_handed_over_to_a_host_of_another_domain(&self) {
        let mut alice = self.kerria.signed_in("alice").await;
        let origin = format!("http://{OTHER}:{}", self.proxy.address.port());
        // The cookies of that host are its own.
        let visitor = Browser {
            address: self.proxy.address,
            host: origin["http://".len()..].to_owned(),
            ..self.kerria.browser().with("accept", "text/html")
        };
        let mut visiting = visitor.clone();
        let before = self.application.requests();
        let answer = visiting.get("/page?a=b").await;
        assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text);
        let away = answer.header("location").unwrap().to_owned();
        let path = away.strip_prefix("http://localhost:8080").unwrap_or_else(|| panic!("{away}"));
        let code = alice.get(path).await.header("location").unwrap().to_owned();
        let path = code.strip_prefix(&origin).unwrap_or_else(|| panic!("{code}"));
        let answer = visiting.get(path).await;
        assert_eq!(answer.header("location"), Some(&*format!("{origin}/page?a=b")), "{}", answer.text);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let again = visitor.clone().get(path).await;
        assert_eq!((again.status, again.set_cookies().len()), (StatusCode::FORBIDDEN, 0), "{}", again.text);
        assert!(again.text.contains("You are not signed in here"), "{}", again.text);
        assert_eq!(self.application.requests(), before, "it has heard nothing of all this");
        let answer = visiting.get("/page?a=b").await;
        assert_eq!((answer.status, told(&answer, "remote-name")), (StatusCode::OK, vec!["alice".to_owned()]));
        assert!(told(&answer, "cookie").iter().all(String::is_empty), "{}", answer.text);
        alice.send("POST", "/api/v1/logout", &json!({})).await;
        assert_eq!(visiting.get("/page?a=b").await.status, StatusCode::FOUND);
    }

    async fn what_a_client_sends_is_not_believed(&self) {
        let bob = self.at_application(&self.kerria.signed_in("bob").await);
        let known = told(&bob.clone().get("/").await, "remote-user");
        for (name, value) in [
            ("Remote-User", "alice"),
            ("remote_user", "alice"),
            ("REMOTE-USER", "alice"),
            ("Remote_User", "alice"),
            ("remote.user", "alice"),
            ("Remote-Groups", "admins"),
            ("remote_groups", "admins"),
            ("Remote-Jwt", "a.b.c"),
        ] {
            for browser in [bob.with(name, value), bob.with(name, value).with(name, "carol")] {
                let answer = browser.clone().get("/").await;
                let is_refused = answer.status.is_client_error();
                let is_told_right =
                    told(&answer, "remote-user") == known && told(&answer, "remote_user").is_empty();
                assert!(is_refused || is_told_right, "{name}: {} {}", answer.status, answer.text);
                let of_client =
                    answer.text.lines().any(|line| line.ends_with(": alice") || line.ends_with(": admins"));
                assert!(!of_client && !answer.text.contains("a.b.c"), "{name}: {}", answer.text);
            }
            let stranger = self.at_application(&self.kerria.browser()).with(name, value);
            let answer = stranger.clone().get("/public/").await;
            assert!(!answer.text.contains(value), "{name}: {}", answer.text);
            assert_ne!(stranger.clone().get("/").await.status, StatusCode::OK, "{name}");
        }
        // Whoever has the headers of the identity dropped on the way is nobody, at best.
        for connection in
            ["Remote-User", "close, Remote-User, Cookie, Remote-Jwt", "X-Forwarded-Uri", "X-Original-URL"]
        {
            let answer = bob.with("connection", connection).get("/").await;
            let user = told(&answer, "remote-user");
            assert!(user.is_empty() || user == known, "{connection}: {}", answer.text);
        }
        // The path of another request.
        for (name, value) in [
            ("X-Forwarded-Uri", "/public/"),
            ("X-Forwarded-Method", "OPTIONS"),
            ("X-Forwarded-Host", "open.example"),
            ("X-Forwarded-Proto", "https"),
            ("X-Original-URL", "http://localhost/public/"),
            ("X-Original-URI", "/public/"),
            ("X-Rewrite-URL", "/public/"),
            ("X-Forwarded-For", "127.0.0.1"),
        ] {
            let stranger = self.at_application(&self.kerria.browser()).with(name, value);
            let answer = stranger.clone().get("/reports").await;
            assert_ne!(answer.status, StatusCode::OK, "{name}: {}", answer.text);
            let answer = stranger.with("accept", "text/html").get("/reports").await;
            let location = answer.header("location").unwrap_or_default();
            assert!(!location.contains("open.example") && !location.contains("https"), "{name}: {location}");
        }
        // What some applications would take for another path.
        for name in ["X-Original-URL", "x.original.url", "x_rewrite_url"] {
            let answer = bob.with(name, "/admin/").get("/").await;
            assert!(!answer.text.contains("/admin/"), "{name}: {}", answer.text);
        }
        for name in ["X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Proto"] {
            let answer = bob.with(name, "/of-the-client").get("/").await;
            assert!(!answer.text.contains("of-the-client"), "{name}: {}", answer.text);
        }
        let (host, before) = (&bob.host, self.application.requests());
        for request in [
            "GET /x HTTP/1.1\r\nHost: open.example\r\nConnection: close\r\n\r\n".to_owned(),
            format!("GET http://open.example/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            format!("GET /x HTTP/1.1\r\nHost: {host}\r\nHost: open.example\r\nConnection: close\r\n\r\n"),
            format!("GET http://{host}/x HTTP/1.1\r\nHost: open.example\r\nConnection: close\r\n\r\n"),
        ] {
            self.raw(&request).await;
            assert_eq!(self.application.requests(), before, "{request}");
        }
    }

    async fn a_client_does_not_say_which_port_it_came_to(&self) {
        for host in ["localhost", "localhost:9"] {
            let request = format!(
                "GET /reports HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
            );
            let answer = self.raw(&request).await;
            let own = format!("localhost%3A{}%2F", self.proxy.address.port());
            let is_right = answer.starts_with("HTTP/1.1 302") && answer.contains(&own);
            let is_refused = answer.starts_with("HTTP/1.1 4") && !answer.contains("return_to");
            assert!(is_right || is_refused, "{host}: {answer}");
        }
    }

    async fn tricks_with_paths_do_not_pass(&self) {
        let bob = self.kerria.signed_in("bob").await;
        let cookie = format!("kerria={}", bob.token());
        let host = &self.at_application(&bob).host;
        for path in [
            "/admin",
            "/admin/",
            "/public/../admin",
            "/public/..%2fadmin",
            "/public/%2e%2e/admin",
            "/public/.%2e/admin",
            "//admin",
            "/public//..//admin",
            "/./admin",
            "/%61dmin",
            "/%2561dmin",
            "/Admin",
            "/admin;x",
            "/public;/../admin",
            "/public\\..\\admin",
            "/public/%5c..%5cadmin",
            "/admin%00",
            "/admin%",
            "/admin?/public/",
            "/admin#/public/",
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            );
            let answer = self.raw(&request).await;
            assert!(!answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
        let answer = self.at_application(&bob).get("/elsewhere?x=/../admin//%2f").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(answer.text.starts_with("GET /elsewhere?x=/../admin//%2f HTTP/1.1"), "{}", answer.text);
    }

    async fn a_websocket_is_checked_like_everything(&self) {
        let bob = self.kerria.signed_in("bob").await;
        let host = &self.at_application(&bob).host;
        let opening = |cookie: &str| {
            format!(
                "GET /live HTTP/1.1\r\nHost: {host}\r\n{cookie}Connection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAccept: text/html\r\n\r\n"
            )
        };
        let signed_in = self.raw(&opening(&format!("Cookie: kerria={}\r\n", bob.token()))).await;
        assert!(signed_in.starts_with("HTTP/1.1 101"), "{signed_in}");
        let closing = opening("").replace("Connection: Upgrade", "Connection: Upgrade, close");
        let before = self.application.requests();
        let mut stream = TcpStream::connect(self.proxy.address).await.unwrap();
        stream.write_all(closing.as_bytes()).await.unwrap();
        let mut beginning = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut beginning)).await.expect("it answers").unwrap();
        assert_eq!(String::from_utf8_lossy(&beginning), "HTTP/1.1 401");
        assert_eq!(self.application.requests(), before);
    }

    async fn what_kerria_cannot_know_does_not_pass(&self) {
        let alice = self.kerria.signed_in("alice").await;
        assert_eq!(self.open(&alice, "/").await.status, StatusCode::OK);
        self.kerria.store.fail(Steps::All);
        let stranger =
            self.kerria.browser().with("cookie", &format!("kerria={}", self.a_token_not_in_memory().await));
        let answer = self.open(&stranger, "/").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
        self.kerria.store.mend();
    }

    async fn without_kerria_nothing_passes(&mut self) {
        let alice = self.kerria.signed_in("alice").await;
        self.kerria.stop().await;
        let before = self.application.requests();
        for path in ["/", "/public/"] {
            let answer = self.open(&alice, path).await;
            assert!(answer.status.is_server_error(), "{}", answer.status);
        }
        assert_eq!(self.application.requests(), before);
    }

    /// A token that this installation could have written, of no session.
    async fn a_token_not_in_memory(&self) -> String {
        use kerria_core::{Token, TokenKind};
        let token = Token::random(TokenKind::Session, &*self.kerria.app.entropy);
        token.write(self.kerria.app.checker.key()).expose().clone()
    }
}

/// What the application was told under this name.
fn told(answer: &Answer, name: &str) -> Vec<String> {
    let lines = answer.text.lines().skip(1).filter_map(|line| line.split_once(':'));
    let of_name = lines.filter(|(line, _)| line.eq_ignore_ascii_case(name));
    of_name.map(|(_, value)| value.trim().to_owned()).collect()
}

#[tokio::test]
async fn nginx_lets_through_what_kerria_does_and_nothing_else() {
    Place::with(Proxy::nginx).await.holds_with_its_port().await;
}

#[tokio::test]
async fn caddy_lets_through_what_kerria_does_and_nothing_else() {
    Place::with(Proxy::caddy).await.holds_with_its_port().await;
}

#[tokio::test]
async fn haproxy_lets_through_what_kerria_does_and_nothing_else() {
    Place::with(Proxy::haproxy).await.holds_with_its_port().await;
}

#[tokio::test]
async fn apache_lets_through_what_kerria_does_and_nothing_else() {
    Place::with(Proxy::apache).await.holds_with_its_port().await;
}

#[tokio::test]
async fn envoy_lets_through_what_kerria_does_and_nothing_else() {
    if envoy().is_none() {
        eprintln!("not tested: the variable ENVOY names no Envoy; scripts/test installs one");
        return;
    }
    Place::with(Proxy::envoy).await.holds_with_its_port().await;
}

#[tokio::test]
async fn traefik_lets_through_what_kerria_does_and_nothing_else() {
    if traefik().is_none() {
        eprintln!("not tested: the variable TRAEFIK names no Traefik; scripts/test installs one");
        return;
    }
    Place::with(Proxy::traefik).await.holds().await;
}
