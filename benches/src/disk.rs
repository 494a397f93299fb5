//! The disk that everything is measured on: a BTRFS in a sparse file, like those of the tests, but
//! one that the machine's memory does not cache a second time. Without that every byte written
//! back is copied once more, by the machine and not by who is measured.

use tests::{LoopBtrfs, Sandbox, run};

/// A fresh BTRFS of `mib` MiB, mounted at `name` in the sandbox's folder.
#[must_use]
pub fn fresh_disk(sandbox: &Sandbox, name: &str, mib: u64) -> LoopBtrfs {
    let disk = LoopBtrfs::new(sandbox, name, mib);
    let source = ["--noheadings", "--output", "SOURCE"].map(AsRef::as_ref);
    let device = run("findmnt", &[&source[..], &[disk.path().as_os_str()]].concat());
    run("losetup", &["--direct-io=on", device.trim()]);
    disk
}
