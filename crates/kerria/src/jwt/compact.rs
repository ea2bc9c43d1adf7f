use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The longest JWT that is read, in bytes.
pub const JWT_BYTES: usize = 8 * 1024;

/// The longest header that is read, in bytes of its JSON.
const HEADER_BYTES: usize = 1024;

/// The three parts of a JWS in compact serialization (RFC 7515, section 3.1), taken apart and not believed yet.
pub struct Compact<'t> {
    /// What the signature is over: header and payload as they were sent, with the dot between them.
    pub signed: &'t [u8],
    /// The header's JSON.
    pub header: Vec<u8>,
    /// The payload; of a JWT, the JSON of its claims.
    pub payload: Vec<u8>,
    /// The signature, in base64url as it was sent.
    pub signature: &'t str,
}

impl<'t> Compact<'t> {
    /// Takes apart at most [`JWT_BYTES`] bytes: exactly three parts, none empty, each in base64url without padding, of
    /// which the same bytes have one form only. A JWE, which has five parts, is none (RFC 7516, section 9).
    #[must_use]
    pub fn parse(text: &'t [u8]) -> Option<Self> {
        if text.len() > JWT_BYTES {
            return None;
        }
        let mut parts = text.splitn(3, |byte| *byte == b'.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if header.is_empty() || header.len() > HEADER_BYTES * 4 / 3 + 1 || payload.is_empty() {
            return None;
        }
        if signature.is_empty() || !signature.iter().copied().all(is_base64url) {
            return None;
        }
        Some(Self {
            signed: &text[..header.len() + 1 + payload.len()],
            header: URL_SAFE_NO_PAD.decode(header).ok()?,
            payload: URL_SAFE_NO_PAD.decode(payload).ok()?,
            signature: std::str::from_utf8(signature).ok()?,
        })
    }
}

impl fmt::Debug for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compact(..)")
    }
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
