//! One application over three sources: a store of its own, a server that it follows, and access tokens alone.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use hyper::{Request, StatusCode, header, header::HeaderValue};
use kerria::{
    Consistency, CurrentSession, CurrentUser, LoadUser, RemoteChecker, RemoteOptions, Session, SessionError,
    SessionLayer, UserId,
    jwt::{KeySet, Verifier, VerifierSettings},
    require_fresh, require_login,
    testing::{self, ManualClock},
};
use kerria_core::{Clock, Scope, SessionId};
use serde_json::json;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::cast::{CHECKERS_TOKEN, Kerria, MINUTE, PASSWORD};

/// Here it is in the server, and has no other name.
const ISSUER: &str = "http://localhost:8080";

/// A user, as the application knows them: by their number.
struct Person(UserId);

impl LoadUser<()> for Person {
    type Error = StatusCode;

    async fn load(user: UserId, (): &()) -> Result<Option<Self>, StatusCode> {
        Ok(Some(Self(user)))
    }
}

/// The application. Whoever knows of its sessions, this is all there is.
fn application(layer: SessionLayer) -> Router {
    let guarded = Router::new().route("/", get(async |CurrentUser(Person(user))| user.to_string()));
    let fresh = Router::new().route("/fresh", get(async || "fresh")).layer(require_fresh(MINUTE));
    let whoever = async |person: Option<CurrentUser<Person>>| {
        person.map_or_else(|| "nobody".to_owned(), |CurrentUser(Person(user))| user.to_string())
    };
    let kept =
        async |session: Session| -> Result<(), SessionError> { session.insert("cart", "a pear").await };
    let stream = async |current: CurrentSession| {
        let ended = timeout(Duration::from_millis(1), current.ended()).await.is_ok();
        if ended { "has ended" } else { "goes on" }
    };
    guarded
        .layer(require_login())
        .merge(fresh)
        .route("/whoever", get(whoever))
        .route("/keep", get(kept))
        .route("/stream", get(stream))
        .layer(layer)
}

/// The status, and what is said.
async fn visit(application: &Router, path: &str, credential: Option<&Credential>) -> (StatusCode, String) {
    let mut request = Request::get(path);
    if let Some((name, value)) = credential {
        request = request.header(name, value);
    }
    let answer = application.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

type Credential = (header::HeaderName, HeaderValue);

fn bearer(token: &str) -> Credential {
    (header::AUTHORIZATION, format!("Bearer {token}").try_into().unwrap())
}

/// What every source has in common. The user has just signed in.
async fn is_an_application(application: &Router, user: UserId, credential: &Credential, clock: &ManualClock) {
    let ok = |text: &str| (StatusCode::OK, text.to_owned());
    let user = user.to_string();
    assert_eq!(visit(application, "/", Some(credential)).await, ok(&user));
    assert_eq!(visit(application, "/whoever", Some(credential)).await, ok(&user));
    assert_eq!(visit(application, "/fresh", Some(credential)).await, ok("fresh"));
    assert_eq!(visit(application, "/stream", Some(credential)).await, ok("goes on"));
    for nobody in [None, Some(&bearer("made-up")), Some(&bearer("eyJhbGciOiJub25lIn0.e30."))] {
        assert_eq!(visit(application, "/", nobody).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(visit(application, "/fresh", nobody).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(visit(application, "/whoever", nobody).await, ok("nobody"));
        assert_eq!(visit(application, "/stream", nobody).await, ok("has ended"));
    }
    clock.advance(2 * MINUTE);
    assert_eq!(visit(application, "/", Some(credential)).await, ok(&user));
    assert_eq!(visit(application, "/fresh", Some(credential)).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_application_is_the_same_over_a_store_of_its_own() {
    let test = testing::sessions().await;
    let (alice, application) = (UserId::from_number(1), application(test.sessions.layer()));
    for by_cookie in [true, false] {
        let credential = match by_cookie {
            true => (header::COOKIE, testing::login_as(&test.sessions, alice).await),
            false => (header::AUTHORIZATION, testing::login_program_as(&test.sessions, alice).await),
        };
        is_an_application(&application, alice, &credential, &test.clock).await;
        assert_eq!(visit(&application, "/keep", Some(&credential)).await.0, StatusCode::OK);
        test.sessions.end_all(alice).await.unwrap();
        assert_eq!(visit(&application, "/", Some(&credential)).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn an_application_is_the_same_behind_a_server_that_it_follows() {
    let kerria = Kerria::with(&[("checkers.token", CHECKERS_TOKEN)]).await;
    let alice: UserId = kerria.user("alice").await.parse().unwrap();
    let options = RemoteOptions::new([format!("http://{}", kerria.address)], CHECKERS_TOKEN);
    let checker = RemoteChecker::start(options.clock(Arc::clone(&kerria.clock) as Arc<dyn Clock>)).await;
    let application = application(checker.as_ref().unwrap().layer());
    let browser = kerria.signed_in("alice").await;
    let credential = (header::COOKIE, format!("kerria={}", browser.token()).try_into().unwrap());
    is_an_application(&application, alice, &credential, &kerria.clock).await;
    // It opens no sessions, and keeps nothing in them.
    assert_eq!(visit(&application, "/keep", Some(&credential)).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let everyone = json!({ "selector": { "kind": "everyone" } });
    let ended = kerria.operator().send("POST", "/api/v1/operator/revocations", &everyone).await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    assert_eq!(visit(&application, "/", Some(&credential)).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_application_is_the_same_with_access_tokens_alone_but_for_their_ends() {
    let kerria = Kerria::start().await;
    let alice: UserId = kerria.user("alice").await.parse().unwrap();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "tokens" });
    let tokens = kerria.program().send("POST", "/api/v1/login", &login).await.json();
    let text = tokens["access_token"].as_str().unwrap();
    let credential = bearer(text);
    let keys = kerria.program().get("/.well-known/jwks.json").await.text;
    let settings = VerifierSettings::new(ISSUER, ISSUER.parse().unwrap());
    let verifier = Arc::new(Verifier::new(settings, KeySet::parse(keys.as_bytes()).unwrap()));
    let layer = SessionLayer::offline(Arc::clone(&verifier), Scope::default())
        .with_clock(Arc::clone(&kerria.clock) as Arc<dyn Clock>);
    let offline = application(layer.clone());
    is_an_application(&offline, alice, &credential, &kerria.clock).await;
    assert_eq!(visit(&offline, "/keep", Some(&credential)).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    // It is for the application to say what a token has to be for.
    let orders = SessionLayer::offline(verifier, "orders".parse().unwrap())
        .with_clock(Arc::clone(&kerria.clock) as Arc<dyn Clock>);
    assert_eq!(visit(&application(orders), "/", Some(&credential)).await.0, StatusCode::UNAUTHORIZED);
    // Nobody is asked, and so nothing can be strict.
    let strict = application(layer.with_consistency(Consistency::Strict));
    assert_eq!(visit(&strict, "/", Some(&credential)).await.0, StatusCode::SERVICE_UNAVAILABLE);
    // A sign-out is not heard of. The token is good until it is over.
    let everyone = json!({ "selector": { "kind": "everyone" } });
    let ended = kerria.operator().send("POST", "/api/v1/operator/revocations", &everyone).await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text);
    assert_eq!(visit(&offline, "/", Some(&credential)).await.0, StatusCode::OK);
    kerria.clock.advance(4 * MINUTE);
    assert_eq!(visit(&offline, "/", Some(&credential)).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_an_access_token_says_of_its_session_is_what_a_handler_is_told() {
    let kerria = Kerria::start().await;
    let alice: UserId = kerria.user("alice").await.parse().unwrap();
    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "tokens" });
    let tokens = kerria.program().send("POST", "/api/v1/login", &login).await.json();
    let text = tokens["access_token"].as_str().unwrap();
    let keys = kerria.program().get("/.well-known/jwks.json").await.text;
    let settings = VerifierSettings::new(ISSUER, ISSUER.parse().unwrap());
    let verifier = Arc::new(Verifier::new(settings, KeySet::parse(keys.as_bytes()).unwrap()));
    let claims = verifier.verify_offline(text.as_bytes(), kerria.clock.now()).unwrap().claims;
    let said = async move |current: CurrentSession| {
        let checked = current.checked().unwrap().clone();
        let handle: SessionId = checked.session.id;
        assert_eq!((Some(handle), checked.session.user), (claims.sid, Some(alice)));
        assert_eq!(checked.expires_at, claims.exp.timestamp());
        assert_eq!(checked.session.authenticated_at, claims.auth_time.unwrap().timestamp());
        assert!(!current.is_in_person() && !current.is_by_cookie());
    };
    let layer = SessionLayer::offline(verifier, Scope::default())
        .with_clock(Arc::clone(&kerria.clock) as Arc<dyn Clock>);
    let application = Router::new().route("/", get(said)).layer(layer);
    assert_eq!(visit(&application, "/", Some(&bearer(text))).await.0, StatusCode::OK);
}
