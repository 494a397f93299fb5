//! Registers our services with an rpcbind that runs on this machine already, and takes them back.
//!
//! Version 2 is used for IPv4, which every rpcbind speaks, and version 4 for IPv6. An rpcbind
//! takes a SET only from a privileged port of the loopback address.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nfs_wire::rpc::{Answer, AuthSys, CallHeader, Gids, call};
use nfs_wire::rpcbind::{Args, Mapping, PROGRAM, Reply, Rpcb, Text, Version, universal_address};
use nfs_wire::{Credential, Framing, Xid};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::registry::Service;

pub(super) struct Registrar {
    rpcbind: SocketAddr,
    services: Vec<Service>,
    registered: AtomicBool,
    next_xid: AtomicU32,
}

impl Registrar {
    pub(super) fn new(rpcbind: SocketAddr, services: Vec<Service>) -> Self {
        let (registered, next_xid) = (AtomicBool::new(false), AtomicU32::new(1));
        Self { rpcbind, services, registered, next_xid }
    }

    /// Registers all services; tries again now and then if nobody answers.
    pub(super) async fn register(self: Arc<Self>) {
        let mut told = false;
        loop {
            match self.register_once().await {
                Ok(()) => {
                    self.registered.store(true, Relaxed);
                    info!(rpcbind = %self.rpcbind, "NFS and MOUNT are registered");
                    return;
                }
                Err(fault) if told => debug!(rpcbind = %self.rpcbind, %fault, "not registered"),
                Err(fault) => {
                    told = true;
                    let rpcbind = self.rpcbind;
                    warn!(%rpcbind, %fault, "not registered: clients don't find us; trying on");
                }
            }
            sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// Takes the services back, if they were registered.
    pub(super) async fn unregister(&self) {
        if !self.registered.swap(false, Relaxed) {
            return;
        }
        let unset = async { self.unset_all(&privileged_socket().await?).await };
        match unset.await {
            Ok(()) => info!(rpcbind = %self.rpcbind, "NFS and MOUNT are not registered any more"),
            Err(fault) => debug!(rpcbind = %self.rpcbind, %fault, "could not unregister"),
        }
    }

    async fn register_once(&self) -> IoResult<()> {
        let socket = privileged_socket().await?;
        // What an earlier run left behind would make a SET fail.
        self.unset_all(&socket).await?;
        for service in &self.services {
            let done = self.ask(&socket, set(service)).await?;
            // An rpcbind of before IPv6, or without it, may refuse that half.
            if !done && service.address.is_ipv4() {
                let Service { program, version, netid, .. } = service;
                let refused = format!("SET of {program} {version} {} was refused", netid.word());
                return Err(IoError::new(ErrorKind::PermissionDenied, refused));
            }
        }
        Ok(())
    }

    async fn unset_all(&self, socket: &UdpSocket) -> IoResult<()> {
        for service in &self.services {
            self.ask(socket, unset(service)).await?;
        }
        Ok(())
    }

    /// Whether the other rpcbind did as asked.
    async fn ask(&self, socket: &UdpSocket, (version, args): (Version, Args)) -> IoResult<bool> {
        let xid = Xid(self.next_xid.fetch_add(1, Relaxed));
        let credential = root();
        let header = CallHeader {
            xid,
            program: PROGRAM,
            version: version.code(),
            procedure: args.procedure(),
            credential: &credential,
        };
        let message = call(&header, Framing::Datagram, &args, &mut BytesMut::new()).to_bytes();
        for _ in 0..TRIES_MAX {
            socket.send_to(&message, self.rpcbind).await?;
            if let Ok(answer) = timeout(ANSWER_WAIT, answer_to(socket, xid, &args)).await {
                return answer;
            }
        }
        Err(IoError::new(ErrorKind::TimedOut, "rpcbind does not answer"))
    }
}

async fn answer_to(socket: &UdpSocket, xid: Xid, args: &Args) -> IoResult<bool> {
    let mut buffer = [0; ANSWER_BYTES_MAX];
    loop {
        let (length, _) = socket.recv_from(&mut buffer).await?;
        match Answer::parse(&Bytes::copy_from_slice(&buffer[..length])) {
            Ok(answer) if answer.xid == xid => {
                let done =
                    answer.outcome.ok().and_then(|results| Reply::decode(args, &results).ok());
                return Ok(done == Some(Reply::Done(true)));
            }
            // Of an earlier try, or nonsense.
            Ok(_) | Err(_) => {}
        }
    }
}

fn set(service: &Service) -> (Version, Args) {
    match service.address.is_ipv4() {
        true => (Version::V2, Args::SetPort(mapping(service))),
        false => (Version::V4, Args::Set(rpcb(service))),
    }
}

fn unset(service: &Service) -> (Version, Args) {
    match service.address.is_ipv4() {
        true => (Version::V2, Args::UnsetPort(mapping(service))),
        false => (Version::V4, Args::Unset(rpcb(service))),
    }
}

fn mapping(service: &Service) -> Mapping {
    Mapping {
        program: service.program,
        version: service.version,
        protocol: service.netid.protocol(),
        port: u32::from(service.address.port()),
    }
}

fn rpcb(service: &Service) -> Rpcb {
    Rpcb {
        program: service.program,
        version: service.version,
        netid: Text::from(service.netid.word()),
        address: Text(universal_address(service.address).into()),
        owner: Text::from("superuser"),
    }
}

fn root() -> Credential {
    let machine = Bytes::from_static(b"localhost");
    Credential::Sys(AuthSys { stamp: 0, machine, uid: 0, gid: 0, gids: Gids::default() })
}

/// A socket on a privileged port if we may have one. The other rpcbind may do without, if it was
/// started so.
async fn privileged_socket() -> IoResult<UdpSocket> {
    for port in PRIVILEGED_PORTS.rev() {
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await {
            Err(fault) if fault.kind() == ErrorKind::AddrInUse => {}
            Err(fault) if fault.kind() == ErrorKind::PermissionDenied => break,
            bound => return bound,
        }
    }
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// Those that Linux's own clients choose from.
const PRIVILEGED_PORTS: std::ops::Range<u16> = 665..1024;

const TRIES_MAX: usize = 3;
const ANSWER_WAIT: Duration = Duration::from_secs(1);
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(30);

const ANSWER_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests;
