//! Whatever is sent to an OAuth endpoint is read or refused, and so is whatever claims to be a client's assertion.
#![no_main]

use kerria_server::oauth::{client_authentication::claimed_client, form::Form};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(claimed_client(text));
    }
    let Ok(form) = Form::parse(bytes) else { return };
    if let Ok(Some(scope)) = form.scope() {
        assert_eq!(scope.to_string().parse().as_ref(), Ok(&scope));
    }
    if let Ok(Some(audience)) = form.audience() {
        assert!(audience.as_str().is_ascii());
    }
    for name in ["token", "client_assertion", "refresh_token"] {
        if let Some(value) = form.get(name) {
            assert!(!value.is_empty());
            drop(claimed_client(value));
        }
    }
});
