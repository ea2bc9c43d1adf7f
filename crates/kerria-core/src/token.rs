//! Tokens: what a client carries, and what is kept of it.
//!
//! A token is written as its kind, an underscore, and 54 characters of base64url without padding (RFC 4648,
//! section 5): 32 random bytes and an 8-byte tag, as in `kst_8Gk…`. The kind lets scanners find a leaked token and
//! tells what it is. The tag is SipHash-2-4 over kind and random bytes, under a key of the installation. It protects
//! no secret; it lets a checker refuse garbage without asking the store.

use std::{fmt, hash::Hasher};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{
    entropy::{Entropy, random_bytes},
    id::SessionId,
    rotation::RotationNonce,
    secret::Secret,
};

const RANDOM: usize = 32;
const TAG: usize = 8;
const ENCODED: usize = 54;

/// What a token is for. A token of one kind is never accepted as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Carries a session: `kst_`.
    Session,
    /// Lets one person create one account: `kin_`.
    Invitation,
    /// Marks a device from which its user has signed in before: `kdt_`.
    Device,
    /// An opaque access token, a "reference token": `kat_`.
    Access,
    /// Proves to be a client: `kcs_`.
    ClientSecret,
}

impl TokenKind {
    /// The characters that a token of this kind begins with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Session => "kst_",
            Self::Invitation => "kin_",
            Self::Device => "kdt_",
            Self::Access => "kat_",
            Self::ClientSecret => "kcs_",
        }
    }
}

/// The key of the tag. One per installation; all processes that share a store share it.
#[derive(Clone)]
pub struct TokenKey(Secret<[u8; 16]>);

impl TokenKey {
    /// The key with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Secret::new(bytes))
    }

    /// The tag over the prefix and the content of a token.
    pub(crate) fn tag(&self, prefix: &str, content: &[u8]) -> [u8; TAG] {
        let mut hasher = SipHasher24::new_with_key(self.0.expose());
        hasher.write(prefix.as_bytes());
        hasher.write(content);
        hasher.finish().to_le_bytes()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// A token: the secret itself. Held only on its way to or from the client.
pub struct Token {
    kind: TokenKind,
    random: Secret<[u8; RANDOM]>,
}

impl Token {
    /// A new token with 256 random bits.
    pub fn random(kind: TokenKind, entropy: &dyn Entropy) -> Self {
        Self { kind, random: Secret::new(random_bytes(entropy)) }
    }

    /// Reads a token of `kind`. `None` if the text is not exactly what this installation would have written: another
    /// kind, another length, another alphabet, trailing bits, or a tag made without the key.
    #[must_use]
    pub fn parse(kind: TokenKind, text: &[u8], key: &TokenKey) -> Option<Self> {
        let encoded = text.strip_prefix(kind.prefix().as_bytes())?;
        if encoded.len() != ENCODED {
            return None;
        }
        let mut bytes = [0; RANDOM + TAG];
        let decoded = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes);
        let (random, tag) = bytes.split_first_chunk::<RANDOM>().expect("the array is longer than 32 bytes");
        let genuine = decoded == Ok(RANDOM + TAG) && bool::from(tag.ct_eq(&key.tag(kind.prefix(), random)));
        let token = genuine.then(|| Self { kind, random: Secret::new(*random) });
        bytes.zeroize();
        token
    }

    /// The text that the client gets.
    #[must_use]
    pub fn write(&self, key: &TokenKey) -> Secret<String> {
        let mut bytes = [0; RANDOM + TAG];
        bytes[..RANDOM].copy_from_slice(self.random.expose());
        bytes[RANDOM..].copy_from_slice(&key.tag(self.kind.prefix(), self.random.expose()));
        let mut text = String::with_capacity(self.kind.prefix().len() + ENCODED);
        text.push_str(self.kind.prefix());
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        bytes.zeroize();
        Secret::new(text)
    }

    /// What is kept of the token: SHA-256 over its kind and its random bytes.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        let mut hasher = Sha256::new();
        hasher.update(self.kind.prefix());
        hasher.update(self.random.expose());
        TokenHash(hasher.finalize().into())
    }

    /// The token that takes its place, by this nonce.
    #[must_use]
    pub fn successor(&self, nonce: &RotationNonce) -> Self {
        let (label, kind) = ("kerria: the successor of a token", self.kind.prefix().as_bytes());
        Self { kind: self.kind, random: nonce.successor_of(&self.random, label, kind) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(..)", self.kind.prefix())
    }
}

/// The SHA-256 hash of a token: the only form in which a store ever sees one.
///
/// A plain hash is enough, because there is nothing to guess in 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The 32 bytes, as they are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What stands in the place of a token's hash for a session that is known by its handle. It is no token's hash.
    #[must_use]
    pub fn of_handle(session: SessionId) -> Self {
        let mut hasher = Sha256::new();
        hasher.update("a session by its handle");
        hasher.update(session.as_bytes());
        Self(hasher.finalize().into())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn key() -> TokenKey {
        TokenKey::from_bytes([42; 16])
    }

    fn written() -> String {
        Token::random(TokenKind::Session, &Counting(0xa5)).write(&key()).expose().clone()
    }

    #[test]
    fn a_token_is_read_back_as_it_was_written() {
        let token = Token::random(TokenKind::Session, &Counting(0xa5));
        let text = token.write(&key());
        assert_eq!(text.expose().len(), 58);
        let read = Token::parse(TokenKind::Session, text.expose().as_bytes(), &key()).unwrap();
        assert_eq!(read.hash(), token.hash());
    }

    #[test]
    fn the_successor_follows_from_token_and_nonce_and_from_nothing_less() {
        let token = |kind, random| Token::random(kind, &Counting(random));
        let (nonce, other_nonce) = (RotationNonce::from_bytes([1; 32]), RotationNonce::from_bytes([2; 32]));
        let next = token(TokenKind::Session, 0xa5).successor(&nonce);
        assert_eq!(next.hash(), token(TokenKind::Session, 0xa5).successor(&nonce).hash());
        let text = next.write(&key());
        assert!(Token::parse(TokenKind::Session, text.expose().as_bytes(), &key()).is_some());
        let others = [
            token(TokenKind::Session, 0xa5),
            token(TokenKind::Session, 0xa5).successor(&other_nonce),
            token(TokenKind::Session, 0xa6).successor(&nonce),
            token(TokenKind::Access, 0xa5).successor(&nonce),
            next.successor(&nonce),
        ];
        assert!(others.iter().all(|other| other.random.expose() != next.random.expose()));
    }

    #[test]
    fn nothing_but_the_exact_text_is_read() {
        let text = written();
        let read = |text: &[u8]| Token::parse(TokenKind::Session, text, &key()).is_some();
        assert!(read(text.as_bytes()));
        for cut in 0..text.len() {
            assert!(!read(&text.as_bytes()[..cut]), "truncated to {cut}");
        }
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1 << bit;
                assert!(!read(&changed), "bit {bit} of character {at}");
            }
        }
        for more in ["A", "=", " ", "\0", "%00", "\n"] {
            assert!(!read(format!("{text}{more}").as_bytes()));
            assert!(!read(format!("{more}{text}").as_bytes()));
        }
        assert!(!read(&[b'A'; 10_000]));
    }

    #[test]
    fn a_token_of_one_kind_is_not_read_as_another() {
        let text = written();
        assert!(Token::parse(TokenKind::Device, text.as_bytes(), &key()).is_none());
        let renamed = text.replace("kst_", "kdt_");
        assert!(Token::parse(TokenKind::Device, renamed.as_bytes(), &key()).is_none());
    }

    #[test]
    fn a_token_of_another_installation_is_not_read() {
        assert!(
            Token::parse(TokenKind::Session, written().as_bytes(), &TokenKey::from_bytes([43; 16])).is_none()
        );
    }

    #[test]
    fn kinds_never_share_a_hash() {
        let hash = |kind| Token::random(kind, &Counting(1)).hash();
        assert_ne!(hash(TokenKind::Session), hash(TokenKind::Device));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let token = Token::random(TokenKind::Session, &Counting(1));
        assert_eq!(
            format!("{token:?} {:?} {:?}", token.hash(), key()),
            "kst_(..) TokenHash(..) TokenKey(..)"
        );
    }
}
