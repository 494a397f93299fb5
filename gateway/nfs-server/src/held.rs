//! Listening sockets that outlive the process that serves them.
//!
//! Invariant: whoever connects while nobody serves waits in the system's queue and is not refused:
//! the Linux client asks again only 3 s after a refusal. Absent on purpose: who starts the process
//! again, and how it gets the sockets.

use std::io::Result as IoResult;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Socket, Type};

use crate::listen::{Transport, bind, bind_or_ipv4};
use crate::settings::{RpcbindMode, Settings};

/// Sockets that are bound and, those of TCP, listen. [`Server::start_on`](crate::Server::start_on)
/// uses those that it would else have to bind.
#[derive(Debug, Default)]
pub struct Held(Vec<Socket>);

impl Held {
    /// Binds what a door with these settings listens on: NFS and MOUNT, and rpcbind where it is
    /// ours. Where another program serves rpcbind that one is left to itself.
    ///
    /// # Errors
    /// An address of [`Settings::listen`] can't be bound; it is named with the remedy.
    pub fn bind(settings: &Settings) -> IoResult<Self> {
        let mut sockets = Vec::new();
        let mut ips = Vec::new();
        for address in settings.listen.iter().filter(|address| address.port() != 0) {
            let explained = |fault| crate::listen::explained(*address, fault);
            let tcp = bind_or_ipv4(*address).map_err(explained)?;
            let bound = address_of(&tcp).unwrap_or(*address);
            sockets.push(tcp);
            sockets.push(bind(bound, Transport::Udp).map_err(explained)?);
            ips.push(bound.ip());
        }
        ips.sort_unstable();
        ips.dedup();
        if matches!(settings.rpcbind, RpcbindMode::Auto | RpcbindMode::Own) {
            let at = ips.into_iter().map(|ip| SocketAddr::new(ip, settings.rpcbind_port));
            let both = |at| Ok([bind(at, Transport::Tcp)?, bind(at, Transport::Udp)?]);
            match at.map(both).collect::<IoResult<Vec<_>>>() {
                Ok(bound) => sockets.extend(bound.into_iter().flatten()),
                Err(fault) => tracing::info!(%fault, "rpcbind's port is not held"),
            }
        }
        Ok(Self(sockets))
    }

    /// What another process holds, or held before it became this one.
    pub fn from_descriptors(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors.into_iter().map(Socket::from).collect())
    }

    /// The sockets, for whoever passes them on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// The socket that is bound there, if one is held.
    pub(crate) fn find(&self, address: SocketAddr, transport: Transport) -> Option<Socket> {
        let kind = match transport {
            Transport::Tcp => Type::STREAM,
            Transport::Udp => Type::DGRAM,
        };
        let is_it = |socket: &&Socket| {
            address_of(socket) == Some(address) && socket.r#type().is_ok_and(|its| its == kind)
        };
        self.0.iter().find(is_it)?.try_clone().ok()
    }
}

fn address_of(socket: &Socket) -> Option<SocketAddr> {
    socket.local_addr().ok()?.as_socket()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    fn settings() -> Settings {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        Settings { listen: vec![free], rpcbind: RpcbindMode::Off, ..Settings::default() }
    }

    #[test]
    fn who_connects_while_nobody_serves_is_served_by_whoever_comes() {
        let settings = settings();
        let held = Held::bind(&settings).unwrap();
        let at = settings.listen[0];
        drop(held.find(at, Transport::Tcp).unwrap());
        let mut client = TcpStream::connect(at).unwrap();
        client.write_all(b"ask").unwrap();
        let passed_on = held.descriptors().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
        let heir = Held::from_descriptors(passed_on);
        drop(held);
        let server = heir.find(at, Transport::Tcp).unwrap();
        server.set_nonblocking(false).unwrap();
        let (mut served, _) = server.accept().unwrap();
        let mut asked = [0; 3];
        served.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"ask");
    }

    #[test]
    fn a_held_socket_is_found_by_address_and_transport_alone() {
        let settings = settings();
        let at = settings.listen[0];
        let held = Held::bind(&settings).unwrap();
        assert!(held.find(at, Transport::Tcp).is_some());
        assert!(held.find(at, Transport::Udp).is_some());
        let other = SocketAddr::new(at.ip(), at.port() ^ 1);
        assert!(held.find(other, Transport::Tcp).is_none());
        assert!(Held::bind(&settings).is_err(), "the address is taken");
    }
}
