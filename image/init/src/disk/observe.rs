//! Looks at the disks, and writes nothing.
//!
//! Invariant: whatever can't be read or understood is somebody's data. Absent on purpose:
//! decisions.

use std::fs::File;
use std::io;
use std::path::Path;

use super::content::{first_byte, superblock};
use super::{Content, LABEL, Member, Seen};
use crate::block::{self, Disk};
use crate::children::Children;
use crate::places::Places;
use crate::probe::{Probe, Tags, probe};

/// All disks with what is on them. `ours_already` are those that the image itself uses, by path.
pub fn observe(places: &Places, children: &Children, ours_already: &[String]) -> Vec<Seen> {
    let see = |disk: Disk| {
        let content = match disk.unfit {
            Some(why) => Content::Unfit(why.to_owned()),
            None if ours_already.contains(&disk.path) => {
                Content::Unfit("the configuration or the boot files are on it".to_owned())
            }
            None => content(&disk, probe(children, &disk.path)),
        };
        Seen { disk, content }
    };
    block::disks(&places.sys, &places.dev).into_iter().map(see).collect()
}

/// What is on a disk of which `blkid` says this.
fn content(disk: &Disk, probe: Probe) -> Content {
    if !disk.partitions.is_empty() {
        return Content::Foreign(format!("partitions ({})", disk.partitions.join(", ")));
    }
    match probe {
        Probe::Unclear(why) => Content::Foreign(why),
        Probe::Found(tags) if tags.kind == "btrfs" && tags.label == LABEL => {
            match open(disk).and_then(|file| superblock(&file)) {
                Ok((parts, generation)) => Content::Ours(Member {
                    filesystem: tags.uuid,
                    part: tags.uuid_sub,
                    parts,
                    generation,
                }),
                Err(fault) => Content::Foreign(format!("Holdfast's data, and {fault}")),
            }
        }
        Probe::Found(tags) => Content::Foreign(described(&tags)),
        Probe::Nothing => match open(disk).and_then(|file| first_byte(&file, disk.size_bytes)) {
            Err(fault) => Content::Foreign(format!("it can't be read: {fault}")),
            Ok(Some(at)) => {
                Content::Foreign(format!("data of an unknown kind, first at byte {at}"))
            }
            Ok(None) if disk.size_bytes < DISK_BYTES_MIN => {
                let least = super::size(DISK_BYTES_MIN);
                Content::Unfit(format!("empty, and smaller than {least}"))
            }
            Ok(None) => Content::Empty,
        },
    }
}

fn open(disk: &Disk) -> io::Result<File> {
    File::open(Path::new(&disk.path))
}

fn described(tags: &Tags) -> String {
    let label = match tags.label.as_str() {
        "" => String::new(),
        label => format!(", labelled {label:?}"),
    };
    match (tags.kind.as_str(), tags.table.as_str()) {
        ("", "") => format!("something that blkid knows{label}"),
        ("", table) => format!("a partition table ({table}) without partitions"),
        (kind, _) => format!("{kind}{label}"),
    }
}

/// Below that BTRFS can't keep its two copies of everything.
const DISK_BYTES_MIN: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A disk of `size_bytes` zeros in `folder`.
    fn disk(folder: &Path, size_bytes: u64) -> Disk {
        let path = folder.join("disk");
        File::create(&path).unwrap().set_len(size_bytes).unwrap();
        let path = path.display().to_string();
        Disk { path, serial: None, size_bytes, partitions: Vec::new(), unfit: None }
    }

    fn found(kind: &str, label: &str) -> Probe {
        let (kind, label) = (kind.to_owned(), label.to_owned());
        Probe::Found(Tags { kind, label, uuid: "u".to_owned(), ..Tags::default() })
    }

    #[test]
    fn a_disk_is_empty_only_if_nobody_finds_anything() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path(), 300 << 20);
        assert_eq!(content(&disk, Probe::Nothing), Content::Empty);
        let foreign = |disk: &Disk, probe: Probe| match content(disk, probe) {
            Content::Foreign(what) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(foreign(&disk, found("ext4", "backup")), "ext4, labelled \"backup\"");
        assert_eq!(foreign(&disk, Probe::Unclear("two kinds".to_owned())), "two kinds");
        let partitions = vec!["/dev/vda1".to_owned()];
        let parted = Disk { partitions, ..disk.clone() };
        assert_eq!(foreign(&parted, Probe::Nothing), "partitions (/dev/vda1)");
        let gone = Disk { path: "/nowhere".to_owned(), ..disk.clone() };
        assert!(foreign(&gone, Probe::Nothing).starts_with("it can't be read"));
        File::options().write(true).open(&disk.path).unwrap().write_all_at(b"x", 9).unwrap();
        assert!(foreign(&disk, Probe::Nothing).ends_with("first at byte 9"));
    }

    #[test]
    fn another_btrfs_and_a_label_without_a_superblock_are_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path(), 300 << 20);
        let theirs = content(&disk, found("btrfs", "HOLDFAST-DATA2"));
        assert_eq!(theirs, Content::Foreign("btrfs, labelled \"HOLDFAST-DATA2\"".to_owned()));
        assert!(matches!(content(&disk, found("ext4", LABEL)), Content::Foreign(_)));
        assert!(matches!(content(&disk, found("btrfs", LABEL)), Content::Foreign(_)));
    }

    #[test]
    fn a_tiny_disk_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tiny = disk(folder.path(), 8 << 20);
        assert!(matches!(content(&tiny, Probe::Nothing), Content::Unfit(_)));
    }
}
