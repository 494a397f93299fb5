//! Where everything is: the kernel's folders, this program's files, the programs that it runs.
//!
//! Invariant: no other module names a path of the running system, so that each can be given a
//! folder of a test's own. Absent on purpose: paths inside the kernel's folders, which are their
//! users'.

use std::path::PathBuf;

/// The folders of the system.
#[derive(Clone, Debug)]
pub struct Places {
    /// sysfs.
    pub sys: PathBuf,
    /// procfs.
    pub proc: PathBuf,
    /// Devices.
    pub dev: PathBuf,
    /// What is gone with the machine's power: this program's own folder in it.
    pub run: PathBuf,
    /// Where the EFI partition is mounted.
    pub esp: PathBuf,
    /// Where the data disk is mounted.
    pub data: PathBuf,
    /// The system's configuration, in memory.
    pub etc: PathBuf,
    /// The home of root, in memory.
    pub home: PathBuf,
    /// What the image says about itself.
    pub library: PathBuf,
}

impl Places {
    /// Those of the appliance image.
    pub fn of_the_image() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
            run: "/run/holdfast".into(),
            esp: "/esp".into(),
            data: "/data".into(),
            etc: "/etc".into(),
            home: "/root".into(),
            library: "/usr/lib/holdfast".into(),
        }
    }

    /// EFI variables.
    pub fn variables(&self) -> PathBuf {
        self.sys.join("firmware/efi/efivars")
    }

    /// The appliance's configuration.
    pub fn appliance_toml(&self) -> PathBuf {
        self.run.join("appliance.toml")
    }

    /// What DHCP gave.
    pub fn lease(&self) -> PathBuf {
        self.run.join("lease")
    }

    /// What the image keeps on the data disk for itself.
    pub fn system(&self) -> PathBuf {
        self.data.join("system")
    }

    /// What the appliance keeps on the data disk.
    pub fn root(&self) -> PathBuf {
        self.data.join("holdfast")
    }
}

/// The programs that the image contains.
pub mod program {
    /// The appliance, and the commands that talk to it.
    pub const HOLDFAST: &str = "/usr/bin/holdfast";
    /// `ip` and `udhcpc`.
    pub const BUSYBOX: &str = "/usr/bin/busybox";
    /// Loads modules.
    pub const MODPROBE: &str = "/usr/sbin/modprobe";
    /// Tells what is on a disk.
    pub const BLKID: &str = "/usr/sbin/blkid";
    /// Makes the data disk's file system.
    pub const MKFS_BTRFS: &str = "/usr/sbin/mkfs.btrfs";
    /// Tells the kernel which disks belong together.
    pub const BTRFS: &str = "/usr/bin/btrfs";
    /// Sets the clock.
    pub const CHRONYD: &str = "/usr/sbin/chronyd";
    /// Lets people log in.
    pub const DROPBEAR: &str = "/usr/sbin/dropbear";
    /// Makes the key by which they know this machine.
    pub const DROPBEARKEY: &str = "/usr/bin/dropbearkey";
    /// What udhcpc runs when a lease changes: this program by another name.
    pub const DHCP_EVENT: &str = "/usr/lib/holdfast/dhcp-event";
    /// Where programs find one another.
    pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
}
