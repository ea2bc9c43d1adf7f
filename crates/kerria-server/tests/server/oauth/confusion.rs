//! A token of one kind at the doors of the others: only the right one opens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::StatusCode;
use kerria_core::Algorithm;
use kerria_server::keys::signer;
use serde_json::json;

use super::{ACCESS_TOKEN, EXCHANGE, Keyed, Party, SESSION_TOKEN, SHOP, error, register, sign_in};
use crate::cast::{Kerria, PASSWORD};

const KINDS: [&str; 6] =
    ["session, cookie", "session, bearer", "refresh", "reference", "JWT for us", "assertion"];

#[tokio::test]
async fn every_consumer_takes_its_own_kind_of_token_and_no_other() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let issuer = kerria.app.issuer();
    let opaque =
        json!({ "id": "opaque", "scope": "read", "audiences": [issuer], "access_tokens": "reference" });
    register(&kerria, &opaque).await;
    let gateway = json!({
        "id": "gateway", "authentication": "client_secret", "grants": [EXCHANGE], "scope": "read", "audiences": [issuer],
    });
    let gateway = register(&kerria, &gateway).await;
    let keyed = Keyed::register(&kerria, "keyed", Algorithm::EdDsa).await;

    let login = json!({ "login": "alice", "password": PASSWORD, "transport": "bearer" });
    let bearer = kerria.program().send("POST", "/api/v1/login", &login).await.json();
    let own = sign_in(&kerria, "alice", "kerria").await;
    let kinds = [
        kerria.signed_in("alice").await.token(),
        bearer["token"].as_str().unwrap().to_owned(),
        own.refresh.clone(),
        sign_in(&kerria, "alice", "opaque").await.access,
        own.access.clone(),
        keyed.sign(&keyed.header(), &keyed.claims(&kerria)),
    ];

    let (opens, shut) = (true, false);
    for (number, (kind, token)) in KINDS.into_iter().zip(&kinds).enumerate() {
        let cookie = |name: &str| {
            let mut browser = kerria.browser();
            browser.cookies.insert(name.to_owned(), token.clone());
            browser
        };
        assert_eq!(
            cookie("kerria").is_signed_in().await,
            [opens, shut, shut, shut, shut, shut][number],
            "cookie: {kind}"
        );
        let taken = cookie("kerria-access").is_signed_in().await;
        assert_eq!(taken, [shut, shut, shut, shut, opens, shut][number], "access cookie: {kind}");
        let mut program = kerria.program();
        program.bearer = Some(token.clone());
        assert_eq!(
            program.is_signed_in().await,
            [shut, opens, shut, shut, opens, shut][number],
            "bearer: {kind}"
        );

        let told = gateway.is_active(&kerria, token).await;
        // The refresh token is not the gateway's.
        assert_eq!(told, [opens, opens, shut, opens, opens, shut][number], "introspection: {kind}");

        for (typ, row) in [
            (SESSION_TOKEN, [opens, opens, shut, shut, shut, shut]),
            (ACCESS_TOKEN, [shut, shut, shut, opens, opens, shut]),
        ] {
            let fields = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", typ)];
            let answer = gateway.post(&kerria, "/oauth2/token", &fields).await;
            assert_eq!(
                answer.status == StatusCode::OK,
                row[number],
                "exchange as {typ}: {kind}: {}",
                answer.text
            );
        }
        // As a client's secret, in either place, and as an assertion of a client with a key.
        for id in ["gateway", "keyed"] {
            let party = Party { id: id.to_owned(), secret: Some(token.clone()) };
            assert_eq!(error(&party.refresh(&kerria, "x").await), "invalid_client", "secret: {kind}");
        }
        let answer = Party::public("opaque").refresh(&kerria, token).await;
        assert_eq!(error(&answer), "invalid_grant", "refresh token: {kind}");
    }
    // The two that are used up at their own doors, in the end.
    for (kind, token) in KINDS.into_iter().zip(&kinds) {
        let refreshed = Party::public("kerria").refresh(&kerria, token).await.status == StatusCode::OK;
        assert_eq!(refreshed, kind == "refresh", "{kind}");
        let asserted = keyed.present(&kerria, token).await.status == StatusCode::OK;
        assert_eq!(asserted, kind == "assertion", "{kind}");
    }
}

#[tokio::test]
async fn what_a_client_signs_is_no_access_token() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let keyed = Keyed::register(&kerria, "keyed", Algorithm::EdDsa).await;
    let shop = super::shop_of(&kerria).await;
    super::app_of(&kerria, "app").await;
    let claims = super::claims(&sign_in(&kerria, "alice", "app").await.access);
    assert_eq!(claims["aud"], SHOP);
    let mut header = keyed.header();
    header["typ"] = json!("at+jwt");
    assert!(!shop.is_active(&kerria, &keyed.sign(&header, &claims)).await);
    // Not even under the name of one of our keys.
    let published = kerria.browser().get("/.well-known/jwks.json").await.json();
    for key in published["keys"].as_array().unwrap() {
        (header["kid"], header["alg"]) = (key["kid"].clone(), key["alg"].clone());
        assert!(!shop.is_active(&kerria, &keyed.sign(&header, &claims)).await);
    }
}

#[tokio::test]
async fn whoever_shares_a_secret_makes_tokens_for_itself_and_for_nobody_else() {
    let secret = "s".repeat(40);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, &secret).unwrap();
    let settings = [("tokens.hs256_audience", SHOP), ("tokens.hs256_secret_file", file.to_str().unwrap())];
    let kerria = Kerria::with(&settings).await;
    kerria.user("alice").await;
    let issuer = kerria.app.issuer();
    let gateway = json!({
        "id": "gateway", "authentication": "client_secret", "grants": [EXCHANGE], "audiences": [issuer, SHOP],
    });
    let gateway = register(&kerria, &gateway).await;
    let claims = super::claims(&sign_in(&kerria, "alice", "kerria").await.access);
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "typ": "at+jwt", "alg": "HS256", "kid": "shared" });
    let forged = |claims: &serde_json::Value| {
        let message = format!("{}.{}", part(&header), part(claims));
        let mac = signer::mac(secret.as_bytes(), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac))
    };
    for (audience, counts) in
        [(json!(SHOP), true), (json!(issuer), false), (json!([SHOP, issuer]), false), (json!("x"), false)]
    {
        let mut claims = claims.clone();
        claims["aud"] = audience;
        assert_eq!(gateway.is_active(&kerria, &forged(&claims)).await, counts, "{claims}");
        let mut program = kerria.program();
        program.bearer = Some(forged(&claims));
        let answer = program.get("/api/v1/session").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{claims}: {}", answer.text);
        let fields = [
            ("grant_type", EXCHANGE),
            ("subject_token", program.bearer.as_deref().unwrap()),
            ("subject_token_type", ACCESS_TOKEN),
        ];
        let answer = gateway.post(&kerria, "/oauth2/token", &fields).await;
        assert_eq!(error(&answer), "invalid_request", "it becomes no token for others: {claims}");
        claims["sub"] = json!("01931c2e-7d1a-7b3c-9d4e-5f60718293a4");
        assert!(!gateway.is_active(&kerria, &forged(&claims)).await, "somebody else's session: {claims}");
    }
}
