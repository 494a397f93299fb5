//! A clean stop: the fleet is told, nobody is listened to any more, and all is made durable.
//!
//! Invariant: nothing is acknowledged once others may answer for this appliance; so nothing changes
//! any more while it is made durable.

use std::sync::Arc;
use std::time::Duration;

use catalog::Imaging;
use ownership::FleetCommand;
use ownership::lease::Holding;

use crate::local::Local;
use crate::pulse::PulseEvent;
use crate::router::{Router, Start};

impl<S: Imaging> Router<S> {
    /// Ends the log and makes everything durable. Doors are closed already. `Clean` if nothing
    /// uncommitted is left: the next start may call itself so.
    pub async fn stop(&self) -> Start {
        let locals: Vec<_> = self.locals.read().values().cloned().collect();
        // Others need not wait until all is durable here, and who leads no more is replaced.
        self.take_leave().await;
        if let Some(mesh) = self.mesh() {
            mesh.close().await;
        }
        let log = self.parts.log.clone();
        let stopped = tokio::task::spawn_blocking(move || log.stop()).await;
        let mut clean = settle(&locals).await;
        for local in locals {
            let checkpoint = tokio::task::spawn_blocking(move || local.catalog.checkpoint()).await;
            clean &= matches!(checkpoint, Ok(Ok(_)));
        }
        if clean && stopped.is_ok() { Start::Clean } else { Start::Unclean }
    }

    /// Gives the lease back and tells the fleet, so that others answer for this appliance at once,
    /// and not when its lease would have ended.
    async fn take_leave(&self) {
        let fleet = self.fleet_now();
        let me = fleet.member(self.parts.appliance).filter(|member| member.up);
        let Some(incarnation) = me.map(|member| member.incarnation) else { return };
        if self.lease.is_for_ever() {
            return;
        }
        self.pulse.tell(PulseEvent::GivenBack);
        let left = async {
            while self.lease.holding() != Holding::Nothing {
                tokio::time::sleep(LEAVE_LOOK).await;
            }
            let down = FleetCommand::Down { appliance: self.parts.appliance, incarnation };
            self.enter_fleet(down).await
        };
        match tokio::time::timeout(LEAVE_MAX, left).await {
            Ok(Ok(Ok(_))) => tracing::info!("the fleet knows that this appliance leaves"),
            // It will be called down when its lease would have ended.
            told => tracing::info!(?told, "the fleet could not be told of the stop"),
        }
    }
}

/// Makes everything durable; whether that worked.
async fn settle<S: Imaging>(locals: &[Arc<Local<S>>]) -> bool {
    let mut durable = true;
    for local in locals {
        if let Err(refusal) = local.objects.settle_all().await {
            tracing::error!(volume = %local.id, ?refusal, "could not make all data durable");
            durable = false;
        }
    }
    durable
}

/// Somebody leads the fleet within this time, or nobody will soon.
const LEAVE_MAX: Duration = Duration::from_secs(1);
const LEAVE_LOOK: Duration = Duration::from_millis(1);
