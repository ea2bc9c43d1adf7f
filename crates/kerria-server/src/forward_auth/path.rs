//! Paths that every server reads alike, and the patterns of rules.

use std::{borrow::Cow, fmt};

/// Why servers may read a path in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// It has an empty segment, or one that ends with a dot or a space, as `..` does.
    Segments,
    /// It has a backslash, a semicolon, or another character that has to be escaped.
    Character,
    /// It has an escape that is wrong, or stands for something that must not or need not be escaped.
    Escape,
    /// Its escapes are no UTF-8.
    NotUtf8,
}

/// The path with its escapes resolved, if it can be read in one way only.
///
/// A rule decides on the path that was sent, the application on what its server makes of it; what one of them could make
/// something else of is refused here.
///
/// # Errors
/// What is ambiguous in it.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    let decoded = decoded(path)?;
    let mut segments = decoded.strip_prefix('/').ok_or(Ambiguous::Segments)?.split('/').peekable();
    while let Some(segment) = segments.next() {
        // Only the last one may be empty: then the path ends with a slash.
        let is_empty_within = segment.is_empty() && segments.peek().is_some();
        // Some file systems drop dots and spaces at the end of a name.
        if is_empty_within || segment.ends_with(['.', ' ']) {
            return Err(Ambiguous::Segments);
        }
    }
    Ok(decoded)
}

fn decoded(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if path.bytes().all(stands_for_itself) {
        return Ok(Cow::Borrowed(path));
    }
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(Ambiguous::Escape) };
                let byte = (high * 16 + low) as u8;
                if byte.is_ascii_control() || is_plain(byte) || b"/\\;%?#".contains(&byte) {
                    return Err(Ambiguous::Escape);
                }
                decoded.push(byte);
            }
            _ if stands_for_itself(byte) => decoded.push(byte),
            _ => return Err(Ambiguous::Character),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Ambiguous::NotUtf8)
}

/// What may stand in a path as it is, with the one meaning that it has (RFC 3986, section 3.3), and what parts a path.
fn stands_for_itself(byte: u8) -> bool {
    is_plain(byte) || b"/!$&'()*+,=:@".contains(&byte)
}

/// What never needs an escape (RFC 3986, section 2.3).
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

impl Ambiguous {
    /// The end of a sentence about the path.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Segments => "has an empty segment, or one that ends with a dot or a space",
            Self::Character => "has a character in it that has to be escaped, or a semicolon or a backslash",
            Self::Escape => {
                "has an escape that is wrong, or of something that must not or need not be escaped"
            }
            Self::NotUtf8 => "has escapes that are no UTF-8",
        }
    }
}

/// The path in small letters. Those that have a large letter in common, as `ſ` has with `s`, are one. Most paths have no others.
pub fn in_small_letters(path: &str) -> Cow<'_, str> {
    let is_small = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if path.bytes().all(is_small) {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(path.to_uppercase().to_lowercase())
    }
}

/// Which paths a rule is about: one, or all below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// Its escapes are resolved, and it has no slash at the end.
    path: String,
    /// The same in small letters.
    small: String,
    /// Whether it is about everything below the path, too.
    and_below: bool,
}

impl PathPattern {
    /// Reads a pattern: `/reports` for one path, `/reports/*` for it and everything below it. A slash at the end counts for
    /// neither.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (path, and_below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains('*') {
            return Err(format!(
                "\"{text}\": a star stands at the end only, after a slash, as in /reports/*"
            ));
        }
        let with_root = if path.is_empty() && and_below { "/" } else { path };
        if !with_root.starts_with('/') {
            return Err(format!("\"{text}\" does not begin with a slash: write /reports or /reports/*"));
        }
        let path = canonical(with_root)
            .map_err(|why| format!("\"{text}\" {}: write the path as a browser sends it", why.words()))?;
        let path = path.strip_suffix('/').unwrap_or(&path).to_owned();
        Ok(Self { small: in_small_letters(&path).into_owned(), path, and_below })
    }

    /// Whether it is about this path, whose escapes are resolved.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        covers(&self.path, self.and_below, path)
    }

    /// The same of a path in small letters, for applications to which `/Admin` is `/admin`.
    #[must_use]
    pub fn covers_small(&self, small: &str) -> bool {
        covers(&self.small, self.and_below, small)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.and_below) {
            ("", false) => f.write_str("/"),
            (path, false) => f.write_str(path),
            (path, true) => write!(f, "{path}/*"),
        }
    }
}

fn covers(pattern: &str, and_below: bool, path: &str) -> bool {
    match path.strip_prefix(pattern) {
        Some("" | "/") => true,
        Some(rest) => and_below && rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_reads_one_way_is_resolved() {
        for (path, resolved) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/a%20b", "/a b"),
            ("/gr%C3%B6%c3%9fe", "/größe"),
            ("/~me/@x:y,z=(1)!", "/~me/@x:y,z=(1)!"),
            ("/...a", "/...a"),
            ("/a.b/.well-known", "/a.b/.well-known"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(resolved), "{path}");
        }
    }

    #[test]
    fn a_path_that_may_read_otherwise_is_refused() {
        use Ambiguous::{Character, Escape, NotUtf8, Segments};
        for (path, why) in [
            ("", Segments),
            ("admin", Segments),
            ("//admin", Segments),
            ("/public//admin", Segments),
            ("/./admin", Segments),
            ("/public/../admin", Segments),
            ("/public/..", Segments),
            ("/public/.", Segments),
            ("/public\\..\\admin", Character),
            ("/public;/../admin", Character),
            ("/admin;x=1", Character),
            ("/a b", Character),
            ("/größe", Character),
            ("/a\u{0}b", Character),
            ("/a\tb", Character),
            ("/public/%2e%2e/admin", Escape),
            ("/public/%2E./admin", Escape),
            ("/public%2fadmin", Escape),
            ("/public%5cadmin", Escape),
            ("/public%3bx", Escape),
            ("/%61dmin", Escape),
            ("/%2561dmin", Escape),
            ("/a%00", Escape),
            ("/a%0d%0a", Escape),
            ("/a%7f", Escape),
            ("/a%3f", Escape),
            ("/a%23", Escape),
            ("/a%", Escape),
            ("/a%2", Escape),
            ("/a%zz", Escape),
            ("/a%u0061", Escape),
            ("/%c0%af", NotUtf8),
            ("/%ff", NotUtf8),
        ] {
            assert_eq!(canonical(path), Err(why), "{path:?}");
        }
        for character in "\"#<>?[\\]^`{|}".chars() {
            assert_eq!(canonical(&format!("/a{character}")), Err(Character), "{character}");
        }
    }

    #[test]
    fn a_pattern_covers_a_path_or_all_below_it() {
        let covers = |pattern: &str, path: &str| PathPattern::parse(pattern).unwrap().covers(path);
        for path in ["/admin", "/admin/", "/admin/users", "/admin/users/"] {
            assert!(covers("/admin/*", path), "{path}");
            assert!(covers("/*", path), "{path}");
        }
        assert!(covers("/admin", "/admin") && covers("/admin", "/admin/") && covers("/admin/", "/admin"));
        assert!(covers("/", "/") && covers("/*", "/") && covers("/gr%C3%B6%C3%9Fe/*", "/größe/x"));
        for path in ["/admin/users", "/administrator", "/Admin", "/", "/x/admin"] {
            assert!(!covers("/admin", path), "{path}");
        }
        assert!(!covers("/admin/*", "/administrator") && !covers("/", "/a"));
        assert!(PathPattern::parse("/Admin/*").unwrap().covers_small("/admin/x"));
    }

    #[test]
    fn a_wrong_pattern_is_told() {
        for (pattern, told) in [
            ("admin", "\"admin\" does not begin with a slash: write /reports or /reports/*"),
            ("", "\"\" does not begin with a slash: write /reports or /reports/*"),
            ("/a*", "\"/a*\": a star stands at the end only, after a slash, as in /reports/*"),
            ("/*/a", "\"/*/a\": a star stands at the end only, after a slash, as in /reports/*"),
            (
                "/a/../b",
                "\"/a/../b\" has an empty segment, or one that ends with a dot or a space: write the path as a browser sends it",
            ),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap_err(), told);
        }
    }
}
