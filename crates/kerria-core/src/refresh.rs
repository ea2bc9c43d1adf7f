//! Refresh tokens: the secret that buys access tokens, and a new secret each time it is used (RFC 9700, section 4.14.2).
//!
//! A refresh token is written `krt_` and 75 characters of base64url: the handle of its session, 32 random bytes, and the
//! tag. Because it names its session, a store keeps two hashes for each session, the present one and the one before, and
//! still recognises every older token as one that was used before.
//!
//! The successor of a token is derived, so that a lost reply can be forgiven: see [`rotation`](crate::rotation).

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{
    entropy::{Entropy, random_bytes},
    id::SessionId,
    rotation::RotationNonce,
    secret::Secret,
    token::{TokenHash, TokenKey},
};

const PREFIX: &str = "krt_";
const HANDLE: usize = 16;
const RANDOM: usize = 32;
const TAG: usize = 8;
const ENCODED: usize = 75;

/// A refresh token: the secret itself. Held only on its way to or from the client.
pub struct RefreshToken {
    session: SessionId,
    random: Secret<[u8; RANDOM]>,
}

impl RefreshToken {
    /// The characters that one begins with.
    pub const PREFIX: &str = PREFIX;

    /// The first token of `session`, with 256 random bits.
    pub fn random(session: SessionId, entropy: &dyn Entropy) -> Self {
        Self { session, random: Secret::new(random_bytes(entropy)) }
    }

    /// Reads a token. `None` if the text is not exactly what this installation would have written.
    #[must_use]
    pub fn parse(text: &[u8], key: &TokenKey) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX.as_bytes())?;
        if encoded.len() != ENCODED {
            return None;
        }
        let mut bytes = [0; HANDLE + RANDOM + TAG];
        let decoded = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes);
        let (content, tag) = bytes.split_at(HANDLE + RANDOM);
        let genuine = decoded == Ok(bytes.len()) && bool::from(tag.ct_eq(&key.tag(PREFIX, content)));
        let (handle, random) =
            content.split_first_chunk::<HANDLE>().expect("the content is longer than a handle");
        let random = random.try_into().expect("what follows the handle is 32 bytes");
        let token =
            genuine.then(|| Self { session: SessionId::from_bytes(*handle), random: Secret::new(random) });
        bytes.zeroize();
        token
    }

    /// The text that the client gets.
    #[must_use]
    pub fn write(&self, key: &TokenKey) -> Secret<String> {
        let mut bytes = [0; HANDLE + RANDOM + TAG];
        bytes[..HANDLE].copy_from_slice(self.session.as_bytes());
        bytes[HANDLE..HANDLE + RANDOM].copy_from_slice(self.random.expose());
        let tag = key.tag(PREFIX, &bytes[..HANDLE + RANDOM]);
        bytes[HANDLE + RANDOM..].copy_from_slice(&tag);
        let mut text = String::with_capacity(PREFIX.len() + ENCODED);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        bytes.zeroize();
        Secret::new(text)
    }

    /// The session that it belongs to, if it is good.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// What is kept of the token: SHA-256 over its kind, its session and its random bytes.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let mut hasher = Sha256::new();
        hasher.update(PREFIX);
        hasher.update(self.session.as_bytes());
        hasher.update(self.random.expose());
        TokenHash::from_bytes(hasher.finalize().into())
    }

    /// The token that takes its place, by this nonce.
    #[must_use]
    pub fn successor(&self, nonce: &RotationNonce) -> Self {
        let label = "kerria: the successor of a refresh token";
        let random = nonce.successor_of(&self.random, label, self.session.as_bytes());
        Self { session: self.session, random }
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("krt_(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Token, TokenKind};

    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    const SESSION: SessionId = SessionId::from_bytes([7; 16]);

    fn key() -> TokenKey {
        TokenKey::from_bytes([42; 16])
    }

    fn token() -> RefreshToken {
        RefreshToken::random(SESSION, &Counting(0xa5))
    }

    #[test]
    fn a_token_is_read_back_as_it_was_written() {
        let text = token().write(&key());
        assert!(text.expose().starts_with("krt_") && text.expose().len() == 79);
        let read = RefreshToken::parse(text.expose().as_bytes(), &key()).unwrap();
        assert_eq!((read.session(), read.hash()), (SESSION, token().hash()));
    }

    #[test]
    fn nothing_but_the_exact_text_is_read() {
        let text = token().write(&key()).expose().clone();
        for (at, byte) in text.bytes().enumerate() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if byte == b'A' { b'B' } else { b'A' };
            assert!(RefreshToken::parse(&changed, &key()).is_none(), "changed at {at}");
        }
        let longer = format!("{text}A");
        for other in ["", "krt_", &text[..78], &longer, &text.to_uppercase(), &format!(" {text}")] {
            assert!(RefreshToken::parse(other.as_bytes(), &key()).is_none(), "{other}");
        }
        assert!(RefreshToken::parse(text.as_bytes(), &TokenKey::from_bytes([1; 16])).is_none());
        assert!(Token::parse(TokenKind::Session, text.as_bytes(), &key()).is_none());
    }

    #[test]
    fn the_successor_follows_from_token_and_nonce_and_from_nothing_less() {
        let nonce = RotationNonce::random(&Counting(1));
        let next = token().successor(&nonce);
        assert_eq!(next.session(), SESSION);
        assert_eq!(next.hash(), token().successor(&nonce).hash());
        let others = [
            token().hash(),
            token().successor(&RotationNonce::random(&Counting(2))).hash(),
            RefreshToken::random(SESSION, &Counting(0xa6)).successor(&nonce).hash(),
            RefreshToken::random(SessionId::from_bytes([8; 16]), &Counting(0xa5)).successor(&nonce).hash(),
        ];
        assert!(others.iter().all(|other| *other != next.hash()));
    }

    #[test]
    fn debug_output_does_not_show_a_secret() {
        assert_eq!(format!("{:?}", token()), "krt_(..)");
        assert_eq!(format!("{:?}", RotationNonce::random(&Counting(1))), "RotationNonce(..)");
    }
}
