//! What the API shows and takes, as JSON. Fields are only ever added.

mod events;

use std::collections::BTreeMap;

use model::{ExportAccess, ExportRule, Squash};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::events::{EventView, TrialView};
use crate::addresses::AddressView;

/// One appliance at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The admin API over TCP, if it is open.
    #[serde(default)]
    pub admin: Option<RemoteView>,
    /// All floating addresses of the fleet.
    #[serde(default)]
    pub addresses: Vec<AddressView>,
}

/// The admin API over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemoteView {
    /// Where it listens.
    pub listen: String,
    /// SHA-256 of the certificate that it shows, in hex: `--fingerprint`.
    pub fingerprint: String,
}

/// What opens the admin API over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// The bearer token. A secret.
    pub token: String,
    /// Where it is good; none if the API is not open over TCP.
    pub admin: Option<RemoteView>,
}

/// A disk's space, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskView {
    /// All there is.
    pub total_bytes: u64,
    /// Free, the reserve not counted.
    pub free_bytes: u64,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The appliances that shall hold it, by name, in order of succession.
    #[serde(default)]
    pub members: Vec<String>,
    /// Those that shall not any more and may still have files of it.
    #[serde(default)]
    pub leaving: Vec<String>,
    /// Which of them leads its group; absent if nobody does, or if the asked one has no part in it.
    #[serde(default)]
    pub leader: Option<String>,
    /// How many copies of each file are to be kept.
    #[serde(default = "one")]
    pub replicas: u8,
    /// `all-in-sync`: what is committed is durable at every good copy. `local`: at one.
    #[serde(default = "all_in_sync")]
    pub durability: String,
    /// How many files have a copy that is not whole.
    #[serde(default)]
    pub degraded: usize,
    /// `in_sync`, `resyncing`, `degraded`, `unavailable`, or `unknown`: this appliance can't
    /// tell.
    #[serde(default = "unknown")]
    pub state: String,
}

/// How a volume's files are kept; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumePolicy {
    /// How many copies of each file, 1 to 3.
    #[serde(default)]
    pub replicas: Option<u8>,
    /// `all-in-sync` or `local`.
    #[serde(default)]
    pub durability: Option<String>,
}

/// A volume that was deleted and can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedVolumeView {
    /// The name that it had.
    pub name: String,
    /// Its number, which names it when several had its name.
    pub id: u64,
    /// When it was deleted, in UTC (RFC 3339).
    pub at: String,
    /// Until when it can be brought back, in UTC (RFC 3339). Its data goes then.
    pub kept_until: String,
    /// In how many seconds that is.
    pub kept_seconds: u64,
}

/// How a deleted volume comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Undelete {
    /// Its name from now on; none is the name that it had.
    #[serde(default)]
    pub name: Option<String>,
}

/// Who shall hold a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeMembers {
    /// One to three appliances, by name, one of the present ones among them.
    pub on: Vec<String>,
}

/// A rule of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportView {
    /// A network, an address or `*`.
    pub client: String,
    /// `rw` or `ro`.
    #[serde(default = "read_write")]
    #[schema(value_type = String, example = "rw")]
    pub access: ExportAccess,
    /// `root`, `all` or `none`.
    #[serde(default = "squash_root")]
    #[schema(value_type = String, example = "root")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// Appliances that shall hold it, by name; none are chosen by placement.
    #[serde(default)]
    pub on: Vec<String>,
    /// How its files are kept.
    #[serde(default)]
    pub policy: VolumePolicy,
}

/// An object with a stale copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultView {
    /// The name of its volume, as the call that clears the fault takes it.
    pub volume: String,
    /// Which object.
    pub object: u64,
}

/// What a check of a volume found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// The fleet at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetView {
    /// The fleet's view.
    pub view: u64,
    /// What it can lose, in a sentence.
    pub tolerates: String,
    /// Who leads its group, as known here; a number in hex.
    pub leader: Option<String>,
    /// Its appliances.
    pub members: Vec<MemberView>,
}

/// One appliance of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// What people call it.
    pub name: String,
    /// Its number, in hex.
    pub appliance: String,
    /// Where others reach it.
    pub addresses: Vec<String>,
    /// What it says of itself.
    pub labels: BTreeMap<String, String>,
    /// `full` or `witness`.
    pub kind: String,
    /// Whether the fleet takes it for up.
    pub up: bool,
    /// Whether its data is to move away.
    pub draining: bool,
    /// Whether it votes in the fleet's group.
    pub votes: bool,
    /// The volumes that it shall hold, by name.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// What an appliance holds of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldView {
    /// The volume's name.
    pub volume: String,
    /// Its number.
    pub id: u64,
    /// `member`, `leaving` or `deleted`.
    pub held: String,
    /// The other appliances that shall hold it, by name.
    pub others: Vec<String>,
    /// Files that it owns or has copies of; none if that could not be found out.
    pub files: Option<u64>,
    /// Those of them of which nobody else has a good copy.
    pub files_alone: Option<u64>,
    /// Paths of some of those.
    pub examples: Vec<String>,
    /// What is in the way of its leaving, and what to do; a sentence.
    pub note: Option<String>,
}

/// How the draining of an appliance is going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainView {
    /// What people call it.
    pub name: String,
    /// Whether its data is to move away.
    pub draining: bool,
    /// What it still holds.
    pub volumes: Vec<HeldView>,
    /// Files still to be moved, as far as is known.
    pub files_left: u64,
    /// Whether it holds nothing any more: it can be stopped and removed.
    pub done: bool,
}

/// What the removal of an appliance means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovalView {
    /// What people call it.
    pub name: String,
    /// Its number, in hex.
    pub appliance: String,
    /// Whether it is up: then it can't be removed.
    pub up: bool,
    /// What it has a part in.
    pub volumes: Vec<HeldView>,
    /// Files that it alone has, as far as is known: lost if it never comes back.
    pub files_alone: u64,
    /// Volumes of which it could not be found out what it alone has.
    pub unknown: Vec<String>,
}

/// How an appliance leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RemovalHow {
    /// Drained, then stopped.
    #[default]
    Planned,
    /// It will not come back: what it alone has is lost.
    Dead,
}

/// What an appliance says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelsView {
    /// All of them.
    pub labels: BTreeMap<String, String>,
}

/// A new invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationView {
    /// The one-time token: `holdfast join TOKEN ADDRESS`.
    pub token: String,
    /// Where the inviting appliance is reached.
    pub addresses: Vec<String>,
    /// For how many seconds it is good.
    pub good_for_seconds: u64,
    /// What names it when it is revoked. Not a secret.
    #[serde(default)]
    pub id: String,
}

/// An invitation, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenInvitationView {
    /// What names it: the beginning of its digest, in hex.
    pub id: String,
    /// `full` or `witness`.
    pub kind: String,
    /// From when on it is worth nothing, in UTC (RFC 3339).
    pub expires: String,
    /// For how many seconds it is still good; 0 once it has expired.
    pub good_for_seconds: u64,
    /// Which appliance has joined with it.
    pub used_by: Option<String>,
}

/// What to invite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Whether it will vote and hold no data.
    #[serde(default)]
    pub witness: bool,
}

/// Into which fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The invitation.
    pub token: String,
    /// Where one of the fleet is reached.
    pub address: String,
    /// Whether it will vote and hold no data.
    #[serde(default)]
    pub witness: bool,
}

/// Where a file is, and how it got there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhereView {
    /// Its volume.
    pub volume: String,
    /// Its number.
    pub object: u64,
    /// Who owns it, by name.
    pub owner: String,
    /// How often it was handed over.
    pub epoch: u64,
    /// Who has copies, by name, the owner among them.
    pub copies: Vec<String>,
    /// Those of them that miss something.
    pub stale: Vec<String>,
    /// `in_sync`, `resyncing`, `degraded` or `unavailable`.
    #[serde(default = "unknown")]
    pub state: String,
    /// Where the operator wants it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// Why a file stays or moves: the arithmetic of its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainView {
    /// Its volume.
    pub volume: String,
    /// Its number.
    pub object: u64,
    /// Who owns it, by name.
    pub owner: String,
    /// How often clients of its owner used it in the last window.
    pub own_uses: u32,
    /// How often others forwarded requests for it in that time, the most first.
    pub forwards: Vec<ForwardsView>,
    /// So many forwards from one appliance would move it.
    pub needed: u32,
    /// For how many seconds it still rests after a move.
    pub rests_for_seconds: u64,
    /// How often in a row it was moved back.
    pub moved_back: u32,
    /// What comes of it, in a sentence.
    pub outcome: String,
}

/// Requests that one appliance forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForwardsView {
    /// Which, by name.
    pub from: String,
    /// How many.
    pub forwards: u32,
}

/// Changes of owners, as far as they are remembered since each appliance's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerView {
    /// The changes, the newest first.
    pub changes: Vec<ChangeView>,
    /// Appliances that could not be asked: what they remember is missing.
    pub unheard: Vec<String>,
}

/// One change of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// When, in UTC (RFC 3339), by the clock of who noted it.
    pub at: String,
    /// The volume's name.
    pub volume: String,
    /// Which file; none if it is about all that its owner had in the volume.
    pub object: Option<u64>,
    /// Who owned it, if that is known.
    pub from: Option<String>,
    /// Who owns it since.
    pub to: String,
    /// Its epoch since.
    pub epoch: u64,
    /// `asked`, `heat`, `drain`, `rebalance`, `take-over` or `start`.
    pub cause: String,
}

/// Where a file is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferTo {
    /// To which appliance: its name, or its number in hex.
    pub to: String,
}

/// A transfer to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// `VOLUME/PATH` of a file.
    pub path: String,
    /// To which appliance: its name, or its number in hex.
    pub to: String,
}

/// A file that is to stay where it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinWanted {
    /// `VOLUME/PATH` of a file.
    pub path: String,
    /// At which appliance: its name, or its number in hex. None: where it is used.
    #[serde(default)]
    pub to: Option<String>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its number: `APPLIANCE-NUMBER`, in hex.
    pub id: String,
    /// What it does.
    pub subject: String,
    /// What it is doing.
    pub phase: String,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes moved.
    pub bytes_done: u64,
    /// How long requests were held up at its end, in microseconds.
    pub pause_micros: u64,
    /// Whether it has ended.
    pub ended: bool,
    /// Whether it did what was asked; only once it has ended.
    pub succeeded: bool,
    /// What became of it, in a sentence.
    pub outcome: Option<String>,
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

fn one() -> u8 {
    1
}

fn all_in_sync() -> String {
    "all-in-sync".to_owned()
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn root_mode() -> u32 {
    model::RootDirectory::default().mode
}
