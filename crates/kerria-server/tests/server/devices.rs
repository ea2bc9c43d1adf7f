//! Sessions that turn up in another place.

use hyper::StatusCode;
use kerria::{Stopwatch, testing::Steps};
use serde_json::Value;

use crate::cast::{Browser, FIREFOX, Kerria, PATIENCE, SAFARI};

const SETTINGS: [(&str, &str); 2] =
    [("trusted_proxies", "127.0.0.1"), ("session.last_seen_precision", "60s")];

async fn with_binding(binding: &str) -> (Kerria, Browser) {
    let settings: Vec<_> = SETTINGS.into_iter().chain([("session.binding", binding)]).collect();
    let kerria = Kerria::with(&settings).await;
    kerria.user("alice").await;
    let mut browser = kerria.browser().with("x-forwarded-for", "198.51.100.1");
    browser.sign_in("alice", crate::cast::PASSWORD).await;
    (kerria, browser)
}

/// The same session in another browser.
fn in_safari(browser: &Browser) -> Browser {
    Browser { user_agent: SAFARI.to_owned(), ..browser.clone() }
}

/// The same session from another address.
fn at(browser: &Browser, address: &str) -> Browser {
    let headers = vec![("x-forwarded-for".to_owned(), address.to_owned())];
    Browser { headers, ..browser.clone() }
}

/// The lines about changed places, when there are as many as `number`.
async fn told(kerria: &Kerria, number: usize) -> Vec<Value> {
    let waiting = Stopwatch::start();
    while waiting.elapsed() < PATIENCE {
        let lines = kerria.audit().await;
        let lines: Vec<_> = lines.into_iter().filter(|line| line["event"] == "place_changed").collect();
        if lines.len() >= number {
            assert_eq!(lines.len(), number, "{lines:#?}");
            return lines;
        }
    }
    panic!("{number} changes were not told");
}

#[tokio::test]
async fn with_binding_off_a_session_goes_anywhere_in_silence() {
    let (kerria, browser) = with_binding("off").await;
    assert!(in_safari(&browser).is_signed_in().await);
    assert!(at(&browser, "203.0.113.5").is_signed_in().await);
    assert!(told(&kerria, 0).await.is_empty());
    assert_eq!(kerria.metric("kerria_sessions_moved_total").await, 0.0);
}

#[tokio::test]
async fn an_alarm_is_told_once_for_each_session_and_place() {
    let (kerria, browser) = with_binding("alarm").await;
    for _ in 0..5 {
        assert!(browser.is_signed_in().await);
        assert!(in_safari(&browser).is_signed_in().await);
        assert!(at(&browser, "203.0.113.5").is_signed_in().await);
    }
    let lines = told(&kerria, 2).await;
    let session = browser.handle().await;
    let user = kerria.operator().get("/api/v1/operator/users/alice").await.json()["id"].clone();
    assert!(lines.iter().all(|line| line["session"] == session && line["user"] == user), "{lines:#?}");
    assert_eq!(lines[0]["detail"], "Safari on iPhone, went on");
    assert_eq!(lines[0]["address"], "198.51.100.1");
    assert_eq!(lines[1]["detail"], "Firefox on Linux, went on");
    assert_eq!(lines[1]["address"], "203.0.113.5");
    for _ in 0..3 {
        assert!(in_safari(&browser).is_signed_in().await && at(&browser, "203.0.113.5").is_signed_in().await);
    }
    told(&kerria, 2).await;
    assert_eq!(kerria.metric("kerria_sessions_moved_total").await, 2.0);
    assert!(at(&browser, "203.0.113.6").is_signed_in().await);
    told(&kerria, 3).await;
}

#[tokio::test]
async fn a_bound_session_is_refused_elsewhere_and_lives_on_at_its_own_place() {
    let (kerria, browser) = with_binding("refuse").await;
    for thief in [in_safari(&browser), at(&browser, "203.0.113.5")] {
        for _ in 0..3 {
            let answer = thief.clone().get("/api/v1/session").await;
            assert_eq!(
                (answer.status, answer.problem()),
                (StatusCode::UNAUTHORIZED, "not-signed-in".to_owned())
            );
            assert_eq!(answer.set_cookies(), [""; 0]);
        }
        assert!(browser.is_signed_in().await);
    }
    let lines = told(&kerria, 2).await;
    assert_eq!(lines[0]["detail"], "Safari on iPhone, refused");
    assert_eq!(lines[1]["address"], "203.0.113.5");
    assert_eq!(kerria.metric("kerria_session_checks_refused_total{reason=\"moved\"}").await, 6.0);
}

#[tokio::test]
async fn a_neighbour_in_the_same_ipv6_network_and_a_new_version_are_the_same_place() {
    let (_kerria, browser) = with_binding("refuse").await;
    let newer = Browser { user_agent: FIREFOX.replace("145", "146"), ..browser.clone() };
    assert!(newer.is_signed_in().await);
    assert!(at(&browser, "::ffff:198.51.100.1").is_signed_in().await);
    let mut six = at(&browser, "2001:db8:1:2::1");
    six.sign_in("alice", crate::cast::PASSWORD).await;
    assert!(at(&six, "2001:db8:1:2:ffff::9").is_signed_in().await);
    assert!(!at(&six, "2001:db8:1:3::1").is_signed_in().await);
}

#[tokio::test]
async fn a_browser_with_a_long_name_stays_the_same_browser() {
    let (_kerria, browser) = with_binding("refuse").await;
    let mut wordy = browser.clone();
    wordy.user_agent = format!("Mozilla/5.0 ({}) Firefox/145.0", "x".repeat(400));
    wordy.sign_in("alice", crate::cast::PASSWORD).await;
    assert!(wordy.is_signed_in().await);
}

#[tokio::test]
async fn a_change_that_could_not_be_told_is_told_later() {
    let (mut kerria, browser) = with_binding("alarm").await;
    kerria.store.fail(Steps::Of("record"));
    let before = kerria.store.asked("record");
    assert!(in_safari(&browser).is_signed_in().await, "nobody waits for the audit log");
    while kerria.store.asked("record") == before {
        assert!(browser.is_signed_in().await);
    }
    kerria.store.mend();
    assert!(in_safari(&browser).is_signed_in().await);
    told(&kerria, 1).await;
    // And what waits when the server stops is written then.
    assert!(at(&browser, "203.0.113.5").is_signed_in().await);
    kerria.stop().await;
    assert_eq!(kerria.count("SELECT count(*) FROM audit WHERE event = 'place_changed'"), 2);
}
