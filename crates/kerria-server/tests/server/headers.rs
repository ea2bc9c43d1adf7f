//! What every response says, and what an open tab is told.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::cast::{Answer, Kerria, OTHER_PASSWORD, PASSWORD, PATIENCE};

fn is_protected(answer: &Answer, what: &str) {
    let says = |name: &str| answer.header(name).unwrap_or_else(|| panic!("{what} says nothing of {name}"));
    assert_eq!(says("x-content-type-options"), "nosniff", "{what}");
    assert_eq!(says("referrer-policy"), "same-origin", "{what}");
    assert_eq!(says("cross-origin-opener-policy"), "same-origin", "{what}");
    let policy = says("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{what}: {policy}"
    );
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{what}: {policy}");
    for name in ["server", "x-powered-by", "access-control-allow-origin"] {
        assert_eq!(answer.header(name), None, "{what}");
    }
}

#[tokio::test]
async fn every_response_is_protected_and_none_is_kept() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let mut stranger = kerria.browser();
    let mut operator = kerria.operator();
    let (html, json_type, problem) =
        ("text/html; charset=utf-8", "application/json", "application/problem+json");
    let large = "x".repeat(70_000);
    let form = "application/x-www-form-urlencoded";
    for (answer, content_type) in [
        (stranger.get("/sign-in").await, Some(html)),
        (stranger.get("/").await, None),
        (stranger.get("/account").await, None),
        (stranger.get("/nothing").await, Some(html)),
        (stranger.get("/sign-out").await, Some(html)),
        (stranger.get("/api/v1/nothing").await, Some(problem)),
        (stranger.get("/api/v1/login").await, Some(problem)),
        (stranger.get("/api/v1/session").await, Some(problem)),
        (stranger.get("/api/v1/openapi.json").await, Some(json_type)),
        (stranger.get("/health/live").await, Some("text/plain; charset=utf-8")),
        (stranger.get("/metrics").await, Some(problem)),
        (stranger.get("/assets/nothing").await, None),
        (stranger.request("POST", "/sign-in", Some(form), large.clone()).await, Some(html)),
        (stranger.request("POST", "/api/v1/login", Some(json_type), large).await, Some(problem)),
        (stranger.request("OPTIONS", "/api/v1/session", None, String::new()).await, Some(problem)),
        (stranger.request("TRACE", "/", None, String::new()).await, Some(html)),
        (stranger.sign_in("alice", OTHER_PASSWORD).await, Some(problem)),
        (browser.get("/sessions").await, Some(html)),
        (browser.get("/account").await, Some(html)),
        (browser.get("/api/v1/session").await, Some(json_type)),
        (browser.get("/api/v1/sessions").await, Some(json_type)),
        (browser.send("PUT", "/api/v1/session/data/k", &json!(1)).await, Some(json_type)),
        (operator.get("/api/v1/operator/users").await, Some(json_type)),
        (operator.get("/metrics").await, Some("application/openmetrics-text; version=1.0.0; charset=utf-8")),
        (browser.send("POST", "/api/v1/logout", &json!({})).await, None),
    ] {
        let what = format!("{} {}", answer.status, &answer.text[..answer.text.len().min(200)]);
        is_protected(&answer, &what);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(answer.header("content-type"), content_type, "{what}");
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_change_their_address_when_they_change() {
    let kerria = Kerria::start().await;
    let page = kerria.browser().get("/sign-in").await.text;
    let style = page.split('"').find(|part| part.starts_with("/assets/kerria.css?v=")).unwrap();
    for (path, content_type) in [
        (style, "text/css; charset=utf-8"),
        ("/assets/kerria.js", "text/javascript; charset=utf-8"),
        ("/favicon.ico", "image/svg+xml"),
    ] {
        let answer = kerria.browser().get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, Some(content_type)));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        is_protected(&answer, path);
        let again = kerria.browser().with("if-none-match", answer.header("etag").unwrap()).get(path).await;
        assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(answer.set_cookies(), [""; 0]);
    }
}

#[tokio::test]
async fn a_page_of_an_ended_session_is_never_not_modified() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let page = browser.get("/sessions").await;
    assert_eq!((page.header("etag"), page.header("last-modified")), (None, None));
    let stale = browser.thief();
    let answer = browser.submit("/sessions", "/sign-out", &[]).await;
    assert_eq!(answer.header("clear-site-data"), Some("\"cache\""));
    let again = stale.with("if-none-match", "*").with("if-modified-since", "Fri, 15 Jan 2027 08:00:00 GMT");
    assert_eq!(again.clone().get("/sessions").await.status, StatusCode::SEE_OTHER);
    assert_eq!(again.clone().get("/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_form_may_lead_to_the_configured_origins() {
    let kerria = Kerria::with(&[("return_to_origins", "https://shop.example")]).await;
    let page = kerria.browser().get("/sign-in").await;
    assert!(
        page.header("content-security-policy").unwrap().contains("form-action 'self' https://shop.example;")
    );
}

#[tokio::test]
async fn an_open_tab_is_told_why_its_session_has_ended() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let mut operator = kerria.operator();
    for (reason, password) in [
        ("signed_out", PASSWORD),
        ("ended_by_user", PASSWORD),
        ("replaced", PASSWORD),
        ("password_changed", PASSWORD),
        ("user_disabled", OTHER_PASSWORD),
        ("operator", OTHER_PASSWORD),
        ("user_deleted", OTHER_PASSWORD),
    ] {
        let mut phone = kerria.browser();
        assert_eq!(phone.sign_in("alice", password).await.status, StatusCode::OK, "{reason}");
        let (mut one, mut other) = (phone.watch().await, phone.watch().await);
        assert_eq!(one.next().await.unwrap().0, "hello");
        assert_eq!(other.next().await.unwrap().0, "hello");
        match reason {
            "signed_out" => drop(phone.send("POST", "/api/v1/logout", &json!({})).await),
            "ended_by_user" => drop(laptop.delete("/api/v1/sessions?scope=others").await),
            "replaced" => drop(phone.sign_in("alice", PASSWORD).await),
            "password_changed" => {
                let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
                assert_eq!(laptop.send("PUT", "/api/v1/password", &change).await.status, StatusCode::OK);
            }
            "user_disabled" => {
                operator.send("POST", "/api/v1/operator/users/alice/disable", &json!({})).await;
                operator.send("POST", "/api/v1/operator/users/alice/enable", &json!({})).await;
            }
            "operator" => {
                let everyone = json!({ "selector": { "kind": "everyone" } });
                operator.send("POST", "/api/v1/operator/revocations", &everyone).await;
            }
            _ => drop(operator.delete("/api/v1/operator/users/alice").await),
        }
        for watcher in [&mut one, &mut other] {
            assert_eq!(watcher.reason().await, reason);
            assert!(watcher.next().await.is_none(), "then the stream is over");
        }
    }
    assert_eq!(kerria.metric("kerria_open_streams").await, 0.0);
}

#[tokio::test]
async fn an_open_tab_hears_nothing_of_other_sessions() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.user("bob").await;
    let mut laptop = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    let bob = kerria.signed_in("bob").await;
    let (mut of_laptop, mut of_phone, mut of_bob) =
        (laptop.watch().await, phone.watch().await, bob.watch().await);
    for watcher in [&mut of_laptop, &mut of_phone, &mut of_bob] {
        assert_eq!(watcher.next().await.unwrap().0, "hello");
    }
    assert_eq!(kerria.metric("kerria_open_streams").await, 3.0);
    laptop.delete("/api/v1/sessions?scope=others").await;
    assert_eq!(of_phone.reason().await, "ended_by_user");
    laptop.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    kerria.operator().delete("/api/v1/operator/users/bob").await;
    assert_eq!(of_bob.reason().await, "user_deleted");
    laptop.send("POST", "/api/v1/logout", &json!({})).await;
    assert_eq!(of_laptop.reason().await, "signed_out", "and a new token was no end");
}

#[tokio::test]
async fn an_open_tab_is_told_of_the_expiry_and_not_before() {
    let kerria =
        Kerria::with(&[("session.idle_timeout", "1s"), ("session.last_seen_precision", "250ms")]).await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let mut watcher = browser.watch().await;
    assert_eq!(watcher.next().await.unwrap().0, "hello");
    // Another tab gives the session a new token, and goes on using it.
    browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    for _ in 0..3 {
        kerria.clock.advance(Duration::from_millis(900));
        assert!(browser.is_signed_in().await);
    }
    let early = timeout(Duration::from_millis(1_300), watcher.next()).await;
    assert!(early.is_err(), "told too early: {early:?}");
    kerria.clock.advance(Duration::from_secs(1));
    assert_eq!(watcher.reason().await, "expired");
}

#[tokio::test]
async fn an_open_stream_is_not_kept_by_caches_and_needs_a_session() {
    let kerria = Kerria::start().await;
    assert_eq!(kerria.browser().get("/session/events").await.status, StatusCode::UNAUTHORIZED);
    let mut visitor = kerria.browser();
    visitor.send("PUT", "/api/v1/session/data/cart", &json!(1)).await;
    let watcher = visitor.watch().await;
    assert_eq!(watcher.headers["content-type"], "text/event-stream");
    assert_eq!(watcher.headers["cache-control"], "no-store");
    assert_eq!(watcher.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn the_server_stops_in_good_order_while_tabs_are_open() {
    let mut kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let mut watcher = browser.watch().await;
    assert_eq!(watcher.next().await.unwrap().0, "hello");
    timeout(PATIENCE / 2, kerria.stop()).await.expect("it does not wait for the tab");
    assert!(watcher.next().await.is_none(), "a stop is not an end of the session");
    assert!(!kerria.app.config.data_dir.join("kerria.sock").exists());
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 1);
}
