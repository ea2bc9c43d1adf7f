//! Protection against cross-site request forgery.
//!
//! What the browser says of a request's origin decides first (`Sec-Fetch-Site`, and `Origin` where that is missing),
//! with the semantics of Go 1.25's `CrossOriginProtection`; in addition, the scheme of an `Origin` has to be ours.
//! A request that says nothing is not from a current browser; then, and in forms always, a token that belongs to the
//! session has to be presented.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method, header};
use kerria_core::SessionId;
use sha2::Sha256;
use url::Url;

/// What the headers say about where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginVerdict {
    /// From our own pages, or typed by the user, or it cannot change anything.
    Own,
    /// From somebody else's page.
    Foreign,
    /// Nothing: no current browser sent it.
    Unknown,
}

/// The origins whose pages may send requests that change something.
#[derive(Clone, Debug)]
pub struct OwnOrigin {
    scheme: String,
    origin: String,
}

impl OwnOrigin {
    /// The origin of `public_url`.
    #[must_use]
    pub fn new(public_url: &Url) -> Self {
        Self { scheme: public_url.scheme().to_owned(), origin: public_url.origin().ascii_serialization() }
    }

    /// Judges a request by its method and headers.
    #[must_use]
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> OriginVerdict {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return OriginVerdict::Own;
        }
        if let Some(site) = headers.get("sec-fetch-site") {
            return match site.as_bytes() {
                b"same-origin" | b"none" => OriginVerdict::Own,
                _ => OriginVerdict::Foreign,
            };
        }
        match headers.get(header::ORIGIN) {
            None => OriginVerdict::Unknown,
            Some(origin) if self.is_own(origin.as_bytes(), headers) => OriginVerdict::Own,
            Some(_) => OriginVerdict::Foreign,
        }
    }

    /// Whether an `Origin` header names the public URL, or the host that the request was sent to under our scheme (so
    /// that a machine that is reached by several names works).
    fn is_own(&self, origin: &[u8], headers: &HeaderMap) -> bool {
        if origin == self.origin.as_bytes() {
            return true;
        }
        let host = headers.get(header::HOST).map(|host| host.as_bytes());
        let authority =
            origin.strip_prefix(self.scheme.as_bytes()).and_then(|rest| rest.strip_prefix(b"://"));
        matches!((authority, host), (Some(authority), Some(host)) if !host.is_empty() && authority == host)
    }
}

/// The key of the tokens that forms and scripts present.
#[derive(Clone)]
pub struct FormKey(Hmac<Sha256>);

impl FormKey {
    /// The key with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// The token of a session: HMAC-SHA-256 over its handle, in base64url. Another session has another one.
    #[must_use]
    pub fn token(&self, session: SessionId) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(session).finalize().into_bytes())
    }

    /// Whether `presented` is the token of this session. Compared in constant time.
    #[must_use]
    pub fn verify(&self, session: SessionId, presented: &str) -> bool {
        let mut bytes = [0; 33];
        match URL_SAFE_NO_PAD.decode_slice(presented, &mut bytes) {
            Ok(32) => self.mac(session).verify_slice(&bytes[..32]).is_ok(),
            _ => false,
        }
    }

    /// A signature over `text`, in base64url, that counts for this purpose only.
    #[must_use]
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac_of(purpose, text).finalize().into_bytes())
    }

    /// Whether `signature` is ours over `text`, for this purpose. Compared in constant time.
    #[must_use]
    pub fn has_signed(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let mut bytes = [0; 33];
        match URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes) {
            Ok(32) => self.mac_of(purpose, text).verify_slice(&bytes[..32]).is_ok(),
            _ => false,
        }
    }

    /// Begins with what no token of a form begins with.
    fn mac_of(&self, purpose: &str, text: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in ["text", purpose, "\0", text] {
            mac.update(part.as_bytes());
        }
        mac
    }

    fn mac(&self, session: SessionId) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"form");
        mac.update(session.as_bytes());
        mac
    }
}

impl std::fmt::Debug for FormKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FormKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(method: &str, headers: &[(&str, &str)]) -> OriginVerdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let own = OwnOrigin::new(&Url::parse("https://example.com").unwrap());
        own.judge(&method.parse().unwrap(), &map)
    }

    /// The table of Go 1.25, `net/http/csrf_test.go`, `TestCrossOriginProtectionSecFetchSite`, rebuilt.
    #[test]
    fn sec_fetch_site_decides_and_origin_where_it_is_missing() {
        use OriginVerdict::{Foreign, Own, Unknown};
        for (method, sec_fetch_site, origin, expected) in [
            ("POST", "same-origin", "", Own),
            ("POST", "none", "", Own),
            ("POST", "cross-site", "", Foreign),
            ("POST", "same-site", "", Foreign),
            ("POST", "", "", Unknown),
            ("POST", "", "https://example.com", Own),
            ("POST", "", "https://attacker.example", Foreign),
            ("POST", "", "null", Foreign),
            ("GET", "cross-site", "", Own),
            ("HEAD", "cross-site", "", Own),
            ("OPTIONS", "cross-site", "", Own),
            ("PUT", "cross-site", "", Foreign),
            ("DELETE", "cross-site", "", Foreign),
            ("PATCH", "same-site", "https://example.com", Foreign),
            ("POST", "Same-Origin", "", Foreign),
            ("POST", "unheard-of", "https://example.com", Foreign),
        ] {
            let mut headers = vec![("host", "example.com")];
            headers.extend((!sec_fetch_site.is_empty()).then_some(("sec-fetch-site", sec_fetch_site)));
            headers.extend((!origin.is_empty()).then_some(("origin", origin)));
            assert_eq!(judge(method, &headers), expected, "{method} {sec_fetch_site:?} {origin:?}");
        }
    }

    #[test]
    fn an_origin_is_compared_whole() {
        for foreign in [
            "https://example.com.evil.example",
            "https://example.com:444",
            "http://example.com",
            "https://evil.example/https://example.com",
            "https://user@example.com",
            "example.com",
            "",
        ] {
            let headers = [("host", "example.com"), ("origin", foreign)];
            assert_eq!(judge("POST", &headers), OriginVerdict::Foreign, "{foreign}");
        }
    }

    #[test]
    fn a_second_name_of_the_same_machine_works() {
        let headers = [("host", "kerria.lan:8443"), ("origin", "https://kerria.lan:8443")];
        assert_eq!(judge("POST", &headers), OriginVerdict::Own);
        let headers = [("host", "kerria.lan:8443"), ("origin", "http://kerria.lan:8443")];
        assert_eq!(judge("POST", &headers), OriginVerdict::Foreign);
    }

    #[test]
    fn a_form_token_belongs_to_one_session_and_one_installation() {
        let key = FormKey::from_bytes(&[1; 32]);
        let (mine, other) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
        let token = key.token(mine);
        assert!(key.verify(mine, &token));
        assert!(!key.verify(other, &token));
        assert!(!FormKey::from_bytes(&[2; 32]).verify(mine, &token));
        for bad in ["", "x", &token[1..], &format!("{token}A"), &"A".repeat(10_000)] {
            assert!(!key.verify(mine, bad), "{bad}");
        }
    }
}
