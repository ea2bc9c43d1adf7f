//! What was asked of a proxy: method, scheme, host, path and query, as the proxy tells of it.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use url::form_urlencoded;

use super::identity;
use crate::login::return_to::is_plain_byte;

/// In which headers a proxy tells of a request. Each has a path of its own, so that nobody has to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`, as Caddy and Traefik send them.
    Forwarded,
    /// `X-Original-Method` and `X-Original-URL`, as nginx can be told to send them. It takes no redirect: what should be one is
    /// a 401 with a `Location`.
    Nginx,
    /// The request itself under a path of ours, with its own method and `Host`, and `X-Forwarded-Proto`, as Envoy sends it.
    Envoy,
}

/// The request that somebody has sent to a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original<'t> {
    /// Its method.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Its host, in small letters, without a dot at the end.
    pub host: Cow<'t, str>,
    /// Its port, if it is not the scheme's own.
    pub port: Option<u16>,
    /// Its path and query, as they were sent.
    target: Cow<'t, str>,
    /// Where the query begins in it, with its question mark.
    query_at: usize,
}

/// Why what a proxy tells is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// A header is missing.
    Missing(&'static str),
    /// A header is there twice.
    Repeated(&'static str),
    /// A header cannot be read.
    Unreadable(&'static str),
    /// A header tells of the request in another way, and may have come from the client.
    Contradicted(&'static str),
}

/// Where proxies ask, in each dialect; as in the table of routes, with the parameter in braces.
pub const PATHS: [&str; 3] = ["/forward-auth", "/forward-auth/nginx", "/forward-auth/envoy/{path}"];

const PATH: &str = "/forward-auth";
const NGINX: &str = "/nginx";
const ENVOY: &str = "/envoy";

/// The headers that tell of a request in one dialect alone, or in none and make some applications take another path for it.
const TELLING: [&str; 6] = [
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
];

/// Those that any request may have, whether its dialect goes by them or not.
const COMMON: [&str; 3] = ["x-forwarded-proto", "x-forwarded-host", HOST];

const HOST: &str = "host";

/// With these, a client asks an application to take its request for one with another method.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// What the headers of a proxy's request tell. They are gone through once: a proxy asks for every request of its own.
#[derive(Debug, Default)]
pub struct Told<'h> {
    telling: [Option<Value<'h>>; TELLING.len()],
    common: [Option<Value<'h>>; COMMON.len()],
    /// Whether one of them asks for another method.
    pub overrides_method: bool,
    /// One that says who the user is, which only Kerria may.
    pub identity: Option<&'h HeaderName>,
    /// What some application would take one for, although it is called otherwise.
    looks_like: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'h> {
    Only(&'h HeaderValue),
    Repeated,
}

impl<'h> Told<'h> {
    /// Reads the headers.
    #[must_use]
    pub fn by(headers: &'h HeaderMap) -> Self {
        let mut told = Self::default();
        for (header, value) in headers {
            let name = header.as_str();
            if let Some(at) = TELLING.iter().position(|known| name == *known) {
                note(&mut told.telling[at], value);
            } else if let Some(at) = COMMON.iter().position(|known| name == *known) {
                note(&mut told.common[at], value);
            } else if METHOD_OVERRIDES.iter().any(|known| looks_like(name, known)) {
                told.overrides_method = true;
            } else if identity::NAMES.iter().any(|own| looks_like(name, own.as_str())) {
                told.identity.get_or_insert(header);
            } else if let Some(known) = TELLING.iter().chain(&COMMON).find(|known| looks_like(name, known)) {
                told.looks_like.get_or_insert(known);
            }
        }
        told
    }

    /// The value of a header that is there once.
    fn only(&self, name: &'static str) -> Result<&'h str, Untold> {
        let mut all = TELLING.iter().zip(&self.telling).chain(COMMON.iter().zip(&self.common));
        match all.find(|(known, _)| **known == name).and_then(|(_, value)| *value) {
            None => Err(Untold::Missing(name)),
            Some(Value::Only(value)) => value.to_str().map_err(|_| Untold::Unreadable(name)),
            Some(Value::Repeated) => Err(Untold::Repeated(name)),
        }
    }

    fn method_in(&self, name: &'static str) -> Result<Method, Untold> {
        Method::from_bytes(self.only(name)?.as_bytes()).map_err(|_| Untold::Unreadable(name))
    }

    /// A header that tells of the request in another dialect.
    fn foreign(&self, dialect: Dialect) -> Option<&'static str> {
        let told = TELLING.iter().zip(&self.telling).filter(|(_, value)| value.is_some());
        told.map(|(name, _)| *name).find(|name| !dialect.own().contains(name))
    }
}

impl Dialect {
    /// The dialect of whoever asks at this path; `None` if it is not one of forward-auth.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        match path.strip_prefix(PATH)? {
            "" => Some(Self::Forwarded),
            NGINX => Some(Self::Nginx),
            rest => rest.strip_prefix(ENVOY)?.starts_with('/').then_some(Self::Envoy),
        }
    }

    const fn own(self) -> &'static [&'static str] {
        match self {
            Self::Forwarded => &["x-forwarded-method", "x-forwarded-uri"],
            Self::Nginx => &["x-original-method", "x-original-url"],
            Self::Envoy => &[],
        }
    }
}

impl<'t> Original<'t> {
    /// Reads what a proxy tells in its dialect.
    ///
    /// # Errors
    /// If it tells less than all of it, or more than one thing.
    pub fn read(dialect: Dialect, method: &Method, uri: &'t Uri, told: &Told<'t>) -> Result<Self, Untold> {
        if let Some(name) = told.foreign(dialect).or(told.looks_like) {
            return Err(Untold::Contradicted(name));
        }
        match dialect {
            Dialect::Forwarded => Self::of(
                told.method_in("x-forwarded-method")?,
                (told.only("x-forwarded-proto")?, "x-forwarded-proto"),
                (told.only("x-forwarded-host")?, "x-forwarded-host"),
                (told.only("x-forwarded-uri")?, "x-forwarded-uri"),
            ),
            Dialect::Nginx => {
                const NAME: &str = "x-original-url";
                let (scheme, rest) = told.only(NAME)?.split_once("://").ok_or(Untold::Unreadable(NAME))?;
                let (authority, target) = rest.split_at(rest.find('/').ok_or(Untold::Unreadable(NAME))?);
                let method = told.method_in("x-original-method")?;
                Self::of(method, (scheme, NAME), (authority, NAME), (target, NAME))
            }
            Dialect::Envoy => {
                let target = uri.path_and_query().map_or("", |target| target.as_str());
                let target = &target[(PATH.len() + ENVOY.len()).min(target.len())..];
                Self::of(
                    method.clone(),
                    (told.only("x-forwarded-proto")?, "x-forwarded-proto"),
                    (told.only(HOST)?, HOST),
                    (target, "the path"),
                )
            }
        }
    }

    /// Reads a URL that somebody has typed.
    ///
    /// # Errors
    /// If it is none.
    pub fn typed(method: Method, url: &'t str) -> Result<Self, Untold> {
        const NAME: &str = "the URL";
        let (scheme, rest) = url.split_once("://").ok_or(Untold::Unreadable(NAME))?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let target: Cow<'t, str> =
            if target.starts_with('/') { target.into() } else { format!("/{target}").into() };
        Self::of(method, (scheme, NAME), (authority, NAME), (target, NAME))
    }

    fn of(
        method: Method,
        (scheme, scheme_in): (&str, &'static str),
        (authority, host_in): (&'t str, &'static str),
        (target, target_in): (impl Into<Cow<'t, str>>, &'static str),
    ) -> Result<Self, Untold> {
        let scheme = match scheme {
            "https" => "https",
            "http" => "http",
            _ => return Err(Untold::Unreadable(scheme_in)),
        };
        let (host, port) = host_and_port(authority).ok_or(Untold::Unreadable(host_in))?;
        let target = target.into();
        if !target.starts_with('/') || target.contains('#') {
            return Err(Untold::Unreadable(target_in));
        }
        let port = port.filter(|port| (scheme, *port) != ("https", 443) && (scheme, *port) != ("http", 80));
        let query_at = target.find('?').unwrap_or(target.len());
        Ok(Self { method, scheme, host, port, target, query_at })
    }

    /// The path, as it was sent.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.target[..self.query_at]
    }

    /// The query, as it was sent, without its question mark.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target[self.query_at..].strip_prefix('?').unwrap_or_default()
    }

    /// Whether every application sees the same method in it. Some take `delete` for `DELETE`, and the one that is named in the query for
    /// that of the request.
    #[must_use]
    pub fn says_one_method(&self) -> bool {
        let is_plain = self.method.as_str().bytes().all(|byte| !byte.is_ascii_lowercase());
        is_plain && !form_urlencoded::parse(self.query().as_bytes()).any(|(name, _)| name == "_method")
    }

    /// Scheme, host and port (RFC 6454, section 6.2).
    #[must_use]
    pub fn origin(&self) -> String {
        match self.port {
            None => format!("{}://{}", self.scheme, self.host),
            Some(port) => format!("{}://{}:{port}", self.scheme, self.host),
        }
    }

    /// Whether this is its [origin](Self::origin).
    #[must_use]
    pub fn has_origin(&self, origin: &str) -> bool {
        let rest = origin.strip_prefix(self.scheme).and_then(|rest| rest.strip_prefix("://"));
        match (rest.and_then(|rest| rest.strip_prefix(&*self.host)), self.port) {
            (Some(""), None) => true,
            (Some(rest), Some(port)) => {
                rest.strip_prefix(':').is_some_and(|digits| digits.parse() == Ok(port))
            }
            _ => false,
        }
    }

    /// All of it but the method, with escapes for what is read in different ways: browsers send some of that in queries as it is.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = self.origin();
        for byte in self.target.bytes() {
            if is_plain_byte(byte) {
                url.push(char::from(byte));
            } else {
                url.push_str(&format!("%{byte:02X}"));
            }
        }
        url
    }
}

/// The host in small letters and the port of an authority, without a user name before it (RFC 3986, section 3.2).
pub fn host_and_port(authority: &str) -> Option<(Cow<'_, str>, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(port.parse().ok().filter(|port| digits && *port > 0)?))
        }
        _ => (authority, None),
    };
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        return Some((format!("[{address}]").into(), port));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return None;
    }
    let is_small = host.bytes().all(|byte| !byte.is_ascii_uppercase());
    Some((if is_small { host.into() } else { host.to_ascii_lowercase().into() }, port))
}

fn note<'h>(before: &mut Option<Value<'h>>, value: &'h HeaderValue) {
    *before = Some(if before.is_none() { Value::Only(value) } else { Value::Repeated });
}

/// Whether some application could take a header for the one that it wants: to many, `Remote-User`, `remote_user` and `remote.user` are one
/// name.
fn looks_like(name: &str, wanted: &str) -> bool {
    let alike = |(a, b): (u8, u8)| a == b || (b == b'-' && !a.is_ascii_alphanumeric());
    name.len() == wanted.len() && name.bytes().zip(wanted.bytes()).all(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn read(dialect: Dialect, uri: &str, rows: &[(&str, &str)]) -> Result<String, Untold> {
        let uri = uri.parse().unwrap();
        let headers = headers(rows);
        let original = Original::read(dialect, &Method::GET, &uri, &Told::by(&headers))?;
        Ok(format!("{} {}", original.method, original.url()))
    }

    #[test]
    fn every_dialect_tells_the_same() {
        let told = "GET https://app.example/a%20b?c=//d";
        let forwarded = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "App.Example.:443"),
            ("x-forwarded-uri", "/a%20b?c=//d"),
        ];
        assert_eq!(read(Dialect::Forwarded, "/forward-auth", &forwarded).unwrap(), told);
        let original =
            [("x-original-method", "GET"), ("x-original-url", "https://app.example:443/a%20b?c=//d")];
        assert_eq!(read(Dialect::Nginx, "/forward-auth/nginx", &original).unwrap(), told);
        let own = [("host", "app.example"), ("x-forwarded-proto", "https")];
        assert_eq!(read(Dialect::Envoy, "/forward-auth/envoy/a%20b?c=//d", &own).unwrap(), told);
    }

    #[test]
    fn what_is_missing_doubled_or_told_twice_is_not_guessed() {
        let all = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "app.example"),
            ("x-forwarded-uri", "/"),
        ];
        let forwarded = |rows: &[(&str, &str)]| read(Dialect::Forwarded, "/forward-auth", rows).unwrap_err();
        for (at, (name, value)) in all.iter().enumerate() {
            let mut fewer = all.to_vec();
            fewer.remove(at);
            assert_eq!(forwarded(&fewer), Untold::Missing(name));
            let more: Vec<_> = all.iter().chain([&(*name, *value)]).copied().collect();
            assert_eq!(forwarded(&more), Untold::Repeated(name));
        }
        for name in ["x-original-url", "x-original-uri", "x-original-method", "x-rewrite-url"] {
            let more: Vec<_> = all.iter().chain([&(name, "/")]).copied().collect();
            assert_eq!(forwarded(&more), Untold::Contradicted(name));
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        for url in [
            "",
            "/a",
            "https:/app.example/",
            "https://app.example",
            "ftp://app.example/",
            "HTTPS://app.example/",
            "https:///a",
            "https://me@app.example/",
            "https://app..example/",
            "https://app.example..:1/",
            "https://app.example:/",
            "https://app.example:0/",
            "https://app.example:99999/",
            "https://app.example:+1/",
            "https://[::1/",
            "https://a b/",
            "https://app.example?x/",
            "https://app.example/a#b",
        ] {
            let rows = [("x-original-method", "GET"), ("x-original-url", url)];
            assert_eq!(
                read(Dialect::Nginx, "/forward-auth/nginx", &rows),
                Err(Untold::Unreadable("x-original-url")),
                "{url}"
            );
        }
    }

    #[test]
    fn a_host_is_as_long_as_the_names_of_the_net_are() {
        let name = |labels: usize| vec!["a"; labels].join(".");
        assert!(host_and_port(&name(127)).is_some());
        assert_eq!(host_and_port(&name(128)), None);
    }

    #[test]
    fn an_origin_is_one_requests_and_no_others() {
        let urls = [
            "https://a.example",
            "http://a.example",
            "https://a.example:8443",
            "https://aa.example",
            "https://[::1]:8443",
            "http://a.example:443",
            "https://a.example:80",
        ];
        for (one, url) in urls.iter().enumerate() {
            let original = Original::typed(Method::GET, url).unwrap();
            assert_eq!(original.origin(), *url);
            for (other, origin) in urls.iter().enumerate() {
                assert_eq!(original.has_origin(origin), one == other, "{url} {origin}");
            }
        }
    }

    #[test]
    fn only_the_paths_of_forward_auth_are_its_own() {
        let dialects = [Dialect::Forwarded, Dialect::Nginx, Dialect::Envoy].map(Some);
        assert_eq!(PATHS.map(Dialect::at), dialects);
        assert_eq!(Dialect::at("/forward-auth/envoy/"), Some(Dialect::Envoy));
        for other in ["/forward-auth/", "/forward-authx", "/forward-auth/envoy", "/forward-auth/envoyx/", "/"]
        {
            assert_eq!(Dialect::at(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_with_another_sign_is_alike() {
        for alike in ["remote-user", "remote_user", "remote.user", "remote~user"] {
            assert!(looks_like(alike, "remote-user"), "{alike}");
        }
        for other in ["remote-users", "remoteuser", "remotexuser"] {
            assert!(!looks_like(other, "remote-user"), "{other}");
        }
    }
}
