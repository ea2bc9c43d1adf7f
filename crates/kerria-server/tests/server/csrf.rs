//! Nobody else's page acts in our users' names, and nobody is led away from here.

use hyper::StatusCode;
use serde_json::json;

use crate::cast::{Answer, Browser, Kerria, PASSWORD};

/// The sign-in form, sent as it is.
async fn sign_in_form(browser: &mut Browser, return_to: Option<&str>) -> Answer {
    let mut fields = vec![("login", "alice"), ("password", PASSWORD)];
    fields.extend(return_to.map(|wanted| ("return_to", wanted)));
    browser.submit("/sign-in", "/sign-in", &fields).await
}

/// Requests that would change something for whoever is signed in.
const CHANGES: [(&str, &str, &str); 9] = [
    ("POST", "/api/v1/logout", "{}"),
    ("POST", "/api/v1/login", r#"{"login": "mallory", "password": "x"}"#),
    ("PUT", "/api/v1/session/data/cart", "1"),
    ("POST", "/api/v1/session/data/cart", r#"{"increment": 1}"#),
    ("DELETE", "/api/v1/session/data/kept", ""),
    ("PUT", "/api/v1/user", r#"{"name": "mallory"}"#),
    ("DELETE", "/api/v1/user", ""),
    ("DELETE", "/api/v1/sessions?scope=others", ""),
    ("DELETE", "/api/v1/sessions?scope=all", ""),
];

#[tokio::test]
async fn a_foreign_page_changes_nothing_through_the_api() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    browser.send("PUT", "/api/v1/session/data/kept", &json!(1)).await;
    let foreign = [
        browser.from_site(Some("cross-site")),
        browser.from_site(Some("same-site")),
        browser.from_site(Some("Same-Origin")),
        browser.from_site(Some("")),
        browser.from_site(None).with("origin", "null"),
        browser.from_site(None).with("origin", "https://evil.example"),
        browser.from_site(None).with("origin", "http://localhost:8081"),
        browser.from_site(None).with("origin", "https://localhost:8080"),
        browser.from_site(None).with("origin", "http://localhost:8080.evil.example"),
        browser.from_site(Some("cross-site")).with("origin", "http://localhost:8080"),
        browser.from_site(Some("cross-site")).with("x-csrf-token", &browser.csrf_token().await),
    ];
    for page in &foreign {
        for (method, path, body) in CHANGES {
            let mut page = page.clone();
            let answer = page.request(method, path, Some("application/json"), body.to_owned()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path} {:?}", page.headers);
            assert_eq!(answer.problem(), "cross-site-request");
            assert_eq!(answer.set_cookies(), [""; 0]);
        }
    }
    assert!(browser.is_signed_in().await && phone.is_signed_in().await);
    assert_eq!(browser.get("/api/v1/session/data/kept").await.text, "1");
    assert_eq!(browser.get("/api/v1/session/data/cart").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/api/v1/user").await.json()["name"], "alice");
}

#[tokio::test]
async fn our_own_pages_and_what_the_user_typed_are_let_through() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    for mut own in [
        browser.from_site(Some("same-origin")),
        browser.from_site(Some("none")),
        browser.from_site(None).with("origin", "http://localhost:8080"),
    ] {
        let answer = own.send("PUT", "/api/v1/session/data/cart", &json!(1)).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?} {}", own.headers, answer.text);
    }
}

#[tokio::test]
async fn a_browser_that_says_nothing_has_to_present_the_token_of_its_session() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.user("mallory").await;
    let mut browser = kerria.browser();
    browser.send("PUT", "/api/v1/session/data/cart", &json!(1)).await;
    let before_login = browser.csrf_token().await;
    browser.sign_in("alice", PASSWORD).await;
    let silent = browser.from_site(None);
    let right = silent.csrf_token().await;
    let of_mallory = kerria.signed_in("mallory").await.csrf_token().await;
    for wrong in ["", "x", &before_login, &of_mallory, &right[1..], &format!("{right}A"), "\u{e9}"] {
        let answer =
            silent.with("x-csrf-token", wrong).send("PUT", "/api/v1/session/data/cart", &json!(2)).await;
        assert_eq!(answer.problem(), "cross-site-request", "{wrong}");
    }
    let without = silent.clone().send("PUT", "/api/v1/session/data/cart", &json!(2)).await;
    assert_eq!(without.problem(), "cross-site-request");
    let with = silent.with("x-csrf-token", &right).send("PUT", "/api/v1/session/data/cart", &json!(3)).await;
    assert_eq!(with.status, StatusCode::OK);
    // Where the browser does say that it is our own page, a token that is presented has to be right all the same.
    let answer = browser.with("x-csrf-token", &of_mallory).send("POST", "/api/v1/logout", &json!({})).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // A token of the session before a step-up is still the session's.
    browser.send("POST", "/api/v1/session/step-up", &json!({ "password": PASSWORD })).await;
    assert_eq!(browser.csrf_token().await, right);
}

#[tokio::test]
async fn a_bearer_token_needs_no_second_one() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut program = kerria.program();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let answer = program.send("POST", "/api/v1/login", &login).await;
    program.bearer = Some(answer.json()["token"].as_str().unwrap().to_owned());
    assert_eq!(program.send("PUT", "/api/v1/session/data/cart", &json!(1)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_is_signed_in_by_a_foreign_page() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    for site in [Some("cross-site"), Some("same-site")] {
        let mut browser = kerria.browser().from_site(site);
        let answer = browser.sign_in("alice", PASSWORD).await;
        assert_eq!((answer.status, answer.set_cookies()), (StatusCode::FORBIDDEN, vec![]));
        let answer = sign_in_form(&mut browser, None).await;
        assert_eq!((answer.status, answer.set_cookies()), (StatusCode::FORBIDDEN, vec![]));
        assert!(answer.text.contains("This came from another site"));
    }
    let mut browser = kerria.browser().from_site(None).with("origin", "null");
    let answer = sign_in_form(&mut browser, None).await;
    assert_eq!((answer.status, answer.set_cookies()), (StatusCode::FORBIDDEN, vec![]));
    assert_eq!(kerria.sessions().await, 0);
}

#[tokio::test]
async fn every_form_wants_the_token_of_this_very_session() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    kerria.user("mallory").await;
    let mut browser = kerria.signed_in("alice").await;
    let of_mallory = kerria.signed_in("mallory").await.csrf_token().await;
    let end = format!("/sessions/{}/end", browser.handle().await);
    for path in
        ["/sign-out", "/sessions/end-others", "/sessions/end-all", "/account/name", "/account/delete", &end]
    {
        for token in ["", "x", of_mallory.as_str()] {
            let fields = [("csrf_token", token), ("name", "mallory"), ("email", ""), ("confirm", "delete")];
            let answer = browser.post_form(path, &fields).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {token}");
            assert!(answer.text.contains("This form is out of date"), "{path}");
            assert_eq!(answer.set_cookies(), [""; 0]);
        }
        let none = browser.post_form(path, &[("name", "mallory"), ("confirm", "delete")]).await;
        assert_eq!(none.status, StatusCode::FORBIDDEN, "{path}");
        let right = browser.csrf_token().await;
        let fields = [("csrf_token", right.as_str()), ("name", "mallory"), ("confirm", "delete")];
        let foreign = browser.from_site(Some("cross-site")).post_form(path, &fields).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{path}: the right token does not make up for it");
    }
    assert!(browser.is_signed_in().await);
    assert_eq!(browser.get("/api/v1/user").await.json()["name"], "alice");
}

#[tokio::test]
async fn a_form_from_before_a_new_sign_in_is_out_of_date() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let mut browser = kerria.signed_in("alice").await;
    let old = browser.csrf_token().await;
    browser.sign_in("alice", PASSWORD).await;
    let answer = browser.post_form("/sign-out", &[("csrf_token", &old)]).await;
    assert!(answer.text.contains("This form is out of date"));
    assert!(browser.is_signed_in().await);
    let answer = browser.submit("/sessions", "/sign-out", &[]).await;
    assert_eq!(answer.header("location"), Some("/signed-out"));
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn looking_changes_nothing_and_no_header_turns_a_look_into_a_change() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let browser = kerria.signed_in("alice").await;
    let phone = kerria.signed_in("alice").await;
    let end = format!("/sessions/{}/end", phone.handle().await);
    for method in ["GET", "HEAD"] {
        for path in [
            "/api/v1/logout",
            "/sign-out",
            "/sessions/end-all",
            "/sessions/end-others",
            &end,
            "/api/v1/login",
        ] {
            let answer = browser.clone().request(method, path, None, String::new()).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.set_cookies(), [""; 0]);
        }
    }
    for header in ["x-http-method-override", "x-method-override", "x-http-method"] {
        let mut sly = browser.with(header, "DELETE");
        assert_eq!(sly.get("/api/v1/sessions?scope=all").await.status, StatusCode::OK);
        let answer = sly.send("POST", "/api/v1/sessions?_method=DELETE&scope=all", &json!({})).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(browser.is_signed_in().await && phone.is_signed_in().await);
}

#[tokio::test]
async fn json_that_calls_itself_something_else_is_not_read() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let body = json!({ "login": "alice", "password": PASSWORD }).to_string();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
    ] {
        let answer = kerria.browser().request("POST", "/api/v1/login", content_type, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
        assert_eq!(answer.problem(), "not-json");
    }
    let form = json!({ "login": "alice", "password": PASSWORD }).to_string();
    let answer = kerria.browser().request("POST", "/sign-in", Some("application/json"), form).await;
    assert!(answer.status.is_client_error() && answer.set_cookies().is_empty());
    assert_eq!(kerria.sessions().await, 0);
}

#[tokio::test]
async fn a_sign_in_leads_to_our_own_pages_and_nowhere_else() {
    let kerria = Kerria::with(&[("return_to_origins", "https://shop.example")]).await;
    kerria.user("alice").await;
    let mut browser = kerria.browser();
    for (wanted, expected) in [
        ("/account?tab=1", "/account?tab=1"),
        ("http://localhost:8080/account", "/account"),
        ("https://shop.example/cart?x=1", "https://shop.example/cart?x=1"),
        ("", "/sessions"),
        ("//evil.example", "/sessions"),
        ("///evil.example", "/sessions"),
        ("/\\evil.example", "/sessions"),
        ("\\\\evil.example", "/sessions"),
        ("https:evil.example", "/sessions"),
        ("https:/evil.example", "/sessions"),
        ("https://evil.example", "/sessions"),
        ("https://shop.example.evil.example/", "/sessions"),
        ("https://shop.example@evil.example/", "/sessions"),
        ("https://user:pass@shop.example/", "/sessions"),
        ("http://shop.example/", "/sessions"),
        ("javascript:alert(1)", "/sessions"),
        ("/\t/evil.example", "/sessions"),
        ("/a\r\nSet-Cookie: kerria=planted", "/sessions"),
        ("/\u{2028}", "/sessions"),
    ] {
        let answer = sign_in_form(&mut browser, Some(wanted)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{wanted:?}: {}", answer.text);
        assert_eq!(answer.header("location"), Some(expected), "{wanted:?}");
        assert!(!answer.set_cookies().iter().any(|cookie| cookie.contains("planted")));
        let encoded: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
        let page = kerria.browser().get(&format!("/sign-in?return_to={encoded}")).await.text;
        assert!(
            !page.contains("evil.example") && !page.contains("javascript:"),
            "{wanted:?} stands on the page"
        );
        let answer =
            browser.submit("/confirm", "/confirm", &[("password", PASSWORD), ("return_to", wanted)]).await;
        assert_eq!(answer.header("location"), Some(expected), "{wanted:?} after a confirmation");
    }
}
