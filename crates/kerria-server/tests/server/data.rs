//! Session data: a cart, the last form.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::cast::{Answer, Browser, Kerria, PASSWORD};

async fn put(browser: &mut Browser, key: &str, value: Value) -> Answer {
    browser.send("PUT", &format!("/api/v1/session/data/{key}"), &value).await
}

async fn add(browser: &mut Browser, key: &str, number: i64) -> Answer {
    browser.send("POST", &format!("/api/v1/session/data/{key}"), &json!({ "increment": number })).await
}

async fn get(browser: &Browser, key: &str) -> Option<Value> {
    let answer = browser.clone().get(&format!("/api/v1/session/data/{key}")).await;
    (answer.status == StatusCode::OK).then(|| answer.json())
}

#[tokio::test]
async fn what_is_put_is_got_until_it_is_removed() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    for value in [json!(null), json!([1, "two", { "three": 3.5 }]), json!("\u{0}\"é山\u{1f338}"), json!(-7)]
    {
        assert_eq!(put(&mut browser, "cart", value.clone()).await.json(), value);
        assert_eq!(get(&browser, "cart").await, Some(value));
    }
    assert_eq!(add(&mut browser, "cart", 10).await.json(), 3);
    assert_eq!(add(&mut browser, "visits", 1).await.json(), 1);
    assert_eq!(browser.delete("/api/v1/session/data/cart").await.status, StatusCode::NO_CONTENT);
    assert_eq!(browser.delete("/api/v1/session/data/cart").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&browser, "cart").await, None);
    assert_eq!(get(&browser, "visits").await, Some(json!(1)));
    let kerria = kerria.restart().await;
    let mut later = kerria.browser();
    later.cookies = browser.cookies;
    assert_eq!(get(&later, "visits").await, Some(json!(1)));
}

#[tokio::test]
async fn a_visitor_gets_a_session_when_something_is_kept_for_them_and_not_before() {
    let kerria = Kerria::start().await;
    let mut visitor = kerria.browser();
    assert_eq!(visitor.get("/api/v1/session/data/cart").await.status, StatusCode::UNAUTHORIZED);
    let refused = put(&mut visitor, "not%20a%20key", json!(1)).await;
    assert_eq!((refused.problem(), refused.set_cookies()), ("data-key".to_owned(), vec![]));
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 0);
    let answer = put(&mut visitor, "cart", json!([1])).await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert!(!answer.set_cookies()[0].contains("Max-Age"));
    assert_eq!(put(&mut visitor, "cart", json!([1, 2])).await.set_cookies(), [""; 0]);
    assert_eq!(get(&visitor, "cart").await, Some(json!([1, 2])));
    let session = visitor.get("/api/v1/session").await.json();
    assert_eq!((&session["user"], &session["transport"]), (&Value::Null, &json!("cookie")));
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 1);
    assert_eq!(get(&kerria.browser(), "cart").await, None);
}

#[tokio::test]
async fn a_token_that_is_not_good_is_not_taken_up_for_data() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let stale = browser.thief();
    browser.send("POST", "/api/v1/logout", &json!({})).await;
    let mut visitor = stale.clone();
    assert_eq!(put(&mut visitor, "cart", json!(1)).await.status, StatusCode::OK);
    assert_ne!(visitor.token(), stale.token());
    assert_eq!(get(&stale, "cart").await, None);
}

#[tokio::test]
async fn a_client_with_a_bearer_token_keeps_data_in_its_session_or_nowhere() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut program = kerria.program();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let answer = program.send("POST", "/api/v1/login", &login).await;
    program.bearer = Some(answer.json()["token"].as_str().unwrap().to_owned());
    assert_eq!(put(&mut program, "cart", json!(1)).await.status, StatusCode::OK);
    assert_eq!(get(&program, "cart").await, Some(json!(1)));
    program.send("POST", "/api/v1/logout", &json!({})).await;
    for answer in [put(&mut program, "cart", json!(2)).await, add(&mut program, "cart", 2).await] {
        assert_eq!((answer.status, answer.set_cookies()), (StatusCode::UNAUTHORIZED, vec![]));
    }
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_writes_lose_nothing() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let increments: Vec<_> = (0..100)
        .map(|_| {
            let mut browser = browser.clone();
            tokio::spawn(async move { add(&mut browser, "visits", 1).await.status })
        })
        .collect();
    for status in increments {
        assert_eq!(status.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(get(&browser, "visits").await, Some(json!(100)));
    for round in 0..20 {
        let (mut one, mut other) = (browser.clone(), browser.clone());
        let (first, second) =
            tokio::join!(put(&mut one, "one", json!(round)), put(&mut other, "other", json!(round)));
        assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
        assert_eq!(get(&browser, "one").await, Some(json!(round)));
        assert_eq!(get(&browser, "other").await, Some(json!(round)));
    }
}

#[tokio::test]
async fn every_limit_says_which_it_is_and_changes_nothing() {
    let limits =
        [("session.data_keys", "3"), ("session.data_value_bytes", "20"), ("session.data_total_bytes", "40")];
    let kerria = Kerria::with(&limits).await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    put(&mut browser, "a", json!("x".repeat(18))).await;
    put(&mut browser, "b", json!("text")).await;
    let long_key = "k".repeat(65);
    for (key, value, status, kind) in [
        ("c", json!("x".repeat(19)), StatusCode::PAYLOAD_TOO_LARGE, "data-value-too-large"),
        ("c", json!("x".repeat(15)), StatusCode::CONFLICT, "data-full"),
        (long_key.as_str(), json!(1), StatusCode::UNPROCESSABLE_ENTITY, "data-key"),
        ("a%2Fb", json!(1), StatusCode::UNPROCESSABLE_ENTITY, "data-key"),
    ] {
        let answer = put(&mut browser, key, value).await;
        assert_eq!((answer.status, answer.problem()), (status, kind.to_owned()), "{key}");
        assert!(!answer.json()["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(add(&mut browser, "b", 1).await.problem(), "data-not-a-number");
    assert_eq!(put(&mut browser, "c", json!(i64::MAX)).await.problem(), "data-full");
    put(&mut browser, "c", json!(1)).await;
    assert_eq!(put(&mut browser, "d", json!(1)).await.problem(), "data-too-many-keys");
    put(&mut browser, "a", json!(i64::MAX)).await;
    assert_eq!(add(&mut browser, "a", 1).await.problem(), "data-not-a-number");
    assert_eq!(get(&browser, "a").await, Some(json!(i64::MAX)));
    assert_eq!(get(&browser, "b").await, Some(json!("text")));
    assert_eq!(get(&browser, "c").await, Some(json!(1)));
    assert_eq!(get(&browser, "d").await, None);
}

#[tokio::test]
async fn no_data_may_be_no_data() {
    let kerria = Kerria::with(&[("session.data_keys", "0")]).await;
    let mut visitor = kerria.browser();
    let answer = put(&mut visitor, "cart", json!(1)).await;
    assert_eq!((answer.problem(), answer.set_cookies()), ("data-too-many-keys".to_owned(), vec![]));
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 0);
}

#[tokio::test]
async fn only_what_is_named_survives_a_sign_in() {
    let kerria = Kerria::with(&[("session.carry_over", "cart, language")]).await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    for (key, value) in [("cart", json!([1])), ("language", json!("de")), ("draft", json!("private"))] {
        put(&mut browser, key, value).await;
    }
    let before = browser.thief();
    let csrf = browser.csrf_token().await;
    browser.sign_in("alice", PASSWORD).await;
    assert_eq!(get(&browser, "cart").await, Some(json!([1])));
    assert_eq!(get(&browser, "language").await, Some(json!("de")));
    assert_eq!(get(&browser, "draft").await, None);
    assert_ne!(browser.csrf_token().await, csrf);
    assert_eq!(get(&before, "cart").await, None, "the visitor's session is over");
    put(&mut browser, "draft", json!("of Alice")).await;
    browser.sign_in("alice", PASSWORD).await;
    assert_eq!(get(&browser, "cart").await, Some(json!([1])), "of the same user, too");
    assert_eq!(get(&browser, "draft").await, None);
    assert_eq!(kerria.count("SELECT count(*) FROM session_data"), 2);
}

#[tokio::test]
async fn without_a_name_nothing_survives_a_sign_in() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    put(&mut browser, "cart", json!([1])).await;
    browser.sign_in("alice", PASSWORD).await;
    assert_eq!(get(&browser, "cart").await, None);
    assert_eq!(kerria.count("SELECT count(*) FROM session_data"), 0);
}

#[tokio::test]
async fn data_is_gone_with_its_session() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    put(&mut browser, "cart", json!([1])).await;
    let thief = browser.thief();
    browser.send("POST", "/api/v1/logout", &json!({})).await;
    assert_eq!(get(&thief, "cart").await, None);
    assert_eq!(kerria.count("SELECT count(*) FROM session_data"), 0);
    browser.sign_in("alice", PASSWORD).await;
    assert_eq!(get(&browser, "cart").await, None);
}
