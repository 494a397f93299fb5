//! What an appliance does with floating addresses, done by the kernel of this machine.
//!
//! Invariant: no call opens a file (but [`Addresses::prepare`]) or waits for another machine.
//! Absent on purpose: state. The kernel knows which addresses are here.

use std::io::{Error as IoError, ErrorKind};
use std::net::IpAddr;
use std::time::Duration;

use rustix::net::netlink::SOCK_DIAG;

use crate::connection::{CONNECTIONS_MAX, Connection, Connections, Ends};
use crate::diag::{self, Fate, Found, Wanted};
use crate::fault::{Deed, Fault};
use crate::floating::{Floating, InterfaceName, VALID_SECONDS_MAX, VALID_SECONDS_MIN};
use crate::netlink::Netlink;
use crate::packets::{self, Arp, Mac};
use crate::raw::{EtherType, Neighbour, Raw};
use crate::route::{self, Index, Listing};

/// The floating addresses of this machine; more exactly of the network namespace in which it was
/// opened. It needs `CAP_NET_ADMIN` and `CAP_NET_RAW`.
///
/// Calls of several threads are answered one after the other; each takes microseconds to a few
/// milliseconds.
#[derive(Debug)]
pub struct Addresses {
    route: Netlink,
    diag: Netlink,
    raw: Raw,
}

/// A floating address that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The address, with the subnet and the interface that it has here, which need not be those
    /// that are configured now.
    pub floating: Floating,
    /// In how long the kernel removes it, in whole seconds; None if it never does: then it was
    /// not added by [`Addresses::hold`], and the operator is to be told.
    pub remaining: Option<Duration>,
}

/// What became of an address's connections in [`Addresses::give_up`]. Their clients have heard
/// nothing: the caller has them [`Addresses::tickle`]d from here, too, as of those that came lately
/// the next holder does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// They were destroyed. None is left.
    Destroyed(Vec<Connection>),
    /// This kernel can't do that (it lacks `CONFIG_INET_DIAG_DESTROY`). The caller logs it and
    /// closes its own connections of that address; they harm nobody before the address comes back
    /// to this machine.
    Left(Vec<Connection>),
}

/// What [`Addresses::tickle`] did.
#[derive(Debug)]
#[must_use]
pub struct Tickled {
    /// How many connections, from the first on, were tried. The caller goes on with those behind
    /// them, a moment later.
    pub tried: usize,
    /// To how many of these a packet was sent.
    pub sent: usize,
    /// Why it was not for the first of the others. The caller logs it.
    pub fault: Option<Fault>,
}

impl Addresses {
    /// Opens the sockets that everything else uses, in the calling thread's network.
    ///
    /// # Errors
    /// [`Fault::NotPermitted`] is for the operator; anything else too.
    pub fn open() -> Result<Self, Fault> {
        let failed = |fault: IoError| Deed::Open.failed(fault);
        Ok(Self {
            route: Netlink::open(None).map_err(failed)?,
            diag: Netlink::open(Some(SOCK_DIAG)).map_err(failed)?,
            raw: Raw::open().map_err(failed)?,
        })
    }

    /// Makes an interface fit for several floating addresses of IPv4 in one subnet; called once
    /// for each interface, from a thread of the network that this was opened in.
    ///
    /// Where no address of the subnet stays, the first floating one that is added is the primary
    /// one. When it goes, the kernel also removes the others of its subnet, unless
    /// `net.ipv4.conf.*.promote_secondaries` is 1 (`Documentation/networking/ip-sysctl.rst`).
    /// This sets it, for the interface alone. systemd sets it for all.
    ///
    /// # Errors
    /// [`Fault::NoInterface`], or `/proc/sys` can't be written. The caller logs it and goes on: it
    /// matters only to interfaces that have no address of their own in the subnet.
    pub fn prepare(&self, interface: &InterfaceName) -> Result<(), Fault> {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries");
        std::fs::write(path, "1").map_err(|fault| {
            let deed = Deed::Prepare(interface.clone());
            match fault.kind() {
                ErrorKind::NotFound => Fault::NoInterface { deed },
                _ => deed.failed(fault),
            }
        })
    }

    /// Adds the address, or renews it: it stays for `valid_for` from now, and is then removed by
    /// the kernel, whatever has become of this process.
    ///
    /// The kernel counts in seconds. Parts of one are dropped, so that no address outlives what
    /// was asked for by that. What is late is the removal: see [`VALID_SECONDS_MIN`].
    ///
    /// An address that is there already without a lifetime gets one. Connections outlive an address
    /// that the kernel removed; a holder that finds itself late calls [`Addresses::give_up`] all
    /// the same, or its kernel goes on sending over those of IPv6.
    ///
    /// # Errors
    /// [`Fault::Lifetime`]: a mistake of the caller's. With anything else the address is not held,
    /// or not renewed and about to go; the caller tries again at once and logs it.
    pub fn hold(&self, floating: &Floating, valid_for: Duration) -> Result<(), Fault> {
        let seconds = u32::try_from(valid_for.as_secs()).unwrap_or(u32::MAX);
        if !(VALID_SECONDS_MIN..=VALID_SECONDS_MAX).contains(&seconds) {
            return Err(Fault::Lifetime { floating: floating.clone(), valid_for });
        }
        let index = route::index_of(&self.route, floating.interface());
        index
            .and_then(|index| route::add(&self.route, floating, index, seconds))
            .map_err(|fault| Deed::Hold(floating.clone()).failed(fault))
    }

    /// Removes the address, and then ends its connections. An address that is not there is no
    /// error, nor is an interface that is not.
    ///
    /// The order is this one so that clients hear nothing from a machine that no longer holds the
    /// address. Once it is removed nothing that clients send is received, nor acknowledged, and
    /// what the kernel would send to them of its own accord (a reset, for each socket that it
    /// destroys) finds no way, because the address that it would come from is not of this
    /// machine. So a client waits until the next holder's [`Addresses::tickle`], rather than
    /// connect to an address that nobody holds yet and wait for seconds. CTDB, which destroys
    /// first, blocks the address in the firewall meanwhile.
    ///
    /// Over IPv6 the kernel does not look whether the address is of this machine, and its reset is
    /// sent. The client's next connection then waits for the next holder, and for a second if it
    /// came too soon.
    ///
    /// The next holder knows of no client that came after this machine could last tell the fleet:
    /// the caller tickles those that ended here itself, for some seconds.
    ///
    /// # Errors
    /// The address may still be there, or its connections. The caller tries again; the address
    /// goes by itself at the end of its lifetime.
    pub fn give_up(&self, floating: &Floating) -> Result<Ended, Fault> {
        let index = route::index_of(&self.route, floating.interface());
        match index.and_then(|index| route::remove(&self.route, floating, index)) {
            Ok(()) => {}
            Err(fault) if is_absent(&fault) => {}
            Err(fault) => return Err(Deed::Remove(floating.clone()).failed(fault)),
        }
        self.end_all(floating.address())
    }

    /// Tells the neighbours once that the address is at this machine: with ARP, in both forms
    /// (RFC 5227, section 2.3; RFC 826), or with an unsolicited Neighbor Advertisement that
    /// overrides what they know (RFC 4861, section 7.2.6). The caller repeats it: neither is
    /// answered, and either can be lost.
    ///
    /// It does not look whether the address is held: hold it first.
    ///
    /// # Errors
    /// [`Fault::NotEthernet`] is for the operator. With anything else neighbours send to the
    /// previous holder until they ask again, which takes them up to a minute; the caller tries
    /// again.
    pub fn announce(&self, floating: &Floating) -> Result<(), Fault> {
        let failed = |fault| Deed::Announce(floating.clone()).failed(fault);
        let index = route::index_of(&self.route, floating.interface()).map_err(failed)?;
        let Some(mac) = route::mac_of(&self.route, index).map_err(failed)? else {
            return Err(Fault::NotEthernet { deed: Deed::Announce(floating.clone()) });
        };
        let sent = match floating.address() {
            IpAddr::V4(address) => {
                let all = Neighbour { index, kind: EtherType::Arp, mac: Mac::BROADCAST };
                [Arp::Request, Arp::Reply].into_iter().try_for_each(|form| {
                    self.raw.to_neighbour(all, &packets::arp(form, mac, address))
                })
            }
            IpAddr::V6(address) => {
                let all = Neighbour { index, kind: EtherType::Ipv6, mac: Mac::ALL_NODES };
                self.raw.to_neighbour(all, &packets::advertisement(mac, address))
            }
        };
        sent.map_err(failed)
    }

    /// The connections to `port` of `address`: established TCP ones, also of a socket on `[::]`.
    /// Those of one address that the next holder will have to [`Addresses::tickle`].
    ///
    /// # Errors
    /// Not permitted, or a kernel without `CONFIG_INET_DIAG` (the module `tcp_diag`). The caller
    /// logs it; addresses move all the same, but clients notice late.
    pub fn connections(&self, address: IpAddr, port: u16) -> Result<Connections, Fault> {
        let wanted = Wanted { address, port: Some(port) };
        let found = diag::established(&self.diag, wanted, CONNECTIONS_MAX)
            .map_err(|fault| Deed::List(address).failed(fault))?;
        let list = found.items.iter().filter_map(connection_of).collect();
        Ok(Connections { list, cut: found.cut })
    }

    /// Provokes the clients of these connections, which another machine served, to find out that
    /// they are gone.
    ///
    /// Each is sent one bare TCP ACK (as `ctdb_sys_send_tcp` of Samba's CTDB does). It fits in no
    /// connection, so the client answers with the numbers that it expects, and *that* answer this
    /// machine's kernel refuses with a reset that fits: the client connects again at once. A
    /// client that has no such connection answers with a reset, and nothing happens.
    ///
    /// The address must be held here and its clients must know ([`Addresses::announce`]), or they
    /// answer to somebody else. One packet can be lost, and a client answers one within half a
    /// second (`net.ipv4.tcp_invalid_ratelimit`): the caller repeats it a few times, a second
    /// apart. At most [`TICKLES_MAX`] are sent a call.
    pub fn tickle(&self, connections: &[Connection]) -> Tickled {
        let mut done = Tickled { tried: 0, sent: 0, fault: None };
        for connection in connections.iter().take(TICKLES_MAX) {
            let sent = match connection.ends() {
                Ends::V4(local, remote) => self.raw.to_v4(remote, &packets::ack_v4(local, remote)),
                Ends::V6(local, remote) => self.raw.to_v6(remote, &packets::ack_v6(local, remote)),
            };
            match sent {
                Ok(()) => done.sent += 1,
                // The queues are full; with the next call they no longer are.
                Err(fault) if is_full(&fault) => break,
                Err(fault) => {
                    done.fault.get_or_insert_with(|| Deed::Tickle(*connection).failed(fault));
                }
            }
            done.tried += 1;
        }
        done
    }

    /// Where these addresses are on this machine now, on whatever interface: what an earlier run
    /// left behind, say, which the caller gives up.
    ///
    /// # Errors
    /// The addresses change faster than they are listed, or the kernel has no answer; the caller
    /// asks again.
    pub fn held(&self, addresses: &[IpAddr]) -> Result<Vec<Held>, Fault> {
        let failed = |fault| Deed::Look.failed(fault);
        let listed = route::list(&self.route, addresses).map_err(failed)?;
        // An interface that went meanwhile took its addresses with it.
        Ok(listed.into_iter().filter_map(|listing| self.named(listing)).collect())
    }

    fn named(&self, listing: Listing) -> Option<Held> {
        let Listing { address, prefix, index, valid_seconds } = listing;
        let interface = self.name_of(index)?;
        let floating = Floating::new(address, prefix, interface).ok()?;
        let remaining = valid_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Some(Held { floating, remaining })
    }

    fn name_of(&self, index: Index) -> Option<InterfaceName> {
        route::name_of(&self.route, index).ok()?.parse().ok()
    }

    /// Ends all connections of an address that is no longer here, so that none comes meanwhile.
    fn end_all(&self, address: IpAddr) -> Result<Ended, Fault> {
        let failed = |fault| Deed::Destroy(address).failed(fault);
        let wanted = Wanted { address, port: None };
        let mut ended = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let found = diag::alive(&self.diag, wanted, CONNECTIONS_MAX).map_err(failed)?;
            for socket in &found.items {
                match diag::destroy(&self.diag, socket).map_err(failed)? {
                    Fate::Destroyed => ended.extend(connection_of(socket)),
                    Fate::Gone => {}
                    Fate::Unsupported => {
                        let left = found.items.iter().filter_map(connection_of);
                        return Ok(Ended::Left(left.collect()));
                    }
                }
            }
            if !found.cut {
                break;
            }
        }
        Ok(Ended::Destroyed(ended))
    }
}

/// Both ends of a socket are of one family, or it is no connection.
fn connection_of(socket: &Found) -> Option<Connection> {
    Connection::new(socket.local(), socket.remote()).ok()
}

/// Whether the kernel says that there is no such address, or no such interface.
fn is_absent(fault: &IoError) -> bool {
    matches!(fault.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENXIO))
}

fn is_full(fault: &IoError) -> bool {
    matches!(fault.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// How many clients are provoked a call: 60 KiB of packets, little beside what any link and any
/// queue takes at once.
pub const TICKLES_MAX: usize = 1000;

/// How often [`CONNECTIONS_MAX`] sockets of one address are ended before it is enough.
const ROUNDS_MAX: usize = 16;
