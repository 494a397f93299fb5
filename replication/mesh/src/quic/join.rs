//! How a newcomer without a certificate says one thing, and is answered once.
//!
//! Invariant: such a connection carries one request and one reply, both bounded, within a bounded
//! time, and only a few are served at once. The newcomer says nothing before the other end has
//! proved to be of the fleet whose fingerprint it was given.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::Clock;
use quinn::{ClientConfig, ConnectionError, Endpoint, VarInt};
use tokio::time::timeout;
use tracing::{debug, info};

use super::config::transport;
use super::frames::{FrameReader, Writer};
use super::link::close;
use super::{Shared, priority, tls};
use crate::limits::{JOIN_REPLY_BYTES_MAX, JOIN_REQUEST_BYTES_MAX, JOIN_TIME_MAX};
use crate::wire::{Tag, frame};
use crate::{Congestion, Fingerprint};

/// Why joining brought no reply, by what the operator does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinFault {
    /// Check the address, and that the appliance there runs; nothing was said.
    #[error("nobody answers at this address")]
    Unreachable,
    /// Check the token: whoever answered is not of its fleet. Nothing was said.
    #[error("the appliance at this address is not of the invitation's fleet")]
    AnotherFleet,
    /// Try again: others are joining just now.
    #[error("too many appliances are joining at once")]
    Busy,
    /// The request was sent and may have been executed; look at the fleet before trying again.
    #[error("no answer came")]
    Unknown,
    /// The request is over [`JOIN_REQUEST_BYTES_MAX`].
    #[error("the request is too large")]
    TooLarge,
}

/// Says `request` to the appliance at `address`, and waits `deadline` at most for the reply.
/// `clock` tells whether the certificate that it shows is still good. Needs a tokio runtime.
pub async fn join(
    address: SocketAddr,
    fleet: Fingerprint,
    request: Bytes,
    clock: Arc<dyn Clock>,
    deadline: Duration,
) -> Result<Bytes, JoinFault> {
    if request.len() > JOIN_REQUEST_BYTES_MAX {
        return Err(JoinFault::TooLarge);
    }
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let endpoint = Endpoint::client(any).map_err(|_| JoinFault::Unreachable)?;
    let crypto = tls::newcomer(fleet, &clock).map_err(|_| JoinFault::Unreachable)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(Congestion::Cubic)));
    let mut sent = false;
    let asked = async {
        // The name is not looked at: the fingerprint is what counts.
        let connecting = endpoint.connect_with(config, address, "join.holdfast.internal");
        let connection = connecting.map_err(|_| JoinFault::Unreachable)?.await.map_err(refused)?;
        let reply = ask(&connection, request, &mut sent).await;
        let reply = reply.ok_or_else(|| match connection.close_reason() {
            Some(fault) => refused(fault),
            None => JoinFault::Unreachable,
        });
        connection.close(VarInt::from_u32(close::BYE), b"");
        reply
    };
    let asked = timeout(deadline, asked).await.unwrap_or(Err(JoinFault::Unreachable));
    // Says goodbye, so that the other end frees the place at once.
    let _ = timeout(Duration::from_millis(200), endpoint.wait_idle()).await;
    match asked {
        Err(JoinFault::Unreachable) if sent => Err(JoinFault::Unknown),
        other => other,
    }
}

async fn ask(connection: &quinn::Connection, request: Bytes, sent: &mut bool) -> Option<Bytes> {
    let (send, receive) = connection.open_bi().await.ok()?;
    let mut writer = Writer::new(send, priority::REQUESTS);
    let mut reader = FrameReader::new(receive);
    writer.write(&mut frame(Tag::Join, 0, Bytes::new(), request)).await.ok()?;
    *sent = true;
    writer.finish().ok()?;
    Some(reader.frame(&[Tag::Joined]).await.ok()??.payload)
}

fn refused(fault: ConnectionError) -> JoinFault {
    match fault {
        // 0x100 and the alert that TLS gave (RFC 9001, section 4.8): we don't believe them.
        ConnectionError::TransportError(fault)
            if (0x100..0x200).contains(&u64::from(fault.code)) =>
        {
            JoinFault::AnotherFleet
        }
        ConnectionError::ApplicationClosed(closed)
            if closed.error_code == VarInt::from_u32(close::BUSY) =>
        {
            JoinFault::Busy
        }
        _ => JoinFault::Unreachable,
    }
}

impl Shared {
    /// Serves one newcomer.
    pub async fn serve_join(&self, connection: quinn::Connection) {
        let Ok(_place) = self.joins.try_acquire() else {
            return connection.close(VarInt::from_u32(close::BUSY), b"others are joining");
        };
        let address = connection.remote_address();
        match timeout(JOIN_TIME_MAX, self.answer_join(&connection)).await {
            Ok(Some(())) => info!(%address, "answered a newcomer"),
            Ok(None) | Err(_) => debug!(%address, "a newcomer gave up or broke the protocol"),
        }
        connection.close(VarInt::from_u32(close::BYE), b"");
    }

    async fn answer_join(&self, connection: &quinn::Connection) -> Option<()> {
        let (send, receive) = connection.accept_bi().await.ok()?;
        let mut writer = Writer::new(send, priority::REQUESTS);
        let mut reader = FrameReader::new(receive);
        let request = reader.frame(&[Tag::Join]).await.ok()??.payload;
        let reply = self.handler().join(connection.remote_address(), request).await;
        if reply.len() > JOIN_REPLY_BYTES_MAX {
            tracing::error!(bytes = reply.len(), "the answer to a newcomer is over the limit");
            return None;
        }
        writer.write(&mut frame(Tag::Joined, 0, Bytes::new(), reply)).await.ok()?;
        writer.finish().ok()?;
        writer.delivered().await;
        Some(())
    }
}
