//! What can go wrong between this process and its kernel, in words for the operator.
//!
//! Invariant: a [`Fault`] says what was tried, where, and what to do about it.

use std::fmt::{Display, Formatter, Result as FmtResult};
use std::io::Error as IoError;
use std::net::IpAddr;
use std::time::Duration;

use crate::connection::Connection;
use crate::floating::{Floating, InterfaceName, VALID_SECONDS_MAX, VALID_SECONDS_MIN};

/// Why the kernel did not do it. Nothing here is final but [`Fault::Lifetime`], a mistake of the
/// caller's: the operator corrects what the words name, and the next call succeeds.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The interface is not there (now).
    #[error("can't {deed}: this machine has no interface of that name; name one of `ip link`")]
    NoInterface {
        /// What was tried.
        deed: Deed,
    },
    /// This process may not.
    #[error("can't {deed}: not permitted; start it with CAP_NET_ADMIN and CAP_NET_RAW")]
    NotPermitted {
        /// What was tried.
        deed: Deed,
    },
    /// IPv6 is switched off, for the interface or the machine.
    #[error("can't {deed}: IPv6 is off; switch it on (sysctl net.ipv6.conf.*.disable_ipv6=0)")]
    Ipv6Off {
        /// What was tried.
        deed: Deed,
    },
    /// The interface has no Ethernet address, so nobody asks for addresses there.
    #[error("can't {deed}: that is no Ethernet interface; hold the address on one that is")]
    NotEthernet {
        /// What was tried.
        deed: Deed,
    },
    /// Shorter than the kernel can count, or longer than a frozen holder may keep an address.
    #[error(
        "{floating} can't be held for {valid_for:?}: \
         give {VALID_SECONDS_MIN} s to {VALID_SECONDS_MAX} s"
    )]
    Lifetime {
        /// The address.
        floating: Floating,
        /// What was asked for.
        valid_for: Duration,
    },
    /// Anything else; the caller tries again when it would have called again anyway.
    #[error("can't {deed}: {fault}")]
    Kernel {
        /// What was tried.
        deed: Deed,
        /// What the kernel said.
        #[source]
        fault: IoError,
    },
}

/// What was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Opening the sockets that everything else needs.
    Open,
    /// Telling the kernel to keep the other addresses of a subnet when one goes.
    Prepare(InterfaceName),
    /// Adding or renewing an address.
    Hold(Floating),
    /// Removing an address.
    Remove(Floating),
    /// Telling the neighbours.
    Announce(Floating),
    /// Looking which addresses are here.
    Look,
    /// Listing connections to an address.
    List(IpAddr),
    /// Destroying sockets of an address.
    Destroy(IpAddr),
    /// Provoking a client.
    Tickle(Connection),
}

impl Display for Deed {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        match self {
            Self::Open => write!(f, "open the sockets that manage addresses"),
            Self::Prepare(interface) => write!(f, "prepare {interface} for floating addresses"),
            Self::Hold(floating) => write!(f, "hold {floating}"),
            Self::Remove(floating) => write!(f, "remove {floating}"),
            Self::Announce(floating) => write!(f, "announce {floating}"),
            Self::Look => write!(f, "list this machine's addresses"),
            Self::List(address) => write!(f, "list the connections to {address}"),
            Self::Destroy(address) => write!(f, "destroy the sockets of {address}"),
            Self::Tickle(connection) => {
                write!(f, "tickle {} from {}", connection.remote(), connection.local())
            }
        }
    }
}

impl Deed {
    /// What the kernel's refusal of this deed means.
    pub(crate) fn failed(self, fault: IoError) -> Fault {
        match fault.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Fault::NoInterface { deed: self },
            Some(libc::EPERM) => Fault::NotPermitted { deed: self },
            Some(libc::EAFNOSUPPORT) => Fault::Ipv6Off { deed: self },
            // The kernel's word for an address of IPv6 where the interface has it disabled.
            Some(libc::EACCES) if self.is_of_ipv6() => Fault::Ipv6Off { deed: self },
            _ => Fault::Kernel { deed: self, fault },
        }
    }

    fn is_of_ipv6(&self) -> bool {
        match self {
            Self::Hold(floating) | Self::Remove(floating) | Self::Announce(floating) => {
                floating.address().is_ipv6()
            }
            Self::List(address) | Self::Destroy(address) => address.is_ipv6(),
            Self::Tickle(connection) => connection.local().is_ipv6(),
            Self::Open | Self::Prepare(_) | Self::Look => false,
        }
    }
}
