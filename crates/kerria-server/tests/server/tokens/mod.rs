//! Sessions that are carried in tokens: signing in, ending, and what tokens are.

mod access;
mod browser;
mod keys;
mod refresh;

use std::time::Duration;

use hyper::StatusCode;
use kerria::jwt::KeySet;
use serde_json::{Value, json};

use crate::cast::{Answer, Browser, Kerria, PASSWORD};

const GRACE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// What a client holds.
struct Held {
    access: String,
    refresh: String,
}

fn held(answer: &Answer) -> Held {
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.text);
    let text = |member: &str| answer.json()[member].as_str().unwrap_or_default().to_owned();
    Held { access: text("access_token"), refresh: text("refresh_token") }
}

fn login(more: &Value) -> Value {
    let mut body = json!({ "login": "alice", "password": PASSWORD, "transport": "tokens" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn signed_in(kerria: &Kerria) -> Held {
    held(&kerria.program().send("POST", "/api/v1/login", &login(&json!({}))).await)
}

async fn refresh(kerria: &Kerria, token: &str) -> Answer {
    kerria.program().send("POST", "/api/v1/session/refresh", &json!({ "refresh_token": token })).await
}

fn with_access(kerria: &Kerria, token: &str) -> Browser {
    let mut program = kerria.program();
    program.bearer = Some(token.to_owned());
    program
}

async fn is_good(kerria: &Kerria, held: &Held) -> bool {
    with_access(kerria, &held.access).is_signed_in().await
}

fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// What somebody else verifies our tokens with.
async fn published(kerria: &Kerria) -> KeySet {
    KeySet::parse(kerria.program().get("/.well-known/jwks.json").await.text.as_bytes()).unwrap()
}

#[tokio::test]
async fn whoever_signs_in_with_tokens_gets_a_refresh_token_and_an_access_token() {
    let kerria = Kerria::start().await;
    let user = kerria.user("alice").await;
    let answer = kerria.program().send("POST", "/api/v1/login", &login(&json!({}))).await;
    assert_eq!(answer.set_cookies(), [""; 0]);
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(300), &json!("account"))
    );
    let held = held(&answer);
    assert!(held.refresh.starts_with("krt_"));
    let claims = claims(&held.access);
    let issuer = kerria.app.issuer();
    for (claim, value) in [
        ("iss", json!(issuer)),
        ("aud", json!(issuer)),
        ("sub", json!(user)),
        ("client_id", json!("kerria")),
        ("scope", json!("account")),
        ("sid", body["session"]["handle"].clone()),
        ("amr", json!(["pwd"])),
        ("acr", json!("aal1")),
    ] {
        assert_eq!(claims[claim], value, "{claim}");
    }
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    assert_eq!(claims["auth_time"], claims["iat"]);
    assert!(is_good(&kerria, &held).await);
    let mut program = with_access(&kerria, &held.access);
    let session = program.get("/api/v1/session").await.json();
    assert_eq!((&session["transport"], &session["user"]["name"]), (&json!("tokens"), &json!("alice")));
}

#[tokio::test]
async fn a_refresh_token_is_no_session_token_and_a_session_token_no_refresh_token() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let tokens = signed_in(&kerria).await;
    assert!(!with_access(&kerria, &tokens.refresh).is_signed_in().await);
    let browser = kerria.signed_in("alice").await;
    assert_eq!(refresh(&kerria, &browser.token()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&kerria, &tokens.access).await.status, StatusCode::UNAUTHORIZED);
    let mut in_cookie = kerria.browser();
    for token in [&tokens.refresh, &tokens.access] {
        in_cookie.cookies.insert("kerria".to_owned(), token.clone());
        assert!(!in_cookie.is_signed_in().await);
    }
}

#[tokio::test]
async fn whatever_ends_the_session_ends_its_tokens_on_the_next_check() {
    for end in ["logout", "others", "one", "password", "disable", "delete", "operator", "everyone"] {
        let kerria = Kerria::start().await;
        let user = kerria.user("alice").await;
        let mut browser = kerria.signed_in("alice").await;
        let tokens = signed_in(&kerria).await;
        assert!(is_good(&kerria, &tokens).await);
        let session = claims(&tokens.access)["sid"].as_str().unwrap().to_owned();
        let mut operator = kerria.operator();
        let operators = "/api/v1/operator";
        let ended = match end {
            "logout" => with_access(&kerria, &tokens.access).send("POST", "/api/v1/logout", &json!({})).await,
            "others" => browser.delete("/api/v1/sessions?scope=others").await,
            "one" => browser.delete(&format!("/api/v1/sessions/{session}")).await,
            "password" => {
                let body = json!({ "current_password": PASSWORD, "new_password": "another long passphrase" });
                browser.send("PUT", "/api/v1/password", &body).await
            }
            "disable" => {
                operator.send("POST", &format!("{operators}/users/{user}/disable"), &json!({})).await
            }
            "delete" => operator.delete(&format!("{operators}/users/{user}")).await,
            "operator" => operator.delete(&format!("{operators}/sessions/{session}")).await,
            _ => {
                let everyone = json!({ "selector": { "kind": "everyone" } });
                operator.send("POST", &format!("{operators}/revocations"), &everyone).await
            }
        };
        assert!(ended.status.is_success(), "{end}: {} {}", ended.status, ended.text);
        assert!(!is_good(&kerria, &tokens).await, "{end}: the access token");
        assert_eq!(refresh(&kerria, &tokens.refresh).await.status, StatusCode::UNAUTHORIZED, "{end}");
    }
}

#[tokio::test]
async fn what_was_issued_in_the_same_second_after_an_end_of_everything_stands() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let before = signed_in(&kerria).await;
    let browser = kerria.signed_in("alice").await;
    assert!(browser.clone().delete("/api/v1/sessions?scope=others").await.status.is_success());
    let after = signed_in(&kerria).await;
    assert_eq!(claims(&before.access)["iat"], claims(&after.access)["iat"]);
    assert!(!is_good(&kerria, &before).await);
    assert!(is_good(&kerria, &after).await);
}

#[tokio::test]
async fn a_token_is_explained_without_being_shown() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let first = signed_in(&kerria).await;
    let second = held(&refresh(&kerria, &first.refresh).await);
    let browser = kerria.signed_in("alice").await;
    let mut operator = kerria.operator();
    let mut changed = second.access.clone();
    changed.replace_range(changed.len() - 3.., "AAA");
    for (token, kind, good, says) in [
        (browser.token(), "session_token", true, "good in the session cookie"),
        (browser.token() + "x", "session_token", false, "was not written by this installation"),
        (second.refresh.clone(), "refresh_token", true, "buys the next access token"),
        (first.refresh.clone(), "refresh_token", false, "was used before"),
        (second.access.clone(), "access_token", true, "it is good"),
        (changed, "access_token", false, "none of our keys"),
        ("hunter2".to_owned(), "unknown", false, "no token of ours"),
    ] {
        let answer =
            operator.send("POST", "/api/v1/operator/tokens/inspect", &json!({ "token": token })).await;
        let body = answer.json();
        assert_eq!((&body["kind"], &body["good"]), (&json!(kind), &json!(good)), "{body}");
        assert!(body["summary"].as_str().unwrap().contains(says), "{body}");
        assert!(!answer.text.contains(&token));
    }
    // Looking at it was no use of it.
    assert!(refresh(&kerria, &second.refresh).await.status.is_success());
}
