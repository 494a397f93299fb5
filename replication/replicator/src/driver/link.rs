//! A channel with a task for each direction, so that neither end waits for the other to listen.
//!
//! Invariant: messages go out in the order given, and come in as they were sent; the end of either
//! direction is seen as the end of incoming messages. Dropping it ends both tasks.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
};
use tracing::warn;

use crate::{Channel, wire::Message};

/// What came in.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each frame")]
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Message),
    /// Not a message; the other end is broken or of another version.
    Senseless,
    Broken,
}

pub(super) struct Link {
    outgoing: mpsc::UnboundedSender<(Bytes, Bytes)>,
    incoming: mpsc::Receiver<Incoming>,
    writer: JoinHandle<()>,
    reader: AbortHandle,
}

impl Link {
    pub(super) fn new(channel: Arc<dyn Channel>) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (received, incoming) = mpsc::channel(MESSAGES_WAITING_MAX);
        let reader = tokio::spawn(read(Arc::clone(&channel), received.clone()));
        let writer = tokio::spawn(write(channel, to_send, received));
        Self { outgoing, incoming, writer, reader: reader.abort_handle() }
    }

    /// Sends, when those before have been. What may wait here is bounded by the cores: the window
    /// of the one, and one answer to each message for the other.
    pub(super) fn send(&self, message: Message) {
        // If the writer is gone, the reader's side says so.
        let _ = self.outgoing.send(message.encode());
    }

    /// The next thing that comes in. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Incoming {
        self.incoming.recv().await.unwrap_or(Incoming::Broken)
    }

    /// Sends what is still to be sent.
    pub(super) async fn close(mut self) {
        let (nowhere, _) = mpsc::unbounded_channel();
        self.outgoing = nowhere;
        // Nobody listens any more, and nobody must wait for that.
        self.incoming.close();
        // It ends by itself when the last message is sent or the channel breaks.
        let _ = (&mut self.writer).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.writer.abort();
        self.reader.abort();
    }
}

async fn read(channel: Arc<dyn Channel>, received: mpsc::Sender<Incoming>) {
    while let Ok((header, payload)) = channel.receive().await {
        let incoming = match Message::decode(&header, payload) {
            Ok(message) => Incoming::Message(message),
            Err(bad) => {
                warn!(%bad, "a message of a transfer is unreadable");
                Incoming::Senseless
            }
        };
        if received.send(incoming).await.is_err() {
            return;
        }
    }
    let _ = received.send(Incoming::Broken).await;
}

async fn write(
    channel: Arc<dyn Channel>,
    mut to_send: mpsc::UnboundedReceiver<(Bytes, Bytes)>,
    received: mpsc::Sender<Incoming>,
) {
    while let Some((header, payload)) = to_send.recv().await {
        if channel.send(header, payload).await.is_err() {
            let _ = received.send(Incoming::Broken).await;
            return;
        }
    }
}

/// Decoded messages that wait for the core, each of up to a frame's payload.
const MESSAGES_WAITING_MAX: usize = 4;
