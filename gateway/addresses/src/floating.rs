//! What a floating address is: an address, its subnet, and the interface that it is held on.
//!
//! Invariant: an [`InterfaceName`] is one that the kernel could give, and safe as one step of a
//! path. Absent on purpose: whether the interface is there.

use std::fmt::{Display, Formatter, Result as FmtResult};
use std::net::{IpAddr, Ipv4Addr};
use std::num::ParseIntError;
use std::str::FromStr;

/// An address that moves between appliances, as one of them would hold it.
///
/// Several may be in one subnet, and in that of an address that stays: for IPv4 the kernel then
/// calls it a secondary address, which makes no difference to clients. Where *no* address of the
/// subnet stays, see [`Addresses::prepare`](crate::Addresses::prepare).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Floating {
    address: IpAddr,
    prefix: u8,
    interface: InterfaceName,
}

impl Floating {
    /// The address `address` in a subnet of `prefix` bits, held on `interface`.
    ///
    /// # Errors
    /// No appliance could hold that, or no client reach it; the configuration is to be corrected.
    pub fn new(address: IpAddr, prefix: u8, interface: InterfaceName) -> Result<Self, BadFloating> {
        let most = match address {
            IpAddr::V4(_) => u32::BITS,
            IpAddr::V6(_) => u128::BITS,
        };
        if !is_fit(address) {
            return Err(BadFloating::Unfit { address });
        }
        if prefix == 0 || u32::from(prefix) > most {
            return Err(BadFloating::Prefix { address, prefix, most });
        }
        Ok(Self { address, prefix, interface })
    }

    /// Reads `10.0.0.9/24` or `fd00::9/64`.
    ///
    /// # Errors
    /// It is not of that form, or [`Floating::new`] refuses it.
    pub fn parse(given: &str, interface: InterfaceName) -> Result<Self, BadFloating> {
        let Some((address, prefix)) = given.split_once('/') else {
            return Err(BadFloating::NoPrefix { given: given.to_owned() });
        };
        let address =
            address.parse().map_err(|_| BadFloating::NoAddress { given: address.to_owned() })?;
        let prefix = prefix
            .parse()
            .map_err(|source| BadFloating::NoNumber { given: prefix.to_owned(), source })?;
        Self::new(address, prefix, interface)
    }

    /// The address itself.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits of the address name its subnet.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Where it is held.
    pub fn interface(&self) -> &InterfaceName {
        &self.interface
    }
}

impl Display for Floating {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "{}/{} on {}", self.address, self.prefix, self.interface)
    }
}

/// The name of a network interface, such as `eth0`.
///
/// What the kernel takes (`dev_valid_name` in `net/core/dev.c`), and UTF-8: 1 to 15 bytes, none
/// of them `/`, `:` or white space, and neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = BadInterfaceName;

    fn from_str(given: &str) -> Result<Self, BadInterfaceName> {
        if given.is_empty() || given.len() > INTERFACE_NAME_BYTES_MAX {
            return Err(BadInterfaceName::Length { bytes: given.len() });
        }
        // `isspace` of the kernel, by bytes: it also counts the vertical tab.
        let forbidden = |c: char| matches!(c, '/' | ':' | '\x0b') || c.is_whitespace();
        match given.chars().find(|c| forbidden(*c)) {
            Some(character) => {
                Err(BadInterfaceName::Character { given: given.to_owned(), character })
            }
            None if matches!(given, "." | "..") => Err(BadInterfaceName::Dots),
            None => Ok(Self(given.to_owned())),
        }
    }
}

impl Display for InterfaceName {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str(&self.0)
    }
}

/// Why a text is not an [`InterfaceName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadInterfaceName {
    /// Nothing, or more than the kernel's `IFNAMSIZ` has room for.
    #[error(
        "an interface's name has 1 to {INTERFACE_NAME_BYTES_MAX} bytes, not {bytes}: \
         give one that `ip link` lists"
    )]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// It has a character that no interface's name has.
    #[error(
        "{given:?} can't name an interface, because of {character:?}: \
         give one that `ip link` lists"
    )]
    Character {
        /// The text.
        given: String,
        /// The first such character.
        character: char,
    },
    /// It is `.` or `..`.
    #[error("dots alone can't name an interface: give one that `ip link` lists")]
    Dots,
}

/// Why something is not a [`Floating`] address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFloating {
    /// There is no `/`.
    #[error("{given:?} does not say how large its subnet is: write it as 10.0.0.9/24")]
    NoPrefix {
        /// The text.
        given: String,
    },
    /// What is before the `/` is not an address.
    #[error("{given:?} is not an IP address: write it as 10.0.0.9/24 or fd00::9/64")]
    NoAddress {
        /// The text before the `/`.
        given: String,
    },
    /// What is after the `/` is not a number.
    #[error("{given:?} is not a subnet's length in bits ({source}): write it as 10.0.0.9/24")]
    NoNumber {
        /// The text after the `/`.
        given: String,
        /// What is wrong with it.
        source: ParseIntError,
    },
    /// The subnet is larger than all addresses, or smaller than one.
    #[error("the subnet of {address} has 1 to {most} bits, not {prefix}")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// The bits that were given.
        prefix: u8,
        /// How many bits such an address has.
        most: u32,
    },
    /// Clients on other machines can't connect to it.
    #[error(
        "{address} can't move between appliances: give an address of one host that is neither \
         of this machine or link alone nor IPv4 written as IPv6"
    )]
    Unfit {
        /// The address.
        address: IpAddr,
    },
}

fn is_fit(address: IpAddr) -> bool {
    let nowhere = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let special = match address {
        IpAddr::V4(v4) => v4 == Ipv4Addr::BROADCAST,
        // One of the link alone means nothing without an interface, to clients either.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !nowhere && !special
}

/// For how long an address can be held at least, in seconds: the kernel counts in these.
///
/// The kernel removes an address that is not renewed at up to 20 ms before the end of its lifetime,
/// and at most a good second after it: it looks no more than once a second, and any change of an
/// address makes it look (`ADDRCONF_TIMER_FUZZ_MINUS` and `_MAX`; `check_lifetime` in
/// `net/ipv4/devinet.c`, `addrconf_verify_rtnl` in `net/ipv6/addrconf.c`). Measured on Linux 6.18,
/// IPv4 and IPv6 alike: 7 to 362 ms late, of 36 times; of 12 times that it looked 100 ms before
/// the end, 0.91 to 1.14 s. Who waits for a silent holder to lose its address waits for the
/// lifetime and two seconds.
pub const VALID_SECONDS_MIN: u32 = 1;

/// For how long at most, in seconds. A holder that freezes keeps an address for so long.
pub const VALID_SECONDS_MAX: u32 = 3600;

/// `IFNAMSIZ` of `linux/if.h` less the closing NUL.
const INTERFACE_NAME_BYTES_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn eth0() -> InterfaceName {
        "eth0".parse().unwrap()
    }

    #[test]
    fn an_address_with_its_subnet_is_read_and_written() {
        for given in ["10.0.0.9/24", "10.0.0.9/32", "fd00::9/64", "2001:db8::9/128"] {
            let floating = Floating::parse(given, eth0()).unwrap();
            assert_eq!(floating.to_string(), format!("{given} on eth0"));
        }
    }

    #[test]
    fn a_bad_address_is_refused_with_what_is_wrong_and_what_would_be_right() {
        let said = |given| Floating::parse(given, eth0()).unwrap_err().to_string();
        for (given, part) in [
            ("10.0.0.9", "\"10.0.0.9\" does not say how large its subnet is: write it as"),
            ("10.0.0/24", "\"10.0.0\" is not an IP address: write it as"),
            ("10.0.0.9/", "\"\" is not a subnet's length in bits (cannot parse integer"),
            ("10.0.0.9/999", "\"999\" is not a subnet's length in bits (number too large"),
            ("10.0.0.9/33", "the subnet of 10.0.0.9 has 1 to 32 bits, not 33"),
            ("10.0.0.9/0", "the subnet of 10.0.0.9 has 1 to 32 bits, not 0"),
            ("fd00::9/129", "the subnet of fd00::9 has 1 to 128 bits, not 129"),
        ] {
            assert!(said(given).starts_with(part), "{given}: {}", said(given));
        }
    }

    #[test]
    fn an_address_that_no_client_elsewhere_can_use_is_refused() {
        for given in [
            "0.0.0.0/8",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "255.255.255.255/32",
            "::/64",
            "::1/128",
            "ff02::1/64",
            "fe80::1/64",
            "::ffff:10.0.0.9/96",
        ] {
            let refused = Floating::parse(given, eth0());
            assert!(matches!(refused, Err(BadFloating::Unfit { .. })), "{given}");
        }
    }

    #[test]
    fn a_name_that_no_interface_has_is_refused() {
        for given in ["eth0", "eth0.100", "br-lan", "fifteen-bytes-x"] {
            assert_eq!(given.parse::<InterfaceName>().unwrap().as_str(), given);
        }
        for (given, wrong) in [
            ("", BadInterfaceName::Length { bytes: 0 }),
            ("sixteen-bytes-xx", BadInterfaceName::Length { bytes: 16 }),
            (".", BadInterfaceName::Dots),
            ("..", BadInterfaceName::Dots),
        ] {
            assert_eq!(given.parse::<InterfaceName>(), Err(wrong), "{given}");
        }
        for given in ["a/b", "../../x", "eth0:1", "eth 0", "eth0\n", "eth\x0b0"] {
            let refused = given.parse::<InterfaceName>();
            assert!(matches!(refused, Err(BadInterfaceName::Character { .. })), "{given}");
        }
    }
}
