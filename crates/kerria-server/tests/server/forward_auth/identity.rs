//! What an application is told of the user, and what of their credentials.

use hyper::StatusCode;
use kerria_core::Clock;
use serde_json::{Value, json};

use super::{RULES, ask, claims, decoded, identity, kerria, kerria_with};
use crate::cast::{FILE, Kerria, MINUTE, PASSWORD};

#[tokio::test]
async fn a_request_passes_with_the_identity_of_its_user_and_without_our_credentials() {
    let kerria = kerria().await;
    let alice = kerria.signed_in("alice").await;
    let other = alice.with("cookie", "theme=dark; kerria-device=x").with("authorization", "Basic YTpi");
    let answer = ask(&other, "GET", "http://app.site.localhost/a?b").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
    let [user, name, email, groups, jwt] = identity(&answer).try_into().unwrap();
    let account = alice.clone().get("/api/v1/user").await.json();
    assert_eq!((user, name, email, groups), (account["id"].as_str().unwrap(), "alice", "", ""));
    assert_eq!(
        (answer.header("cookie"), answer.header("authorization")),
        (Some("theme=dark"), Some("Basic YTpi"))
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let claims = claims(jwt);
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!("http://app.site.localhost"), &account["id"]));
    assert_eq!(
        (&claims["sid"], &claims["iss"]),
        (&json!(alice.handle().await), &json!("http://id.site.localhost:8080"))
    );
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert!(is_signed_with_a_published_key(&kerria, jwt).await);
    assert!(!is_signed_with_a_published_key(&kerria, &jwt.replacen('.', ".e", 1)).await);
    // It is no access token.
    let mut program = kerria.program();
    program.bearer = Some(jwt.to_owned());
    assert!(!program.is_signed_in().await);
}

#[tokio::test]
async fn a_token_of_ours_is_kept_from_the_application_even_if_it_is_good_for_nothing() {
    let kerria = kerria().await;
    for (sent, passed_on) in [
        ("Bearer kst_x", ""),
        ("Bearer kat_x", ""),
        ("Bearer krt_x", ""),
        ("bearer  kat_x", ""),
        ("Bearer other", "Bearer other"),
        ("Basic YTpi", "Basic YTpi"),
    ] {
        let browser = kerria.browser().with("authorization", sent);
        let answer = ask(&browser, "GET", "http://app.site.localhost/public/").await;
        assert_eq!(
            (answer.status, answer.header("authorization")),
            (StatusCode::OK, Some(passed_on)),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn an_application_sees_nothing_of_the_tokens_that_a_browser_application_keeps() {
    let kerria = kerria().await;
    let mut alice = kerria.browser();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "tokens" });
    let tokens = alice.send("POST", "/api/v1/login", &login).await.json();
    let url = "http://app.site.localhost/";
    let mut program = kerria.program();
    program.bearer = tokens["access_token"].as_str().map(str::to_owned);
    let answer = ask(&program, "GET", url).await;
    assert_eq!((answer.status, answer.header("authorization")), (StatusCode::OK, Some("")));
    // A token of somebody else's is none of ours to keep back.
    program.bearer = Some("eyJ.of.others".to_owned());
    let answer = ask(&program, "GET", &format!("{url}public/")).await;
    assert_eq!(answer.header("authorization"), Some("Bearer eyJ.of.others"));
    let mut login = login;
    login["keep"] = json!("both_in_cookies");
    alice.send("POST", "/api/v1/login", &login).await;
    assert!(["kerria-access", "kerria-refresh"].iter().all(|name| alice.cookies.contains_key(*name)));
    alice.cookies.insert("theme".to_owned(), "dark".to_owned());
    let answer = ask(&alice, "GET", url).await;
    assert_eq!((answer.status, answer.header("cookie")), (StatusCode::OK, Some("theme=dark")));
}

#[tokio::test]
async fn a_user_without_a_name_is_called_by_the_identifier_where_others_are_by_name() {
    let kerria = kerria_with(&[(FILE, RULES), ("forward_auth.remote_user", "name")]).await;
    let account = json!({ "email": "only@example.com", "password": PASSWORD });
    let account = kerria.operator().send("POST", "/api/v1/operator/users", &account).await.json();
    for (login, user) in [("alice", "alice"), ("only@example.com", account["id"].as_str().unwrap())] {
        let answer = ask(&kerria.signed_in(login).await, "GET", "http://app.site.localhost/").await;
        assert_eq!((answer.header("remote-user"), answer.header("remote-name")), (Some(user), Some(login)));
    }
}

async fn is_signed_with_a_published_key(kerria: &Kerria, jwt: &str) -> bool {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decoded(jwt.split('.').next().unwrap())).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!("identity+jwt"), &json!("EdDSA")));
    let published = kerria.program().get("/.well-known/jwks.json").await.json();
    let keys = published["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the key is published");
    let key = UnparsedPublicKey::new(&ED25519, decoded(key["x"].as_str().unwrap()));
    key.verify(message.as_bytes(), &decoded(signature)).is_ok()
}

#[tokio::test]
async fn a_signed_identity_is_given_out_for_half_of_its_time_and_for_one_audience() {
    let kerria = kerria().await;
    let alice = kerria.signed_in("alice").await;
    let jwt = async |url| identity(&ask(&alice, "GET", url).await)[4].to_owned();
    let first = jwt("http://app.site.localhost/").await;
    kerria.clock.advance(MINUTE / 2 - std::time::Duration::from_millis(1));
    assert_eq!(jwt("http://app.site.localhost/x").await, first);
    let other = jwt("http://app.site.localhost:81/").await;
    assert_eq!(claims(&other)["aud"], "http://app.site.localhost:81");
    assert_eq!(claims(&jwt("http://api.site.localhost/").await)["aud"], "the-api");
    assert_eq!(jwt("http://app.site.localhost/").await, first);
    kerria.clock.advance(std::time::Duration::from_millis(1));
    assert_ne!(jwt("http://app.site.localhost/").await, first);
    let mut renamed = alice.clone();
    let answer =
        renamed.send("PUT", "/api/v1/user", &json!({ "name": "Alicia", "email": "a@example.com" })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer = ask(&alice, "GET", "http://app.site.localhost/").await;
    assert_eq!(identity(&answer)[1..3], ["Alicia", "a@example.com"]);
    assert_eq!(claims(identity(&answer)[4])["name"], "Alicia");
    // If the clock was ahead, and was set right, none is from the future.
    kerria.clock.set(kerria.clock.now() - MINUTE / 4);
    let issued_at = claims(&jwt("http://app.site.localhost/").await)["iat"].as_i64().unwrap();
    assert_eq!(issued_at, kerria.clock.now().as_millis() / 1000);
}
