//! A channel in memory that breaks when it is told to: the twin of the real one, for tests.
//!
//! Invariant: ordered and reliable until it breaks, with little room, so that a sender is held up
//! as by a network. What is on its way when it breaks is lost.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, watch};

use crate::{Broken, Channel};

type Pair = (Bytes, Bytes);

/// One end.
pub struct SimulatedChannel {
    outgoing: mpsc::Sender<Pair>,
    incoming: Mutex<mpsc::Receiver<Pair>>,
    cut: Cut,
}

/// Breaks a channel.
#[derive(Clone)]
pub struct Cut {
    broken: Arc<watch::Sender<bool>>,
    messages_left: Arc<AtomicI64>,
}

/// Both ends of a new channel, and what breaks it.
pub fn channel() -> (Arc<SimulatedChannel>, Arc<SimulatedChannel>, Cut) {
    let cut = Cut {
        broken: Arc::new(watch::Sender::new(false)),
        messages_left: Arc::new(AtomicI64::new(i64::MAX)),
    };
    let (there, from_here) = mpsc::channel(MESSAGES_ON_THE_WAY);
    let (back, from_there) = mpsc::channel(MESSAGES_ON_THE_WAY);
    let end = |outgoing, incoming| {
        Arc::new(SimulatedChannel { outgoing, incoming: Mutex::new(incoming), cut: cut.clone() })
    };
    (end(there, from_there), end(back, from_here), cut)
}

impl Cut {
    /// Breaks it now.
    pub fn now(&self) {
        self.broken.send_replace(true);
    }

    /// Breaks it in place of the delivery of the message after the next `messages`.
    pub fn after(&self, messages: u32) {
        self.messages_left.store(i64::from(messages), SeqCst);
    }

    async fn broken(&self) {
        let mut broken = self.broken.subscribe();
        // The sender of it is held by `self`.
        let _ = broken.wait_for(|broken| *broken).await;
    }

    fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }
}

#[async_trait]
impl Channel for SimulatedChannel {
    async fn send(&self, header: Bytes, payload: Bytes) -> Result<(), Broken> {
        assert!(header.len() <= crate::HEADER_BYTES_MAX, "a header is short");
        assert!(payload.len() as u64 <= crate::PAYLOAD_BYTES_MAX, "a payload is not too long");
        tokio::select! {
            sent = self.outgoing.send((header, payload)) => sent.map_err(|_| Broken),
            () = self.cut.broken() => Err(Broken),
        }
    }

    async fn receive(&self) -> Result<(Bytes, Bytes), Broken> {
        let mut incoming = self.incoming.lock().await;
        let message = tokio::select! {
            message = incoming.recv() => message.ok_or(Broken)?,
            () = self.cut.broken() => return Err(Broken),
        };
        if self.cut.messages_left.fetch_sub(1, SeqCst) <= 0 {
            self.cut.now();
        }
        if self.cut.is_broken() { Err(Broken) } else { Ok(message) }
    }
}

const MESSAGES_ON_THE_WAY: usize = 4;
