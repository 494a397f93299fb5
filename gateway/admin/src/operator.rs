//! What the API needs done: the binary implements it over the running appliance.

use std::future::Future;
use std::net::IpAddr;

use model::ExportRule;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use crate::addresses::{AddressMove, AddressView};
use crate::balance::{DrainPlanView, RebalanceView};
use crate::image::{ImageChange, ImageView, Upload};
use crate::scrub::{ScrubView, ScrubWanted};
use crate::views::{
    CheckView, CreateVolume, DeletedVolumeView, DrainView, EventView, ExplainView, FaultView,
    FleetView, InvitationView, Invite, JobView, Join, LabelsView, LedgerView, OpenInvitationView,
    PinWanted, RemovalHow, RemovalView, StatusView, TokenView, Transfer, TransferTo, TrialView,
    Undelete, VolumeMembers, VolumePolicy, VolumeView, WhereView,
};

/// Why something was not done (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize, ToSchema)]
#[error("{detail}")]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of problem, in a few words.
    pub title: String,
    /// What, where, and what to do.
    pub detail: String,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// What was sent makes no sense.
    BadRequest,
    /// Who asks did not show the token.
    Unauthorized,
    /// There is no such thing.
    NotFound,
    /// It is there, and can't be done with.
    NotAllowed,
    /// It is there already, or something else is in the way.
    Conflict,
    /// Something is broken here.
    Fault,
    /// Not now: who could do it is not there, or went away while it was done.
    Unavailable,
}

impl Problem {
    /// A problem of one of the kinds.
    pub fn new(kind: ProblemKind, detail: impl ToString) -> Self {
        let (status, title) = match kind {
            ProblemKind::BadRequest => (400, "bad request"),
            ProblemKind::Unauthorized => (401, "unauthorized"),
            ProblemKind::NotFound => (404, "not found"),
            ProblemKind::NotAllowed => (405, "method not allowed"),
            ProblemKind::Conflict => (409, "conflict"),
            ProblemKind::Fault => (500, "fault"),
            ProblemKind::Unavailable => (503, "unavailable"),
        };
        Self { status, title: title.to_owned(), detail: detail.to_string() }
    }
}

/// Everything an operator can see and have done.
pub trait Operator: Send + Sync + 'static {
    /// The appliance at a glance.
    fn status(&self) -> Result<StatusView, Problem>;

    /// All volumes.
    fn volumes(&self) -> Vec<VolumeView>;

    /// One volume.
    fn volume(&self, name: &str) -> Result<VolumeView, Problem>;

    /// Makes a volume.
    fn create_volume(
        &self,
        wanted: CreateVolume,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Deletes a volume; it can be brought back for a while.
    fn delete_volume(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<DeletedVolumeView, Problem>> + Send;

    /// Deleted volumes that can be brought back.
    fn deleted_volumes(&self) -> Vec<DeletedVolumeView>;

    /// Brings a deleted volume back; `which` is the name that it had, or its number.
    fn undelete_volume(
        &self,
        which: &str,
        wanted: Undelete,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Deletes a deleted volume's data, for good.
    fn purge_volume(&self, which: &str) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Says who shall hold a volume.
    fn set_volume_members(
        &self,
        name: &str,
        wanted: VolumeMembers,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Says how a volume's files are kept.
    fn set_volume_policy(
        &self,
        name: &str,
        wanted: VolumePolicy,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Sets the rule for one pattern of clients: replaces the one there is, or is added last.
    fn set_export(
        &self,
        name: &str,
        rule: ExportRule,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Removes the rule for a pattern of clients.
    fn remove_export(
        &self,
        name: &str,
        client: &str,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Walks a volume.
    fn check(&self, name: &str) -> impl Future<Output = Result<CheckView, Problem>> + Send;

    /// Objects with a stale copy.
    fn faults(&self, volume: Option<&str>) -> Result<Vec<FaultView>, Problem>;

    /// Takes an object's copy for good again.
    fn clear_fault(
        &self,
        name: &str,
        object: u64,
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// The fleet at a glance.
    fn fleet(&self) -> Result<FleetView, Problem>;

    /// Makes this appliance's fleet of one ready to be joined.
    fn fleet_init(&self) -> impl Future<Output = Result<FleetView, Problem>> + Send;

    /// Makes an invitation.
    fn invite(
        &self,
        wanted: Invite,
    ) -> impl Future<Output = Result<InvitationView, Problem>> + Send;

    /// All invitations that are remembered.
    fn invitations(&self) -> Vec<OpenInvitationView>;

    /// Takes an invitation back.
    fn revoke_invitation(&self, id: &str) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Has an appliance's data moved away from it.
    fn drain(&self, name: &str) -> impl Future<Output = Result<DrainView, Problem>> + Send;

    /// Lets an appliance's data stay.
    fn stop_drain(&self, name: &str) -> impl Future<Output = Result<DrainView, Problem>> + Send;

    /// How the draining of an appliance is going.
    fn drained(&self, name: &str) -> impl Future<Output = Result<DrainView, Problem>> + Send;

    /// What the draining of an appliance would do; nothing is done.
    fn plan_drain(&self, name: &str)
    -> impl Future<Output = Result<DrainPlanView, Problem>> + Send;

    /// How a rebalance is going; if none is, what one would move.
    fn rebalance(&self) -> impl Future<Output = Result<RebalanceView, Problem>> + Send;

    /// Begins to move files until the disks are evenly full.
    fn begin_rebalance(&self) -> impl Future<Output = Result<RebalanceView, Problem>> + Send;

    /// Ends a rebalance.
    fn cancel_rebalance(&self) -> impl Future<Output = Result<RebalanceView, Problem>> + Send;

    /// What the removal of an appliance would mean; nothing is done.
    fn explain_removal(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<RemovalView, Problem>> + Send;

    /// Removes an appliance for ever; says what it had.
    fn remove_appliance(
        &self,
        name: &str,
        how: RemovalHow,
    ) -> impl Future<Output = Result<RemovalView, Problem>> + Send;

    /// Sets what an appliance says of itself, until its next start.
    fn set_labels(
        &self,
        name: &str,
        wanted: LabelsView,
    ) -> impl Future<Output = Result<FleetView, Problem>> + Send;

    /// All floating addresses.
    fn addresses(&self) -> Vec<AddressView>;

    /// Has another appliance hold a floating address.
    fn move_address(
        &self,
        address: IpAddr,
        wanted: AddressMove,
    ) -> impl Future<Output = Result<AddressView, Problem>> + Send;

    /// Joins another fleet; the appliance then starts anew.
    fn join(&self, wanted: Join) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Where a file is.
    fn whereis(&self, path: &str) -> impl Future<Output = Result<WhereView, Problem>> + Send;

    /// Begins to move a file.
    fn transfer(&self, wanted: Transfer) -> impl Future<Output = Result<JobView, Problem>> + Send;

    /// Begins to move a file that is named by its volume and its number.
    fn transfer_object(
        &self,
        volume: &str,
        object: u64,
        wanted: TransferTo,
    ) -> impl Future<Output = Result<JobView, Problem>> + Send;

    /// Says where a file is wanted, or that it may be anywhere.
    fn pin(&self, wanted: PinWanted) -> impl Future<Output = Result<WhereView, Problem>> + Send;

    /// Why a file stays or moves.
    fn explain(&self, path: &str) -> impl Future<Output = Result<ExplainView, Problem>> + Send;

    /// Which files changed their owner, or what one file's owners were.
    fn ledger(
        &self,
        path: Option<&str>,
    ) -> impl Future<Output = Result<LedgerView, Problem>> + Send;

    /// At most `limit` notices: those after that number, or the newest; the older ones first.
    fn events(&self, after: Option<u64>, limit: usize) -> Vec<EventView>;

    /// Sends a notice to every target, and says what became of it.
    fn try_notify(&self) -> impl Future<Output = Result<Vec<TrialView>, Problem>> + Send;

    /// How the scrubs of all appliances stand.
    fn scrubs(&self) -> impl Future<Output = Vec<ScrubView>> + Send;

    /// Begins to scrub at all appliances, or goes on.
    fn start_scrub(
        &self,
        wanted: ScrubWanted,
    ) -> impl Future<Output = Result<Vec<ScrubView>, Problem>> + Send;

    /// Stops to scrub at all appliances.
    fn stop_scrub(&self) -> impl Future<Output = Vec<ScrubView>> + Send;

    /// What this appliance boots from.
    fn image(&self) -> Result<ImageView, Problem>;

    /// Takes a signed image as what is booted next.
    fn update_image(
        &self,
        signature: String,
        upload: Upload,
    ) -> impl Future<Output = Result<ImageChange, Problem>> + Send;

    /// Makes the image before what is booted next.
    fn roll_image_back(&self) -> impl Future<Output = Result<ImageChange, Problem>> + Send;

    /// What opens the API over TCP.
    fn token(&self) -> Result<TokenView, Problem>;

    /// How a job is going.
    fn job(&self, id: &str) -> impl Future<Output = Result<JobView, Problem>> + Send;

    /// Breaks a job off.
    fn cancel_job(&self, id: &str) -> impl Future<Output = Result<JobView, Problem>> + Send;

    /// The jobs of all appliances that are up.
    fn jobs(&self) -> impl Future<Output = Vec<JobView>> + Send;

    /// All metrics, in Prometheus' text format.
    fn metrics(&self) -> String;
}
