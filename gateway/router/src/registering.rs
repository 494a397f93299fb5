//! Tells the fleet of this run of the appliance, and waits until all others know of it.
//!
//! Invariant: nobody who acted in this appliance's stead while it was away still does when it acts
//! again. Absent on purpose: what a view means; `ownership` says that.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use futures_util::future::join_all;
use model::View;
use ownership::lease::SILENCE_MAX;
use ownership::{FleetAnswer, FleetCommand};

use crate::pulse::PulseEvent;
use crate::router::{Router, Start};
use crate::standing::nanos;
use crate::wire::{Reply, Request};

impl<S: Imaging> Router<S> {
    /// Enters this run of the appliance into the fleet's state, however long that takes.
    pub(crate) async fn register(self: &Arc<Self>, how: Start) {
        loop {
            match self.enter_fleet(self.up_command(how)).await {
                Ok(Ok(answer)) => {
                    self.came_up(answer);
                    return;
                }
                Ok(Err(refusal)) => {
                    tracing::error!(%refusal, "the fleet does not take this appliance back");
                }
                Err(refusal) => {
                    tracing::info!(%refusal, "waiting for the fleet");
                }
            }
            tokio::time::sleep(REGISTER_AGAIN_AFTER).await;
        }
    }

    pub(crate) fn up_command(&self, how: Start) -> FleetCommand {
        FleetCommand::UpAt {
            appliance: self.parts.appliance,
            name: self.parts.name.clone(),
            addresses: self.parts.reach.addresses.clone(),
            labels: self.parts.reach.labels.clone(),
            clean: how == Start::Clean,
        }
    }

    pub(crate) fn came_up(self: &Arc<Self>, answer: FleetAnswer) {
        if let FleetAnswer::Up { incarnation, view } = answer {
            let now = nanos(self.parts.clock.since_boot());
            self.up_at_nanos.store(now, Ordering::Release);
            self.up_view.store(view.get(), Ordering::Release);
            self.pulse.tell(PulseEvent::Up(incarnation));
            self.parts.machines.moved();
            let router = self.clone();
            tokio::spawn(async move { router.make_known(view).await });
        }
    }

    /// Asks all others whether they know of this run. Then none of them acts in its stead any more,
    /// and it need not wait until their leases must have ended.
    async fn make_known(self: Arc<Self>, view: View) {
        let fleet = self.fleet_now();
        let others = fleet.members().iter().map(|member| member.id);
        let others = others.filter(|id| *id != self.parts.appliance);
        let until = self.parts.clock.since_boot() + SILENCE_MAX;
        let know = others.map(|other| {
            let router = self.clone();
            async move {
                let request = Request::InView { view };
                // Who is called down has no lease any more.
                while router.fleet_now().is_up(other) {
                    let asked = router.ask_peer(other, &request, Bytes::new(), KNOWN_WAIT).await;
                    if let Ok((Reply::At(_), _)) = asked {
                        return true;
                    }
                    if router.parts.clock.since_boot() >= until {
                        return false;
                    }
                    tokio::time::sleep(KNOWN_AGAIN_AFTER).await;
                }
                true
            }
        });
        if join_all(know).await.into_iter().all(|known| known) {
            self.known_view.store(view.get(), Ordering::Release);
            self.parts.machines.moved();
        }
    }
}

/// A fleet without a quorum is asked again so often.
const REGISTER_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Who knows says so at once.
const KNOWN_WAIT: Duration = Duration::from_millis(500);
const KNOWN_AGAIN_AFTER: Duration = Duration::from_millis(20);
