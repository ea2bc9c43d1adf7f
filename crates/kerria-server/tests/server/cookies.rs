//! The session cookie: how it is written, and which cookie it is.

use std::sync::atomic::Ordering::Relaxed;

use hyper::StatusCode;
use kerria_core::{Token, TokenKey, TokenKind};
use serde_json::json;

use crate::cast::{Answer, Kerria, PASSWORD};

const HTTPS: &[(&str, &str)] = &[("public_url", "https://id.example")];

/// The one `Set-Cookie` of this name.
fn set_cookie(answer: &Answer, name: &str) -> String {
    let all = answer.set_cookies();
    let ours: Vec<_> = all.iter().filter(|cookie| cookie.starts_with(&format!("{name}="))).collect();
    assert_eq!(ours.len(), 1, "{all:?}");
    (*ours[0]).to_owned()
}

/// The attributes, without the name and the value.
fn attributes(cookie: &str) -> &str {
    cookie.split_once("; ").unwrap().1
}

/// What a request with this `Cookie` header is answered.
async fn with_cookies(kerria: &Kerria, cookies: &[u8]) -> StatusCode {
    let mut request =
        b"GET /api/v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: ".to_vec();
    request.extend(cookies);
    request.extend(b"\r\n\r\n");
    let answer = kerria.raw(&request).await;
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn on_localhost_it_has_what_every_browser_accepts() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    let answer = browser.sign_in("alice", PASSWORD).await;
    let cookie = set_cookie(&answer, "kerria");
    assert_eq!(attributes(&cookie), "HttpOnly; SameSite=Lax; Path=/");
    assert!(cookie.len() < 200, "{}", cookie.len());
    assert_eq!(answer.header("strict-transport-security"), None);
    for data in 0..20 {
        browser.send("PUT", &format!("/api/v1/session/data/k{data}"), &json!("x".repeat(500))).await;
    }
    let answer = browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert!(set_cookie(&answer, "kerria").len() < 200, "whatever the session holds");
    let removal = set_cookie(&browser.send("POST", "/api/v1/logout", &json!({})).await, "kerria");
    assert_eq!(attributes(&removal), "HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
}

#[tokio::test]
async fn behind_tls_it_is_bound_to_the_host() {
    let kerria = Kerria::with(HTTPS).await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    let answer = browser.sign_in("alice", PASSWORD).await;
    let cookie = set_cookie(&answer, "__Host-kerria");
    assert_eq!(attributes(&cookie), "HttpOnly; SameSite=Lax; Secure; Path=/");
    assert!(answer.header("strict-transport-security").unwrap().starts_with("max-age=31536000"));
    assert!(attributes(&set_cookie(&answer, "__Host-kerria-device")).contains("Secure"));
    assert!(browser.is_signed_in().await);
    let removal = set_cookie(&browser.send("POST", "/api/v1/logout", &json!({})).await, "__Host-kerria");
    assert_eq!(attributes(&removal), "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
}

#[tokio::test]
async fn a_response_sets_it_once_whatever_happened() {
    let kerria = Kerria::with(&[("sign_up.mode", "open")]).await;
    let mut browser = kerria.browser();
    let account = json!({ "name": "alice", "password": PASSWORD });
    set_cookie(&browser.send("POST", "/api/v1/users", &account).await, "kerria");
    set_cookie(&browser.sign_in("alice", PASSWORD).await, "kerria");
    set_cookie(&browser.submit("/confirm", "/confirm", &[("password", PASSWORD)]).await, "kerria");
    set_cookie(
        &browser.submit("/sign-in", "/sign-in", &[("login", "alice"), ("password", PASSWORD)]).await,
        "kerria",
    );
    set_cookie(&browser.submit("/sessions", "/sign-out", &[]).await, "kerria");
}

#[tokio::test]
async fn a_bearer_token_that_signs_out_leaves_a_cookie_alone() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let token = kerria.program().send("POST", "/api/v1/login", &login).await.json()["token"].clone();
    let mut both = browser.clone();
    both.bearer = Some(token.as_str().unwrap().to_owned());
    let answer = both.send("POST", "/api/v1/logout", &json!({})).await;
    assert_eq!((answer.status, answer.set_cookies()), (StatusCode::NO_CONTENT, vec![]));
    assert!(browser.is_signed_in().await);
    assert!(!both.is_signed_in().await, "the bearer token speaks for the request alone");
}

#[tokio::test]
async fn of_two_cookies_exactly_one_has_to_be_genuine_and_their_order_never_decides() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.user("mallory").await;
    let alice = kerria.signed_in("alice").await.token();
    let mallory = kerria.signed_in("mallory").await.token();
    let (ok, refused) = (StatusCode::OK, StatusCode::UNAUTHORIZED);
    for (one, other, expected) in [
        (alice.as_str(), "garbage", ok),
        (alice.as_str(), "", ok),
        (alice.as_str(), mallory.as_str(), refused),
        (alice.as_str(), alice.as_str(), refused),
        ("garbage", "more garbage", refused),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            let cookies = format!("kerria={first}; kerria={second}");
            assert_eq!(with_cookies(&kerria, cookies.as_bytes()).await, expected, "{cookies}");
            let lines = format!("kerria={first}\r\nCookie: kerria={second}");
            assert_eq!(with_cookies(&kerria, lines.as_bytes()).await, expected, "{lines}");
        }
    }
}

#[tokio::test]
async fn foreign_cookies_log_nobody_out() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let token = kerria.signed_in("alice").await.token();
    let many: String = (0..60).map(|n| format!("foreign{n}=some-value-of-theirs; ")).collect();
    let mut latin = b"theirs=\xe9t\xe9; ".to_vec();
    latin.extend(format!("kerria={token}").as_bytes());
    assert_eq!(with_cookies(&kerria, &latin).await, StatusCode::OK);
    for cookies in [
        format!("{many}kerria={token}"),
        format!("kerria={token}; {many}"),
        format!(";; ;=; =x; x; kerria={token};;"),
        format!("x=\"a;kerria={token}"),
        format!("kerria2=x; Kerria=y; kerria={token}; kerria-device=z"),
        format!("a=1;\tkerria = {token}\t;b=2"),
    ] {
        assert_eq!(with_cookies(&kerria, cookies.as_bytes()).await, StatusCode::OK, "{cookies}");
    }
}

#[tokio::test]
async fn a_cookie_of_almost_the_right_name_is_not_it() {
    let kerria = Kerria::with(HTTPS).await;
    kerria.user("alice").await;
    let token = kerria.signed_in("alice").await.cookies["__Host-kerria"].clone();
    let exact = format!("__Host-kerria={token}");
    assert_eq!(with_cookies(&kerria, exact.as_bytes()).await, StatusCode::OK);
    for name in [
        "%5F%5FHost-kerria",
        "__host-kerria",
        "__HOST-KERRIA",
        "__Host-Kerria",
        "__Host-kerria2",
        "x__Host-kerria",
        "kerria",
        "__Secure-kerria",
        "\u{a0}__Host-kerria",
        "\u{2000}__Host-kerria",
        "\u{feff}__Host-kerria",
        "\"__Host-kerria\"",
        "$__Host-kerria",
    ] {
        let cookies = format!("{name}={token}");
        assert_eq!(with_cookies(&kerria, cookies.as_bytes()).await, StatusCode::UNAUTHORIZED, "{name}");
        let planted = format!("{name}=planted; {exact}");
        assert_eq!(with_cookies(&kerria, planted.as_bytes()).await, StatusCode::OK, "{name} beside ours");
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused_in_one_way_and_without_asking_the_store() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let token = kerria.signed_in("alice").await.token();
    let flipped = |at: usize, bit: u8| {
        let mut bytes = token.clone().into_bytes();
        bytes[at] ^= 1 << bit;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let foreign = Token::random(TokenKind::Session, &kerria::SystemEntropy);
    let mut malformed = vec![
        String::new(),
        token[..token.len() - 1].to_owned(),
        token[1..].to_owned(),
        format!("{token}A"),
        format!("{token}="),
        format!("{token}%00"),
        format!("\"{token}\""),
        token.to_uppercase(),
        token.to_lowercase(),
        token.replace("kst_", "kdt_"),
        token.replace("kst_", "KST_"),
        token.replace("kst_", "kst%5F"),
        format!("kst_{}", "A".repeat(54)),
        "x".repeat(10_000),
        format!("kst_{}", "A".repeat(10_000)),
        "../../etc/passwd".to_owned(),
        "' OR 1=1 --".to_owned(),
        foreign.write(&TokenKey::from_bytes([9; 16])).expose().clone(),
    ];
    // The first three bits: with the others, a letter could become one that no header may hold.
    malformed.extend([(4, 0), (20, 1), (40, 2), (56, 2), (57, 0)].map(|(at, bit)| flipped(at, bit)));
    let counters = kerria.app.checker.counters();
    let misses = counters.misses.load(Relaxed);
    let finds = kerria.store.asked("find");
    let mut answers = Vec::new();
    for token in malformed {
        let mut browser = kerria.browser();
        browser.cookies.insert("kerria".to_owned(), token.clone());
        let by_cookie = browser.get("/api/v1/session").await;
        let mut program = kerria.program();
        program.bearer = Some(token.clone());
        let by_bearer = program.get("/api/v1/session").await;
        assert_eq!(by_cookie.status, StatusCode::UNAUTHORIZED, "{token}");
        assert_eq!(by_cookie.set_cookies(), [""; 0]);
        answers.push((by_cookie.status, by_cookie.text));
        if !token.is_empty() {
            // Without one nothing was presented, and the answer says so.
            answers.push((by_bearer.status, by_bearer.text));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(counters.misses.load(Relaxed), misses);
    assert_eq!(kerria.store.asked("find"), finds);
}
