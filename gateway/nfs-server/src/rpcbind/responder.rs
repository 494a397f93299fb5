//! Answers questions for ports, over TCP and UDP, in versions 2, 3 and 4 of rpcbind.
//!
//! Invariant: services are set and unset only by privileged programs of this very machine.
//! Absent on purpose: CALLIT, which would let a stranger send calls in our name.

use std::io::Result as IoResult;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use nfs_wire::rpcbind::{
    Args, Mapping, Netid, PROGRAM, Reply, Rpcb, Version, parse_universal_address,
};
use nfs_wire::{BadCall, Call, Encoded, Framing, RecordReader, Refusal, rpc};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::debug;

use super::registry::{Registry, Service, Versions, Wanted};
use crate::connection::Peer;
use crate::pulse::{Pulse, unless_stopped};

/// How a question came in.
#[derive(Clone, Copy, Debug)]
struct Asked {
    by: Peer,
    /// Our own address as the client sees it.
    local: IpAddr,
    framing: Framing,
}

/// Answers datagrams until the server stops.
pub(super) async fn serve_udp(
    registry: Arc<Registry>,
    socket: UdpSocket,
    mut pulse: watch::Receiver<Pulse>,
) {
    let mut buffer = vec![0; CALL_BYTES_MAX];
    loop {
        let (length, from) = match unless_stopped(&mut pulse, socket.recv_from(&mut buffer)).await {
            Ok(Ok(received)) => received,
            Ok(Err(fault)) => {
                debug!(%fault, "a datagram for rpcbind was not received");
                tokio::task::yield_now().await;
                continue;
            }
            Err(_) => return,
        };
        let record = Bytes::copy_from_slice(&buffer[..length]);
        let (by, framing) = (Peer::from(from), Framing::Datagram);
        let asked = Asked { by, local: local_address_towards(from), framing };
        if let Some(message) = answer(&registry, asked, &record)
            && let Err(fault) = socket.send_to(&message.to_bytes(), from).await
        {
            debug!(client = %from, %fault, "an answer of rpcbind was not sent");
        }
    }
}

/// Answers connections until the server stops.
pub(super) async fn serve_tcp(
    registry: Arc<Registry>,
    listener: TcpListener,
    mut pulse: watch::Receiver<Pulse>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match unless_stopped(&mut pulse, listener.accept()).await {
            Ok(Ok((stream, _))) => stream,
            Ok(Err(fault)) => {
                debug!(%fault, "a connection to rpcbind was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            Err(_) => return,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            debug!("a connection to rpcbind was closed: there are too many");
            continue;
        };
        let (registry, mut pulse) = (Arc::clone(&registry), pulse.clone());
        tokio::spawn(async move {
            let talk = timeout(CONNECTION_MAX, converse(&registry, stream));
            if let Ok(Ok(Err(fault))) = unless_stopped(&mut pulse, talk).await {
                debug!(%fault, "a connection to rpcbind was lost");
            }
            drop(place);
        });
    }
}

async fn converse(registry: &Registry, mut stream: TcpStream) -> IoResult<()> {
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let (by, local) = (Peer::from(peer), local.ip().to_canonical());
    let asked = Asked { by, local, framing: Framing::Record };
    let mut records = RecordReader::new(CALL_BYTES_MAX);
    loop {
        while let Some(record) = records.next().map_err(std::io::Error::other)? {
            if let Some(message) = answer(registry, asked, &record) {
                stream.write_all(&message.to_bytes()).await?;
            }
        }
        stream.readable().await?;
        match stream.try_read_buf(&mut records.spare()) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// The answer to a record; none if it is no call.
fn answer(registry: &Registry, asked: Asked, record: &Bytes) -> Option<Encoded> {
    let mut scratch = BytesMut::new();
    let (xid, outcome) = match Call::parse(record) {
        Ok(call) => (call.xid, reply(registry, asked, &call)),
        Err(BadCall::Refused { xid, refusal }) => (xid, Err(refusal)),
        Err(BadCall::Unanswerable) => return None,
    };
    Some(match outcome {
        Ok(reply) => rpc::accept(xid, asked.framing, &reply, &mut scratch),
        Err(refusal) => rpc::refuse(xid, asked.framing, refusal, &mut scratch),
    })
}

fn reply(registry: &Registry, asked: Asked, call: &Call) -> Result<Reply, Refusal> {
    if call.program != PROGRAM {
        return Err(Refusal::ProgUnavail);
    }
    let (low, high) = (Version::V2.code(), Version::V4.code());
    let version = Version::from_code(call.version).ok_or(Refusal::ProgMismatch { low, high })?;
    let args = Args::decode(version, call.procedure, &call.args).map_err(|bad| bad.refusal())?;
    let local = asked.local;
    Ok(match args {
        Args::Null => Reply::Null,
        Args::Getport(mapping) => Reply::Port(match wanted_in_v2(&mapping) {
            Some(wanted) => registry.port(wanted, local),
            None => 0,
        }),
        Args::DumpPorts => Reply::Mappings(registry.mappings()),
        Args::Getaddr(rpcb) => {
            Reply::Address(registry.address(wanted(&rpcb, asked), Versions::Any, local))
        }
        Args::Getversaddr(rpcb) => {
            Reply::Address(registry.address(wanted(&rpcb, asked), Versions::Exact, local))
        }
        Args::Getaddrlist(rpcb) => {
            Reply::Addresses(registry.addresses(rpcb.program, rpcb.version, local))
        }
        Args::Dump => Reply::Services(registry.services()),
        Args::Gettime => Reply::Time(seconds_since_1970()),
        Args::SetPort(mapping) => Reply::Done(may_set(asked.by) && set_in_v2(registry, &mapping)),
        Args::Set(rpcb) => Reply::Done(may_set(asked.by) && set(registry, &rpcb)),
        Args::UnsetPort(mapping) => {
            let Mapping { program, version, .. } = mapping;
            Reply::Done(may_set(asked.by) && registry.unset(program, version, None))
        }
        Args::Unset(rpcb) => Reply::Done(may_set(asked.by) && unset(registry, &rpcb)),
    })
}

/// A privileged program of this machine.
fn may_set(by: Peer) -> bool {
    by.ip.is_loopback() && by.privileged_port
}

fn wanted_in_v2(mapping: &Mapping) -> Option<Wanted> {
    let of_protocol = |netid: &Netid| netid.protocol() == mapping.protocol;
    let netid = [Netid::Tcp, Netid::Udp].into_iter().find(of_protocol)?;
    Some(Wanted { program: mapping.program, version: mapping.version, netid })
}

/// A question without a network that we know is about the one it came over.
fn wanted(rpcb: &Rpcb, asked: Asked) -> Wanted {
    let came_over = match (asked.framing, asked.local) {
        (Framing::Record, IpAddr::V4(_)) => Netid::Tcp,
        (Framing::Record, IpAddr::V6(_)) => Netid::Tcp6,
        (Framing::Datagram, IpAddr::V4(_)) => Netid::Udp,
        (Framing::Datagram, IpAddr::V6(_)) => Netid::Udp6,
    };
    let netid = Netid::parse(&rpcb.netid.0).unwrap_or(came_over);
    Wanted { program: rpcb.program, version: rpcb.version, netid }
}

fn set_in_v2(registry: &Registry, mapping: &Mapping) -> bool {
    let (Some(wanted), Ok(port)) = (wanted_in_v2(mapping), u16::try_from(mapping.port)) else {
        return false;
    };
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    registry.set(Service::set_by("portmap".into(), wanted, address))
}

fn set(registry: &Registry, rpcb: &Rpcb) -> bool {
    let (Some(netid), Some(address)) =
        (Netid::parse(&rpcb.netid.0), parse_universal_address(&rpcb.address.0))
    else {
        return false;
    };
    let is_ipv6 = matches!(netid, Netid::Tcp6 | Netid::Udp6);
    if is_ipv6 != address.is_ipv6() || rpcb.owner.0.len() > OWNER_BYTES_MAX {
        return false;
    }
    let wanted = Wanted { program: rpcb.program, version: rpcb.version, netid };
    // Copied: a slice would keep the record it came in.
    let owner = nfs_wire::rpcbind::Text(Bytes::copy_from_slice(&rpcb.owner.0));
    registry.set(Service::set_by(owner, wanted, address))
}

fn unset(registry: &Registry, rpcb: &Rpcb) -> bool {
    let netid = Netid::parse(&rpcb.netid.0);
    let all = rpcb.netid.0.is_empty();
    (all || netid.is_some()) && registry.unset(rpcb.program, rpcb.version, netid)
}

/// The address from which the system would send to `client`: over UDP nothing else tells at which
/// of ours it asked.
fn local_address_towards(client: SocketAddr) -> IpAddr {
    let unspecified: IpAddr = match client {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let towards = || {
        let socket = std::net::UdpSocket::bind((unspecified, 0))?;
        socket.connect(client)?;
        socket.local_addr()
    };
    towards().map_or(unspecified, |address: SocketAddr| address.ip().to_canonical())
}

#[expect(clippy::disallowed_methods, reason = "GETTIME is a question for this machine's clock")]
fn seconds_since_1970() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// Above any question: a header with credentials and five short fields.
const CALL_BYTES_MAX: usize = 9000;

/// Questions are short; more clients than this at once are none.
const CONNECTIONS_MAX: usize = 64;

/// How long one client may hold a connection.
const CONNECTION_MAX: Duration = Duration::from_secs(30);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OWNER_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests;
