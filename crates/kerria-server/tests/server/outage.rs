//! When the store fails: nobody is signed out, nothing is claimed, and all is well when it is back.

use hyper::StatusCode;
use kerria::testing::Steps;
use serde_json::json;

use crate::cast::{Answer, Browser, Kerria, OTHER_PASSWORD, PASSWORD};

fn is_honest(answer: &Answer, what: &str) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {}", answer.text);
    assert_eq!(answer.header("retry-after"), Some("1"), "{what}");
    assert_eq!(answer.set_cookies(), [""; 0], "{what}");
    assert_eq!(answer.header("clear-site-data"), None, "{what}");
}

/// A server that has just started, on which Alice carries a session that is not in memory.
async fn not_in_memory() -> (Kerria, Browser) {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let cookies = kerria.signed_in("alice").await.cookies;
    let kerria = kerria.restart().await;
    let browser = Browser { cookies, ..kerria.browser() };
    (kerria, browser)
}

#[tokio::test]
async fn a_session_that_cannot_be_looked_at_is_neither_good_nor_over() {
    let (kerria, mut browser) = not_in_memory().await;
    kerria.store.fail(Steps::All);
    for path in ["/sessions", "/account", "/confirm", "/account/delete"] {
        let page = browser.get(path).await;
        is_honest(&page, path);
        assert!(page.text.contains("You are not signed out."), "{path}");
    }
    for path in
        ["/api/v1/session", "/api/v1/sessions", "/api/v1/user", "/session/events", "/api/v1/session/data/k"]
    {
        let answer = browser.get(path).await;
        is_honest(&answer, path);
        assert_eq!(answer.problem(), "unavailable", "{path}");
    }
    for (method, path) in
        [("POST", "/api/v1/logout"), ("PUT", "/api/v1/session/data/k"), ("DELETE", "/api/v1/user")]
    {
        is_honest(&browser.send(method, path, &json!({})).await, path);
    }
    is_honest(&browser.post_form("/sign-out", &[]).await, "/sign-out");
    assert_eq!(browser.get("/").await.header("location"), Some("/sessions"), "not to the sign-in");
    assert_eq!(kerria.browser().get("/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    kerria.store.mend();
    assert!(browser.is_signed_in().await, "at once");
}

#[tokio::test]
async fn what_is_public_stays_there() {
    let (kerria, browser) = not_in_memory().await;
    kerria.store.fail(Steps::All);
    for mut visitor in [kerria.browser(), browser] {
        for path in ["/sign-in", "/signed-out", "/health/live", "/assets/kerria.css", "/api/v1/openapi.json"]
        {
            let answer = visitor.get(path).await;
            assert_eq!((answer.status, answer.set_cookies()), (StatusCode::OK, vec![]), "{path}");
        }
        assert_eq!(visitor.get("/nothing").await.status, StatusCode::NOT_FOUND);
        assert_eq!(visitor.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    kerria.store.mend();
    assert_eq!(kerria.browser().get("/health/ready").await.status, StatusCode::OK);
}

#[tokio::test]
async fn sessions_in_memory_go_on_being_checked() {
    let (kerria, mut browser) = not_in_memory().await;
    assert!(browser.is_signed_in().await);
    kerria.store.fail(Steps::All);
    for _ in 0..10 {
        assert!(browser.is_signed_in().await);
    }
    let before = browser.token();
    for (method, path) in [
        ("POST", "/api/v1/logout"),
        ("DELETE", "/api/v1/sessions?scope=all"),
        ("DELETE", "/api/v1/user"),
        ("PUT", "/api/v1/session/data/k"),
    ] {
        is_honest(&browser.send(method, path, &json!({})).await, path);
    }
    let page = browser.sent_from(None).with("origin", "http://localhost:8080");
    let token = browser.csrf_token().await;
    is_honest(&page.clone().post_form("/sign-out", &[("csrf_token", &token)]).await, "/sign-out");
    for (method, path, body) in [
        ("POST", "/api/v1/session/step-up", json!({ "password": PASSWORD })),
        ("PUT", "/api/v1/password", json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD })),
    ] {
        is_honest(&browser.send(method, path, &body).await, path);
    }
    assert_eq!(browser.token(), before);
    assert!(browser.is_signed_in().await, "what was not done was not said to be done");
    kerria.store.mend();
    assert!(browser.is_signed_in().await);
    assert_eq!(browser.send("POST", "/api/v1/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn a_sign_in_that_is_not_committed_is_none() {
    let kerria = Kerria::with(&[("sign_up.mode", "open")]).await;
    kerria.user("alice").await;
    for steps in
        [Steps::All, Steps::Of("credentials"), Steps::Of("knock"), Steps::Of("open"), Steps::Of("take_back")]
    {
        kerria.store.fail(steps);
        let mut browser = kerria.browser();
        is_honest(&browser.sign_in("alice", PASSWORD).await, &format!("{steps:?}"));
        let fields = [("login", "alice"), ("password", PASSWORD)];
        is_honest(&browser.post_form("/sign-in", &fields).await, &format!("{steps:?}"));
    }
    for steps in [Steps::All, Steps::Of("create_user")] {
        kerria.store.fail(steps);
        let account = json!({ "name": "bob", "password": PASSWORD });
        is_honest(&kerria.browser().send("POST", "/api/v1/users", &account).await, &format!("{steps:?}"));
    }
    kerria.store.mend();
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 0);
    assert_eq!(kerria.count("SELECT count(*) FROM account"), 1);
    assert!(kerria.signed_in("alice").await.is_signed_in().await);
}

#[tokio::test]
async fn a_session_that_stands_is_handed_over_even_if_its_device_cannot_be_marked() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.store.fail(Steps::Of("know_device"));
    let mut browser = kerria.browser();
    let answer = browser.sign_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(browser.is_signed_in().await && !browser.cookies.contains_key("kerria-device"));
}

#[tokio::test]
async fn an_end_that_is_not_committed_is_none() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    let path = format!("/api/v1/sessions/{}", phone.handle().await);
    kerria.store.fail(Steps::Of("revoke"));
    is_honest(&laptop.delete(&path).await, "ending another session");
    is_honest(&laptop.send("POST", "/api/v1/logout", &json!({})).await, "signing out");
    is_honest(&laptop.submit("/sessions", "/sign-out", &[]).await, "the page");
    let everyone = json!({ "selector": { "kind": "everyone" } });
    is_honest(
        &kerria.operator().send("POST", "/api/v1/operator/revocations", &everyone).await,
        "the operator",
    );
    kerria.store.fail(Steps::Of("set_status"));
    is_honest(
        &kerria.operator().send("POST", "/api/v1/operator/users/alice/disable", &json!({})).await,
        "disable",
    );
    kerria.store.mend();
    assert!(laptop.is_signed_in().await && phone.is_signed_in().await);
    assert_eq!(laptop.delete(&path).await.json()["ended"], 1);
    assert!(!phone.is_signed_in().await);
}

#[tokio::test]
async fn garbage_needs_no_store_to_be_refused() {
    let kerria = Kerria::start().await;
    kerria.store.fail(Steps::All);
    let mut browser = kerria.browser();
    browser.cookies.insert("kerria".to_owned(), "kst_garbage".to_owned());
    assert_eq!(browser.get("/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/sign-in").await.status, StatusCode::OK);
}
