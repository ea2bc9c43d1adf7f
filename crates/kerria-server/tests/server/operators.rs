//! The operator's API, the audit log, and what is measured.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::cast::{CHECKERS_TOKEN, Kerria, OTHER_PASSWORD, PASSWORD};

const NOBODY: &str = "01931c2e-7d1a-7b3c-9d4e-5f60718293a4";

#[tokio::test]
async fn an_operator_creates_finds_and_deletes_users() {
    let kerria = Kerria::start().await;
    let mut operator = kerria.operator();
    let account = json!({ "name": "Alice", "email": "alice@example.com", "password": PASSWORD });
    let created = operator.send("POST", "/api/v1/operator/users", &account).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let created = created.json();
    assert_eq!((&created["name"], &created["status"]), (&json!("Alice"), &json!("active")));
    assert_eq!(created["last_sign_in_at"], Value::Null);
    let id = created["id"].as_str().unwrap();
    for name in [id, "alice", "ALICE", "alice@example.com", "ALICE%40example.com"] {
        let found = operator.get(&format!("/api/v1/operator/users/{name}")).await;
        assert_eq!((found.status, &found.json()["id"]), (StatusCode::OK, &json!(id)), "{name}");
    }
    let browser = kerria.signed_in("alice").await;
    let found = operator.get("/api/v1/operator/users/alice").await.json();
    assert_eq!(found["last_sign_in_at"], "2027-01-15T08:00:00.000Z");
    let body = json!({ "password": OTHER_PASSWORD });
    let set = operator.send("PUT", "/api/v1/operator/users/alice/password", &body).await;
    assert_eq!((set.status, &set.json()["ended"]), (StatusCode::OK, &json!(1)), "{}", set.text);
    assert!(!browser.is_signed_in().await);
    assert_eq!(kerria.browser().sign_in("alice", OTHER_PASSWORD).await.status, StatusCode::OK);
    assert_eq!(operator.delete(&format!("/api/v1/operator/users/{id}")).await.json()["ended"], 1);
    assert_eq!(operator.get("/api/v1/operator/users/alice").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_operator_puts_users_in_groups_and_takes_them_out() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut operator = kerria.operator();
    let mut browser = kerria.signed_in("alice").await;
    let path = "/api/v1/operator/users/alice/groups";
    let joined = operator.send("POST", path, &json!({ "join": ["Staff", "admins"] })).await;
    assert_eq!((joined.status, &joined.json()["groups"]), (StatusCode::OK, &json!(["admins", "staff"])));
    let left =
        operator.send("POST", path, &json!({ "join": ["wiki"], "leave": ["admins", "nothing"] })).await;
    assert_eq!(left.json()["groups"], json!(["staff", "wiki"]));
    assert_eq!(operator.get("/api/v1/operator/users/alice").await.json(), left.json());
    assert_eq!(browser.get("/api/v1/user").await.json()["groups"], json!(["staff", "wiki"]));
    for wrong in [
        json!({ "join": ["a b"] }),
        json!({ "join": [""] }),
        json!({ "join": "staff" }),
        json!({ "groups": [] }),
        json!({ "join": (0..63).map(|number| format!("g{number}")).collect::<Vec<_>>() }),
    ] {
        let refused = operator.send("POST", path, &wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}: {}", refused.text);
    }
    assert_eq!(operator.get("/api/v1/operator/users/alice").await.json()["groups"], json!(["staff", "wiki"]));
    let nobody = operator.send("POST", "/api/v1/operator/users/nobody/groups", &json!({})).await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_an_operator_gets_wrong_is_told() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut operator = kerria.operator();
    for (method, path) in [
        ("GET", "/api/v1/operator/users/nobody"),
        ("DELETE", "/api/v1/operator/users/nobody"),
        ("POST", "/api/v1/operator/users/nobody/disable"),
        ("POST", "/api/v1/operator/users/nobody/enable"),
        ("GET", "/api/v1/operator/users/nobody/sessions"),
        ("DELETE", "/api/v1/operator/sessions/nothing"),
        ("GET", "/api/v1/operator/audit?user=nobody"),
    ] {
        for path in [path.to_owned(), path.replace("nobody", NOBODY).replace("nothing", NOBODY)] {
            let answer = operator.request(method, &path, None, String::new()).await;
            if path.contains("audit") && path.contains(NOBODY) {
                assert_eq!(answer.status, StatusCode::OK, "a deleted user is known by identifier only");
                continue;
            }
            assert_eq!(
                (answer.status, answer.problem()),
                (StatusCode::NOT_FOUND, "not-found".to_owned()),
                "{path}"
            );
        }
    }
    let password = json!({ "password": OTHER_PASSWORD });
    let answer = operator.send("PUT", "/api/v1/operator/users/nobody/password", &password).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer =
        operator.send("PUT", "/api/v1/operator/users/alice/password", &json!({ "password": "short" })).await;
    assert_eq!(
        (answer.status, &answer.json()["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("password"))
    );
    for query in ["?limit=0", "?limit=1001", "?limit=-1", "?limit=x", "?after=x", "?other=1"] {
        for path in ["users", "sessions"] {
            let answer = operator.get(&format!("/api/v1/operator/{path}{query}")).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}{query}");
        }
    }
    for selector in [
        json!({}),
        json!({ "kind": "x" }),
        json!({ "kind": "user" }),
        json!({ "kind": "session", "session": "x" }),
    ] {
        let answer =
            operator.send("POST", "/api/v1/operator/revocations", &json!({ "selector": selector })).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{selector}");
    }
}

#[tokio::test]
async fn lists_come_page_by_page_without_a_gap() {
    let kerria = Kerria::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        kerria.user(name).await;
        kerria.signed_in(name).await;
    }
    for (list, naming) in [("users", "/name"), ("sessions", "/user/name")] {
        let (mut names, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = kerria.operator().get(&format!("/api/v1/operator/{list}?limit=2{after}")).await.json();
            let rows = page[list].as_array().unwrap();
            names.extend(rows.iter().map(|row| row.pointer(naming).unwrap().as_str().unwrap().to_owned()));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        names.sort_unstable();
        assert_eq!((names.concat(), pages), ("abcde".to_owned(), 3), "{list}");
    }
}

#[tokio::test]
async fn a_revocation_ends_what_it_selects_and_nothing_else() {
    let kerria = Kerria::start().await;
    let alice = kerria.user("alice").await;
    kerria.user("bob").await;
    let (one, two, three) =
        (kerria.signed_in("alice").await, kerria.signed_in("alice").await, kerria.signed_in("alice").await);
    let bob = kerria.signed_in("bob").await;
    let mut visitor = kerria.browser();
    visitor.send("PUT", "/api/v1/session/data/cart", &json!(1)).await;
    let (first, second) = (one.handle().await, two.handle().await);
    let mut operator = kerria.operator();
    let listed = operator.get("/api/v1/operator/users/alice/sessions").await.json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 3);
    let mut numbers = Vec::new();
    for (selector, ended) in [
        (json!({ "kind": "session", "session": first }), 1),
        (json!({ "kind": "session", "session": first }), 0),
        (json!({ "kind": "user_except", "user": alice, "except": second }), 1),
        (json!({ "kind": "user", "user": alice }), 1),
        (json!({ "kind": "user", "user": NOBODY }), 0),
    ] {
        let answer =
            operator.send("POST", "/api/v1/operator/revocations", &json!({ "selector": selector })).await;
        assert_eq!(answer.json()["ended"], ended, "{selector}");
        numbers.push(answer.json()["number"].as_u64().unwrap());
    }
    assert!(numbers.is_sorted());
    assert!(!one.is_signed_in().await && !two.is_signed_in().await && !three.is_signed_in().await);
    assert!(bob.is_signed_in().await);
    let path = format!("/api/v1/operator/sessions/{}", bob.handle().await);
    assert_eq!(operator.delete(&path).await.json()["ended"], 1);
    assert_eq!(operator.delete(&path).await.status, StatusCode::NOT_FOUND);
    assert!(!bob.is_signed_in().await);
    assert_eq!(visitor.get("/api/v1/session").await.status, StatusCode::OK);
    let everyone = json!({ "selector": { "kind": "everyone" } });
    assert_eq!(operator.send("POST", "/api/v1/operator/revocations", &everyone).await.json()["ended"], 1);
    assert_eq!(visitor.get("/api/v1/session").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn with_a_database_file_there_is_one_process() {
    let kerria = Kerria::with(&[("database.node_name", "the-one")]).await;
    let cluster = kerria.operator().get("/api/v1/operator/cluster").await;
    assert_eq!(cluster.status, StatusCode::OK, "{}", cluster.text);
    let alone = json!({ "id": null, "name": "the-one", "applied": null, "behind": 0, "lag_in_ms": null, "answers": true });
    assert_eq!(
        cluster.json(),
        json!({ "shared": false, "head": null, "settled": true, "lease": "not_needed", "nodes": [alone] })
    );
}

#[tokio::test]
async fn an_invitation_is_a_link_to_the_public_address() {
    let kerria =
        Kerria::with(&[("public_url", "https://id.example"), ("sign_up.invitation_lifetime", "1d")]).await;
    let answer = kerria.operator().send("POST", "/api/v1/operator/invitations", &json!({})).await;
    assert!(answer.json()["url"].as_str().unwrap().starts_with("https://id.example/join?invitation=kin_"));
    assert_eq!(answer.json()["expires_at"], "2027-01-16T08:00:00.000Z");
    let kerria = kerria.restart_with(&[("sign_up.mode", "closed")]).await;
    let answer = kerria.operator().send("POST", "/api/v1/operator/invitations", &json!({})).await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::CONFLICT, "sign-up-closed".to_owned()));
}

#[tokio::test]
async fn the_audit_log_has_one_line_for_everything_that_happens() {
    let kerria = Kerria::start().await;
    let alice = kerria.user("alice").await;
    let mut browser = kerria.browser();
    browser.sign_in("alice", OTHER_PASSWORD).await;
    kerria.browser().sign_in("nobody", OTHER_PASSWORD).await;
    browser.sign_in("alice", PASSWORD).await;
    let session = browser.handle().await;
    browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    browser.send("PUT", "/api/v1/user", &json!({ "name": "alicia" })).await;
    kerria.signed_in("alicia").await;
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    browser.send("PUT", "/api/v1/password", &change).await;
    browser.send("POST", "/api/v1/logout", &json!({})).await;
    browser.send("POST", "/api/v1/logout", &json!({})).await;
    let mut operator = kerria.operator();
    operator.send("POST", "/api/v1/operator/users/alicia/disable", &json!({})).await;
    operator.send("POST", "/api/v1/operator/users/alicia/enable", &json!({})).await;
    operator.send("POST", "/api/v1/operator/invitations", &json!({})).await;
    operator.delete("/api/v1/operator/users/alicia").await;

    let log = kerria.audit().await;
    let line =
        |event: &str, user: Option<&str>, session: Option<&str>, address: Option<&str>, detail: &str| {
            json!({ "at": "2027-01-15T08:00:00.000Z", "event": event, "user": user, "session": session,
                "address": address, "detail": detail })
        };
    let (her, here) = (Some(alice.as_str()), Some("127.0.0.1"));
    for expected in [
        line("user_created", her, None, None, "without an invitation"),
        line("sign_in_failed", her, None, here, "Firefox on Linux"),
        line("sign_in_failed", None, None, here, "Firefox on Linux"),
        line("signed_in", her, Some(&session), here, "password, Firefox on Linux"),
        line("password_changed", her, Some(&session), here, "1 session ended"),
        line("sessions_ended", her, Some(&session), here, "signed_out, 1 session"),
        line("invited", None, None, None, ""),
    ] {
        assert_eq!(log.iter().filter(|line| **line == expected).count(), 1, "{expected} in {log:#?}");
    }
    let mut counts = BTreeMap::new();
    for line in &log {
        *counts.entry(line["event"].as_str().unwrap()).or_insert(0) += 1;
    }
    let expected = [
        ("invited", 1),
        ("password_changed", 1),
        ("sessions_ended", 1),
        ("sign_in_failed", 2),
        ("signed_in", 2),
        ("stepped_up", 1),
        ("user_created", 1),
        ("user_deleted", 1),
        ("user_disabled", 1),
        ("user_enabled", 1),
        ("user_renamed", 1),
    ];
    assert_eq!(counts, BTreeMap::from(expected), "{log:#?}");
    let hers = operator.get(&format!("/api/v1/operator/audit?user={alice}&limit=3")).await.json();
    assert_eq!(hers["entries"][0]["event"], "user_deleted", "the newest first");
    assert_eq!(hers["entries"].as_array().unwrap().len(), 3);
    let text = serde_json::to_string(&log).unwrap();
    assert!(!text.contains("kst_") && !text.contains("argon2") && !text.contains(PASSWORD));
}

#[tokio::test]
async fn the_control_socket_serves_its_owner_without_a_credential() {
    let kerria = Kerria::start().await;
    let body = json!({ "name": "alice", "password": PASSWORD }).to_string();
    let created = kerria.control("POST", "/api/v1/operator/users", &body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert_eq!(created.header("cache-control"), Some("no-store"));
    let browser = kerria.signed_in("alice").await;
    for path in [
        "/api/v1/operator/users",
        "/api/v1/operator/sessions",
        "/api/v1/operator/audit",
        "/metrics",
        "/health/ready",
    ] {
        assert_eq!(kerria.control("GET", path, "").await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(kerria.control("GET", "/api/v1/session", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(kerria.control("GET", "/sign-in", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(kerria.control("PATCH", "/metrics", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    kerria.control("POST", "/api/v1/operator/users/alice/disable", "").await;
    assert!(!browser.is_signed_in().await, "what is ended there is ended everywhere");
}

#[tokio::test]
async fn without_a_token_the_operators_api_is_closed_to_the_network() {
    let kerria = Kerria::without_operator_token().await;
    for bearer in [None, Some(""), Some(" "), Some("null"), Some(crate::cast::OPERATOR_TOKEN)] {
        let mut operator = kerria.program();
        operator.bearer = bearer.map(str::to_owned);
        for path in ["/api/v1/operator/users", "/metrics"] {
            let answer = operator.get(path).await;
            assert_eq!(
                (answer.status, answer.problem()),
                (StatusCode::UNAUTHORIZED, "not-an-operator".to_owned())
            );
        }
    }
    assert_eq!(kerria.control("GET", "/api/v1/operator/users", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_move_when_things_happen() {
    let kerria = Kerria::with(&[("session.limit_per_user", "2")]).await;
    kerria.user("alice").await;
    assert_eq!(kerria.program().get("/metrics").await.status, StatusCode::UNAUTHORIZED);
    let series = [
        "kerria_sign_ins_total{outcome=\"succeeded\"}",
        "kerria_sign_ins_total{outcome=\"failed\"}",
        "kerria_sessions_ended_total{cause=\"signed_out\"}",
        "kerria_sessions_ended_total{cause=\"operator\"}",
        "kerria_sessions_ended_total{cause=\"password_changed\"}",
        "kerria_sessions_ended_total{cause=\"user_deleted\"}",
        "kerria_sessions_ended_total{cause=\"replaced\"}",
        "kerria_sessions_ended_total{cause=\"limit\"}",
        "kerria_sessions_ended_total{cause=\"user_disabled\"}",
        "kerria_session_checks_total{outcome=\"good\"}",
        "kerria_session_checks_refused_total{reason=\"revoked\"}",
        "kerria_session_checks_refused_total{reason=\"no_token\"}",
        "kerria_session_cache_total{result=\"hit\"}",
        "kerria_session_cache_total{result=\"miss\"}",
    ];
    let mut browser = kerria.browser();
    browser.sign_in("alice", OTHER_PASSWORD).await; // failed
    browser.sign_in("alice", PASSWORD).await; // succeeded
    let stale = browser.thief();
    let mut made_up = kerria.browser();
    made_up.cookies.insert("kerria".to_owned(), "kst_made-up".to_owned());
    made_up.get("/api/v1/session").await; // no token
    for _ in 0..3 {
        browser.get("/api/v1/session").await; // 3 good, 3 hits
    }
    browser.send("POST", "/api/v1/logout", &json!({})).await; // good, hit; signed out
    stale.is_signed_in().await; // revoked, hit
    stale.is_signed_in().await; // unknown, miss
    let second = kerria.signed_in("alice").await; // succeeded
    let path = format!("/api/v1/operator/sessions/{}", second.handle().await); // good, hit
    kerria.operator().delete(&path).await; // operator
    let mut third = kerria.signed_in("alice").await; // succeeded
    kerria.signed_in("alice").await; // succeeded
    let change = json!({ "current_password": PASSWORD, "new_password": OTHER_PASSWORD });
    third.send("PUT", "/api/v1/password", &change).await; // good, hit; password changed
    third.delete("/api/v1/user").await; // good, hit; user deleted
    kerria.user("bob").await;
    let mut fourth = kerria.signed_in("bob").await; // succeeded
    fourth.sign_in("bob", PASSWORD).await; // succeeded; good, hit; replaced
    kerria.signed_in("bob").await; // succeeded
    kerria.signed_in("bob").await; // succeeded; limit
    kerria.operator().send("POST", "/api/v1/operator/users/bob/disable", &json!({})).await; // two disabled
    let mut values = Vec::new();
    for series in series {
        values.push(kerria.metric(series).await);
    }
    assert_eq!(values, [8.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 8.0, 1.0, 1.0, 9.0, 1.0]);
    assert!(kerria.metric("kerria_http_requests_total{status=\"2xx\"}").await > 10.0);
    let answer = kerria.operator().get("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(!answer.text.contains("alice"));
}

#[tokio::test]
async fn the_operators_page_is_there_for_operators_alone() {
    let kerria = Kerria::with(&[("operator.group", "Operators"), ("checkers.token", CHECKERS_TOKEN)]).await;
    kerria.user("alice").await;
    let mut alice = kerria.signed_in("alice").await;
    assert_eq!(alice.get("/operator").await.status, StatusCode::NOT_FOUND);
    let change = async |change: Value| {
        let answer = kerria.operator().send("POST", "/api/v1/operator/users/alice/groups", &change).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    };
    change(json!({ "join": ["operators"] })).await;
    let page = alice.get("/operator").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("<h1>Checkers</h1>") && page.text.contains("This node"), "{}", page.text);
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    change(json!({ "join": ["operators-of-another-kind"], "leave": ["operators"] })).await;
    assert_eq!(alice.get("/operator").await.status, StatusCode::NOT_FOUND, "at once");
    let stranger = kerria.browser().get("/operator").await;
    assert_eq!(stranger.header("location"), Some("/sign-in?return_to=%2Foperator"));

    let without = Kerria::start().await;
    without.user("alice").await;
    assert_eq!(without.signed_in("alice").await.get("/operator").await.status, StatusCode::NOT_FOUND);
}
