//! The sockets that send whole packets: to neighbours over Ethernet, to clients over IP.
//!
//! Invariant: nothing is ever received here; each socket is of a protocol that has nothing for it.
//! Nothing here waits: a queue that is full is an error. Absent on purpose: what the packets say.
//!
//! The one home of `unsafe` in this crate: no safe interface knows the addresses of `AF_PACKET`.

use std::io::Result as IoResult;
use std::mem::size_of;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use crate::packets::Mac;
use crate::route::Index;

/// One socket for each kind of packet.
#[derive(Debug)]
pub struct Raw {
    ethernet: OwnedFd,
    v4: OwnedFd,
    /// None where the kernel has no IPv6.
    v6: Option<OwnedFd>,
}

/// A neighbour, or all of them: what an Ethernet header says, and through which interface.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour {
    pub index: Index,
    pub kind: EtherType,
    pub mac: Mac,
}

/// What follows an Ethernet header (`linux/if_ether.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtherType {
    Arp = 0x0806,
    Ipv6 = 0x86dd,
}

impl Raw {
    pub fn open() -> IoResult<Self> {
        let open =
            |family, kind, protocol| socket_with(family, kind, SocketFlags::CLOEXEC, protocol);
        // Without a protocol nothing is received; with SOCK_DGRAM the kernel writes the header.
        let ethernet = open(AddressFamily::PACKET, SocketType::DGRAM, None)?;
        // This protocol is for sending alone, and its packets bring their IP header (raw(7)).
        let v4 = open(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
        let v6 = match open(AddressFamily::INET6, SocketType::RAW, Some(ipproto::RAW)) {
            Ok(socket) => Some(socket),
            Err(Errno::AFNOSUPPORT) => None,
            Err(fault) => return Err(fault.into()),
        };
        Ok(Self { ethernet, v4, v6 })
    }

    /// Sends what follows the Ethernet header.
    pub fn to_neighbour(&self, neighbour: Neighbour, packet: &[u8]) -> IoResult<()> {
        deliver(&self.ethernet, packet, &LinkLayer(neighbour))
    }

    /// Sends a packet with its IPv4 header.
    pub fn to_v4(&self, remote: SocketAddrV4, packet: &[u8]) -> IoResult<()> {
        // The header has no port, and here it means nothing.
        deliver(&self.v4, packet, &SocketAddr::from((*remote.ip(), 0)))
    }

    /// Sends a packet with its IPv6 header; EAFNOSUPPORT if the kernel has no IPv6.
    pub fn to_v6(&self, remote: SocketAddrV6, packet: &[u8]) -> IoResult<()> {
        let v6 = self.v6.as_ref().ok_or(Errno::AFNOSUPPORT)?;
        let remote = SocketAddrV6::new(*remote.ip(), 0, 0, remote.scope_id());
        deliver(v6, packet, &remote)
    }
}

fn deliver(socket: &OwnedFd, packet: &[u8], to: &impl SocketAddrArg) -> IoResult<()> {
    loop {
        match sendto(socket, packet, SendFlags::DONTWAIT, to) {
            Err(Errno::INTR) => {}
            // A packet is sent whole or not at all.
            sent => return Ok(sent.map(|_| ())?),
        }
    }
}

/// A neighbour as `sockaddr_ll` of `linux/if_packet.h`; see packet(7).
struct LinkLayer(Neighbour);

// SAFETY: `f` gets a pointer to a whole `sockaddr_ll`, the address of the family AF_PACKET, which
// lives until `f` returns, and its size.
unsafe impl SocketAddrArg for LinkLayer {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        let Neighbour { index, kind, mac } = self.0;
        let mut room = [0; 8];
        room[..mac.0.len()].copy_from_slice(&mac.0);
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (kind as u16).to_be(),
            sll_ifindex: index.0 as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: mac.0.len() as u8,
            sll_addr: room,
        };
        f((&raw const address).cast(), size_of::<libc::sockaddr_ll>() as SocketAddrLen)
    }
}
