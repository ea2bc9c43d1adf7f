//! Where to go after signing in: only to our own pages, or to origins that an operator has named.

use url::Url;

/// Where to go if nothing else is allowed.
pub const HOME: &str = "/sessions";

/// The target that `wanted` names, if it is one of ours, and [`HOME`] otherwise. Whatever is ambiguous is not ours.
///
/// A path comes back as a path; a URL on a configured origin comes back whole.
pub fn return_to(wanted: Option<&str>, public_url: &Url, others: &[Url]) -> String {
    let Some(wanted) = wanted.filter(|wanted| is_plain(wanted)) else { return HOME.to_owned() };
    let is_path = wanted.starts_with('/') && !wanted.starts_with("//");
    if is_path {
        return match public_url.join(wanted) {
            Ok(url) if url.origin() == public_url.origin() => path_and_query(&url),
            _ => HOME.to_owned(),
        };
    }
    match Url::parse(wanted) {
        Ok(url) if !has_authority(wanted, &url) => HOME.to_owned(),
        Ok(url) if url.origin() == public_url.origin() => path_and_query(&url),
        Ok(url) if others.iter().any(|other| other.origin() == url.origin()) => url.into(),
        _ => HOME.to_owned(),
    }
}

/// Nothing in it that browsers, proxies and URL parsers read in different ways.
pub fn is_plain(text: &str) -> bool {
    text.len() <= 2_048 && text.bytes().all(is_plain_byte)
}

/// The same of one byte.
pub fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\\<>\"^`{|}".contains(&byte)
}

/// It is written as `scheme://host…`, without a user name or password.
fn has_authority(text: &str, url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && text.get(..url.scheme().len() + 3) == Some(&format!("{}://", url.scheme()))
        && !text[url.scheme().len() + 3..].starts_with('/')
        && url.username().is_empty()
        && url.password().is_none()
        && !text.split('/').nth(2).unwrap_or_default().contains('@')
}

/// The path cannot begin with two slashes, or a browser would take it for a host.
fn path_and_query(url: &Url) -> String {
    let path = url.path().trim_start_matches('/');
    match url.query() {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(wanted: &str) -> String {
        let public = Url::parse("https://id.example").unwrap();
        let others = [Url::parse("https://app.example:8443").unwrap()];
        return_to(Some(wanted), &public, &others)
    }

    #[test]
    fn our_own_pages_are_allowed() {
        assert_eq!(target("/account"), "/account");
        assert_eq!(target("/account?tab=1&x=%2F%2Fe"), "/account?tab=1&x=%2F%2Fe");
        assert_eq!(target("https://id.example/account"), "/account");
        assert_eq!(target("/a/../account"), "/account");
    }

    #[test]
    fn configured_origins_are_allowed_and_their_neighbours_are_not() {
        assert_eq!(target("https://app.example:8443/in?x=1"), "https://app.example:8443/in?x=1");
        for other in ["https://app.example/", "http://app.example:8443/", "https://x.app.example:8443/"] {
            assert_eq!(target(other), HOME, "{other}");
        }
    }

    #[test]
    fn everything_else_goes_home() {
        for bad in [
            "",
            " ",
            "account",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "http://evil.example",
            "https://id.example@evil.example",
            "https://user:pw@id.example/",
            "https://@id.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "/a\r\nSet-Cookie: x=1",
            "/a\nb",
            "/a b",
            "/\u{2028}",
            "https://id.example.evil.example",
            "HTTPS://evil.example",
            "https://id.example:444/",
            "/%0d%0a\r",
            &format!("/{}", "a".repeat(3_000)),
        ] {
            assert_eq!(target(bad), HOME, "{bad:?}");
        }
    }

    #[test]
    fn a_path_never_becomes_a_host() {
        for sly in ["/..//evil.example", "/.//evil.example", "/a/..//evil.example", "/%2e%2e//evil.example"] {
            let target = target(sly);
            assert!(!target.starts_with("//"), "{sly} became {target}");
        }
    }
}
