//! Single files, as the operator sees them: where they are, why, and where they were.

use admin::{
    ChangeView, ExplainView, ForwardsView, JobView, LedgerView, PinWanted, Problem, Transfer,
    TransferTo, WhereView,
};
use model::{ApplianceId, ObjectId, VolumeId};
use ownership::heat::{Asker, Explained, Outcome};
use ownership::{Cause, OwnerChange};
use router::{FoundFile, LedgerQuestion};

use super::fleet::job_view;
use super::{FleetOperator, problem};
use crate::utc;

impl FleetOperator {
    pub(super) async fn find(&self, path: &str) -> Result<WhereView, Problem> {
        let found = self.router.find_file(path).await.map_err(problem)?;
        let names = |list: &[ApplianceId]| list.iter().map(|id| self.name_of(*id)).collect();
        Ok(WhereView {
            volume: volume_of(path),
            object: found.object.get(),
            owner: self.name_of(found.record.owner),
            epoch: found.record.epoch.get(),
            copies: names(&found.record.replicas),
            stale: names(&found.record.stale),
            state: self.router.file_health(found.volume, &found.record).word().to_owned(),
            pinned: found.pin.map(|pin| self.name_of(pin)),
        })
    }

    pub(super) async fn pin_file(&self, wanted: &PinWanted) -> Result<WhereView, Problem> {
        let to = wanted.to.as_deref().map(|name| self.named(name)).transpose()?;
        let file = self.router.find_file(&wanted.path).await.map_err(problem)?;
        self.router.pin(&file, to).await.map_err(problem)?;
        let found = self.find(&wanted.path).await?;
        // The entry may be on its way to this appliance.
        Ok(WhereView { pinned: to.map(|to| self.name_of(to)), ..found })
    }

    pub(super) async fn begin_transfer(&self, wanted: Transfer) -> Result<JobView, Problem> {
        let file = self.router.find_file(&wanted.path).await.map_err(problem)?;
        self.send_to(&file, &wanted.path, &wanted.to).await
    }

    pub(super) async fn begin_transfer_of(
        &self,
        volume: &str,
        object: u64,
        wanted: TransferTo,
    ) -> Result<JobView, Problem> {
        let object = ObjectId::new(object);
        let file = self.router.find_object(volume, object).await.map_err(problem)?;
        let subject = format!("object {object} of volume {volume}");
        self.send_to(&file, &subject, &wanted.to).await
    }

    async fn send_to(
        &self,
        file: &FoundFile,
        what: &str,
        whither: &str,
    ) -> Result<JobView, Problem> {
        let to = self.named(whither)?;
        let id = self.router.transfer(file, to).await.map_err(problem)?;
        let status = self.router.job(id).await.map_err(problem)?;
        Ok(job_view(id, format!("{what} to {}", self.name_of(to)), status))
    }

    pub(super) async fn explained(&self, path: &str) -> Result<ExplainView, Problem> {
        let file = self.router.find_file(path).await.map_err(problem)?;
        let (owner, explained) = self.router.explain_file(&file).await.map_err(problem)?;
        let outcome = self.sentence(&explained, owner);
        let forwards = |asker: &Asker| ForwardsView {
            from: self.name_of(asker.appliance),
            forwards: asker.forwards,
        };
        Ok(ExplainView {
            volume: volume_of(path),
            object: file.object.get(),
            owner: self.name_of(owner),
            own_uses: explained.own,
            forwards: explained.askers.iter().map(forwards).collect(),
            needed: explained.needed,
            rests_for_seconds: explained.rests_for.as_secs(),
            moved_back: explained.moved_back,
            outcome,
        })
    }

    fn sentence(&self, explained: &Explained, owner: ApplianceId) -> String {
        let owner = self.name_of(owner);
        match explained.outcome {
            Outcome::Moves(to) => format!("it moves to {}", self.name_of(to.to)),
            Outcome::NotUsedEnoughElsewhere => {
                format!("it stays at {owner}: nobody else uses it enough")
            }
            Outcome::Rests => format!("it rests at {owner} after a move"),
            Outcome::PinnedHere => format!("it is pinned to {owner}"),
            Outcome::PinnedWithoutRoom(to) => {
                format!(
                    "it stays at {owner}: {}, to which it is pinned, can't take it",
                    self.name_of(to)
                )
            }
            Outcome::NoRoom(to) => {
                format!(
                    "it stays at {owner}: {}, which uses it most, can't take it",
                    self.name_of(to)
                )
            }
        }
    }

    pub(super) async fn history(&self, path: Option<&str>) -> Result<LedgerView, Problem> {
        let question = match path {
            Some(path) => {
                let file = self.router.find_file(path).await.map_err(problem)?;
                LedgerQuestion { volume: Some(file.volume), object: Some(file.object) }
            }
            None => LedgerQuestion::default(),
        };
        let whole = self.router.whole_ledger(question).await;
        let fleet = self.router.fleet_now();
        let volume_name = |id: VolumeId| {
            let info = fleet.volumes().iter().find(|info| info.id == id);
            info.map_or_else(|| id.to_string(), |info| info.name.clone())
        };
        let change = |change: &OwnerChange| ChangeView {
            at: utc::rfc3339(change.at),
            volume: volume_name(change.volume),
            object: change.object.map(ObjectId::get),
            from: change.from.map(|id| self.name_of(id)),
            to: self.name_of(change.to),
            epoch: change.epoch.get(),
            cause: cause(change.cause).to_owned(),
        };
        Ok(LedgerView {
            changes: whole.changes.iter().map(change).collect(),
            unheard: whole.unheard.iter().map(|id| self.name_of(*id)).collect(),
        })
    }
}

/// The name of the volume in `VOLUME/PATH`.
fn volume_of(path: &str) -> String {
    path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned()
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Asked => "asked",
        Cause::Heat => "heat",
        Cause::Drain => "drain",
        Cause::Rebalance => "rebalance",
        Cause::TakeOver => "take-over",
        Cause::Start => "start",
    }
}
