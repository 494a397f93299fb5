//! Opens the sockets of the door.
//!
//! Absent on purpose: what is served on them.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::held::Held;

/// One address with both transports on the same port.
pub(crate) struct Listening {
    pub(crate) tcp: TcpListener,
    pub(crate) udp: UdpSocket,
    pub(crate) address: SocketAddr,
}

/// Listens on `address` with TCP and UDP, with the sockets that are held for it already if there
/// are any.
///
/// # Errors
/// Those of the system, with the address and what to do about it.
pub(crate) fn listen(held: &Held, address: SocketAddr) -> IoResult<Listening> {
    let mut result = listen_once(held, address);
    // The system chose a port for TCP that somebody has for UDP: it will choose another one.
    for _ in 0..CHOICES_MAX {
        match &result {
            Err(fault) if address.port() == 0 && fault.kind() == ErrorKind::AddrInUse => {
                result = listen_once(held, address);
            }
            _ => break,
        }
    }
    result.map_err(|fault| explained(address, fault))
}

fn listen_once(held: &Held, address: SocketAddr) -> IoResult<Listening> {
    let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let instead = || held.find(ipv4, Transport::Tcp).filter(|_| is_ipv6_wildcard(address));
    let tcp = match held.find(address, Transport::Tcp).or_else(instead) {
        Some(tcp) => tcp,
        None => bind_or_ipv4(address)?,
    };
    let tcp = TcpListener::from_std(tcp.into())?;
    let address = tcp.local_addr()?;
    let udp = match held.find(address, Transport::Udp) {
        Some(udp) => udp,
        None => bind(address, Transport::Udp)?,
    };
    Ok(Listening { tcp, udp: UdpSocket::from_std(udp.into())?, address })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// Listens with TCP; on a machine without IPv6, `[::]` is `0.0.0.0`.
pub(crate) fn bind_or_ipv4(address: SocketAddr) -> IoResult<Socket> {
    match bind(address, Transport::Tcp) {
        Err(fault) if means_no_ipv6(&fault) && is_ipv6_wildcard(address) => {
            let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::info!(%address, instead = %ipv4, "this machine has no IPv6");
            bind(ipv4, Transport::Tcp)
        }
        other => other,
    }
}

pub(crate) fn bind(address: SocketAddr, transport: Transport) -> IoResult<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // A restart must not wait for connections in TIME_WAIT. Not for UDP, where it would let
    // another process take our datagrams.
    if transport == Transport::Tcp {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if transport == Transport::Tcp {
        socket.listen(BACKLOG_MAX)?;
    }
    Ok(socket)
}

/// Prepares a connection: replies leave at once, and a client that is gone is noticed.
pub(crate) fn tune(stream: &TcpStream) -> IoResult<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Adds what the administrator needs to know to a fault of `address`.
pub(crate) fn explained(address: SocketAddr, fault: IoError) -> IoError {
    let remedy = match fault.kind() {
        ErrorKind::AddrInUse => {
            "another program listens there: stop it (an NFS server of the kernel: `rpc.nfsd 0`), \
             or choose another address"
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 are for root, or for a program with CAP_NET_BIND_SERVICE"
        }
        ErrorKind::AddrNotAvailable => "this machine does not have that address",
        _ => "check the address",
    };
    IoError::new(fault.kind(), format!("can't listen on {address}: {fault} ({remedy})"))
}

fn is_ipv6_wildcard(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// EAFNOSUPPORT of a kernel without IPv6; EADDRNOTAVAIL where it is switched off.
fn means_no_ipv6(fault: &IoError) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    fault.raw_os_error() == Some(EAFNOSUPPORT) || fault.kind() == ErrorKind::AddrNotAvailable
}

const CHOICES_MAX: usize = 16;

/// Connections that wait to be accepted; the system cuts it to its own limit.
pub(crate) const BACKLOG_MAX: i32 = 1024;

const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;

#[cfg(test)]
mod tests;
