//! Which rule decides about a request, and what it says of whom.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{ask, change_groups, claims, identity, kerria, open};
use crate::cast::{Browser, MINUTE, PASSWORD};

#[tokio::test]
async fn paths_and_methods_that_may_mean_another_rule_do_not_pass() {
    let kerria = kerria().await;
    let bob = kerria.signed_in("bob").await;
    for path in [
        "/public/..%2falice",
        "/public/../alice/",
        "//alice",
        "/%61lice",
        "/Alice",
        "/x;/alice",
        "/public\\..\\alice",
        "/alice.",
        "/alice%20/",
        "/fre%C5%BFh/",
    ] {
        let answer = ask(&bob, "GET", &format!("http://app.site.localhost{path}")).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::FORBIDDEN, "not-allowed".into()),
            "{path}"
        );
    }
    assert_eq!(ask(&bob, "GET", "http://api.site.localhost/public/..%2falice").await.status, StatusCode::OK);
    for name in ["x-http-method-override", "x_http_method_override"] {
        let overriding = bob.with(name, "DELETE");
        assert_eq!(ask(&overriding, "GET", "http://api.site.localhost/").await.status, StatusCode::FORBIDDEN);
    }
    for (method, path) in [("delete", "/"), ("GET", "/?_method=DELETE")] {
        let answer = ask(&bob, method, &format!("http://api.site.localhost{path}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    assert_eq!(ask(&bob, "DELETE", "http://api.site.localhost/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask(&bob, "GET", "http://unknown.site.localhost/").await.status, StatusCode::FORBIDDEN);
    for agent in ["GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0"] {
        let mut prober = kerria.browser();
        prober.user_agent = agent.to_owned();
        assert_eq!(
            ask(&prober, "GET", "http://app.site.localhost/").await.status,
            StatusCode::UNAUTHORIZED,
            "{agent}"
        );
    }
}

#[tokio::test]
async fn somebody_whom_a_rule_does_not_name_is_told_who_they_are() {
    let kerria = kerria().await;
    let bob = kerria.signed_in("bob").await;
    let page = open(&bob, "http://app.site.localhost/alice/").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text.contains("You are signed in as bob"), "{}", page.text);
    assert!(page.text.contains("href=\"http://id.site.localhost:8080/sign-in?return_to="), "{}", page.text);
    let answer = ask(&bob, "GET", "http://app.site.localhost/alice/").await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::FORBIDDEN, "not-allowed".to_owned()));
    let alice = kerria.signed_in("alice").await;
    assert_eq!(ask(&alice, "GET", "http://app.site.localhost/alice/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_change_of_groups_is_seen_by_the_next_request() {
    let kerria = kerria().await;
    let bob = kerria.signed_in("bob").await;
    let url = "http://staff.site.localhost/";
    assert_eq!(ask(&bob, "GET", url).await.status, StatusCode::FORBIDDEN);
    for _ in 0..20 {
        change_groups(&kerria, "bob", &json!({ "join": ["staff", "cooks"] })).await;
        let answer = ask(&bob, "GET", url).await;
        assert_eq!((answer.status, answer.header("remote-groups")), (StatusCode::OK, Some("cooks,staff")));
        assert_eq!(claims(identity(&answer)[4])["groups"], json!(["cooks", "staff"]));
        change_groups(&kerria, "bob", &json!({ "leave": ["staff", "cooks"] })).await;
        assert_eq!(ask(&bob, "GET", url).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_sign_in_that_is_too_old_is_confirmed() {
    let kerria = kerria().await;
    let mut alice = kerria.signed_in("alice").await;
    kerria.clock.advance(11 * MINUTE);
    let url = "http://app.site.localhost/fresh/x";
    let answer = ask(&alice, "GET", url).await;
    assert_eq!(
        (answer.status, answer.problem()),
        (StatusCode::FORBIDDEN, "fresh-sign-in-required".to_owned())
    );
    let auth_time = async |alice: &Browser| {
        claims(identity(&ask(alice, "GET", "http://app.site.localhost/").await)[4])["auth_time"].clone()
    };
    let before = auth_time(&alice).await.as_u64().unwrap();
    let location = open(&alice, url).await.header("location").unwrap().to_owned();
    let path = location.strip_prefix("http://id.site.localhost:8080").unwrap().to_owned();
    assert!(path.starts_with("/confirm?return_to="), "{path}");
    let signed = url::Url::parse(&location).unwrap().query_pairs().next().unwrap().1.into_owned();
    let answer = alice.submit(&path, "/confirm", &[("password", PASSWORD), ("return_to", &signed)]).await;
    assert_eq!(answer.header("location"), Some(url), "{}", answer.text);
    assert_eq!(ask(&alice, "GET", url).await.status, StatusCode::OK);
    assert_eq!(auth_time(&alice).await, before + 11 * 60, "the application is told at once");
}

#[tokio::test]
async fn the_operator_is_told_which_rule_decides_and_why() {
    let kerria = kerria().await;
    let test = async |body: Value| {
        let answer = kerria.operator().send("POST", "/api/v1/operator/rules/test", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = answer.json();
        (
            answer["outcome"].as_str().unwrap().to_owned(),
            answer["number"].as_u64(),
            answer["why"].as_str().unwrap().to_owned(),
        )
    };
    let told = |outcome: &str, number, why: &str| (outcome.to_owned(), number, why.to_owned());
    for (url, method, user, expected) in [
        ("https://app.site.localhost/public/x", "GET", None, told("passes", Some(1), "It is for everyone.")),
        (
            "https://app.site.localhost/alice",
            "get",
            Some("ALICE"),
            told("passes", Some(2), "It names alice."),
        ),
        (
            "https://app.site.localhost/alice/x?y",
            "GET",
            Some("bob"),
            told("forbidden", Some(2), "It names neither bob nor one of bob's groups."),
        ),
        (
            "https://app.site.localhost",
            "GET",
            None,
            told("sign_in", Some(5), "It is not for those who are not signed in."),
        ),
        (
            "https://app.site.localhost/fresh/",
            "GET",
            Some("bob"),
            told(
                "passes",
                Some(3),
                "It is for every user, and so for bob. Who has signed in more than 10m ago is asked for the password again.",
            ),
        ),
        (
            "https://api.site.localhost/",
            "POST",
            Some("bob"),
            told("refused", None, "No rule of this host is about this path and method."),
        ),
        (
            "https://unknown.site.localhost/",
            "GET",
            Some("bob"),
            told("refused", None, "No rule is about this host."),
        ),
        (
            "https://app.site.localhost/public/../alice",
            "GET",
            Some("bob"),
            told(
                "refused",
                None,
                "The path has an empty segment, or one that ends with a dot or a space. Where rules go by paths, only one that reads in one way passes.",
            ),
        ),
    ] {
        assert_eq!(test(json!({ "url": url, "method": method, "user": user })).await, expected, "{url}");
    }
    let answer = kerria.operator().send("POST", "/api/v1/operator/rules/test", &json!({ "url": "x" })).await;
    assert_eq!((answer.status, &answer.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("url")));
    let body = json!({ "url": "https://app.site.localhost/", "user": "nobody" });
    assert_eq!(
        kerria.operator().send("POST", "/api/v1/operator/rules/test", &body).await.status,
        StatusCode::NOT_FOUND
    );
}
