//! Session tokens that are replaced while they are used.

use std::time::Duration;

use hyper::StatusCode;
use kerria::testing::Steps;
use kerria_core::Timestamp;
use serde_json::json;

use crate::cast::{Answer, Browser, DAY, HOUR, Kerria, MINUTE, OTHER_PASSWORD, PASSWORD};

/// How long a replaced token is good beside its successor.
const GRACE: Duration = Duration::from_secs(30);

/// A Kerria that replaces tokens every ten minutes, and Alice.
async fn rotating() -> Kerria {
    let kerria = Kerria::with(&[("session.rotate_after", "10m"), ("trusted_proxies", "127.0.0.1")]).await;
    kerria.user("alice").await;
    kerria
}

/// What the answer makes of the session cookie.
fn new_tokens(answer: &Answer) -> Vec<String> {
    let cookies = answer.set_cookies().into_iter().filter_map(|cookie| cookie.strip_prefix("kerria="));
    cookies.map(|cookie| cookie.split(';').next().unwrap().to_owned()).collect()
}

async fn check(browser: &mut Browser) -> Answer {
    let answer = browser.get("/api/v1/session").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer
}

/// Somebody with this token and with nothing else.
fn with_token(kerria: &Kerria, token: &str) -> Browser {
    let mut somebody = kerria.browser();
    somebody.cookies.insert("kerria".to_owned(), token.to_owned());
    somebody
}

#[tokio::test]
async fn a_token_that_was_used_for_long_enough_is_replaced_with_the_next_answer() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    let (first, handle) = (alice.token(), alice.handle().await);
    kerria.clock.advance(10 * MINUTE - Duration::from_millis(1));
    assert_eq!(check(&mut alice).await.set_cookies(), [""; 0]);
    kerria.clock.advance(Duration::from_millis(1));
    let answer = check(&mut alice).await;
    assert_eq!((new_tokens(&answer), answer.set_cookies().len()), (vec![alice.token()], 1));
    assert_ne!(alice.token(), first);
    for _ in 0..3 {
        assert_eq!(check(&mut alice).await.set_cookies(), [""; 0], "once");
    }
    assert_eq!(alice.handle().await, handle, "it is the same session");
    assert_eq!(kerria.sessions().await, 1);
}

#[tokio::test]
async fn every_kind_of_answer_brings_the_new_token() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    for path in ["/api/v1/sessions", "/sessions", "/api/v1/session/data/nothing", "/no/such/page"] {
        kerria.clock.advance(10 * MINUTE);
        let answer = alice.get(path).await;
        assert_eq!(new_tokens(&answer).len(), 1, "{path}: {} {:?}", answer.status, answer.set_cookies());
        check(&mut alice).await;
    }
}

#[tokio::test]
async fn without_the_setting_nothing_is_replaced_and_nothing_written() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut alice = kerria.signed_in("alice").await;
    for _ in 0..100 {
        kerria.clock.advance(5 * MINUTE);
        assert_eq!(check(&mut alice).await.set_cookies(), [""; 0]);
    }
    assert_eq!(kerria.store.asked("rotate"), 0);
    assert_eq!(kerria.count("SELECT count(*) FROM log"), 0);
}

#[tokio::test]
async fn a_rotation_costs_two_writes_however_many_requests_there_are() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.clock.advance(10 * MINUTE);
    for _ in 0..50 {
        check(&mut alice).await;
    }
    assert_eq!(kerria.store.asked("rotate"), 2);
    assert_eq!(kerria.count("SELECT count(*) FROM log"), 2);
}

#[tokio::test]
async fn parallel_requests_with_one_token_all_get_the_same_new_one() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    for _ in 0..20 {
        kerria.clock.advance(10 * MINUTE);
        let requests: Vec<_> = (0..16)
            .map(|number| {
                let mut tab = alice.clone();
                let path = if number % 2 == 0 { "/api/v1/session" } else { "/api/v1/sessions" };
                tokio::spawn(async move { tab.get(path).await })
            })
            .collect();
        let old = alice.token();
        for request in requests {
            let answer = request.await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            for token in new_tokens(&answer) {
                assert!(alice.token() == old || alice.token() == token, "the line has forked");
                alice.cookies.insert("kerria".to_owned(), token);
            }
        }
        assert_ne!(alice.token(), old);
        // Both are good: some of what is under way was sent with the old one.
        check(&mut alice).await;
        check(&mut with_token(&kerria, &old)).await;
    }
    assert_eq!(kerria.sessions().await, 1);
}

#[tokio::test]
async fn a_lost_reply_is_forgiven_long_after() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.clock.advance(10 * MINUTE);
    let token = new_tokens(&check(&mut alice.clone()).await).pop().unwrap();
    for _ in 0..4 {
        kerria.clock.advance(HOUR);
        // The idle limit is two hours: what counts is that she uses the old token.
        assert_eq!(new_tokens(&check(&mut alice.clone()).await), std::slice::from_ref(&token));
    }
    let kerria = kerria.restart().await;
    alice.address = kerria.address;
    kerria.clock.advance(HOUR);
    assert_eq!(new_tokens(&check(&mut alice.clone()).await), std::slice::from_ref(&token));
    kerria.clock.advance(2 * HOUR - Duration::from_millis(1));
    alice.cookies.insert("kerria".to_owned(), token);
    assert_eq!(check(&mut alice).await.set_cookies(), [""; 0]);
}

#[tokio::test]
async fn a_successor_is_as_recently_used_as_the_token_before() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.clock.advance(10 * MINUTE);
    let token = new_tokens(&check(&mut alice.clone()).await).pop().unwrap();
    // The idle limit is two hours, and nothing of this has been written yet when the successor is first used.
    for _ in 0..3 {
        kerria.clock.advance(HOUR);
        check(&mut alice.clone()).await;
    }
    kerria.clock.advance(2 * HOUR - Duration::from_millis(1));
    alice.cookies.insert("kerria".to_owned(), token);
    check(&mut alice).await;
}

#[tokio::test]
async fn a_check_of_a_token_that_is_due_is_one_check() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    check(&mut alice).await;
    let counted = async || {
        let series =
            ["kerria_session_checks_total{outcome=\"good\"}", "kerria_session_cache_total{result=\"hit\"}"];
        (kerria.metric(series[0]).await, kerria.metric(series[1]).await)
    };
    let before = counted().await;
    kerria.clock.advance(10 * MINUTE);
    assert_eq!(new_tokens(&check(&mut alice).await).len(), 1);
    assert_eq!(counted().await, (before.0 + 1.0, before.1 + 1.0));
}

#[tokio::test]
async fn a_token_that_comes_after_its_time_ends_the_session_for_thief_and_owner_alike() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    let other = kerria.signed_in("alice").await;
    let mut thief = alice.thief();
    kerria.clock.advance(10 * MINUTE);
    check(&mut alice).await;
    check(&mut alice).await;
    kerria.clock.advance(GRACE - Duration::from_millis(1));
    assert_eq!(check(&mut thief).await.set_cookies(), [""; 0], "it is good, and gets nothing better");
    kerria.clock.advance(Duration::from_millis(1));
    let answer = thief.with("x-forwarded-for", "203.0.113.66").get("/api/v1/session").await;
    assert_eq!((answer.status, answer.set_cookies()), (StatusCode::UNAUTHORIZED, vec![]));
    assert!(!alice.is_signed_in().await && other.is_signed_in().await);
    let audit = kerria.audit().await;
    let line = audit.last().unwrap();
    assert!(line["detail"].as_str().unwrap().starts_with("replayed"), "{line}");
    assert_eq!(line["address"], "203.0.113.66", "from where the thief came");
    assert!(kerria.metric("kerria_sessions_ended_total{cause=\"replayed\"}").await >= 1.0);
}

#[tokio::test]
async fn a_thief_who_is_quicker_is_betrayed_by_the_owner() {
    let kerria = rotating().await;
    let alice = kerria.signed_in("alice").await;
    let mut thief = alice.thief();
    kerria.clock.advance(10 * MINUTE);
    check(&mut thief).await;
    check(&mut thief).await;
    kerria.clock.advance(GRACE);
    assert!(!alice.is_signed_in().await);
    assert!(!thief.is_signed_in().await);
}

#[tokio::test]
async fn a_replay_that_cannot_be_written_down_is_not_answered_as_anything_else() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    let mut thief = alice.thief();
    kerria.clock.advance(10 * MINUTE);
    check(&mut alice).await;
    check(&mut alice).await;
    kerria.clock.advance(GRACE);
    kerria.store.fail(Steps::Of("rotate"));
    assert_eq!(thief.get("/api/v1/session").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(alice.is_signed_in().await);
    kerria.store.mend();
    assert_eq!(thief.get("/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
    assert!(!alice.is_signed_in().await);
}

#[tokio::test]
async fn a_store_that_fails_leaves_the_old_token_good() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.clock.advance(10 * MINUTE);
    kerria.store.fail(Steps::Of("rotate"));
    assert_eq!(check(&mut alice).await.set_cookies(), [""; 0]);
    kerria.clock.advance(HOUR);
    kerria.store.fail(Steps::All);
    assert_eq!(check(&mut alice).await.set_cookies(), [""; 0]);
    kerria.store.mend();
    assert_eq!(new_tokens(&check(&mut alice).await).len(), 1);
    // The first use of a successor that cannot be written down counts all the same, and the old token goes on.
    kerria.store.fail(Steps::Of("rotate"));
    check(&mut alice).await;
    kerria.store.mend();
    check(&mut alice).await;
}

#[tokio::test]
async fn what_a_handler_says_about_the_cookie_stands() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    let step_up = json!({ "password": PASSWORD });
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    let sign_in = json!({ "login": "alice", "password": OTHER_PASSWORD });
    for (method, path, body) in [
        ("POST", "/api/v1/session/step-up", step_up),
        ("PUT", "/api/v1/password", change),
        ("POST", "/api/v1/login", sign_in),
    ] {
        kerria.clock.advance(10 * MINUTE);
        let old = alice.token();
        let answer = alice.send(method, path, &body).await;
        assert_eq!(
            (answer.status, new_tokens(&answer).len()),
            (StatusCode::OK, 1),
            "{path}: {}",
            answer.text
        );
        assert!(alice.is_signed_in().await && !with_token(&kerria, &old).is_signed_in().await, "{path}");
    }
    kerria.clock.advance(10 * MINUTE);
    let answer = alice.send("POST", "/api/v1/logout", &json!({})).await;
    assert_eq!(new_tokens(&answer), [""]);
    assert_eq!((kerria.store.asked("rotate"), kerria.sessions().await), (0, 0));
}

#[tokio::test]
async fn who_was_let_in_with_a_replaced_token_can_step_up() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.clock.advance(10 * MINUTE);
    let lost = new_tokens(&check(&mut alice.clone()).await).pop().unwrap();
    let answer = alice.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert_eq!((answer.status, new_tokens(&answer).len()), (StatusCode::OK, 1), "{}", answer.text);
    assert!(alice.is_signed_in().await && !with_token(&kerria, &lost).is_signed_in().await);
}

#[tokio::test]
async fn forms_go_on_working_with_the_new_token() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    let csrf =
        alice.get("/api/v1/session/csrf-token").await.json()["csrf_token"].as_str().unwrap().to_owned();
    kerria.clock.advance(10 * MINUTE);
    check(&mut alice).await;
    (alice.site, alice.headers) = (None, vec![("x-csrf-token".to_owned(), csrf)]);
    let answer = alice.send("PUT", "/api/v1/session/data/cart", &json!([1])).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

#[tokio::test]
async fn the_new_cookie_lasts_as_long_as_the_old_one_would_have() {
    let kerria = rotating().await;
    let mut alice = kerria.browser();
    alice
        .send("POST", "/api/v1/login", &json!({ "login": "alice", "password": PASSWORD, "remember": true }))
        .await;
    kerria.clock.advance(DAY);
    let answer = check(&mut alice).await;
    assert!(answer.set_cookies()[0].ends_with("; Max-Age=2505600"), "{:?}", answer.set_cookies());
    let mut ordinary = kerria.signed_in("alice").await;
    kerria.clock.advance(HOUR);
    let answer = check(&mut ordinary).await;
    let attributes = answer.set_cookies()[0].split_once(';').unwrap().1;
    assert_eq!(attributes, " HttpOnly; SameSite=Lax; Path=/");
}

#[tokio::test]
async fn a_rotation_prolongs_no_limit_of_the_session() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    let ends = kerria.app.clock.now() + 12 * HOUR;
    while kerria.app.clock.now() < ends - 10 * MINUTE {
        kerria.clock.advance(10 * MINUTE);
        let answer = check(&mut alice).await;
        let expires_at: jiff::Timestamp = answer.json()["expires_at"].as_str().unwrap().parse().unwrap();
        assert!(Timestamp::from_millis(expires_at.as_millisecond()) <= ends);
        check(&mut alice).await;
    }
    kerria.clock.advance(10 * MINUTE);
    assert!(!alice.is_signed_in().await);
}

#[tokio::test]
async fn the_use_under_either_token_is_the_use_of_the_session() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    let mut phone = kerria.signed_in("alice").await;
    kerria.clock.advance(10 * MINUTE);
    let token = new_tokens(&check(&mut alice.clone()).await).pop().unwrap();
    kerria.clock.advance(HOUR);
    check(&mut alice.clone()).await;
    check(&mut phone).await;
    kerria.clock.advance(HOUR - MINUTE);
    let listed = phone.get("/api/v1/sessions").await.json();
    let handle = alice.handle().await;
    let seen = |listed: &serde_json::Value| {
        let mut sessions = listed["sessions"].as_array().unwrap().iter();
        sessions.find(|session| session["handle"] == *handle).unwrap()["last_seen_at"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let expected = kerria.app.clock.now().as_millis() - 59 * 60_000;
    let at: jiff::Timestamp = seen(&listed).parse().unwrap();
    assert_eq!(at.as_millisecond(), expected);
    alice.cookies.insert("kerria".to_owned(), token);
    check(&mut alice).await;
}

#[tokio::test]
async fn a_sign_out_beats_every_rotation_that_is_under_way() {
    let kerria = rotating().await;
    for _ in 0..30 {
        let mut alice = kerria.signed_in("alice").await;
        kerria.clock.advance(10 * MINUTE);
        let requests: Vec<_> = (0..8)
            .map(|_| {
                let mut tab = alice.clone();
                tokio::spawn(async move { tab.get("/api/v1/session").await })
            })
            .collect();
        let mut tokens = vec![alice.token()];
        let answer = alice.send("POST", "/api/v1/logout", &json!({})).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        for request in requests {
            tokens.extend(new_tokens(&request.await.unwrap()));
        }
        for token in tokens {
            assert!(!with_token(&kerria, &token).is_signed_in().await, "revived");
        }
    }
    assert_eq!(kerria.sessions().await, 0);
}

#[tokio::test]
async fn bearer_tokens_stay_as_they_are() {
    let kerria = rotating().await;
    let mut program = kerria.program();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let token =
        program.send("POST", "/api/v1/login", &login).await.json()["token"].as_str().unwrap().to_owned();
    program.bearer = Some(token);
    for _ in 0..10 {
        kerria.clock.advance(HOUR);
        assert_eq!(check(&mut program).await.set_cookies(), [""; 0]);
    }
    assert_eq!(kerria.store.asked("rotate"), 0);
}

#[tokio::test]
async fn what_was_begun_is_ended_in_order_after_the_setting_was_removed() {
    let kerria = rotating().await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.clock.advance(10 * MINUTE);
    let token = new_tokens(&check(&mut alice.clone()).await).pop().unwrap();
    let kerria = kerria.restart_with(&[("session.rotate_after", "0s")]).await;
    alice.address = kerria.address;
    assert_eq!(check(&mut alice).await.set_cookies(), [""; 0]);
    let mut successor = with_token(&kerria, &token);
    check(&mut successor).await;
    kerria.clock.advance(GRACE);
    assert!(!alice.is_signed_in().await && !successor.is_signed_in().await, "the old one was out of time");
}
