use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The longest JWT that is read, in bytes.
pub const JWT_BYTES: usize = 8 * 1024;

/// The longest header that is read, in base64url.
const HEADER_BYTES: usize = 1024;

/// The three parts of a JWS in compact serialization (RFC 7515, section 3.1), taken apart and not believed yet.
pub struct Compact<'t> {
    /// What the signature is over: header and payload as they were sent, with the dot between them.
    pub signed: &'t [u8],
    /// The header's JSON.
    pub header: Vec<u8>,
    /// The payload; of a JWT, the JSON of its claims.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
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
        if [header, payload, signature].contains(&&b""[..]) || header.len() > HEADER_BYTES {
            return None;
        }
        Some(Self {
            signed: &text[..header.len() + 1 + payload.len()],
            header: URL_SAFE_NO_PAD.decode(header).ok()?,
            payload: URL_SAFE_NO_PAD.decode(payload).ok()?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}

impl fmt::Debug for Compact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compact(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_apart_only_within_its_bounds() {
        let with = |header: usize, payload: usize, signature: usize| {
            let text = ["A".repeat(header), "A".repeat(payload), "A".repeat(signature)].join(".");
            Compact::parse(text.as_bytes())
                .map(|jws| [jws.header.len(), jws.payload.len(), jws.signature.len()])
        };
        assert_eq!(with(4, 8, 12), Some([3, 6, 9]));
        assert_eq!(with(HEADER_BYTES, 4, 4), Some([768, 3, 3]));
        assert_eq!(with(HEADER_BYTES + 2, 4, 4), None);
        assert_eq!(with(4, JWT_BYTES - 10, 4), Some([3, 6_136, 3]));
        assert_eq!(with(4, JWT_BYTES - 6, 4), None);
        assert_eq!((with(0, 4, 4), with(4, 0, 4), with(4, 4, 0)), (None, None, None));
        assert_eq!((with(5, 4, 4), with(4, 5, 4), with(4, 4, 5)), (None, None, None));
    }
}
