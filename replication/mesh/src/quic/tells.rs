//! One-way messages: a queue and a stream for each topic of a connection.
//!
//! Invariant: what waits is bounded in number and bytes; what is dropped is counted. A topic never
//! waits for another's stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::frames::Writer;
use crate::Topic;
use crate::limits::{TELL_BYTES_MAX, TELLS_WAITING_BYTES_MAX, TELLS_WAITING_MAX};
use crate::wire::{Tag, frame};

/// What waits to be sent on one topic of one connection.
#[derive(Default)]
pub struct TopicQueue {
    waiting: Mutex<Waiting>,
    ready: Notify,
    started: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
    closed: bool,
}

impl TopicQueue {
    /// Queues `bytes`; false if they are dropped.
    pub fn push(&self, bytes: Bytes) -> bool {
        let mut waiting = self.waiting.lock();
        let room = waiting.frames.len() < TELLS_WAITING_MAX
            && waiting.bytes + bytes.len() <= TELLS_WAITING_BYTES_MAX;
        if waiting.closed || !room || bytes.len() > TELL_BYTES_MAX {
            return false;
        }
        waiting.bytes += bytes.len();
        waiting.frames.push_back(bytes);
        drop(waiting);
        self.ready.notify_one();
        true
    }

    /// Whether the caller is the first, who starts [`Self::write`].
    pub fn start(&self) -> bool {
        !self.started.swap(true, Ordering::Relaxed)
    }

    /// Sends what waits until the connection is lost. Gives the number of tells left unsent.
    pub async fn write(&self, topic: Topic, connection: &quinn::Connection) -> u64 {
        if let Ok(stream) = connection.open_uni().await {
            let mut writer = Writer::new(stream, super::priority::TELLS - i32::from(topic.get()));
            loop {
                let mut batch = self.take(topic);
                if batch.is_empty() {
                    tokio::select! {
                        () = self.ready.notified() => continue,
                        _ = connection.closed() => break,
                    }
                }
                if writer.write(&mut batch).await.is_err() {
                    break;
                }
            }
        }
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.frames.len() as u64
    }

    /// The frames of a batch, in pieces.
    fn take(&self, topic: Topic) -> Vec<Bytes> {
        let mut waiting = self.waiting.lock();
        let mut pieces = Vec::new();
        let mut taken = 0;
        while pieces.len() < 3 * BATCH_MAX && taken < BATCH_BYTES {
            let Some(bytes) = waiting.frames.pop_front() else { break };
            taken += bytes.len();
            let parts = frame(Tag::Tell, u16::from(topic.get()), Bytes::new(), bytes);
            pieces.extend(parts.into_iter().filter(|part| !part.is_empty()));
        }
        waiting.bytes -= taken;
        pieces
    }
}

/// Frames handed over at once.
const BATCH_MAX: usize = 64;
/// A batch ends after the frame that reaches this.
const BATCH_BYTES: usize = 1 << 20;
