//! Whatever is sent as a form or typed as a name is read or refused; nothing panics, and what is read stays in bounds.
#![no_main]

use kerria_core::{DataKey, EmailAddress, LoginName, UserName, account::NAME_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (_, value) in url::form_urlencoded::parse(bytes) {
        let login = LoginName::parse(&value);
        assert!(login.key().len() <= NAME_BYTES);
        if let Ok(name) = UserName::parse(&value) {
            assert!(!name.as_str().contains('@'));
            assert_eq!(LoginName::parse(name.as_str()).key(), name.key());
        }
        if let Ok(email) = EmailAddress::parse(&value) {
            assert!(LoginName::parse(email.as_str()).is_email());
        }
        if let Ok(key) = DataKey::parse(&value) {
            assert_eq!(key.as_str(), value);
        }
    }
});
