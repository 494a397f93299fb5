//! The operator's door: an HTTP API on a root-only unix socket, and Prometheus metrics.
//!
//! Invariant: everything it shows or does goes through [`Operator`]; errors are problem+json (RFC
//! 9457) with what, where and what to do. Absent on purpose: private knowledge of volumes, stores
//! or logs.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod listen;
mod operator;
mod views;

pub use api::router;
pub use listen::{SocketFault, serve_metrics, serve_unix};
pub use operator::{Operator, Problem, ProblemKind};
pub use views::{CheckView, CreateVolume, DiskView, ExportView, FaultView, StatusView, VolumeView};
