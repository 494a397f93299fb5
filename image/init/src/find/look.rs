//! Reads the configuration from where it is, and mounts the EFI partition.
//!
//! Invariant: everything is mounted read-only and without following links; a file is read up to its
//! limit. Absent on purpose: decisions.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::mount::MountFlags;

use super::{CONFIG_FILE, Candidate, choose, read_only_options};
use crate::block;
use crate::children::Children;
use crate::config::{CONFIG_BYTES_MAX, Config};
use crate::mounts;
use crate::places::Places;
use crate::probe::{Probe, probe};
use crate::slots;
use crate::trouble::Trouble;

/// What was found.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The configuration.
    pub config: Result<Found, Trouble>,
    /// The EFI partition.
    pub esp: Esp,
    /// Disks that are not for data: the configuration or the boot files are on them; paths.
    pub used: Vec<String>,
}

/// The EFI partition with the boot files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Esp {
    /// It is mounted.
    Mounted,
    /// This machine was not booted from one.
    None,
    /// It should be there, or could be; a sentence.
    Missing(String),
}

/// A configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it says.
    pub config: Config,
    /// Where it is, for people.
    pub origin: String,
}

/// Looks everywhere.
pub fn look(places: &Places, children: &Children) -> Looked {
    let (candidates, unclear) = candidates(places, children);
    let booted = variable(places, DEVICE_PARTITION).and_then(|bytes| slots::entry(&bytes));
    let chosen = choose(&candidates, booted.as_deref());
    let esp = mount_esp(places, chosen.esp.clone());
    let devices = [chosen.config.as_ref().ok(), chosen.esp.as_ref().ok()];
    let used = devices.into_iter().flatten().flatten().map(|one| one.disk.clone()).collect();
    let config = match chosen.config {
        Ok(Some(device)) => from_disk(places, device),
        Ok(None) => elsewhere(places, &esp),
        Err(why) => Err(Trouble::open(why)),
    };
    Looked { config, esp: seen(esp, booted.as_deref(), &unclear), used }
}

/// What is to be known of the EFI partition, if the boot loader came from this partition and these
/// devices could not be looked at.
fn seen(esp: Result<bool, String>, booted: Option<&str>, unclear: &[String]) -> Esp {
    match (esp, booted) {
        (Ok(true), _) => Esp::Mounted,
        (Ok(false), None) => Esp::None,
        (Ok(false), Some(booted)) => {
            let why = "the EFI partition that this machine was booted from is not there";
            Esp::Missing([&[format!("{why} ({booted})")], unclear].concat().join("; "))
        }
        (Err(why), _) => Esp::Missing(why),
    }
}

/// The bytes of an EFI variable.
pub fn variable(places: &Places, name: &str) -> Option<Vec<u8>> {
    read_file(&places.variables().join(name)).ok()
}

/// What is on which device, and of which it can't be told.
fn candidates(places: &Places, children: &Children) -> (Vec<Candidate>, Vec<String>) {
    let (mut found, mut unclear) = (Vec::new(), Vec::new());
    for disk in block::disks(&places.sys, &places.dev).iter().filter(|disk| disk.size_bytes > 0) {
        for path in [&disk.path].into_iter().chain(&disk.partitions) {
            match probe(children, path) {
                Probe::Found(tags) => {
                    found.push(Candidate { path: path.clone(), disk: disk.path.clone(), tags });
                }
                Probe::Nothing => {}
                Probe::Unclear(why) => unclear.push(format!("{path}: {why}")),
            }
        }
    }
    (found, unclear)
}

/// Mounts the EFI partition anew, so that it is read as it is now. Gives back whether there is one.
fn mount_esp(places: &Places, esp: Result<Option<&Candidate>, String>) -> Result<bool, String> {
    if mounts::is_mounted(&places.proc, &places.esp) {
        mounts::unmount(&places.esp)
            .map_err(|fault| format!("the EFI partition can't be looked at again: {fault}"))?;
    }
    let Some(esp) = esp? else { return Ok(false) };
    mount_read_only(esp, &places.esp).map(|()| true)
}

fn mount_read_only(device: &Candidate, folder: &Path) -> Result<(), String> {
    let Candidate { path, tags, .. } = device;
    let Some(options) = read_only_options(&tags.kind) else {
        return Err(format!(
            "{path} is labelled {} and has no file system that is read here ({}): make it vfat, \
             ext4 or iso9660",
            tags.label, tags.kind
        ));
    };
    let flags = MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC
        | MountFlags::NOSYMFOLLOW;
    mounts::mount(path, folder, &tags.kind, flags, Some(options))
        .map_err(|fault| format!("{path} (labelled {}) can't be mounted: {fault}", tags.label))
}

/// The configuration on a disk of its own.
fn from_disk(places: &Places, device: &Candidate) -> Result<Found, Trouble> {
    let folder = places.run.join("config-disk");
    mount_read_only(device, &folder).map_err(Trouble::open)?;
    let bytes = read_file(&folder.join(CONFIG_FILE));
    // It stays mounted if it can't be helped: then the next look says that it is in use.
    _ = mounts::unmount(&folder);
    let origin = format!("{CONFIG_FILE} on {} ({})", device.path, device.tags.label);
    match bytes {
        Ok(bytes) => parse(&bytes, origin),
        Err(fault) => Err(Trouble::open(format!("{origin} can't be read: {fault}"))),
    }
}

/// The configuration on the EFI partition, or in a variable.
fn elsewhere(places: &Places, esp: &Result<bool, String>) -> Result<Found, Trouble> {
    if let Err(why) = esp {
        return Err(Trouble::open(why.clone()));
    }
    let file = places.esp.join(CONFIG_FILE);
    match read_file(&file) {
        _ if !matches!(esp, Ok(true)) => {}
        Ok(bytes) => return parse(&bytes, format!("{CONFIG_FILE} on the EFI partition")),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
        Err(fault) => {
            return Err(Trouble::open(format!(
                "{CONFIG_FILE} on the EFI partition can't be read: {fault}"
            )));
        }
    }
    match variable(places, CONFIG_VARIABLE) {
        Some(bytes) => {
            let text = bytes.get(ATTRIBUTES_BYTES..).unwrap_or_default();
            let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let origin = "the EFI variable HoldfastConfig".to_owned();
            parse(text.get(..end).unwrap_or_default(), origin)
        }
        None => Err(Trouble::open(format!(
            "there is no configuration: attach a disk (FAT, label HOLDFASTCFG; ext4 or ISO 9660, \
             label HOLDFAST-CFG) with a file {CONFIG_FILE} on it, which says at least \
             `name = \"…\"`; or put the file on the EFI partition"
        ))),
    }
}

fn parse(bytes: &[u8], origin: String) -> Result<Found, Trouble> {
    match Config::parse(bytes) {
        Ok(config) => Ok(Found { config, origin }),
        Err(bad) => Err(Trouble::guarded(format!("{origin} can't be used: {bad}"))),
    }
}

/// A plain file, up to a byte more than a configuration may have.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The partition that systemd-boot was read from, in the form of [`slots::entry`].
const DEVICE_PARTITION: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const CONFIG_VARIABLE: &str = "HoldfastConfig-6f1c2a54-8c0b-4b9e-9d0e-5f2f3c9a7d11";
/// Of a variable, in efivarfs.
const ATTRIBUTES_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        let esp = folder.join("esp");
        fs::create_dir_all(&esp).unwrap();
        let places = Places { sys: folder.join("sys"), esp, ..Places::of_the_image() };
        fs::create_dir_all(places.variables()).unwrap();
        places
    }

    #[test]
    fn the_efi_partition_comes_before_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let none = elsewhere(&places, &Ok(true)).unwrap_err();
        assert!(none.console.starts_with("there is no configuration"), "{}", none.console);
        let variable = places.variables().join(CONFIG_VARIABLE);
        fs::write(variable, b"\x07\0\0\0name = \"variable\"\0").unwrap();
        assert_eq!(elsewhere(&places, &Ok(true)).unwrap().config.name, "variable");
        fs::write(places.esp.join(CONFIG_FILE), "name = \"esp\"").unwrap();
        let found = elsewhere(&places, &Ok(true)).unwrap();
        assert_eq!(found.config.name, "esp");
        assert_eq!(found.origin, "holdfast.toml on the EFI partition");
        assert_eq!(elsewhere(&places, &Ok(false)).unwrap().config.name, "variable");
    }

    #[test]
    fn a_file_that_is_there_and_wrong_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        fs::write(places.variables().join(CONFIG_VARIABLE), b"\x07\0\0\0name = \"a\"").unwrap();
        fs::write(places.esp.join(CONFIG_FILE), "name = \"secret word\"").unwrap();
        let trouble = elsewhere(&places, &Ok(true)).unwrap_err();
        assert!(trouble.console.contains("`name`: \"secret word\""), "{}", trouble.console);
        assert!(!trouble.network.contains("secret"), "{}", trouble.network);
        fs::remove_file(places.esp.join(CONFIG_FILE)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", places.esp.join(CONFIG_FILE)).unwrap();
        let trouble = elsewhere(&places, &Ok(true)).unwrap_err();
        assert!(trouble.console.contains("no plain file"), "{}", trouble.console);
        let two = elsewhere(&places, &Err("two EFI partitions".to_owned()));
        assert_eq!(two.unwrap_err().console, "two EFI partitions");
    }

    #[test]
    fn an_efi_partition_that_was_booted_from_and_is_not_there_is_missing() {
        let unclear = ["/dev/vda1: blkid failed".to_owned()];
        assert_eq!(seen(Ok(true), Some("12-34"), &unclear), Esp::Mounted);
        assert_eq!(seen(Ok(false), None, &unclear), Esp::None);
        assert_eq!(seen(Err("two".to_owned()), None, &[]), Esp::Missing("two".to_owned()));
        let Esp::Missing(why) = seen(Ok(false), Some("12-34"), &unclear) else { panic!() };
        assert!(why.contains("(12-34)") && why.ends_with("; /dev/vda1: blkid failed"), "{why}");
    }

    #[test]
    fn a_huge_file_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let read = read_file(&path).unwrap();
        assert_eq!(read.len(), CONFIG_BYTES_MAX + 1);
        assert!(parse(&read, "it".to_owned()).unwrap_err().console.contains("more than"));
    }
}
