//! MOUNT over UDP, for clients and tools that still ask that way.
//!
//! Invariant: at most `DATAGRAMS_MAX` are under way; more are dropped, as UDP may, and the client
//! sends again.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use nfs_wire::{Encoded, Framing};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};
use volume::{Line, Ports};

use crate::connection::Peer;
use crate::dispatch::{self, Prepared};
use crate::pulse::{Pulse, unless_stopped};
use crate::server::Shared;

/// Answers calls on `socket` until the server stops.
pub(crate) async fn serve<P: Ports>(
    shared: Arc<Shared<P>>,
    socket: UdpSocket,
    mut pulse: watch::Receiver<Pulse>,
) {
    let socket = Arc::new(socket);
    let under_way = Arc::new(Semaphore::new(DATAGRAMS_MAX));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, from) = match unless_stopped(&mut pulse, socket.recv_from(&mut buffer)).await {
            Ok(Ok(received)) => received,
            // Such as an answer that did not reach its client: of no interest to the others.
            Ok(Err(fault)) => {
                debug!(%fault, "a datagram was not received");
                tokio::task::yield_now().await;
                continue;
            }
            Err(_) => return,
        };
        let Ok(place) = Arc::clone(&under_way).try_acquire_owned() else {
            debug!(%from, "a datagram was dropped: too many are under way");
            continue;
        };
        let record = Bytes::copy_from_slice(&buffer[..length]);
        let (shared, socket) = (Arc::clone(&shared), Arc::clone(&socket));
        tokio::spawn(async move {
            let peer = Peer::from(from);
            match dispatch::prepare(&shared, (peer, &Line::default()), Framing::Datagram, &record) {
                Prepared::Drop => {}
                Prepared::Reply(message) => reply(&socket, from, &message).await,
                Prepared::Run(request) => {
                    // Over UDP no answer is all that closing a connection means.
                    if let Ok(message) = dispatch::answer(&shared, request).await {
                        reply(&socket, from, &message).await;
                    }
                }
            }
            drop(place);
        });
    }
}

async fn reply(socket: &UdpSocket, to: SocketAddr, message: &Encoded) {
    if let Err(fault) = socket.send_to(&message.to_bytes(), to).await {
        warn!(client = %to, %fault, "an answer over UDP was not sent");
    }
}

const DATAGRAMS_MAX: usize = 64;

/// Far above any call of MOUNT: a header with credentials and a path.
const DATAGRAM_BYTES_MAX: usize = 9000;
