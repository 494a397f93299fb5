//! Who has mounted what: what DUMP answers. A hint and no more: clients go without a word, and
//! nothing depends on it.
//!
//! Invariant: at most `MOUNTS_MAX` entries; a new one drives out the oldest.

use std::collections::VecDeque;
use std::net::IpAddr;

use bytes::Bytes;
use nfs_wire::mount::MountEntry;
use nfs_wire::nfs3::{Name, Path};
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Mounts(Mutex<VecDeque<Mount>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    client: IpAddr,
    directory: Bytes,
}

impl Mounts {
    pub(crate) fn mounted(&self, client: IpAddr, directory: &[u8]) {
        // Copied: a slice would keep the record it came in.
        let mount = Mount { client, directory: Bytes::copy_from_slice(directory) };
        let mut mounts = self.0.lock();
        if mounts.contains(&mount) {
            return;
        }
        if mounts.len() == MOUNTS_MAX {
            mounts.pop_front();
        }
        mounts.push_back(mount);
    }

    pub(crate) fn unmounted(&self, client: IpAddr, directory: &[u8]) {
        self.0.lock().retain(|mount| mount.client != client || mount.directory != directory);
    }

    pub(crate) fn unmounted_all(&self, client: IpAddr) {
        self.0.lock().retain(|mount| mount.client != client);
    }

    pub(crate) fn entries(&self) -> Vec<MountEntry> {
        let mounts = self.0.lock();
        let entry = |mount: &Mount| MountEntry {
            hostname: Name(mount.client.to_string().into()),
            directory: Path(mount.directory.clone()),
        };
        mounts.iter().map(entry).collect()
    }
}

/// Bounds the answer to a DUMP; a client has a handful of mounts.
const MOUNTS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
