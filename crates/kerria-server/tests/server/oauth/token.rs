//! The token endpoint: refresh tokens, and tokens of clients themselves.

use hyper::StatusCode;
use kerria::testing::Steps;
use kerria_core::{AccessTokenForm, Algorithm, Client, store::Clients};
use serde_json::json;

use super::{Party, SHOP, WIKI, app_of, claims, error, register, shop_of, sign_in};
use crate::cast::{HOUR, Kerria, MINUTE};

#[tokio::test]
async fn a_refresh_token_buys_the_next_ones() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let app = app_of(&kerria, "app").await;
    let tokens = sign_in(&kerria, "alice", "app").await;
    let answer = app.refresh(&kerria, &tokens.refresh).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told = answer.json();
    assert_eq!((&told["token_type"], &told["expires_in"]), (&json!("Bearer"), &json!(300)));
    assert_eq!(told["scope"], "read write");
    let claims = claims(told["access_token"].as_str().unwrap());
    assert_eq!((&claims["aud"], &claims["client_id"]), (&json!(SHOP), &json!("app")));
    assert_eq!(claims["sid"], json!(tokens.handle));
    let next = told["refresh_token"].as_str().unwrap();
    assert_eq!(app.refresh(&kerria, next).await.status, StatusCode::OK);
    assert_eq!(error(&app.refresh(&kerria, &tokens.refresh).await), "invalid_grant", "a replay");
    assert_eq!(kerria.sessions().await, 0);
}

#[tokio::test]
async fn another_clients_refresh_token_is_refused_and_stays_good() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (app, other) = (app_of(&kerria, "app").await, app_of(&kerria, "other").await);
    let tokens = sign_in(&kerria, "alice", "app").await;
    for client in [&other, &Party::public("kerria")] {
        assert_eq!(error(&client.refresh(&kerria, &tokens.refresh).await), "invalid_grant");
    }
    // Not even that it is good is told: the same as of a token that is none.
    for scope in ["read", "everything"] {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh), ("scope", scope)];
        assert_eq!(error(&other.post(&kerria, "/oauth2/token", &fields).await), "invalid_grant", "{scope}");
    }
    assert_eq!(app.refresh(&kerria, &tokens.refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_confidential_client_that_proves_nothing_consumes_no_refresh_token() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    app_of(&kerria, "app").await;
    let tokens = sign_in(&kerria, "alice", "app").await;
    let confidential = json!({
        "authentication": "client_secret", "grants": ["refresh_token"], "scope": "read write", "audiences": [SHOP],
    });
    let changed = kerria.operator().send("PUT", "/api/v1/operator/clients/app", &confidential).await;
    let secret = changed.json()["secret"].as_str().unwrap().to_owned();
    let wrong = Party { id: "app".to_owned(), secret: Some(format!("{secret}x")) };
    for client in [&Party::public("app"), &wrong] {
        let answer = client.refresh(&kerria, &tokens.refresh).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(error(&answer), "invalid_client");
    }
    assert_eq!(kerria.store.asked("rotate_refresh"), 0);
    let right = Party { id: "app".to_owned(), secret: Some(secret) };
    assert_eq!(right.refresh(&kerria, &tokens.refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_narrows_the_access_token_and_nothing_else() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let app = app_of(&kerria, "app").await;
    let mut refresh = sign_in(&kerria, "alice", "app").await.refresh;
    for (scope, granted) in [
        ("read", Ok("read")),
        ("read write admin", Err("invalid_scope")),
        ("admin", Err("invalid_scope")),
        ("re\"ad", Err("invalid_scope")),
        ("write  read", Ok("read write")),
        ("", Ok("read write")),
    ] {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("scope", scope)];
        let answer = app.post(&kerria, "/oauth2/token", &fields).await;
        match granted {
            Ok(granted) => {
                let told = answer.json();
                assert_eq!(told["scope"], granted, "{scope}");
                assert_eq!(claims(told["access_token"].as_str().unwrap())["scope"], granted);
                refresh = told["refresh_token"].as_str().unwrap().to_owned();
            }
            Err(refused) => assert_eq!(error(&answer), refused, "{scope}"),
        }
    }
}

#[tokio::test]
async fn a_refresh_is_for_the_same_audience() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let client = json!({ "id": "app", "audiences": [SHOP, WIKI] });
    let app = register(&kerria, &client).await;
    let refresh = sign_in(&kerria, "alice", "app").await.refresh;
    for name in ["resource", "audience"] {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", &refresh), (name, WIKI)];
        assert_eq!(error(&app.post(&kerria, "/oauth2/token", &fields).await), "invalid_target");
    }
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("resource", SHOP)];
    assert_eq!(app.post(&kerria, "/oauth2/token", &fields).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_is_refreshed_is_in_use_whatever_memory_holds() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let own = Party::public("kerria");
    let mut tokens = sign_in(&kerria, "alice", "kerria").await;
    let mut program = kerria.program();
    program.bearer = Some(tokens.access.clone());
    assert!(program.is_signed_in().await, "and memory holds the session from now on");
    for _ in 0..4 {
        kerria.clock.advance(HOUR);
        let told = own.refresh(&kerria, &tokens.refresh).await.json();
        tokens.refresh = told["refresh_token"].as_str().unwrap().to_owned();
        program.bearer = told["access_token"].as_str().map(str::to_owned);
    }
    assert!(program.is_signed_in().await, "the idle time is two hours");
}

#[tokio::test]
async fn a_client_gets_a_token_for_itself_and_no_refresh_token() {
    let kerria = Kerria::start().await;
    let client = json!({
        "id": "robot", "authentication": "client_secret", "scope": "read write", "audiences": [SHOP, WIKI],
    });
    let robot = register(&kerria, &client).await;
    let fields = [("grant_type", "client_credentials"), ("scope", "read"), ("resource", WIKI)];
    let told = robot.post(&kerria, "/oauth2/token", &fields).await.json();
    assert!(told.get("refresh_token").is_none());
    assert_eq!(told["scope"], "read");
    let claims = claims(told["access_token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("robot"), &json!(WIKI)));
    assert!(claims.get("sid").is_none() && claims.get("auth_time").is_none());
    for (more, refused) in [
        (("scope", "admin"), "invalid_scope"),
        (("resource", "https://elsewhere.example.com"), "invalid_target"),
        (("audience", "not an audience"), "invalid_target"),
    ] {
        let fields = [("grant_type", "client_credentials"), more];
        assert_eq!(error(&robot.post(&kerria, "/oauth2/token", &fields).await), refused);
    }
}

#[tokio::test]
async fn a_token_of_a_client_dies_with_its_client() {
    let kerria = Kerria::start().await;
    let shop = shop_of(&kerria).await;
    for form in ["EdDSA", "reference"] {
        let client = json!({
            "id": "robot", "authentication": "client_secret", "audiences": [SHOP], "access_tokens": form,
        });
        let robot = register(&kerria, &client).await;
        let told = robot.post(&kerria, "/oauth2/token", &[("grant_type", "client_credentials")]).await.json();
        let token = told["access_token"].as_str().unwrap();
        assert!(shop.is_active(&kerria, token).await, "{form}");
        kerria.operator().delete("/api/v1/operator/clients/robot").await;
        assert!(!shop.is_active(&kerria, token).await, "{form}");
        register(&kerria, &client).await;
        assert!(!shop.is_active(&kerria, token).await, "{form}: another client of the same name");
        kerria.operator().delete("/api/v1/operator/clients/robot").await;
    }
}

#[tokio::test]
async fn a_client_uses_only_the_grants_that_it_is_registered_for() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (app, shop) = (app_of(&kerria, "app").await, shop_of(&kerria).await);
    let refresh = sign_in(&kerria, "alice", "app").await.refresh;
    let refused = |answer| error(&answer);
    assert_eq!(refused(shop.refresh(&kerria, &refresh).await), "unauthorized_client");
    for client in [&app, &shop] {
        let fields = [("grant_type", "client_credentials")];
        assert_eq!(refused(client.post(&kerria, "/oauth2/token", &fields).await), "unauthorized_client");
        for kind in ["password", "authorization_code", "REFRESH_TOKEN"] {
            let fields = [("grant_type", kind)];
            assert_eq!(
                refused(client.post(&kerria, "/oauth2/token", &fields).await),
                "unsupported_grant_type"
            );
        }
        assert_eq!(refused(client.post(&kerria, "/oauth2/token", &[]).await), "invalid_request");
    }
    assert_eq!(app.refresh(&kerria, &refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_form_is_read_strictly() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    app_of(&kerria, "app").await;
    let token = sign_in(&kerria, "alice", "app").await.refresh;
    let good = format!("grant_type=refresh_token&client_id=app&refresh_token={token}");
    let form = "application/x-www-form-urlencoded";
    let mut program = kerria.program();
    for (what, kind, body) in [
        ("the same twice", Some(form), format!("{good}&client_id=app")),
        ("an unknown one twice", Some(form), format!("{good}&x=1&x=2")),
        ("no UTF-8", Some(form), format!("{good}&x=%ff")),
        ("no form", Some("application/json"), json!({ "grant_type": "refresh_token" }).to_string()),
        ("text", Some("text/plain"), good.clone()),
        ("no type", None, good.clone()),
    ] {
        let answer = program.request("POST", "/oauth2/token", kind, body).await;
        assert_eq!(
            (answer.status, error(&answer).as_str()),
            (StatusCode::BAD_REQUEST, "invalid_request"),
            "{what}"
        );
    }
    let large = format!("{good}&x={}", "x".repeat(70_000));
    let answer = program.request("POST", "/oauth2/token", Some(form), large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(error(&answer), "invalid_request");
    let in_uri = program.request("POST", &format!("/oauth2/token?{good}"), Some(form), String::new()).await;
    assert_eq!(error(&in_uri), "invalid_client", "what stands in the URI counts for nothing");
    assert_eq!(program.get(&format!("/oauth2/token?{good}")).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let unknown = format!("{good}&unknown=1&scope=");
    let kind = "application/x-www-form-urlencoded; charset=UTF-8";
    assert_eq!(program.request("POST", "/oauth2/token", Some(kind), unknown).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_fails_is_never_an_answer_about_a_token() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let app = app_of(&kerria, "app").await;
    let client = json!({ "id": "robot", "authentication": "client_secret", "audiences": [SHOP], "access_tokens": "reference" });
    let robot = register(&kerria, &client).await;
    let refresh = sign_in(&kerria, "alice", "app").await.refresh;
    for steps in [Steps::All, Steps::Of("client"), Steps::Of("rotate_refresh")] {
        kerria.store.fail(steps);
        let answer = app.refresh(&kerria, &refresh).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{steps:?}");
        assert_eq!(error(&answer), "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    kerria.store.fail(Steps::Of("keep_reference"));
    let answer = robot.post(&kerria, "/oauth2/token", &[("grant_type", "client_credentials")]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    kerria.store.mend();
    assert_eq!(app.refresh(&kerria, &refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_token_is_not_used_up_where_nothing_can_be_signed() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let app = app_of(&kerria, "app").await;
    let refresh = sign_in(&kerria, "alice", "app").await.refresh;
    let whole = kerria.store.client("app".parse().unwrap()).await.unwrap().unwrap();
    // Nobody has begun this keyring.
    let without_key = Client { access_tokens: AccessTokenForm::Jwt(Algorithm::Rs256), ..whole.clone() };
    assert!(kerria.store.change_client(&without_key).await.unwrap());
    let answer = app.refresh(&kerria, &refresh).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("the same refresh token"), "{}", answer.text);
    assert_eq!(kerria.store.asked("rotate_refresh"), 0);
    assert!(kerria.store.change_client(&whole).await.unwrap());
    assert_eq!(app.refresh(&kerria, &refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn cookies_and_foreign_pages_are_nothing_to_the_oauth_endpoints() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        for site in [Some("same-origin"), Some("cross-site"), None] {
            let fields = [("grant_type", "refresh_token"), ("token", &browser.token())];
            let answer = browser.sent_from(site).post_form(path, &fields).await;
            assert_eq!(error(&answer), "invalid_client", "{path}");
            assert!(answer.set_cookies().is_empty());
        }
    }
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn the_metadata_says_what_there_is() {
    let kerria = Kerria::with(&[("public_url", "https://sign-in.example.com")]).await;
    let answer = kerria.browser().get("/.well-known/oauth-authorization-server").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let told = answer.json();
    assert_eq!(told["issuer"], "https://sign-in.example.com");
    for (name, path) in [
        ("token_endpoint", "/oauth2/token"),
        ("introspection_endpoint", "/oauth2/introspect"),
        ("revocation_endpoint", "/oauth2/revoke"),
        ("jwks_uri", "/.well-known/jwks.json"),
    ] {
        assert_eq!(told[name], format!("https://sign-in.example.com{path}"));
        assert_ne!(kerria.browser().get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(told["response_types_supported"], json!([]));
    assert!(!told["introspection_endpoint_auth_methods_supported"].to_string().contains("none"));
    let algorithms = &told["token_endpoint_auth_signing_alg_values_supported"];
    assert_eq!(algorithms, &json!(["EdDSA", "ES256", "RS256"]));
    kerria.clock.advance(MINUTE);
}
