//! What is offered where: our own services, and those that other programs of this machine set.
//!
//! Invariants: our own entries can't be unset; the table is bounded; an address that is given out
//! is one at which the client that asks can reach us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nfs_wire::rpcbind::{Mapping, Netid, Rpcb, RpcbEntry, Text, universal_address};
use nfs_wire::{mount, nfs3, nlm, rpcbind};
use parking_lot::Mutex;

/// A program in one version over one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) netid: Netid,
    /// An unspecified IP address stands for all of this machine.
    pub(super) address: SocketAddr,
    owner: Text,
    ours: bool,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) program: u32,
    pub(super) version: u32,
    pub(super) netid: Netid,
}

/// Which versions will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    /// Just the one asked for.
    Exact,
    /// That one if it is offered, any other if not: the client is then told which there are.
    Any,
}

pub(super) struct Registry(Mutex<Vec<Service>>);

impl Service {
    /// As it was set by another program.
    pub(super) fn set_by(owner: Text, wanted: Wanted, address: SocketAddr) -> Self {
        let Wanted { program, version, netid } = wanted;
        Self { program, version, netid, address, owner, ours: false }
    }

    fn ours(program: u32, version: u32, netid: Netid, address: SocketAddr) -> Self {
        let owner = Text::from("holdfast");
        Self { program, version, netid, address, owner, ours: true }
    }

    /// Its universal address for a client that reached us at `local`.
    fn universal_address(&self, local: IpAddr) -> Text {
        let ip = match (self.address.ip().is_unspecified(), local) {
            (true, IpAddr::V4(_)) if self.address.is_ipv4() => local,
            (true, IpAddr::V6(_)) if self.address.is_ipv6() => local,
            _ => self.address.ip(),
        };
        Text(universal_address(SocketAddr::new(ip, self.address.port())).into())
    }

    fn is(&self, program: u32, version: u32) -> bool {
        self.program == program && self.version == version
    }
}

impl Registry {
    pub(super) fn new(services: Vec<Service>) -> Self {
        Self(Mutex::new(services))
    }

    /// Where the service is, for a client that reached us at `local`.
    pub(super) fn address(&self, wanted: Wanted, versions: Versions, local: IpAddr) -> Text {
        match self.find(wanted, versions, local) {
            Some(service) => service.universal_address(local),
            None => Text::from(""),
        }
    }

    /// The port of the service, 0 if there is none.
    pub(super) fn port(&self, wanted: Wanted, local: IpAddr) -> u32 {
        self.find(wanted, Versions::Any, local)
            .map_or(0, |service| u32::from(service.address.port()))
    }

    fn find(&self, wanted: Wanted, versions: Versions, local: IpAddr) -> Option<Service> {
        let services = self.0.lock();
        let offered = services
            .iter()
            .filter(|service| service.program == wanted.program && service.netid == wanted.netid)
            .filter(|service| versions == Versions::Any || service.version == wanted.version);
        // The version asked for first, and of its addresses one that the client can reach.
        let least_far = offered.min_by_key(|service| {
            let ip = service.address.ip();
            let far = if ip == local { 0 } else { 1 + u8::from(!ip.is_unspecified()) };
            (service.version != wanted.version, far)
        });
        least_far.cloned()
    }

    /// All addresses of a program in one version.
    pub(super) fn addresses(&self, program: u32, version: u32, local: IpAddr) -> Vec<RpcbEntry> {
        let services = self.0.lock();
        let entry = |service: &Service| RpcbEntry {
            address: service.universal_address(local),
            netid: Text::from(service.netid.word()),
            semantics: service.netid.semantics(),
            family: Text::from(service.netid.family()),
            protocol: Text::from(service.netid.protocol_name()),
        };
        services.iter().filter(|service| service.is(program, version)).map(entry).collect()
    }

    /// Everything, in the words of version 2, which knows no IPv6.
    pub(super) fn mappings(&self) -> Vec<Mapping> {
        let services = self.0.lock();
        let ipv4 = services.iter().filter(|service| service.address.is_ipv4());
        let mapping = |service: &Service| Mapping {
            program: service.program,
            version: service.version,
            protocol: service.netid.protocol(),
            port: u32::from(service.address.port()),
        };
        ipv4.map(mapping).collect()
    }

    /// Everything.
    pub(super) fn services(&self) -> Vec<Rpcb> {
        let services = self.0.lock();
        let rpcb = |service: &Service| Rpcb {
            program: service.program,
            version: service.version,
            netid: Text::from(service.netid.word()),
            address: Text(universal_address(service.address).into()),
            owner: service.owner.clone(),
        };
        services.iter().map(rpcb).collect()
    }

    /// Registers a service of another program; false if it is offered already, elsewhere, or the
    /// table is full.
    pub(super) fn set(&self, service: Service) -> bool {
        let mut services = self.0.lock();
        let same = |other: &&Service| {
            other.is(service.program, service.version) && other.netid == service.netid
        };
        if let Some(registered) = services.iter().find(same) {
            return registered.address == service.address;
        }
        // One more program may not pass as a version of ours.
        if services.iter().any(|other| other.ours && other.program == service.program) {
            return false;
        }
        let room = services.len() < SERVICES_MAX;
        if room {
            services.push(service);
        }
        room
    }

    /// Forgets what another program set, over one transport or all; false if there was nothing.
    pub(super) fn unset(&self, program: u32, version: u32, netid: Option<Netid>) -> bool {
        let mut services = self.0.lock();
        let before = services.len();
        services.retain(|service| {
            let meant =
                service.is(program, version) && netid.is_none_or(|netid| netid == service.netid);
            service.ours || !meant
        });
        services.len() < before
    }
}

/// NFS and MOUNT, served on `addresses` over TCP, and MOUNT over UDP.
pub(super) fn nfs_services(addresses: &[SocketAddr]) -> Vec<Service> {
    let mut services = Vec::new();
    for (tcp, udp, address) in addresses.iter().flat_map(|address| transports(*address)) {
        services.push(Service::ours(nfs3::PROGRAM, nfs3::VERSION, tcp, address));
        services.push(Service::ours(nlm::PROGRAM, nlm::VERSION, tcp, address));
        services.push(Service::ours(mount::PROGRAM, mount::VERSION, tcp, address));
        services.push(Service::ours(mount::PROGRAM, mount::VERSION, udp, address));
    }
    services
}

/// The responder itself, on `addresses`.
pub(super) fn own_services(addresses: &[SocketAddr]) -> Vec<Service> {
    let mut services = Vec::new();
    for (tcp, udp, address) in addresses.iter().flat_map(|address| transports(*address)) {
        for version in rpcbind::Version::ALL {
            // Version 2 has no words for IPv6.
            if *version == rpcbind::Version::V2 && address.is_ipv6() {
                continue;
            }
            for netid in [tcp, udp] {
                services.push(Service::ours(rpcbind::PROGRAM, version.code(), netid, address));
            }
        }
    }
    services
}

/// Under which networks a socket is reached: one of all IPv6 addresses takes IPv4 as well.
fn transports(address: SocketAddr) -> Vec<(Netid, Netid, SocketAddr)> {
    let port = address.port();
    let ipv4 = |ip| (Netid::Tcp, Netid::Udp, SocketAddr::from((ip, port)));
    let ipv6 = |ip| (Netid::Tcp6, Netid::Udp6, SocketAddr::from((ip, port)));
    match address.ip() {
        IpAddr::V4(ip) => vec![ipv4(ip)],
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![ipv4(Ipv4Addr::UNSPECIFIED), ipv6(Ipv6Addr::UNSPECIFIED)]
        }
        IpAddr::V6(ip) => vec![ipv6(ip)],
    }
}

/// Ours, and those of a few programs such as rpc.statd, in a few versions and transports each.
const SERVICES_MAX: usize = 256;

#[cfg(test)]
mod tests;
