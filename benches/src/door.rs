//! Another door to our volume: the listener of the `nfsserve` crate, as a peer of our own.
//!
//! What lies behind is the product's, from the router downwards, so what differs in the table is
//! the door. That door knows no `stable_how` and answers FILE_SYNC to every WRITE; so every WRITE
//! is made durable. It has no COMMIT, and its READDIR starts over with every page.

mod filesystem;
mod stack;

pub use filesystem::OurVolume;
pub use stack::Stack;
