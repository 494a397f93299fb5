//! The network: which interface, which address, and how the kernel is told.
//!
//! Invariant: an interface has what its [`Setup`] says, and what others put there (a floating
//! address) stays. Absent on purpose: IPv6 without DHCP, which the kernel does by itself.

pub mod connect;
pub mod dhcp;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Network, Subnet, Which};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, in lower case with colons.
    pub mac: String,
    /// Whether a cable is in it, with somebody at the other end.
    pub link: bool,
}

/// Which interface to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This one.
    Take(String),
    /// One that is better may still get its link.
    Wait,
    /// There is none; a sentence.
    Nothing(String),
}

/// Whether to go on waiting for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Those before it may still come.
    Some,
    /// Take what is there.
    None,
}

/// Picks among `interfaces`, which are in the order of their names.
pub fn pick(interfaces: &[Interface], wanted: &Which, patience: Patience) -> Pick {
    let matching: Vec<&Interface> = interfaces
        .iter()
        .filter(|interface| match wanted {
            Which::FirstWithLink => true,
            Which::Name(name) => interface.name == *name,
            Which::Mac(mac) => interface.mac == *mac,
        })
        .collect();
    let first = matching.iter().position(|interface| interface.link);
    match (first.and_then(|first| Some((first, matching.get(first)?))), patience) {
        (Some((0, one)), _) | (Some((_, one)), Patience::None) => Pick::Take(one.name.clone()),
        (_, Patience::Some) => Pick::Wait,
        (None, Patience::None) => Pick::Nothing(nothing(interfaces, wanted, matching.is_empty())),
    }
}

fn nothing(interfaces: &[Interface], wanted: &Which, absent: bool) -> String {
    let shown = |interface: &Interface| {
        let Interface { name, mac, link } = interface;
        format!("{name} ({mac}, {})", if *link { "link" } else { "no link" })
    };
    let all: Vec<String> = interfaces.iter().map(shown).collect();
    let all = match all.is_empty() {
        true => "there is none at all".to_owned(),
        false => format!("there are {}", all.join(", ")),
    };
    match wanted {
        Which::FirstWithLink => format!("no interface has a link: plug a cable in; {all}"),
        Which::Name(name) | Which::Mac(name) if absent => {
            format!("`network.interface` names {name}, which is not there; {all}")
        }
        Which::Name(name) | Which::Mac(name) => {
            format!("the interface {name} has no link: plug a cable in; {all}")
        }
    }
}

/// What an interface is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Its name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// How many of its first bits are the subnet's.
    pub prefix: u8,
    /// The default router.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Bytes of the largest packet.
    pub mtu: Option<u16>,
}

/// How a command of the `ip` program may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Well.
    Must,
    /// What it removes may be gone.
    May,
}

/// A command of the `ip` program.
pub type Command = (Need, Vec<String>);

impl Setup {
    /// A fixed address; none if it is to come from DHCP.
    pub fn fixed(interface: &str, network: &Network) -> Option<Self> {
        let subnet = network.address?;
        Some(Self {
            interface: interface.to_owned(),
            address: subnet.address,
            prefix: subnet.prefix,
            gateway: network.gateway,
            dns: network.dns.clone(),
            mtu: network.mtu,
        })
    }

    /// `/etc/resolv.conf`.
    pub fn resolv_conf(&self) -> String {
        self.dns.iter().map(|server| format!("nameserver {server}\n")).collect()
    }

    fn subnet(&self) -> Subnet {
        Subnet { address: self.address, prefix: self.prefix }
    }
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} has {}", self.interface, self.subnet())?;
        self.gateway.iter().try_for_each(|gateway| write!(f, ", router {gateway}"))?;
        self.dns.iter().try_for_each(|server| write!(f, ", name server {server}"))?;
        self.mtu.iter().try_for_each(|mtu| write!(f, ", MTU {mtu}"))
    }
}

/// The commands that lead from what an interface had to what it is to have.
pub fn changes(old: Option<&Setup>, new: Option<&Setup>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut ip = |need, words: String| {
        commands.push((need, words.split(' ').map(str::to_owned).collect()));
    };
    if let Some(Setup { interface, mtu: Some(mtu), .. }) = new {
        ip(Need::Must, format!("link set dev {interface} mtu {mtu}"));
    }
    let has = |setup: Option<&Setup>| setup.map(|setup| (setup.interface.clone(), setup.subnet()));
    let via = |setup: Option<&Setup>| setup.and_then(|s| Some((s.interface.clone(), s.gateway?)));
    if let Some((interface, gateway)) = via(old).filter(|old| via(new).as_ref() != Some(old)) {
        let family = family(gateway);
        ip(Need::May, format!("{family} route del default via {gateway} dev {interface}"));
    }
    if let Some((interface, subnet)) = has(new) {
        let family = family(subnet.address);
        ip(Need::Must, format!("{family} addr replace {subnet} dev {interface}"));
    }
    // After the new one is there: a connection over both goes on.
    if let Some((interface, subnet)) = has(old).filter(|old| has(new).as_ref() != Some(old)) {
        let family = family(subnet.address);
        ip(Need::May, format!("{family} addr del {subnet} dev {interface}"));
    }
    if let (Some(new), Some((interface, gateway))) = (new, via(new)) {
        let family = family(gateway);
        let link_local = matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local());
        // Some networks have their router outside.
        if !new.subnet().contains(gateway) && !link_local {
            ip(Need::Must, format!("{family} route replace {gateway} dev {interface}"));
        }
        ip(Need::Must, format!("{family} route replace default via {gateway} dev {interface}"));
    }
    commands
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

#[cfg(test)]
mod tests;
