//! What `blkid` says is on a device.
//!
//! Invariant: only an answer that is known to mean so counts as "nothing is there"; whatever else
//! `blkid` does counts as data. Absent on purpose: a guess of our own.

use std::time::Duration;

use crate::children::{Children, Ended, Said, Task};
use crate::log;
use crate::places::program;

/// What is on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nothing that it knows.
    Nothing,
    /// This.
    Found(Tags),
    /// It can't be told; a sentence.
    Unclear(String),
}

/// What was found on a device. What is absent is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// The file system's or other content's type, such as `btrfs`.
    pub kind: String,
    /// The file system's label.
    pub label: String,
    /// The file system's own name.
    pub uuid: String,
    /// This device's name within a file system of several.
    pub uuid_sub: String,
    /// The type of the partition table, such as `gpt`.
    pub table: String,
    /// The partition's own name in its table.
    pub partition_uuid: String,
}

impl Tags {
    /// Whether the file system has this label. FAT has room for eleven letters, so hyphens and case
    /// make no difference.
    pub fn is_labelled(&self, label: &str) -> bool {
        let plain = |text: &str| text.replace('-', "").to_ascii_uppercase();
        !self.label.is_empty() && plain(&self.label) == plain(label)
    }
}

/// Asks `blkid` what is on `device`.
pub fn probe(children: &Children, device: &str) -> Probe {
    let task = Task::new(program::BLKID, ["-p", "-o", "export", "--", device]);
    match children.run(&task, PATIENCE) {
        Ok(said) => understand(&said),
        Err(why) => Probe::Unclear(why),
    }
}

/// The meaning of what `blkid` said (blkid(8), exit status).
fn understand(said: &Said) -> Probe {
    let Said { ended, output, complaints } = said;
    match ended {
        Ended::Code(0) => {
            let tags = tags(output);
            if tags == Tags::default() {
                return Probe::Unclear("blkid found something without a name".to_owned());
            }
            Probe::Found(tags)
        }
        Ended::Code(2) if output.trim().is_empty() && complaints.trim().is_empty() => {
            Probe::Nothing
        }
        Ended::Code(8) => Probe::Unclear("it has the marks of several kinds of data".to_owned()),
        other => Probe::Unclear(format!("blkid failed ({other}): {}", log::clean(complaints))),
    }
}

fn tags(output: &str) -> Tags {
    let mut tags = Tags::default();
    for line in output.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let slot = match key {
            "TYPE" => &mut tags.kind,
            "LABEL" => &mut tags.label,
            "UUID" => &mut tags.uuid,
            "UUID_SUB" => &mut tags.uuid_sub,
            "PTTYPE" => &mut tags.table,
            "PART_ENTRY_UUID" => &mut tags.partition_uuid,
            _ => continue,
        };
        *slot = log::clean(value);
    }
    tags
}

const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, output: &str, complaints: &str) -> Probe {
        let ended = Ended::Code(code);
        let (output, complaints) = (output.to_owned(), complaints.to_owned());
        understand(&Said { ended, output, complaints })
    }

    #[test]
    fn a_file_system_is_told_with_its_label() {
        let found = said(
            0,
            "DEVNAME=/dev/vda\nLABEL=HOLDFAST-DATA\nUUID=25cd005a\nUUID_SUB=bb3e783d\n\
             BLOCK_SIZE=4096\nTYPE=btrfs\nUSAGE=filesystem\n",
            "",
        );
        let Probe::Found(tags) = found else { panic!("{found:?}") };
        assert_eq!((tags.kind.as_str(), tags.label.as_str()), ("btrfs", "HOLDFAST-DATA"));
        assert_eq!((tags.uuid.as_str(), tags.uuid_sub.as_str()), ("25cd005a", "bb3e783d"));
        let table = said(0, "PTUUID=1234\nPTTYPE=gpt\n", "");
        assert!(matches!(table, Probe::Found(Tags { table, .. }) if table == "gpt"));
    }

    #[test]
    fn only_a_clear_answer_means_that_nothing_is_there() {
        assert_eq!(said(2, "", ""), Probe::Nothing);
        for (code, output, complaints) in [
            (0, "", ""),
            (0, "DEVNAME=/dev/vda\n", ""),
            (1, "", ""),
            (2, "", "blkid: error: /dev/vda: Input/output error"),
            (2, "TYPE=ext4\n", ""),
            (4, "", "usage"),
            (8, "", ""),
            (127, "", ""),
        ] {
            assert!(matches!(said(code, output, complaints), Probe::Unclear(_)), "{code}");
        }
        let killed =
            Said { ended: Ended::Killed(9), output: String::new(), complaints: String::new() };
        assert!(matches!(understand(&killed), Probe::Unclear(_)));
    }

    #[test]
    fn a_label_is_the_same_where_it_had_to_be_shortened() {
        let tags = |label: &str| Tags { label: label.to_owned(), ..Tags::default() };
        assert!(tags("HOLDFAST-CFG").is_labelled("HOLDFAST-CFG"));
        assert!(tags("HOLDFASTCFG").is_labelled("HOLDFAST-CFG"));
        assert!(tags("holdfastcfg").is_labelled("HOLDFAST-CFG"));
        assert!(!tags("HOLDFAST-CF").is_labelled("HOLDFAST-CFG"));
        assert!(!tags("").is_labelled(""));
    }
}
