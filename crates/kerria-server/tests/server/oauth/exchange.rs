//! An access token for another audience, in exchange for a token of a session; and the same for its own user.

use hyper::StatusCode;
use kerria_core::{Cause, Clock, Selector};
use serde_json::{Value, json};

use super::{
    ACCESS_TOKEN, EXCHANGE, Party, SESSION_TOKEN, SHOP, WIKI, app_of, claims, error, register, sign_in,
};
use crate::cast::{Answer, HOUR, Kerria, MINUTE, PASSWORD};

async fn gateway(kerria: &Kerria) -> Party {
    let client = json!({
        "id": "gateway", "authentication": "client_secret", "grants": [EXCHANGE], "scope": "read admin",
        "audiences": [WIKI, SHOP],
    });
    register(kerria, &client).await
}

async fn exchange(kerria: &Kerria, client: &Party, token: &str, kind: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind)];
    fields.extend(more);
    client.post(kerria, "/oauth2/token", &fields).await
}

#[tokio::test]
async fn a_session_token_is_exchanged_for_an_access_token_of_its_session() {
    let kerria = Kerria::start().await;
    let alice = kerria.user("alice").await;
    let gateway = gateway(&kerria).await;
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let bearer = kerria.program().send("POST", "/api/v1/login", &login).await.json();
    let browser = kerria.signed_in("alice").await;
    for token in [bearer["token"].as_str().unwrap(), &browser.token()] {
        let answer =
            exchange(&kerria, &gateway, token, SESSION_TOKEN, &[("audience", SHOP), ("scope", "read")]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let told = answer.json();
        assert_eq!(told["issued_token_type"], ACCESS_TOKEN);
        assert!(told.get("refresh_token").is_none());
        let access = told["access_token"].as_str().unwrap();
        let claims = claims(access);
        assert_eq!(
            (&claims["sub"], &claims["aud"], &claims["scope"]),
            (&json!(alice), &json!(SHOP), &json!("read"))
        );
        assert_eq!(claims["client_id"], "gateway");
        assert!(gateway.is_active(&kerria, access).await);
        let session = json!({ "selector": { "kind": "session", "session": claims["sid"] } });
        kerria.operator().send("POST", "/api/v1/operator/revocations", &session).await;
        assert!(!gateway.is_active(&kerria, access).await, "it ends with its session");
        let answer = exchange(&kerria, &gateway, token, SESSION_TOKEN, &[]).await;
        assert_eq!(error(&answer), "invalid_request");
    }
}

#[tokio::test]
async fn an_exchange_does_not_outrun_the_end_of_its_client() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let gateway = gateway(&kerria).await;
    let browser = kerria.signed_in("alice").await;
    let client = gateway.id.parse().unwrap();
    let held = kerria.store.hold("client");
    let meanwhile = async {
        held.reached().await;
        let (selector, now) = (Selector::Client { client }, kerria.clock.now());
        kerria.app.store.revoke(selector, Cause::Operator, None, now).await.unwrap();
        held.release();
    };
    let token = browser.token();
    let (told, ()) = tokio::join!(exchange(&kerria, &gateway, &token, SESSION_TOKEN, &[]), meanwhile);
    let told = told.json();
    assert!(!gateway.is_active(&kerria, told["access_token"].as_str().unwrap()).await);
    let told = exchange(&kerria, &gateway, &browser.token(), SESSION_TOKEN, &[]).await.json();
    assert!(gateway.is_active(&kerria, told["access_token"].as_str().unwrap()).await, "what comes after");
}

#[tokio::test]
async fn an_access_token_is_exchanged_by_a_client_that_it_concerns_and_never_for_more() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let gateway = gateway(&kerria).await;
    let app = app_of(&kerria, "app").await;
    let tokens = sign_in(&kerria, "alice", "app").await;
    kerria.clock.advance(2 * MINUTE);
    let told = exchange(&kerria, &gateway, &tokens.access, ACCESS_TOKEN, &[("resource", WIKI)]).await.json();
    assert_eq!(told["scope"], "read", "what both may do");
    assert_eq!(told["expires_in"], 180, "it does not outlive what it came from");
    let wide = exchange(&kerria, &gateway, &tokens.access, ACCESS_TOKEN, &[("scope", "admin")]).await;
    assert_eq!(error(&wide), "invalid_scope");
    let elsewhere =
        exchange(&kerria, &gateway, &tokens.access, ACCESS_TOKEN, &[("audience", "https://x.example")]).await;
    assert_eq!(error(&elsewhere), "invalid_target");
    let robot = json!({
        "id": "robot", "authentication": "client_secret", "grants": [EXCHANGE], "scope": "read", "audiences": [WIKI],
    });
    let robot = register(&kerria, &robot).await;
    let foreign = exchange(&kerria, &robot, &tokens.access, ACCESS_TOKEN, &[]).await;
    assert_eq!(error(&foreign), "invalid_request", "it is not meant for this client");
    let public = exchange(&kerria, &app, &tokens.access, ACCESS_TOKEN, &[]).await;
    assert_eq!(error(&public), "unauthorized_client");
    app.revoke(&kerria, &tokens.refresh).await;
    assert_eq!(
        error(&exchange(&kerria, &gateway, &tokens.access, ACCESS_TOKEN, &[]).await),
        "invalid_request"
    );
}

#[tokio::test]
async fn only_what_is_said_to_be_what_it_is_can_be_exchanged() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let gateway = gateway(&kerria).await;
    app_of(&kerria, "app").await;
    let (tokens, browser) = (sign_in(&kerria, "alice", "app").await, kerria.signed_in("alice").await);
    let session = browser.token();
    for (token, kind) in [
        (&tokens.access, SESSION_TOKEN),
        (&session, ACCESS_TOKEN),
        (&tokens.refresh, SESSION_TOKEN),
        (&tokens.refresh, ACCESS_TOKEN),
        (&tokens.refresh, "urn:ietf:params:oauth:token-type:refresh_token"),
        (&tokens.access, "urn:ietf:params:oauth:token-type:id_token"),
        (&tokens.access, "urn:ietf:params:oauth:token-type:jwt"),
    ] {
        assert_eq!(error(&exchange(&kerria, &gateway, token, kind, &[]).await), "invalid_request", "{kind}");
    }
    for more in
        [("actor_token", "x"), ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")]
    {
        assert_eq!(
            error(&exchange(&kerria, &gateway, &session, SESSION_TOKEN, &[more]).await),
            "invalid_request"
        );
    }
    let more = [("requested_token_type", ACCESS_TOKEN)];
    assert_eq!(exchange(&kerria, &gateway, &session, SESSION_TOKEN, &more).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_comes_of_an_exchange_is_over_with_its_session() {
    let short = [
        ("tokens.access_lifetime", "1h"),
        ("session.idle_timeout", "80m"),
        ("session.absolute_timeout", "90m"),
    ];
    let kerria = Kerria::with(&short).await;
    kerria.user("alice").await;
    let gateway = gateway(&kerria).await;
    let browser = kerria.signed_in("alice").await;
    kerria.clock.advance(HOUR);
    let told = exchange(&kerria, &gateway, &browser.token(), SESSION_TOKEN, &[]).await.json();
    assert_eq!(told["expires_in"], 30 * 60);
}

async fn own_token(kerria: &Kerria, body: &Value) -> Answer {
    kerria.signed_in("alice").await.send("POST", "/api/v1/session/token", body).await
}

#[tokio::test]
async fn a_user_gets_a_token_for_an_audience_that_is_set_and_for_no_other() {
    let kerria = Kerria::with(&[("tokens.audiences", SHOP)]).await;
    let alice = kerria.user("alice").await;
    let told = own_token(&kerria, &json!({ "audience": SHOP })).await.json();
    let claims = claims(told["access_token"].as_str().unwrap());
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["client_id"]),
        (&json!(alice), &json!(SHOP), &json!("kerria"))
    );
    assert_eq!(told["expires_in"], 300);
    for (body, field) in [
        (json!({ "audience": WIKI }), "audience"),
        (json!({ "audience": kerria.app.issuer() }), "audience"),
        (json!({ "audience": SHOP, "scope": "admin" }), "scope"),
        (json!({ "audience": SHOP, "scope": "\"" }), "scope"),
    ] {
        let answer = own_token(&kerria, &body).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field))
        );
    }
    let foreign = kerria.signed_in("alice").await.sent_from(Some("cross-site"));
    let answer = foreign.clone().send("POST", "/api/v1/session/token", &json!({ "audience": SHOP })).await;
    assert_eq!(answer.problem(), "cross-site-request");
    let mut program = kerria.program();
    program.bearer = Some(sign_in(&kerria, "alice", "kerria").await.access);
    let answer = program.send("POST", "/api/v1/session/token", &json!({ "audience": SHOP })).await;
    assert_eq!(answer.problem(), "session-needed", "an access token makes no others");
}

#[tokio::test]
async fn without_a_setting_no_user_gets_tokens_for_others() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let answer = own_token(&kerria, &json!({ "audience": SHOP })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.json()["detail"].as_str().unwrap().contains("tokens.audiences"));
}

#[tokio::test]
async fn a_token_of_our_own_is_exchanged_for_no_more_than_was_asked_of_it() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let gateway = json!({
        "id": "gateway", "authentication": "client_secret", "grants": [EXCHANGE], "scope": "read account",
        "audiences": [SHOP, kerria.app.issuer()],
    });
    let gateway = register(&kerria, &gateway).await;
    let whole = sign_in(&kerria, "alice", "kerria").await;
    let told = exchange(&kerria, &gateway, &whole.access, ACCESS_TOKEN, &[]).await.json();
    assert_eq!(told["scope"], "account read");
    let narrowed = json!({ "refresh_token": whole.refresh, "scope": "" });
    let narrowed = kerria.program().send("POST", "/api/v1/session/refresh", &narrowed).await.json();
    let narrowed = narrowed["access_token"].as_str().unwrap();
    let own = kerria.app.issuer();
    let told = exchange(&kerria, &gateway, narrowed, ACCESS_TOKEN, &[("audience", &own)]).await.json();
    assert_eq!(told["scope"], "", "{told}");
    for token in [narrowed, told["access_token"].as_str().unwrap()] {
        let mut program = kerria.program();
        program.bearer = Some(token.to_owned());
        assert!(!program.is_signed_in().await);
        for scope in ["read", "account"] {
            let more = exchange(&kerria, &gateway, token, ACCESS_TOKEN, &[("scope", scope)]).await;
            assert_eq!(error(&more), "invalid_scope");
        }
    }
}
