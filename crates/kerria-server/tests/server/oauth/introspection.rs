//! What a token stands for, and who may know.

use hyper::StatusCode;
use kerria::testing::Steps;
use kerria_core::Clock;
use serde_json::json;

use super::{Party, SHOP, WIKI, app_of, error, register, seconds, shop_of, sign_in};
use crate::cast::{HOUR, Kerria, MINUTE, PASSWORD};

async fn confidential(kerria: &Kerria, id: &str, audience: &str, scope: &str) -> Party {
    let client = json!({
        "id": id, "authentication": "client_secret", "grants": [], "audiences": [audience], "scope": scope,
    });
    register(kerria, &client).await
}

#[tokio::test]
async fn a_good_access_token_is_told_in_full() {
    let kerria = Kerria::start().await;
    let alice = kerria.user("alice").await;
    let shop = shop_of(&kerria).await;
    let now = seconds(kerria.clock.now());
    for form in ["ES256", "reference"] {
        let client = json!({ "id": form, "scope": "read write", "audiences": [SHOP], "access_tokens": form });
        register(&kerria, &client).await;
        let tokens = sign_in(&kerria, "alice", form).await;
        assert_eq!(tokens.access.starts_with("kat_"), form == "reference");
        let mut told = shop.introspect(&kerria, &tokens.access).await;
        assert!(told["jti"].is_string());
        told["jti"] = json!("its own");
        assert_eq!(
            told,
            json!({
                "active": true, "iss": kerria.app.issuer(), "sub": alice, "aud": SHOP, "client_id": form,
                "scope": "read write", "username": "alice", "token_type": "Bearer", "iat": now, "exp": now + 300,
                "sid": tokens.handle, "auth_time": now, "acr": "aal1", "amr": ["pwd"], "jti": "its own",
            })
        );
    }
}

#[tokio::test]
async fn a_token_that_is_not_good_is_inactive_and_nothing_else_is_told() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let shop = shop_of(&kerria).await;
    for form in ["EdDSA", "reference"] {
        let client = json!({ "id": form, "audiences": [SHOP], "access_tokens": form });
        let app = register(&kerria, &client).await;
        let mut operator = kerria.operator();
        let signed_in = async || sign_in(&kerria, "alice", form).await;

        let expired = signed_in().await;
        assert!(shop.is_active(&kerria, &expired.access).await);
        kerria.clock.advance(5 * MINUTE);
        assert!(!shop.is_active(&kerria, &expired.access).await, "{form}: at the very instant");

        let revoked = signed_in().await;
        assert_eq!(app.revoke(&kerria, &revoked.access).await, StatusCode::OK);
        assert!(!shop.is_active(&kerria, &revoked.access).await);
        let refreshed = app.refresh(&kerria, &revoked.refresh).await.json();
        assert!(
            shop.is_active(&kerria, refreshed["access_token"].as_str().unwrap()).await,
            "its session goes on"
        );

        let ended = signed_in().await;
        assert!(shop.is_active(&kerria, &ended.access).await, "and memory holds it");
        operator.delete(&format!("/api/v1/operator/sessions/{}", ended.handle)).await;
        assert!(!shop.is_active(&kerria, &ended.access).await);

        let disabled = signed_in().await;
        operator.send("POST", "/api/v1/operator/users/alice/disable", &json!({})).await;
        assert!(!shop.is_active(&kerria, &disabled.access).await);
        operator.send("POST", "/api/v1/operator/users/alice/enable", &json!({})).await;
        assert!(!shop.is_active(&kerria, &disabled.access).await);

        let of_client = signed_in().await;
        let selector = json!({ "selector": { "kind": "client", "client": form } });
        operator.send("POST", "/api/v1/operator/revocations", &selector).await;
        assert!(!shop.is_active(&kerria, &of_client.access).await);
    }
    for garbage in
        ["x", "kst_", "krt_x", "kat_AAAA", "ey.ey.ey", "eyJ", "a\u{301}", &"ey".repeat(20_000), "..."]
    {
        assert!(!shop.is_active(&kerria, garbage).await, "{garbage}");
    }
    let answer = shop.post(&kerria, "/oauth2/introspect", &[]).await;
    assert_eq!(error(&answer), "invalid_request");
}

#[tokio::test]
async fn a_session_that_idles_or_grows_too_old_makes_its_tokens_inactive() {
    let lifetime = [("session.absolute_timeout", "3h"), ("session.idle_timeout", "1h")];
    let kerria = Kerria::with(&lifetime).await;
    kerria.user("alice").await;
    let gateway = confidential(&kerria, "gateway", WIKI, "introspect").await;
    let app = app_of(&kerria, "app").await;
    let idle = sign_in(&kerria, "alice", "app").await;
    let mut used = sign_in(&kerria, "alice", "app").await.refresh;
    kerria.clock.advance(59 * MINUTE);
    assert!(gateway.is_active(&kerria, &idle.refresh).await, "and asking is no use");
    for _ in 0..3 {
        let answer = app.refresh(&kerria, &used).await.json();
        used = answer["refresh_token"].as_str().unwrap().to_owned();
        assert!(gateway.is_active(&kerria, answer["access_token"].as_str().unwrap()).await);
        kerria.clock.advance(40 * MINUTE);
        assert!(!gateway.is_active(&kerria, &idle.refresh).await, "its hour is over");
    }
    assert!(gateway.is_active(&kerria, &used).await);
    kerria.clock.advance(MINUTE);
    assert!(!gateway.is_active(&kerria, &used).await, "three hours are over");
}

#[tokio::test]
async fn only_a_client_that_proves_who_it_is_may_ask() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (app, shop) = (app_of(&kerria, "app").await, shop_of(&kerria).await);
    let tokens = sign_in(&kerria, "alice", "app").await;
    let wrong = Party { secret: Some("wrong".to_owned()), ..shop.clone() };
    for client in [&app, &wrong, &Party::public("kerria"), &Party::public("shop")] {
        let answer = client.post(&kerria, "/oauth2/introspect", &[("token", &tokens.access)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(error(&answer), "invalid_client");
    }
    let answer = kerria.program().post_form("/oauth2/introspect", &[("token", &tokens.access)]).await;
    assert_eq!(error(&answer), "invalid_client");
}

#[tokio::test]
async fn a_token_is_told_to_those_whom_it_concerns() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    app_of(&kerria, "app").await;
    let shop = shop_of(&kerria).await;
    let wiki = confidential(&kerria, "wiki", WIKI, "").await;
    let gateway = confidential(&kerria, "gateway", WIKI, "introspect").await;
    let ours = confidential(&kerria, "ours", &kerria.app.issuer(), "").await;
    let tokens = sign_in(&kerria, "alice", "app").await;
    let session = kerria.signed_in("alice").await.token();
    for (token, seen_by) in [
        (&tokens.access, [true, false, true, false]),
        // It is for its own client alone; a resource server must not take it for an access token.
        (&tokens.refresh, [false, false, true, false]),
        (&session, [false, false, true, true]),
    ] {
        for (client, sees) in [&shop, &wiki, &gateway, &ours].into_iter().zip(seen_by) {
            assert_eq!(client.is_active(&kerria, token).await, sees, "{} and {token}", client.id);
        }
    }
}

#[tokio::test]
async fn a_refresh_token_is_active_while_it_is_the_present_one_and_asking_is_no_use() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let app = app_of(&kerria, "app").await;
    let gateway = confidential(&kerria, "gateway", WIKI, "introspect").await;
    let tokens = sign_in(&kerria, "alice", "app").await;
    let told = gateway.introspect(&kerria, &tokens.refresh).await;
    assert_eq!((&told["client_id"], &told["aud"]), (&json!("app"), &json!(kerria.app.issuer())));
    assert!(told.get("token_type").is_none() && told.get("jti").is_none(), "{told}");
    let next =
        app.refresh(&kerria, &tokens.refresh).await.json()["refresh_token"].as_str().unwrap().to_owned();
    assert!(
        !gateway.is_active(&kerria, &tokens.refresh).await,
        "used before, and told without ending anything"
    );
    for _ in 0..3 {
        assert!(gateway.is_active(&kerria, &next).await);
        kerria.clock.advance(40 * MINUTE);
    }
    assert!(!gateway.is_active(&kerria, &next).await, "two hours without use");
}

#[tokio::test]
async fn a_session_token_is_told_whether_cookie_or_bearer() {
    let kerria = Kerria::start().await;
    let alice = kerria.user("alice").await;
    let ours = confidential(&kerria, "ours", &kerria.app.issuer(), "").await;
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let bearer = kerria.program().send("POST", "/api/v1/login", &login).await.json();
    let cookie = kerria.signed_in("alice").await;
    for token in [bearer["token"].as_str().unwrap(), &cookie.token()] {
        let told = ours.introspect(&kerria, token).await;
        assert_eq!((&told["sub"], &told["client_id"]), (&json!(alice), &json!("kerria")));
        assert_eq!(told["exp"], seconds(kerria.clock.now()) + 2 * 60 * 60);
    }
    kerria.clock.advance(2 * HOUR);
    assert!(!ours.is_active(&kerria, &cookie.token()).await);
}

#[tokio::test]
async fn a_jwt_for_others_that_was_asked_about_opens_no_door_here() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    app_of(&kerria, "app").await;
    let shop = shop_of(&kerria).await;
    let tokens = sign_in(&kerria, "alice", "app").await;
    let mut program = kerria.program();
    program.bearer = Some(tokens.access.clone());
    for _ in 0..2 {
        assert!(!program.is_signed_in().await);
        assert!(shop.is_active(&kerria, &tokens.access).await, "and the verifier remembers it");
    }
}

#[tokio::test]
async fn introspection_from_memory_needs_no_store_and_otherwise_says_so() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    app_of(&kerria, "app").await;
    let gateway = confidential(&kerria, "gateway", WIKI, "introspect").await;
    let reference = json!({ "id": "opaque", "audiences": [SHOP], "access_tokens": "reference" });
    register(&kerria, &reference).await;
    let (jwt, opaque) = (sign_in(&kerria, "alice", "app").await, sign_in(&kerria, "alice", "opaque").await);
    for (token, step) in
        [(&jwt.access, "session"), (&jwt.refresh, "is_present_refresh"), (&opaque.access, "reference")]
    {
        kerria.store.fail(Steps::Of(step));
        let answer = gateway.post(&kerria, "/oauth2/introspect", &[("token", token)]).await;
        assert_eq!(
            (answer.status, error(&answer).as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
        );
        kerria.store.mend();
        assert!(gateway.is_active(&kerria, token).await);
    }
    kerria.store.fail(Steps::Of("session"));
    assert!(gateway.is_active(&kerria, &jwt.access).await, "memory holds the session");
}
