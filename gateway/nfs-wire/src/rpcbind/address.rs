//! Network identifiers and universal addresses (RFC 5665): how rpcbind writes a transport and an
//! address as text: `tcp` and `192.0.2.1.8.1` for port 2049.

use std::net::{IpAddr, SocketAddr};

use super::{IPPROTO_TCP, IPPROTO_UDP};

/// A transport that rpcbind has a name for and that we listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Netid {
    /// TCP over IPv4.
    Tcp,
    /// UDP over IPv4.
    Udp,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv6.
    Udp6,
}

impl Netid {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Tcp6, Self::Udp6];

    /// `None` for any other transport.
    pub fn parse(netid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word().as_bytes() == netid)
    }

    /// As rpcbind writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Tcp6 => "tcp6",
            Self::Udp6 => "udp6",
        }
    }

    /// The protocol family of an [`RpcbEntry`](super::RpcbEntry).
    pub const fn family(self) -> &'static str {
        match self {
            Self::Tcp | Self::Udp => "inet",
            Self::Tcp6 | Self::Udp6 => "inet6",
        }
    }

    /// The protocol of an [`RpcbEntry`](super::RpcbEntry).
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::Tcp | Self::Tcp6 => "tcp",
            Self::Udp | Self::Udp6 => "udp",
        }
    }

    /// The protocol of a [`Mapping`](super::Mapping), which has no word for IPv6.
    pub const fn protocol(self) -> u32 {
        match self {
            Self::Tcp | Self::Tcp6 => IPPROTO_TCP,
            Self::Udp | Self::Udp6 => IPPROTO_UDP,
        }
    }

    /// The semantics of an [`RpcbEntry`](super::RpcbEntry): connectionless, or connected with an
    /// orderly end (`NC_TPI_CLTS`, `NC_TPI_COTS_ORD`).
    pub const fn semantics(self) -> u32 {
        match self {
            Self::Udp | Self::Udp6 => 1,
            Self::Tcp | Self::Tcp6 => 3,
        }
    }
}

/// Writes an address as text: the IP address, then the two bytes of the port in decimal. A scope
/// of IPv6 has no place in it.
pub fn universal_address(address: SocketAddr) -> String {
    let [high, low] = address.port().to_be_bytes();
    format!("{}.{high}.{low}", address.ip())
}

/// Reads it back; `None` if it is none of IPv4 or IPv6.
pub fn parse_universal_address(address: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(address).ok()?;
    let (rest, low) = text.rsplit_once('.')?;
    let (ip, high) = rest.rsplit_once('.')?;
    let port = u16::from_be_bytes([parse_byte(high)?, parse_byte(low)?]);
    let ip: IpAddr = ip.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// Digits only: the standard parser would take a sign too.
fn parse_byte(digits: &str) -> Option<u8> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
