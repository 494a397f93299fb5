//! The packets that are sent by hand, as bytes: what tells neighbours of an address, and what
//! provokes a client.
//!
//! Invariant: checksums are right; what a packet says depends on nothing but the arguments. Absent
//! on purpose: sending, and Ethernet headers, which the kernel writes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Where packets to [`ALL_NODES`] go (RFC 2464, section 7).
    pub const ALL_NODES: Self = Self([0x33, 0x33, 0, 0, 0, 1]);
}

/// The two ways to announce an address with ARP. Some neighbours heed only one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arp {
    /// As RFC 5227, section 2.3 wants it, and `arping -U`.
    Request,
    /// As `arping -A`, and RFC 5944, section 4.6.
    Reply,
}

/// An announcement of `address` (RFC 826): it is the sender's and the target's.
pub fn arp(form: Arp, mac: Mac, address: Ipv4Addr) -> [u8; ARP_BYTES] {
    let (operation, target) = match form {
        Arp::Request => (1, Mac([0; 6])),
        Arp::Reply => (2, mac),
    };
    let mut bytes = [0; ARP_BYTES];
    // Ethernet, IPv4, and how long their addresses are.
    bytes[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
    bytes[8..14].copy_from_slice(&mac.0);
    bytes[14..18].copy_from_slice(&address.octets());
    bytes[18..24].copy_from_slice(&target.0);
    bytes[24..].copy_from_slice(&address.octets());
    bytes
}

/// An unsolicited advertisement of `address` to all nodes of the link (RFC 4861, sections 4.4 and
/// 7.2.6), with its IPv6 header. It overrides what they know.
pub fn advertisement(mac: Mac, address: Ipv6Addr) -> [u8; ADVERTISEMENT_BYTES] {
    let mut bytes = [0; ADVERTISEMENT_BYTES];
    let (header, body) = bytes.split_at_mut(IPV6_BYTES);
    let path = Path6 { from: address, to: ALL_NODES };
    // 255: who receives less knows that it came through a router, and ignores it.
    header.copy_from_slice(&ipv6(&path, Next::Icmpv6, body.len(), 255));
    body[0] = NEIGHBOR_ADVERTISEMENT;
    body[4] = OVERRIDE;
    body[8..24].copy_from_slice(&address.octets());
    // The option: target's link-layer address, in units of 8 bytes.
    body[24..26].copy_from_slice(&[2, 1]);
    body[26..].copy_from_slice(&mac.0);
    let sum = checksum(&[&path.pseudo(Next::Icmpv6, body.len()), body]);
    body[2..4].copy_from_slice(&sum);
    bytes
}

/// A bare ACK of nothing from `local` to `remote`, with its IPv4 header.
///
/// Whatever numbers a connection has reached, zero is hardly ever among those that its client
/// expects. So the client answers with the right ones (RFC 9293, section 3.10.7.4), and its answer
/// finds nobody.
pub fn ack_v4(local: SocketAddrV4, remote: SocketAddrV4) -> [u8; IPV4_BYTES + TCP_BYTES] {
    let mut bytes = [0; IPV4_BYTES + TCP_BYTES];
    let (header, segment) = bytes.split_at_mut(IPV4_BYTES);
    let (from, to) = (local.ip().octets(), remote.ip().octets());
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length16(IPV4_BYTES + TCP_BYTES));
    header[8..10].copy_from_slice(&[HOPS, Next::Tcp as u8]);
    header[12..16].copy_from_slice(&from);
    header[16..].copy_from_slice(&to);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum);

    segment.copy_from_slice(&ack(local.port(), remote.port()));
    let kind = [0, Next::Tcp as u8];
    let sum = checksum(&[&from, &to, &kind, &length16(TCP_BYTES), segment]);
    segment[TCP_CHECKSUM].copy_from_slice(&sum);
    bytes
}

/// The same with an IPv6 header.
pub fn ack_v6(local: SocketAddrV6, remote: SocketAddrV6) -> [u8; IPV6_BYTES + TCP_BYTES] {
    let mut bytes = [0; IPV6_BYTES + TCP_BYTES];
    let (header, segment) = bytes.split_at_mut(IPV6_BYTES);
    let path = Path6 { from: *local.ip(), to: *remote.ip() };
    header.copy_from_slice(&ipv6(&path, Next::Tcp, TCP_BYTES, HOPS));
    segment.copy_from_slice(&ack(local.port(), remote.port()));
    let sum = checksum(&[&path.pseudo(Next::Tcp, TCP_BYTES), segment]);
    segment[TCP_CHECKSUM].copy_from_slice(&sum);
    bytes
}

/// What follows an IP header.
#[derive(Debug, Clone, Copy)]
enum Next {
    Tcp = 6,
    Icmpv6 = 58,
}

struct Path6 {
    from: Ipv6Addr,
    to: Ipv6Addr,
}

impl Path6 {
    /// What the checksum is taken over besides the body (RFC 8200, section 8.1).
    fn pseudo(&self, next: Next, body: usize) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&self.from.octets());
        bytes[16..32].copy_from_slice(&self.to.octets());
        bytes[34..36].copy_from_slice(&length16(body));
        bytes[39] = next as u8;
        bytes
    }
}

fn ipv6(path: &Path6, next: Next, body: usize, hops: u8) -> [u8; IPV6_BYTES] {
    let mut bytes = [0; IPV6_BYTES];
    bytes[0] = 0x60;
    bytes[4..6].copy_from_slice(&length16(body));
    bytes[6..8].copy_from_slice(&[next as u8, hops]);
    bytes[8..24].copy_from_slice(&path.from.octets());
    bytes[24..].copy_from_slice(&path.to.octets());
    bytes
}

/// A segment without data, its checksum not yet taken (RFC 9293, section 3.1).
fn ack(from: u16, to: u16) -> [u8; TCP_BYTES] {
    let mut bytes = [0; TCP_BYTES];
    bytes[..2].copy_from_slice(&from.to_be_bytes());
    bytes[2..4].copy_from_slice(&to.to_be_bytes());
    // The header's length in words of 32 bits, and the one flag. Both numbers stay 0.
    bytes[12..14].copy_from_slice(&[(TCP_BYTES as u8 / 4) << 4, ACK]);
    bytes[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    bytes
}

/// The Internet checksum (RFC 1071) of the parts, each but the last of an even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum: u32 = 0;
    for word in parts.iter().flat_map(|part| part.chunks(2)) {
        // Packets here have at most 60 bytes: nothing overflows.
        sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A length of a few bytes, as IP writes it.
fn length16(bytes: usize) -> [u8; 2] {
    (bytes as u16).to_be_bytes()
}

/// All nodes of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

pub const ARP_BYTES: usize = 28;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const TCP_BYTES: usize = 20;
const ADVERTISEMENT_BYTES: usize = IPV6_BYTES + 32;

const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const OVERRIDE: u8 = 0x20;
const ACK: u8 = 0x10;
const TCP_CHECKSUM: std::ops::Range<usize> = 16..18;
/// As many as the kernel's own packets may pass.
const HOPS: u8 = 64;
/// What CTDB puts there, so that a person finds these packets in a trace.
const WINDOW: u16 = 1234;

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = Mac([0x02, 0x42, 0x0a, 0x00, 0x00, 0x65]);

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|two| (two[0] << 4 | two[1]) as u8).collect()
    }

    #[test]
    fn a_checksum_is_that_of_the_example_in_rfc_1071() {
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&example]), (!0xddf2_u16).to_be_bytes());
    }

    #[test]
    fn an_address_is_announced_in_both_forms_of_arp() {
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let request = "0001 0800 06 04 0001 02420a000065 0a000009 000000000000 0a000009";
        assert_eq!(arp(Arp::Request, OURS, address).to_vec(), bytes(request));
        let reply = "0001 0800 06 04 0002 02420a000065 0a000009 02420a000065 0a000009";
        assert_eq!(arp(Arp::Reply, OURS, address).to_vec(), bytes(reply));
    }

    #[test]
    fn an_advertisement_overrides_and_carries_the_new_holders_address() {
        let expected = "60000000 0020 3a ff fd000000000000000000000000000009 \
             ff020000000000000000000000000001 88 00 4fe5 20000000 \
             fd000000000000000000000000000009 02 01 02420a000065";
        let address = "fd00::9".parse().unwrap();
        assert_eq!(advertisement(OURS, address).to_vec(), bytes(expected));
    }

    #[test]
    fn a_tickle_over_ipv4_is_a_bare_ack_of_nothing() {
        let (local, remote) = ("10.0.0.9:2049".parse().unwrap(), "10.0.0.7:700".parse().unwrap());
        let expected = "45 00 0028 0000 0000 40 06 66c1 0a000009 0a000007 \
             0801 02bc 00000000 00000000 50 10 04d2 8c36 0000";
        assert_eq!(ack_v4(local, remote).to_vec(), bytes(expected));
    }

    #[test]
    fn a_tickle_over_ipv6_is_a_bare_ack_of_nothing() {
        let local = "[fd00::9]:2049".parse().unwrap();
        let remote = "[fd00::7]:700".parse().unwrap();
        let expected = "60000000 0014 06 40 fd000000000000000000000000000009 \
             fd000000000000000000000000000007 \
             0801 02bc 00000000 00000000 50 10 04d2 a634 0000";
        assert_eq!(ack_v6(local, remote).to_vec(), bytes(expected));
    }
}
