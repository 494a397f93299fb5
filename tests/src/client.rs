//! An NFS client that is not ours and not the kernel's: the `nfs3_client` crate.
//!
//! Invariant: it shares no code with the appliance, so a misreading of the protocol on our side
//! shows. Each connection comes with the runtime that drives it, so that a test needs no `async`.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};

use nfs3_client::io::{AsyncRead, AsyncWrite};
use nfs3_client::net::Connector;
use nfs3_client::nfs3_types::nfs3::nfs_fh3;
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::tokio::{TokioConnector, TokioIo};
use nfs3_client::{ConnectError, Nfs3Client, Nfs3Connection, Nfs3ConnectionBuilder};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What the crate calls a connection: one to MOUNT and one to NFS.
type Inner = Nfs3Connection<Wire>;

/// A connection that notices its end: the crate's own reads nothing for ever, as fast as it can.
pub struct Wire(TokioIo<TcpStream>);

impl AsyncRead for Wire {
    async fn async_read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self.0.async_read(buf).await? {
            0 if !buf.is_empty() => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

impl AsyncWrite for Wire {
    async fn async_write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.async_write(buf).await
    }
}

/// Makes them.
pub struct Dial;

impl Connector for Dial {
    type Connection = Wire;

    async fn connect(&self, to: SocketAddr) -> std::io::Result<Wire> {
        Ok(Wire(TokioConnector.connect(to).await?))
    }

    async fn connect_with_port(&self, to: SocketAddr, from: u16) -> std::io::Result<Wire> {
        Ok(Wire(TokioConnector.connect_with_port(to, from).await?))
    }
}

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

    /// Makes one call: `connection.call(async |nfs| nfs.getattr(&args).await)`. Panics after a
    /// minute.
    pub fn call<T>(&mut self, run: impl AsyncFnOnce(&mut Nfs3Client<Wire>) -> T) -> T {
        let call = run(&mut self.inner.nfs3_client);
        let answer = self.runtime.block_on(async { tokio::time::timeout(ANSWER_MAX, call).await });
        answer.expect("an answer, or the end of the connection")
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
    let builder =
        Nfs3ConnectionBuilder::new(Dial, host, format!("/{volume}")).credential(credential);
    let inner = runtime.block_on(builder.mount())?;
    Ok(Connection { inner, runtime })
}

/// The appliance's NFS port on loopback.
#[must_use]
pub fn nfs_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2049))
}

/// Far longer than any request may take.
const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(60);
