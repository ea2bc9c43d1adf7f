//! What an access token opens, and for how long.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;

use super::{MINUTE, claims, held, is_good, login, refresh, signed_in, with_access};
use crate::cast::{Browser, Kerria, PASSWORD};

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
