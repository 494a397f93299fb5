//! What the router says happens, in words for a person: the one place where they stand.
//!
//! Invariant: each happening has a notice whose message says what to do, and whose job is the one
//! of what ends it, so that "it is down" after "it is up" is no repetition. A message has no
//! numbers that change: they are details, so that the same is told once. Absent on purpose: when
//! something is worth telling, and who is told.

use std::collections::BTreeMap;

use model::{ApplianceId, VolumeId};
use notices::{Notice, Notifier, Status};
use ownership::Fleet;
use router::{Happening, Herald, Here, OfAppliance, OfCopy, OfVolume};
use scrub::Finished;

/// Tells what happens to a notifier, in the name of one appliance.
pub struct Teller {
    notifier: Notifier,
    name: String,
}

impl Teller {
    /// One that tells `notifier` in the name of the appliance called `name`.
    pub fn new(notifier: Notifier, name: &str) -> Self {
        Self { notifier, name: name.to_owned() }
    }
}

impl Herald for Teller {
    fn tell(&self, fleet: &Fleet, happening: Happening) {
        self.notifier.tell(notice(fleet, &self.name, happening));
    }
}

/// What found it, how bad it is, and what to do.
type Said = (&'static str, Status, String);

/// What is said of a happening in `fleet` by the appliance called `me`.
fn notice(fleet: &Fleet, me: &str, happening: Happening) -> Notice {
    let mut details = BTreeMap::new();
    let mut detail = |name: &str, value: String| drop(details.insert(name.to_owned(), value));
    let volume_name = |id: VolumeId| {
        let info = fleet.volumes().iter().find(|info| info.id == id);
        info.map_or_else(|| id.to_string(), |info| info.name.clone())
    };
    let (subject, (job, status, message)) = match happening {
        Happening::Appliance(appliance, what) => {
            detail("appliance", format!("{:016x}", appliance.get()));
            let name = match &what {
                OfAppliance::Left(name) => name.clone(),
                OfAppliance::Down | OfAppliance::Up | OfAppliance::Drained | OfAppliance::InUse => {
                    name_of(fleet, appliance)
                }
            };
            (format!("appliance {name}"), of_appliance(&name, &what))
        }
        Happening::Here(what) => {
            if let Here::Scrubbed(finished) = what {
                for (name, number) in scrub_facts(&finished) {
                    detail(name, number.to_string());
                }
            }
            (format!("appliance {me}"), here(me, what))
        }
        Happening::Damaged { volume, object, path, offset } => {
            let name = volume_name(volume);
            detail("object", object.to_string());
            detail("path", path.clone());
            detail("offset", offset.to_string());
            (format!("volume {name}"), damaged(&name, me, &path))
        }
        Happening::Volume(volume, what) => {
            let name = volume_name(volume);
            match what {
                OfVolume::FilesUnavailable(files) | OfVolume::Degraded(files) => {
                    detail("files", files.to_string());
                }
                OfVolume::Unavailable
                | OfVolume::Available
                | OfVolume::FilesAvailable
                | OfVolume::Whole => {}
            }
            (format!("volume {name}"), of_volume(&name, what))
        }
        Happening::Copy(volume, object, what) => {
            let name = volume_name(volume);
            detail("object", object.to_string());
            match what {
                OfCopy::Failed(fault) => detail("fault", format!("{fault:?}")),
                OfCopy::LeftBehind(other)
                | OfCopy::NotMoved(other)
                | OfCopy::UnreadableThere(other)
                | OfCopy::Differs(other) => {
                    detail("appliance", name_of(fleet, other));
                }
                OfCopy::Unreadable | OfCopy::Repaired | OfCopy::OnlyUnreadable => {}
            }
            (format!("volume {name}"), of_copy(&name, me, what))
        }
    };
    Notice { subject, job: job.to_owned(), status, message, details }
}

fn of_appliance(name: &str, what: &OfAppliance) -> Said {
    match what {
        OfAppliance::Down => (
            "fleet",
            Status::Error,
            format!(
                "Appliance {name} is down: start it or mend its network; if it never comes back, \
                 say `holdfast fleet remove {name} --dead`."
            ),
        ),
        OfAppliance::Up => {
            ("fleet", Status::Good, format!("Appliance {name} is up again: nothing to do."))
        }
        OfAppliance::Drained => (
            "drain",
            Status::Info,
            format!(
                "Appliance {name} is drained and holds nothing any more: stop it and say \
                 `holdfast fleet remove {name}`."
            ),
        ),
        OfAppliance::InUse => (
            "drain",
            Status::Info,
            format!("Appliance {name} is to hold data again: nothing to do."),
        ),
        OfAppliance::Left(_) => (
            "membership",
            Status::Info,
            format!("Appliance {name} was removed from the fleet, for ever: nothing to do."),
        ),
    }
}

fn here(me: &str, what: Here) -> Said {
    match what {
        Here::CutOff => (
            "lease",
            Status::Error,
            format!(
                "Appliance {me} does not reach enough of its fleet and answers nobody: start the \
                 others, or mend its network."
            ),
        ),
        Here::BackInFleet => (
            "lease",
            Status::Good,
            format!("Appliance {me} reaches its fleet again: nothing to do."),
        ),
        Here::DiskFull => (
            "disk",
            Status::Error,
            format!(
                "The disk of appliance {me} is full and takes no more data: delete something, or \
                 give it more room."
            ),
        ),
        Here::Scrubbed(finished) => scrubbed(me, &finished),
        Here::DiskHasRoom => (
            "disk",
            Status::Good,
            format!("The disk of appliance {me} has room again: nothing to do."),
        ),
        Here::Rebalanced => (
            "rebalance",
            Status::Good,
            format!(
                "A rebalance that appliance {me} saw through is finished, and the disks are evenly \
                 full: nothing to do."
            ),
        ),
        Here::RebalanceStuck => (
            "rebalance",
            Status::Warning,
            format!(
                "A rebalance that appliance {me} saw through has ended though disks are not even: \
                 see `holdfast fleet rebalance --plan`, and begin it again."
            ),
        ),
    }
}

fn of_volume(name: &str, what: OfVolume) -> Said {
    match what {
        OfVolume::Unavailable => (
            "quorum",
            Status::Error,
            format!(
                "Volume {name} is unavailable, since too few of the appliances that hold it are \
                 up: start them (`holdfast fleet status`)."
            ),
        ),
        OfVolume::Available => {
            ("quorum", Status::Good, format!("Volume {name} can be used again: nothing to do."))
        }
        OfVolume::FilesUnavailable(_) => (
            "availability",
            Status::Error,
            format!(
                "Files of volume {name} are unavailable, since no appliance with a good copy is \
                 up: start those that are down (`holdfast fleet status`)."
            ),
        ),
        OfVolume::FilesAvailable => (
            "availability",
            Status::Good,
            format!("All files of volume {name} can be used again: nothing to do."),
        ),
        OfVolume::Degraded(_) => (
            "copies",
            Status::Warning,
            format!(
                "Volume {name} is degraded, since files have fewer good copies than they should: \
                 start appliances that are down; copies are then made whole by themselves."
            ),
        ),
        OfVolume::Whole => (
            "copies",
            Status::Good,
            format!("Volume {name} is whole: every file has its copies, nothing to do."),
        ),
    }
}

fn of_copy(volume: &str, me: &str, what: OfCopy) -> Said {
    match what {
        OfCopy::Failed(_) => (
            "write",
            Status::Error,
            format!(
                "Appliance {me} failed to write a file of volume {volume}, and its copy is given \
                 up: look at its disk (`dmesg`, `btrfs device stats`), then at `holdfast object \
                 faults {volume}`."
            ),
        ),
        OfCopy::Unreadable => (
            "read",
            Status::Warning,
            format!(
                "Appliance {me} can't read its copy of a file of volume {volume}, so another copy \
                 answers and this one is made anew: look at its disk."
            ),
        ),
        OfCopy::Repaired => (
            "repair",
            Status::Good,
            format!(
                "A copy on appliance {me} of a file of volume {volume} that could not be read was \
                 made anew: nothing to do."
            ),
        ),
        OfCopy::OnlyUnreadable => (
            "loss",
            Status::Error,
            format!(
                "Appliance {me} can't read a file of volume {volume}, and there is no other good \
                 copy: restore the file from a backup, and replace the disk."
            ),
        ),
        OfCopy::UnreadableThere(_) => (
            "scrub",
            Status::Warning,
            format!(
                "A scrub by appliance {me} found that another appliance can't read its copy of a \
                 file of volume {volume}, which is made anew: look at that appliance's disk."
            ),
        ),
        OfCopy::Differs(_) => (
            "scrub",
            Status::Error,
            format!(
                "A scrub by appliance {me} found that another appliance's copy of a file of \
                 volume {volume} differs, though no disk reported an error; it is made anew from \
                 this one's: look at that appliance's memory and disk."
            ),
        ),
        OfCopy::LeftBehind(_) => (
            "replication",
            Status::Info,
            format!(
                "A copy of a file of volume {volume} did not keep up with appliance {me} and is \
                 made whole again by itself: if this comes often, look at that appliance."
            ),
        ),
        OfCopy::NotMoved(_) => (
            "transfer",
            Status::Warning,
            format!(
                "A file of volume {volume} could not be moved from appliance {me}: see `holdfast \
                 job list`, and try again."
            ),
        ),
    }
}

fn damaged(volume: &str, me: &str, path: &str) -> Said {
    (
        "damage",
        Status::Error,
        format!(
            "Appliance {me} can't read all of {path} in volume {volume}, and no other copy of it \
             is whole: restore it from a backup, and replace the disk."
        ),
    )
}

fn scrubbed(me: &str, finished: &Finished) -> Said {
    let (status, message) = match (finished.unmended(), finished.counts.errors()) {
        (0, 0) => (
            Status::Good,
            format!("Appliance {me} scrubbed its files and found nothing bad: nothing to do."),
        ),
        (0, _) => (
            Status::Warning,
            format!(
                "Appliance {me} scrubbed its files, and made bad copies anew: look at the disks \
                 that had them (`holdfast events`)."
            ),
        ),
        (_, _) => (
            Status::Error,
            format!(
                "Appliance {me} scrubbed its files, and not all that is bad could be made anew: \
                 see `holdfast scrub status`."
            ),
        ),
    };
    ("scrub", status, message)
}

fn scrub_facts(finished: &Finished) -> [(&'static str, u64); 8] {
    let counts = &finished.counts;
    [
        ("files", counts.files),
        ("bytes", counts.bytes),
        ("unreadable", counts.unreadable),
        ("differing", counts.differing),
        ("mended", counts.mended),
        ("put_off", counts.put_off),
        ("damaged", counts.damaged),
        ("skipped", counts.skipped),
    ]
}

fn name_of(fleet: &Fleet, appliance: ApplianceId) -> String {
    let member = fleet.member(appliance);
    member.map_or_else(|| format!("{:016x}", appliance.get()), |member| member.name.clone())
}

#[cfg(test)]
mod tests;
