//! The two halves of a bulk stream over QUIC.
//!
//! Invariant: as in `crate::bulk`; both halves hold the stream's place among its peer's, and keep
//! the connection from being retired under them.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::frames::{FrameReader, Writer, code, unanswered};
use super::link::{Busy, Link};
use crate::wire::{Tag, frame};
use crate::{BulkReceiver, BulkSender, BulkStream, Chunk, MeshFault};

/// What both halves keep.
pub struct Held {
    pub link: Arc<Link>,
    pub _place: OwnedSemaphorePermit,
    pub _busy: Busy,
}

/// The half that sends.
pub struct QuicSender {
    writer: Writer,
    _held: Arc<Held>,
}

/// The half that receives.
pub struct QuicReceiver {
    reader: FrameReader,
    held: Arc<Held>,
    over: Option<Result<(), MeshFault>>,
}

/// Puts a stream together from its halves.
pub fn stream(writer: Writer, reader: FrameReader, held: Held) -> BulkStream {
    let held = Arc::new(held);
    let sender = QuicSender { writer, _held: Arc::clone(&held) };
    let receiver = QuicReceiver { reader, held, over: None };
    BulkStream {
        sender: BulkSender(crate::bulk::SenderKind::Quic(sender)),
        receiver: BulkReceiver(crate::bulk::ReceiverKind::Quic(receiver)),
    }
}

impl QuicSender {
    pub async fn send(&mut self, chunk: Chunk) -> Result<(), MeshFault> {
        let mut pieces = frame(Tag::Chunk, 0, chunk.header, chunk.payload);
        self.writer.write(&mut pieces).await.map_err(|fault| match fault {
            quinn::WriteError::Stopped(code::BUSY) => MeshFault::Refused,
            quinn::WriteError::ClosedStream => MeshFault::NotSent,
            quinn::WriteError::Stopped(_)
            | quinn::WriteError::ConnectionLost(_)
            | quinn::WriteError::ZeroRttRejected => MeshFault::Unknown,
        })
    }

    pub fn finish(&mut self) -> Result<(), MeshFault> {
        self.writer.finish()
    }
}

impl QuicReceiver {
    pub async fn receive(&mut self) -> Result<Option<Chunk>, MeshFault> {
        if let Some(over) = self.over {
            return over.map(|()| None);
        }
        match self.reader.frame(&[Tag::Chunk]).await {
            Ok(Some(frame)) => Ok(Some(Chunk { header: frame.header, payload: frame.payload })),
            Ok(None) => {
                self.over = Some(Ok(()));
                Ok(None)
            }
            Err(fault) => {
                self.held.link.blame(&fault);
                let fault = unanswered(&fault);
                self.over = Some(Err(fault));
                Err(fault)
            }
        }
    }
}
