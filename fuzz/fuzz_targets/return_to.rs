//! Wherever somebody wants to return to: it is our own page or a configured origin.
#![no_main]

use kerria_server::login::return_to::return_to;
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|wanted: &str| {
    let public = Url::parse("https://id.example").unwrap();
    let other = Url::parse("https://app.example:8443").unwrap();
    let target = return_to(Some(wanted), &public, std::slice::from_ref(&other));
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target:?}");
    assert!(!target.contains('\\') && !target.starts_with("//"), "{target:?}");
    let arrived = public.join(&target).unwrap();
    assert!(arrived.origin() == public.origin() || arrived.origin() == other.origin(), "{target:?}");
});
