//! What befalls clients and appliances when an address moves, on real networks of Linux.
//!
//! Invariant: every test has networks of its own, which vanish with it, however it ends. They need
//! root.
#![expect(clippy::disallowed_methods, reason = "clients and kernels take real time")]

mod announcing;
mod giving_up;
mod lifetimes;
mod refused;
mod tickling;
mod world;
