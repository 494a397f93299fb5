//! A private world for one test: its own network, its own mounts, its own folder on disk.
//!
//! Invariant: what a test sets up here can't be seen by another test, nor by the machine, and
//! vanishes with the test's thread and the programs it started. Every test may therefore use port
//! 111 and 2049, the same addresses and the same device names.
//!
//! Only the folder on disk can outlive a killed test; the next sandbox sweeps it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

use crate::process::{must, outcome_of};
use crate::repository;

/// The address at which guests find an appliance of their sandbox.
pub const APPLIANCE_ADDRESS: &str = "10.99.0.1";

/// The same appliance over IPv6.
pub const APPLIANCE_ADDRESS_V6: &str = "fd99::1";

/// The private world. Make it first and drop it last: declare it before all else in a test.
#[derive(Debug)]
pub struct Sandbox {
    folder: PathBuf,
}

impl Sandbox {
    /// Moves the calling thread, and all that it starts from now on, into a world of its own.
    ///
    /// # Panics
    /// Panics without root, which namespaces, loop devices and bridges need.
    #[expect(clippy::new_without_default, reason = "making one moves the calling thread")]
    #[must_use]
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        // SAFETY: only the file table can be unshared unsafely, and it is not asked for.
        unsafe {
            rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS)
                .expect("root may make namespaces");
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).expect("our own mounts can be made private");
        // Sockets with a path (rpcbind's, ours) and the guests' memory live here.
        rustix::mount::mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), Some(c"mode=755"))
            .expect("a tmpfs can be mounted");
        fs::create_dir_all("/run/holdfast").expect("a fresh tmpfs takes a folder");
        raise_network();
        Self { folder: make_folder() }
    }

    /// The test's folder, on a real disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path inside the test's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file into the test's folder and gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::env::var_os("HOLDFAST_KEEP").is_some() {
            eprintln!("kept: {}", self.folder.display());
            return;
        }
        unmount_below(&self.folder);
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Loopback, and a bridge on which the appliance has the first address.
fn raise_network() {
    for line in [
        "ip link set lo up",
        "ip link add br0 type bridge",
        // Without one of its own a bridge's address changes as ports come and go.
        "ip link set br0 address 02:aa:99:00:00:01",
        "ip addr add 10.99.0.1/24 dev br0",
        "ip addr add fd99::1/64 dev br0 nodad",
        "ip link set br0 up",
    ] {
        must(line);
    }
}

/// Makes the folder of this sandbox, after sweeping those of dead ones.
fn make_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let parent = repository().join("target/tmp");
    fs::create_dir_all(&parent).expect("target/tmp can be made");
    sweep(&parent);
    let pid = std::process::id();
    let born = born(pid).expect("we are alive");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = parent.join(format!("{PREFIX}{pid}-{born}-{count}"));
    fs::create_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

/// Removes the folders of processes that are no more, and loop devices whose image is deleted.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).expect("target/tmp can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let mut parts = rest.split('-').map(str::parse::<u64>);
        let (Some(Ok(pid)), Some(Ok(since))) = (parts.next(), parts.next()) else { continue };
        let alive = u32::try_from(pid).ok().and_then(born) == Some(since);
        if !alive {
            // Another test may be sweeping the same folder: whoever comes second finds nothing.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    let listed = outcome_of("losetup", &["--list", "--noheadings", "--output", "NAME,BACK-FILE"]);
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let ours = line.contains(&*parent.to_string_lossy()) && line.contains("(deleted)");
        if let (true, Some(device)) = (ours, line.split_whitespace().next()) {
            outcome_of("losetup", &["--detach", device]);
        }
    }
}

/// When a process was started, in clock ticks since boot; None if there is none of that id.
fn born(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may hold blanks; the 22nd is the start.
    let (_, after) = stat.rsplit_once(") ")?;
    after.split_whitespace().nth(19)?.parse().ok()
}

/// Unmounts, innermost first, what the calling thread sees mounted below `folder`.
pub(crate) fn unmount_below(folder: &Path) {
    // /proc/self would be the first thread's world.
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split_whitespace().nth(1));
    let mut below: Vec<&str> = points.filter(|p| Path::new(p).starts_with(folder)).collect();
    below.reverse();
    for point in below {
        if rustix::mount::unmount(point, UnmountFlags::empty()).is_err() {
            rustix::mount::unmount(point, UnmountFlags::DETACH)
                .unwrap_or_else(|e| eprintln!("{point} stays mounted: {e}"));
        }
    }
}

/// How the folders of sandboxes begin; the process id and its start follow.
const PREFIX: &str = "sandbox-";
