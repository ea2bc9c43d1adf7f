//! The keys that sign access tokens: published, rotated, sealed, thrown away.

use std::time::Duration;

use hyper::StatusCode;
use kerria::jwt::{Refused, Verifier, VerifierSettings};
use kerria_core::Clock;
use serde_json::json;

use super::{MINUTE, held, is_good, published, refresh, signed_in};
use crate::cast::{Answer, Kerria};

#[tokio::test]
async fn others_verify_our_tokens_with_the_published_keys_across_a_rotation() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let issuer = kerria.app.issuer();
    let verifier =
        Verifier::new(VerifierSettings::new(&issuer, issuer.parse().unwrap()), published(&kerria).await);
    let long_before = signed_in(&kerria).await;
    kerria.clock.advance(90 * 24 * 60 * MINUTE);
    let before = signed_in(&kerria).await;
    kerria_server::maintenance::turn_keys(&kerria.app).await;
    let after = signed_in(&kerria).await;
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(kid(&before.access), kid(&after.access));
    // Whoever has fetched the keys before the rotation has the new one already.
    verifier.verify(after.access.as_bytes(), kerria.clock.now()).unwrap();
    // And whoever fetches them afterwards still has the old one.
    verifier.set_keys(published(&kerria).await);
    verifier.verify(before.access.as_bytes(), kerria.clock.now()).unwrap();
    let expired = verifier.verify(long_before.access.as_bytes(), kerria.clock.now()).unwrap_err();
    assert_eq!(expired, Refused::Expired);
    assert!(is_good(&kerria, &before).await && is_good(&kerria, &after).await);
    let keys = kerria.program().get("/.well-known/jwks.json").await;
    assert_eq!(keys.header("cache-control"), Some("public, max-age=300"));
    for secret in ["\"d\"", "\"p\"", "\"q\"", "\"k\""] {
        assert!(!keys.text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_operator_rotates_the_keys_and_throws_them_away() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let tokens = signed_in(&kerria).await;
    let browser = kerria.signed_in("alice").await;
    let mut operator = kerria.operator();
    let path = "/api/v1/operator/keys";
    let early = operator.send("POST", &format!("{path}/rotate"), &json!({})).await;
    assert_eq!(early.problem(), "key-too-new");
    kerria.clock.advance(5 * MINUTE - Duration::from_secs(1));
    let renewed = held(&refresh(&kerria, &tokens.refresh).await);
    kerria.clock.advance(Duration::from_secs(1));
    let rotated = operator.send("POST", &format!("{path}/rotate"), &json!({ "algorithm": "EdDSA" })).await;
    let states = |answer: &Answer| {
        let mut states: Vec<_> = answer.json()["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| format!("{} {}", key["algorithm"].as_str().unwrap(), key["state"].as_str().unwrap()))
            .collect();
        states.sort();
        states
    };
    assert_eq!(
        states(&rotated),
        ["ES256 active", "ES256 next", "EdDSA active", "EdDSA next", "EdDSA retired"]
    );
    assert!(!rotated.text.contains("sealed"));
    assert!(is_good(&kerria, &renewed).await, "what the old key signed stays good");
    let reset = operator.send("POST", &format!("{path}/reset"), &json!({})).await;
    assert_eq!(states(&reset), ["ES256 active", "ES256 next", "EdDSA active", "EdDSA next"]);
    assert!(!is_good(&kerria, &renewed).await);
    assert!(!browser.is_signed_in().await, "everything has ended");
    assert_eq!(refresh(&kerria, &renewed.refresh).await.status, StatusCode::UNAUTHORIZED);
    assert!(is_good(&kerria, &signed_in(&kerria).await).await);
}

#[tokio::test]
async fn keys_are_rotated_all_or_none() {
    let kerria = Kerria::start().await;
    let mut operator = kerria.operator();
    kerria.clock.advance(5 * MINUTE);
    let client = json!({ "id": "app", "audiences": ["https://a.example.com"], "access_tokens": "RS256" });
    let added = operator.send("POST", "/api/v1/operator/clients", &client).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    let before = operator.get("/api/v1/operator/keys").await.json();
    let early = operator.send("POST", "/api/v1/operator/keys/rotate", &json!({})).await;
    assert_eq!(early.problem(), "key-too-new");
    assert_eq!(operator.get("/api/v1/operator/keys").await.json(), before, "none was turned");
}

#[tokio::test]
async fn private_keys_are_in_no_file_as_they_are() {
    let kerria = Kerria::start().await;
    let sealed: Vec<Vec<u8>> = kerria
        .database()
        .prepare("SELECT sealed FROM signing_key")
        .unwrap()
        .query_map((), |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(sealed.len(), 4);
    // What a PKCS #8 document of Ed25519 begins with (RFC 8410, section 7), and one of P-256.
    let ed25519 = &b"\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..];
    let p256 = &b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b"[..];
    let folder = std::fs::read_dir(&kerria.app.config.data_dir).unwrap();
    let files: Vec<_> = folder.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        for mark in [ed25519, p256] {
            assert!(!bytes.windows(mark.len()).any(|window| window == mark), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn without_its_sealing_key_a_server_says_what_to_do() {
    let mut kerria = Kerria::start().await;
    kerria.stop().await;
    let config = kerria.app.config.clone();
    std::fs::write(config.data_dir.join("kerria.key"), [7; 32]).unwrap();
    drop(kerria.app);
    drop(kerria.store);
    let app = kerria_server::app::App::open(config).await.unwrap();
    let error = app.keyring.check().unwrap_err().to_string();
    assert!(error.contains("cannot be opened with this sealing key"), "{error}");
    assert!(error.contains("kerria keys rotate --revoke"), "{error}");
    app.keyring.reset(app.clock.now()).await.unwrap();
    app.keyring.check().unwrap();
}

#[tokio::test]
async fn a_sealing_key_that_is_missing_is_not_made_anew_while_keys_are_sealed_with_it() {
    let mut kerria = Kerria::start().await;
    kerria.user("alice").await;
    let before = signed_in(&kerria).await;
    kerria.stop().await;
    let file = kerria.app.config.data_dir.join("kerria.key");
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    let config = kerria.app.config.clone();
    let open = async || {
        let (store, edge) = (std::sync::Arc::clone(&kerria.store) as _, kerria_server::app::Edge::default());
        kerria_server::app::App::over(config.clone(), store, edge).await.unwrap()
    };
    let app = open().await;
    let told = app.keyring.check().unwrap_err().to_string();
    for part in
        [file.to_str().unwrap(), "is missing", "restore it from a backup", "kerria keys rotate --revoke"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(app.keyring.begin(kerria_core::Algorithm::Rs256, app.clock.now()).await.is_err());
    assert!(!file.exists(), "another key would not open what is sealed");
    // Restored, it is as it was.
    std::fs::rename(&aside, &file).unwrap();
    let app = open().await;
    app.keyring.check().unwrap();
    let now = kerria.clock.now();
    assert!(app.verifier.verify_offline(before.access.as_bytes(), now).is_ok());
    // Lost for good, a reset makes another one.
    std::fs::remove_file(&file).unwrap();
    let app = open().await;
    app.keyring.reset(now).await.unwrap();
    app.keyring.check().unwrap();
    assert!(file.exists());
    assert_eq!(app.verifier.verify_offline(before.access.as_bytes(), now).unwrap_err(), Refused::UnknownKey);
    // So does one in a server that runs and still knows the key.
    let app = open().await;
    app.keyring.check().unwrap();
    std::fs::remove_file(&file).unwrap();
    app.keyring.reset(now).await.unwrap();
    assert!(app.keyring.can_sign(kerria_core::Algorithm::EdDsa));
    open().await.keyring.check().unwrap();
}

#[tokio::test]
async fn a_reload_that_read_before_a_reset_does_not_bring_the_old_keys_back() {
    let kerria = Kerria::start().await;
    kerria.user("alice").await;
    let before = signed_in(&kerria).await;
    let now = kerria.clock.now();
    for _ in 0..3 {
        let old = kerria.app.keyring.keys();
        let held = kerria.store.hold("signing_keys");
        let app = std::sync::Arc::clone(&kerria.app);
        let reload = tokio::spawn(async move { app.keyring.reload().await });
        held.reached().await;
        let app = std::sync::Arc::clone(&kerria.app);
        let mut reset = tokio::spawn(async move { app.keyring.reset(now).await });
        // One that does not wait for the reload is done by then; one that waits goes on after it.
        let early = tokio::time::timeout(Duration::from_millis(500), &mut reset).await;
        held.release();
        reload.await.unwrap().unwrap();
        match early {
            Ok(done) => done.unwrap().unwrap(),
            Err(_) => reset.await.unwrap().unwrap(),
        }
        let kept = kerria_core::store::SigningKeys::signing_keys(&*kerria.store).await.unwrap();
        assert_eq!(kerria.app.keyring.keys(), kept, "the keys are those that are kept");
        assert!(old.iter().all(|key| kept.iter().all(|kept| kept.kid != key.kid)));
        let refused = kerria.app.verifier.verify_offline(before.access.as_bytes(), now).unwrap_err();
        assert_eq!(refused, Refused::UnknownKey);
        let published = published(&kerria).await;
        assert_eq!(published.iter().count(), kept.len());
        assert!(is_good(&kerria, &signed_in(&kerria).await).await);
    }
}
