//! What the API shows and takes, as JSON. Fields are only ever added.

use model::{ExportAccess, ExportRule, Squash};
use serde::{Deserialize, Serialize};

/// One appliance at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// What people call it.
    pub name: String,
    /// Its number, in hex.
    pub appliance: String,
    /// The program's version.
    pub version: String,
    /// The fleet's view.
    pub view: u64,
    /// Seconds since it started to serve.
    pub uptime_seconds: u64,
    /// Where clients knock.
    pub listen: Vec<String>,
    /// Its disk.
    pub disk: DiskView,
    /// Its volumes.
    pub volumes: Vec<VolumeView>,
}

/// A disk's space, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskView {
    /// All there is.
    pub total_bytes: u64,
    /// Free, the reserve not counted.
    pub free_bytes: u64,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u64,
    /// What clients mount.
    pub export_path: String,
    /// How many objects it has.
    pub objects: u64,
    /// How often unstable data may have been lost.
    pub loss_count: u64,
    /// How many objects have a stale copy.
    pub faults: usize,
    /// Who may mount it, in the order the rules are tried.
    pub exports: Vec<ExportView>,
}

/// A rule of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportView {
    /// A network, an address or `*`.
    pub client: String,
    /// `rw` or `ro`.
    #[serde(default = "read_write")]
    pub access: ExportAccess,
    /// `root`, `all` or `none`.
    #[serde(default = "squash_root")]
    pub squash: Squash,
    /// The anonymous user.
    #[serde(default = "anonymous")]
    pub anonuid: u32,
    /// The anonymous group.
    #[serde(default = "anonymous")]
    pub anongid: u32,
    /// Whether source ports of 1024 and above are taken.
    #[serde(default)]
    pub insecure: bool,
    /// Whether groups are looked up here.
    #[serde(default)]
    pub manage_gids: bool,
}

/// A volume to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateVolume {
    /// Its name.
    pub name: String,
    /// Owner of its root directory.
    #[serde(default)]
    pub root_uid: u32,
    /// Group of its root directory.
    #[serde(default)]
    pub root_gid: u32,
    /// Mode of its root directory.
    #[serde(default = "root_mode")]
    pub root_mode: u32,
}

/// An object with a stale copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultView {
    /// The name of its volume, as the call that clears the fault takes it.
    pub volume: String,
    /// Which object.
    pub object: u64,
}

/// What a check of a volume found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// Whether everything fits together.
    pub clean: bool,
    /// Objects seen.
    pub objects: u64,
    /// Names seen.
    pub names: u64,
    /// Backing files still to be removed.
    pub removals: u64,
    /// What does not fit, a sentence each.
    pub violations: Vec<String>,
}

impl From<&ExportRule> for ExportView {
    fn from(rule: &ExportRule) -> Self {
        Self {
            client: rule.client.to_string(),
            access: rule.access,
            squash: rule.squash,
            anonuid: rule.anonuid,
            anongid: rule.anongid,
            insecure: rule.insecure,
            manage_gids: rule.manage_gids,
        }
    }
}

impl TryFrom<&ExportView> for ExportRule {
    type Error = model::BadClientPattern;

    fn try_from(view: &ExportView) -> Result<Self, Self::Error> {
        Ok(Self {
            client: view.client.parse()?,
            access: view.access,
            squash: view.squash,
            anonuid: view.anonuid,
            anongid: view.anongid,
            insecure: view.insecure,
            manage_gids: view.manage_gids,
        })
    }
}

fn read_write() -> ExportAccess {
    ExportAccess::ReadWrite
}

fn squash_root() -> Squash {
    Squash::Root
}

fn anonymous() -> u32 {
    model::ANONYMOUS_ID
}

fn root_mode() -> u32 {
    model::RootDirectory::default().mode
}
