//! A bulk stream: ordered chunks one way, and ordered chunks back.
//!
//! Invariant: the receiver sees the chunks that were sent, whole and in order, then either the end
//! that the sender declared or a fault; a sender that vanishes never looks like an end.

use bytes::Bytes;

use crate::limits::{CHUNK_BYTES_MAX, HEADER_BYTES_MAX};
use crate::memory::{MemoryReceiver, MemorySender};
use crate::quic::{QuicReceiver, QuicSender};
use crate::{Chunk, MeshFault};

/// Both halves; take them apart to send and receive at the same time. Each may be dropped alone.
pub struct BulkStream {
    /// To the other end.
    pub sender: BulkSender,
    /// From the other end.
    pub receiver: BulkReceiver,
}

/// The half that sends. Dropped before [`Self::finish`], the other end gets a fault.
pub struct BulkSender(pub(crate) SenderKind);

pub(crate) enum SenderKind {
    Quic(QuicSender),
    Memory(MemorySender),
}

/// The half that receives. Dropped, the other end's sends fail.
pub struct BulkReceiver(pub(crate) ReceiverKind);

pub(crate) enum ReceiverKind {
    Quic(QuicReceiver),
    Memory(MemoryReceiver),
}

impl BulkSender {
    /// Sends one chunk, waiting while the other end is slow to read. `TooLarge` leaves the stream
    /// as it was; any other fault is its end. A send that was dropped half way ends it too.
    pub async fn send(&mut self, chunk: Chunk) -> Result<(), MeshFault> {
        if chunk.header.len() > HEADER_BYTES_MAX || chunk.payload.len() > CHUNK_BYTES_MAX {
            return Err(MeshFault::TooLarge);
        }
        match &mut self.0 {
            SenderKind::Quic(sender) => sender.send(chunk).await,
            SenderKind::Memory(sender) => sender.send(chunk).await,
        }
    }

    /// Declares the end: the other side sees it after the last chunk. Sending afterwards is
    /// `NotSent`. Waits for room, not for the other side to read; `Unknown` if the stream is dead.
    pub async fn finish(&mut self) -> Result<(), MeshFault> {
        match &mut self.0 {
            SenderKind::Quic(sender) => sender.finish(),
            SenderKind::Memory(sender) => sender.finish().await,
        }
    }
}

impl BulkReceiver {
    /// The next chunk; None at the end that the sender declared, and from then on. A fault is
    /// final: `Refused` if the peer had too many streams, else `Unknown`. Loses nothing when
    /// dropped half way.
    pub async fn receive(&mut self) -> Result<Option<Chunk>, MeshFault> {
        match &mut self.0 {
            ReceiverKind::Quic(receiver) => receiver.receive().await,
            ReceiverKind::Memory(receiver) => receiver.receive().await,
        }
    }
}

impl Chunk {
    /// A chunk with an empty payload: an acknowledgement, say.
    pub fn header_only(header: Bytes) -> Self {
        Self { header, payload: Bytes::new() }
    }
}
