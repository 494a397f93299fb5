//! `holdfast`: the appliance and the commands that talk to it.
//!
//! Invariant: every clock, disk, socket and random source is made here and handed down. Absent on
//! purpose: decisions; they are in the crates below.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adapters;
mod cli;
mod client;
mod config;
mod fleet;
mod fleet_operator;
mod floating;
mod happenings;
mod image;
mod ledger;
mod print;
mod remote_admin;
mod root;
mod runs;
mod scrub_file;
mod serve;
mod small_file;
mod supervise;
mod telemetry;
mod utc;

use std::process::ExitCode;

/// Big payload buffers come and go with every request; mimalloc keeps them instead of giving them
/// back to the kernel and faulting them in again. Without huge pages: with them a hundred thousand
/// names took 270 MiB instead of 150, and nothing was faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
