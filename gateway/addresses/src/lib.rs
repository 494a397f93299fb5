//! Floating addresses on Linux: an appliance takes one for a while, renews it, announces it, and
//! gives it up.
//!
//! Invariant: an address that nobody renews leaves this machine by itself, even if this process
//! is frozen; the kernel counts its lifetime. An address is added, renewed and removed without a
//! file being opened, so a process that has no descriptor left can still give it up.
//!
//! Absent on purpose: who holds which address, and for how long; clocks, threads and retries (the
//! caller repeats what it wants repeated); NFS. Every call asks the kernel and returns: none waits
//! for another machine, so each may be made from a thread of the caller's own that no busy
//! runtime can delay.
//!
//! How an address moves:
//!
//! 1. While it holds the address, an appliance calls [`Addresses::hold`] again and again, and
//!    tells the fleet the [`Addresses::connections`] of it.
//! 2. It gives the address up ([`Addresses::give_up`]), or dies and the lifetime ends. Either
//!    way clients hear nothing more from it (over IPv6 perhaps a reset, see there).
//! 3. The next holder calls [`Addresses::hold`], [`Addresses::announce`] and, with what the fleet
//!    knows, [`Addresses::tickle`]: each client answers to it, is told that it knows no such
//!    connection, and connects again at once, rather than after the 60 s in which the Linux NFS
//!    client notices by itself. So does the holder before with those whose connections ended there.

mod adapter;
mod connection;
mod diag;
mod fault;
mod floating;
mod netlink;
mod packets;
mod raw;
mod route;

pub use self::adapter::{Addresses, Ended, Held, TICKLES_MAX, Tickled};
pub use self::connection::{BadConnection, CONNECTIONS_MAX, Connection, Connections};
pub use self::fault::{Deed, Fault};
pub use self::floating::{
    BadFloating, BadInterfaceName, Floating, InterfaceName, VALID_SECONDS_MAX, VALID_SECONDS_MIN,
};
