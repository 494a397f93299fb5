//! A BTRFS of its own for an appliance, in a sparse file.
//!
//! Invariant: the file system is mounted in the sandbox's private mounts only, and its loop device
//! goes away with the mount.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Sandbox;
use crate::process::{outcome_of, run};
use crate::sandbox::unmount_below;

/// A loop-mounted BTRFS.
#[derive(Debug)]
pub struct LoopBtrfs {
    image: PathBuf,
    mount_point: PathBuf,
}

impl LoopBtrfs {
    /// A fresh file system of `mib` MiB (BTRFS wants 109 or more), mounted at `name` in the
    /// sandbox's folder.
    #[must_use]
    pub fn new(sandbox: &Sandbox, name: &str, mib: u64) -> Self {
        Self::with_image(sandbox, name, &sandbox.path(&format!("{name}.image")), mib)
    }

    /// A fresh file system in the file `image`, which may lie on another [`LoopBtrfs`].
    #[must_use]
    pub fn with_image(sandbox: &Sandbox, name: &str, image: &Path, mib: u64) -> Self {
        let file = File::create_new(image).unwrap_or_else(|e| panic!("{}: {e}", image.display()));
        file.set_len(mib << 20).expect("a sparse file takes any size");
        run("mkfs.btrfs", &["--quiet".as_ref(), image.as_os_str()]);
        Self::open(sandbox, name, image)
    }

    /// Mounts a file system that exists already.
    #[must_use]
    pub fn open(sandbox: &Sandbox, name: &str, image: &Path) -> Self {
        let mount_point = sandbox.path(name);
        fs::create_dir_all(&mount_point).expect("the sandbox's folder takes a folder");
        let disk = Self { image: image.to_path_buf(), mount_point };
        disk.mount();
        disk
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// The file that it lies in.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Mounts it again after [`Self::unmount`].
    pub fn mount(&self) {
        // Without this a copy of a file system that was mounted before is taken for the original.
        outcome_of("btrfs", &["device", "scan", "--forget"]);
        let loops = ["-t", "btrfs", "-o", "loop"].map(AsRef::as_ref);
        let paths = [self.image.as_os_str(), self.mount_point.as_os_str()];
        run("mount", &[&loops[..], &paths[..]].concat());
    }

    /// Unmounts it; nothing may use it any more.
    pub fn unmount(&self) {
        run("umount", &[&self.mount_point]);
    }

    /// Bytes that are free for data, as `statvfs` tells them.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.mount_point).expect("the disk is mounted");
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for LoopBtrfs {
    fn drop(&mut self) {
        unmount_below(&self.mount_point);
    }
}
