//! Scrubs, as the operator sees and wants them.

use admin::{DamageView, Problem, ScrubEnd, ScrubFile, ScrubFound, ScrubView, ScrubWanted};
use model::{ApplianceId, VolumeId};
use router::{ScrubAsk, ScrubReport};
use scrub::{Counts, Damage, Finished, State};

use super::{FleetOperator, problem};
use crate::utc;

impl FleetOperator {
    pub(super) async fn begin_scrub(&self, wanted: ScrubWanted) -> Result<Vec<ScrubView>, Problem> {
        let volume = wanted.volume.as_deref().map(|name| self.router.volume_to_scrub(name));
        let volume = volume.transpose().map_err(problem)?;
        Ok(self.ask_scrubs(ScrubAsk::Start { volume }).await)
    }

    pub(super) async fn ask_scrubs(&self, ask: ScrubAsk) -> Vec<ScrubView> {
        let all = self.router.scrub_everywhere(ask).await;
        all.into_iter().map(|(id, report)| self.scrub_view(id, report)).collect()
    }

    fn scrub_view(&self, appliance: ApplianceId, report: Option<ScrubReport>) -> ScrubView {
        let appliance = self.name_of(appliance);
        let Some(report) = report else {
            return ScrubView {
                appliance,
                state: "unreachable".to_owned(),
                ..ScrubView::default()
            };
        };
        let state = match report.state {
            State::Idle => "idle",
            State::Running => "running",
            State::Paused => "paused",
        };
        let damage = |damage: &Damage| DamageView {
            volume: self.volume_name(damage.volume),
            object: damage.object.get(),
            path: damage.path.clone(),
            offset: damage.offset,
        };
        ScrubView {
            appliance,
            state: state.to_owned(),
            volume: report.scope.map(|volume| self.volume_name(volume)),
            began: report.began.map(utc::rfc3339),
            found: found(&report.counts),
            files_total: report.files_total,
            file: report.file.map(|file| ScrubFile {
                object: file.object.get(),
                done: file.done,
                size: file.size,
            }),
            mending: report.mending,
            last: report.finished.map(|finished| self.scrub_end(&finished)),
            next: report.due.map(utc::rfc3339),
            rate_bytes_per_second: report.rate,
            damaged_files: report.damaged_files,
            damaged: report.damaged.iter().map(damage).collect(),
        }
    }

    fn scrub_end(&self, finished: &Finished) -> ScrubEnd {
        let outcome = match (finished.unmended(), finished.counts.errors()) {
            (0, 0) => "clean",
            (0, _) => "mended",
            (_, _) => "damaged",
        };
        ScrubEnd {
            at: utc::rfc3339(finished.at),
            volume: finished.scope.map(|volume| self.volume_name(volume)),
            outcome: outcome.to_owned(),
            found: found(&finished.counts),
        }
    }

    fn volume_name(&self, volume: VolumeId) -> String {
        let fleet = self.router.fleet_now();
        let info = fleet.volumes().iter().find(|info| info.id == volume);
        info.map_or_else(|| volume.to_string(), |info| info.name.clone())
    }
}

fn found(counts: &Counts) -> ScrubFound {
    ScrubFound {
        files: counts.files,
        bytes: counts.bytes,
        errors: counts.errors(),
        unreadable: counts.unreadable,
        differing: counts.differing,
        mended: counts.mended,
        put_off: counts.put_off,
        damaged: counts.damaged,
        skipped: counts.skipped,
    }
}
