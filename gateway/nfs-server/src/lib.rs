//! The NFS door: NFS v3 and MOUNT v3 over TCP, MOUNT v3 over UDP, and rpcbind.
//!
//! A connection is one task that reads records. Each call is decoded, charged against budgets,
//! and run at once where it stands; only if it has to wait does it become a task of its own.
//! Replies leave in the order in which they are ready, several with one system call.
//!
//! Invariants: memory is bounded by [`Settings`], whatever clients do: at a limit a connection is
//! not read any more. The payload of READ and WRITE is not copied between socket and port. No
//! lock is held across an await.
//!
//! Absent on purpose: who owns or leads, how an object is stored, permission (the ports and the
//! `volume` crate decide), locks (NLM is answered only to refuse them), ACLs, NFS versions
//! other than 3.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attributes;
mod budget;
mod connection;
mod data;
mod datagram;
mod dispatch;
mod door;
mod filesystem;
mod held;
mod listen;
mod listing;
mod metric;
mod mount;
mod mounts;
mod names;
mod pulse;
mod request_key;
mod rpcbind;
mod server;
mod session;
mod settings;
mod status;
#[cfg(test)]
mod testing;

pub use held::Held;
pub use metric::names as metric_names;
pub use server::{Closer, Server};
pub use settings::{BadSettings, RpcbindMode, Settings};
