//! The harness that the integration tests in `tests/tests` stand on.
//!
//! It builds a small private world for each test: a network and a mount table of its own
//! ([`Sandbox`]), a loop-mounted BTRFS ([`LoopBtrfs`]), the `holdfast` binary serving from it
//! ([`Appliance`], several: [`Fleet`]), and machines with the real Linux NFS client ([`Guests`]).
//! Invariant: nothing that a test makes outlives it, even when it is killed with SIGKILL: networks
//! and mounts belong to namespaces, processes die with the thread that started them, and what stays
//! on disk is swept by the next test.
//!
//! A failing set-up is a failing test, so the harness panics where a library would return.
//!
//! Absent on purpose: knowledge of the crates under test. The harness meets the appliance as an
//! administrator and a client do: by its command line, its configuration and its protocols.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a harness panics, waits and looks at the clock"
)]

mod appliance;
mod client;
mod disk;
pub mod fleet;
mod guest;
pub mod ledger;
pub mod machine;
mod process;
mod random;
mod receiver;
pub mod registers;
pub mod rpc;
mod sandbox;
pub mod storm;
mod wait;
mod weather;

pub use appliance::{Appliance, Place, Reply, Setup, binary};
pub use client::{Connection, Who, connect, mount_at, mount_with, nfs_address};
pub use disk::{LoopBtrfs, drop_caches};
pub use fleet::{Fleet, FleetWorld};
pub use guest::{Guest, Guests, Job, Outcome, Share};
pub use process::{Bound, must, outcome_of, run};
pub use random::Random;
pub use receiver::Receiver;
pub use sandbox::{APPLIANCE_ADDRESS, APPLIANCE_ADDRESS_V6, Sandbox};
pub use wait::{eventually, eventually_within};
pub use weather::Weather;

use std::path::{Path, PathBuf};

/// The top of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests package is a folder of the repository")
        .to_path_buf()
}

/// A tool that `scripts/install-tool.sh` has put into `target/tools`, or a panic that says how.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let path = repository().join("target/tools/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: `scripts/install-tool.sh {name}` installs it (`make test` does)",
        path.display()
    );
    path
}

/// True in the long runs (`make soak`), which use the sizes and counts that CI has no time for.
#[must_use]
pub fn soaking() -> bool {
    std::env::var_os("HOLDFAST_SOAK").is_some_and(|value| value == "1")
}

/// The size to use: `ci` in CI, `soak` in the long runs.
#[must_use]
pub fn sized(ci: u64, soak: u64) -> u64 {
    if soaking() { soak } else { ci }
}
