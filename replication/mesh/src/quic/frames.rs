//! Frames on QUIC streams: reading them in pieces, writing them in one go.
//!
//! Invariant: reading keeps all its state in the reader, so a read that is dropped half way loses
//! nothing; room is made for a frame once its bytes are here, never by a length it claims. A
//! stream that was not finished on purpose is reset, so it never looks complete.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

use crate::MeshFault;
use crate::wire::{Malformed, PREFIX_BYTES, Prefix, Tag};

/// Why a stream was reset or stopped.
pub mod code {
    use quinn::VarInt;

    /// Too much under way; nothing was executed.
    pub const BUSY: VarInt = VarInt::from_u32(1);
    /// The sender gave up half way.
    pub const WITHDRAWN: VarInt = VarInt::from_u32(2);
    /// The handler's answer was over the limits.
    pub const BROKEN: VarInt = VarInt::from_u32(3);
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// The stream ended in the middle of a frame, or was reset with this code.
    #[error("cut off")]
    Cut(Option<VarInt>),
    /// The connection is gone.
    #[error("connection lost")]
    Lost,
    /// Not a frame.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// One frame as it came.
pub struct Frame {
    pub kind: u16,
    pub header: Bytes,
    pub payload: Bytes,
}

/// Reads frames from a stream.
pub struct FrameReader {
    stream: RecvStream,
    /// Read and not yet taken, in order, none of them empty.
    pieces: VecDeque<Bytes>,
    len: usize,
    prefix: Option<Prefix>,
}

impl FrameReader {
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, pieces: VecDeque::new(), len: 0, prefix: None }
    }

    /// The prefix of the next frame, which must be one of `wanted`; None at the stream's end. The
    /// frame stays to be read.
    pub async fn prefix(&mut self, wanted: &[Tag]) -> Result<Option<Prefix>, ReadFault> {
        if let Some(prefix) = self.prefix {
            return Ok(Some(prefix));
        }
        if !self.fill(PREFIX_BYTES).await? {
            return if self.len == 0 { Ok(None) } else { Err(ReadFault::Cut(None)) };
        }
        let bytes = self.take(PREFIX_BYTES);
        let bytes = bytes.as_ref().try_into().expect("as many were taken");
        self.prefix = Some(Prefix::parse(bytes, wanted)?);
        Ok(self.prefix)
    }

    /// The next frame, which must be one of `wanted`; None at the stream's end.
    pub async fn frame(&mut self, wanted: &[Tag]) -> Result<Option<Frame>, ReadFault> {
        let Some(prefix) = self.prefix(wanted).await? else { return Ok(None) };
        if !self.fill(prefix.body()).await? {
            return Err(ReadFault::Cut(None));
        }
        self.prefix = None;
        let header = self.take(prefix.header);
        let payload = self.take(prefix.payload);
        Ok(Some(Frame { kind: prefix.kind, header, payload }))
    }

    /// Takes note of an end that has arrived already, which spares the peer a STOP_SENDING.
    pub fn notice_end(&mut self) {
        let mut bufs = [Bytes::new()];
        let next = pin!(self.stream.read_chunks(&mut bufs));
        // Whatever it says: the caller is done with the stream.
        let _: Poll<_> = next.poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Tells the peer to stop sending.
    pub fn stop(mut self, code: VarInt) {
        // It fails if the stream is over, which is as well.
        let _ = self.stream.stop(code);
    }

    /// Reads until `wanted` bytes are here; false if the stream ends before.
    async fn fill(&mut self, wanted: usize) -> Result<bool, ReadFault> {
        while self.len < wanted {
            let mut bufs = [const { Bytes::new() }; READ_PIECES];
            let read = self.stream.read_chunks(&mut bufs).await.map_err(|fault| match fault {
                ReadError::Reset(code) => ReadFault::Cut(Some(code)),
                ReadError::ConnectionLost(_)
                | ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected => ReadFault::Lost,
            })?;
            let Some(count) = read else { return Ok(false) };
            for piece in bufs.into_iter().take(count).filter(|piece| !piece.is_empty()) {
                self.len += piece.len();
                self.pieces.push_back(piece);
            }
            // Each piece holds the datagram it came in: tiny ones would cost much more than they
            // say.
            if self.pieces.len() > PIECES_MAX {
                let all = self.take(self.len);
                self.len = all.len();
                self.pieces.push_back(all);
            }
        }
        Ok(true)
    }

    /// The next `count` bytes, which are here; uncopied if they came in one piece.
    fn take(&mut self, count: usize) -> Bytes {
        assert!(count <= self.len, "filled before");
        self.len -= count;
        if count == 0 {
            return Bytes::new();
        }
        let first = self.pieces.front_mut().expect("their lengths add up");
        if first.len() > count {
            return first.split_to(count);
        }
        if first.len() == count {
            return self.pieces.pop_front().expect("just seen");
        }
        let mut whole = BytesMut::with_capacity(count);
        while whole.len() < count {
            let left = count - whole.len();
            let piece = self.pieces.front_mut().expect("their lengths add up");
            if piece.len() > left {
                whole.extend_from_slice(&piece.split_to(left));
            } else {
                whole.extend_from_slice(piece);
                self.pieces.pop_front();
            }
        }
        whole.freeze()
    }
}

/// A stream being written: reset when dropped before its end was declared.
pub struct Writer {
    stream: SendStream,
    finished: bool,
    /// A frame is begun and not fully handed over.
    torn: bool,
}

impl Writer {
    pub fn new(stream: SendStream, priority: i32) -> Self {
        // It fails if the connection is gone, which the first write says too.
        let _ = stream.set_priority(priority);
        Self { stream, finished: false, torn: false }
    }

    /// Hands over whole frames; when it returns Ok, QUIC has all of them. After a fault, or when
    /// dropped half way, the stream is of no more use.
    pub async fn write(&mut self, pieces: &mut [Bytes]) -> Result<(), WriteError> {
        if self.torn || self.finished {
            return Err(WriteError::ClosedStream);
        }
        self.torn = true;
        // An empty piece at the end could wait for room after the frame is complete.
        let used = pieces.iter().rposition(|piece| !piece.is_empty()).map_or(0, |last| last + 1);
        self.stream.write_all_chunks(&mut pieces[..used]).await?;
        self.torn = false;
        Ok(())
    }

    /// Declares the end.
    pub fn finish(&mut self) -> Result<(), MeshFault> {
        if self.torn || self.finished {
            return Err(MeshFault::NotSent);
        }
        self.stream.finish().map_err(|_| MeshFault::Unknown)?;
        self.finished = true;
        Ok(())
    }

    /// See [`super::priority`].
    pub fn set_priority(&self, priority: i32) {
        // It fails if the connection is gone, which the next write says too.
        let _ = self.stream.set_priority(priority);
    }

    /// Waits until the peer has acknowledged all bytes, or wants no more.
    pub async fn delivered(&self) {
        // Either way there is nothing left to wait for.
        let _ = self.stream.stopped().await;
    }

    /// Gives up, saying why.
    pub fn reset(mut self, code: VarInt) {
        self.finished = true;
        // It fails if the stream is over, which is as well.
        let _ = self.stream.reset(code);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            // It fails if the stream is over, which is as well.
            let _ = self.stream.reset(code::WITHDRAWN);
        }
    }
}

/// What a write fault on a frame says about its execution: it was never complete.
pub fn unsent(fault: &WriteError) -> MeshFault {
    match fault {
        WriteError::Stopped(code::BUSY) => MeshFault::Refused,
        WriteError::Stopped(_)
        | WriteError::ConnectionLost(_)
        | WriteError::ClosedStream
        | WriteError::ZeroRttRejected => MeshFault::NotSent,
    }
}

/// What a read fault says about the execution of what was fully sent.
pub fn unanswered(fault: &ReadFault) -> MeshFault {
    match fault {
        ReadFault::Cut(Some(code::BUSY)) => MeshFault::Refused,
        ReadFault::Cut(_) | ReadFault::Lost | ReadFault::Malformed(_) => MeshFault::Unknown,
    }
}

/// Pieces (one for each packet) taken from a stream at once.
const READ_PIECES: usize = 32;

/// A frame of 2 MiB in packets of 1 200 bytes has 1 750.
const PIECES_MAX: usize = 4096;
