//! TCP sockets of this machine, through sock_diag (`linux/sock_diag.h`, `linux/inet_diag.h`).
//!
//! Invariant: a socket on `[::]` that serves IPv4 is found as one of IPv4. Absent on purpose:
//! listening sockets, and connections of which only the memory is left (TIME_WAIT).

use std::io::{Error as IoError, Result as IoResult};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};

use crate::netlink::{Listed, Netlink};

/// A socket: what the kernel calls it, and its family as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    family: u8,
    id: SocketId,
}

/// Whose sockets are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub address: IpAddr,
    /// None is any.
    pub port: Option<u16>,
}

/// What became of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Destroyed,
    /// It had ended by itself.
    Gone,
    /// The kernel was built without `CONFIG_INET_DIAG_DESTROY`.
    Unsupported,
}

impl Found {
    /// The end on this machine, as the socket has it.
    pub fn local(&self) -> SocketAddr {
        self.end(self.id.source_address, self.id.source_port)
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.end(self.id.destination_address, self.id.destination_port)
    }

    fn end(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, self.id.interface_id).into()
            }
            ip => SocketAddr::new(ip, port),
        }
    }
}

/// Connections that both ends agree on.
pub fn established(netlink: &Netlink, wanted: Wanted, most: usize) -> IoResult<Listed<Found>> {
    list(netlink, wanted, &StateFlags::ESTABLISHED, most)
}

/// Sockets with a peer that still send or answer.
pub fn alive(netlink: &Netlink, wanted: Wanted, most: usize) -> IoResult<Listed<Found>> {
    let ended = StateFlags::LISTEN | StateFlags::CLOSE | StateFlags::TIME_WAIT;
    list(netlink, wanted, &ended.complement(), most)
}

/// Ends the socket at once: who reads or writes it gets ECONNABORTED, and the peer a reset if one
/// can be sent to it.
pub fn destroy(netlink: &Netlink, found: &Found) -> IoResult<Fate> {
    let message = SockDiagMessage::InetRequest(InetRequest {
        family: found.family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::empty(),
        socket_id: found.id.clone(),
    });
    match netlink.order(0, SockDiagDestroy::new(message)) {
        Ok(()) => Ok(Fate::Destroyed),
        Err(fault) => match fault.raw_os_error() {
            Some(libc::ENOENT | libc::ESTALE) => Ok(Fate::Gone),
            Some(libc::EOPNOTSUPP) => Ok(Fate::Unsupported),
            _ => Err(fault),
        },
    }
}

fn list(
    netlink: &Netlink,
    wanted: Wanted,
    states: &StateFlags,
    most: usize,
) -> IoResult<Listed<Found>> {
    let mut all = Listed { items: Vec::new(), cut: false };
    for family in [AF_INET, AF_INET6] {
        if family == AF_INET && wanted.address.is_ipv6() {
            continue;
        }
        let room = most - all.items.len();
        match of_family(netlink, family, wanted, states.clone(), room) {
            Ok(listed) => {
                all.items.extend(listed.items);
                all.cut |= listed.cut;
            }
            // A kernel without IPv6 has no such sockets.
            Err(fault) if family == AF_INET6 && is_unknown(&fault) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}

fn of_family(
    netlink: &Netlink,
    family: u8,
    wanted: Wanted,
    states: StateFlags,
    most: usize,
) -> IoResult<Listed<Found>> {
    let mut id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    // The kernel sorts out by ports, but for addresses it wants a program.
    id.source_port = wanted.port.unwrap_or(0);
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: id,
    };
    netlink.list(SockDiagMessage::InetRequest(request), most, |answer| {
        let SockDiagMessage::InetResponse(response) = answer else { return None };
        let found = Found { family: response.header.family, id: response.header.socket_id };
        let local = found.local();
        let is_wanted = local.ip().to_canonical() == wanted.address
            && wanted.port.is_none_or(|port| port == local.port());
        is_wanted.then_some(found)
    })
}

/// Whether the kernel has nobody who could answer.
fn is_unknown(fault: &IoError) -> bool {
    matches!(fault.raw_os_error(), Some(libc::ENOENT | libc::EAFNOSUPPORT))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use rustix::net::netlink::SOCK_DIAG;

    use super::*;

    #[test]
    fn connections_beyond_the_limit_are_cut_and_that_is_said() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let _clients = [TcpStream::connect(at).unwrap(), TcpStream::connect(at).unwrap()];
        let netlink = Netlink::open(Some(SOCK_DIAG)).unwrap();
        let wanted = Wanted { address: at.ip(), port: Some(at.port()) };
        let found = |most| established(&netlink, wanted, most).unwrap();
        assert_eq!((found(1).items.len(), found(1).cut), (1, true));
        assert_eq!((found(2).items.len(), found(2).cut), (2, false));
    }
}
