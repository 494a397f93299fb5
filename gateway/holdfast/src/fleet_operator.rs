//! The operator's port, over the running appliance.

mod addresses;
mod balance;
mod files;
mod fleet;
mod image;
mod leaving;
mod notify;
mod scrub;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::{
    AddressMove, AddressView, CheckView, CreateVolume, DeletedVolumeView, DiskView, DrainPlanView,
    DrainView, EventView, ExplainView, ExportView, FaultView, FleetView, ImageChange, ImageView,
    InvitationView, Invite, JobView, Join, LabelsView, LedgerView, OpenInvitationView, Operator,
    PinWanted, Problem, ProblemKind, RebalanceView, RemoteView, RemovalHow, RemovalView, ScrubView,
    ScrubWanted, StatusView, Token, TokenView, Transfer, TransferTo, TrialView, Undelete, Upload,
    VolumeMembers, VolumePolicy, VolumeView, WhereView,
};
use catalog::FjallStore;
use metrics_exporter_prometheus::PrometheusHandle;
use model::{ApplianceId, Clock, Durability, Entropy, ExportRule, ObjectId, Policy, RootDirectory};
use notices::Notifier;
use ownership::FleetRefusal;
use router::{OperatorRefusal, Router, ScrubAsk, VolumeStatus};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::image::Image;
use crate::serve::Opened;

/// Everything the API needs of the running appliance.
pub struct FleetOperator {
    /// The router.
    pub router: Arc<Router<FjallStore>>,
    /// What is below the doors.
    pub opened: Arc<Opened>,
    /// What was configured.
    pub config: Config,
    /// Its number.
    pub appliance: ApplianceId,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// When it began to serve.
    pub since: Duration,
    /// What a person must know.
    pub notifier: Notifier,
    /// All metrics.
    pub metrics: PrometheusHandle,
    /// Changes of one volume's exports are read, changed and written: one at a time.
    pub exports: tokio::sync::Mutex<()>,
    /// What it boots from, if that is an image.
    pub image: Image,
    /// What opens the admin API over TCP.
    pub token: Token,
    /// Where that is, if it is.
    pub remote: Option<RemoteView>,
    /// Told when this appliance was admitted to a fleet.
    pub joined: mpsc::Sender<()>,
}

impl Operator for FleetOperator {
    fn status(&self) -> Result<StatusView, Problem> {
        let disk = self.router.disk().map_err(problem)?;
        Ok(StatusView {
            name: self.config.name.clone(),
            appliance: format!("{:016x}", self.appliance.get()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            view: self.router.fleet_now().view().get(),
            uptime_seconds: self.clock.since_boot().saturating_sub(self.since).as_secs(),
            listen: self.config.nfs.listen.iter().map(ToString::to_string).collect(),
            disk: DiskView { total_bytes: disk.total, free_bytes: disk.available },
            volumes: self.volumes(),
            admin: self.remote.clone(),
            addresses: self.all_addresses(),
        })
    }

    fn addresses(&self) -> Vec<AddressView> {
        self.all_addresses()
    }

    async fn move_address(
        &self,
        address: IpAddr,
        wanted: AddressMove,
    ) -> Result<AddressView, Problem> {
        self.move_to(address, wanted).await
    }

    fn volumes(&self) -> Vec<VolumeView> {
        self.router.volume_statuses().iter().map(|status| self.view(status)).collect()
    }

    fn volume(&self, name: &str) -> Result<VolumeView, Problem> {
        self.volume_view(name)
    }

    async fn create_volume(&self, wanted: CreateVolume) -> Result<VolumeView, Problem> {
        let CreateVolume { name, root_uid, root_gid, root_mode, on, policy } = wanted;
        let policy = policy_of(&policy, Policy::default())?;
        if root_mode > 0o7777 {
            let detail = format!("root_mode {root_mode:o} has bits beyond 07777");
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
        let root = RootDirectory { uid: root_uid, gid: root_gid, mode: root_mode };
        let on = on.iter().map(|name| self.named(name)).collect::<Result<Vec<_>, _>>()?;
        let made = self.router.create_volume(name.clone(), vec![], root, &on).await;
        let volume = made.map_err(problem)?;
        if policy != Policy::default() {
            self.router.set_policy(volume, policy).await.map_err(problem)?;
        }
        self.volume(&name)
    }

    async fn delete_volume(&self, name: &str) -> Result<DeletedVolumeView, Problem> {
        self.take_volume_out(name).await
    }

    fn deleted_volumes(&self) -> Vec<DeletedVolumeView> {
        self.all_deleted()
    }

    async fn undelete_volume(&self, which: &str, wanted: Undelete) -> Result<VolumeView, Problem> {
        self.bring_back(which, wanted).await
    }

    async fn purge_volume(&self, which: &str) -> Result<(), Problem> {
        self.purge(which).await
    }

    async fn set_volume_members(
        &self,
        name: &str,
        wanted: VolumeMembers,
    ) -> Result<VolumeView, Problem> {
        self.set_holders(name, wanted).await
    }

    async fn set_volume_policy(
        &self,
        name: &str,
        wanted: VolumePolicy,
    ) -> Result<VolumeView, Problem> {
        let volume = self.router.volume_status(name).map_err(problem)?.info.id;
        let policy = policy_of(&wanted, self.router.fleet_now().policy(volume))?;
        self.router.set_policy(volume, policy).await.map_err(problem)?;
        self.volume(name)
    }

    async fn set_export(&self, name: &str, rule: ExportRule) -> Result<VolumeView, Problem> {
        let _alone = self.exports.lock().await;
        let mut rules = self.router.volume_status(name).map_err(problem)?.info.exports;
        match rules.iter_mut().find(|there| there.client == rule.client) {
            Some(there) => *there = rule,
            None => rules.push(rule),
        }
        self.router.set_exports(name, rules).await.map_err(problem)?;
        self.volume(name)
    }

    async fn remove_export(&self, name: &str, client: &str) -> Result<VolumeView, Problem> {
        let _alone = self.exports.lock().await;
        let mut rules = self.router.volume_status(name).map_err(problem)?.info.exports;
        let before = rules.len();
        rules.retain(|rule| rule.client.to_string() != client);
        if rules.len() == before {
            let detail = format!("volume {name:?} has no rule for {client:?}");
            return Err(Problem::new(ProblemKind::NotFound, detail));
        }
        self.router.set_exports(name, rules).await.map_err(problem)?;
        self.volume(name)
    }

    async fn check(&self, name: &str) -> Result<CheckView, Problem> {
        let report = self.router.check_volume(name).await.map_err(problem)?;
        let mut violations: Vec<String> =
            report.catalog.violations.iter().map(ToString::to_string).collect();
        let orphan = |object| format!("object {object}: has a backing file but no name");
        violations.extend(report.orphans.iter().map(orphan));
        let missing = |object| format!("object {object}: its backing file is missing");
        violations.extend(report.missing.iter().map(missing));
        Ok(CheckView {
            clean: report.is_clean(),
            objects: report.catalog.objects,
            names: report.catalog.names,
            removals: report.catalog.removals,
            violations,
        })
    }

    fn faults(&self, volume: Option<&str>) -> Result<Vec<FaultView>, Problem> {
        let faulty = self.router.faulty_objects(volume).map_err(problem)?;
        let fleet = self.router.fleet_now();
        let name_of = |id| fleet.volumes().iter().find(|info| info.id == id);
        let view = |f: &router::FaultyObject| FaultView {
            // One that is gone since then has no name any more.
            volume: name_of(f.volume).map_or_else(String::new, |info| info.name.clone()),
            object: f.object.get(),
        };
        Ok(faulty.iter().map(view).collect())
    }

    async fn clear_fault(&self, name: &str, object: u64) -> Result<(), Problem> {
        self.router.clear_fault(name, ObjectId::new(object)).await.map_err(problem)
    }

    fn fleet(&self) -> Result<FleetView, Problem> {
        Ok(self.fleet_view())
    }

    async fn fleet_init(&self) -> Result<FleetView, Problem> {
        self.make_joinable().await
    }

    async fn invite(&self, wanted: Invite) -> Result<InvitationView, Problem> {
        self.make_invitation(wanted).await
    }

    fn invitations(&self) -> Vec<OpenInvitationView> {
        self.known_invitations()
    }

    async fn revoke_invitation(&self, id: &str) -> Result<(), Problem> {
        self.revoke(id).await
    }

    async fn drain(&self, name: &str) -> Result<DrainView, Problem> {
        self.start_drain(name).await
    }

    async fn stop_drain(&self, name: &str) -> Result<DrainView, Problem> {
        self.end_drain(name).await
    }

    async fn drained(&self, name: &str) -> Result<DrainView, Problem> {
        self.drain_view(name).await
    }

    async fn plan_drain(&self, name: &str) -> Result<DrainPlanView, Problem> {
        self.drain_plan_view(name).await
    }

    async fn rebalance(&self) -> Result<RebalanceView, Problem> {
        self.rebalance_view().await
    }

    async fn begin_rebalance(&self) -> Result<RebalanceView, Problem> {
        self.start_rebalance().await
    }

    async fn cancel_rebalance(&self) -> Result<RebalanceView, Problem> {
        self.end_rebalance().await
    }

    async fn explain_removal(&self, name: &str) -> Result<RemovalView, Problem> {
        self.removal_view(name).await
    }

    async fn remove_appliance(&self, name: &str, how: RemovalHow) -> Result<RemovalView, Problem> {
        self.remove_for_ever(name, how).await
    }

    async fn set_labels(&self, name: &str, wanted: LabelsView) -> Result<FleetView, Problem> {
        self.label(name, wanted).await
    }

    async fn join(&self, wanted: Join) -> Result<(), Problem> {
        self.join_fleet(wanted).await
    }

    async fn whereis(&self, path: &str) -> Result<WhereView, Problem> {
        self.find(path).await
    }

    async fn transfer(&self, wanted: Transfer) -> Result<JobView, Problem> {
        self.begin_transfer(wanted).await
    }

    async fn transfer_object(
        &self,
        volume: &str,
        object: u64,
        wanted: TransferTo,
    ) -> Result<JobView, Problem> {
        self.begin_transfer_of(volume, object, wanted).await
    }

    async fn pin(&self, wanted: PinWanted) -> Result<WhereView, Problem> {
        self.pin_file(&wanted).await
    }

    async fn explain(&self, path: &str) -> Result<ExplainView, Problem> {
        self.explained(path).await
    }

    async fn ledger(&self, path: Option<&str>) -> Result<LedgerView, Problem> {
        self.history(path).await
    }

    fn events(&self, after: Option<u64>, limit: usize) -> Vec<EventView> {
        self.told(after, limit)
    }

    async fn try_notify(&self) -> Result<Vec<TrialView>, Problem> {
        self.try_targets().await
    }

    async fn scrubs(&self) -> Vec<ScrubView> {
        self.ask_scrubs(ScrubAsk::Status).await
    }

    async fn start_scrub(&self, wanted: ScrubWanted) -> Result<Vec<ScrubView>, Problem> {
        self.begin_scrub(wanted).await
    }

    async fn stop_scrub(&self) -> Vec<ScrubView> {
        self.ask_scrubs(ScrubAsk::Stop).await
    }

    fn image(&self) -> Result<ImageView, Problem> {
        self.image_view()
    }

    async fn update_image(
        &self,
        signature: String,
        upload: Upload,
    ) -> Result<ImageChange, Problem> {
        self.take_image(&signature, upload).await
    }

    async fn roll_image_back(&self) -> Result<ImageChange, Problem> {
        self.boot_previous_image().await
    }

    fn token(&self) -> Result<TokenView, Problem> {
        Ok(TokenView { token: self.token.as_str().to_owned(), admin: self.remote.clone() })
    }

    async fn job(&self, id: &str) -> Result<JobView, Problem> {
        self.find_job(id).await
    }

    async fn cancel_job(&self, id: &str) -> Result<JobView, Problem> {
        self.break_job_off(id).await
    }

    async fn jobs(&self) -> Vec<JobView> {
        self.all_jobs().await
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

impl FleetOperator {
    fn volume_view(&self, name: &str) -> Result<VolumeView, Problem> {
        self.router.volume_status(name).map(|status| self.view(&status)).map_err(problem)
    }

    fn view(&self, status: &VolumeStatus) -> VolumeView {
        let fleet = self.router.fleet_now();
        let seats = fleet.seats(status.info.id).cloned().unwrap_or_default();
        let names = |list: &[ApplianceId]| list.iter().map(|id| self.name_of(*id)).collect();
        VolumeView {
            name: status.info.name.clone(),
            id: status.info.id.get(),
            export_path: volume::export_path(&status.info),
            objects: status.objects,
            loss_count: status.info.loss_count.get(),
            faults: status.faults,
            exports: status.info.exports.iter().map(ExportView::from).collect(),
            members: names(&seats.members),
            leaving: names(&seats.leaving),
            leader: status.leader.map(|id| self.name_of(id)),
            replicas: fleet.policy(status.info.id).replicas,
            durability: match fleet.policy(status.info.id).durability {
                Durability::AllInSync => ALL_IN_SYNC.to_owned(),
                Durability::Local => LOCAL.to_owned(),
            },
            degraded: status.degraded,
            state: status.health.word().to_owned(),
        }
    }
}

/// What somebody wants of a volume that is kept as `present` says.
fn policy_of(wanted: &VolumePolicy, present: Policy) -> Result<Policy, Problem> {
    let durability = match wanted.durability.as_deref() {
        None => present.durability,
        Some(ALL_IN_SYNC) => Durability::AllInSync,
        Some(LOCAL) => Durability::Local,
        Some(other) => {
            let detail = format!("durability {other:?} is neither {ALL_IN_SYNC} nor {LOCAL}");
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
    };
    Ok(Policy { replicas: wanted.replicas.unwrap_or(present.replicas), durability })
}

const ALL_IN_SYNC: &str = "all-in-sync";
const LOCAL: &str = "local";

fn problem(refusal: OperatorRefusal) -> Problem {
    let kind = match &refusal {
        OperatorRefusal::NoVolume(_) => ProblemKind::NotFound,
        OperatorRefusal::Fleet(refusal) => fleet_problem(refusal),
        OperatorRefusal::NoJob | OperatorRefusal::NoRebalance => ProblemKind::NotFound,
        OperatorRefusal::NoFile(_) => ProblemKind::BadRequest,
        OperatorRefusal::ThereAlready
        | OperatorRefusal::NotHeldThere(_)
        | OperatorRefusal::Pinned(_)
        | OperatorRefusal::TooManyPins
        | OperatorRefusal::NoPlace
        | OperatorRefusal::Rebalancing(_)
        | OperatorRefusal::Mesh(_) => ProblemKind::Conflict,
        OperatorRefusal::Refused(model::Refusal::NotFound) => {
            return Problem::new(ProblemKind::NotFound, "there is no such name");
        }
        OperatorRefusal::Refused(model::Refusal::Stale) => {
            return Problem::new(ProblemKind::NotFound, "there is no such object");
        }
        OperatorRefusal::Refused(model::Refusal::Invalid) => {
            return Problem::new(ProblemKind::Conflict, "that object has no copy here");
        }
        OperatorRefusal::Refused(model::Refusal::Busy) => {
            return Problem::new(ProblemKind::Unavailable, NOT_NOW);
        }
        OperatorRefusal::Refused(model::Refusal::Unknown) => {
            return Problem::new(ProblemKind::Unavailable, FATE_UNKNOWN);
        }
        OperatorRefusal::Refused(_) | OperatorRefusal::Start(_) | OperatorRefusal::Delete(_) => {
            ProblemKind::Fault
        }
    };
    Problem::new(kind, refusal)
}

const NOT_NOW: &str = "busy, try again: the object is in motion, or nobody leads just now; \
                       `holdfast fleet status` shows who is up";
const FATE_UNKNOWN: &str = "the fleet's leader went away meanwhile, so whether this was done is not \
                            known: look, and if it was not, do it again";

/// Not there, not well said, or not as things are.
fn fleet_problem(refusal: &FleetRefusal) -> ProblemKind {
    match refusal {
        FleetRefusal::UnknownVolume(_)
        | FleetRefusal::UnknownAddress(_)
        | FleetRefusal::UnknownAppliance(_)
        | FleetRefusal::UnknownInvitation => ProblemKind::NotFound,
        FleetRefusal::BadVolumeName(_)
        | FleetRefusal::TooManyRules
        | FleetRefusal::BadAuthority
        | FleetRefusal::InvitationInThePast
        | FleetRefusal::InvitationKind
        | FleetRefusal::BadApplianceName(_)
        | FleetRefusal::TooManyAddresses
        | FleetRefusal::BadLabels
        | FleetRefusal::BadVolumeMembers
        | FleetRefusal::BadPolicy
        | FleetRefusal::BadOffers
        | FleetRefusal::WitnessHoldsNothing(_) => ProblemKind::BadRequest,
        FleetRefusal::Founded
        | FleetRefusal::VolumeExists(_)
        | FleetRefusal::TooManyVolumes
        | FleetRefusal::AuthoritySet
        | FleetRefusal::TooManyInvitations
        | FleetRefusal::InvitationExists
        | FleetRefusal::InvitationExpired
        | FleetRefusal::InvitationUsed(_)
        | FleetRefusal::AlreadyMember(_)
        | FleetRefusal::Removed(_)
        | FleetRefusal::TooManyMembers
        | FleetRefusal::TooManyEver
        | FleetRefusal::RunOver { .. }
        | FleetRefusal::LastAppliance(_)
        | FleetRefusal::StillUp(_)
        | FleetRefusal::StillMember { .. }
        | FleetRefusal::OnlyHolder { .. }
        | FleetRefusal::NobodyStays
        | FleetRefusal::CantHold { .. }
        | FleetRefusal::HeldAlready { .. }
        | FleetRefusal::SpreadAlready
        | FleetRefusal::StillWanted(_) => ProblemKind::Conflict,
    }
}
