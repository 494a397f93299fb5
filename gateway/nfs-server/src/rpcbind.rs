//! Tells clients our ports: with a responder of our own, or by registering with the rpcbind that
//! runs on this machine already.
//!
//! Invariant: only what is served is listed. NFSACL is not, so clients do without at once. NLM is,
//! because lockd would wait for ever for a program that is not there: we say that there are no
//! locks.

use std::io::{ErrorKind, Result as IoResult};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::held::Held;
use crate::listen::listen;
use crate::pulse::Pulse;
use crate::settings::{RpcbindMode, Settings};

mod registrar;
mod registry;
mod responder;

use registrar::Registrar;
use registry::{Registry, nfs_services, own_services};

/// What became of [`RpcbindMode`].
pub(crate) struct Rpcbind {
    addresses: Vec<SocketAddr>,
    registrar: Option<Arc<Registrar>>,
}

impl Rpcbind {
    /// Starts to answer, or to register, for NFS and MOUNT on `served`.
    ///
    /// # Errors
    /// The port can't be bound, and [`RpcbindMode::Own`] was asked for.
    pub(crate) fn start(
        (settings, held): (&Settings, &Held),
        served: &[SocketAddr],
        pulse: &watch::Sender<Pulse>,
        tasks: &mut JoinSet<()>,
    ) -> IoResult<Self> {
        let nothing = Self { addresses: Vec::new(), registrar: None };
        let port = settings.rpcbind_port;
        match settings.rpcbind {
            RpcbindMode::Off => Ok(nothing),
            RpcbindMode::Own => Self::answer(held, (served, port), pulse, tasks),
            RpcbindMode::Register => Ok(Self::register(served, port, tasks)),
            RpcbindMode::Auto => match Self::answer(held, (served, port), pulse, tasks) {
                Err(fault) if fault.kind() == ErrorKind::AddrInUse => {
                    info!(port, "an rpcbind runs already: registering with it");
                    Ok(Self::register(served, port, tasks))
                }
                Err(fault) => {
                    warn!(
                        %fault,
                        "no rpcbind: clients mount with -o port=,mountport=,mountproto=tcp"
                    );
                    Ok(nothing)
                }
                started => started,
            },
        }
    }

    /// Where our own responder listens.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes back what was registered elsewhere.
    pub(crate) async fn unregister(&self) {
        if let Some(registrar) = &self.registrar {
            registrar.unregister().await;
        }
    }

    fn answer(
        held: &Held,
        (served, port): (&[SocketAddr], u16),
        pulse: &watch::Sender<Pulse>,
        tasks: &mut JoinSet<()>,
    ) -> IoResult<Self> {
        let mut ips: Vec<_> = served.iter().map(SocketAddr::ip).collect();
        ips.sort_unstable();
        ips.dedup();
        let listening = ips.into_iter().map(|ip| listen(held, SocketAddr::new(ip, port)));
        let listening = listening.collect::<IoResult<Vec<_>>>()?;
        let addresses: Vec<_> = listening.iter().map(|socket| socket.address).collect();
        let mut services = own_services(&addresses);
        services.extend(nfs_services(served));
        let registry = Arc::new(Registry::new(services));
        for socket in listening {
            info!(address = %socket.address, "rpcbind is served");
            let registry = Arc::clone(&registry);
            tasks.spawn(responder::serve_tcp(Arc::clone(&registry), socket.tcp, pulse.subscribe()));
            tasks.spawn(responder::serve_udp(registry, socket.udp, pulse.subscribe()));
        }
        Ok(Self { addresses, registrar: None })
    }

    fn register(served: &[SocketAddr], port: u16, tasks: &mut JoinSet<()>) -> Self {
        let rpcbind = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let registrar = Arc::new(Registrar::new(rpcbind, nfs_services(served)));
        tasks.spawn(Arc::clone(&registrar).register());
        Self { addresses: Vec::new(), registrar: Some(registrar) }
    }
}
