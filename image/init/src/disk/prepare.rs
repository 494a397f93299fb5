//! Carries the decision out: makes the file system, mounts it.
//!
//! Invariant: a disk is opened for this program alone, and seen to be empty once more, before a
//! file system is made on it. Absent on purpose: `mkfs.btrfs --force`.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::time::Duration;

use rustix::mount::MountFlags;

use super::content::first_byte;
use super::observe::observe;
use super::{Complete, Decision, LABEL, Seen, decide, size};
use crate::children::{Children, Task};
use crate::config::{Disks, Profile};
use crate::log::Log;
use crate::mounts;
use crate::places::{Places, program};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The data disk is mounted.
    Mounted,
    /// Ask again soon; a sentence says why.
    Waiting(String),
    /// Ask again later; a sentence says why.
    Refused(String),
}

/// Looks at the disks, and mounts the data disk if there is one, or can be made.
pub fn prepare(
    places: &Places,
    children: &Children,
    log: &Log,
    wanted: &Disks,
    used: &[String],
    waited: Duration,
) -> Outcome {
    // What was just made is mounted like what was there.
    for _ in 0..2 {
        let seen = observe(places, children, used);
        let done = match decide(&seen, wanted, waited) {
            Decision::Refuse(why) => return Outcome::Refused(why),
            Decision::Wait(why) => return Outcome::Waiting(why),
            Decision::Make(devices) => make(children, log, &seen, &devices, wanted.profile),
            Decision::Mount { devices, complete, notes } => {
                notes.iter().for_each(|note| log.error(note));
                let mounted = mount(places, children, &devices, complete);
                if mounted.is_ok() {
                    log.progress(&format!("data disk: {}", devices.join(" and ")));
                    return Outcome::Mounted;
                }
                mounted
            }
        };
        if let Err(why) = done {
            return Outcome::Refused(why);
        }
    }
    Outcome::Refused("a file system was made, and is not seen: look at the disk".to_owned())
}

fn make(
    children: &Children,
    log: &Log,
    seen: &[Seen],
    devices: &[String],
    profile: Profile,
) -> Result<(), String> {
    let mut held = Vec::new();
    for device in devices {
        let of_device = seen.iter().find(|seen| seen.disk.path == *device);
        let bytes = of_device.map_or(0, |seen| seen.disk.size_bytes);
        held.push(hold_empty(device, bytes)?);
        log.progress(&format!(
            "making a file system on {device} ({}), which is empty",
            size(bytes)
        ));
    }
    // `mkfs.btrfs` asks for them alone, too.
    drop(held);
    let mut arguments = vec!["--quiet", "--nodiscard", "--label", LABEL];
    arguments.extend(match profile {
        Profile::Single => ["--data", "single", "--metadata", "dup"],
        Profile::Raid1 => ["--data", "raid1", "--metadata", "raid1"],
    });
    arguments.push("--");
    arguments.extend(devices.iter().map(String::as_str));
    children.must(&Task::new(program::MKFS_BTRFS, arguments), MKFS_PATIENCE).map(|_| ())
}

/// The disk, for this program alone, if there is nothing on it.
fn hold_empty(device: &str, size_bytes: u64) -> Result<File, String> {
    let alone = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or(0);
    let open = OpenOptions::new().read(true).write(true).custom_flags(alone).open(device);
    let disk = open.map_err(|fault| format!("{device} can't be had alone: {fault}"))?;
    match first_byte(&disk, size_bytes) {
        Ok(None) if size_bytes > 0 => Ok(disk),
        Ok(_) => Err(format!("{device} is not empty any more: it was left as it is")),
        Err(fault) => Err(format!("{device} can't be read: {fault}")),
    }
}

fn mount(
    places: &Places,
    children: &Children,
    devices: &[String],
    complete: Complete,
) -> Result<(), String> {
    // The devices are named to the kernel below as well.
    _ = children.run(&Task::new(program::BTRFS, ["device", "scan"]), SCAN_PATIENCE);
    let Some(first) = devices.first() else { return Err("no disk is to be mounted".to_owned()) };
    let mut options: Vec<String> = devices.iter().map(|path| format!("device={path}")).collect();
    if complete == Complete::Degraded {
        options.push("degraded".to_owned());
    }
    let options = CString::new(options.join(",")).map_err(|_| format!("{first} has no name"))?;
    let flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mounts::mount(first, &places.data, "btrfs", flags, Some(&options)).map_err(|fault| {
        format!("{} can't be mounted: {fault}; the kernel says more", devices.join(" and "))
    })?;
    let used = furnish(places);
    if used.is_err() {
        // It is looked at again, and then mounted again.
        _ = mounts::unmount(&places.data);
    }
    used
}

/// Makes the folders on the data disk, and sees that they can be written to.
fn furnish(places: &Places) -> Result<(), String> {
    for folder in [places.root(), places.system()] {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        let folder = folder.display();
        made.map_err(|fault| format!("{folder} can't be made: {fault}; is the disk full?"))?;
    }
    // Some file systems are mounted read-only when they are damaged; this one then can't be used.
    let trial = places.system().join("trial");
    fs::write(&trial, []).and_then(|()| fs::remove_file(&trial)).map_err(|fault| {
        format!("the data disk can't be written to: {fault}; the kernel says more")
    })
}

const MKFS_PATIENCE: Duration = Duration::from_secs(120);
const SCAN_PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_disk_is_looked_at_once_more_before_it_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 30).unwrap();
        let path = path.to_str().unwrap();
        hold_empty(path, 1 << 30).unwrap();
        assert!(hold_empty(path, 0).is_err(), "of no size");
        assert!(hold_empty("/nowhere", 1 << 30).unwrap_err().contains("can't be had alone"));
        file.write_all_at(b"x", (1 << 30) - 1).unwrap();
        assert!(hold_empty(path, 1 << 30).unwrap_err().contains("not empty any more"));
    }
}
