//! Whatever is fetched as a JWK Set is read or refused; a key that is read is published as the same key, without a private
//! part.
#![no_main]

use kerria::jwt::{Jwk, KeySet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = KeySet::parse(bytes) {
        for key in set.iter() {
            assert_eq!(set.get(key.kid()), Some(key));
        }
    }
    if let Ok((jwk, _)) = Jwk::parse(bytes) {
        let published = jwk.to_json();
        assert_eq!(Jwk::parse(published.as_bytes()), Ok((jwk.clone(), Some(jwk.thumbprint()))));
        assert!(!published.contains(r#""d":"#));
    }
});
