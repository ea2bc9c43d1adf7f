//! Accounts: who may create one, who is meant by a name, and what becomes of those that are disabled or deleted.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use hyper::StatusCode;
use serde_json::{Value, json};
use tracing::{level_filters::LevelFilter, subscriber::set_default};

use crate::cast::{Answer, Browser, DAY, Kerria, OTHER_PASSWORD, PASSWORD, unique};

/// Many sign-ups from one network are part of the play.
const PATIENT: &[(&str, &str)] =
    &[("throttle.network_free", "100000"), ("throttle.network_closes_after", "100000")];

async fn sign_up(browser: &mut Browser, name: &str, invitation: Option<&str>) -> Answer {
    let mut account = json!({ "name": name, "password": PASSWORD });
    if let Some(invitation) = invitation {
        account["invitation"] = json!(invitation);
    }
    browser.send("POST", "/api/v1/users", &account).await
}

/// The token in the link of an invitation.
fn token_of(link: &str) -> String {
    link.split("invitation=").nth(1).unwrap().to_owned()
}

async fn invitation(kerria: &Kerria) -> String {
    let answer = kerria.operator().send("POST", "/api/v1/operator/invitations", &json!({})).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    token_of(answer.json()["url"].as_str().unwrap())
}

#[tokio::test]
async fn where_sign_up_is_open_everyone_may() {
    let kerria = Kerria::with(&[("sign_up.mode", "open")]).await;
    let mut browser = kerria.browser();
    let answer = sign_up(&mut browser, "alice", None).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json()["session"]["user"]["name"], "alice");
    assert!(browser.is_signed_in().await);
    let mut visitor = kerria.browser();
    let fields = [("name", "bob"), ("email", "bob@example.com"), ("password", PASSWORD)];
    let answer = visitor.submit("/sign-up", "/sign-up", &fields).await;
    assert_eq!(answer.header("location"), Some("/sessions"), "{}", answer.text);
    assert!(visitor.is_signed_in().await);
    assert!(kerria.browser().get("/sign-in").await.text.contains("/sign-up"));
}

#[tokio::test]
async fn where_sign_up_is_by_invitation_nobody_else_may() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for invitation in [None, Some("kin_x"), Some(""), Some(PASSWORD)] {
        let answer = sign_up(&mut kerria.browser(), "mallory", invitation).await;
        assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "not-invited".to_owned()));
    }
    assert_eq!(kerria.browser().get("/sign-up").await.status, StatusCode::FORBIDDEN);
    assert_eq!(kerria.browser().get("/join").await.status, StatusCode::FORBIDDEN);
    let fields = [("name", "mallory"), ("password", PASSWORD)];
    assert_eq!(kerria.browser().post_form("/sign-up", &fields).await.status, StatusCode::FORBIDDEN);
    let token = invitation(&kerria).await;
    let mut bob = kerria.browser();
    for _ in 0..3 {
        let page = bob.get(&format!("/join?invitation={token}")).await;
        assert_eq!(page.status, StatusCode::OK, "looking does not use it up");
        assert!(page.text.contains(&token));
    }
    let fields = [("name", "bob"), ("password", PASSWORD), ("invitation", token.as_str())];
    assert_eq!(bob.post_form("/sign-up", &fields).await.header("location"), Some("/sessions"));
    assert!(bob.is_signed_in().await);
    assert_eq!(sign_up(&mut kerria.browser(), "carol", Some(&token)).await.problem(), "not-invited");
}

#[tokio::test]
async fn an_invitation_is_over_after_its_time() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let token = invitation(&kerria).await;
    kerria.clock.advance(7 * DAY);
    assert_eq!(sign_up(&mut kerria.browser(), "bob", Some(&token)).await.problem(), "not-invited");
    kerria.sweep().await;
    assert_eq!(kerria.count("SELECT count(*) FROM invitation"), 0);
}

#[tokio::test]
async fn where_sign_up_is_closed_only_the_link_to_the_first_account_works() {
    let open = Kerria::start().await;
    let early = invitation(&open).await;
    let kerria = open.restart_with(&[("sign_up.mode", "closed")]).await;
    let first = token_of(&kerria.app.first_account_link().await.unwrap().unwrap());
    let page = kerria.browser().get(&format!("/join?invitation={early}")).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(sign_up(&mut kerria.browser(), "mallory", Some(&early)).await.problem(), "not-invited");
    assert_eq!(sign_up(&mut kerria.browser(), "mallory", None).await.problem(), "not-invited");
    assert_eq!(sign_up(&mut kerria.browser(), "alice", Some(&first)).await.status, StatusCode::CREATED);
    kerria.user("bob").await;
}

#[tokio::test]
async fn the_link_to_the_first_account_works_once_and_the_newest_alone() {
    let kerria = Kerria::start().await;
    let older = token_of(&kerria.app.first_account_link().await.unwrap().unwrap());
    let kerria = kerria.restart().await;
    let newer = token_of(&kerria.app.first_account_link().await.unwrap().unwrap());
    assert_eq!(sign_up(&mut kerria.browser(), "mallory", Some(&older)).await.problem(), "not-invited");
    let page = kerria.browser().get(&format!("/join?invitation={newer}")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(sign_up(&mut kerria.browser(), "alice", Some(&newer)).await.status, StatusCode::CREATED);
    assert_eq!(sign_up(&mut kerria.browser(), "bob", Some(&newer)).await.problem(), "not-invited");
    assert_eq!(kerria.app.first_account_link().await.unwrap(), None);
}

#[tokio::test]
async fn the_link_to_the_first_account_is_worthless_once_there_is_a_user() {
    let kerria = Kerria::start().await;
    let first = token_of(&kerria.app.first_account_link().await.unwrap().unwrap());
    kerria.user("alice").await;
    assert_eq!(sign_up(&mut kerria.browser(), "mallory", Some(&first)).await.problem(), "not-invited");
    assert_eq!(
        kerria.browser().get(&format!("/join?invitation={first}")).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixteen_uses_of_one_invitation_exactly_one_succeeds() {
    let kerria = Kerria::with(PATIENT).await;
    for _ in 0..10 {
        let token = invitation(&kerria).await;
        let uses: Vec<_> = (0..16)
            .map(|_| {
                let (mut browser, token) = (kerria.browser(), token.clone());
                tokio::spawn(async move {
                    sign_up(&mut browser, &format!("user{}", unique()), Some(&token)).await.status
                })
            })
            .collect();
        let mut created = 0;
        for status in uses {
            match status.await.unwrap() {
                StatusCode::CREATED => created += 1,
                status => assert_eq!(status, StatusCode::FORBIDDEN),
            }
        }
        assert_eq!(created, 1);
    }
    assert_eq!(kerria.count("SELECT count(*) FROM account"), 10);
}

#[tokio::test]
async fn all_spellings_of_a_name_are_one_user() {
    let kerria = Kerria::start().await;
    let account = json!({ "name": "Zoë", "email": "Zoe@Example.COM", "password": PASSWORD });
    kerria.operator().send("POST", "/api/v1/operator/users", &account).await;
    for spelling in ["Zoë", "zoë", "  ZOË ", "Zoe\u{308}", "ＺＯë", "zoe@example.com", " ZOE@EXAMPLE.com"]
    {
        let answer = kerria.browser().sign_in(spelling, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{spelling}");
        assert_eq!(answer.json()["session"]["user"]["name"], "Zoë");
    }
    for taken in ["zoë", "ZOE\u{308}", "Ｚoë"] {
        let account = json!({ "name": taken, "password": PASSWORD });
        let answer = kerria.operator().send("POST", "/api/v1/operator/users", &account).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::CONFLICT, "name-taken".to_owned()),
            "{taken}"
        );
    }
    let account = json!({ "name": "other", "email": "ZOE@example.com", "password": PASSWORD });
    let answer = kerria.operator().send("POST", "/api/v1/operator/users", &account).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::CONFLICT, "email-taken".to_owned()));
}

#[tokio::test]
async fn a_name_or_an_address_is_enough_and_what_is_wrong_is_said_at_its_field() {
    let kerria = Kerria::with(&[("sign_up.mode", "open"), ("site_name", "Example Books")]).await;
    let answer = kerria
        .browser()
        .send("POST", "/api/v1/users", &json!({ "email": "only@example.com", "password": PASSWORD }))
        .await;
    assert_eq!(answer.json()["session"]["user"]["name"], "only@example.com");
    for (name, email, password, field, says) in [
        ("", "", PASSWORD, "name", "Enter a name or an e-mail address"),
        ("   ", "", PASSWORD, "name", "Enter a name or an e-mail address"),
        ("a@b", "", PASSWORD, "name", "no @ in it"),
        ("<script>", "", PASSWORD, "name", "letters, digits"),
        ("", "not an address", PASSWORD, "email", "alice@example.com"),
        ("alice", "", "too short", "password", "at least 15 characters"),
        ("alice", "", "passwordpassword", "password", "attackers try"),
        ("alice", "", "aaaaaaaaaaaaaaaaaaaa", "password", "attackers try"),
        ("alexandrina", "", "alexandrina-1234", "password", "others know"),
        ("alice", "", "example books 12", "password", "others know"),
    ] {
        let account = json!({ "name": name, "email": email, "password": password });
        let answer = kerria.browser().send("POST", "/api/v1/users", &account).await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{name} {email} {password}: {}",
            answer.text
        );
        let problem = answer.json();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        assert!(!answer.text.contains(password) || password == PASSWORD);
        let fields = [("name", name), ("email", email), ("password", password)];
        let page = kerria.browser().submit("/sign-up", "/sign-up", &fields).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text.contains(says), "{says} on the page");
        assert!(!page.text.contains(password), "a password is never written on a page");
    }
    assert_eq!(kerria.count("SELECT count(*) FROM account"), 1);
}

#[tokio::test]
async fn a_taken_name_is_told_to_those_who_sign_up_and_rename() {
    let kerria = Kerria::with(&[("sign_up.mode", "open")]).await;
    sign_up(&mut kerria.browser(), "alice", None).await;
    let answer = sign_up(&mut kerria.browser(), "ALICE", None).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::CONFLICT, "name-taken".to_owned()));
    let page =
        kerria.browser().submit("/sign-up", "/sign-up", &[("name", "alice"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    let mut bob = kerria.browser();
    sign_up(&mut bob, "bob", None).await;
    let answer = bob.send("PUT", "/api/v1/user", &json!({ "name": "Alice" })).await;
    assert_eq!(answer.problem(), "name-taken");
    let answer = bob.submit("/account", "/account/name", &[("name", "Alice"), ("email", "")]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(bob.send("PUT", "/api/v1/user", &json!({ "name": "BOB" })).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_comes_back_when_enabled() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    assert!(browser.is_signed_in().await);
    let disabled = kerria.operator().send("POST", "/api/v1/operator/users/alice/disable", &json!({})).await;
    assert_eq!(disabled.json()["status"], "disabled");
    assert!(!browser.is_signed_in().await);
    assert_eq!(kerria.browser().sign_in("alice", PASSWORD).await.problem(), "sign-in-failed");
    let enabled = kerria.operator().send("POST", "/api/v1/operator/users/alice/enable", &json!({})).await;
    assert_eq!(enabled.json()["status"], "active");
    assert!(!browser.is_signed_in().await, "what was ended stays ended");
    assert!(kerria.signed_in("alice").await.is_signed_in().await);
}

#[tokio::test]
async fn a_deleted_user_is_gone_with_all_sessions_and_the_name_is_free() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    let wrong = browser.submit("/account/delete", "/account/delete", &[]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "it has to be meant");
    let answer = browser.submit("/account/delete", "/account/delete", &[("confirm", "delete")]).await;
    assert_eq!(answer.header("location"), Some("/signed-out"), "{}", answer.text);
    assert!(!phone.is_signed_in().await && !browser.is_signed_in().await);
    assert_eq!(kerria.browser().sign_in("alice", PASSWORD).await.problem(), "sign-in-failed");
    let old =
        kerria.count("SELECT count(*) FROM session") + kerria.count("SELECT count(*) FROM known_device");
    assert_eq!(old, 0);
    kerria.user("alice").await;
    assert!(!phone.is_signed_in().await);
    let mut second = kerria.signed_in("alice").await;
    assert_eq!(second.delete("/api/v1/user").await.json()["ended"], 1);
}

/// A subscriber that keeps every line of every level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_password_and_no_token_reaches_a_log_or_an_answer() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logs = set_default(subscriber);
    let kerria = Kerria::with(&[("sign_up.mode", "open")]).await;
    let mut browser = kerria.browser();
    let mut answers = vec![
        sign_up(&mut browser, "alice", None).await,
        browser.sign_in("alice", PASSWORD).await,
        browser.sign_in("alice", OTHER_PASSWORD).await,
        browser.sign_in(PASSWORD, OTHER_PASSWORD).await,
        browser.send("POST", "/api/v1/session/step-up", &json!({ "password": OTHER_PASSWORD })).await,
        browser.send("POST", "/api/v1/login", &json!({ "login": "alice", "password": [PASSWORD] })).await,
        browser
            .send("POST", "/api/v1/login", &json!({ "login": "alice", "password": 2_718_281_828_u64 }))
            .await,
        browser
            .request(
                "POST",
                "/api/v1/login",
                Some("application/json"),
                format!("{{\"password\":\"{PASSWORD}\""),
            )
            .await,
        browser.submit("/sign-in", "/sign-in", &[("login", "alice"), ("password", OTHER_PASSWORD)]).await,
    ];
    let token = browser.token();
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    answers.push(browser.send("PUT", "/api/v1/password", &change).await);
    answers.push(browser.get("/sessions").await);
    answers.push(kerria.operator().get("/api/v1/operator/audit").await);
    let device = browser.cookies["kerria-device"].clone();
    let secrets = [PASSWORD, OTHER_PASSWORD, "2718281828", "argon2id", token.as_str(), device.as_str()];
    let logged = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(logged.contains("alice") || logged.contains("signed up"), "the logs were kept");
    for secret in secrets {
        for answer in &answers {
            assert!(!answer.text.contains(secret), "{secret} in {}", answer.text);
        }
        assert!(!logged.contains(secret), "{secret} in the logs");
    }
}

/// All that an answer says, without what is different in every answer.
fn said(answer: &Answer) -> (StatusCode, Vec<(String, String)>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    (answer.status, headers, answer.text.clone())
}

#[tokio::test]
async fn unknown_wrong_and_disabled_are_answered_to_the_byte_alike() {
    let kerria = Kerria::start().await;
    kerria.user("known").await;
    kerria.user("other").await;
    kerria.operator().send("POST", "/api/v1/operator/users/other/disable", &json!({})).await;
    let attempts =
        [("known", OTHER_PASSWORD), ("nobody", PASSWORD), ("other", PASSWORD), ("other", OTHER_PASSWORD)];
    let mut answers = Vec::new();
    let mut pages = Vec::new();
    for (name, password) in attempts {
        answers.push(said(&kerria.browser().sign_in(name, password).await));
        let mut browser = kerria.browser();
        let fields = [("login", name), ("password", password)];
        let mut page = said(&browser.submit("/sign-in", "/sign-in", &fields).await);
        page.2 = page.2.replace(name, "somebody");
        page.1.retain(|(name, _)| name != "content-length");
        pages.push(page);
    }
    answers.dedup();
    pages.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert_eq!(pages.len(), 1, "{pages:#?}");
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert_eq!(kerria.metric("kerria_sign_ins_total{outcome=\"failed\"}").await, 8.0);
}

#[tokio::test]
async fn a_password_is_hashed_anew_when_the_parameters_have_changed() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.user("bob").await;
    let hash = |kerria: &Kerria, name: &str| -> String {
        let sql = "SELECT password FROM account WHERE name = ?1";
        kerria.database().query_row(sql, [name], |row| row.get(0)).unwrap()
    };
    assert!(hash(&kerria, "alice").starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
    let kerria = kerria.restart_with(&[("password.memory_kib", "16"), ("password.iterations", "2")]).await;
    assert_eq!(kerria.browser().sign_in("alice", OTHER_PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert!(hash(&kerria, "alice").contains("m=8,t=1"), "a wrong password changes nothing");
    let phone = kerria.signed_in("alice").await;
    assert!(hash(&kerria, "alice").starts_with("$argon2id$v=19$m=16,t=2,p=1$"));
    assert!(hash(&kerria, "bob").contains("m=8,t=1"));
    let renewed = hash(&kerria, "alice");
    assert!(kerria.signed_in("alice").await.is_signed_in().await);
    assert_eq!(hash(&kerria, "alice"), renewed, "once is enough");
    assert!(phone.is_signed_in().await, "it is the same password");
    assert_eq!(
        kerria.audit().await.iter().filter(|line: &&Value| line["event"] == "password_changed").count(),
        0
    );
}
