//! A BTRFS of its own for an appliance, in a sparse file.
//!
//! Invariant: the file system is mounted in the sandbox's private mounts only, and its loop device
//! goes away with the mount.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

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

    /// Changes a bit of `wanted` wherever it lies on the disk, under the file system; at how many
    /// places. What is in memory of it stays as it was: see [`drop_caches`].
    #[must_use]
    pub fn rot(&self, wanted: &[u8]) -> usize {
        let mounted = File::open(&self.mount_point).expect("it is mounted");
        rustix::fs::syncfs(&mounted).expect("the disk takes what was written");
        let image = OpenOptions::new().read(true).write(true).open(&self.image);
        let image = image.expect("the image is there");
        let (mut at, mut places) = (0, 0);
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(data) = rustix::fs::seek(&image, SeekFrom::Data(at)) {
            at = data;
            let read = image.read_at(&mut piece, at).expect("the image can be read");
            let found = piece[..read].windows(wanted.len()).position(|window| window == wanted);
            if let Some(found) = found {
                let changed = [wanted[0] ^ 4];
                image.write_all_at(&changed, at + found as u64).expect("it can be written");
                places += 1;
            }
            // What lies across the end of a piece is found by the next one.
            at += read.saturating_sub(wanted.len()).max(1) as u64;
            if read < PIECE_BYTES {
                break;
            }
        }
        image.sync_all().expect("the image can be synced");
        places
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

/// Has the kernel forget what it has read of any disk.
pub fn drop_caches() {
    fs::write("/proc/sys/vm/drop_caches", "1").expect("root may");
}

const PIECE_BYTES: usize = 1 << 20;
