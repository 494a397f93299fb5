//! Addresses of this machine's interfaces, through rtnetlink (`linux/rtnetlink.h`,
//! `linux/if_addr.h`).
//!
//! Invariant: an address that is added here has a lifetime. Absent on purpose: which addresses.

use std::io::Result as IoResult;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkLayerType, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netdevice;

use crate::floating::{Floating, InterfaceName};
use crate::netlink::Netlink;
use crate::packets::Mac;

/// The kernel's number of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index(pub u32);

/// An address as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub address: IpAddr,
    pub prefix: u8,
    pub index: Index,
    /// For how many seconds it stays; None if it has no lifetime.
    pub valid_seconds: Option<u32>,
}

/// Finds the interface; ENODEV if there is none of that name.
pub fn index_of(netlink: &Netlink, interface: &InterfaceName) -> IoResult<Index> {
    // The kernel answers with its number or the fault, from any socket of its network.
    Ok(Index(netdevice::name_to_index(netlink, interface.as_str())?))
}

/// The name of the interface; ENODEV if it is gone.
pub fn name_of(netlink: &Netlink, index: Index) -> IoResult<String> {
    Ok(netdevice::index_to_name(netlink, index.0)?)
}

/// The Ethernet address of the interface; None if it has none.
pub fn mac_of(netlink: &Netlink, index: Index) -> IoResult<Option<Mac>> {
    let mut message = LinkMessage::default();
    message.header.index = index.0;
    let Some(RouteNetlinkMessage::NewLink(link)) =
        netlink.get(RouteNetlinkMessage::GetLink(message))?
    else {
        return Ok(None);
    };
    if link.header.link_layer_type != LinkLayerType::Ether {
        return Ok(None);
    }
    Ok(link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => bytes.try_into().ok().map(Mac),
        _ => None,
    }))
}

/// Adds the address, or makes the one that is there stay for so long from now.
pub fn add(
    netlink: &Netlink,
    floating: &Floating,
    index: Index,
    valid_seconds: u32,
) -> IoResult<()> {
    let mut message = message(floating, index);
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = valid_seconds;
    // It is preferred until its end: nothing here chooses it as a source by itself anyway.
    lifetime.ifa_preferred = valid_seconds;
    message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    if floating.address().is_ipv6() {
        // Usable at once: that nobody else holds it is what the lease says, and the detection of
        // duplicates (RFC 4862, section 5.4) would take a second.
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    netlink.order(NLM_F_CREATE | NLM_F_REPLACE, RouteNetlinkMessage::NewAddress(message))
}

/// Removes the address; EADDRNOTAVAIL if it is not there.
pub fn remove(netlink: &Netlink, floating: &Floating, index: Index) -> IoResult<()> {
    netlink.order(0, RouteNetlinkMessage::DelAddress(message(floating, index)))
}

/// Where any of `wanted` is on this machine.
pub fn list(netlink: &Netlink, wanted: &[IpAddr]) -> IoResult<Vec<Listing>> {
    let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let listed = netlink.list(all, LISTINGS_MAX, |answer| match answer {
        RouteNetlinkMessage::NewAddress(message) => {
            listing(message).filter(|listing| wanted.contains(&listing.address))
        }
        _ => None,
    })?;
    Ok(listed.items)
}

fn message(floating: &Floating, index: Index) -> AddressMessage {
    let family = match floating.address() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family,
        prefix_len: floating.prefix(),
        index: index.0,
        ..AddressHeader::default()
    };
    message.attributes = vec![
        AddressAttribute::Local(floating.address()),
        AddressAttribute::Address(floating.address()),
    ];
    message
}

fn listing(message: AddressMessage) -> Option<Listing> {
    let AddressHeader { prefix_len: prefix, index, .. } = message.header;
    let (mut local, mut peer, mut valid) = (None, None, u32::MAX);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(address),
            AddressAttribute::Address(address) => peer = Some(address),
            AddressAttribute::CacheInfo(lifetime) => valid = lifetime.ifa_valid,
            _ => {}
        }
    }
    // IPv6 tells the local one only where it is not the one it tells anyway.
    let address = local.or(peer)?;
    let valid_seconds = (valid != FOR_EVER).then_some(valid);
    Some(Listing { address, prefix, index: Index(index), valid_seconds })
}

/// One address can be on many interfaces. Nobody has so many.
const LISTINGS_MAX: usize = 4096;

/// `INFINITY_LIFE_TIME` of the kernel's `include/net/addrconf.h`.
const FOR_EVER: u32 = u32::MAX;
