//! Whatever is sent as a JWT, as its header or as its claims is read or refused; nothing panics, nothing unsigned passes,
//! and what is read is written as something that is read as the same.
#![no_main]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kerria::jwt::{AccessClaims, Compact, Header, KeySet, Verifier, VerifierSettings};
use kerria_core::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(jws) = Compact::parse(bytes) {
        let text = [&jws.header, &jws.payload, &jws.signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        assert_eq!(text.as_bytes(), bytes);
        assert!(text.as_bytes().starts_with(jws.signed));
    }
    if let Ok(header) = Header::parse(bytes) {
        assert_eq!(Header::parse(&serde_json::to_vec(&header).unwrap()), Ok(header));
    }
    if let Ok(claims) = AccessClaims::parse(bytes) {
        assert_eq!(AccessClaims::parse(&serde_json::to_vec(&claims).unwrap()), Ok(claims));
    }
    let settings = VerifierSettings::new("https://id.example", "https://api.example".parse().unwrap());
    let key = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let verifier = Verifier::new(settings, KeySet::parse(key).unwrap());
    assert!(verifier.verify(bytes, Timestamp::from_millis(1_800_000_000_000)).is_err());
});
