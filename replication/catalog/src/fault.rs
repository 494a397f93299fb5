//! What stops a catalog.

use model::Index;
use thiserror::Error;

use crate::store::StoreFault;

/// Something is broken here; the appliance stops applying and says so. Never a client's doing.
#[derive(Debug, Error)]
pub enum CatalogFault {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// A stored record does not decode: rot, or a newer format.
    #[error("a stored {what} does not decode: {reason}; restore this appliance's catalog")]
    Record {
        /// Which kind of record.
        what: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// A log entry does not decode.
    #[error("log entry {index} does not decode: {reason}; this program may be older than the log")]
    Entry {
        /// Where.
        index: Index,
        /// What the decoder says.
        reason: String,
    },
    /// Entries came out of order.
    #[error("entry {got} was to be applied after {applied}: entries are missing")]
    Gap {
        /// The last one applied.
        applied: Index,
        /// The one that came.
        got: Index,
    },
}
