//! What the operator asks of scrubs, here and at all appliances of the fleet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use model::{ApplianceId, VolumeId};

use crate::operator::OperatorRefusal;
use crate::router::Router;
use crate::wire::scrub::{DAMAGED_TOLD_MAX, ScrubAsk, ScrubReport};
use crate::wire::{Reply, Request};

impl<S: Imaging> Router<S> {
    /// Asks it of every appliance of the fleet; none for those that do not answer.
    pub async fn scrub_everywhere(
        self: &Arc<Self>,
        ask: ScrubAsk,
    ) -> Vec<(ApplianceId, Option<ScrubReport>)> {
        let fleet = self.fleet_now();
        let asked = fleet.members().iter().map(|member| async {
            let id = member.id;
            if id == self.parts.appliance {
                return (id, Some(self.scrub_here(ask).await));
            }
            let request = Request::Scrub(ask);
            let report = match self.ask_peer(id, &request, Bytes::new(), ASK_WAIT).await {
                Ok((Reply::Scrub(report), _)) => Some(*report),
                // Down, or it knows of no scrubs.
                _ => None,
            };
            (id, report)
        });
        futures_util::future::join_all(asked).await
    }

    /// The number of a volume, by its name.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn volume_to_scrub(&self, name: &str) -> Result<VolumeId, OperatorRefusal> {
        Ok(self.info(name)?.id)
    }

    /// Does it here.
    pub(crate) async fn scrub_here(&self, ask: ScrubAsk) -> ScrubReport {
        let now = self.parts.clock.wall();
        let changed = match ask {
            // Who does not hold it has nothing to look at.
            ScrubAsk::Start { volume: Some(volume) } if self.local(volume).is_err() => false,
            ScrubAsk::Start { volume } => {
                let started = self.scrub.course.lock().start(now, volume);
                tracing::info!(?started, ?volume, "a scrub is wanted");
                true
            }
            ScrubAsk::Stop => self.scrub.course.lock().stop(now),
            ScrubAsk::Status => false,
        };
        if changed {
            self.scrub.keep().await;
            self.scrub.woken.notify_one();
        }
        self.scrub_report()
    }

    fn scrub_report(&self) -> ScrubReport {
        let course = self.scrub.course.lock();
        let (kept, pass) = (course.kept(), &course.kept().pass);
        let file = *self.scrub.file.lock();
        let never = pass.began.as_nanos() == 0;
        ScrubReport {
            state: kept.state,
            scope: pass.scope,
            began: Some(pass.began).filter(|_| !never),
            counts: pass.counts,
            files_total: pass.files_total.unwrap_or(0),
            file: file.filter(|_| course.is_running()),
            mending: pass.mending.len() as u64,
            finished: kept.finished,
            due: course.due(),
            rate: course.settings().bytes_per_second,
            damaged_files: kept.damaged.len() as u64,
            damaged: kept.damaged.iter().take(DAMAGED_TOLD_MAX).cloned().collect(),
        }
    }
}

const ASK_WAIT: Duration = Duration::from_secs(5);
