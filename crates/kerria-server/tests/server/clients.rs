//! Clients: how operators register them.

use hyper::StatusCode;
use kerria_server::app::App;
use serde_json::{Value, json};

use crate::{
    cast::{Answer, Kerria},
    oauth::{Keyed, Party, SHOP, WIKI, app_of, error, register, sign_in},
};

async fn ask(kerria: &Kerria, method: &str, path: &str, body: &Value) -> Answer {
    kerria.operator().send(method, &format!("/api/v1/operator/{path}"), body).await
}

#[tokio::test]
async fn a_client_is_registered_shown_changed_and_removed() {
    let kerria = Kerria::start().await;
    let shop = json!({
        "id": "shop", "name": "The shop", "authentication": "client_secret", "scope": "write read",
        "audiences": [SHOP, WIKI], "access_tokens": "reference", "grants": ["refresh_token", "client_credentials"],
    });
    let added = ask(&kerria, "POST", "clients", &shop).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    let mut told = added.json();
    let secret = told.as_object_mut().unwrap().remove("secret").unwrap();
    assert!(secret.as_str().unwrap().starts_with("kcs_"));
    assert_eq!(told["scope"], "read write");
    assert_eq!(ask(&kerria, "GET", "clients/shop", &json!({})).await.json(), told);
    assert_eq!(ask(&kerria, "GET", "clients", &json!({})).await.json(), json!({ "clients": [told] }));
    assert_eq!(ask(&kerria, "POST", "clients", &shop).await.problem(), "client-exists");

    let change = json!({ "authentication": "client_secret", "audiences": [WIKI] });
    let changed = ask(&kerria, "PUT", "clients/shop", &change).await.json();
    assert!(changed.get("secret").is_none(), "it keeps its secret");
    assert_eq!((&changed["name"], &changed["grants"]), (&json!("shop"), &json!(["client_credentials"])));
    assert_eq!(changed["created_at"], told["created_at"]);
    let party = Party { id: "shop".to_owned(), secret: secret.as_str().map(str::to_owned) };
    assert!(!party.is_active(&kerria, "x").await, "it still proves itself");

    assert_eq!(ask(&kerria, "DELETE", "clients/shop", &json!({})).await.json(), json!({ "ended": 0 }));
    for (method, path) in [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/secret")] {
        let answer = ask(&kerria, method, &format!("clients/shop{path}"), &change).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn a_new_secret_ends_the_old_one() {
    let kerria = Kerria::start().await;
    let shop = json!({ "id": "shop", "authentication": "client_secret", "audiences": [SHOP] });
    let before = register(&kerria, &shop).await;
    let told = ask(&kerria, "POST", "clients/shop/secret", &json!({})).await.json();
    let after = Party { id: "shop".to_owned(), secret: told["secret"].as_str().map(str::to_owned) };
    assert!(!after.is_active(&kerria, "x").await);
    let answer = before.post(&kerria, "/oauth2/introspect", &[("token", "x")]).await;
    assert_eq!(error(&answer), "invalid_client");
    app_of(&kerria, "app").await;
    assert_eq!(ask(&kerria, "POST", "clients/app/secret", &json!({})).await.problem(), "no-secret");
}

#[tokio::test]
async fn a_client_that_is_removed_takes_its_sessions_along() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let app = app_of(&kerria, "app").await;
    let (tokens, browser) = (sign_in(&kerria, "alice", "app").await, kerria.signed_in("alice").await);
    assert_eq!(ask(&kerria, "DELETE", "clients/app", &json!({})).await.json(), json!({ "ended": 1 }));
    assert!(browser.is_signed_in().await);
    assert_eq!(error(&app.refresh(&kerria, &tokens.refresh).await), "invalid_client");
    let app = app_of(&kerria, "app").await;
    assert_eq!(error(&app.refresh(&kerria, &tokens.refresh).await), "invalid_grant");
}

#[tokio::test]
async fn what_cannot_be_a_client_is_refused_with_its_reason() {
    let kerria = Kerria::start().await;
    let keyed = Keyed::register(&kerria, "keyed", kerria_core::Algorithm::EdDsa).await;
    let jwk: Value = serde_json::from_str(&keyed.signer.public().to_json()).unwrap();
    let mut private = jwk.clone();
    private["d"] = json!("AAAA");
    let base = json!({ "id": "x", "audiences": [SHOP] });
    for (change, field) in [
        (json!({ "id": "kerria" }), "id"),
        (json!({ "id": "a b" }), "id"),
        (json!({ "id": null }), "id"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "x".repeat(101) }), "name"),
        (json!({ "authentication": "password" }), "authentication"),
        (json!({ "authentication": "private_key_jwt" }), "jwks"),
        (json!({ "authentication": "private_key_jwt", "jwks": { "keys": [] } }), "jwks"),
        (json!({ "authentication": "private_key_jwt", "jwks": { "keys": [private] } }), "jwks"),
        (json!({ "authentication": "private_key_jwt", "jwks": { "keys": [jwk, jwk] } }), "jwks"),
        (json!({ "jwks": { "keys": [jwk] } }), "jwks"),
        (json!({ "grants": ["password"] }), "grants"),
        (json!({ "grants": ["client_credentials"] }), "grants"),
        (json!({ "grants": [crate::oauth::EXCHANGE] }), "grants"),
        (json!({ "scope": "\"" }), "scope"),
        (json!({ "audiences": [] }), "audiences"),
        (json!({ "audiences": ["a b"] }), "audiences"),
        (json!({ "access_tokens": "none" }), "access_tokens"),
        (json!({ "access_tokens": "HS256" }), "access_tokens"),
    ] {
        let mut client = base.clone();
        client.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = ask(&kerria, "POST", "clients", &client).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{client}: {}", answer.text);
        assert_eq!(answer.json()["field"], field, "{client}: {}", answer.text);
    }
    let unknown = json!({ "id": "x", "audiences": [SHOP], "secret": "mine" });
    assert_eq!(ask(&kerria, "POST", "clients", &unknown).await.status, StatusCode::BAD_REQUEST);
    let renamed = json!({ "id": "y", "audiences": [SHOP] });
    assert_eq!(ask(&kerria, "PUT", "clients/keyed", &renamed).await.json()["field"], "id");
    assert_eq!(kerria.count("SELECT count(*) FROM client"), 1);
}

#[tokio::test]
async fn rsa_keys_are_made_when_a_client_needs_them_and_the_shared_secret_is_for_one_audience() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "x".repeat(40)).unwrap();
    let settings = [("tokens.hs256_audience", SHOP), ("tokens.hs256_secret_file", secret.to_str().unwrap())];
    let kerria = Kerria::with(&settings).await;
    kerria.user("alice").await;
    let algorithms = async || {
        let told = kerria.browser().get("/.well-known/jwks.json").await.json();
        let keys = told["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["alg"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!algorithms().await.contains(&"RS256".to_owned()));
    let both = json!({ "id": "both", "audiences": [SHOP, WIKI], "access_tokens": "HS256" });
    assert_eq!(ask(&kerria, "POST", "clients", &both).await.json()["field"], "access_tokens");
    let asks = json!({ "id": "shop", "authentication": "client_secret", "audiences": [SHOP] });
    let shop = register(&kerria, &asks).await;
    for algorithm in ["RS256", "HS256"] {
        let client = json!({ "id": algorithm, "audiences": [SHOP], "access_tokens": algorithm });
        register(&kerria, &client).await;
        let tokens = sign_in(&kerria, "alice", algorithm).await;
        assert!(shop.is_active(&kerria, &tokens.access).await, "{algorithm}");
    }
    assert!(algorithms().await.contains(&"RS256".to_owned()));
}

/// What a start with this file of clients comes to.
async fn started(kerria: Kerria, text: &str) -> Result<Kerria, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.toml");
    std::fs::write(&path, text.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
    std::fs::write(folder.path().join("secret"), format!("{}\n", "s".repeat(40))).unwrap();
    std::fs::write(folder.path().join("short"), "short").unwrap();
    let mut config = kerria.app.config.clone();
    config.clients_file = Some(path.clone());
    let store = std::sync::Arc::clone(&kerria.store) as _;
    let edge = kerria_server::app::Edge::default();
    match App::over(config, store, edge).await {
        Err(refused) => Err(format!("{refused:#}")),
        Ok(app) => {
            app.close().await;
            drop(app);
            Ok(kerria.restart_with(&[("clients_file", path.to_str().unwrap())]).await)
        }
    }
}

#[tokio::test]
async fn the_file_of_clients_holds_from_the_start_on() {
    let kerria = Kerria::start().await;
    app_of(&kerria, "old").await;
    let text = "[clients.shop]\nauthentication = \"client_secret\"\nsecret_file = \"FOLDER/secret\"\n\
                audiences = [\"https://shop.example.com\"]\naccess_tokens = \"RS256\"\n\
                [clients.old]\nname = \"Another name\"\naudiences = [\"https://wiki.example.com\"]\n";
    let kerria = started(kerria, text).await.unwrap();
    let shop = Party { id: "shop".to_owned(), secret: Some("s".repeat(40)) };
    let answer = shop.post(&kerria, "/oauth2/token", &[("grant_type", "client_credentials")]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(shop.is_active(&kerria, answer.json()["access_token"].as_str().unwrap()).await);
    let old = ask(&kerria, "GET", "clients/old", &json!({})).await.json();
    assert_eq!((&old["name"], &old["audiences"]), (&json!("Another name"), &json!([WIKI])));
    assert_eq!(old["scope"], "", "the file says all of it");
}

#[tokio::test]
async fn everything_that_is_wrong_with_the_file_of_clients_is_said_at_once() {
    let kerria = Kerria::start().await;
    let text = "[client.x]\n\
                [clients.a]\naudience = [\"https://x.example\"]\nscope = 7\n\
                [clients.kerria]\naudiences = [\"https://x.example\"]\n\
                [clients.b]\nauthentication = \"client_secret\"\naudiences = \"x\"\n\
                [clients.c]\nauthentication = \"client_secret\"\nsecret_file = \"FOLDER/short\"\naudiences = [\"x\"]\n\
                [clients.d]\nauthentication = \"private_key_jwt\"\njwks_file = \"FOLDER/nothing\"\naudiences = [\"x\"]\n";
    let refused = started(kerria, text).await.err().unwrap();
    for part in [
        "client: there is no such key; write [clients.NAME]",
        "clients.a.audience: there is no such key; did you mean audiences?",
        "clients.a.scope: write it in quotes",
        "clients.a.audiences: Name 1 to 32",
        "clients.kerria: The name kerria is reserved",
        "clients.b.audiences: write a list",
        "clients.b.secret_file: with client_secret, a file with its secret is needed",
        "clients.c.secret_file: the secret needs at least 32 characters",
        "clients.d.jwks_file: cannot read the file",
    ] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert!(!refused.contains("short\""), "no secret is repeated: {refused}");
}

#[tokio::test]
async fn a_file_of_clients_with_a_mistake_changes_nothing() {
    let kerria = Kerria::start().await;
    let text = "[clients.a]\naudiences = [\"https://x.example\"]\n[clients.b]\naudiences = []\n";
    let store = std::sync::Arc::clone(&kerria.store);
    assert!(started(kerria, text).await.is_err());
    assert_eq!(kerria_core::store::Clients::clients(&*store).await.unwrap(), []);
}

#[tokio::test]
async fn one_access_token_is_ended_by_its_name() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    app_of(&kerria, "app").await;
    let asks = json!({ "id": "shop", "authentication": "client_secret", "audiences": [SHOP] });
    let shop = register(&kerria, &asks).await;
    let (ended, other) = (sign_in(&kerria, "alice", "app").await, sign_in(&kerria, "alice", "app").await);
    let token = crate::oauth::claims(&ended.access)["jti"].clone();
    let selector = json!({ "selector": { "kind": "token", "token": token } });
    let answer = ask(&kerria, "POST", "revocations", &selector).await.json();
    assert_eq!(answer["ended"], 0, "its session goes on");
    assert!(!shop.is_active(&kerria, &ended.access).await && shop.is_active(&kerria, &other.access).await);
    for selector in [
        json!({ "kind": "token", "token": "x" }),
        json!({ "kind": "client", "client": "a b" }),
        json!({ "kind": "client" }),
    ] {
        let answer = ask(&kerria, "POST", "revocations", &json!({ "selector": selector })).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{selector}");
    }
}
