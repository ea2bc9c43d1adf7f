//! What is bounded: sessions of a user, and what one client can do to others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use hyper::StatusCode;
use kerria::{ManualClock, Stopwatch, SystemEntropy, testing::Steps};
use kerria_core::{Clock, Timestamp};
use kerria_server::{
    app::{App, Edge},
    serve::Server,
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::cast::{Kerria, PASSWORD};

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn end_everything(kerria: &Kerria) {
    let everyone = json!({ "selector": { "kind": "everyone" } });
    let answer = kerria.operator().send("POST", "/api/v1/operator/revocations", &everyone).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn at_the_limit_one_more_is_refused_until_a_place_is_free() {
    let kerria = Kerria::with(&[("session.limit_per_user", "2"), ("session.at_limit", "refuse")]).await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let mut phone = kerria.signed_in("alice").await;
    let mut tablet = kerria.browser();
    let answer = tablet.sign_in("alice", PASSWORD).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::CONFLICT, "session-limit".to_owned()));
    assert_eq!(answer.set_cookies(), [""; 0]);
    let page = tablet.submit("/sign-in", "/sign-in", &[("login", "alice"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(laptop.is_signed_in().await && phone.is_signed_in().await);
    assert_eq!(laptop.sign_in("alice", PASSWORD).await.status, StatusCode::OK, "it takes its own place");
    phone.send("POST", "/api/v1/logout", &json!({})).await;
    assert_eq!(tablet.sign_in("alice", PASSWORD).await.status, StatusCode::OK);
    kerria.clock.advance(3 * HOUR);
    let mut other = kerria.browser();
    assert_eq!(other.sign_in("alice", PASSWORD).await.status, StatusCode::OK, "what is over takes no place");
}

#[tokio::test]
async fn at_the_limit_one_more_ends_the_oldest() {
    let kerria = Kerria::with(&[("session.limit_per_user", "2")]).await;
    kerria.user("alice").await;
    kerria.user("bob").await;
    let bob = kerria.signed_in("bob").await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(kerria.signed_in("alice").await);
        kerria.clock.advance(Duration::from_secs(1));
        // Use does not make it younger.
        assert!(all[0].is_signed_in().await || all.len() > 2);
    }
    let mut alive = Vec::new();
    for browser in &all {
        alive.push(browser.is_signed_in().await);
    }
    assert_eq!(alive, [false, false, true, true]);
    assert!(bob.is_signed_in().await);
}

#[tokio::test]
async fn with_a_limit_of_one_a_user_is_signed_in_at_one_place() {
    let kerria = Kerria::with(&[("session.limit_per_user", "1")]).await;
    kerria.user("alice").await;
    let laptop = kerria.signed_in("alice").await;
    let mut watching = laptop.watch().await;
    assert_eq!(watching.next().await.unwrap().0, "hello");
    let phone = kerria.signed_in("alice").await;
    assert!(!laptop.is_signed_in().await && phone.is_signed_in().await);
    assert_eq!(watching.reason().await, "limit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_exact_when_many_sign_in_at_once() {
    for (at_limit, rounds) in [("refuse", 15), ("end-oldest", 15)] {
        let kerria = Kerria::with(&[("session.limit_per_user", "3"), ("session.at_limit", at_limit)]).await;
        kerria.user("alice").await;
        for _ in 0..rounds {
            let logins: Vec<_> = (0..8)
                .map(|_| {
                    let mut browser = kerria.browser();
                    tokio::spawn(async move { (browser.sign_in("alice", PASSWORD).await.status, browser) })
                })
                .collect();
            let (mut opened, mut alive) = (0, 0);
            for login in join_all(logins).await {
                let (status, browser) = login.unwrap();
                opened += u32::from(status == StatusCode::OK);
                alive += u32::from(browser.is_signed_in().await);
            }
            assert_eq!(alive, 3, "{at_limit}");
            assert_eq!(opened, if at_limit == "refuse" { 3 } else { 8 });
            assert_eq!(kerria.count("SELECT count(*) FROM session"), 3);
            end_everything(&kerria).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let large = json!("x".repeat(64 * 1024));
    let answer = browser.send("PUT", "/api/v1/session/data/cart", &large).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "too-large".to_owned()));
    let fields = [("login", "alice"), ("password", &*"x".repeat(70_000))];
    let page = kerria.browser().post_form("/sign-in", &fields).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    let user = json!({ "name": "x".repeat(70_000), "password": PASSWORD });
    let answer = kerria.operator().send("POST", "/api/v1/operator/users", &user).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let kerria = Kerria::start().await;
    let bomb = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    // What is beyond the limit is not read, and a connection that is closed over unread bytes may lose its answer.
    assert!(kerria.raw(&bomb.as_bytes()[..32 * 1024]).await.starts_with("HTTP/1.1 431"));
    assert!(!kerria.raw(bomb.as_bytes()).await.contains(" 200 "));
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = kerria.raw(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let fits = format!(
        "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {}\r\n\r\n",
        "x".repeat(31 * 1024)
    );
    assert!(kerria.raw(fits.as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_is_slow_is_sent_away_and_holds_up_nobody() {
    let kerria = Kerria::with(&[("server.header_timeout", "1s"), ("server.request_timeout", "1s")]).await;
    kerria.user("alice").await;
    let started = Stopwatch::start();
    let slow_body = b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let slow_form = b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na";
    let others = async {
        for _ in 0..20 {
            assert!(kerria.signed_in("alice").await.is_signed_in().await);
        }
    };
    let (silent, header, body, form, ()) = tokio::join!(
        kerria.raw(b""),
        kerria.raw(b"GET / HTTP/1.1\r\nHost:"),
        kerria.raw(slow_body),
        kerria.raw(slow_form),
        others
    );
    assert!(!silent.contains("200") && !header.contains("200"), "{silent} {header}");
    assert!(body.starts_with("HTTP/1.1 408") && form.starts_with("HTTP/1.1 408"), "{body} {form}");
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn nonsense_is_the_clients_fault() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let wide = format!("{{{}}}", (0..2_000).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(","));
    for body in
        ["", "{", "null", "[]", "\"x\"", "{\"login\":1}", "1e999", "{\"a\":1}{", &deep, &wide, "\u{0}"]
    {
        for (method, path) in
            [("POST", "/api/v1/login"), ("POST", "/api/v1/session/data/k"), ("PUT", "/api/v1/password")]
        {
            let answer = browser.request(method, path, Some("application/json"), body.to_owned()).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{method} {path} {}",
                &body[..body.len().min(30)]
            );
            assert_eq!(answer.problem(), "bad-request");
        }
    }
    let answer = browser.request("PUT", "/api/v1/session/data/k", Some("application/json"), deep).await;
    assert!(answer.status.is_client_error());
    for query in ["?scope=", "?scope=x", "", "?scope=all&scope=others", "?scope=%ff", "?other=1"] {
        let answer = browser.delete(&format!("/api/v1/sessions{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}: {}", answer.text);
    }
    for path in [
        "/api/v1/session/data/%ff",
        "/sessions/%ff/end",
        "/api/v1/sessions/%ff",
        "/%ff",
        "/?%ff=%ff",
        "/assets/%ff",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = browser.request(method, path, None, String::new()).await;
            assert!(!answer.status.is_server_error(), "{method} {path}: {}", answer.status);
        }
    }
    for (path, content_type, body) in [
        ("/api/v1/login", "application/json", &b"{\"login\":\"\xff\xfe\"}"[..]),
        ("/sign-in", "application/x-www-form-urlencoded", b"login=\xff%ff%zz&password=x"),
    ] {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = kerria.raw(&[head.as_bytes(), body].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn a_malformed_authorization_is_no_authorization() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "bearer x",
        "Bearer x y",
        "Basic",
        "Digest a=b",
        "\u{e9}",
        &"x".repeat(9_000),
    ] {
        let without = kerria.program().with("authorization", value).get("/api/v1/session").await;
        assert_eq!(without.status, StatusCode::UNAUTHORIZED, "{value}");
        let operator = kerria.program().with("authorization", value).get("/api/v1/operator/users").await;
        assert_eq!(operator.status, StatusCode::UNAUTHORIZED, "{value}");
    }
    let twice = browser.with("authorization", "Bearer x").with("authorization", "Bearer y");
    assert!(!twice.is_signed_in().await);
    assert!(browser.with("authorization", "Basic eDp5").is_signed_in().await, "of a proxy, perhaps");
}

/// A clock that is broken when it is told to be.
struct Fragile {
    clock: ManualClock,
    is_broken: AtomicBool,
}

impl Clock for Fragile {
    fn now(&self) -> Timestamp {
        assert!(!self.is_broken.load(Relaxed), "the clock was told to break");
        self.clock.now()
    }
}

#[tokio::test]
async fn a_check_that_panics_harms_nobody_else() {
    let mut kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.stop().await;
    let clock = Arc::new(Fragile { clock: ManualClock::new(kerria.clock.now()), is_broken: false.into() });
    let edge = Edge { clock: Arc::clone(&clock) as Arc<dyn Clock>, entropy: Arc::new(SystemEntropy) };
    let store = Arc::clone(&kerria.store) as _;
    let app = App::over(kerria.app.config.clone(), store, edge).await.unwrap();
    let server = Server::start(Arc::clone(&app), TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
    alice.address = server.address;
    assert!(alice.is_signed_in().await);
    clock.is_broken.store(true, Relaxed);
    let answer = alice.get("/api/v1/session").await;
    clock.is_broken.store(false, Relaxed);
    assert_eq!(
        (answer.status, answer.problem()),
        (StatusCode::INTERNAL_SERVER_ERROR, "internal-error".to_owned())
    );
    assert_eq!((answer.header("cache-control"), answer.set_cookies()), (Some("no-store"), vec![]));
    assert!(alice.is_signed_in().await);
    assert_eq!(app.metrics.http_requests.of(500).get(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_harms_nobody_else() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    kerria.store.panic(Steps::Of("sessions_of"));
    for path in ["/api/v1/sessions", "/sessions"] {
        let answer = browser.get(path).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::INTERNAL_SERVER_ERROR, "internal-error".to_owned())
        );
        assert!(!answer.text.contains("panic") && answer.set_cookies().is_empty());
    }
    assert!(browser.is_signed_in().await);
    kerria.store.mend();
    assert_eq!(browser.get("/api/v1/sessions").await.status, StatusCode::OK);
    assert_eq!(kerria.metric("kerria_http_requests_total{status=\"5xx\"}").await, 2.0);
}
