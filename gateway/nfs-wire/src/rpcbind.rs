//! rpcbind: tells clients on which port a program listens (RFC 1833). Version 2 is the old port
//! mapper, with ports; versions 3 and 4 have universal addresses.
//!
//! Both ends are here: what our own responder decodes, and what registers us with an rpcbind that
//! runs already (SET and UNSET).
//!
//! Absent on purpose: CALLIT, BCAST and INDIRECT, which let a stranger send calls through us;
//! UADDR2TADDR, TADDR2UADDR and GETSTAT, which no client needs. All are PROC_UNAVAIL.

use bytes::{BufMut, Bytes, BytesMut};

use crate::message::Body;
use crate::mount::{put_list, take_list};
use crate::rpc::BadArgs;
use crate::xdr::{Decode, Encode, Malformed, Reader, put_opaque, wire_enum, wire_struct};

mod address;
#[cfg(test)]
mod tests;

pub use address::{Netid, parse_universal_address, universal_address};

/// The RPC program number of rpcbind, in all versions.
pub const PROGRAM: u32 = 100_000;

/// The port it listens on.
pub const PORT: u16 = 111;

wire_enum! {
    /// The versions of the program.
    pub enum Version as "rpcbind version" {
        V2 = 2, "portmap";
        V3 = 3, "rpcbind 3";
        V4 = 4, "rpcbind 4";
    }
}

/// What is offered where, in ports (`mapping` of version 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// An RPC program.
    pub program: u32,
    /// A version of it.
    pub version: u32,
    /// An IP protocol: [`IPPROTO_TCP`] or [`IPPROTO_UDP`].
    pub protocol: u32,
    /// Its port; over 65 535 is nonsense, but decodes.
    pub port: u32,
}

wire_struct!(Mapping { program, version, protocol, port });

/// A short string of rpcbind: a network identifier, an address, an owner. Not necessarily text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(pub Bytes);

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl Encode for Text {
    fn put(&self, out: &mut BytesMut) {
        put_opaque(out, &self.0);
    }
}

impl Decode for Text {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.opaque(TEXT_BYTES_MAX).map(Self)
    }
}

/// What is offered where, in universal addresses (`rpcb` of versions 3 and 4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rpcb {
    /// An RPC program.
    pub program: u32,
    /// A version of it.
    pub version: u32,
    /// The network identifier: [`Netid::parse`].
    pub netid: Text,
    /// The universal address: [`parse_universal_address`].
    pub address: Text,
    /// Who registered it.
    pub owner: Text,
}

wire_struct!(Rpcb { program, version, netid, address, owner });

/// One address of a service (`rpcb_entry` of version 4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RpcbEntry {
    /// Its universal address.
    pub address: Text,
    /// Its network identifier.
    pub netid: Text,
    /// How the transport behaves: [`Netid::semantics`].
    pub semantics: u32,
    /// Its protocol family: [`Netid::family`].
    pub family: Text,
    /// Its protocol: [`Netid::protocol_name`].
    pub protocol: Text,
}

wire_struct!(RpcbEntry { address, netid, semantics, family, protocol });

/// The arguments of a call, by what is asked. In version 2 it is asked with a [`Mapping`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Args {
    /// Nothing, in all versions.
    Null,
    /// Version 2: register this.
    SetPort(Mapping),
    /// Version 2: forget program and version of this, whatever its protocol and port.
    UnsetPort(Mapping),
    /// Version 2: on which port are program, version and protocol?
    Getport(Mapping),
    /// Version 2: everything registered.
    DumpPorts,
    /// Versions 3 and 4: register this.
    Set(Rpcb),
    /// Versions 3 and 4: forget program and version of this on its network, or on all if that
    /// is empty.
    Unset(Rpcb),
    /// Versions 3 and 4: where is the program, in this version or else any other?
    Getaddr(Rpcb),
    /// Versions 3 and 4: everything registered.
    Dump,
    /// Versions 3 and 4: what time is it?
    Gettime,
    /// Version 4: where is the program, in just this version?
    Getversaddr(Rpcb),
    /// Version 4: all addresses of program and version.
    Getaddrlist(Rpcb),
}

impl Args {
    /// Decodes the arguments of procedure number `procedure`, as a call has them.
    pub fn decode(version: Version, procedure: u32, args: &Bytes) -> Result<Self, BadArgs> {
        let args = &mut Reader::new(args);
        Ok(match (version, procedure) {
            (_, NULL) => Self::Null,
            (Version::V2, SET) => Self::SetPort(Decode::take(args)?),
            (Version::V2, UNSET) => Self::UnsetPort(Decode::take(args)?),
            (Version::V2, GETADDR) => Self::Getport(Decode::take(args)?),
            (Version::V2, DUMP) => Self::DumpPorts,
            (Version::V3 | Version::V4, SET) => Self::Set(Decode::take(args)?),
            (Version::V3 | Version::V4, UNSET) => Self::Unset(Decode::take(args)?),
            (Version::V3 | Version::V4, GETADDR) => Self::Getaddr(Decode::take(args)?),
            (Version::V3 | Version::V4, DUMP) => Self::Dump,
            (Version::V3 | Version::V4, GETTIME) => Self::Gettime,
            (Version::V4, GETVERSADDR) => Self::Getversaddr(Decode::take(args)?),
            (Version::V4, GETADDRLIST) => Self::Getaddrlist(Decode::take(args)?),
            (Version::V2 | Version::V3 | Version::V4, _) => return Err(BadArgs::UnknownProcedure),
        })
    }

    /// Its procedure number, the same in all versions that have it.
    pub fn procedure(&self) -> u32 {
        match self {
            Self::Null => NULL,
            Self::SetPort(_) | Self::Set(_) => SET,
            Self::UnsetPort(_) | Self::Unset(_) => UNSET,
            Self::Getport(_) | Self::Getaddr(_) => GETADDR,
            Self::DumpPorts | Self::Dump => DUMP,
            Self::Gettime => GETTIME,
            Self::Getversaddr(_) => GETVERSADDR,
            Self::Getaddrlist(_) => GETADDRLIST,
        }
    }
}

impl Body for Args {
    fn put_head(&self, out: &mut BytesMut) {
        match self {
            Self::Null | Self::DumpPorts | Self::Dump | Self::Gettime => {}
            Self::SetPort(mapping) | Self::UnsetPort(mapping) | Self::Getport(mapping) => {
                mapping.put(out);
            }
            Self::Set(rpcb)
            | Self::Unset(rpcb)
            | Self::Getaddr(rpcb)
            | Self::Getversaddr(rpcb)
            | Self::Getaddrlist(rpcb) => rpcb.put(out),
        }
    }
}

/// The results of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Of [`Args::Null`].
    Null,
    /// Of a SET or an UNSET: whether it was done.
    Done(bool),
    /// Of [`Args::Getport`]: 0 if there is none.
    Port(u32),
    /// Of [`Args::DumpPorts`].
    Mappings(Vec<Mapping>),
    /// Of [`Args::Getaddr`] and [`Args::Getversaddr`]: a universal address, empty if none.
    Address(Text),
    /// Of [`Args::Dump`].
    Services(Vec<Rpcb>),
    /// Of [`Args::Gettime`]: seconds since 1970.
    Time(u32),
    /// Of [`Args::Getaddrlist`].
    Addresses(Vec<RpcbEntry>),
}

impl Reply {
    /// Decodes the results of the call that `args` were the arguments of.
    pub fn decode(args: &Args, results: &Bytes) -> Result<Self, Malformed> {
        let results = &mut Reader::new(results);
        Ok(match args {
            Args::Null => Self::Null,
            Args::SetPort(_) | Args::UnsetPort(_) | Args::Set(_) | Args::Unset(_) => {
                Self::Done(results.boolean()?)
            }
            Args::Getport(_) => Self::Port(results.u32()?),
            Args::DumpPorts => Self::Mappings(take_list(results)?),
            Args::Getaddr(_) | Args::Getversaddr(_) => Self::Address(Text::take(results)?),
            Args::Dump => Self::Services(take_list(results)?),
            Args::Gettime => Self::Time(results.u32()?),
            Args::Getaddrlist(_) => Self::Addresses(take_list(results)?),
        })
    }
}

impl Body for Reply {
    fn put_head(&self, out: &mut BytesMut) {
        match self {
            Self::Null => {}
            Self::Done(done) => done.put(out),
            Self::Port(port) => out.put_u32(*port),
            Self::Mappings(mappings) => put_list(out, mappings),
            Self::Address(address) => address.put(out),
            Self::Services(services) => put_list(out, services),
            Self::Time(seconds) => out.put_u32(*seconds),
            Self::Addresses(entries) => put_list(out, entries),
        }
    }
}

/// TCP in a [`Mapping`].
pub const IPPROTO_TCP: u32 = 6;

/// UDP in a [`Mapping`].
pub const IPPROTO_UDP: u32 = 17;

/// Our limit of a [`Text`]; the longest address of IPv6 has 47 bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

const NULL: u32 = 0;
const SET: u32 = 1;
const UNSET: u32 = 2;
/// GETPORT in version 2.
const GETADDR: u32 = 3;
const DUMP: u32 = 4;
const GETTIME: u32 = 6;
const GETVERSADDR: u32 = 9;
const GETADDRLIST: u32 = 11;
