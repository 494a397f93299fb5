//! The seam to the transport between two appliances.
//!
//! Absent on purpose: addresses, and who may connect: both ends are known to each other.

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// The channel can't be used any more; a new one may go on where it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the channel broke")]
pub struct Broken;

/// One end of a channel: messages arrive whole, once and in order, until it breaks. Both directions
/// are used at the same time, each by one task.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends a message: a header of at most [`crate::HEADER_BYTES_MAX`] bytes and a payload of at
    /// most [`crate::PAYLOAD_BYTES_MAX`]. Waits while the other end does not take what came before.
    /// What was sent arrives even if this end is dropped at once, unless the channel breaks.
    async fn send(&self, header: Bytes, payload: Bytes) -> Result<(), Broken>;

    /// The next message. Must refuse longer headers and payloads than those. A future of it is
    /// dropped only together with the channel.
    async fn receive(&self) -> Result<(Bytes, Bytes), Broken>;
}
