//! Who is asking: the client's address, through trusted proxies, and its device.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use ipnet::IpNet;
use kerria::ClientAddress;
use kerria_core::Device;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who has opened a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is a proxy that is believed.
    pub is_trusted: bool,
}

impl Peer {
    /// Whoever is at this address.
    #[must_use]
    pub fn at(address: IpAddr, trusted: &[IpNet]) -> Self {
        let address = address.to_canonical();
        Self { address, is_trusted: is_trusted(address, trusted) }
    }
}

/// The address of the client that sent a request over a connection from `peer`.
///
/// `X-Forwarded-For` is believed only if it was written by a trusted proxy: from the right, the first address that is
/// not a trusted proxy's is the client's. What cannot be read ends the search; the last address that could be is taken.
pub fn client_address(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer.address;
    if !peer.is_trusted {
        return address;
    }
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        let Some(next) = std::str::from_utf8(hop).ok().and_then(|hop| hop.trim().parse::<IpAddr>().ok())
        else {
            return address;
        };
        address = next.to_canonical();
        if !is_trusted(address, trusted) {
            return address;
        }
    }
    address
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// The device that a request comes from.
pub struct From(pub Device);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let address =
            parts.extensions.get::<ClientAddress>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.0);
        let user_agent =
            parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
        Ok(Self(Device::new(user_agent, address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8:ffff::/48".parse().unwrap()];
        client_address(Peer::at(peer.parse().unwrap(), &trusted), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(address("192.0.2.1", &["198.51.100.9"]), "192.0.2.1");
        assert_eq!(address("10.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        assert_eq!(address("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", &["198.51.100.9"]), "198.51.100.9");
    }

    #[test]
    fn what_a_client_put_in_front_is_not_believed() {
        assert_eq!(address("10.0.0.1", &["203.0.113.66, 198.51.100.9"]), "198.51.100.9");
        assert_eq!(address("10.0.0.1", &["203.0.113.66", "198.51.100.9, 10.0.0.2"]), "198.51.100.9");
        assert_eq!(address("10.0.0.1", &["203.0.113.66, 10.0.0.3"]), "203.0.113.66");
    }

    #[test]
    fn what_cannot_be_read_falls_back_to_what_could() {
        assert_eq!(address("10.0.0.1", &["garbage"]), "10.0.0.1");
        assert_eq!(address("10.0.0.1", &["203.0.113.66, garbage, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(address("10.0.0.1", &[""]), "10.0.0.1");
        assert_eq!(address("10.0.0.1", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn without_trusted_proxies_the_header_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "198.51.100.9".parse().unwrap());
        let peer = "127.0.0.1".parse().unwrap();
        assert_eq!(client_address(Peer::at(peer, &[]), &headers, &[]), peer);
    }
}
