//! Loads the kernel's modules: those that are always wanted, and those of the devices that are
//! there.
//!
//! Invariant: what has been asked for once is not asked for again. Absent on purpose: which module
//! a device needs, which `modprobe` knows; a fault here is told by whatever then is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::children::{Children, Task};
use crate::clock;
use crate::places::{Places, program};

/// What has been asked for.
#[derive(Debug, Default)]
pub struct Modules {
    asked: BTreeSet<String>,
}

impl Modules {
    /// Whether nothing was asked for yet.
    pub fn is_new(&self) -> bool {
        self.asked.is_empty()
    }

    /// Loads the modules that the image lists, in their order. Gives back what went wrong.
    pub fn load_listed(places: &Places, children: &Children) -> Vec<String> {
        let listed = fs::read_to_string(places.library.join("modules")).unwrap_or_default();
        let names = listed.lines().map(str::trim).filter(|name| is_module(name));
        let load = |name| {
            let task = Task::new(program::MODPROBE, ["-b", "-q", "--", name]);
            children.must(&task, PATIENCE).err().map(|why| format!("module {name}: {why}"))
        };
        names.take(LISTED_MAX).filter_map(load).collect()
    }

    /// Loads what the devices ask for that are there now, and those that then appear.
    pub fn load_for_devices(&mut self, places: &Places, children: &Children) {
        for _ in 0..ROUNDS_MAX {
            let fresh = self.fresh(&places.sys);
            if fresh.is_empty() {
                return;
            }
            for some in fresh.chunks(AT_ONCE) {
                let options = ["-a", "-b", "-q", "--"].into_iter();
                let task =
                    Task::new(program::MODPROBE, options.chain(some.iter().map(String::as_str)));
                // Many devices have no module: it fails all the time.
                _ = children.run(&task, PATIENCE);
            }
            settle(&places.sys);
        }
    }

    /// What the devices ask for that was not asked for before.
    fn fresh(&mut self, sys: &Path) -> Vec<String> {
        let all = aliases(sys);
        let fresh: Vec<String> = all.difference(&self.asked).cloned().collect();
        self.asked.extend(fresh.iter().cloned());
        fresh
    }
}

/// Waits until no more disks and devices appear, for a while at most.
pub fn settle(sys: &Path) {
    let seen = || (folders(&sys.join("block")).len(), aliases(sys).len());
    let mut before = seen();
    let mut quiet = 0;
    for _ in 0..SETTLE_LOOKS_MAX {
        clock::pause(SETTLE_PAUSE);
        let now = seen();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet >= SETTLE_LOOKS {
            return;
        }
    }
}

/// What all devices ask for: of buses, and of classes such as input devices.
fn aliases(sys: &Path) -> BTreeSet<String> {
    let devices = |of: &PathBuf| folders(&of.join("devices"));
    let on_buses = folders(&sys.join("bus")).iter().flat_map(devices).collect::<Vec<_>>();
    let of_classes = folders(&sys.join("class")).iter().flat_map(|of| folders(of)).collect();
    let mut aliases = BTreeSet::new();
    for device in [on_buses, of_classes].concat() {
        let text = fs::read_to_string(device.join("modalias")).unwrap_or_default();
        let alias = text.trim();
        if (1..=ALIAS_BYTES_MAX).contains(&alias.len()) && !alias.contains(char::is_whitespace) {
            aliases.insert(alias.to_owned());
        }
        if aliases.len() >= ALIASES_MAX {
            break;
        }
    }
    aliases
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn is_module(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-')
}

const PATIENCE: Duration = Duration::from_secs(30);
/// A bridge appears, then what is behind it, then what that is.
const ROUNDS_MAX: usize = 4;
/// Aliases on one command line: far from its limit (128 KiB for each, 2 MiB in all).
const AT_ONCE: usize = 128;
const LISTED_MAX: usize = 256;
const ALIASES_MAX: usize = 8192;
const ALIAS_BYTES_MAX: usize = 4096;
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// So often nothing new, and it has settled.
const SETTLE_LOOKS: u32 = 4;
const SETTLE_LOOKS_MAX: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sys: &Path, device: &str, alias: &str) {
        let folder = sys.join(device);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("modalias"), alias).unwrap();
    }

    #[test]
    fn each_device_is_asked_for_once_and_a_new_one_in_the_next_round() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        put(sys, "bus/pci/devices/0000:00:01.0", "pci:v00001AF4d00001000\n");
        put(sys, "bus/pci/devices/0000:00:02.0", "pci:v00001AF4d00001000\n");
        put(sys, "class/input/input0", "input:b0019v0000\n");
        fs::create_dir_all(sys.join("bus/pci/devices/0000:00:03.0")).unwrap();
        let mut modules = Modules::default();
        assert_eq!(modules.fresh(sys), ["input:b0019v0000", "pci:v00001AF4d00001000"]);
        assert!(modules.fresh(sys).is_empty());
        put(sys, "bus/virtio/devices/virtio0", "virtio:d00000002v00001AF4");
        assert_eq!(modules.fresh(sys), ["virtio:d00000002v00001AF4"]);
    }

    #[test]
    fn what_is_no_alias_is_not_asked_for() {
        let sys = tempfile::tempdir().unwrap();
        put(sys.path(), "bus/a/devices/1", "\n");
        put(sys.path(), "bus/a/devices/2", "two words");
        put(sys.path(), "bus/a/devices/3", &"x".repeat(ALIAS_BYTES_MAX + 1));
        assert!(Modules::default().fresh(sys.path()).is_empty());
        assert!(aliases(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn the_list_of_modules_has_names_and_nothing_else() {
        assert!(is_module("virtio_blk") && is_module("dm-mod"));
        for bad in ["", "# disks", "../evil", "-r", "a b"] {
            assert!(!is_module(bad), "{bad}");
        }
    }
}
