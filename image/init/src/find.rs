//! Where the configuration and the boot files are.
//!
//! The configuration is looked for on a disk of its own, then on the EFI partition, then in an EFI
//! variable; the first place that is there counts.
//!
//! Invariant: where two places are as good as each other, neither is taken. Absent on purpose: what
//! a configuration means; writing.

pub mod look;

use crate::probe::Tags;

/// A device that may hold files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its path: a whole disk or a partition.
    pub path: String,
    /// The path of the whole disk.
    pub disk: String,
    /// What is on it.
    pub tags: Tags,
}

/// Which devices to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The one with the configuration; none if there is none of its own.
    pub config: Result<Option<&'a Candidate>, String>,
    /// The EFI partition; none if there is none.
    pub esp: Result<Option<&'a Candidate>, String>,
}

/// Chooses. `booted` is the partition that the boot loader came from, if it said.
pub fn choose<'a>(candidates: &'a [Candidate], booted: Option<&str>) -> Chosen<'a> {
    let mut esps: Vec<&Candidate> = labelled(candidates, ESP_LABEL);
    esps.retain(|esp| esp.tags.kind == "vfat");
    let from = |esp: &&Candidate| {
        booted.is_some_and(|uuid| esp.tags.partition_uuid.eq_ignore_ascii_case(uuid))
    };
    if let Some(booted) = esps.iter().copied().find(from) {
        esps = vec![booted];
    }
    Chosen { config: only(labelled(candidates, CONFIG_LABEL)), esp: only(esps) }
}

/// Those with a label; of a disk that shows it twice (an image made for discs and sticks alike
/// does), the first.
fn labelled<'a>(candidates: &'a [Candidate], label: &str) -> Vec<&'a Candidate> {
    let mut found: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.tags.is_labelled(label)).collect();
    found.dedup_by(|later, earlier| later.disk == earlier.disk);
    found
}

fn only(found: Vec<&Candidate>) -> Result<Option<&Candidate>, String> {
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        many => {
            let label = many.first().map_or("", |one| one.tags.label.as_str());
            let paths: Vec<&str> = many.iter().map(|one| one.path.as_str()).collect();
            let paths = paths.join(" and ");
            Err(format!("{paths} are both labelled {label}: take all but one away"))
        }
    }
}

/// How the kernel is asked to mount a file system without writing anything; none if it is none that
/// a configuration is read from.
fn read_only_options(kind: &str) -> Option<&'static std::ffi::CStr> {
    Some(match kind {
        "vfat" | "exfat" | "iso9660" | "udf" | "ext2" => c"",
        "ext3" | "ext4" => c"noload",
        "xfs" => c"norecovery",
        "btrfs" => c"rescue=nologreplay",
        _ => return None,
    })
}

/// The file system with the configuration on it.
const CONFIG_LABEL: &str = "HOLDFAST-CFG";
/// The EFI partition with the boot files.
const ESP_LABEL: &str = "HOLDFAST-ESP";
/// The file, in either place.
const CONFIG_FILE: &str = "holdfast.toml";

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(path: &str, disk: &str, kind: &str, label: &str) -> Candidate {
        let (kind, label) = (kind.to_owned(), label.to_owned());
        let partition_uuid = format!("AAAA-{path}");
        let tags = Tags { kind, label, partition_uuid, ..Tags::default() };
        Candidate { path: path.to_owned(), disk: disk.to_owned(), tags }
    }

    #[test]
    fn each_place_is_found_by_its_label_also_where_it_had_to_be_shortened() {
        let all = [
            candidate("/dev/vda", "/dev/vda", "ext4", "backup"),
            candidate("/dev/vdb1", "/dev/vdb", "vfat", "HOLDFASTESP"),
            candidate("/dev/vdc", "/dev/vdc", "iso9660", "HOLDFAST-CFG"),
        ];
        let chosen = choose(&all, None);
        assert_eq!(chosen.esp, Ok(Some(&all[1])));
        assert_eq!(chosen.config, Ok(Some(&all[2])));
        assert_eq!(choose(&all[..1], None), Chosen { config: Ok(None), esp: Ok(None) });
    }

    #[test]
    fn two_disks_with_configurations_are_named_and_neither_is_taken() {
        let all = [
            candidate("/dev/vda", "/dev/vda", "vfat", "HOLDFASTCFG"),
            candidate("/dev/vdb1", "/dev/vdb", "ext4", "HOLDFAST-CFG"),
        ];
        let why = choose(&all, None).config.unwrap_err();
        assert!(why.contains("/dev/vda and /dev/vdb1"), "{why}");
    }

    #[test]
    fn an_image_that_shows_its_label_twice_is_one_disk() {
        let all = [
            candidate("/dev/sda", "/dev/sda", "iso9660", "HOLDFAST-CFG"),
            candidate("/dev/sda1", "/dev/sda", "iso9660", "HOLDFAST-CFG"),
        ];
        assert_eq!(choose(&all, None).config, Ok(Some(&all[0])));
    }

    #[test]
    fn of_two_efi_partitions_the_booted_one_counts() {
        let all = [
            candidate("/dev/vda1", "/dev/vda", "vfat", "HOLDFASTESP"),
            candidate("/dev/vdb1", "/dev/vdb", "vfat", "HOLDFASTESP"),
        ];
        assert!(choose(&all, None).esp.is_err());
        assert!(choose(&all, Some("other")).esp.is_err());
        assert_eq!(choose(&all, Some("aaaa-/dev/VDB1")).esp, Ok(Some(&all[1])));
        // What is no FAT was booted by nobody.
        let strange = [candidate("/dev/vda1", "/dev/vda", "ext4", "HOLDFAST-ESP")];
        assert_eq!(choose(&strange, None).esp, Ok(None));
    }

    #[test]
    fn nothing_is_written_to_where_a_configuration_is_read_from() {
        assert_eq!(read_only_options("ext4"), Some(c"noload"));
        assert_eq!(read_only_options("swap"), None);
        assert_eq!(read_only_options(""), None);
    }
}
