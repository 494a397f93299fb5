//! An NFS client that is not ours and not the kernel's: the `nfs3_client` crate.
//!
//! Invariant: it shares no code with the appliance, so a misreading of the protocol on our side
//! shows. Each connection comes with the runtime that drives it, so that a test needs no `async`.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};

use nfs3_client::nfs3_types::nfs3::nfs_fh3;
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::tokio::{TokioConnector, TokioIo};
use nfs3_client::{ConnectError, Nfs3Client, Nfs3Connection, Nfs3ConnectionBuilder};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What the crate calls a connection: one to MOUNT and one to NFS.
type Inner = Nfs3Connection<TokioIo<TcpStream>>;

/// A mounted client and the runtime that drives it.
pub struct Connection {
    inner: Inner,
    runtime: Runtime,
}

impl Connection {
    /// The handle of the volume's root.
    #[must_use]
    pub fn root(&self) -> nfs_fh3 {
        self.inner.root_nfs_fh3()
    }

    /// Makes one call: `connection.call(async |nfs| nfs.getattr(&args).await)`.
    pub fn call<T>(
        &mut self,
        run: impl AsyncFnOnce(&mut Nfs3Client<TokioIo<TcpStream>>) -> T,
    ) -> T {
        self.runtime.block_on(run(&mut self.inner.nfs3_client))
    }

    /// Runs any future on this connection's runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Deref for Connection {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

/// Mounts `volume` of the sandbox's appliance over loopback, as root.
#[must_use]
pub fn connect(volume: &str) -> Connection {
    let root = Who { uid: 0, gid: 0, gids: &[] };
    mount_with(volume, root).unwrap_or_else(|e| panic!("mount of /{volume}: {e}"))
}

/// As whom a client calls (AUTH_SYS).
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The user.
    pub uid: u32,
    /// The user's first group.
    pub gid: u32,
    /// The user's other groups, at most 16.
    pub gids: &'a [u32],
}

/// Mounts `volume` of the sandbox's appliance over loopback as `who`.
///
/// # Errors
/// Whatever kept it from mounting: a refusal by MOUNT, or the network.
pub fn mount_with(volume: &str, who: Who<'_>) -> Result<Connection, ConnectError> {
    mount_at(IpAddr::from([127, 0, 0, 1]), volume, who)
}

/// The same of the appliance at `address`.
///
/// # Errors
/// As [`mount_with`].
pub fn mount_at(address: IpAddr, volume: &str, who: Who<'_>) -> Result<Connection, ConnectError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let credential = opaque_auth::auth_unix(&auth_unix {
        stamp: 1,
        machinename: Opaque::borrowed(b"tests"),
        uid: who.uid,
        gid: who.gid,
        gids: who.gids.to_vec(),
    });
    let host = address.to_string();
    let builder = Nfs3ConnectionBuilder::new(TokioConnector, host, format!("/{volume}"))
        .credential(credential);
    let inner = runtime.block_on(builder.mount())?;
    Ok(Connection { inner, runtime })
}

/// The appliance's NFS port on loopback.
#[must_use]
pub fn nfs_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2049))
}
