//! What a write promises (RFC 1813 section 3.3.7).

use serde::{Deserialize, Serialize};

/// How durable a client wants a write, or how durable it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stability {
    /// Received; may be lost with its writer's memory, and then the verifier changes.
    Unstable,
    /// The data, and what is needed to find it again, is durable. Done as `FileSync`.
    DataSync,
    /// Data and attributes are durable.
    FileSync,
}

/// Tells clients whether unstable data may have been lost since they wrote it: a client that sees
/// it change sends its uncommitted writes again. One per volume, a function of its loss count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WriteVerifier(pub [u8; 8]);

/// What became of one WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Bytes written, from the start of the payload.
    pub count: u32,
    /// What was promised, at least what was asked.
    pub committed: Stability,
    /// Of the moment before the bytes were written.
    pub verifier: WriteVerifier,
}
