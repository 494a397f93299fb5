//! The ordered stream of one object's data from its owner to another appliance: hand-over now,
//! replication later.
//!
//! Invariant: when the owner is told "finished", the other appliance's copy has every byte, the
//! size, the times and the mark of the owner's, and whatever anybody was promised to be durable is
//! so there. Until then nothing that was acknowledged depends on it: whatever fails, the owner's
//! copy is as good as before.
//! Absent on purpose: who owns what, parking of requests, the catalog (the router's), and the
//! transport: a [`Channel`] comes as an argument. The cores `send` and `receive` have no IO and no
//! clock; `driver` has both.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod channel;
mod driver;
mod fan_out;
mod progress;
mod receive;
mod send;
mod wire;

pub use channel::{Broken, Channel};
#[cfg(any(test, feature = "simulated"))]
pub use driver::simulated;
#[cfg(feature = "simulated")]
pub mod cores {
    //! The two decision cores, for a simulation that brings its own time, network and disks.
    pub use crate::receive::{ReceiveCore, ReceiveEffect, ReceiveEvent};
    pub use crate::send::{Look, SendCore, SendEffect, SendEvent};
}
pub use driver::{Receiving, ReceivingEnd, Sending, SendingParts};
pub use fan_out::{Batch, FanOut, FanOutEffect, FanOutEvent, FanOutSettings, LostWhy, Told};
pub use progress::{Phase, Progress, ProgressNow};
pub use send::{BadSettings, CLOSE_BYTES_LEAST, SendSettings, TransferFault};
pub use wire::{
    Attempt, BadMessage, HEADER_BYTES_MAX, HasData, Message, PAYLOAD_BYTES_MAX, Round, TransferId,
};
