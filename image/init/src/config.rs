//! `holdfast.toml`: what an operator says to the image, every key, its default, and what is wrong
//! with what was written.
//!
//! Invariant: a [`Config`] holds only values that can be used as they are, on a command line, in a
//! file of another program or in a mount option; everything was read and checked here once.
//!
//! Absent on purpose: where the file comes from; what `[appliance]` means, which `holdfast
//! check-config` knows.

mod appliance;
mod raw;

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

pub use self::appliance::{Appliance, Image, admin_socket};

/// All that an operator says, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What people call the appliance; its host name.
    pub name: String,
    /// How it gets an address.
    pub network: Network,
    /// What its data is kept on.
    pub disk: Disks,
    /// Who tells it the time: names or addresses of NTP servers.
    pub time_servers: Vec<String>,
    /// Who else hears what it says.
    pub syslog: Option<SyslogTarget>,
    /// Who may log in; none is nobody.
    pub authorized_keys: Vec<String>,
    /// The minisign key of images, in its printed form; none refuses updates.
    pub public_key: Option<String>,
    /// Since the kernel's start, for an image that has not proved itself.
    pub healthy_within: Duration,
    /// How long the appliance may take to stop.
    pub stop_within: Duration,
    /// The appliance's own configuration, passed on.
    pub appliance: toml::Table,
}

/// How the appliance gets an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// On which interface.
    pub interface: Which,
    /// Which address; none is what DHCP gives.
    pub address: Option<Subnet>,
    /// The default router; none is what DHCP says.
    pub gateway: Option<IpAddr>,
    /// Name servers; none are what DHCP says.
    pub dns: Vec<IpAddr>,
    /// Bytes of the largest packet; none is what DHCP says, or the interface's own.
    pub mtu: Option<u16>,
}

/// Which interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The first that has a link.
    #[default]
    FirstWithLink,
    /// The one of this name.
    Name(String),
    /// The one with this hardware address, in lower case with colons.
    Mac(String),
}

/// An address with its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The address.
    pub address: IpAddr,
    /// How many of its first bits are the subnet's.
    pub prefix: u8,
}

/// What the data is kept on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disks {
    /// The disks to take; empty is the only empty one (two for [`Profile::Raid1`]).
    pub devices: Vec<DiskName>,
    /// How a new file system keeps its data.
    pub profile: Profile,
}

/// What an operator calls a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskName {
    /// The kernel's name, such as `/dev/vda`.
    Path(String),
    /// Its serial number.
    Serial(String),
}

/// How a new file system keeps its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Once, on one disk.
    #[default]
    Single,
    /// Twice, on two disks.
    Raid1,
}

impl Profile {
    /// How many disks a new file system is made of.
    pub fn disks(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Raid1 => 2,
        }
    }

    /// What it is called in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Raid1 => "raid1",
        }
    }
}

/// Who hears the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogTarget {
    /// How it is told.
    pub transport: Transport,
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How a log is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram a message (RFC 5426).
    Udp,
    /// Counted octets (RFC 6587 section 3.4.1).
    Tcp,
}

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadConfig {
    /// It is larger than a configuration is.
    #[error("it has more than {CONFIG_BYTES_MAX} bytes: this is no configuration")]
    TooLong,
    /// It is no text.
    #[error("it is no UTF-8 text: save it as plain text")]
    NoText,
    /// It is no TOML, or has keys or types that do not belong there.
    #[error("line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value can't be used.
    #[error("`{key}`: {reason}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a whole file.
    ///
    /// # Errors
    /// [`BadConfig`] says where it is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadConfig> {
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(BadConfig::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadConfig::NoText)?;
        let raw: raw::File = toml::from_str(text).map_err(|fault| {
            let at = fault.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.as_bytes().get(..at).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            BadConfig::Syntax { line, message: fault.message().to_owned() }
        })?;
        raw.check()
    }
}

impl std::str::FromStr for Subnet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or("the prefix is missing")?;
        let address: IpAddr = address.parse().map_err(|_| "the address is none")?;
        let plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let bits = if address.is_ipv4() { 32 } else { 128 };
        match prefix.parse() {
            Ok(prefix) if plain && (1..=bits).contains(&prefix) && is_host(address) => {
                Ok(Self { address, prefix })
            }
            Ok(_) if !is_host(address) => Err("no machine can have this address"),
            _ => Err("the prefix is not within the address"),
        }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Subnet {
    /// Whether `other` is reached without a router.
    pub fn contains(self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differs = ours.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differs = ours.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// Whether a machine can have this address, and others can reach it there.
pub fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

/// Whether this names an interface on a command line and in a path (Linux: 15 bytes).
pub fn is_interface_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=15).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['-', '.'])
}

/// Whether this is a host's name or address, and nothing that a program would read otherwise.
pub fn is_host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let named =
        (1..=253).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['-', '.']);
    named || name.parse::<IpAddr>().is_ok()
}

/// Largest that is still a configuration.
pub const CONFIG_BYTES_MAX: usize = 64 << 10;
/// An Ethernet packet that every IPv6 link takes (RFC 8200 section 5), and the largest jumbo one.
pub const MTU: std::ops::RangeInclusive<u16> = 1280..=9216;

#[cfg(test)]
mod tests;
