//! An operator that is made up, and chance that is none: for tests of those who talk to the API.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use model::{Entropy, ExportRule};

use crate::addresses::{AddressMove, AddressView};
use crate::balance::{DrainPlanView, PaceView, RebalanceRunView, RebalanceView};
use crate::image::{ImageChange, ImageView, SlotView, Upload};
use crate::operator::{Operator, Problem, ProblemKind};
use crate::scrub::{ScrubView, ScrubWanted};
use crate::views::{
    CheckView, CreateVolume, DeletedVolumeView, DiskView, DrainView, EventView, ExplainView,
    ExportView, FaultView, FleetView, InvitationView, Invite, JobView, Join, LabelsView,
    LedgerView, OpenInvitationView, PinWanted, RemovalHow, RemovalView, StatusView, TokenView,
    Transfer, TransferTo, TrialView, Undelete, VolumeMembers, VolumePolicy, VolumeView, WhereView,
};

/// Bytes that count up.
#[derive(Debug, Default)]
pub struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0.fetch_add(1, Ordering::Relaxed) as u8;
        }
    }
}

/// An operator with one volume `media`, one appliance `ada` and one job that ends after a few
/// looks. It notes what it is asked to do.
#[derive(Debug, Default)]
pub struct FakeOperator {
    done: Mutex<Vec<String>>,
    looks: AtomicUsize,
}

impl FakeOperator {
    /// What it was asked to do, in order.
    pub fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    fn note(&self, what: impl ToString) {
        self.done.lock().unwrap().push(what.to_string());
    }
}

/// So many notices there are, from 1 on.
pub const EVENTS: u64 = 300;
/// So many looks after which the job has ended.
pub const JOB_LOOKS: usize = 3;

impl Operator for FakeOperator {
    fn status(&self) -> Result<StatusView, Problem> {
        Ok(StatusView {
            name: "ada".to_owned(),
            appliance: "0000000000000001".to_owned(),
            version: "0".to_owned(),
            view: 1,
            uptime_seconds: 1,
            listen: vec![],
            disk: DiskView { total_bytes: 2, free_bytes: 1 },
            volumes: self.volumes(),
            admin: None,
            addresses: self.addresses(),
        })
    }

    fn addresses(&self) -> Vec<AddressView> {
        vec![floating("ada")]
    }

    async fn move_address(
        &self,
        address: IpAddr,
        wanted: AddressMove,
    ) -> Result<AddressView, Problem> {
        known(&address.to_string(), "10.0.0.9")?;
        Ok(floating(&wanted.to))
    }

    fn volumes(&self) -> Vec<VolumeView> {
        vec![media(vec![])]
    }

    fn volume(&self, name: &str) -> Result<VolumeView, Problem> {
        known(name, "media").map(|()| media(vec![]))
    }

    async fn create_volume(&self, wanted: CreateVolume) -> Result<VolumeView, Problem> {
        if wanted.name == "media" {
            return Err(Problem::new(ProblemKind::Conflict, "there is a volume \"media\" already"));
        }
        Ok(VolumeView { name: wanted.name, members: wanted.on, ..media(vec![]) })
    }

    async fn delete_volume(&self, name: &str) -> Result<DeletedVolumeView, Problem> {
        known(name, "media").map(|()| deleted())
    }

    fn deleted_volumes(&self) -> Vec<DeletedVolumeView> {
        vec![deleted()]
    }

    async fn undelete_volume(&self, which: &str, wanted: Undelete) -> Result<VolumeView, Problem> {
        known(which, "media")?;
        let name = wanted.name.unwrap_or_else(|| "media".to_owned());
        Ok(VolumeView { name, ..media(vec![]) })
    }

    async fn purge_volume(&self, which: &str) -> Result<(), Problem> {
        known(which, "media")?;
        self.note("purge media");
        Ok(())
    }

    async fn set_volume_members(
        &self,
        name: &str,
        wanted: VolumeMembers,
    ) -> Result<VolumeView, Problem> {
        known(name, "media")?;
        Ok(VolumeView { members: wanted.on, ..media(vec![]) })
    }

    async fn set_volume_policy(
        &self,
        name: &str,
        wanted: VolumePolicy,
    ) -> Result<VolumeView, Problem> {
        known(name, "media")?;
        Ok(VolumeView { replicas: wanted.replicas.unwrap_or(1), ..media(vec![]) })
    }

    async fn set_export(&self, name: &str, rule: ExportRule) -> Result<VolumeView, Problem> {
        known(name, "media").map(|()| media(vec![ExportView::from(&rule)]))
    }

    async fn remove_export(&self, name: &str, client: &str) -> Result<VolumeView, Problem> {
        known(name, "media")?;
        self.note(format!("unexport media {client}"));
        Ok(media(vec![]))
    }

    async fn check(&self, name: &str) -> Result<CheckView, Problem> {
        known(name, "media")?;
        Ok(CheckView { clean: true, objects: 1, names: 0, removals: 0, violations: vec![] })
    }

    fn faults(&self, volume: Option<&str>) -> Result<Vec<FaultView>, Problem> {
        known(volume.unwrap_or("media"), "media")?;
        Ok(vec![FaultView { volume: "media".to_owned(), object: 7 }])
    }

    async fn clear_fault(&self, name: &str, object: u64) -> Result<(), Problem> {
        known(name, "media")?;
        self.note(format!("clear media {object}"));
        Ok(())
    }

    fn fleet(&self) -> Result<FleetView, Problem> {
        let tolerates = "nothing".to_owned();
        Ok(FleetView { view: 1, tolerates, leader: None, members: vec![] })
    }

    async fn fleet_init(&self) -> Result<FleetView, Problem> {
        self.fleet()
    }

    async fn invite(&self, _wanted: Invite) -> Result<InvitationView, Problem> {
        Ok(InvitationView {
            token: "token".to_owned(),
            addresses: vec!["10.0.0.5:2050".to_owned()],
            good_for_seconds: 60,
            id: "0123456789abcdef".to_owned(),
        })
    }

    fn invitations(&self) -> Vec<OpenInvitationView> {
        vec![]
    }

    async fn revoke_invitation(&self, id: &str) -> Result<(), Problem> {
        known(id, "0123456789abcdef")
    }

    async fn drain(&self, name: &str) -> Result<DrainView, Problem> {
        self.note(format!("drain {name}"));
        self.drained(name).await
    }

    async fn stop_drain(&self, name: &str) -> Result<DrainView, Problem> {
        self.note(format!("stop the drain of {name}"));
        self.drained(name).await
    }

    async fn drained(&self, name: &str) -> Result<DrainView, Problem> {
        known(name, "ada")?;
        let (name, volumes) = (name.to_owned(), vec![]);
        Ok(DrainView { name, draining: true, volumes, files_left: 0, done: true })
    }

    async fn plan_drain(&self, name: &str) -> Result<DrainPlanView, Problem> {
        known(name, "ada")?;
        let pace = PaceView { bytes_per_second: 1, micros_per_file: 1, measured: false };
        Ok(DrainPlanView {
            name: name.to_owned(),
            parts: vec![],
            files: 0,
            bytes: 0,
            seconds: 0,
            pace,
            obstacles: vec!["nobody else holds media".to_owned()],
        })
    }

    async fn rebalance(&self) -> Result<RebalanceView, Problem> {
        Ok(RebalanceView { run: None, plan: None, unheard: vec![] })
    }

    async fn begin_rebalance(&self) -> Result<RebalanceView, Problem> {
        self.note("rebalance");
        Ok(RebalanceView { run: Some(rebalance("moving")), ..self.rebalance().await? })
    }

    async fn cancel_rebalance(&self) -> Result<RebalanceView, Problem> {
        self.note("cancel the rebalance");
        Ok(RebalanceView { run: Some(rebalance("cancelled")), ..self.rebalance().await? })
    }

    async fn explain_removal(&self, name: &str) -> Result<RemovalView, Problem> {
        known(name, "ada")?;
        Ok(RemovalView {
            name: name.to_owned(),
            appliance: "0000000000000001".to_owned(),
            up: true,
            volumes: vec![],
            files_alone: 0,
            unknown: vec![],
        })
    }

    async fn remove_appliance(&self, name: &str, how: RemovalHow) -> Result<RemovalView, Problem> {
        self.note(format!("remove {name} {how:?}"));
        self.explain_removal(name).await
    }

    async fn set_labels(&self, name: &str, wanted: LabelsView) -> Result<FleetView, Problem> {
        known(name, "ada")?;
        self.note(format!("label ada {:?}", wanted.labels));
        self.fleet()
    }

    async fn join(&self, wanted: Join) -> Result<(), Problem> {
        self.note(format!("join {}", wanted.address));
        Ok(())
    }

    async fn whereis(&self, path: &str) -> Result<WhereView, Problem> {
        known(path, "media/film")?;
        Ok(WhereView {
            volume: "media".to_owned(),
            object: 7,
            owner: "ada".to_owned(),
            epoch: 0,
            copies: vec!["ada".to_owned()],
            stale: vec![],
            state: "in_sync".to_owned(),
            pinned: None,
        })
    }

    async fn pin(&self, wanted: PinWanted) -> Result<WhereView, Problem> {
        let found = self.whereis(&wanted.path).await?;
        Ok(WhereView { pinned: wanted.to, ..found })
    }

    async fn transfer(&self, wanted: Transfer) -> Result<JobView, Problem> {
        known(&wanted.path, "media/film")?;
        Ok(job(JOB_LOOKS))
    }

    async fn transfer_object(
        &self,
        volume: &str,
        object: u64,
        wanted: TransferTo,
    ) -> Result<JobView, Problem> {
        known(volume, "media")?;
        self.note(format!("transfer {object} to {}", wanted.to));
        Ok(job(JOB_LOOKS))
    }

    async fn explain(&self, path: &str) -> Result<ExplainView, Problem> {
        known(path, "media/film")?;
        Ok(ExplainView {
            volume: "media".to_owned(),
            object: 7,
            owner: "ada".to_owned(),
            own_uses: 1,
            forwards: vec![],
            needed: 50,
            rests_for_seconds: 0,
            moved_back: 0,
            outcome: "it stays".to_owned(),
        })
    }

    async fn ledger(&self, _path: Option<&str>) -> Result<LedgerView, Problem> {
        Ok(LedgerView { changes: vec![], unheard: vec![] })
    }

    fn events(&self, after: Option<u64>, limit: usize) -> Vec<EventView> {
        let event = |number| EventView {
            number,
            time: "2026-01-01T00:00:00.000Z".to_owned(),
            status: "error".to_owned(),
            subject: "appliance bob".to_owned(),
            job: "fleet".to_owned(),
            message: "Appliance bob is down.".to_owned(),
            details: Default::default(),
            repeated: 0,
        };
        let first = after.map_or(1, |after| after + 1);
        (first..=EVENTS).take(limit).map(event).collect()
    }

    async fn try_notify(&self) -> Result<Vec<TrialView>, Problem> {
        let target = "webhook 1 hooks.example.org".to_owned();
        Ok(vec![TrialView { target, delivered: true, outcome: "delivered".to_owned() }])
    }

    async fn scrubs(&self) -> Vec<ScrubView> {
        vec![scrub("idle", None)]
    }

    async fn start_scrub(&self, wanted: ScrubWanted) -> Result<Vec<ScrubView>, Problem> {
        known(wanted.volume.as_deref().unwrap_or("media"), "media")?;
        self.note(format!("scrub {:?}", wanted.volume));
        Ok(vec![scrub("running", wanted.volume)])
    }

    async fn stop_scrub(&self) -> Vec<ScrubView> {
        self.note("stop the scrub");
        vec![scrub("paused", None)]
    }

    fn image(&self) -> Result<ImageView, Problem> {
        let file = "holdfast-00000001.efi".to_owned();
        let slot =
            SlotView { file: file.clone(), bytes: 1, state: "kept".to_owned(), running: true };
        let version = "0.1.0".to_owned();
        Ok(ImageView { version, booted: Some(file), slots: vec![slot], refuses: None })
    }

    async fn update_image(
        &self,
        signature: String,
        upload: Upload,
    ) -> Result<ImageChange, Problem> {
        let bytes = axum::body::to_bytes(upload, 1 << 20).await.unwrap();
        self.note(format!("update the image: {signature}, {} bytes", bytes.len()));
        Ok(ImageChange { file: "holdfast-00000002+1.efi".to_owned(), restarts: true })
    }

    async fn roll_image_back(&self) -> Result<ImageChange, Problem> {
        self.note("roll the image back");
        Ok(ImageChange { file: "holdfast-00000003+1.efi".to_owned(), restarts: true })
    }

    fn token(&self) -> Result<TokenView, Problem> {
        Ok(TokenView { token: "00".repeat(32), admin: None })
    }

    async fn job(&self, id: &str) -> Result<JobView, Problem> {
        known(id, "1-1")?;
        Ok(job(JOB_LOOKS.saturating_sub(self.looks.fetch_add(1, Ordering::Relaxed))))
    }

    async fn cancel_job(&self, id: &str) -> Result<JobView, Problem> {
        known(id, "1-1")?;
        self.note("cancel 1-1");
        Ok(job(0))
    }

    async fn jobs(&self) -> Vec<JobView> {
        vec![job(JOB_LOOKS)]
    }

    fn metrics(&self) -> String {
        "holdfast_up 1\n".to_owned()
    }
}

fn known(name: &str, there_is: &str) -> Result<(), Problem> {
    match name == there_is {
        true => Ok(()),
        false => Err(Problem::new(ProblemKind::NotFound, format!("there is no {name:?}"))),
    }
}

fn media(exports: Vec<ExportView>) -> VolumeView {
    VolumeView {
        name: "media".to_owned(),
        id: 1,
        export_path: "/media".to_owned(),
        objects: 1,
        loss_count: 0,
        faults: 0,
        exports,
        members: vec!["ada".to_owned()],
        leaving: vec![],
        leader: Some("ada".to_owned()),
        replicas: 1,
        durability: "all-in-sync".to_owned(),
        degraded: 0,
        state: "in_sync".to_owned(),
    }
}

fn deleted() -> DeletedVolumeView {
    DeletedVolumeView {
        name: "media".to_owned(),
        id: 1,
        at: "2026-01-01T00:00:00Z".to_owned(),
        kept_until: "2026-01-08T00:00:00Z".to_owned(),
        kept_seconds: 604_800,
    }
}

fn job(looks_left: usize) -> JobView {
    JobView {
        id: "1-1".to_owned(),
        subject: "media/film to bob".to_owned(),
        phase: "copying".to_owned(),
        bytes_total: 3,
        bytes_done: 3,
        pause_micros: 0,
        ended: looks_left == 0,
        succeeded: looks_left == 0,
        outcome: (looks_left == 0).then(|| "handed over".to_owned()),
    }
}

fn scrub(state: &str, volume: Option<String>) -> ScrubView {
    let appliance = "ada".to_owned();
    ScrubView { appliance, state: state.to_owned(), volume, ..ScrubView::default() }
}

fn rebalance(phase: &str) -> RebalanceRunView {
    RebalanceRunView {
        id: "1-1".to_owned(),
        at: "ada".to_owned(),
        began: "2026-01-01T00:00:00Z".to_owned(),
        phase: phase.to_owned(),
        ended: phase != "moving",
        succeeded: false,
        flows: vec![],
        files_total: 2,
        files_done: 1,
        files_kept: 0,
        bytes_total: 2,
        bytes_done: 1,
        bytes_per_second: 1,
        seconds_left: Some(1),
        outcome: phase.to_owned(),
    }
}

fn floating(holder: &str) -> AddressView {
    AddressView {
        address: "10.0.0.9/24".to_owned(),
        interface: "eth0".to_owned(),
        holder: Some(holder.to_owned()),
        since_view: Some(1),
        since: None,
        cause: Some("offered".to_owned()),
        offered_by: vec!["ada".to_owned(), "bob".to_owned()],
    }
}
