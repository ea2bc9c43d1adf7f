//! From where a session is used: the address, the network, and the browser and system in words.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The longest `User-Agent` that is kept, in bytes. The rest is cut off.
pub const USER_AGENT_BYTES: usize = 256;

/// What was seen of a client when it signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The `User-Agent` header (RFC 9110, section 10.1.5), cut to [`USER_AGENT_BYTES`]; empty if there was none.
    pub user_agent: String,
    /// The client's address.
    pub address: IpAddr,
}

impl Device {
    /// The device with this `User-Agent` and address. An IPv4-mapped IPv6 address is taken as the IPv4 address.
    #[must_use]
    pub fn new(user_agent: &str, address: IpAddr) -> Self {
        let mut end = user_agent.len().min(USER_AGENT_BYTES);
        while !user_agent.is_char_boundary(end) {
            end -= 1;
        }
        Self { user_agent: user_agent[..end].to_owned(), address: address.to_canonical() }
    }

    /// The part that a checker can compare with a later request.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { browser: Browser::of(&self.user_agent), network: Network::of(self.address) }
    }

    /// The browser and the system in words, as in "Firefox on Windows".
    #[must_use]
    pub fn in_words(&self) -> String {
        let browser = Browser::of(&self.user_agent);
        match (browser, system(&self.user_agent)) {
            (Browser::Unknown, None) => "Unknown device".to_owned(),
            (Browser::Unknown, Some(system)) => format!("Unknown browser on {system}"),
            (browser, None) => browser.to_string(),
            (browser, Some(system)) => format!("{browser} on {system}"),
        }
    }
}

/// The browser family and the network of a client: what a session can be bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The browser family.
    pub browser: Browser,
    /// The network.
    pub network: Network,
}

/// The network of an address: one IPv4 address, or the /64 of an IPv6 address (what one household or host gets).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network([u8; 8]);

impl Network {
    /// The network that `address` belongs to. An IPv4-mapped IPv6 address belongs to the IPv4 address's network.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // No IPv6 /64 that is routed anywhere begins with 32 zero bits.
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits()).to_be_bytes()),
            IpAddr::V6(v6) => Self(((v6.to_bits() >> 64) as u64).to_be_bytes()),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u64::from_be_bytes(self.0);
        match u32::try_from(bits) {
            Ok(v4) => Ipv4Addr::from_bits(v4).fmt(f),
            Err(_) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(bits) << 64)),
        }
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        match text.strip_suffix("/64") {
            Some(v6) => v6.parse().map(|v6| Self::of(IpAddr::V6(v6))),
            None => text.parse().map(|v4| Self::of(IpAddr::V4(v4))),
        }
        .map_err(|_| NoNetwork)
    }
}

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network: expected an IPv4 address, or the /64 of an IPv6 address, as in 2001:db8:1:2::/64")]
pub struct NoNetwork;

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A family of browsers, or of other programs that speak HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Browser {
    /// None that we can name.
    #[default]
    Unknown,
    /// Google Chrome, and Chromium.
    Chrome,
    /// Microsoft Edge.
    Edge,
    /// Mozilla Firefox.
    Firefox,
    /// Opera.
    Opera,
    /// Apple Safari.
    Safari,
    /// Samsung Internet.
    SamsungInternet,
    /// A program that names itself otherwise than browsers do, such as curl.
    Program,
}

impl Browser {
    /// The family that a `User-Agent` names. Families that imitate others are asked for first.
    #[must_use]
    pub fn of(user_agent: &str) -> Self {
        const MARKS: [(&str, Browser); 11] = [
            ("Edg/", Browser::Edge),
            ("EdgA/", Browser::Edge),
            ("EdgiOS/", Browser::Edge),
            ("OPR/", Browser::Opera),
            ("SamsungBrowser/", Browser::SamsungInternet),
            ("Firefox/", Browser::Firefox),
            ("FxiOS/", Browser::Firefox),
            ("CriOS/", Browser::Chrome),
            ("Chrome/", Browser::Chrome),
            ("Chromium/", Browser::Chrome),
            ("Safari/", Browser::Safari),
        ];
        match MARKS.iter().find(|(mark, _)| user_agent.contains(mark)) {
            Some((_, browser)) => *browser,
            None if user_agent.is_empty() || user_agent.starts_with("Mozilla/") => Self::Unknown,
            None => Self::Program,
        }
    }
}

impl fmt::Display for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown browser",
            Self::Chrome => "Chrome",
            Self::Edge => "Edge",
            Self::Firefox => "Firefox",
            Self::Opera => "Opera",
            Self::Safari => "Safari",
            Self::SamsungInternet => "Samsung Internet",
            Self::Program => "A program",
        })
    }
}

/// The operating system that a `User-Agent` names. Android says "Linux" too, and iPadOS "Macintosh" or "iPad".
fn system(user_agent: &str) -> Option<&'static str> {
    const MARKS: [(&str, &str); 7] = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Macintosh", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    MARKS.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, system)| *system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(user_agent: &str) -> String {
        Device::new(user_agent, IpAddr::V4(Ipv4Addr::LOCALHOST)).in_words()
    }

    #[test]
    fn browsers_and_systems_are_named() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
                "Chrome on Windows",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
                "Edge on Windows",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
                "Samsung Internet on Android",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
                "Safari on macOS",
            ),
            ("curl/8.5.0", "A program"),
            ("", "Unknown device"),
        ] {
            assert_eq!(words(user_agent), expected, "{user_agent}");
        }
    }

    #[test]
    fn a_long_user_agent_is_cut_between_characters() {
        let device = Device::new(&"é".repeat(300), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(device.user_agent.len(), USER_AGENT_BYTES);
        assert_eq!(Device::new(&format!("x{}", "é".repeat(300)), device.address).user_agent.len(), 255);
    }

    #[test]
    fn an_ipv6_network_is_its_64_bit_prefix_and_mapped_addresses_are_ipv4() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.7"), network("192.0.2.7"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
        assert_eq!(network("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
        assert_eq!(network("192.0.2.7").to_string(), "192.0.2.7");
        for written in ["2001:db8:1:2::/64", "192.0.2.7"] {
            assert_eq!(written.parse::<Network>().unwrap().to_string(), written);
        }
        for other in ["", "2001:db8:1:2::1", "192.0.2.7/64", "192.0.2.7/32"] {
            assert_eq!(other.parse::<Network>(), Err(NoNetwork), "{other}");
        }
    }
}
