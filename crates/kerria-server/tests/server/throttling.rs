//! Slowing down those who guess, and nobody else.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::json;

use crate::cast::{Answer, Browser, DAY, Kerria, OTHER_PASSWORD, PASSWORD};

const WRONG: &str = "not the password of anybody";

async fn guess(browser: &Browser, name: &str) -> Answer {
    // Somebody who guesses keeps no cookies.
    browser.clone().sign_in(name, WRONG).await
}

/// The statuses of so many guesses at one name.
async fn guesses(browser: &Browser, name: &str, number: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..number {
        statuses.push(guess(browser, name).await.status.as_u16());
    }
    statuses
}

fn retry_after(answer: &Answer) -> u64 {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{}", answer.text);
    assert_eq!(answer.set_cookies(), [""; 0]);
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_guesses_at_once_exactly_as_many_as_are_free_are_looked_at() {
    let kerria = Kerria::with(&[("password.queue", "1000")]).await;
    kerria.user("alice").await;
    for (name, before) in [("alice", 0.0), ("nobody", 10.0)] {
        let guesses: Vec<_> = (0..200)
            .map(|_| {
                let browser = kerria.browser();
                let name = name.to_owned();
                tokio::spawn(async move { guess(&browser, &name).await.status })
            })
            .collect();
        for status in guesses {
            let status = status.await.unwrap();
            assert!([StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&status), "{status}");
        }
        let failed = kerria.metric("kerria_sign_ins_total{outcome=\"failed\"}").await;
        assert_eq!(failed - before, 10.0, "{name}");
    }
    assert_eq!(kerria.metric("kerria_sign_ins_total{outcome=\"throttled\"}").await, 380.0);
    assert_eq!(kerria.count("SELECT max(failures) FROM door WHERE name LIKE 'account:%'"), 10);
}

#[tokio::test]
async fn each_further_failure_doubles_the_wait_up_to_the_longest() {
    let kerria = Kerria::with(&[("throttle.account_longest", "10s")]).await;
    kerria.user("alice").await;
    for name in ["alice", "nobody"] {
        let guesser = kerria.browser();
        assert_eq!(guesses(&guesser, name, 10).await, [401; 10]);
        for wait in [1, 2, 4, 8, 10, 10] {
            assert_eq!(retry_after(&guess(&guesser, name).await), wait, "{name}");
            kerria.clock.advance(Duration::from_millis(wait * 1_000 - 1));
            let too_soon = guesser.clone().sign_in(name, PASSWORD).await;
            assert_eq!(retry_after(&too_soon), 1, "the right password waits, too");
            kerria.clock.advance(Duration::from_millis(1));
            assert_eq!(guess(&guesser, name).await.status, StatusCode::UNAUTHORIZED, "{name} after {wait}");
        }
        kerria.clock.advance(Duration::from_secs(10));
    }
    let mut alice = kerria.browser();
    assert_eq!(alice.sign_in("alice", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn after_many_failures_the_door_closes_until_they_are_forgotten() {
    let kerria =
        Kerria::with(&[("throttle.account_free", "3"), ("throttle.account_closes_after", "3")]).await;
    kerria.user("alice").await;
    let mut known = kerria.signed_in("alice").await;
    let stranger = kerria.browser();
    assert_eq!(guesses(&stranger, "alice", 3).await, [401; 3]);
    assert_eq!(retry_after(&stranger.clone().sign_in("alice", PASSWORD).await), 24 * 60 * 60);
    assert_eq!(known.sign_in("alice", PASSWORD).await.status, StatusCode::OK, "a known device stays open");
    kerria.clock.advance(DAY);
    assert_eq!(stranger.clone().sign_in("alice", PASSWORD).await.status, StatusCode::OK);
    kerria.sweep().await;
    assert_eq!(kerria.count("SELECT count(*) FROM door WHERE failures > 0"), 0);
}

#[tokio::test]
async fn a_network_is_slowed_down_over_all_accounts() {
    let kerria = Kerria::with(&[("throttle.network_free", "5"), ("trusted_proxies", "127.0.0.1")]).await;
    kerria.user("alice").await;
    let network = |address: &str| kerria.browser().with("x-forwarded-for", address);
    for (guesser, neighbour, elsewhere) in [
        ("198.51.100.9", "198.51.100.9", "198.51.100.10"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
        ("::ffff:203.0.113.7", "203.0.113.7", "::ffff:203.0.113.8"),
    ] {
        for number in 0..5 {
            let name = format!("user-{number}-{guesser}");
            assert_eq!(guess(&network(guesser), &name).await.status, StatusCode::UNAUTHORIZED, "{name}");
        }
        assert_eq!(retry_after(&network(neighbour).sign_in("alice", PASSWORD).await), 1, "{neighbour}");
        assert_eq!(network(elsewhere).sign_in("alice", PASSWORD).await.status, StatusCode::OK, "{elsewhere}");
    }
    let spoofed = kerria.browser().with("x-forwarded-for", "203.0.113.99, 198.51.100.9");
    assert_eq!(
        retry_after(&guess(&spoofed, "somebody").await),
        1,
        "what the client put in front is not believed"
    );
}

#[tokio::test]
async fn an_address_that_a_client_makes_up_gets_nobody_anywhere() {
    let kerria = Kerria::with(&[("throttle.network_free", "3")]).await;
    kerria.user("alice").await;
    let mut statuses = Vec::new();
    for number in 0..5 {
        let guesser = kerria.browser().with("x-forwarded-for", &format!("198.51.100.{number}"));
        statuses.push(guess(&guesser, &format!("user{number}")).await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    kerria.clock.advance(DAY);
    let mut alice =
        kerria.browser().with("x-forwarded-for", "198.51.100.1").with("forwarded", "for=198.51.100.1");
    alice.sign_in("alice", PASSWORD).await;
    assert_eq!(alice.get("/api/v1/sessions").await.json()["sessions"][0]["address"], "127.0.0.1");
}

#[tokio::test]
async fn all_names_of_an_account_share_one_door_and_it_survives_a_restart() {
    let kerria = Kerria::with(&[("throttle.account_free", "4")]).await;
    let account = json!({ "name": "Zoë", "email": "zoe@example.com", "password": PASSWORD });
    kerria.operator().send("POST", "/api/v1/operator/users", &account).await;
    for name in ["Zoë", "ZOE@example.com", " zoë ", "Zoe\u{308}"] {
        assert_eq!(guess(&kerria.browser(), name).await.status, StatusCode::UNAUTHORIZED);
    }
    let kerria = kerria.restart().await;
    for name in ["Zoë", "zoe@example.com", "ＺＯË"] {
        assert_eq!(retry_after(&kerria.browser().sign_in(name, PASSWORD).await), 1, "{name}");
    }
}

#[tokio::test]
async fn a_success_of_ones_own_clears_nothing_for_others() {
    let kerria = Kerria::with(&[("throttle.account_free", "4"), ("throttle.network_free", "4")]).await;
    kerria.user("alice").await;
    kerria.user("mallory").await;
    let mallory = kerria.browser();
    assert_eq!(guesses(&mallory, "alice", 3).await, [401; 3]);
    for _ in 0..3 {
        assert_eq!(mallory.clone().sign_in("mallory", PASSWORD).await.status, StatusCode::OK);
    }
    assert_eq!(guesses(&mallory, "alice", 2).await, [401, 429]);
    assert_eq!(retry_after(&mallory.clone().sign_in("mallory", PASSWORD).await), 1);
    assert_eq!(kerria.count("SELECT max(failures) FROM door WHERE name LIKE 'network:%'"), 4);
    assert_eq!(kerria.count("SELECT max(failures) FROM door WHERE name LIKE 'account:%'"), 4);
}

#[tokio::test]
async fn a_device_that_its_user_knows_gets_in_while_others_guess() {
    let kerria = Kerria::with(&[("throttle.account_free", "3"), ("throttle.device_free", "3")]).await;
    kerria.user("alice").await;
    kerria.user("mallory").await;
    let mut known = kerria.signed_in("alice").await;
    let mut mallory = kerria.signed_in("mallory").await;
    assert_eq!(guesses(&kerria.browser(), "alice", 4).await, [401, 401, 401, 429]);
    assert_eq!(retry_after(&kerria.browser().sign_in("alice", PASSWORD).await), 1);
    assert_eq!(
        retry_after(&mallory.sign_in("alice", PASSWORD).await),
        1,
        "another user's mark opens nothing"
    );
    let mut forged = kerria.browser();
    forged.cookies.insert("kerria-device".to_owned(), "kdt_made-up".to_owned());
    assert_eq!(retry_after(&forged.sign_in("alice", PASSWORD).await), 1);
    let answer = known.sign_in("alice", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.set_cookies().iter().any(|cookie| cookie.contains("device")), "it is marked already");
    // Whoever has stolen the mark can guess as often as anybody else, at a door of its own.
    assert_eq!(guesses(&known, "alice", 4).await, [401, 401, 401, 429]);
    kerria.clock.advance(Duration::from_secs(1));
    assert_eq!(known.sign_in("alice", PASSWORD).await.status, StatusCode::OK);
    assert_eq!(guesses(&known, "alice", 4).await, [401, 401, 401, 429], "on its own device all was forgiven");
}

#[tokio::test]
async fn whoever_learns_a_new_password_is_known_from_nowhere_yet() {
    let kerria = Kerria::with(&[("throttle.account_free", "3")]).await;
    kerria.user("alice").await;
    let mut old_device = kerria.signed_in("alice").await;
    let body = json!({ "password": OTHER_PASSWORD });
    let answer = kerria.operator().send("PUT", "/api/v1/operator/users/alice/password", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(guesses(&kerria.browser(), "alice", 3).await, [401; 3]);
    assert_eq!(retry_after(&old_device.sign_in("alice", OTHER_PASSWORD).await), 1);
}

#[tokio::test]
async fn programs_leave_no_marks_of_devices() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for _ in 0..5 {
        let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
        let answer = kerria.program().send("POST", "/api/v1/login", &login).await;
        assert_eq!((answer.status, answer.set_cookies()), (StatusCode::OK, vec![]));
    }
    assert_eq!(kerria.count("SELECT count(*) FROM known_device"), 0);
}

#[tokio::test]
async fn confirming_a_password_has_a_door_of_its_own() {
    let kerria = Kerria::with(&[("throttle.account_free", "3"), ("throttle.device_free", "3")]).await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    assert_eq!(guesses(&kerria.browser(), "alice", 4).await, [401, 401, 401, 429]);
    let confirm = json!({ "password": PASSWORD });
    let wrong = json!({ "password": WRONG });
    for _ in 0..3 {
        assert_eq!(browser.send("POST", "/api/v1/session/step-up", &wrong).await.problem(), "wrong-password");
    }
    assert_eq!(retry_after(&browser.send("POST", "/api/v1/session/step-up", &confirm).await), 1);
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    assert_eq!(retry_after(&browser.send("PUT", "/api/v1/password", &change).await), 1);
    let page = browser.submit("/confirm", "/confirm", &[("password", PASSWORD)]).await;
    assert_eq!(retry_after(&page), 1);
    assert!(page.text.contains("Try again in 1 second."), "{}", page.text);
    kerria.clock.advance(Duration::from_secs(1));
    assert_eq!(browser.send("POST", "/api/v1/session/step-up", &confirm).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_sign_in_page_says_how_long_to_wait() {
    let kerria = Kerria::with(&[("throttle.account_free", "1"), ("throttle.account_delay", "5s")]).await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    let fields = [("login", "alice"), ("password", WRONG)];
    assert_eq!(
        browser.submit("/sign-in", "/sign-in", &fields).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let page = browser.submit("/sign-in", "/sign-in", &fields).await;
    assert_eq!(retry_after(&page), 5);
    assert!(page.text.contains("Try again in 5 seconds."));
    assert!(!page.text.contains(WRONG));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_nobody_had_time_for_does_not_count() {
    let kerria = Kerria::with(&[
        ("password.workers", "1"),
        ("password.queue", "0"),
        ("password.memory_kib", "65536"),
        ("password.iterations", "2"),
        ("throttle.account_free", "100"),
    ])
    .await;
    kerria.user("alice").await;
    let attempts: Vec<_> = (0..12)
        .map(|_| {
            let browser = kerria.browser();
            tokio::spawn(async move { guess(&browser, "alice").await })
        })
        .collect();
    let (mut looked_at, mut busy) = (0, 0);
    for answer in attempts {
        let answer = answer.await.unwrap();
        match answer.status {
            StatusCode::UNAUTHORIZED => looked_at += 1,
            status => {
                assert_eq!(
                    (status, answer.problem()),
                    (StatusCode::SERVICE_UNAVAILABLE, "unavailable".to_owned())
                );
                assert_eq!(answer.header("retry-after"), Some("1"));
                busy += 1;
            }
        }
    }
    assert!(looked_at >= 1 && busy >= 1, "{looked_at} looked at, {busy} turned away");
    assert_eq!(kerria.count("SELECT max(failures) FROM door WHERE name LIKE 'account:%'"), looked_at);
    assert_eq!(kerria.metric("kerria_password_queue_busy_total").await, f64::from(busy));
}
