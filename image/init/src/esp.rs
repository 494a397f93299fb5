//! The boot files on the mounted EFI partition.
//!
//! Invariant: the partition is writable only while a name is changed on it, and that is on the disk
//! before it is told. Absent on purpose: decisions, which are [`slots`]', and the files' contents.

use std::fs::{self, File};
use std::io;

use rustix::mount::MountFlags;

use crate::find::look::variable;
use crate::mounts;
use crate::places::Places;
use crate::slots::{self, Slot};

/// The image that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booted {
    /// Its boot file.
    pub slot: Slot,
    /// Whether there is another to go back to.
    pub has_fallback: bool,
}

/// Whether the boot loader counted this boot: the image has not proved itself. Known before the EFI
/// partition is.
pub fn was_counted(places: &Places) -> bool {
    let entry = variable(places, slots::ENTRY_SELECTED).and_then(|bytes| slots::entry(&bytes));
    entry.is_some_and(|entry| entry.contains('+')) || variable(places, BOOT_COUNT_PATH).is_some()
}

/// Which of the boot files runs; none if it was none of them.
pub fn booted(places: &Places) -> Option<Booted> {
    let entry = slots::entry(&variable(places, slots::ENTRY_SELECTED)?)?;
    let slots = list(places);
    let slot = slots::booted(&slots, &entry)?;
    Some(Booted { slot, has_fallback: slots::fallback(&slots, slot).is_some() })
}

/// Drops the counter of a boot file: it has proved itself. As good twice as once.
///
/// # Errors
/// The system's; the file may then still have its counter.
pub fn keep(places: &Places, slot: Slot) -> io::Result<()> {
    let folder = places.esp.join(slots::FOLDER);
    let (old, new) = (folder.join(slot.file_name()), folder.join(slot.kept().file_name()));
    let renamed_before = new.exists() && !old.exists();
    if new.exists() && !renamed_before {
        return Err(io::Error::other(format!("{} is there already", slot.kept().file_name())));
    }
    let plain =
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSYMFOLLOW;
    mounts::remount(&places.esp, plain)?;
    let renamed = if renamed_before { Ok(()) } else { fs::rename(old, new) };
    let renamed = renamed.and_then(|()| {
        let folder = File::open(&folder)?;
        folder.sync_all()?;
        Ok(rustix::fs::syncfs(&folder)?)
    });
    let shut = mounts::remount(&places.esp, plain | MountFlags::RDONLY);
    renamed.and(shut)
}

fn list(places: &Places) -> Vec<Slot> {
    let entries = fs::read_dir(places.esp.join(slots::FOLDER)).into_iter().flatten().flatten();
    let slot = |entry: fs::DirEntry| Slot::parse(entry.file_name().to_str()?);
    entries.take(FILES_MAX).filter_map(slot).collect()
}

/// Below `efivars`: there if systemd-boot counted this boot.
const BOOT_COUNT_PATH: &str = "LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const FILES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect()
    }

    #[test]
    fn the_running_image_is_found_among_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let places = Places { sys: at("sys"), esp: at("esp"), ..Places::of_the_image() };
        fs::create_dir_all(places.variables()).unwrap();
        let files = places.esp.join(slots::FOLDER);
        fs::create_dir_all(&files).unwrap();
        assert!(!was_counted(&places));
        assert_eq!(booted(&places), None);
        let say = |text: &str| {
            fs::write(places.variables().join(slots::ENTRY_SELECTED), entry(text)).unwrap();
        };
        say("holdfast-00000004+1.efi");
        assert!(was_counted(&places));
        assert_eq!(booted(&places), None, "it is not there");
        fs::write(files.join("holdfast-00000004+0-1.efi"), "").unwrap();
        fs::write(files.join("stranger.efi"), "").unwrap();
        let slot = Slot::parse("holdfast-00000004+0-1.efi").unwrap();
        assert_eq!(booted(&places), Some(Booted { slot, has_fallback: false }));
        fs::write(files.join("holdfast-00000003.efi"), "").unwrap();
        assert_eq!(booted(&places), Some(Booted { slot, has_fallback: true }));
        say("holdfast-00000003.efi");
        assert!(!was_counted(&places));
        fs::write(places.variables().join(BOOT_COUNT_PATH), entry("\\EFI\\Linux\\x")).unwrap();
        assert!(was_counted(&places));
    }
}
