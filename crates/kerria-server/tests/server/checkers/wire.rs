//! What goes over the wire, as any program would say it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use hyper::StatusCode;
use kerria::{RemoteChecker, RemoteOptions, Stopwatch, testing::Steps};
use serde_json::{Value, json};

use crate::{
    cast::{Answer, Browser, CHECKERS_TOKEN, HOUR, Kerria, MINUTE},
    cluster::installation::until,
};

const SHOP: &str = "019bbd47-2f00-7a41-8c5e-6d7f8091a2b3";

async fn kerria() -> Kerria {
    Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await
}

fn checker(kerria: &Kerria) -> Browser {
    let mut checker = kerria.program();
    checker.bearer = Some(CHECKERS_TOKEN.to_owned());
    checker
}

async fn ask(kerria: &Kerria, what: &str, question: &Value) -> Value {
    let answer = send(kerria, what, question).await;
    assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.text);
    answer.json()
}

async fn send(kerria: &Kerria, what: &str, question: &Value) -> Answer {
    checker(kerria).send("POST", &format!("/api/v1/checker/{what}"), question).await
}

fn renewal(applied: Option<u64>, wait: u64) -> Value {
    json!({ "checker": SHOP, "name": "shop", "applied": applied, "wait": wait })
}

/// A checker that is known, and the number of the last entry.
async fn known(kerria: &Kerria) -> u64 {
    let registered = ask(kerria, "renew", &renewal(None, 0)).await;
    assert_eq!(registered["answer"], "registered");
    registered["head"].as_u64().unwrap()
}

/// What is kept of a token.
fn hash(kerria: &Kerria, token: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let token = kerria_core::Token::parse(
        kerria_core::TokenKind::Session,
        token.as_bytes(),
        kerria.app.checker.key(),
    );
    URL_SAFE_NO_PAD.encode(token.expect("it is a token").hash().as_bytes())
}

#[tokio::test]
async fn a_renewal_is_held_back_until_there_is_news_and_a_third_of_a_lease_at_most() {
    let kerria = kerria().await;
    kerria.user("alice").await;
    let head = known(&kerria).await;
    let nothing = json!({ "answer": "entries", "entries": [], "complete": true });
    let watch = Stopwatch::start();
    assert_eq!(ask(&kerria, "renew", &renewal(Some(head), 0)).await, nothing);
    assert!(watch.elapsed() < Duration::from_millis(200), "at once: {:?}", watch.elapsed());
    let watch = Stopwatch::start();
    assert_eq!(ask(&kerria, "renew", &renewal(Some(head), 60_000)).await, nothing);
    let held = Duration::from_millis(300)..Duration::from_millis(900);
    assert!(held.contains(&watch.elapsed()), "{:?}", watch.elapsed());

    let mut alice = kerria.signed_in("alice").await;
    let handle = alice.handle().await;
    let watch = Stopwatch::start();
    let held = renewal(Some(head), 333);
    let (news, _) = tokio::join!(ask(&kerria, "renew", &held), async {
        // It is on its way, or was not sent yet: both have to end well.
        tokio::task::yield_now().await;
        // It waits for the shop, which does not renew: as long as a lease.
        let ended = alice.send("POST", "/api/v1/logout", &json!({})).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
    });
    assert_eq!((&news["complete"], news["entries"].as_array().unwrap().len()), (&json!(true), 1));
    let entry = &news["entries"][0];
    assert_eq!(entry["number"], head + 1);
    assert_eq!(entry["selector"], json!({ "kind": "session", "session": handle }));
    assert_eq!(entry["event"], json!({ "event": "ended", "cause": "signed_out" }));
    assert!(
        watch.elapsed() > Duration::from_millis(900),
        "the sign-out waits for the shop: {:?}",
        watch.elapsed()
    );
}

#[tokio::test]
async fn an_end_says_for_whom_it_has_waited_and_who_was_late() {
    let kerria = kerria().await;
    kerria.user("alice").await;
    known(&kerria).await;
    let (alice, mut operator) = (kerria.signed_in("alice").await, kerria.operator());
    let path = format!("/api/v1/operator/sessions/{}", alice.handle().await);
    let ended = operator.send("DELETE", &path, &json!({})).await.json();
    assert_eq!((&ended["waited_for"], &ended["late"]), (&json!("checkers"), &json!(["shop"])), "{ended}");
    assert!(ended["acknowledged_in_ms"].as_u64().unwrap() >= 1_000, "a lease: {ended}");

    known(&kerria).await;
    let mut alice = kerria.signed_in("alice").await;
    let other = kerria.signed_in("alice").await;
    let ended = alice.send("DELETE", "/api/v1/sessions?scope=others", &json!({})).await.json();
    assert_eq!((&ended["ended"], &ended["waited_for"]), (&json!(1), &json!("checkers")));
    assert!(ended["acknowledged_in_ms"].as_u64().unwrap() >= 1_000 && ended.get("late").is_none(), "{ended}");
    assert!(!other.is_signed_in().await);

    // Whoever waits for the store alone waits for nobody's lease.
    known(&kerria).await;
    let other = kerria.signed_in("alice").await;
    let path = format!("/api/v1/sessions/{}?wait=store", other.handle().await);
    let ended = alice.send("DELETE", &path, &json!({})).await.json();
    assert_eq!(ended, json!({ "ended": 1, "waited_for": "store" }));
    assert!(!other.is_signed_in().await, "this node accepts it no more");
    let everyone = json!({ "selector": { "kind": "everyone" } });
    let ended = operator.send("POST", "/api/v1/operator/revocations?wait=store", &everyone).await.json();
    assert_eq!((&ended["ended"], &ended["waited_for"]), (&json!(1), &json!("store")), "{ended}");
    assert!(ended["number"].is_u64() && ended.get("late").is_none(), "{ended}");
    assert!(!alice.is_signed_in().await);
    let mut alice = kerria.signed_in("alice").await;
    let signed_out = alice.send("POST", "/api/v1/logout?wait=store", &json!({})).await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_end_that_nobody_waits_for_is_done_all_the_same() {
    let kerria = kerria().await;
    kerria.user("alice").await;
    let operator = kerria.operator();
    let taken_in = json!({ "waited_for": "none" });
    let everyone = json!({ "selector": { "kind": "everyone" } });
    for way in ["operator", "everyone", "one", "others", "logout"] {
        let (who, other) = (kerria.signed_in("alice").await, kerria.signed_in("alice").await);
        let handle = who.handle().await;
        let (mut asks, method, path, body) = match way {
            "operator" => {
                (operator.clone(), "DELETE", format!("operator/sessions/{handle}?wait=none"), json!({}))
            }
            "everyone" => {
                (operator.clone(), "POST", "operator/revocations?wait=none".to_owned(), everyone.clone())
            }
            "one" => (other, "DELETE", format!("sessions/{handle}?wait=none"), json!({})),
            "others" => (other, "DELETE", "sessions?scope=others&wait=none".to_owned(), json!({})),
            _ => (who.clone(), "POST", "logout?wait=none".to_owned(), json!({})),
        };
        let answer = asks.send(method, &format!("/api/v1/{path}"), &body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{way}: {}", answer.text);
        assert!(way == "logout" || answer.json() == taken_in, "{way}: {}", answer.text);
        until("it is done", async || !who.is_signed_in().await).await;
    }
    let mut alice = kerria.signed_in("alice").await;
    for wrong in ["wait=nobody", "wait=", "Wait=store", "wait=store&wait=none"] {
        let answer = alice.send("POST", &format!("/api/v1/logout?{wrong}"), &json!({})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert!(alice.is_signed_in().await);
}

#[tokio::test]
async fn an_end_that_was_taken_in_is_done_before_the_server_is_gone() {
    let kerria = kerria().await;
    kerria.user("alice").await;
    let mut operator = kerria.operator();
    let everyone = json!({ "selector": { "kind": "everyone" } });
    // Nobody is in the ledger, but a server that has just started does not know that: the ends take a lease.
    for _ in 0..3 {
        let answer = operator.send("POST", "/api/v1/operator/revocations?wait=none", &everyone).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }
    // And something that takes longer than whatever else a stop waits for.
    let (app, done) = (Arc::clone(&kerria.app), Arc::new(AtomicBool::new(false)));
    let is_done = Arc::clone(&done);
    let taken_in = kerria.app.do_later(async move {
        app.stopping().await;
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        is_done.store(true, SeqCst);
    });
    taken_in.unwrap();
    let store = Arc::clone(&kerria.app.store);
    kerria.app.close().await;
    assert!(done.load(SeqCst));
    let kerria_core::store::LogPage::Entries(log) =
        store.log_after(kerria_core::LogNumber(0), 100).await.unwrap()
    else {
        panic!("nothing was removed")
    };
    assert_eq!(log.len(), 3);
}

#[tokio::test]
async fn one_checker_more_than_may_follow_is_refused_and_told_what_to_do() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN), ("checkers.max", "1")]).await;
    let follow = |name: &str| {
        let options = RemoteOptions::new([format!("http://{}", kerria.address)], CHECKERS_TOKEN);
        RemoteChecker::start(options.name(name))
    };
    let first = follow("the first").await.unwrap();
    let told = follow("more").await.unwrap_err().to_string();
    assert!(
        told.contains("as many as checkers.max allows") && told.contains("kerria cluster status"),
        "{told}"
    );
    for applied in [None, Some(0)] {
        let other = json!({ "checker": SHOP, "name": "more", "applied": applied });
        let answer = send(&kerria, "renew", &other).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, "too-many-checkers".to_owned())
        );
    }
    assert!(first.checker().lease().holds(), "whoever is there stays");
    // It is not in the ledger, so nobody waits for it.
    let mut operator = kerria.operator();
    let seen = operator.get("/api/v1/operator/cluster").await.json();
    assert!(!seen["nodes"].to_string().contains("more"), "{seen}");
    first.stop().await.unwrap();
    let follows = follow("the next").await.unwrap();
    follows.stop().await.unwrap();
}

#[tokio::test]
async fn a_checker_that_missed_entries_starts_over() {
    let kerria = kerria().await;
    let head = known(&kerria).await;
    assert_eq!(
        ask(&kerria, "renew", &renewal(Some(head + 7), 0)).await,
        json!({ "answer": "start_over", "head": head })
    );
    assert_eq!(
        ask(&kerria, "log", &json!({ "after": head + 7, "limit": 10 })).await,
        json!({ "answer": "start_over", "head": head })
    );
}

#[tokio::test]
async fn a_node_that_has_too_much_to_do_is_told_from_one_that_cannot_ask() {
    let kerria = kerria().await;
    let question = json!({ "session": SHOP });
    kerria.store.busy(Steps::Of("session"));
    let busy = send(&kerria, "session", &question).await;
    kerria.store.fail(Steps::Of("session"));
    let unavailable = send(&kerria, "session", &question).await;
    for (answer, problem) in [(busy, "busy"), (unavailable, "unavailable")] {
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, problem));
    }
}

#[tokio::test]
async fn a_session_is_found_by_the_hash_of_its_token_and_by_its_handle() {
    let kerria = kerria().await;
    let id = kerria.user("alice").await;
    let alice = kerria.signed_in("alice").await;
    let handle = alice.handle().await;
    let by_token = ask(&kerria, "find", &json!({ "token": hash(&kerria, &alice.token()) })).await;
    let mut by_handle = ask(&kerria, "session", &json!({ "session": handle })).await;
    assert_eq!(by_handle["found"]["other_token"], json!(hash(&kerria, &alice.token())));
    by_handle["found"]["other_token"] = Value::Null;
    assert_eq!(by_token, by_handle);
    let found = &by_token["found"];
    assert_eq!(
        (&found["session"], &found["user"], &found["user_name"]),
        (&json!(handle), &json!(id), &json!("alice"))
    );
    assert_eq!((&found["transport"], &found["remembered"]), (&json!("cookie"), &json!(false)));
    assert_eq!(found["place"], json!({ "browser": "Firefox", "network": "127.0.0.1" }));
    assert_eq!((&found["opened_at"], &found["phase"]), (&json!(1_800_000_000_000_u64), &json!("present")));
    let nothing = json!({ "found": null });
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(ask(&kerria, "find", &json!({ "token": other })).await, nothing);
    assert_eq!(ask(&kerria, "session", &json!({ "session": SHOP })).await, nothing);

    // Nobody but this process has seen it used since.
    kerria.clock.advance(MINUTE);
    assert!(alice.is_signed_in().await);
    let found = ask(&kerria, "find", &json!({ "token": hash(&kerria, &alice.token()) })).await;
    assert_eq!(found["found"]["last_seen_at"], 1_800_000_060_000_u64);
}

#[tokio::test]
async fn a_session_that_is_used_in_an_application_is_not_idle_at_the_server() {
    let kerria = kerria().await;
    kerria.user("alice").await;
    let alice = kerria.signed_in("alice").await;
    let session = alice.handle().await;
    for _ in 0..3 {
        kerria.clock.advance(HOUR + 30 * MINUTE);
        // An application whose clock is ahead keeps nobody signed in for longer.
        let at = 1_900_000_000_000_u64;
        let told = send(&kerria, "touch", &json!({ "seen": [{ "session": session, "at": at }] })).await;
        assert_eq!(told.status, StatusCode::NO_CONTENT, "{}", told.text);
    }
    assert!(alice.is_signed_in().await);
    kerria.clock.advance(2 * HOUR);
    assert!(!alice.is_signed_in().await);
}

#[tokio::test]
async fn the_settings_say_what_a_checker_has_to_know() {
    let kerria = kerria().await;
    let told = checker(&kerria).get("/api/v1/checker/settings").await.json();
    assert_eq!((&told["issuer"], &told["cookie"]), (&json!("http://localhost:8080"), &json!("kerria")));
    assert_eq!(
        (&told["lease"], &told["touch_every"], &told["binding"]),
        (&json!(1_000), &json!(60_000), &json!("off"))
    );
    assert_eq!(told["policy"]["ordinary"], json!({ "idle": 7_200_000, "absolute": 43_200_000 }));
    assert_eq!(told["rotation"], json!({ "after": 0, "grace": 30_000 }));
    assert_eq!(told["token_key"].as_str().unwrap().len(), 22);
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let kerria = kerria().await;
    let too_many: Vec<_> = (0..501).map(|_| json!({ "session": SHOP, "at": 1 })).collect();
    for (what, question) in [
        ("renew", json!({ "checker": SHOP, "name": "", "applied": null })),
        ("renew", json!({ "checker": SHOP, "name": "a\nb", "applied": null })),
        ("renew", json!({ "checker": "shop", "name": "shop", "applied": null })),
        ("renew", json!({ "checker": SHOP, "name": "shop", "applied": (1_u64 << 53) })),
        ("renew", json!({ "checker": SHOP, "name": "shop", "applied": null, "more": 1 })),
        ("renew", json!({ "checker": SHOP, "name": "shop" })),
        ("touch", json!({ "seen": [{ "session": SHOP, "at": -1 }] })),
        ("find", json!({ "token": "kst_" })),
        ("touch", json!({ "seen": too_many })),
        ("log", json!({ "after": 0, "limit": 0 })),
        ("log", json!({ "after": 0, "limit": 10_001 })),
    ] {
        let answer = send(&kerria, what, &question).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::BAD_REQUEST, "bad-request".to_owned()),
            "{question}"
        );
    }
}
