//! What a developer meets who uses the API for the first time, and makes mistakes.

use hyper::StatusCode;
use serde_json::json;

use crate::cast::{Kerria, OPERATOR_TOKEN, PASSWORD};

#[tokio::test]
async fn a_refused_token_is_told_apart_from_none() {
    let kerria = Kerria::start().await;
    let nothing = kerria.program().get("/api/v1/session").await;
    assert_eq!(nothing.status, StatusCode::UNAUTHORIZED);
    assert_eq!(nothing.header("www-authenticate"), Some("Bearer realm=\"kerria\""));

    let mut mistaken = kerria.program();
    mistaken.bearer = Some("kst_x".to_owned());
    let refused = "Bearer realm=\"kerria\", error=\"invalid_token\"";
    for path in ["/api/v1/session", "/api/v1/operator/users"] {
        let answer = mistaken.get(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.header("www-authenticate"), Some(refused), "{path}");
    }
}

#[tokio::test]
async fn a_visitor_with_data_is_told_that_nobody_is_signed_in() {
    let kerria = Kerria::start().await;
    let mut visitor = kerria.browser();
    visitor.send("PUT", "/api/v1/session/data/cart", &json!([1])).await;
    let answer = visitor.get("/api/v1/user").await;
    assert_eq!((answer.status, answer.problem()), (StatusCode::UNAUTHORIZED, "not-signed-in".to_owned()));
    assert!(answer.text.contains("Nobody is signed in in this session"), "{}", answer.text);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones_everywhere() {
    let kerria = Kerria::start().await;
    for (path, allow) in [
        ("/api/v1/login", "POST"),
        ("/api/v1/session/data/cart", "GET,HEAD,PUT,POST,DELETE"),
        ("/api/v1/operator/users", "GET,HEAD,POST"),
        ("/api/v1/operator/users/alice/disable", "POST"),
    ] {
        let answer = kerria.operator().send("PATCH", path, &json!({})).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.problem(), "no-such-method", "{path}");
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    }
}

#[tokio::test]
async fn a_list_is_not_taken_for_an_object() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let login = json!(["alice", PASSWORD, "bearer", false]);
    for (path, body) in [
        ("/api/v1/login", login),
        ("/api/v1/operator/invitations", json!([])),
        ("/api/v1/operator/revocations", json!([{ "kind": "everyone" }])),
        ("/api/v1/operator/revocations", json!({ "selector": ["everyone"] })),
    ] {
        let mut program = kerria.program();
        program.bearer = path.contains("operator").then(|| OPERATOR_TOKEN.to_owned());
        let answer = program.send("POST", path, &body).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (StatusCode::BAD_REQUEST, "bad-request".to_owned()),
            "{path} {body}"
        );
        assert!(answer.text.contains("a JSON object"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_selector_with_a_member_too_many_ends_nobody() {
    let kerria = Kerria::start().await;
    let alice = kerria.user("alice").await;
    kerria.signed_in("alice").await;
    let slip = json!({ "selector": { "kind": "everyone", "user": alice } });
    let answer = kerria.operator().send("POST", "/api/v1/operator/revocations", &slip).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    assert_eq!(kerria.sessions().await, 1);

    let meant = json!({ "selector": { "kind": "everyone" } });
    let answer = kerria.operator().send("POST", "/api/v1/operator/revocations", &meant).await;
    assert_eq!(answer.json()["ended"], 1, "{}", answer.text);
}

#[tokio::test]
async fn a_whole_number_may_be_written_with_a_point() {
    let kerria = Kerria::start().await;
    let mut visitor = kerria.browser();
    for (increment, sum) in [("3.0", "3"), ("-1e0", "2"), ("1", "3")] {
        let body = format!("{{\"increment\":{increment}}}");
        let answer =
            visitor.request("POST", "/api/v1/session/data/visits", Some("application/json"), body).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, sum), "{increment}");
    }
    for not_whole in ["1.5", "9223372036854775808", "-9223372036854775809", "-1e30", "\"1\"", "null"] {
        let body = format!("{{\"increment\":{not_whole}}}");
        let answer =
            visitor.request("POST", "/api/v1/session/data/visits", Some("application/json"), body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{not_whole}");
    }
}
