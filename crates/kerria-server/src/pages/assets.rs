//! The style sheet, the script and the mark, embedded. Their addresses change with their content, so that a browser
//! may keep them for ever.

/// The style sheet of every page.
pub static STYLE: Asset =
    Asset::new("kerria.css", "text/css; charset=utf-8", include_bytes!("../../assets/kerria.css"));

/// The script of signed-in pages: an open tab notices that its session has ended.
pub static SCRIPT: Asset =
    Asset::new("kerria.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/kerria.js"));

/// The flower: the icon of the site, and the mark on the pages.
pub static MARK: Asset =
    Asset::new("favicon.svg", "image/svg+xml", include_bytes!("../../assets/favicon.svg"));

/// The asset that is served as `/assets/{name}`.
#[must_use]
pub fn asset(name: &str) -> Option<&'static Asset> {
    [&STYLE, &SCRIPT, &MARK].into_iter().find(|asset| asset.name == name)
}

/// A file that the pages refer to.
#[derive(Debug)]
pub struct Asset {
    /// The name in its address.
    pub name: &'static str,
    /// The `Content-Type` to serve it with. It wants `X-Content-Type-Options: nosniff` beside it.
    pub content_type: &'static str,
    /// The content.
    pub bytes: &'static [u8],
    version: u64,
}

impl Asset {
    const fn new(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, content_type, bytes, version: fnv1a(bytes) }
    }

    /// The address that pages use. It names the content, so what it answers with never changes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("/assets/{}?v={:016x}", self.name, self.version)
    }

    /// The `ETag` (RFC 9110, section 8.8.3), quotes included.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{:016x}\"", self.version)
    }
}

/// The FNV-1a hash of `bytes`. It tells versions of a file apart and protects nothing.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_is_found_by_its_name_and_no_other() {
        for expected in [&STYLE, &SCRIPT, &MARK] {
            let found = asset(expected.name).unwrap();
            assert_eq!(found.bytes, expected.bytes);
            assert!(found.url().starts_with(&format!("/assets/{}?v=", expected.name)));
        }
        for other in ["", "kerria", "KERRIA.CSS", "../kerria.css", "kerria.css?v=1", "assets.rs"] {
            assert!(asset(other).is_none(), "{other}");
        }
    }

    #[test]
    fn an_address_changes_with_the_content() {
        let (one, other) = (Asset::new("a", "", b"one"), Asset::new("a", "", b"other"));
        assert_ne!(one.url(), other.url());
        assert_ne!(one.etag(), other.etag());
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn nothing_comes_from_another_host() {
        for asset in [&STYLE, &SCRIPT, &MARK] {
            let text = std::str::from_utf8(asset.bytes).unwrap().replace("http://www.w3.org/2000/svg", "");
            for address in ["http:", "https:", "url(//", "@import"] {
                assert!(!text.contains(address), "{address} in {}", asset.name);
            }
        }
    }
}
