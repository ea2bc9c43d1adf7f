//! A token that is read is exactly one that was written.
#![no_main]

use kerria_core::{Token, TokenKey, TokenKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let key = TokenKey::from_bytes([42; 16]);
    for kind in [TokenKind::Session, TokenKind::Invitation, TokenKind::Device] {
        if let Some(token) = Token::parse(kind, text, &key) {
            assert_eq!(token.write(&key).expose().as_bytes(), text);
        }
    }
});
