//! What is mounted.
//!
//! Invariant: a folder to mount on is made if it is not there. Absent on purpose: which disk to
//! mount.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::places::Places;

/// Mounts the kernel's own file systems, and those that are in memory.
///
/// The system starts without one that fails: what that one was for then says so.
pub fn early(places: &Places) -> Vec<String> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    let bare = plain | MountFlags::NOEXEC;
    let devices = MountFlags::NOSUID | MountFlags::NOEXEC;
    let run = places.run.parent().unwrap_or(&places.run).to_owned();
    let all = [
        ("proc", places.proc.clone(), bare, c""),
        ("sysfs", places.sys.clone(), bare, c""),
        ("devtmpfs", places.dev.clone(), MountFlags::NOSUID, c"mode=0755"),
        ("devpts", places.dev.join("pts"), devices, c"mode=0620,gid=5,ptmxmode=0666"),
        ("tmpfs", run, plain, c"mode=0755,size=10%"),
        ("tmpfs", "/tmp".into(), plain, c"mode=1777,size=10%"),
    ];
    let mount = |(kind, folder, flags, options): (&str, PathBuf, _, _)| {
        mount_kernels(kind, &folder, flags, Some(options))
    };
    all.into_iter().filter_map(mount).collect()
}

/// Mounts the EFI variables, where the machine has any: the kernel may have to load a module.
pub fn variables(places: &Places) -> Option<String> {
    let folder = places.variables();
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    folder.exists().then(|| mount_kernels("efivarfs", &folder, flags, None))?
}

/// Mounts what has no device; the kernel may have done so already. Gives back what went wrong.
fn mount_kernels(
    kind: &str,
    folder: &Path,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Option<String> {
    let fault = mount(kind, folder, kind, flags, options).err()?;
    let is_there = fault.raw_os_error() == Some(Errno::BUSY.raw_os_error());
    (!is_there).then(|| format!("{} can't be mounted: {fault}", folder.display()))
}

/// Mounts `source` on `folder`.
///
/// # Errors
/// The system's.
pub fn mount(
    source: &str,
    folder: &Path,
    kind: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    Ok(rustix::mount::mount(source, folder, kind, flags, options)?)
}

/// Makes what is mounted on `folder` writable, or read-only.
///
/// # Errors
/// The system's.
pub fn remount(folder: &Path, flags: MountFlags) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(folder, flags, c"")?)
}

/// Unmounts what is mounted on `folder`, after all of it was written.
///
/// # Errors
/// The system's: something may still use it.
pub fn unmount(folder: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(folder, UnmountFlags::NOFOLLOW)?)
}

/// Whether anything is mounted on `folder`.
pub fn is_mounted(proc: &Path, folder: &Path) -> bool {
    let mounts = fs::read_to_string(proc.join("self/mounts")).unwrap_or_default();
    let folder = folder.to_string_lossy();
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_whole_folder() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("self")).unwrap();
        let table = "proc /proc proc rw 0 0\n/dev/vda /data btrfs rw,noatime 0 0\n";
        fs::write(proc.path().join("self/mounts"), table).unwrap();
        let is = |folder: &str| is_mounted(proc.path(), Path::new(folder));
        assert!(is("/data") && is("/proc"));
        assert!(!is("/dat") && !is("/dev/vda") && !is("/esp"));
        assert!(!is_mounted(Path::new("/nowhere"), Path::new("/data")));
    }
}
