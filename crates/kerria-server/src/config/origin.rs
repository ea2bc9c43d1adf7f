//! Origins: scheme, host and port of an address (RFC 6454).

use url::{Host, Url};

/// Reads an origin: `https://sign-in.example.com`, with a port if it is not the scheme's own.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let url = Url::parse(text).map_err(|why| match why {
        url::ParseError::RelativeUrlWithoutBase => {
            format!("\"{text}\" has no scheme: write it in full, such as https://sign-in.example.com")
        }
        _ => format!("\"{text}\" is not an address ({why}): write one such as https://sign-in.example.com"),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("\"{text}\" must begin with https:// (or http:// for trying out)"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user name or a password in it: leave only scheme, host and port".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        let origin = url.origin().ascii_serialization();
        return Err(format!("\"{text}\" has more than scheme, host and port: write {origin}"));
    }
    Ok(url)
}

/// What is wrong with an IPv6 address as the target of a form: browsers take none in the policy of a page, and block the way there.
pub(crate) const NO_WAY_BACK: &str =
    "is an IPv6 address, and from our pages browsers lead nobody back to one: give it a name";

/// Reads an origin to which a form of ours may lead.
pub(super) fn parse_target(text: &str) -> Result<Url, String> {
    let url = parse(text)?;
    match url.host() {
        Some(Host::Ipv6(_)) => Err(format!("\"{text}\" {NO_WAY_BACK}")),
        _ => Ok(url),
    }
}

/// Whether only this machine gets there: `localhost`, a name under it (RFC 6761, section 6.3), 127.0.0.0/8 or ::1.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, origin) in [
            ("http://localhost:8080", "http://localhost:8080"),
            ("https://Sign-In.example.com:443/", "https://sign-in.example.com"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(parse(text).unwrap().origin().ascii_serialization(), origin);
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_to_write() {
        for (text, message) in [
            (
                "example.com",
                "\"example.com\" has no scheme: write it in full, such as https://sign-in.example.com",
            ),
            (
                "ftp://example.com",
                "\"ftp://example.com\" must begin with https:// (or http:// for trying out)",
            ),
            (
                "https://example.com/login",
                "\"https://example.com/login\" has more than scheme, host and port: write https://example.com",
            ),
            (
                "https://example.com:444?a",
                "\"https://example.com:444?a\" has more than scheme, host and port: write https://example.com:444",
            ),
            (
                "https://me:secret@example.com",
                "it has a user name or a password in it: leave only scheme, host and port",
            ),
            (
                "https://",
                "\"https://\" is not an address (empty host): write one such as https://sign-in.example.com",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), message);
        }
    }

    #[test]
    fn a_form_leads_to_every_origin_that_has_a_name() {
        assert!(parse_target("http://127.0.0.1:8000").is_ok() && parse_target("https://app.example").is_ok());
        assert_eq!(
            parse_target("http://[::1]:8000").unwrap_err(),
            "\"http://[::1]:8000\" is an IPv6 address, and from our pages browsers lead nobody back to one: give it a name"
        );
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        for near in ["http://localhost", "http://a.localhost:1", "http://127.8.9.1", "http://[::1]:8080"] {
            assert!(is_loopback(&parse(near).unwrap()), "{near}");
        }
        for far in
            ["http://localhost.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1", "http://[::]"]
        {
            assert!(!is_loopback(&parse(far).unwrap()), "{far}");
        }
    }
}
