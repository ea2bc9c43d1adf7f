//! A cookie of our name is found only where its exact name stands, and never with a separator in its value.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use kerria::SecretCookie;
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, value);
    let cookie = SecretCookie::new("kerria", &Url::parse("https://id.example").unwrap());
    let name = cookie.name().as_bytes();
    for value in cookie.values(&headers) {
        assert!(!value.contains(&b';'));
        assert!(bytes.windows(name.len()).any(|window| window == name));
    }
});
