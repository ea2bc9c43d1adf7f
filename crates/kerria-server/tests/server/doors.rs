//! Every guarded route is knocked at without a key, with half a key, and with an old one.

use hyper::{Method, StatusCode};
use kerria_core::{Token, TokenKind};
use kerria_server::routes::{self, Access, Route};
use serde_json::json;

use crate::cast::{Answer, Browser, CHECKERS_TOKEN, HOUR, Kerria, MINUTE, PASSWORD};

/// An identifier that nothing has.
const NOBODY: &str = "01931c2e-7d1a-7b3c-9d4e-5f60718293a4";

fn filled(path: &str) -> String {
    path.replace("{handle}", NOBODY)
        .replace("{user}", NOBODY)
        .replace("{client}", "nobody")
        .replace("{key}", "cart")
        .replace("{name}", "kerria.css")
}

async fn knock(browser: &Browser, route: &Route) -> Answer {
    let path = filled(route.path);
    let mut browser = browser.clone();
    if route.path.starts_with("/api") {
        browser.request(route.method.as_str(), &path, Some("application/json"), "{}".to_owned()).await
    } else if route.method == Method::POST {
        browser.post_form(&path, &[]).await
    } else {
        browser.get(&path).await
    }
}

/// Those who have no key to anything.
async fn strangers(kerria: &Kerria) -> Vec<(&'static str, Browser)> {
    let with_cookie = |token: String| {
        let mut browser = kerria.browser();
        browser.cookies.insert("kerria".to_owned(), token);
        browser
    };
    let with_bearer = |token: String| {
        let mut program = kerria.program();
        program.bearer = Some(token);
        program
    };
    let unknown = Token::random(TokenKind::Session, &kerria::SystemEntropy);
    let unknown = unknown.write(kerria.app.checker.key()).expose().clone();
    let device = Token::random(TokenKind::Device, &kerria::SystemEntropy);
    let device = device.write(kerria.app.checker.key()).expose().clone();
    let mut ended = kerria.signed_in("alice").await;
    let ended_token = ended.token();
    ended.send("POST", "/api/v1/logout", &json!({})).await;
    let expired = kerria.signed_in("alice").await.token();
    kerria.clock.advance(13 * HOUR);
    let living = kerria.signed_in("alice").await.token();
    vec![
        ("nothing", kerria.browser()),
        ("a program", kerria.program()),
        ("half a token", with_cookie(living[..30].to_owned())),
        ("a token of nobody", with_cookie(unknown.clone())),
        ("a bearer token of nobody", with_bearer(unknown)),
        ("a device's token", with_cookie(device)),
        ("an ended session", with_cookie(ended_token)),
        ("an expired session", with_cookie(expired)),
        ("a cookie's token as a bearer token", with_bearer(living)),
        ("other credentials", kerria.program().with("authorization", "Basic b3BlcmF0b3I6eA==")),
    ]
}

#[tokio::test]
async fn no_guarded_route_of_the_api_opens_without_a_key() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut knocked = 0;
    for (who, stranger) in strangers(&kerria).await {
        for route in routes::api() {
            let answer = knock(&stranger, &route).await;
            let at = format!("{} {} with {who}", route.method, route.path);
            if route.access == Access::Public {
                let lost = stranger.bearer.is_some() || !stranger.headers.is_empty();
                let writes_data = route.path.contains("/data/");
                // Its key is the refresh token, which nobody here has.
                let has_its_own_key = route.path == "/api/v1/session/refresh";
                let may_refuse = (lost && writes_data) || has_its_own_key;
                assert!(answer.status != StatusCode::UNAUTHORIZED || may_refuse, "{at}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{at}: {}", answer.text);
            assert_eq!(answer.problem(), "not-signed-in", "{at}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{at}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm=\"kerria\""), "{at}: {challenge}");
            assert_eq!(answer.set_cookies(), [""; 0], "{at}");
            knocked += 1;
        }
    }
    assert!(knocked >= 100, "{knocked}");
}

#[tokio::test]
async fn no_oauth_endpoint_answers_who_is_no_client() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for (who, stranger) in strangers(&kerria).await {
        for route in routes::oauth().iter().filter(|route| route.method == Method::POST) {
            let answer = stranger.clone().post_form(route.path, &[("token", "x"), ("grant_type", "x")]).await;
            let at = format!("{} with {who}", route.path);
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{at}: {}", answer.text);
            assert_eq!(answer.json()["error"], "invalid_client", "{at}");
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"kerria\""), "{at}");
            assert_eq!(answer.set_cookies(), [""; 0], "{at}");
        }
    }
}

#[tokio::test]
async fn a_visitor_without_a_user_opens_no_door_of_a_user() {
    let kerria = Kerria::start().await;
    let mut visitor = kerria.browser();
    visitor.send("PUT", "/api/v1/session/data/cart", &json!(1)).await;
    for route in routes::api().iter().filter(|route| matches!(route.access, Access::User | Access::Fresh)) {
        assert_eq!(knock(&visitor, route).await.status, StatusCode::UNAUTHORIZED, "{}", route.path);
    }
    for route in routes::pages().iter().filter(|route| matches!(route.access, Access::User | Access::Fresh)) {
        assert_eq!(knock(&visitor, route).await.status, StatusCode::SEE_OTHER, "{}", route.path);
    }
}

#[tokio::test]
async fn every_guarded_page_leads_to_the_sign_in_and_back() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for (who, stranger) in strangers(&kerria).await {
        for route in routes::pages() {
            let answer = knock(&stranger, &route).await;
            let at = format!("{} {} with {who}", route.method, route.path);
            if route.access == Access::Public {
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{at}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{at}");
            let location = answer.header("location").unwrap();
            let target =
                location.strip_prefix("/sign-in?return_to=").unwrap_or_else(|| panic!("{at}: {location}"));
            let target: String =
                url::form_urlencoded::parse(format!("x={target}").as_bytes()).next().unwrap().1.into();
            let shown = routes::pages().iter().any(|page| page.method == Method::GET && page.path == target);
            assert!(shown, "{at}: {target} is a page to come back to");
            assert_eq!(answer.set_cookies(), [""; 0], "{at}");
        }
    }
}

#[tokio::test]
async fn what_is_sensitive_asks_those_who_are_signed_in_for_the_password_again() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    kerria.clock.advance(15 * MINUTE);
    let fresh = |route: &&Route| route.access == Access::Fresh;
    for route in routes::api().iter().filter(fresh) {
        let answer = knock(&browser, route).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", route.path);
        assert_eq!(answer.problem(), "fresh-sign-in-required", "{}", route.path);
    }
    for route in routes::pages().iter().filter(fresh) {
        let answer = knock(&browser, route).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", route.path);
        assert!(answer.header("location").unwrap().starts_with("/confirm?return_to=%2F"), "{}", route.path);
    }
    assert!(browser.is_signed_in().await);
    let mut confirmed = browser.clone();
    confirmed.submit("/confirm", "/confirm", &[("password", PASSWORD)]).await;
    assert_eq!(confirmed.get("/account/delete").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_operators_doors_open_to_the_operator_alone() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut all = strangers(&kerria).await;
    let mut wrong = kerria.operator();
    wrong.bearer = Some("the-operator-of-the-test".to_owned());
    all.push(("a wrong operator token", wrong));
    let mut longer = kerria.operator();
    longer.bearer = Some("the-operator-of-the-tests2".to_owned());
    all.push(("a longer operator token", longer));
    all.push(("a signed-in user", kerria.signed_in("alice").await));
    for (who, stranger) in all {
        for route in routes::operators() {
            assert_eq!(route.access, Access::Operator);
            let answer = knock(&stranger, &route).await;
            let at = format!("{} {} with {who}", route.method, route.path);
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{at}");
            assert_eq!(answer.problem(), "not-an-operator", "{at}");
        }
    }
    for route in routes::operators() {
        assert_ne!(
            knock(&kerria.operator(), &route).await.status,
            StatusCode::UNAUTHORIZED,
            "{}",
            route.path
        );
    }
}

#[tokio::test]
async fn the_doors_of_checkers_open_to_checkers_alone() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await;
    let without = Kerria::start().await;
    kerria.user("alice").await;
    let mut checker = kerria.program();
    checker.bearer = Some(CHECKERS_TOKEN.to_owned());
    let mut all = strangers(&kerria).await;
    all.push(("the operator's token", kerria.operator()));
    all.push(("a signed-in user", kerria.signed_in("alice").await));
    for (who, wrong) in [
        ("half a token of checkers", CHECKERS_TOKEN[..20].to_owned()),
        ("a longer token of checkers", format!("{CHECKERS_TOKEN}2")),
    ] {
        all.push((who, Browser { bearer: Some(wrong), ..checker.clone() }));
    }
    all.push(("no token that is set", Browser { address: without.address, ..checker.clone() }));
    for (who, stranger) in all {
        for route in routes::checkers() {
            assert_eq!(route.access, Access::Checker);
            let answer = knock(&stranger, &route).await;
            let at = format!("{} {} with {who}", route.method, route.path);
            assert_eq!(
                (answer.status, answer.problem()),
                (StatusCode::UNAUTHORIZED, "not-a-checker".to_owned()),
                "{at}"
            );
        }
    }
    for route in routes::checkers() {
        assert_ne!(knock(&checker, &route).await.status, StatusCode::UNAUTHORIZED, "{}", route.path);
        assert_eq!(
            kerria.control(route.method.as_str(), route.path, "{}").await.status,
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn what_is_public_never_asks_who_one_is() {
    let kerria = Kerria::start().await;
    for route in routes::plain() {
        assert_eq!(route.access, Access::Public);
        let answer = knock(&kerria.browser(), &route).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", route.path);
    }
}

#[tokio::test]
async fn what_is_not_there_says_so_in_the_form_that_fits() {
    let kerria = Kerria::start().await;
    for path in
        ["/api/v1/nothing", "/api/", "/api/v2/session", "/api/v1/operator/nothing", "/api/v1/session/"]
    {
        let answer = kerria.browser().get(path).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::NOT_FOUND, "not-found".to_owned()),
            "{path}"
        );
    }
    for path in
        ["/nothing", "/sessions/", "//sign-in", "/../etc/passwd", "/%2e%2e/x", "/assets", "/session/x"]
    {
        let answer = kerria.browser().get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.text.contains("There is nothing here"), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_method_that_does_not_fit_is_told_which_do() {
    let kerria = Kerria::start().await;
    for (path, allowed) in [
        ("/api/v1/login", "POST"),
        ("/api/v1/session", "GET,HEAD"),
        ("/api/v1/sessions", "DELETE,GET,HEAD"),
        ("/api/v1/operator/users", "GET,HEAD,POST"),
        ("/metrics", "GET,HEAD"),
        ("/sign-out", "POST"),
        ("/health/live", "GET,HEAD"),
    ] {
        let answer = kerria.operator().request("PATCH", path, None, String::new()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let mut methods: Vec<_> =
            answer.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allowed, "{path}");
        if path.starts_with("/api/") {
            assert_eq!(answer.problem(), "no-such-method", "{path}");
        } else {
            assert!(answer.text.contains("That does not work here"), "{path}");
        }
    }
}
