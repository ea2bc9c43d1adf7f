//! Browser applications, which keep their tokens in cookies, and signing out with tokens.

use hyper::StatusCode;
use serde_json::json;

use super::{MINUTE, is_good, login, refresh, signed_in, with_access};
use crate::cast::Kerria;

#[tokio::test]
async fn a_browser_application_keeps_tokens_where_no_script_reads_them() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    let answer = browser.send("POST", "/api/v1/login", &login(&json!({ "keep": "refresh_in_cookie" }))).await;
    assert!(answer.json().get("refresh_token").is_none() && answer.json()["access_token"].is_string());
    let [cookie] = answer.set_cookies()[..] else { panic!("{:?}", answer.set_cookies()) };
    assert!(
        cookie.starts_with("kerria-refresh=krt_") && cookie.contains("HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let before = browser.cookies["kerria-refresh"].clone();
    let renewed = browser.send("POST", "/api/v1/session/refresh", &json!({})).await;
    assert!(renewed.status.is_success(), "{}", renewed.text);
    assert!(renewed.json().get("refresh_token").is_none());
    assert_ne!(browser.cookies["kerria-refresh"], before);
    let foreign =
        browser.sent_from(Some("cross-site")).send("POST", "/api/v1/session/refresh", &json!({})).await;
    assert_eq!(foreign.problem(), "cross-site-request");
    let silent = browser.sent_from(None).send("POST", "/api/v1/session/refresh", &json!({})).await;
    assert_eq!(silent.problem(), "cross-site-request");
}

#[tokio::test]
async fn an_access_token_in_a_cookie_is_protected_against_foreign_pages() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    let answer = browser.send("POST", "/api/v1/login", &login(&json!({ "keep": "both_in_cookies" }))).await;
    assert!(answer.json().get("access_token").is_none() && answer.json().get("refresh_token").is_none());
    assert!(browser.is_signed_in().await);
    let path = "/api/v1/session/data/cart";
    let silent = browser.sent_from(None).send("PUT", path, &json!(1)).await;
    assert_eq!(silent.problem(), "cross-site-request");
    assert!(browser.send("PUT", path, &json!(1)).await.status.is_success());
    let csrf = answer.json()["csrf_token"].as_str().unwrap().to_owned();
    let with_token = browser.sent_from(None).with("x-csrf-token", &csrf).send("PUT", path, &json!(2)).await;
    assert!(with_token.status.is_success(), "{}", with_token.text);
}

#[tokio::test]
async fn whoever_signs_out_with_a_token_that_is_over_ends_the_session_all_the_same() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (phone, laptop) = (signed_in(&kerria).await, signed_in(&kerria).await);
    kerria.clock.advance(6 * MINUTE);
    assert!(!is_good(&kerria, &phone).await);
    let mut program = with_access(&kerria, &phone.access);
    assert_eq!(
        program.request("POST", "/api/v1/logout", None, String::new()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(refresh(&kerria, &phone.refresh).await.status, StatusCode::UNAUTHORIZED);
    // What was not signed by us names no session.
    let (rest, _) = laptop.access.rsplit_once('.').unwrap();
    let (_, signature) = phone.access.rsplit_once('.').unwrap();
    let mut forger = with_access(&kerria, &format!("{rest}.{signature}"));
    assert_eq!(
        forger.request("POST", "/api/v1/logout", None, String::new()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(refresh(&kerria, &laptop.refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_browser_application_signs_out_even_when_its_access_token_is_over() {
    for keep in ["refresh_in_cookie", "both_in_cookies"] {
        let kerria = Kerria::start().await;
        kerria.user("alice").await;
        let mut browser = kerria.browser();
        browser.send("POST", "/api/v1/login", &login(&json!({ "keep": keep }))).await;
        let stolen = browser.cookies["kerria-refresh"].clone();
        kerria.clock.advance(6 * MINUTE);
        let out = browser.send("POST", "/api/v1/logout", &json!({})).await;
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        assert!(browser.cookies.keys().all(|name| !name.starts_with("kerria-")), "{:?}", browser.cookies);
        assert_eq!(refresh(&kerria, &stolen).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(kerria.sessions().await, 0);
    }
}
