//! The operator's port, over the running appliance.

use std::sync::Arc;
use std::time::Duration;

use admin::{
    CheckView, CreateVolume, DiskView, ExportView, FaultView, Operator, Problem, ProblemKind,
    StatusView, VolumeView,
};
use catalog::FjallStore;
use metrics_exporter_prometheus::PrometheusHandle;
use model::{ApplianceId, Clock, ExportRule, ObjectId, RootDirectory};
use ownership::FleetRefusal;
use router::{OperatorRefusal, Router, VolumeStatus};

/// Everything the API needs of the running appliance.
pub struct FleetOperator {
    /// The router.
    pub router: Arc<Router<FjallStore>>,
    /// What people call it.
    pub name: String,
    /// Its number.
    pub appliance: ApplianceId,
    /// Where clients knock.
    pub listen: Vec<String>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When it began to serve.
    pub since: Duration,
    /// All metrics.
    pub metrics: PrometheusHandle,
    /// Changes of one volume's exports are read, changed and written: one at a time.
    pub exports: tokio::sync::Mutex<()>,
}

impl Operator for FleetOperator {
    fn status(&self) -> Result<StatusView, Problem> {
        let disk = self.router.disk().map_err(problem)?;
        Ok(StatusView {
            name: self.name.clone(),
            appliance: format!("{:016x}", self.appliance.get()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            view: self.router.fleet().view().get(),
            uptime_seconds: self.clock.since_boot().saturating_sub(self.since).as_secs(),
            listen: self.listen.clone(),
            disk: DiskView { total_bytes: disk.total, free_bytes: disk.available },
            volumes: self.volumes(),
        })
    }

    fn volumes(&self) -> Vec<VolumeView> {
        self.router.volume_statuses().iter().map(view).collect()
    }

    fn volume(&self, name: &str) -> Result<VolumeView, Problem> {
        self.router.volume_status(name).map(|status| view(&status)).map_err(problem)
    }

    async fn create_volume(&self, wanted: CreateVolume) -> Result<VolumeView, Problem> {
        let CreateVolume { name, root_uid, root_gid, root_mode } = wanted;
        if root_mode > 0o7777 {
            let detail = format!("root_mode {root_mode:o} has bits beyond 07777");
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        }
        let root = RootDirectory { uid: root_uid, gid: root_gid, mode: root_mode };
        self.router.create_volume(name.clone(), vec![], root).await.map_err(problem)?;
        self.volume(&name)
    }

    async fn delete_volume(&self, name: &str) -> Result<(), Problem> {
        self.router.delete_volume(name).await.map_err(problem)
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
        let fleet = self.router.fleet();
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

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

fn view(status: &VolumeStatus) -> VolumeView {
    VolumeView {
        name: status.info.name.clone(),
        id: status.info.id.get(),
        export_path: volume::export_path(&status.info),
        objects: status.objects,
        loss_count: status.info.loss_count.get(),
        faults: status.faults,
        exports: status.info.exports.iter().map(ExportView::from).collect(),
    }
}

fn problem(refusal: OperatorRefusal) -> Problem {
    let kind = match &refusal {
        OperatorRefusal::NoVolume(_) => ProblemKind::NotFound,
        OperatorRefusal::Fleet(fleet) => match fleet {
            FleetRefusal::UnknownVolume(_) | FleetRefusal::UnknownAppliance(_) => {
                ProblemKind::NotFound
            }
            FleetRefusal::BadVolumeName(_) | FleetRefusal::TooManyRules => ProblemKind::BadRequest,
            FleetRefusal::Founded
            | FleetRefusal::VolumeExists(_)
            | FleetRefusal::TooManyVolumes => ProblemKind::Conflict,
        },
        OperatorRefusal::Refused(model::Refusal::Stale) => {
            return Problem::new(ProblemKind::NotFound, "there is no such object");
        }
        OperatorRefusal::Refused(model::Refusal::Invalid) => {
            return Problem::new(ProblemKind::Conflict, "that object has no copy here");
        }
        OperatorRefusal::Refused(_) | OperatorRefusal::Start(_) | OperatorRefusal::Delete(_) => {
            ProblemKind::Fault
        }
    };
    Problem::new(kind, refusal)
}
