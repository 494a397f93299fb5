//! Volumes as the fleet lists them, and the rules under which clients may mount them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{LossCount, VolumeId};

/// One volume in the fleet's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Its number.
    pub id: VolumeId,
    /// Its name; clients mount `/<name>`.
    pub name: String,
    /// Who may mount it; the first rule that matches decides, and without one nobody may.
    pub exports: Vec<ExportRule>,
    /// How often unstable data may have been lost.
    pub loss_count: LossCount,
    /// What its root directory is born with.
    pub root: RootDirectory,
}

/// Owner and mode of a new volume's root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDirectory {
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Mode bits.
    pub mode: u32,
}

impl Default for RootDirectory {
    fn default() -> Self {
        Self { uid: 0, gid: 0, mode: 0o755 }
    }
}

/// The most rules one volume can have.
pub const EXPORT_RULES_MAX: usize = 256;
/// The longest name of a volume, in bytes: it is a path component and stands in log lines.
pub const VOLUME_NAME_BYTES_MAX: usize = 64;

/// Whether `name` can name a volume: letters, digits, `-`, `_` and `.`, not starting with `.`.
pub fn is_volume_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= VOLUME_NAME_BYTES_MAX
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

/// One rule: which clients, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRule {
    /// Whom it is for.
    pub client: ClientPattern,
    /// What they may do.
    pub access: ExportAccess,
    /// Whose requests run as the anonymous user.
    pub squash: Squash,
    /// The anonymous user.
    pub anonuid: u32,
    /// The anonymous group.
    pub anongid: u32,
    /// Whether requests from source ports of 1024 and above are taken.
    pub insecure: bool,
    /// Whether a user's groups are looked up here instead of taken from the request.
    pub manage_gids: bool,
}

/// The user and group that nobody is (Linux: `nobody`, `nogroup`).
pub const ANONYMOUS_ID: u32 = 65534;

impl ExportRule {
    /// The closed default for `client`: read and write, root squashed, privileged ports only.
    pub fn for_client(client: ClientPattern) -> Self {
        Self {
            client,
            access: ExportAccess::ReadWrite,
            squash: Squash::Root,
            anonuid: ANONYMOUS_ID,
            anongid: ANONYMOUS_ID,
            insecure: false,
            manage_gids: false,
        }
    }
}

/// What a rule lets its clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportAccess {
    /// Read and change.
    #[serde(rename = "rw")]
    ReadWrite,
    /// Read only.
    #[serde(rename = "ro")]
    ReadOnly,
}

/// Whose requests run as the anonymous user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Squash {
    /// The superuser's.
    Root,
    /// Everybody's.
    All,
    /// Nobody's.
    None,
}

/// The clients a rule is for: everybody, one address, or a network in CIDR notation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientPattern {
    /// `*`
    Everybody,
    /// An address and the number of its leading bits that count.
    Network {
        /// The address; bits beyond `prefix` are zero.
        address: IpAddr,
        /// Leading bits that count.
        prefix: u8,
    },
}

/// Why a text names no clients.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} names no clients: write an address (10.0.0.5), a network (10.0.0.0/24) or *")]
pub struct BadClientPattern(String);

impl ClientPattern {
    /// Whether `client` is one of them. An IPv4 address that came in over IPv6 counts as IPv4.
    pub fn matches(&self, client: IpAddr) -> bool {
        match (self, client.to_canonical()) {
            (Self::Everybody, _) => true,
            (Self::Network { address: IpAddr::V4(net), prefix }, IpAddr::V4(client)) => {
                masked(net.to_bits().into(), 32, *prefix)
                    == masked(client.to_bits().into(), 32, *prefix)
            }
            (Self::Network { address: IpAddr::V6(net), prefix }, IpAddr::V6(client)) => {
                masked(net.to_bits(), 128, *prefix) == masked(client.to_bits(), 128, *prefix)
            }
            (Self::Network { .. }, _) => false,
        }
    }
}

/// The leading `prefix` of `width` bits.
fn masked(bits: u128, width: u32, prefix: u8) -> u128 {
    bits.checked_shr(width - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for ClientPattern {
    type Err = BadClientPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadClientPattern(text.to_owned());
        if text == "*" {
            return Ok(Self::Everybody);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|p| *p <= width).ok_or_else(bad)?,
            None => width,
        };
        let pattern = Self::Network { address, prefix };
        // `10.0.0.5/24` is more likely a mistake than a network.
        if pattern.to_string() != text && !text.contains(':') && text.contains('/') {
            return Err(bad());
        }
        let host_bits = match address {
            IpAddr::V4(v4) => {
                masked(u128::from(v4.to_bits()), 32, prefix) << (32 - prefix)
                    != u128::from(v4.to_bits())
            }
            IpAddr::V6(v6) => {
                let shift = 128 - u32::from(prefix);
                masked(v6.to_bits(), 128, prefix).checked_shl(shift).unwrap_or(0) != v6.to_bits()
            }
        };
        if host_bits { Err(bad()) } else { Ok(pattern) }
    }
}

impl fmt::Display for ClientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::Network { address, prefix } => {
                let width = if address.is_ipv4() { 32 } else { 128 };
                if *prefix == width {
                    write!(f, "{address}")
                } else {
                    write!(f, "{address}/{prefix}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
