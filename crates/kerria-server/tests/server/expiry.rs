//! How long a session lasts, what extends it, and what is left of it in the store.

use std::time::Duration;

use futures_util::future::join_all;
use hyper::StatusCode;
use kerria::{SystemEntropy, testing::Steps};
use kerria_core::{
    DataKey, Device, SessionId, Timestamp, Token, TokenKind, Transport,
    store::{DataOwner, NewSession, SessionData},
};
use serde_json::json;

use crate::cast::{Answer, Browser, DAY, HOUR, Kerria, MINUTE, OTHER_PASSWORD, PASSWORD};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Signs in, and asks to stay signed in.
async fn remembered(kerria: &Kerria, name: &str) -> (Browser, Answer) {
    let mut browser = kerria.browser();
    let login = json!({ "login": name, "password": PASSWORD, "remember": true });
    let answer = browser.send("POST", "/api/v1/login", &login).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    (browser, answer)
}

/// The `Max-Age` with which the session cookie was set.
fn max_age(answer: &Answer) -> Option<u64> {
    let cookie = answer.set_cookies().into_iter().find(|cookie| cookie.starts_with("kerria="));
    let cookie = cookie.expect("the session cookie is set");
    cookie.split("; ").find_map(|part| part.strip_prefix("Max-Age=")).map(|age| age.parse().unwrap())
}

/// The instant that the server names as the end.
async fn expires_at(browser: &Browser) -> String {
    browser.clone().get("/api/v1/session").await.json()["expires_at"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_unused_session_is_over_after_its_idle_time_and_use_starts_it_anew() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let used = kerria.signed_in("alice").await;
    let unused = kerria.signed_in("alice").await;
    kerria.clock.advance(2 * HOUR - SECOND);
    assert!(used.is_signed_in().await);
    kerria.clock.advance(SECOND);
    assert!(!unused.is_signed_in().await, "over at its very instant");
    assert!(used.is_signed_in().await);
    kerria.clock.advance(2 * HOUR);
    assert!(!used.is_signed_in().await);
}

#[tokio::test]
async fn no_use_carries_a_session_past_its_absolute_end() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    for _ in 0..11 {
        kerria.clock.advance(HOUR);
        assert!(browser.is_signed_in().await);
    }
    // A new token is the same session: it does not live longer.
    browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert_eq!(expires_at(&browser).await, "2027-01-15T20:00:00.000Z");
    kerria.clock.advance(HOUR - SECOND);
    assert!(browser.is_signed_in().await);
    kerria.clock.advance(SECOND);
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn only_who_asks_for_it_stays_signed_in_when_the_browser_is_closed() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let ordinary = kerria.browser().sign_in("alice", PASSWORD).await;
    assert_eq!(max_age(&ordinary), None, "it ends with the browser");
    let (browser, answer) = remembered(&kerria, "alice").await;
    assert_eq!(max_age(&answer), Some(30 * 24 * 60 * 60));
    kerria.clock.advance(7 * DAY - SECOND);
    assert!(browser.is_signed_in().await);
    assert_eq!(expires_at(&browser).await, "2027-01-29T07:59:59.000Z");
}

#[tokio::test]
async fn the_cookie_and_the_server_agree_on_the_end_of_a_remembered_session() {
    let kerria = Kerria::with(&[("session.remembered_idle_timeout", "30d")]).await;
    kerria.user("alice").await;
    let (mut browser, answer) = remembered(&kerria, "alice").await;
    let before = kerria.app.clock.now();
    let end = before + Duration::from_secs(max_age(&answer).unwrap());
    kerria.clock.advance(10 * DAY);
    let answer = browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert_eq!(max_age(&answer), Some(20 * 24 * 60 * 60), "what is left of it");
    kerria.clock.set(end - Duration::from_millis(1));
    assert!(browser.is_signed_in().await);
    kerria.clock.set(end);
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn no_later_write_shortens_a_remembered_session() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (mut browser, _) = remembered(&kerria, "alice").await;
    let left = |days: u64| Some((30 - days) * 24 * 60 * 60);

    kerria.clock.advance(DAY);
    let answer = browser.send("PUT", "/api/v1/session/data/cart", &json!([1])).await;
    assert_eq!((answer.status, answer.set_cookies()), (StatusCode::OK, vec![]));
    assert_eq!(expires_at(&browser).await, "2027-01-23T08:00:00.000Z");

    kerria.clock.advance(DAY);
    let answer = browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert_eq!(max_age(&answer), left(2));

    kerria.clock.advance(DAY);
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    let answer = browser.send("PUT", "/api/v1/password", &change).await;
    assert_eq!(max_age(&answer), left(3), "{}", answer.text);

    kerria.sweep().await;
    let kerria = kerria.restart().await;
    let mut later = kerria.browser();
    later.cookies = browser.cookies;
    kerria.clock.advance(7 * DAY - SECOND);
    let session = later.get("/api/v1/session").await;
    assert_eq!(session.status, StatusCode::OK);
    assert_eq!(session.json()["remembered"], true);
}

#[tokio::test]
async fn every_lifetime_works_down_to_one_second() {
    let kerria = Kerria::with(&[
        ("session.idle_timeout", "1s"),
        ("session.absolute_timeout", "2s"),
        ("session.remembered_idle_timeout", "1s"),
        ("session.remembered_absolute_timeout", "1s"),
        ("session.fresh_for", "1s"),
        ("session.last_seen_precision", "100ms"),
    ])
    .await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let (short, answer) = remembered(&kerria, "alice").await;
    assert_eq!(max_age(&answer), Some(1));
    kerria.clock.advance(Duration::from_millis(999));
    assert!(browser.is_signed_in().await && short.is_signed_in().await);
    kerria.clock.advance(Duration::from_millis(1));
    assert!(browser.is_signed_in().await && !short.is_signed_in().await);
    assert_eq!(browser.delete("/api/v1/user").await.problem(), "fresh-sign-in-required");
    kerria.clock.advance(Duration::from_millis(999));
    assert!(browser.is_signed_in().await);
    kerria.clock.advance(Duration::from_millis(1));
    assert!(!browser.is_signed_in().await);
}

/// Many visitors, without the detour over HTTP.
async fn visitors(kerria: &Kerria, number: usize) {
    let (store, now) = (&kerria.store, kerria.app.clock.now());
    let key = DataKey::parse("cart").unwrap();
    let limits = kerria.app.config.session.data;
    let written = join_all((0..number).map(|_| {
        let owner = DataOwner::Visitor(NewSession {
            id: SessionId::new(now, &SystemEntropy),
            token: Token::random(TokenKind::Session, &SystemEntropy).hash(),
            transport: Transport::Cookie,
            remembered: false,
            device: Device::new("", [127, 0, 0, 1].into()),
            now,
        });
        store.put_data(owner, &key, "[1]".to_owned(), limits)
    }))
    .await;
    assert!(written.into_iter().all(|outcome| outcome.is_ok()));
}

#[tokio::test]
async fn what_is_over_is_removed_in_bounded_batches_and_what_lives_stays() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (remembered, _) = remembered(&kerria, "alice").await;
    visitors(&kerria, 1_200).await;
    kerria.clock.advance(HOUR);
    let used = kerria.signed_in("alice").await;
    kerria.clock.advance(HOUR + MINUTE);
    let before = kerria.store.asked("sweep_sessions");
    kerria.sweep().await;
    assert_eq!(kerria.store.asked("sweep_sessions") - before, 4, "500, 500, 200, and nothing more");
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 2);
    assert_eq!(kerria.count("SELECT count(*) FROM session_data"), 0);
    assert!(used.is_signed_in().await && remembered.is_signed_in().await);
}

#[tokio::test]
async fn a_thousand_requests_are_one_write_and_no_cookie() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    kerria.sweep().await;
    let database = kerria.database();
    let version = || database.pragma_query_value::<u64, _>(None, "data_version", |row| row.get(0)).unwrap();
    let before = version();
    let (touches, finds) = (kerria.store.asked("touch"), kerria.store.asked("find"));
    for _ in 0..1_000 {
        kerria.clock.advance(Duration::from_millis(10));
        let answer = browser.get("/api/v1/session").await;
        assert_eq!((answer.status, answer.set_cookies()), (StatusCode::OK, vec![]));
    }
    assert_eq!(version(), before, "a request that only reads writes nothing");
    assert_eq!(kerria.store.asked("find"), finds, "and asks the store nothing");
    kerria.app.checker.flush(kerria.app.clock.now()).await.unwrap();
    kerria.app.checker.flush(kerria.app.clock.now()).await.unwrap();
    assert_eq!(kerria.store.asked("touch"), touches + 1);
    assert_ne!(version(), before);
}

#[tokio::test]
async fn visitors_who_only_look_around_leave_no_row_and_get_no_cookie() {
    let kerria = Kerria::start().await;
    for path in ["/", "/sign-in", "/signed-out", "/sessions", "/api/v1/session", "/nothing", "/health/ready"]
    {
        let answer = kerria.browser().get(path).await;
        assert_eq!(answer.set_cookies(), [""; 0], "{path}");
    }
    assert_eq!(kerria.browser().sign_in("nobody", PASSWORD).await.set_cookies(), [""; 0]);
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 0);
}

#[tokio::test]
async fn when_a_session_was_last_used_survives_a_restart() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    kerria.clock.advance(90 * MINUTE);
    assert!(browser.is_signed_in().await);
    let kerria = kerria.restart().await;
    let mut later = kerria.browser();
    later.cookies = browser.cookies;
    kerria.clock.advance(119 * MINUTE);
    let listed = later.get("/api/v1/sessions").await.json();
    assert_eq!(listed["sessions"][0]["opened_at"], "2027-01-15T08:00:00.000Z");
    assert!(later.is_signed_in().await);
}

#[tokio::test]
async fn what_is_noted_late_does_not_bring_back_an_ended_session() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    kerria.clock.advance(MINUTE);
    assert!(phone.is_signed_in().await);
    laptop.delete("/api/v1/sessions?scope=others").await;
    kerria.app.checker.flush(kerria.app.clock.now()).await.unwrap();
    assert!(!phone.is_signed_in().await);
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 1);
    let kerria = kerria.restart().await;
    let mut later = kerria.browser();
    later.cookies = phone.cookies;
    assert!(!later.is_signed_in().await);
}

#[tokio::test]
async fn a_session_in_use_is_never_taken_for_an_unused_one() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut laptop = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    kerria.clock.advance(90 * MINUTE);
    assert!(phone.is_signed_in().await && laptop.is_signed_in().await);
    kerria.store.fail(Steps::Of("touch"));
    assert!(kerria.app.checker.flush(kerria.app.clock.now()).await.is_err());
    kerria.store.mend();
    kerria.clock.advance(90 * MINUTE);
    kerria.sweep().await;
    assert_eq!(kerria.count("SELECT count(*) FROM session"), 2);
    assert!(phone.is_signed_in().await, "what could not be noted was noted later");
    assert_eq!(laptop.delete("/api/v1/sessions?scope=others").await.json()["ended"], 1);
    assert!(!phone.is_signed_in().await, "it can be ended");
}

#[tokio::test]
async fn a_clock_that_jumps_a_year_revives_nothing_and_harms_nobody_for_good() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let (over, _) = remembered(&kerria, "alice").await;
    let mut ended = kerria.signed_in("alice").await;
    let thief = ended.thief();
    ended.send("POST", "/api/v1/logout", &json!({})).await;
    let start = kerria.app.clock.now();
    assert!(over.is_signed_in().await);

    kerria.clock.set(start + YEAR);
    kerria.sweep().await;
    assert!(!thief.is_signed_in().await);
    assert!(kerria.signed_in("alice").await.is_signed_in().await);

    kerria.clock.set(start);
    assert!(!thief.is_signed_in().await);
    assert!(!over.is_signed_in().await, "what was removed does not come back from memory");
    assert!(kerria.signed_in("alice").await.is_signed_in().await);

    kerria.clock.set(start - YEAR);
    kerria.sweep().await;
    assert!(!thief.is_signed_in().await && !over.is_signed_in().await);
    assert!(kerria.signed_in("alice").await.is_signed_in().await);
}

#[tokio::test]
async fn no_date_makes_it_panic() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for millis in [0, -1, i64::MIN, i64::MAX, 253_402_300_800_000] {
        kerria.clock.set(Timestamp::from_millis(millis));
        let mut browser = kerria.browser();
        let answer = browser.sign_in("alice", PASSWORD).await;
        assert!(!answer.status.is_server_error(), "{millis}: {}", answer.text);
        for path in ["/sessions", "/api/v1/sessions", "/api/v1/session", "/sign-in"] {
            let answer = browser.get(path).await;
            assert!(!answer.status.is_server_error(), "{millis} {path}: {}", answer.text);
        }
        kerria.sweep().await;
    }
}
