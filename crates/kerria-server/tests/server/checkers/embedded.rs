//! An application with the session layer, and a clock that moves.

use std::sync::Arc;

use axum::{Router, body::Body, routing::get};
use hyper::{Request, StatusCode, header};
use kerria::{
    Check, CurrentSession, RemoteChecker, RemoteOptions, SessionState,
    jwt::{KeySet, Verifier, VerifierSettings},
};
use kerria_core::{Clock, Expiry, Timestamp, UserId};
use serde_json::json;
use tower::ServiceExt;

use crate::cast::{Browser, CHECKERS_TOKEN, HOUR, Kerria, MINUTE, PASSWORD};

/// An application that follows `kerria`, and goes by its clock.
async fn shop(kerria: &Kerria) -> RemoteChecker {
    let options = RemoteOptions::new([format!("http://{}", kerria.address)], CHECKERS_TOKEN);
    RemoteChecker::start(options.clock(Arc::clone(&kerria.clock) as Arc<dyn Clock>)).await.unwrap()
}

/// What its layer makes of this session cookie: the status, and the cookie that it sets.
async fn visit(shop: &RemoteChecker, cookie: &str) -> (StatusCode, Option<String>) {
    let page = get(async |current: CurrentSession| match current.state() {
        SessionState::Good(_) => StatusCode::OK,
        SessionState::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
        SessionState::None | SessionState::Refused(_) => StatusCode::UNAUTHORIZED,
    });
    let app: Router = Router::new().route("/", page).layer(shop.layer());
    let request = Request::get("/").header(header::COOKIE, format!("kerria={cookie}")).body(Body::empty());
    let answer = app.oneshot(request.unwrap()).await.unwrap();
    let set = answer.headers().get(header::SET_COOKIE).map(|set| set.to_str().unwrap());
    let set = set.map(|set| set.strip_prefix("kerria=").unwrap().split(';').next().unwrap().to_owned());
    (answer.status(), set)
}

async fn signed_in(kerria: &Kerria) -> Browser {
    kerria.user("alice").await;
    kerria.signed_in("alice").await
}

#[tokio::test]
async fn an_application_replaces_tokens_by_the_rule_of_the_server_and_finds_a_replay() {
    let settings = [("checkers.token", CHECKERS_TOKEN), ("session.rotate_after", "1m")];
    let kerria = Kerria::with(&settings).await;
    let mut alice = signed_in(&kerria).await;
    let shop = shop(&kerria).await;
    let old = alice.token();
    assert_eq!(visit(&shop, &old).await, (StatusCode::OK, None));
    kerria.clock.advance(2 * MINUTE);
    let (status, new) = visit(&shop, &old).await;
    let new = new.expect("the token is due");
    assert!(status == StatusCode::OK && new != old);
    assert_eq!(visit(&shop, &old).await, (StatusCode::OK, Some(new.clone())), "the reply may have been lost");
    assert_eq!(visit(&shop, &new).await, (StatusCode::OK, None));
    alice.cookies.insert("kerria".to_owned(), new.clone());
    assert!(alice.is_signed_in().await);
    // Its time is over.
    kerria.clock.advance(MINUTE / 2);
    assert_eq!(visit(&shop, &old).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(visit(&shop, &new).await.0, StatusCode::UNAUTHORIZED, "somebody has a copy: it has ended");
    assert!(!alice.is_signed_in().await);
}

#[tokio::test]
async fn an_application_knows_the_groups_of_a_user_and_hears_of_every_change() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await;
    let id: UserId = kerria.user("alice").await.parse().unwrap();
    let shop = shop(&kerria).await;
    let mut operator = kerria.operator();
    for round in 0..20 {
        let group = format!("g{round}");
        let change = json!({ "join": [group], "leave": [format!("g{}", round - 1)] });
        let changed = operator.send("POST", "/api/v1/operator/users/alice/groups", &change).await;
        assert_eq!(changed.status, StatusCode::OK);
        for _ in 0..2 {
            let profile = shop.checker().profile(id).await.unwrap().unwrap();
            assert_eq!((profile.display_name(), profile.groups.to_string()), ("alice", group.clone()));
        }
        assert!(shop.checker().recall_profile(id).is_some());
    }
    assert_eq!(shop.checker().profile(UserId::from_bytes([9; 16])).await.unwrap(), None);
}

#[tokio::test]
async fn what_an_application_has_seen_is_told_to_the_server() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await;
    let alice = signed_in(&kerria).await;
    let shop = shop(&kerria).await;
    kerria.clock.advance(HOUR);
    assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::OK);
    shop.stop().await.unwrap();
    let seen: u64 = kerria.count("SELECT last_seen_at FROM session");
    assert_eq!(Timestamp::from_millis(seen.try_into().unwrap()), kerria.clock.now());
}

#[tokio::test]
async fn a_session_that_nobody_uses_is_over_in_an_application_too() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await;
    let alice = signed_in(&kerria).await;
    let shop = shop(&kerria).await;
    assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::OK);
    kerria.clock.advance(HOUR + 30 * MINUTE);
    // Used at the server only, which has not written it down yet.
    assert!(alice.is_signed_in().await);
    kerria.clock.advance(HOUR);
    assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::OK);
    kerria.clock.advance(2 * HOUR);
    assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_that_is_to_be_over_sooner_is_over_in_an_application_too() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await;
    kerria.user("alice").await;
    let shop = shop(&kerria).await;
    for sooner in [Expiry::at(kerria.clock.now() + 10 * MINUTE), Expiry::on_inactivity(10 * MINUTE)] {
        let [alice, other] = [kerria.signed_in("alice").await, kerria.signed_in("alice").await];
        // It is in the memory of the application already.
        assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::OK);
        let session = alice.handle().await.parse().unwrap();
        // By another application over the store of the server.
        assert!(kerria.app.store.set_expiry(session, sooner, kerria.clock.now()).await.unwrap());
        kerria.clock.advance(9 * MINUTE);
        let idle = sooner.idle().is_some();
        let uses = if idle { 3 } else { 1 };
        for _ in 1..uses {
            assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::OK, "{sooner:?}");
            kerria.clock.advance(9 * MINUTE);
        }
        assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::OK, "{sooner:?}");
        kerria.clock.advance(if idle { 10 * MINUTE } else { MINUTE });
        assert_eq!(visit(&shop, &alice.token()).await.0, StatusCode::UNAUTHORIZED, "{sooner:?}");
        assert_eq!(visit(&shop, &other.token()).await.0, StatusCode::OK, "by the policy");
    }
}

#[tokio::test]
async fn an_access_token_is_refused_by_an_application_once_it_or_its_session_has_ended() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await;
    kerria.user("alice").await;
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "tokens" });
    let issued = async || {
        let tokens = kerria.program().send("POST", "/api/v1/login", &login).await.json();
        tokens["access_token"].as_str().unwrap().to_owned()
    };
    let keys = kerria.program().get("/.well-known/jwks.json").await.text;
    let settings = VerifierSettings::new("http://localhost:8080", "http://localhost:8080".parse().unwrap());
    let verifier = Verifier::new(settings, KeySet::parse(keys.as_bytes()).unwrap());
    let claims = |token: &str| {
        let token = verifier.verify_offline(token.as_bytes(), kerria.clock.now());
        token.expect("by itself it is good").claims
    };
    let (alone, with_session, good) = (issued().await, issued().await, issued().await);
    let end_alone = async |token: &str| {
        let selector = json!({ "kind": "token", "token": claims(token).bearing().token });
        let revocation = json!({ "selector": selector });
        let ended = kerria.operator().send("POST", "/api/v1/operator/revocations", &revocation).await;
        assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    };
    let sign_out = async |token: &str| {
        let mut program = Browser { bearer: Some(token.to_owned()), ..kerria.program() };
        let ended = program.send("POST", "/api/v1/logout", &json!({})).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text);
    };
    end_alone(&alone).await;
    sign_out(&with_session).await;

    // It begins to follow when these have ended already.
    let shop = shop(&kerria).await;
    assert_eq!(shop.issuer(), "http://localhost:8080");
    let is_good = async |token: &str| {
        let claims = claims(token);
        let as_of = claims.as_of.unwrap_or_default();
        let checked = shop.checker().check_bearing(&claims.bearing(), as_of, kerria.clock.now()).await;
        matches!(checked.unwrap(), Check::Good(_))
    };
    assert!(!is_good(&alone).await && !is_good(&with_session).await);
    let other = issued().await;
    for _ in 0..2 {
        assert!(is_good(&good).await && is_good(&other).await);
    }
    sign_out(&good).await;
    end_alone(&other).await;
    assert!(!is_good(&good).await && !is_good(&other).await);
}
