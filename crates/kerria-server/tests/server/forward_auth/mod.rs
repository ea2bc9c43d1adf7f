//! Reverse proxies that ask: what they are answered, and what comes of it with real ones.

mod hand_over;
mod identity;
mod proxies;
mod proxy;
mod rules;

use base64::Engine;
use hyper::StatusCode;
use kerria::testing::Steps;
use serde_json::{Value, json};

use crate::cast::{Answer, Browser, FILE, HOUR, Kerria, MINUTE, PASSWORD};

const RULES: &str = r#"
trusted_proxies = ["127.0.0.1"]

[[forward_auth.rule]]
hosts = ["app.site.localhost"]
paths = ["/public/*"]
allow = "everyone"

[[forward_auth.rule]]
hosts = ["app.site.localhost"]
paths = ["/alice/*"]
users = ["Alice"]

[[forward_auth.rule]]
hosts = ["app.site.localhost"]
paths = ["/fresh/*"]
allow = "signed-in"
fresh_within = "10m"

[[forward_auth.rule]]
hosts = ["staff.site.localhost"]
groups = ["Staff", "admins"]

[[forward_auth.rule]]
hosts = ["app.site.localhost"]
allow = "signed-in"

[[forward_auth.rule]]
hosts = ["api.site.localhost"]
methods = ["GET"]
allow = "signed-in"
audience = "the-api"
consistency = "strict"
"#;

const IDENTITY: [&str; 5] = ["remote-user", "remote-name", "remote-email", "remote-groups", "remote-jwt"];

async fn kerria() -> Kerria {
    kerria_with(&[
        (FILE, RULES),
        ("public_url", "http://id.site.localhost:8080"),
        ("allow_insecure_http", "true"),
        ("session.cookie_domain", "site.localhost"),
    ])
    .await
}

/// A Kerria with these settings, and with Alice and Bob.
async fn kerria_with(settings: &[(&str, &str)]) -> Kerria {
    let kerria = Kerria::with(settings).await;
    kerria.user("alice").await;
    kerria.user("bob").await;
    kerria
}

/// A proxy, as Caddy is one, with what this browser has sent.
fn asking(browser: &Browser, method: &str, url: &str) -> Browser {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    browser
        .with("x-forwarded-method", method)
        .with("x-forwarded-proto", scheme)
        .with("x-forwarded-host", host)
        .with("x-forwarded-uri", path)
}

/// What such a proxy is answered.
async fn ask(browser: &Browser, method: &str, url: &str) -> Answer {
    asking(browser, method, url).get("/forward-auth").await
}

/// The same for a browser that opens a page.
async fn open(browser: &Browser, url: &str) -> Answer {
    ask(&browser.with("accept", "text/html,*/*").with("sec-fetch-mode", "navigate"), "GET", url).await
}

fn identity(answer: &Answer) -> Vec<&str> {
    IDENTITY.iter().map(|name| answer.header(name).unwrap_or_else(|| panic!("no {name}"))).collect()
}

/// Where the page of a form leads when it is sent.
fn return_to(page: &Answer) -> String {
    let kept = page.text.split("name=\"return_to\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    kept.replace("&#38;", "&")
}

fn claims(jwt: &str) -> Value {
    serde_json::from_slice(&decoded(jwt.split('.').nth(1).unwrap())).unwrap()
}

fn decoded(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[tokio::test]
async fn an_end_is_seen_by_the_next_request() {
    let kerria = kerria().await;
    for _ in 0..20 {
        let mut alice = kerria.signed_in("alice").await;
        for url in ["http://app.site.localhost/", "http://api.site.localhost/"] {
            assert_eq!(ask(&alice, "GET", url).await.status, StatusCode::OK);
        }
        let thief = alice.thief();
        assert_eq!(alice.send("POST", "/api/v1/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
        for url in ["http://app.site.localhost/", "http://api.site.localhost/"] {
            let answer = ask(&thief, "GET", url).await;
            assert_eq!(
                (answer.status, answer.problem()),
                (StatusCode::UNAUTHORIZED, "not-signed-in".to_owned())
            );
            assert!(IDENTITY.iter().all(|name| answer.header(name).is_none()));
        }
    }
}

#[tokio::test]
async fn a_browser_signs_in_and_comes_back_and_a_program_is_told() {
    let kerria = kerria().await;
    let url = "http://app.site.localhost:81/a%20b?c=d&e=/f";
    let stranger = kerria.browser();
    let answer = open(&stranger, url).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    let location = answer.header("location").unwrap().to_owned();
    let path = location.strip_prefix("http://id.site.localhost:8080").unwrap().to_owned();
    let mut browser = kerria.browser();
    let page = browser.get(&path).await;
    let kept = return_to(&page);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains(
            "form-action 'self' http://api.site.localhost:* http://app.site.localhost:* http://staff.site.localhost:*; "
        ),
        "{policy}"
    );
    let fields = [("login", "alice"), ("password", PASSWORD), ("return_to", &*kept)];
    let answer = browser.submit(&path, "/sign-in", &fields).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, Some(url)));
    assert_eq!(ask(&browser, "GET", url).await.status, StatusCode::OK);
    for a_page in [
        ask(&stranger.with("accept", "text/html"), "HEAD", url).await,
        ask(&stranger.with("accept", "*/*;q=0.8, Text/HTML"), "GET", url).await,
    ] {
        assert_eq!(a_page.status, StatusCode::FOUND);
    }
    for not_a_page in [
        ask(&stranger, "GET", url).await,
        ask(&stranger.with("accept", "application/json"), "GET", url).await,
        ask(&stranger.with("accept", "text/html"), "POST", url).await,
        open(&stranger.with("x-requested-with", "XMLHttpRequest"), url).await,
        open(&stranger.with("upgrade", "websocket"), url).await,
        ask(&stranger.with("accept", "text/html").with("sec-fetch-mode", "cors"), "GET", url).await,
        ask(&stranger.with("accept", "text/html").with("sec-fetch-mode", "websocket"), "GET", url).await,
        ask(&stranger.with("accept", "text/html"), "OPTIONS", url).await,
    ] {
        assert_eq!(
            (not_a_page.status, not_a_page.problem()),
            (StatusCode::UNAUTHORIZED, "not-signed-in".into())
        );
        assert_eq!(not_a_page.header("www-authenticate"), Some("Bearer realm=\"kerria\""));
    }
}

#[tokio::test]
async fn nobody_else_can_make_a_link_that_leads_away() {
    let kerria = kerria().await;
    let location =
        open(&kerria.browser(), "http://app.site.localhost/x").await.header("location").unwrap().to_owned();
    let url = url::Url::parse(&location).unwrap();
    let signed = url.query_pairs().next().unwrap().1.into_owned();
    let target = async |wanted: &str| {
        let fields = [("login", "alice"), ("password", PASSWORD), ("return_to", wanted)];
        let answer = kerria.browser().post_form("/sign-in", &fields).await;
        answer.header("location").unwrap().to_owned()
    };
    assert_eq!(target(&signed).await, "http://app.site.localhost/x");
    for wanted in [
        "http://app.site.localhost/x".to_owned(),
        signed.replace("app.site.localhost/x", "app.site.localhost/y"),
        signed.replace("app.site.localhost", "evil.example"),
        signed.replace("http:", "https:"),
        format!("{signed}y"),
        signed[1..].to_owned(),
        format!("{}.http://evil.example/", &signed[..43]),
    ] {
        assert_eq!(target(&wanted).await, "/sessions", "{wanted}");
    }
}

#[tokio::test]
async fn a_link_that_we_have_signed_counts_while_a_rule_is_about_its_host() {
    let kerria = kerria().await;
    let location =
        open(&kerria.browser(), "http://app.site.localhost/x").await.header("location").unwrap().to_owned();
    let signed = url::Url::parse(&location).unwrap().query_pairs().next().unwrap().1.into_owned();
    let fields = [("login", "alice"), ("password", PASSWORD), ("return_to", &*signed)];
    let kerria = kerria.restart().await;
    let answer = kerria.browser().post_form("/sign-in", &fields).await;
    assert_eq!(answer.header("location"), Some("http://app.site.localhost/x"));
    let kerria = kerria.restart_with(&[(FILE, "")]).await;
    let answer = kerria.browser().post_form("/sign-in", &fields).await;
    assert_eq!(answer.header("location"), Some("/sessions"));
}

#[tokio::test]
async fn what_can_be_given_back_is_and_what_is_too_long_leads_to_the_beginning() {
    let kerria = kerria().await;
    let page = "http://app.site.localhost/page";
    for (query, target) in [
        ("a={b|c}&d=\"e\"".to_owned(), format!("{page}?a=%7Bb%7Cc%7D&d=%22e%22")),
        ("%20".repeat(600), format!("{page}?{}", "%20".repeat(600))),
        ("a".repeat(3_000), "http://app.site.localhost/".to_owned()),
    ] {
        let answer = open(&kerria.browser(), &format!("{page}?{query}")).await;
        let location = url::Url::parse(answer.header("location").unwrap()).unwrap();
        let signed = location.query_pairs().next().unwrap().1.into_owned();
        assert_eq!(signed.split_once('.').unwrap().1, target);
    }
}

#[tokio::test]
async fn nginx_gets_a_redirect_in_the_header_of_a_401() {
    let kerria = kerria().await;
    let nginx = |browser: &Browser| {
        browser.with("x-original-method", "GET").with("x-original-url", "http://app.site.localhost:80/x")
    };
    let navigation = kerria.browser().with("accept", "text/html");
    let answer = nginx(&navigation).get("/forward-auth/nginx").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(
        answer.header("location").unwrap().starts_with("http://id.site.localhost:8080/sign-in?return_to=")
    );
    let alice = kerria.signed_in("alice").await;
    assert_eq!(nginx(&alice).get("/forward-auth/nginx").await.status, StatusCode::OK);
}

#[tokio::test]
async fn envoy_asks_with_the_request_itself() {
    let kerria = kerria().await;
    let mut alice = kerria.signed_in("alice").await.with("x-forwarded-proto", "http");
    alice.host = "api.site.localhost".to_owned();
    assert_eq!(alice.get("/forward-auth/envoy/x?y=z").await.status, StatusCode::OK);
    assert_eq!(alice.send("POST", "/forward-auth/envoy/x", &json!({})).await.status, StatusCode::FORBIDDEN);
    alice.host = "app.site.localhost".to_owned();
    assert_eq!(alice.get("/forward-auth/envoy/x/../y").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn only_a_trusted_proxy_is_believed() {
    let rules = RULES.replace("127.0.0.1", "192.0.2.1");
    let kerria = Kerria::with(&[(FILE, &rules)]).await;
    let answer = ask(&kerria.browser(), "GET", "http://app.site.localhost/public/").await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "not-believed".to_owned()));
    assert!(
        answer.text.contains("It came from 127.0.0.1, which is none of the trusted_proxies."),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn what_is_told_twice_or_not_at_all_is_refused() {
    let kerria = kerria().await;
    let alice = kerria.signed_in("alice").await;
    let url = "http://app.site.localhost/";
    assert_eq!(ask(&alice, "GET", url).await.status, StatusCode::OK);
    for (name, value) in [
        ("x-forwarded-uri", "/public/"),
        ("x-forwarded-host", "app.site.localhost"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-method", "GET"),
        ("x-original-url", "http://app.site.localhost/public/"),
        ("x-original-uri", "/public/"),
        ("x-rewrite-url", "/public/"),
        ("remote-user", "alice"),
        ("remote_user", "alice"),
        ("remote-jwt", "x"),
        ("remote_groups", "staff"),
        ("remote.user", "alice"),
        ("x_original_url", "/public/"),
        ("x.rewrite.url", "/public/"),
        ("x_forwarded_uri", "/public/"),
    ] {
        let answer = ask(&alice.with(name, value), "GET", url).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::FORBIDDEN, "not-believed".into()),
            "{name}"
        );
    }
    assert_eq!(alice.clone().get("/forward-auth").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_malformed_cookie_is_as_good_as_none() {
    let kerria = kerria().await;
    for value in [
        "",
        "=",
        "kst_",
        "a=b",
        "\u{e9}",
        &"x".repeat(8_000),
        "kst_0000000000000000000000000000000000000000000000000000000",
    ] {
        let mut browser = kerria.browser();
        browser.cookies.insert("kerria".to_owned(), value.to_owned());
        let answer = ask(&browser, "GET", "http://app.site.localhost/").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value:?}");
        let answer = ask(&browser, "GET", "http://app.site.localhost/public/").await;
        assert_eq!((answer.status, identity(&answer)), (StatusCode::OK, vec![""; 5]), "{value:?}");
    }
}

async fn change_groups(kerria: &Kerria, user: &str, change: &Value) {
    let path = format!("/api/v1/operator/users/{user}/groups");
    let answer = kerria.operator().send("POST", &path, change).await;
    assert!(answer.status.is_success(), "{}", answer.text);
}

#[tokio::test]
async fn what_cannot_be_known_is_503_and_what_is_for_everyone_passes() {
    let kerria = kerria().await;
    let alice = kerria.signed_in("alice").await;
    kerria.store.fail(Steps::All);
    let answer = ask(&alice, "GET", "http://api.site.localhost/").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    let answer = open(&alice, "http://api.site.localhost/").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SERVICE_UNAVAILABLE, None));
    let answer = ask(&alice, "GET", "http://app.site.localhost/public/").await;
    assert_eq!(answer.status, StatusCode::OK);
    kerria.store.mend();
    assert_eq!(ask(&alice, "GET", "http://api.site.localhost/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_hangs_is_waited_for_as_long_as_a_request_may_take() {
    let kerria = kerria_with(&[(FILE, RULES), ("server.request_timeout", "1s")]).await;
    let alice = kerria.signed_in("alice").await;
    assert_eq!(ask(&alice, "GET", "http://api.site.localhost/").await.status, StatusCode::OK);
    kerria.store.hang(Steps::All);
    // Gives up on its own after ten seconds, and fails.
    let answer = ask(&alice, "GET", "http://api.site.localhost/").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    assert_eq!(ask(&alice, "GET", "http://app.site.localhost/").await.status, StatusCode::OK, "from memory");
    kerria.store.mend();
    assert_eq!(ask(&alice, "GET", "http://api.site.localhost/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn over_http_nobody_is_recognised_where_the_session_goes_over_https() {
    let kerria = Kerria::with(&[(FILE, RULES), ("public_url", "https://id.example")]).await;
    let answer = ask(&kerria.browser(), "GET", "http://app.site.localhost/").await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "not-believed".to_owned()));
    assert_eq!(
        ask(&kerria.browser(), "GET", "http://app.site.localhost/public/").await.status,
        StatusCode::OK
    );
    assert_eq!(
        ask(&kerria.browser(), "GET", "https://app.site.localhost/").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn how_another_host_is_reached_is_not_ours_to_say() {
    let kerria = Kerria::with(&[(FILE, RULES), ("public_url", "https://id.example")]).await;
    const STRICT: &str = "strict-transport-security";
    assert!(kerria.browser().get("/sign-in").await.header(STRICT).is_some());
    let url = "https://app.site.localhost/";
    for (answer, status) in [
        (open(&kerria.browser(), url).await, StatusCode::FOUND),
        (ask(&kerria.browser(), "GET", url).await, StatusCode::UNAUTHORIZED),
        (ask(&kerria.browser(), "GET", "https://unknown.localhost/").await, StatusCode::FORBIDDEN),
        (kerria.browser().get("/forward-auth").await, StatusCode::FORBIDDEN),
        (ask(&kerria.browser(), "GET", &format!("{url}public/")).await, StatusCode::OK),
    ] {
        assert_eq!((answer.status, answer.header(STRICT)), (status, None));
    }
}

#[tokio::test]
async fn hosts_of_one_domain_share_the_session() {
    let rules = RULES.replace("app.site.localhost", "app.site.example");
    let settings = [
        (FILE, &*rules),
        ("public_url", "https://id.site.example"),
        ("session.cookie_domain", "site.example"),
    ];
    let kerria = kerria_with(&settings).await;
    let mut alice = kerria.browser();
    alice.host = "id.site.example".to_owned();
    let answer = alice.sign_in("alice", PASSWORD).await;
    let cookie =
        answer.set_cookies().into_iter().find(|cookie| cookie.starts_with("__Secure-kerria=")).unwrap();
    assert!(cookie.contains("; Domain=site.example") && cookie.contains("; Secure"), "{cookie}");
    let answer = ask(&alice, "GET", "https://app.site.example/").await;
    assert_eq!((answer.status, answer.header("cookie")), (StatusCode::OK, Some("")));
    let mut other = alice.clone();
    other.host = "id.site.example".to_owned();
    let answer = other.send("POST", "/api/v1/logout", &json!({})).await;
    assert!(answer.set_cookies()[0].contains("Domain=site.example"), "{:?}", answer.set_cookies());
    assert_eq!(ask(&alice, "GET", "https://app.site.example/").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_that_was_replaced_passes_and_its_successor_is_noted() {
    let kerria = kerria_with(&[(FILE, RULES), ("session.rotate_after", "15m")]).await;
    let mut alice = kerria.signed_in("alice").await;
    let old = alice.thief();
    kerria.clock.advance(HOUR / 2);
    let rotations = || kerria.store.asked("rotate");
    let answer = ask(&alice, "GET", "http://app.site.localhost/").await;
    assert_eq!((answer.status, answer.set_cookies().len()), (StatusCode::OK, 0));
    assert_eq!(rotations(), 0, "a proxy is given no cookie");
    alice.get("/sessions").await;
    assert_ne!(alice.token(), old.token());
    assert_eq!(ask(&old, "GET", "http://app.site.localhost/").await.status, StatusCode::OK);
    assert_eq!(rotations(), 1);
    for _ in 0..2 {
        assert_eq!(ask(&alice, "GET", "http://app.site.localhost/").await.status, StatusCode::OK);
        assert_eq!(rotations(), 2, "once");
    }
    kerria.clock.advance(MINUTE);
    // The successor was used, and the grace is over.
    assert_eq!(ask(&old, "GET", "http://app.site.localhost/").await.status, StatusCode::UNAUTHORIZED);
}
