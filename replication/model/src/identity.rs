//! Who asks, and how one asking is told from another.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Whom a request acts for, after the export's squash: what permission is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub gids: Box<[u32]>,
}

impl Identity {
    /// The superuser.
    pub fn root() -> Self {
        Self { uid: 0, gid: 0, gids: Box::new([]) }
    }

    /// Whether permission bits do not bind it.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether it is in group `gid`.
    pub fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.gids.contains(&gid)
    }
}

/// A client machine: its address without the port, IPv4 mapped into IPv6.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
pub struct ClientAddress([u8; 16]);

impl ClientAddress {
    /// From raw bytes of a record.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The raw bytes, for records.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

/// What makes two calls the same call, sent twice: the client, and a digest over transaction id,
/// procedure, length and first 256 bytes of the arguments, uid and gids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestKey {
    /// Who sent it.
    pub client: ClientAddress,
    /// Digest of all the rest.
    pub digest: u128,
}
