//! Cookies that hold a token: written with the attributes that protect them, read by their exact name.

use std::{iter, time::Duration};

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};
use kerria_core::Secret;
use memchr::memchr;
use url::Url;

/// Cookies of our name that are looked at in one request. More than one is already suspicious.
const LOOKED_AT: usize = 8;

/// The name and the attributes of a cookie that holds a token.
///
/// On an `https` origin the name begins with `__Host-`, so that browsers accept it only from this very host, over TLS
/// and for all paths (RFC 6265bis, section 4.1.3.2). On `http://localhost` that name and `Secure` are left out: not
/// every browser (Safari) keeps such cookies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretCookie {
    name: String,
    secure: bool,
    same_site: SameSite,
    /// The hosts at and below which browsers send it, if not to its own alone.
    domain: Option<String>,
}

impl SecretCookie {
    /// The cookie called `name` for the pages of `origin`.
    #[must_use]
    pub fn new(name: &str, origin: &Url) -> Self {
        let secure = origin.scheme() == "https";
        let name = if secure { format!("__Host-{name}") } else { name.to_owned() };
        Self { name, secure, same_site: SameSite::Lax, domain: None }
    }

    /// The cookie that a server calls so.
    #[must_use]
    pub fn called(name: &str) -> Self {
        let secure = name.starts_with("__Host-") || name.starts_with("__Secure-");
        Self { name: name.to_owned(), secure, same_site: SameSite::Lax, domain: None }
    }

    /// The cookie called `name`, for the pages of `origin` and of all other hosts at and below `domain`.
    ///
    /// Whoever serves one of these hosts sees it and can put another one in its place, so all of them have to be trusted. Its
    /// name begins with `__Secure-` on an `https` origin: browsers do not accept `__Host-` with a domain.
    #[must_use]
    pub fn for_domain(name: &str, origin: &Url, domain: &str) -> Self {
        let secure = origin.scheme() == "https";
        let name = if secure { format!("__Secure-{name}") } else { name.to_owned() };
        Self { name, secure, same_site: SameSite::Lax, domain: Some(domain.to_owned()) }
    }

    /// The same, sent only with requests that our own pages make (`SameSite=Strict`): not when a link leads here.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { same_site: SameSite::Strict, ..self }
    }

    /// The name, as it stands in the header.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The values of all cookies of exactly this name, as they stand in the `Cookie` headers.
    ///
    /// The raw bytes are compared: nothing is percent-decoded or unquoted, and only space and tab are trimmed. Common
    /// cookie jars decode names, and then take a cookie for ours that a neighbouring subdomain was able to set. A
    /// byte that is not ASCII in somebody else's cookie does no harm.
    pub fn values<'h>(&'h self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h [u8]> {
        cookies(headers)
            .filter_map(|cookie| cookie.value.filter(|_| cookie.name == self.name.as_bytes()))
            .take(LOOKED_AT)
    }

    /// The `Set-Cookie` that makes a browser keep `value`: for `max_age`, or until it is closed.
    #[must_use]
    pub fn set(&self, value: &Secret<String>, max_age: Option<Duration>) -> HeaderValue {
        let mut cookie = self.build(value.expose());
        if let Some(max_age) = max_age {
            cookie.set_max_age(
                cookie::time::Duration::try_from(max_age).unwrap_or(cookie::time::Duration::MAX),
            );
        }
        header_value(&cookie)
    }

    /// Whether a response with these headers sets it, or makes a browser forget it.
    pub(crate) fn is_set_by(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::SET_COOKIE).iter().any(|cookie| {
            let name = cookie.as_bytes().split(|byte| *byte == b'=').next();
            name == Some(self.name.as_bytes())
        })
    }

    /// The `Set-Cookie` that makes a browser forget it. It has the same attributes, or browsers would not.
    #[must_use]
    pub fn remove(&self) -> HeaderValue {
        let mut cookie = self.build("");
        cookie.set_max_age(cookie::time::Duration::ZERO);
        header_value(&cookie)
    }

    fn build<'c>(&'c self, value: &'c str) -> Cookie<'c> {
        let mut cookie = Cookie::build((self.name.as_str(), value))
            .path("/")
            .secure(self.secure)
            .http_only(true)
            .same_site(self.same_site)
            .build();
        if let Some(domain) = &self.domain {
            cookie.set_domain(domain);
        }
        cookie
    }
}

/// A cookie of a request (RFC 6265bis, section 5.8.3). Space and tab around each part are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedCookie<'h> {
    /// All of it, as it was sent.
    pub text: &'h [u8],
    /// Its name; all of it, if it has no equals sign.
    pub name: &'h [u8],
    /// Its value, if it has an equals sign.
    pub value: Option<&'h [u8]>,
}

/// All cookies of a request, in their order.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = PresentedCookie<'_>> {
    headers.get_all(header::COOKIE).iter().flat_map(|line| {
        let mut rest = Some(line.as_bytes());
        iter::from_fn(move || {
            let line = rest?;
            let end = memchr(b';', line);
            rest = end.map(|end| &line[end + 1..]);
            let text = trim(&line[..end.unwrap_or(line.len())]);
            Some(match memchr(b'=', text) {
                Some(at) => {
                    PresentedCookie { text, name: trim(&text[..at]), value: Some(trim(&text[at + 1..])) }
                }
                None => PresentedCookie { text, name: text, value: None },
            })
        })
    })
}

fn header_value(cookie: &Cookie<'_>) -> HeaderValue {
    let mut value = HeaderValue::from_str(&cookie.to_string()).expect("tokens and our names are plain ASCII");
    value.set_sensitive(true);
    value
}

fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(origin: &str) -> SecretCookie {
        SecretCookie::new("kerria", &Url::parse(origin).unwrap())
    }

    #[test]
    fn each_cookie_is_parted_at_its_first_equals_sign() {
        let mut headers = HeaderMap::new();
        for line in ["a=1;b = 2=3 ; c;; =d", ""] {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let all: Vec<_> = cookies(&headers)
            .map(|cookie| (text(cookie.text), text(cookie.name), cookie.value.map(text)))
            .collect();
        let some =
            |of: &str, name: &str, value: &str| (of.to_owned(), name.to_owned(), Some(value.to_owned()));
        let none = |of: &str| (of.to_owned(), of.to_owned(), None);
        let expected = [
            some("a=1", "a", "1"),
            some("b = 2=3", "b", "2=3"),
            none("c"),
            none(""),
            some("=d", "", "d"),
            none(""),
        ];
        assert_eq!(all, expected);
    }

    fn values(headers: &[&[u8]]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(header::COOKIE, HeaderValue::from_bytes(header).unwrap());
        }
        cookie("https://id.example")
            .values(&map)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn on_https_it_is_bound_to_the_host() {
        let set = cookie("https://id.example").set(&"kst_x".into(), None);
        assert_eq!(set.to_str().unwrap(), "__Host-kerria=kst_x; HttpOnly; SameSite=Lax; Secure; Path=/");
    }

    #[test]
    fn on_plain_localhost_it_has_what_every_browser_accepts() {
        let set = cookie("http://localhost:8080").set(&"kst_x".into(), Some(Duration::from_secs(60)));
        assert_eq!(set.to_str().unwrap(), "kerria=kst_x; HttpOnly; SameSite=Lax; Path=/; Max-Age=60");
    }

    #[test]
    fn for_a_domain_it_says_so_and_is_secure_on_https() {
        let cookie = |origin| SecretCookie::for_domain("kerria", &Url::parse(origin).unwrap(), "example.com");
        let set = |origin| cookie(origin).set(&"kst_x".into(), None).to_str().unwrap().to_owned();
        let rest = "; Path=/; Domain=example.com";
        assert_eq!(
            set("https://id.example.com"),
            format!("__Secure-kerria=kst_x; HttpOnly; SameSite=Lax; Secure{rest}")
        );
        assert_eq!(set("http://id.example.com"), format!("kerria=kst_x; HttpOnly; SameSite=Lax{rest}"));
        assert_eq!(
            cookie("https://id.example.com").remove().to_str().unwrap(),
            format!("__Secure-kerria=; HttpOnly; SameSite=Lax; Secure{rest}; Max-Age=0")
        );
    }

    #[test]
    fn it_is_removed_with_the_attributes_that_it_was_set_with() {
        let removed = cookie("https://id.example").remove();
        assert_eq!(
            removed.to_str().unwrap(),
            "__Host-kerria=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn it_is_found_by_its_exact_name_only() {
        assert_eq!(values(&[b"a=1; __Host-kerria=kst_1;b=2"]), ["kst_1"]);
        assert_eq!(values(&[b"a=1", b"__Host-kerria = \tkst_1\t"]), ["kst_1"]);
        for other in [
            &b"__host-kerria=x"[..],
            b"__HOST-KERRIA=x",
            b"%5F%5FHost-kerria=x",
            b"__Host-kerria2=x",
            b"\xc2\xa0__Host-kerria=x",
            b"\xe2\x80\x80__Host-kerria=x",
            b"kerria=x",
            b"__Host-kerria",
            b"=__Host-kerria=x",
            b"\"__Host-kerria\"=x",
            b";;;",
            b"",
        ] {
            assert_eq!(values(&[other]), [""; 0], "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_value_is_taken_as_it_is() {
        assert_eq!(values(&[b"__Host-kerria=\"kst_1\""]), ["\"kst_1\""]);
        assert_eq!(values(&[b"__Host-kerria=a=b"]), ["a=b"]);
        assert_eq!(values(&[b"__Host-kerria="]), [""]);
    }

    #[test]
    fn foreign_cookies_do_no_harm() {
        assert_eq!(values(&[b"x=\xe9; \x80; ;;__Host-kerria=kst_1; y=\"a;b\""]), ["kst_1"]);
    }

    #[test]
    fn of_many_cookies_of_the_name_only_some_are_looked_at() {
        let many = "__Host-kerria=x; ".repeat(100);
        assert_eq!(values(&[many.as_bytes()]).len(), LOOKED_AT);
    }
}
