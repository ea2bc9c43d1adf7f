//! Giving tokens back.

use hyper::StatusCode;
use kerria::testing::Steps;
use serde_json::json;

use super::{Party, SHOP, WIKI, app_of, error, register, shop_of, sign_in};
use crate::cast::{Kerria, MINUTE};

#[tokio::test]
async fn a_refresh_token_that_is_given_back_takes_its_session_and_access_tokens_along() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (app, shop) = (app_of(&kerria, "app").await, shop_of(&kerria).await);
    let first = sign_in(&kerria, "alice", "app").await;
    let told = app.refresh(&kerria, &first.refresh).await.json();
    for refresh in [told["refresh_token"].as_str().unwrap(), &sign_in(&kerria, "alice", "app").await.refresh]
    {
        assert_eq!(app.revoke(&kerria, refresh).await, StatusCode::OK);
        assert_eq!(error(&app.refresh(&kerria, refresh).await), "invalid_grant");
        assert_eq!(app.revoke(&kerria, refresh).await, StatusCode::OK, "again");
    }
    for access in [told["access_token"].as_str().unwrap(), &first.access] {
        assert!(!shop.is_active(&kerria, access).await);
    }
    assert_eq!(kerria.sessions().await, 0);
    let ended =
        kerria.audit().await.into_iter().find(|entry| entry["detail"].to_string().contains("given_back"));
    assert!(ended.is_some(), "the audit log says so");
}

#[tokio::test]
async fn an_access_token_that_is_given_back_ends_alone() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let shop = shop_of(&kerria).await;
    for form in ["RS256", "reference"] {
        let client = json!({ "id": form, "audiences": [SHOP], "access_tokens": form });
        let app = register(&kerria, &client).await;
        let tokens = sign_in(&kerria, "alice", form).await;
        let second = app.refresh(&kerria, &tokens.refresh).await.json();
        let fields = [("token", tokens.access.as_str()), ("token_type_hint", "refresh_token")];
        assert_eq!(app.post(&kerria, "/oauth2/revoke", &fields).await.status, StatusCode::OK, "a wrong hint");
        assert!(!shop.is_active(&kerria, &tokens.access).await, "{form}");
        assert!(shop.is_active(&kerria, second["access_token"].as_str().unwrap()).await);
        assert_eq!(
            app.refresh(&kerria, second["refresh_token"].as_str().unwrap()).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_token_that_is_given_back_again_and_again_is_written_down_once() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for form in ["EdDSA", "reference"] {
        let client = json!({ "id": form, "audiences": [SHOP], "access_tokens": form });
        let app = register(&kerria, &client).await;
        let tokens = sign_in(&kerria, "alice", form).await;
        let before = kerria.store.asked("revoke");
        for _ in 0..3 {
            assert_eq!(app.revoke(&kerria, &tokens.access).await, StatusCode::OK, "{form}");
        }
        assert_eq!(kerria.store.asked("revoke"), before + 1, "{form}");
        let second = app.refresh(&kerria, &tokens.refresh).await.json();
        assert_eq!(app.revoke(&kerria, second["refresh_token"].as_str().unwrap()).await, StatusCode::OK);
        // What was issued in the session has ended with it.
        assert_eq!(
            app.revoke(&kerria, second["access_token"].as_str().unwrap()).await,
            StatusCode::OK,
            "{form}"
        );
        assert_eq!(kerria.store.asked("revoke"), before + 2, "{form}");
    }
}

#[tokio::test]
async fn a_token_of_another_client_stays_what_it_is() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let reference = json!({ "id": "opaque", "audiences": [SHOP], "access_tokens": "reference" });
    let (app, opaque, shop) =
        (app_of(&kerria, "app").await, register(&kerria, &reference).await, shop_of(&kerria).await);
    let (theirs, browser) = (sign_in(&kerria, "alice", "app").await, kerria.signed_in("alice").await);
    let opaques = sign_in(&kerria, "alice", "opaque").await;
    for (thief, tokens) in [
        (&opaque, vec![&theirs.access, &theirs.refresh]),
        (&app, vec![&opaques.access, &opaques.refresh]),
        (&shop, vec![&theirs.access, &theirs.refresh, &opaques.access, &opaques.refresh]),
        (&Party::public("kerria"), vec![&theirs.access, &theirs.refresh, &opaques.access]),
    ] {
        for token in tokens {
            assert_eq!(thief.revoke(&kerria, token).await, StatusCode::OK);
        }
        assert_eq!(thief.revoke(&kerria, &browser.token()).await, StatusCode::OK);
        if thief.id != "kerria" {
            assert!(browser.is_signed_in().await, "{}", thief.id);
        }
    }
    assert!(!browser.is_signed_in().await, "its own token is our own client's");
    assert!(shop.is_active(&kerria, &theirs.access).await && shop.is_active(&kerria, &opaques.access).await);
    assert_eq!(app.refresh(&kerria, &theirs.refresh).await.status, StatusCode::OK);
    assert_eq!(opaque.refresh(&kerria, &opaques.refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_that_is_none_is_answered_like_one_that_was_ended() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let app = app_of(&kerria, "app").await;
    let expired = sign_in(&kerria, "alice", "app").await.access;
    kerria.clock.advance(5 * MINUTE);
    let before = kerria.store.asked("revoke");
    for token in ["x", "kst_x", "krt_x", "kat_x", "ey.x.y", &expired, &"x".repeat(10_000)] {
        assert_eq!(app.revoke(&kerria, token).await, StatusCode::OK);
    }
    assert_eq!(kerria.store.asked("revoke"), before, "nothing was written");
    assert_eq!(error(&app.post(&kerria, "/oauth2/revoke", &[]).await), "invalid_request");
}

#[tokio::test]
async fn nothing_is_given_back_by_somebody_who_is_no_client() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let shop = shop_of(&kerria).await;
    let app = app_of(&kerria, "app").await;
    let tokens = sign_in(&kerria, "alice", "app").await;
    let answer = kerria.program().post_form("/oauth2/revoke", &[("token", &tokens.refresh)]).await;
    assert_eq!((answer.status, error(&answer).as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    let wrong = Party { secret: Some("wrong".to_owned()), ..shop.clone() };
    for client in [&wrong, &Party::public("shop"), &Party::public("nobody")] {
        assert_eq!(client.revoke(&kerria, &tokens.refresh).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.refresh(&kerria, &tokens.refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_fails_ends_nothing_and_says_so() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let reference = json!({ "id": "opaque", "audiences": [WIKI], "access_tokens": "reference" });
    let (app, opaque) = (app_of(&kerria, "app").await, register(&kerria, &reference).await);
    let (tokens, opaques) =
        (sign_in(&kerria, "alice", "app").await, sign_in(&kerria, "alice", "opaque").await);
    for steps in [Steps::All, Steps::Of("revoke"), Steps::Of("client")] {
        kerria.store.fail(steps);
        for (client, token) in [
            (&app, &tokens.access),
            (&app, &tokens.refresh),
            (&opaque, &opaques.access),
            (&opaque, &opaques.refresh),
        ] {
            let answer = client.post(&kerria, "/oauth2/revoke", &[("token", token)]).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{steps:?}");
            assert_eq!(
                (answer.header("retry-after"), error(&answer).as_str()),
                (Some("1"), "temporarily_unavailable")
            );
        }
    }
    kerria.store.mend();
    assert_eq!(app.refresh(&kerria, &tokens.refresh).await.status, StatusCode::OK);
}
