//! Refresh tokens: every use gives a new one, and a copy ends the session.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;

use super::{GRACE, Held, MINUTE, claims, held, is_good, refresh, signed_in};
use crate::cast::Kerria;

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
