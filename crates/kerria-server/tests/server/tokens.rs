//! Sessions that are carried in tokens: signing in, refreshing, replaying, ending.

use std::time::Duration;

use hyper::StatusCode;
use kerria::jwt::{KeySet, Refused, Verifier, VerifierSettings};
use kerria_core::Clock;
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
async fn every_use_of_a_refresh_token_gives_a_new_one_and_the_session_goes_on() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let first = signed_in(&kerria).await;
    let mut held = Held { access: first.access.clone(), refresh: first.refresh.clone() };
    for _ in 0..5 {
        kerria.clock.advance(MINUTE);
        let next = self::held(&refresh(&kerria, &held.refresh).await);
        assert_ne!(next.refresh, held.refresh);
        assert_eq!(claims(&next.access)["sid"], claims(&first.access)["sid"]);
        assert_eq!(claims(&next.access)["auth_time"], claims(&first.access)["auth_time"]);
        held = next;
    }
    assert!(is_good(&kerria, &held).await);
    assert_eq!(kerria.sessions().await, 1);
}

#[tokio::test]
async fn a_lost_reply_is_forgiven_with_the_same_successor_while_that_is_unused() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let first = signed_in(&kerria).await;
    let lost = held(&refresh(&kerria, &first.refresh).await);
    for _ in 0..10 {
        kerria.clock.advance(GRACE / 11);
        let again = held(&refresh(&kerria, &first.refresh).await);
        assert_eq!(again.refresh, lost.refresh);
        assert!(is_good(&kerria, &again).await);
    }
    assert!(refresh(&kerria, &lost.refresh).await.status.is_success());
}

#[tokio::test]
async fn the_audit_log_tells_from_where_a_used_refresh_token_was_presented() {
    let kerria = Kerria::with(&[("trusted_proxies", "127.0.0.1")]).await;
    kerria.user("alice").await;
    for (path, address) in [("/api/v1/session/refresh", "203.0.113.66"), ("/oauth2/token", "2001:db8::66")] {
        let stolen = signed_in(&kerria).await;
        let owner = held(&refresh(&kerria, &stolen.refresh).await);
        held(&refresh(&kerria, &owner.refresh).await);
        let mut thief = kerria.program().with("x-forwarded-for", address);
        let answer = if path == "/oauth2/token" {
            let grant = [("grant_type", "refresh_token"), ("client_id", "kerria")];
            thief.post_form(path, &[&grant[..], &[("refresh_token", &stolen.refresh)]].concat()).await
        } else {
            thief.send("POST", path, &json!({ "refresh_token": stolen.refresh })).await
        };
        assert!(answer.status.is_client_error(), "{path}: {}", answer.text);
        let audit = kerria.audit().await;
        let line = audit.last().unwrap();
        assert_eq!((&line["detail"], &line["address"]), (&json!("replayed, 1 session"), &json!(address)));
    }
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_the_session_for_thief_and_owner_alike() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let stolen = signed_in(&kerria).await;
    let owner = held(&refresh(&kerria, &stolen.refresh).await);
    let owner = held(&refresh(&kerria, &owner.refresh).await);
    assert!(is_good(&kerria, &owner).await);
    assert_eq!(refresh(&kerria, &stolen.refresh).await.status, StatusCode::UNAUTHORIZED); // the thief
    assert_eq!(refresh(&kerria, &owner.refresh).await.status, StatusCode::UNAUTHORIZED); // and Alice
    assert!(!is_good(&kerria, &owner).await);
    assert!(!is_good(&kerria, &stolen).await);
    let audit = kerria.audit().await;
    assert!(audit.iter().any(|line| line["detail"] == "replayed, 1 session"), "{audit:?}");
    // It is shown to her where she is told of her sessions.
    let page = kerria.signed_in("alice").await.get("/sessions").await.text;
    assert!(page.contains("used twice"), "{page}");
}

#[tokio::test]
async fn after_the_grace_a_repeated_use_is_theft_even_if_the_successor_was_never_used() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let first = signed_in(&kerria).await;
    let next = held(&refresh(&kerria, &first.refresh).await);
    kerria.clock.advance(GRACE);
    assert_eq!(refresh(&kerria, &first.refresh).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&kerria, &next.refresh).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn many_refreshes_at_once_all_succeed_and_leave_one_token() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut present = signed_in(&kerria).await.refresh;
    for _ in 0..20 {
        let at_once = (0..16).map(|_| refresh(&kerria, &present));
        let mut got: Vec<_> =
            futures_util::future::join_all(at_once).await.iter().map(|answer| held(answer).refresh).collect();
        got.dedup();
        assert_eq!(got.len(), 1, "all got the same successor");
        present = got.remove(0);
    }
    assert_eq!(kerria.sessions().await, 1);
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
async fn idle_and_absolute_limits_are_the_sessions_own() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let idle = signed_in(&kerria).await;
    kerria.clock.advance(2 * HOUR);
    assert_eq!(refresh(&kerria, &idle.refresh).await.status, StatusCode::UNAUTHORIZED);
    let mut used = signed_in(&kerria).await;
    for _ in 0..11 {
        kerria.clock.advance(HOUR);
        used = held(&refresh(&kerria, &used.refresh).await);
    }
    kerria.clock.advance(HOUR - MINUTE);
    let last = refresh(&kerria, &used.refresh).await;
    assert_eq!(last.json()["expires_in"], 60, "no access token outlives its session");
    kerria.clock.advance(MINUTE);
    let last = held(&last);
    assert_eq!(refresh(&kerria, &last.refresh).await.status, StatusCode::UNAUTHORIZED);
    assert!(!is_good(&kerria, &last).await);
}

#[tokio::test]
async fn an_access_token_is_over_after_five_minutes_and_survives_a_restart_before() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let tokens = signed_in(&kerria).await;
    let ended = signed_in(&kerria).await;
    with_access(&kerria, &ended.access).send("POST", "/api/v1/logout", &json!({})).await;
    let kerria = kerria.restart().await;
    assert!(!is_good(&kerria, &ended).await, "what was ended stays so");
    kerria.clock.advance(5 * MINUTE - Duration::from_secs(1));
    assert!(is_good(&kerria, &tokens).await);
    kerria.clock.advance(Duration::from_secs(1));
    assert!(!is_good(&kerria, &tokens).await);
    assert!(refresh(&kerria, &tokens.refresh).await.status.is_success());
}

#[tokio::test]
async fn an_access_token_changes_nothing_of_the_account() {
    let own = Kerria::start().await.app.issuer();
    let kerria = Kerria::with(&[("tokens.audiences", &own)]).await;
    kerria.user("alice").await;
    let mut in_bearer = kerria.program();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let bearer = in_bearer.send("POST", "/api/v1/login", &login).await.json();
    in_bearer.bearer = bearer["token"].as_str().map(str::to_owned);
    let mut tokens = vec![signed_in(&kerria).await.access];
    for session in [&mut kerria.signed_in("alice").await, &mut in_bearer] {
        tokens.push(
            held(&session.send("POST", "/api/v1/session/token", &json!({ "audience": own })).await).access,
        );
    }
    for token in tokens {
        let program = with_access(&kerria, &token);
        assert!(program.is_signed_in().await);
        changes_nothing_by_the_api(program.clone()).await;
        changes_nothing_by_the_pages(program).await;
        let mut browser = kerria.browser();
        browser.cookies.insert("kerria-access".to_owned(), token);
        assert!(browser.is_signed_in().await);
        changes_nothing_by_the_api(browser.clone()).await;
        changes_nothing_by_the_pages(browser).await;
    }
    assert!(kerria.signed_in("alice").await.is_signed_in().await);
}

#[tokio::test]
async fn an_access_token_takes_nothing_along_of_those_who_sign_in_or_out_beside_it() {
    let own = Kerria::start().await.app.issuer();
    let kerria = Kerria::with(&[("tokens.audiences", &own)]).await;
    kerria.user("alice").await;
    kerria.user("bob").await;
    let mut alice = kerria.signed_in("alice").await;
    let issued = alice.send("POST", "/api/v1/session/token", &json!({ "audience": own })).await;
    let access = held(&issued).access;
    // Her session is not the one that this browser carried before.
    let mut browser = kerria.browser();
    browser.cookies.insert("kerria-access".to_owned(), access.clone());
    assert!(browser.sign_in("bob", PASSWORD).await.status.is_success());
    assert!(alice.is_signed_in().await);
    // The cookie beside the token is another session's.
    let mut bob = kerria.signed_in("bob").await;
    bob.bearer = Some(access);
    let ended = bob.delete(&format!("/api/v1/sessions/{}", alice.handle().await)).await;
    assert_eq!((ended.status, ended.set_cookies()), (StatusCode::OK, vec![]));
    bob.bearer = None;
    assert!(bob.is_signed_in().await && !alice.is_signed_in().await);
}

async fn changes_nothing_by_the_pages(mut visitor: Browser) {
    let password = [("current_password", PASSWORD), ("new_password", "another long passphrase")];
    for (path, fields) in [
        ("/account/password", &password[..]),
        ("/account/name", &[("name", "mallory"), ("email", "")]),
        ("/account/delete", &[("confirm", "delete")]),
        ("/confirm", &[("password", PASSWORD)]),
    ] {
        let shown = visitor.get(if path == "/account/name" { "/account" } else { path }).await;
        let sent = visitor.post_form(path, fields).await;
        for answer in [shown, sent] {
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}: {}", answer.text);
            assert!(answer.header("location").unwrap().starts_with("/sign-in"), "{path}");
        }
    }
    let page = visitor.get("/sign-in").await.text;
    assert!(!page.contains("csrf_token"), "a page holds nothing of the session: {page}");
}

async fn changes_nothing_by_the_api(mut program: Browser) {
    let password = json!({ "current_password": PASSWORD, "new_password": "another long passphrase" });
    for (method, path, body) in [
        ("PUT", "/api/v1/user", json!({ "name": "mallory" })),
        ("DELETE", "/api/v1/user", json!({})),
        ("PUT", "/api/v1/password", password),
        ("POST", "/api/v1/session/step-up", json!({ "password": PASSWORD })),
    ] {
        let answer = program.send(method, path, &body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::FORBIDDEN, "session-needed"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn only_an_access_token_for_the_account_opens_it() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let own = kerria.app.issuer();
    for (client, scope, status) in [
        ("reader", "read", StatusCode::FORBIDDEN),
        ("accountant", "accounts account.read", StatusCode::FORBIDDEN),
        ("trusted", "read account", StatusCode::OK),
    ] {
        let registered = json!({ "id": client, "scope": scope, "audiences": [own] });
        let registered = kerria.operator().send("POST", "/api/v1/operator/clients", &registered).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
        let login = login(&json!({ "client_id": client }));
        let tokens = held(&kerria.program().send("POST", "/api/v1/login", &login).await);
        assert_eq!(
            (&claims(&tokens.access)["aud"], &claims(&tokens.access)["scope"]),
            (&json!(own), &json!(sorted(scope)))
        );
        let mut program = with_access(&kerria, &tokens.access);
        assert_eq!(program.get("/api/v1/sessions").await.status, status, "{client}");
        let data = program.send("PUT", "/api/v1/session/data/cart", &json!([])).await;
        assert_eq!(data.status, status, "{client}: {}", data.text);
        let answer = program.get("/api/v1/session").await;
        assert_eq!(answer.status, status, "{client}");
        if status == StatusCode::FORBIDDEN {
            assert_eq!(answer.problem(), "insufficient-scope");
            // RFC 6750, section 3.1.
            let challenge = "Bearer realm=\"kerria\", error=\"insufficient_scope\", scope=\"account\"";
            assert_eq!(answer.header("www-authenticate"), Some(challenge));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let mut browser = kerria.browser();
        browser.cookies.insert("kerria-access".to_owned(), tokens.access);
        assert_eq!(browser.get("/api/v1/sessions").await.status, status, "{client}");
    }
    let tokens = signed_in(&kerria).await;
    let narrowed = json!({ "refresh_token": tokens.refresh, "scope": "" });
    let narrowed = held(&kerria.program().send("POST", "/api/v1/session/refresh", &narrowed).await);
    assert!(is_good(&kerria, &tokens).await && !is_good(&kerria, &narrowed).await);
    assert!(kerria.metric("kerria_session_checks_refused_total{reason=\"insufficient_scope\"}").await >= 7.0);
}

fn sorted(scope: &str) -> String {
    scope.parse::<kerria_core::Scope>().unwrap().to_string()
}

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

#[tokio::test]
async fn others_verify_our_tokens_with_the_published_keys_across_a_rotation() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let issuer = kerria.app.issuer();
    let verifier =
        Verifier::new(VerifierSettings::new(&issuer, issuer.parse().unwrap()), published(&kerria).await);
    let long_before = signed_in(&kerria).await;
    kerria.clock.advance(90 * 24 * 60 * MINUTE);
    let before = signed_in(&kerria).await;
    kerria_server::maintenance::turn_keys(&kerria.app).await;
    let after = signed_in(&kerria).await;
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(kid(&before.access), kid(&after.access));
    // Whoever has fetched the keys before the rotation has the new one already.
    verifier.verify(after.access.as_bytes(), kerria.clock.now()).unwrap();
    // And whoever fetches them afterwards still has the old one.
    verifier.set_keys(published(&kerria).await);
    verifier.verify(before.access.as_bytes(), kerria.clock.now()).unwrap();
    let expired = verifier.verify(long_before.access.as_bytes(), kerria.clock.now()).unwrap_err();
    assert_eq!(expired, Refused::Expired);
    assert!(is_good(&kerria, &before).await && is_good(&kerria, &after).await);
    let keys = kerria.program().get("/.well-known/jwks.json").await;
    assert_eq!(keys.header("cache-control"), Some("public, max-age=300"));
    for secret in ["\"d\"", "\"p\"", "\"q\"", "\"k\""] {
        assert!(!keys.text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_operator_rotates_the_keys_and_throws_them_away() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let tokens = signed_in(&kerria).await;
    let browser = kerria.signed_in("alice").await;
    let mut operator = kerria.operator();
    let path = "/api/v1/operator/keys";
    let early = operator.send("POST", &format!("{path}/rotate"), &json!({})).await;
    assert_eq!(early.problem(), "key-too-new");
    kerria.clock.advance(5 * MINUTE - Duration::from_secs(1));
    let renewed = held(&refresh(&kerria, &tokens.refresh).await);
    kerria.clock.advance(Duration::from_secs(1));
    let rotated = operator.send("POST", &format!("{path}/rotate"), &json!({ "algorithm": "EdDSA" })).await;
    let states = |answer: &Answer| {
        let mut states: Vec<_> = answer.json()["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| format!("{} {}", key["algorithm"].as_str().unwrap(), key["state"].as_str().unwrap()))
            .collect();
        states.sort();
        states
    };
    assert_eq!(
        states(&rotated),
        ["ES256 active", "ES256 next", "EdDSA active", "EdDSA next", "EdDSA retired"]
    );
    assert!(!rotated.text.contains("sealed"));
    assert!(is_good(&kerria, &renewed).await, "what the old key signed stays good");
    let reset = operator.send("POST", &format!("{path}/reset"), &json!({})).await;
    assert_eq!(states(&reset), ["ES256 active", "ES256 next", "EdDSA active", "EdDSA next"]);
    assert!(!is_good(&kerria, &renewed).await);
    assert!(!browser.is_signed_in().await, "everything has ended");
    assert_eq!(refresh(&kerria, &renewed.refresh).await.status, StatusCode::UNAUTHORIZED);
    assert!(is_good(&kerria, &signed_in(&kerria).await).await);
}

#[tokio::test]
async fn keys_are_rotated_all_or_none() {
    let kerria = Kerria::start().await;
    let mut operator = kerria.operator();
    kerria.clock.advance(5 * MINUTE);
    let client = json!({ "id": "app", "audiences": ["https://a.example.com"], "access_tokens": "RS256" });
    let added = operator.send("POST", "/api/v1/operator/clients", &client).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    let before = operator.get("/api/v1/operator/keys").await.json();
    let early = operator.send("POST", "/api/v1/operator/keys/rotate", &json!({})).await;
    assert_eq!(early.problem(), "key-too-new");
    assert_eq!(operator.get("/api/v1/operator/keys").await.json(), before, "none was turned");
}

#[tokio::test]
async fn private_keys_are_in_no_file_as_they_are() {
    let kerria = Kerria::start().await;
    let sealed: Vec<Vec<u8>> = kerria
        .database()
        .prepare("SELECT sealed FROM signing_key")
        .unwrap()
        .query_map((), |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(sealed.len(), 4);
    // What a PKCS #8 document of Ed25519 begins with (RFC 8410, section 7), and one of P-256.
    let ed25519 = &b"\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..];
    let p256 = &b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b"[..];
    let folder = std::fs::read_dir(&kerria.app.config.data_dir).unwrap();
    let files: Vec<_> = folder.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        for mark in [ed25519, p256] {
            assert!(!bytes.windows(mark.len()).any(|window| window == mark), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn without_its_sealing_key_a_server_says_what_to_do() {
    let mut kerria = Kerria::start().await;
    kerria.stop().await;
    let config = kerria.app.config.clone();
    std::fs::write(config.data_dir.join("kerria.key"), [7; 32]).unwrap();
    drop(kerria.app);
    drop(kerria.store);
    let app = kerria_server::app::App::open(config).await.unwrap();
    let error = app.keyring.check().unwrap_err().to_string();
    assert!(error.contains("cannot be opened with this sealing key"), "{error}");
    assert!(error.contains("kerria keys rotate --revoke"), "{error}");
    app.keyring.reset(app.clock.now()).await.unwrap();
    app.keyring.check().unwrap();
}

#[tokio::test]
async fn a_sealing_key_that_is_missing_is_not_made_anew_while_keys_are_sealed_with_it() {
    let mut kerria = Kerria::start().await;
    kerria.user("alice").await;
    let before = signed_in(&kerria).await;
    kerria.stop().await;
    let file = kerria.app.config.data_dir.join("kerria.key");
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    let config = kerria.app.config.clone();
    let open = async || {
        let (store, edge) = (std::sync::Arc::clone(&kerria.store) as _, kerria_server::app::Edge::default());
        kerria_server::app::App::over(config.clone(), store, edge).await.unwrap()
    };
    let app = open().await;
    let told = app.keyring.check().unwrap_err().to_string();
    for part in
        [file.to_str().unwrap(), "is missing", "restore it from a backup", "kerria keys rotate --revoke"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(app.keyring.begin(kerria_core::Algorithm::Rs256, app.clock.now()).await.is_err());
    assert!(!file.exists(), "another key would not open what is sealed");
    // Restored, it is as it was.
    std::fs::rename(&aside, &file).unwrap();
    let app = open().await;
    app.keyring.check().unwrap();
    let now = kerria.clock.now();
    assert!(app.verifier.verify_offline(before.access.as_bytes(), now).is_ok());
    // Lost for good, a reset makes another one.
    std::fs::remove_file(&file).unwrap();
    let app = open().await;
    app.keyring.reset(now).await.unwrap();
    app.keyring.check().unwrap();
    assert!(file.exists());
    assert_eq!(app.verifier.verify_offline(before.access.as_bytes(), now).unwrap_err(), Refused::UnknownKey);
    // So does one in a server that runs and still knows the key.
    let app = open().await;
    app.keyring.check().unwrap();
    std::fs::remove_file(&file).unwrap();
    app.keyring.reset(now).await.unwrap();
    assert!(app.keyring.can_sign(kerria_core::Algorithm::EdDsa));
    open().await.keyring.check().unwrap();
}

#[tokio::test]
async fn a_reload_that_read_before_a_reset_does_not_bring_the_old_keys_back() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let before = signed_in(&kerria).await;
    let now = kerria.clock.now();
    for _ in 0..3 {
        let old = kerria.app.keyring.keys();
        let held = kerria.store.hold("signing_keys");
        let app = std::sync::Arc::clone(&kerria.app);
        let reload = tokio::spawn(async move { app.keyring.reload().await });
        held.reached().await;
        let app = std::sync::Arc::clone(&kerria.app);
        let mut reset = tokio::spawn(async move { app.keyring.reset(now).await });
        // One that does not wait for the reload is done by then; one that waits goes on after it.
        let early = tokio::time::timeout(Duration::from_millis(500), &mut reset).await;
        held.release();
        reload.await.unwrap().unwrap();
        match early {
            Ok(done) => done.unwrap().unwrap(),
            Err(_) => reset.await.unwrap().unwrap(),
        }
        let kept = kerria_core::store::SigningKeys::signing_keys(&*kerria.store).await.unwrap();
        assert_eq!(kerria.app.keyring.keys(), kept, "the keys are those that are kept");
        assert!(old.iter().all(|key| kept.iter().all(|kept| kept.kid != key.kid)));
        let refused = kerria.app.verifier.verify_offline(before.access.as_bytes(), now).unwrap_err();
        assert_eq!(refused, Refused::UnknownKey);
        let published = published(&kerria).await;
        assert_eq!(published.iter().count(), kept.len());
        assert!(is_good(&kerria, &signed_in(&kerria).await).await);
    }
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

#[tokio::test]
async fn with_strict_consistency_the_store_is_asked_each_time() {
    let kerria = Kerria::with(&[("session.consistency", "strict")]).await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let tokens = signed_in(&kerria).await;
    let misses = kerria.metric("kerria_session_cache_total{result=\"miss\"}").await;
    for _ in 0..3 {
        assert!(browser.is_signed_in().await);
        assert!(is_good(&kerria, &tokens).await);
    }
    let asked = kerria.metric("kerria_session_cache_total{result=\"miss\"}").await - misses;
    assert_eq!(asked, 6.0);
}
