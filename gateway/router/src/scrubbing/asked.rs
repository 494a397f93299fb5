//! A file's owner scrubs it, and asks what is in an extent of the copy here.
//!
//! Invariant: only the owner of a good copy is answered, and what it reads here counts against this
//! appliance's own rate. Absent on purpose: comparing.

use std::sync::Arc;
use std::time::Duration;

use catalog::Imaging;
use extents::Cold;
use model::{ApplianceId, Mark, Refusal};

use super::BYTES;
use crate::local::Local;
use crate::router::Router;
use crate::wire::copies::{CopyAsk, CopyTold};
use crate::wire::scrub::ExtentTold;

impl<S: Imaging> Router<S> {
    /// Reads an extent of the copy here, once it holds the change `at` or has had time for it.
    pub(crate) async fn extent_asked(
        &self,
        from: ApplianceId,
        ask: &CopyAsk,
        local: &Arc<Local<S>>,
        (extent, at): (u64, Option<Mark>),
    ) -> CopyTold {
        if !self.takes_from(from, ask, local) {
            return CopyTold::NotNow;
        }
        let has_data = local.file(ask.object).is_ok_and(|file| file.has_data);
        let until = self.parts.clock.since_boot() + BEHIND_MAX;
        while self.parts.clock.since_boot() < until {
            match local.objects.holds(ask.object, has_data).await {
                Ok(held) if held < at => tokio::time::sleep(BEHIND_LOOK).await,
                Ok(_) | Err(_) => break,
            }
        }
        let told = match self.read_for_scrub(local, ask.object, has_data, extent).await {
            Ok(cold) => {
                let digest = Some(cold.piece.hash().0);
                ExtentTold { at: cold.at, size: cold.size, digest, next: cold.next }
            }
            Err(Refusal::Fault) => {
                ExtentTold { at, size: 0, digest: None, next: extent.saturating_add(1) }
            }
            Err(_) => return CopyTold::NotNow,
        };
        CopyTold::Extent(told)
    }

    /// Reads an extent here, which counts against the rate.
    pub(super) async fn read_for_scrub(
        &self,
        local: &Local<S>,
        object: model::ObjectId,
        has_data: bool,
        extent: u64,
    ) -> Result<Cold, Refusal> {
        let began = self.parts.clock.since_boot();
        let read = local.objects.read_cold(object, has_data, extent).await;
        let now = self.parts.clock.since_boot();
        let bytes = read.as_ref().map_or(0, |cold| cold.piece.bytes.len() as u64);
        self.scrub.pace.lock().read(now, bytes, now.saturating_sub(began));
        metrics::counter!(BYTES).increment(bytes);
        read
    }
}

/// Longer than a change is on its way.
const BEHIND_MAX: Duration = Duration::from_millis(300);
const BEHIND_LOOK: Duration = Duration::from_millis(5);
