//! The block devices that the kernel knows, from sysfs.
//!
//! Invariant: a device is named by what sysfs calls it, never by what stands on it. Absent on
//! purpose: what is on them, and which of them to use.

use std::fs;
use std::path::Path;

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its path, such as `/dev/vda`.
    pub path: String,
    /// What its maker calls it, if it tells.
    pub serial: Option<String>,
    /// How large it is.
    pub size_bytes: u64,
    /// The paths of its partitions.
    pub partitions: Vec<String>,
    /// Why it can't hold data, whatever is on it.
    pub unfit: Option<&'static str>,
}

/// All disks on which somebody may have put something, by name.
pub fn disks(sys: &Path, dev: &Path) -> Vec<Disk> {
    let mut names = folders(&sys.join("block"));
    names.retain(|name| !HIDDEN.iter().any(|kind| is_kind(name, kind)));
    names.truncate(DISKS_MAX);
    let disk = |name: &String| {
        let folder = sys.join("block").join(name);
        let size_bytes = number(&folder.join("size")).unwrap_or(0).saturating_mul(SECTOR_BYTES);
        let mut partitions = folders(&folder);
        partitions.retain(|part| folder.join(part).join("partition").exists());
        partitions.truncate(PARTITIONS_MAX);
        let path = |name: &String| dev.join(name.replace('!', "/")).display().to_string();
        let unfit = match () {
            () if number(&folder.join("hidden")) == Some(1) => Some("it is a path of another"),
            () if size_bytes == 0 => Some("it has no medium"),
            () if UNFIT.iter().any(|kind| is_kind(name, kind)) => Some("it is an optical drive"),
            () if number(&folder.join("ro")) == Some(1) => Some("it is read-only"),
            () => None,
        };
        Disk {
            path: path(name),
            serial: serial(&folder),
            size_bytes,
            partitions: partitions.iter().map(path).collect(),
            unfit,
        }
    };
    names.iter().map(disk).collect()
}

/// What the disk's maker calls it: virtio and NVMe tell it as text, SCSI as a page of its own (SPC,
/// vital product data 80h: four bytes, then the text).
fn serial(folder: &Path) -> Option<String> {
    let text = |path: &str| fs::read_to_string(folder.join(path)).ok();
    let page = || {
        let page = fs::read(folder.join("device/vpd_pg80")).ok()?;
        Some(String::from_utf8_lossy(page.get(4..)?).into_owned())
    };
    let found = text("serial").or_else(|| text("device/serial")).or_else(page)?;
    let serial = crate::log::clean(found.trim_matches(|c: char| c.is_whitespace() || c == '\0'));
    (!serial.is_empty()).then_some(serial)
}

/// The names in a folder, in the order in which people count.
fn folders(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    names
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether `name` is `kind` with a number.
fn is_kind(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// What is made of other things, or of nothing.
const HIDDEN: &[&str] = &["loop", "ram", "zram", "dm-", "md", "fd", "nbd", "mtdblock"];
/// Where a configuration may be and data can't.
const UNFIT: &[&str] = &["sr"];
/// Of `size`, whatever the disk's own are (Linux, Documentation/ABI/stable/sysfs-block).
const SECTOR_BYTES: u64 = 512;
const DISKS_MAX: usize = 256;
const PARTITIONS_MAX: usize = 128;

#[cfg(test)]
mod tests;
