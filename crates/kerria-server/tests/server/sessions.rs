//! Opening sessions, being recognised, and ending them.

use hyper::StatusCode;
use kerria_core::{Token, TokenKey, TokenKind};
use serde_json::json;

use crate::cast::{Answer, Kerria, OTHER_PASSWORD, PASSWORD, SAFARI};

#[tokio::test]
async fn whoever_signs_in_is_recognised_on_every_request() {
    let kerria = Kerria::start().await;
    let alice = kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let session = browser.get("/api/v1/session").await.json();
    assert_eq!(session["user"]["id"], alice);
    assert_eq!(session["user"]["name"], "alice");
    assert_eq!(session["transport"], "cookie");
    assert!(!kerria.browser().is_signed_in().await);
}

#[tokio::test]
async fn every_sign_in_gives_a_new_token_and_ends_the_one_before() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let before = browser.thief();
    browser.sign_in("alice", PASSWORD).await;
    assert_ne!(browser.token(), before.token());
    assert!(browser.is_signed_in().await);
    assert!(!before.is_signed_in().await);
    assert_eq!(kerria.sessions().await, 1);
}

#[tokio::test]
async fn a_token_that_a_client_made_up_is_never_adopted() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let made_up = Token::random(TokenKind::Session, &kerria::SystemEntropy)
        .write(&TokenKey::from_bytes([7; 16]))
        .expose()
        .clone();
    let genuine_but_unknown = Token::random(TokenKind::Session, &kerria::SystemEntropy)
        .write(kerria.app.checker.key())
        .expose()
        .clone();
    for token in [made_up, genuine_but_unknown] {
        let mut browser = kerria.browser();
        browser.cookies.insert("kerria".to_owned(), token.clone());
        assert!(!browser.is_signed_in().await);
        browser.sign_in("alice", PASSWORD).await;
        assert_ne!(browser.token(), token);
        browser.cookies.insert("kerria".to_owned(), token);
        assert!(!browser.is_signed_in().await);
    }
}

#[tokio::test]
async fn signing_in_over_another_users_session_leaves_nothing_of_it() {
    let kerria = Kerria::with(&[("session.carry_over", "cart")]).await;
    kerria.user("alice").await;
    kerria.user("bob").await;
    let mut browser = kerria.signed_in("alice").await;
    browser.send("PUT", "/api/v1/session/data/cart", &json!(["a surprise for Bob"])).await;
    let alice = browser.thief();
    browser.sign_in("bob", PASSWORD).await;
    assert!(!alice.is_signed_in().await);
    assert_eq!(browser.get("/api/v1/session/data/cart").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/api/v1/session").await.json()["user"]["name"], "bob");
}

#[tokio::test]
async fn signing_out_ends_the_session_for_good() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let thief = browser.thief();
    let answer = browser.send("POST", "/api/v1/logout", &json!({})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(!thief.is_signed_in().await);
    assert!(!browser.cookies.contains_key("kerria"));
    let kerria = kerria.restart().await;
    let mut later = kerria.browser();
    later.cookies.insert("kerria".to_owned(), thief.token());
    assert!(!later.is_signed_in().await);
}

#[tokio::test]
async fn sessions_survive_a_restart() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let kerria = kerria.restart().await;
    let mut again = kerria.browser();
    again.cookies = browser.cookies;
    assert!(again.is_signed_in().await);
}

#[tokio::test]
async fn a_check_is_answered_alike_by_the_router_and_before_it() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let kerria = kerria.restart().await;
    let mut again = kerria.browser();
    again.cookies = browser.cookies;
    let told = |mut answer: Answer| {
        answer.headers.remove("date");
        (answer.status, answer.text, answer.headers)
    };
    // Memory knows nothing yet, so the request goes to the router; the second one does not.
    let (routed, direct) =
        (again.get("/api/v1/session?from=store").await, again.get("/api/v1/session?from=memory").await);
    assert_eq!(told(direct), told(routed));
    let mut stranger = kerria.browser();
    stranger.cookies.insert("kerria".to_owned(), "garbage".to_owned());
    let (direct, routed) = (stranger.get("/api/v1/session").await, stranger.get("/api/v1/sessions").await);
    assert_eq!(told(direct), told(routed));
}

#[tokio::test]
async fn a_bearer_token_is_the_same_session_without_a_cookie() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut program = kerria.program();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let answer = program.send("POST", "/api/v1/login", &login).await;
    assert_eq!(answer.set_cookies(), [""; 0]);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("kst_"));
    program.bearer = Some(token.clone());
    assert!(program.is_signed_in().await);
    assert_eq!(program.send("POST", "/api/v1/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    assert!(!program.is_signed_in().await);
}

#[tokio::test]
async fn a_token_is_good_only_in_the_way_it_was_given_out() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let mut program = kerria.program();
    program.bearer = Some(browser.token());
    assert!(!program.is_signed_in().await);
}

#[tokio::test]
async fn a_token_anywhere_else_in_a_request_counts_for_nothing() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let token = kerria.signed_in("alice").await.token();
    let mut stranger = kerria.browser();
    for path in [
        format!("/api/v1/session?access_token={token}"),
        format!("/api/v1/session?kerria={token}"),
        format!("/api/v1/session?sid={token}"),
    ] {
        assert_eq!(stranger.get(&path).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    stranger.headers = vec![("x-session-token".to_owned(), token)];
    assert!(!stranger.is_signed_in().await);
}

#[tokio::test]
async fn confirming_the_password_gives_a_new_token_and_kills_the_old_one() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let before = browser.thief();
    let handle = browser.handle().await;
    let answer = browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_ne!(browser.token(), before.token());
    assert!(!before.is_signed_in().await);
    assert!(browser.is_signed_in().await);
    assert_eq!(browser.handle().await, handle, "it is the same session");
}

#[tokio::test]
async fn a_wrong_password_confirms_nothing() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let token = browser.token();
    let answer =
        browser.send("POST", "/api/v1/session/step-up", &json!({ "password": OTHER_PASSWORD })).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.problem(), "wrong-password");
    assert_eq!(browser.token(), token);
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn one_other_device_can_be_ended() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    let path = format!("/api/v1/sessions/{}", phone.handle().await);
    let answer = laptop.delete(&path).await;
    assert_eq!(answer.json()["ended"], 1);
    assert!(!phone.is_signed_in().await);
    assert!(laptop.is_signed_in().await);
    assert_eq!(laptop.delete(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn all_other_devices_can_be_ended_and_all_of_them() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.user("bob").await;
    let mut laptop = kerria.signed_in("alice").await;
    let (phone, tablet) = (kerria.signed_in("alice").await, kerria.signed_in("alice").await);
    let bob = kerria.signed_in("bob").await;
    assert_eq!(laptop.delete("/api/v1/sessions?scope=others").await.json()["ended"], 2);
    assert!(laptop.is_signed_in().await);
    assert!(!phone.is_signed_in().await && !tablet.is_signed_in().await);
    assert_eq!(laptop.delete("/api/v1/sessions?scope=all").await.json()["ended"], 1);
    assert!(!laptop.is_signed_in().await);
    assert!(bob.is_signed_in().await);
}

#[tokio::test]
async fn nobody_ends_or_sees_somebody_elses_session() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.user("mallory").await;
    let alice = kerria.signed_in("alice").await;
    let mut mallory = kerria.signed_in("mallory").await;
    let path = format!("/api/v1/sessions/{}", alice.handle().await);
    assert_eq!(mallory.delete(&path).await.status, StatusCode::NOT_FOUND);
    assert!(alice.is_signed_in().await);
    let listed = mallory.get("/api/v1/sessions").await.json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
    assert!(!listed.to_string().contains("kst_"), "a list never holds a token");
}

#[tokio::test]
async fn a_password_change_ends_all_other_sessions_at_once() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    let before = laptop.thief();
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    let answer = laptop.send("PUT", "/api/v1/password", &change).await;
    assert_eq!(answer.json()["ended"], 1, "{}", answer.text);
    assert!(laptop.is_signed_in().await);
    assert!(!phone.is_signed_in().await && !before.is_signed_in().await);
    assert_eq!(kerria.browser().sign_in("alice", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(kerria.browser().sign_in("alice", OTHER_PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_sensitive_wants_a_recent_proof() {
    let kerria = Kerria::with(&[("session.fresh_for", "10m")]).await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    kerria.clock.advance(std::time::Duration::from_secs(599));
    assert_eq!(
        browser.send("PUT", "/api/v1/user", &json!({ "name": "alicia" })).await.status,
        StatusCode::OK
    );
    kerria.clock.advance(std::time::Duration::from_secs(1));
    for (method, path) in
        [("PUT", "/api/v1/user"), ("DELETE", "/api/v1/user"), ("DELETE", "/api/v1/sessions?scope=all")]
    {
        let answer = browser.send(method, path, &json!({ "name": "mallory" })).await;
        assert_eq!(answer.problem(), "fresh-sign-in-required", "{method} {path}");
    }
    assert!(browser.is_signed_in().await);
    browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert_eq!(browser.delete("/api/v1/sessions?scope=all").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_name_is_seen_at_once_by_every_session() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let mut phone = kerria.signed_in("alice").await;
    phone.get("/api/v1/session").await;
    laptop.send("PUT", "/api/v1/user", &json!({ "name": "alicia", "email": "alicia@example.com" })).await;
    assert_eq!(phone.get("/api/v1/session").await.json()["user"]["name"], "alicia");
}

#[tokio::test]
async fn the_list_tells_devices_apart_in_words() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let mut phone = kerria.browser();
    phone.user_agent = SAFARI.to_owned();
    phone.sign_in("alice", PASSWORD).await;
    let listed = laptop.get("/api/v1/sessions").await.json();
    let devices: Vec<_> = listed["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (session["device"].as_str().unwrap(), session["current"].as_bool().unwrap()))
        .collect();
    assert!(
        devices.contains(&("Firefox on Linux", true)) && devices.contains(&("Safari on iPhone", false)),
        "{devices:?}"
    );
    assert_eq!(listed["sessions"][0]["address"], "127.0.0.1");
    assert_eq!(listed["sessions"][0]["method"], "password");
}

#[tokio::test]
async fn of_many_requests_in_flight_none_is_answered_after_the_end_has_been() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for _ in 0..50 {
        let mut laptop = kerria.signed_in("alice").await;
        let phone = kerria.signed_in("alice").await;
        let path = format!("/api/v1/sessions/{}", phone.handle().await);
        let in_flight: Vec<_> = (0..8)
            .map(|_| {
                let mut phone = phone.clone();
                tokio::spawn(async move { phone.get("/api/v1/session").await.status })
            })
            .collect();
        assert_eq!(laptop.delete(&path).await.json()["ended"], 1);
        assert!(!phone.is_signed_in().await, "accepted after its end was answered");
        for request in in_flight {
            let status = request.await.unwrap();
            assert!(status == StatusCode::OK || status == StatusCode::UNAUTHORIZED);
        }
        assert!(!phone.is_signed_in().await, "revived by a request that was in flight");
    }
}
