//! Who asks: secrets, assertions, and nothing in between.

use hyper::StatusCode;
use kerria::testing::Steps;
use kerria_core::{Algorithm, Clock};
use serde_json::{Value, json};

use super::{Keyed, Party, SHOP, basic, error, register, seconds, shop_of};
use crate::cast::{Answer, Kerria};

async fn robot(kerria: &Kerria) -> Party {
    let client = json!({ "id": "robot", "authentication": "client_secret", "audiences": [SHOP] });
    register(kerria, &client).await
}

async fn ask(kerria: &Kerria, header: Option<&str>, fields: &[(&str, &str)]) -> Answer {
    let mut program = kerria.program();
    if let Some(header) = header {
        program = program.with("authorization", header);
    }
    let mut all = vec![("grant_type", "client_credentials")];
    all.extend(fields);
    program.post_form("/oauth2/token", &all).await
}

#[tokio::test]
async fn a_secret_is_presented_in_the_header_or_in_the_body() {
    let kerria = Kerria::start().await;
    let secret = robot(&kerria).await.secret.unwrap();
    let encoded = secret.replace('_', "%5F");
    for header in [
        basic("robot", &secret),
        basic("r%6fbot", &encoded),
        basic("robot", &secret).replace("Basic", "bAsIc"),
    ] {
        assert_eq!(ask(&kerria, Some(&header), &[]).await.status, StatusCode::OK, "{header}");
    }
    let named = [("client_id", "robot")];
    assert_eq!(ask(&kerria, Some(&basic("robot", &secret)), &named).await.status, StatusCode::OK);
    let in_body = [("client_id", "robot"), ("client_secret", secret.as_str())];
    assert_eq!(ask(&kerria, None, &in_body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_get_the_same_answer() {
    let kerria = Kerria::start().await;
    let secret = robot(&kerria).await.secret.unwrap();
    let header = |id: &str, secret: &str| Some(basic(id, secret));
    let mut answers = vec![
        ask(&kerria, header("robot", "wrong").as_deref(), &[]).await,
        ask(&kerria, header("robot", "").as_deref(), &[]).await,
        ask(&kerria, header("nobody", &secret).as_deref(), &[]).await,
        ask(&kerria, header("not a client", &secret).as_deref(), &[]).await,
        ask(&kerria, header("kerria", "").as_deref(), &[]).await,
        ask(&kerria, header("robot", &secret.to_uppercase()).as_deref(), &[]).await,
        ask(&kerria, Some(&format!("Bearer {secret}")), &[]).await,
        ask(&kerria, Some("Basic !"), &[]).await,
        ask(&kerria, Some("Basic"), &[]).await,
        ask(&kerria, None, &[("client_id", "robot"), ("client_secret", "wrong")]).await,
        ask(&kerria, None, &[("client_id", "nobody"), ("client_secret", "wrong")]).await,
        ask(&kerria, None, &[("client_id", "robot")]).await,
        ask(&kerria, None, &[("client_id", "nobody")]).await,
        ask(&kerria, None, &[]).await,
    ];
    let first = answers.remove(0);
    assert_eq!(error(&first), "invalid_client");
    for answer in answers {
        assert_eq!((answer.status, &answer.text), (StatusCode::UNAUTHORIZED, &first.text));
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"kerria\""));
    }
}

#[tokio::test]
async fn a_client_authenticates_in_one_way() {
    let kerria = Kerria::start().await;
    let secret = robot(&kerria).await.secret.unwrap();
    let header = basic("robot", &secret);
    let keyed = Keyed::register(&kerria, "keyed", Algorithm::Es256).await;
    let assertion = keyed.sign(&keyed.header(), &keyed.claims(&kerria));
    let jwt_bearer = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    for (header, fields) in [
        (Some(&header), vec![("client_id", "robot"), ("client_secret", secret.as_str())]),
        (Some(&header), vec![("client_id", "keyed")]),
        (Some(&header), vec![jwt_bearer, ("client_assertion", &assertion)]),
        (
            None,
            vec![
                ("client_id", "robot"),
                ("client_secret", &secret),
                jwt_bearer,
                ("client_assertion", &assertion),
            ],
        ),
        (None, vec![("client_id", "robot"), jwt_bearer, ("client_assertion", &assertion)]),
        (
            None,
            vec![
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
                ("client_assertion", &assertion),
            ],
        ),
        (None, vec![("client_assertion", &assertion)]),
        (None, vec![jwt_bearer, ("client_id", "keyed")]),
        (None, vec![("client_secret", &secret)]),
    ] {
        let answer = ask(&kerria, header.map(String::as_str), &fields).await;
        assert_eq!((answer.status, error(&answer).as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
    }
    let twice = kerria.program().with("authorization", &header).with("authorization", &header);
    let answer = twice.clone().post_form("/oauth2/token", &[("grant_type", "client_credentials")]).await;
    assert_eq!(error(&answer), "invalid_request");
    assert_eq!(keyed.present(&kerria, &assertion).await.status, StatusCode::OK, "it was not used up");
}

#[tokio::test]
async fn a_client_with_a_key_proves_itself_with_every_algorithm_that_has_a_public_key() {
    let kerria = Kerria::start().await;
    for algorithm in Algorithm::ASYMMETRIC {
        let client = Keyed::register(&kerria, algorithm.as_str(), algorithm).await;
        let mut header = client.header();
        for typ in
            [json!("client-authentication+jwt"), json!("JWT"), json!("application/client-authentication+jwt")]
        {
            header["typ"] = typ;
            let assertion = client.sign(&header, &client.claims(&kerria));
            assert_eq!(client.present(&kerria, &assertion).await.status, StatusCode::OK, "{header}");
        }
        for without in ["typ", "kid"] {
            header.as_object_mut().unwrap().remove(without);
            let assertion = client.sign(&header, &client.claims(&kerria));
            assert_eq!(client.present(&kerria, &assertion).await.status, StatusCode::OK, "{header}");
        }
    }
}

#[tokio::test]
async fn only_an_assertion_for_us_alone_is_believed() {
    let kerria = Kerria::start().await;
    let client = Keyed::register(&kerria, "keyed", Algorithm::EdDsa).await;
    let (issuer, now) = (kerria.app.issuer(), seconds(kerria.clock.now()));
    let good = [
        ("aud", json!([issuer])),
        ("iat", json!(now + 8)),
        ("nbf", json!(now + 8)),
        ("exp", json!(now + 300)),
        ("unknown", json!({ "any": "thing" })),
    ];
    let bad = [
        ("aud", json!(format!("{issuer}/oauth2/token"))),
        ("aud", json!(format!("{issuer}/"))),
        ("aud", json!(issuer.to_uppercase())),
        ("aud", json!([issuer, "https://elsewhere.example.com"])),
        ("aud", json!([issuer, issuer])),
        ("aud", json!([])),
        ("aud", json!("https://elsewhere.example.com")),
        ("aud", Value::Null),
        ("iss", json!("robot")),
        ("sub", json!("robot")),
        ("exp", json!(now)),
        ("exp", json!(now - 1)),
        ("exp", json!(now + 311)),
        ("exp", json!((now + 60).to_string())),
        ("exp", json!(1e308)),
        ("exp", json!(true)),
        ("exp", Value::Null),
        ("iat", json!(now + 11)),
        ("iat", Value::Null),
        ("iat", json!("now")),
        ("nbf", json!(now + 11)),
        ("nbf", json!([now])),
        ("nbf", Value::Null),
        ("jti", json!("")),
        ("jti", json!(7)),
        ("jti", json!("x".repeat(256))),
        ("jti", Value::Null),
    ];
    for (claim, value) in good {
        let mut claims = client.claims(&kerria);
        claims[claim] = value;
        let answer = client.present(&kerria, &client.sign(&client.header(), &claims)).await;
        assert_eq!(answer.status, StatusCode::OK, "{claims}");
    }
    for (claim, value) in bad {
        let mut claims = client.claims(&kerria);
        claims[claim] = value;
        let answer = client.present(&kerria, &client.sign(&client.header(), &claims)).await;
        assert_eq!(error(&answer), "invalid_client", "{claims}");
    }
    for missing in ["iss", "sub", "aud", "exp", "jti"] {
        let mut claims = client.claims(&kerria);
        claims.as_object_mut().unwrap().remove(missing);
        let answer = client.present(&kerria, &client.sign(&client.header(), &claims)).await;
        assert_eq!(error(&answer), "invalid_client", "{missing}");
    }
}

#[tokio::test]
async fn only_an_assertion_of_the_clients_own_key_and_of_its_kind_is_believed() {
    let kerria = Kerria::start().await;
    let client = Keyed::register(&kerria, "keyed", Algorithm::Es256).await;
    let other = Keyed::register(&kerria, "other", Algorithm::Es256).await;
    let claims = client.claims(&kerria);
    let with = |member: &str, value: Value| {
        let mut header = client.header();
        header[member] = value;
        client.sign(&header, &claims)
    };
    let good = client.sign(&client.header(), &claims);
    let (message, _) = good.rsplit_once('.').unwrap();
    let mut bad = vec![
        other.sign(&client.header(), &claims),
        other.sign(&other.header(), &claims),
        format!("{message}."),
        format!("{message}.AAAA"),
        message.to_owned(),
        format!("{good}A"),
        "x".repeat(9_000),
        ".".repeat(1_000),
    ];
    for typ in ["at+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt", ""] {
        bad.push(with("typ", json!(typ)));
    }
    for alg in ["none", "NONE", "HS256", "EdDSA", "RS256", "ES384"] {
        bad.push(with("alg", json!(alg)));
    }
    for (member, value) in [
        ("kid", json!("another")),
        ("crit", json!(["x"])),
        ("jku", json!("https://elsewhere.example.com")),
        ("jwk", json!(serde_json::from_str::<Value>(&other.signer.public().to_json()).unwrap())),
    ] {
        bad.push(with(member, value));
    }
    for assertion in bad {
        assert_eq!(error(&client.present(&kerria, &assertion).await), "invalid_client", "{assertion}");
    }
    assert_eq!(client.present(&kerria, &good).await.status, StatusCode::OK, "nothing has used it up");
}

#[tokio::test]
async fn an_assertion_is_used_once() {
    let kerria = Kerria::start().await;
    let client = Keyed::register(&kerria, "keyed", Algorithm::EdDsa).await;
    let other = Keyed::register(&kerria, "other", Algorithm::EdDsa).await;
    let assertion = client.sign(&client.header(), &client.claims(&kerria));
    kerria.store.fail(Steps::Of("spend"));
    assert_eq!(client.present(&kerria, &assertion).await.status, StatusCode::SERVICE_UNAVAILABLE);
    kerria.store.mend();
    assert_eq!(client.present(&kerria, &assertion).await.status, StatusCode::OK);
    kerria.sweep().await;
    assert_eq!(error(&client.present(&kerria, &assertion).await), "invalid_client");
    // What another client has used up is its own.
    let mut claims = other.claims(&kerria);
    claims["jti"] = super::claims(&assertion)["jti"].clone();
    assert_eq!(other.present(&kerria, &other.sign(&other.header(), &claims)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_many_uses_of_an_assertion_at_once_one_succeeds() {
    let kerria = Kerria::start().await;
    let client = Keyed::register(&kerria, "keyed", Algorithm::EdDsa).await;
    for _ in 0..10 {
        let assertion = client.sign(&client.header(), &client.claims(&kerria));
        let all = futures_util::future::join_all((0..8).map(|_| client.present(&kerria, &assertion))).await;
        assert_eq!(all.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1);
    }
}

#[tokio::test]
async fn a_way_that_a_client_is_not_registered_for_is_none() {
    let kerria = Kerria::start().await;
    let shop = shop_of(&kerria).await;
    let keyed = Keyed::register(&kerria, "keyed", Algorithm::EdDsa).await;
    let open = register(&kerria, &json!({ "id": "open", "audiences": [SHOP] })).await;
    for (id, secret) in [("keyed", shop.secret.as_deref().unwrap()), ("open", ""), ("keyed", "")] {
        let party = Party { id: id.to_owned(), secret: Some(secret.to_owned()) };
        let answer = party.refresh(&kerria, "x").await;
        assert_eq!(error(&answer), "invalid_client", "{id}");
    }
    assert_eq!(error(&Party::public("keyed").refresh(&kerria, "x").await), "invalid_client");
    assert_eq!(error(&open.refresh(&kerria, "x").await), "invalid_grant");
    let mut claims = keyed.claims(&kerria);
    (claims["iss"], claims["sub"]) = (json!("shop"), json!("shop"));
    assert_eq!(error(&keyed.present(&kerria, &keyed.sign(&keyed.header(), &claims)).await), "invalid_client");
}

#[tokio::test]
async fn no_secret_of_a_client_reaches_the_answers_or_the_database() {
    let kerria = Kerria::start().await;
    let secret = robot(&kerria).await.secret.unwrap();
    let mut operator = kerria.operator();
    for path in ["/api/v1/operator/clients", "/api/v1/operator/clients/robot"] {
        let answer = operator.get(path).await;
        assert!(answer.status == StatusCode::OK && !answer.text.contains("secret\":"), "{}", answer.text);
    }
    assert_eq!(kerria.count(&format!("SELECT count(*) FROM client WHERE instr(secret_hash, '{secret}')")), 0);
}
