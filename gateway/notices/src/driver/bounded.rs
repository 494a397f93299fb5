//! A stream from which only so much is read, and before TLS one byte at a time.
//!
//! Invariant: who talks without end is cut off, before or within TLS; nobody has read ahead when
//! TLS begins, so that what was slipped in behind the answer to STARTTLS meets the handshake, which
//! fails of it, and is not taken for the relay's word within TLS (RFC 3207 section 6). Absent on
//! purpose: time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    peer: SocketAddr,
    /// So many bytes may still be read.
    left: usize,
    ahead: Ahead,
}

/// How far may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Not at all, until we begin with TLS.
    Not,
    /// As far as there is something.
    Far,
}

impl<S> Bounded<S> {
    /// `stream`, from which `left` bytes are read at most.
    pub(super) fn new(stream: S, peer: SocketAddr, left: usize, ahead: Ahead) -> Self {
        Self { stream, peer, left, ahead }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the relay says too much")));
        }
        let before = buffer.filled().len();
        match self.ahead {
            Ahead::Far => ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?,
            // Who has no room for one byte gets none.
            Ahead::Not if buffer.remaining() > 0 => {
                let mut byte = [0];
                let mut one = ReadBuf::new(&mut byte);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut one))?;
                buffer.put_slice(one.filled());
            }
            Ahead::Not => {}
        }
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.first() == Some(&TLS_HANDSHAKE) {
            self.ahead = Ahead::Far;
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> AsyncTokioStream for Bounded<S>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug,
{
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

/// The first byte of TLS (RFC 8446 section 5.1); no command of SMTP begins with it.
const TLS_HANDSHAKE: u8 = 22;
