//! A message ready to be sent: a head that was encoded, and a payload that was not copied.
//!
//! READ replies and WRITE calls end in up to a megabyte of data. [`Encoded`] keeps that data as
//! the `Bytes` it came in; the record mark in the head already counts it and its padding. So one
//! vectored write of `[head, payload, padding]` sends the message.
//!
//! Absent on purpose: sockets. `Encoded` is a [`Buf`], which is what a session needs to write it
//! vectored and to carry on after a short write.

use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::record::{LAST_FRAGMENT, MARK_BYTES};
use crate::xdr::{Encode, PADDING, padding};

#[cfg(test)]
mod tests;

/// What follows the RPC header in a call or in a reply.
pub trait Body {
    /// Appends everything but the [`payload`](Self::payload); the length in front of the payload,
    /// where the protocol has one, included.
    fn put_head(&self, out: &mut BytesMut);

    /// The bytes at the very end, without their padding.
    fn payload(&self) -> Bytes {
        Bytes::new()
    }

    /// The whole body in one piece: copies the payload, so not for the path of data. A replay
    /// cache keeps this and sends it again as [`Verbatim`].
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.put_head(&mut out);
        let payload = self.payload();
        out.put_slice(&payload);
        out.put_slice(&PADDING[..padding(payload.len())]);
        out.freeze()
    }
}

impl<T: Encode> Body for T {
    fn put_head(&self, out: &mut BytesMut) {
        self.put(out);
    }
}

/// A body that was encoded before, such as a reply out of a replay cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbatim(pub Bytes);

impl Body for Verbatim {
    fn put_head(&self, _out: &mut BytesMut) {}

    fn payload(&self) -> Bytes {
        self.0.clone()
    }
}

/// How a transport tells where a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By a record mark in front (TCP, RFC 5531 section 11). We always send one fragment.
    Record,
    /// By itself (UDP).
    Datagram,
}

/// A message on its way out; of no bytes by default. As a [`Buf`] it shrinks while it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    head: Bytes,
    payload: Bytes,
    padding: &'static [u8],
}

impl Encoded {
    /// Encodes `header` and `body` into `scratch`, from which the head is then split off.
    ///
    /// `scratch` is spare capacity, empty before and after. It may be used for one message after
    /// the other: the capacity of messages that were dropped comes back without an allocation.
    ///
    /// # Panics
    /// If `scratch` is not empty, or the message would not fit in one fragment of 2 GiB.
    pub(crate) fn new(
        framing: Framing,
        header: impl FnOnce(&mut BytesMut),
        body: &(impl Body + ?Sized),
        scratch: &mut BytesMut,
    ) -> Self {
        assert!(scratch.is_empty(), "scratch holds spare capacity, no bytes");
        if framing == Framing::Record {
            scratch.put_bytes(0, MARK_BYTES);
        }
        header(scratch);
        body.put_head(scratch);
        let payload = body.payload();
        let padding = &PADDING[..padding(payload.len())];

        let mut head = scratch.split();
        if framing == Framing::Record {
            let record_bytes = head.len() - MARK_BYTES + payload.len() + padding.len();
            head[..MARK_BYTES].copy_from_slice(&record_mark(record_bytes));
        }
        Self { head: head.freeze(), payload, padding }
    }

    /// What is still to be sent, in order; any of the three may be empty.
    pub fn parts(&self) -> [&[u8]; 3] {
        [&self.head, &self.payload, self.padding]
    }

    /// What is still to be sent, copied into one piece: for datagrams and tests.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.parts().concat())
    }
}

impl Buf for Encoded {
    fn remaining(&self) -> usize {
        self.head.len() + self.payload.len() + self.padding.len()
    }

    fn chunk(&self) -> &[u8] {
        let parts = self.parts();
        parts.into_iter().find(|part| !part.is_empty()).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        let of_head = count.min(self.head.len());
        self.head.advance(of_head);
        let count = count - of_head;
        let of_payload = count.min(self.payload.len());
        self.payload.advance(of_payload);
        self.padding = &self.padding[count - of_payload..];
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let parts = self.parts().into_iter().filter(|part| !part.is_empty());
        let mut filled = 0;
        for (slot, part) in out.iter_mut().zip(parts) {
            *slot = IoSlice::new(part);
            filled += 1;
        }
        filled
    }
}

fn record_mark(record_bytes: usize) -> [u8; MARK_BYTES] {
    let mark = u32::try_from(record_bytes).ok().filter(|mark| mark & LAST_FRAGMENT == 0);
    let mark = mark.expect("our own messages stay far below 2 GiB");
    (LAST_FRAGMENT | mark).to_be_bytes()
}
