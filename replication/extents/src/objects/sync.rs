//! Making changes durable: COMMIT, and the second half of a synchronous write.
//!
//! Invariant: concurrent commits of one object share one fsync, each being covered by one that
//! began after its changes were done.

use std::sync::Arc;

use metrics::histogram;
use model::{DataFacts, ObjectId, Refusal};
use tracing::warn;

use super::{CopyFault, METRIC_FSYNC_SECONDS, Objects, Shared, blocking, lacks_room, refresh_used};
use crate::{
    core::{Changes, SyncStep},
    object::{Need, Object, Syncing},
};

enum Step {
    Done,
    Run(Syncing),
    OpenFirst,
}

impl Objects {
    /// Makes everything that was written before the call durable. A `Fault` if any of it may be
    /// lost, until somebody clears it.
    pub async fn commit(&self, object: ObjectId, has_data: bool) -> Result<DataFacts, Refusal> {
        let object = self.shared.table.get(object)?;
        let target = self
            .shared
            .when_ready(&object, has_data, Need::Facts, |_, state| Ok(state.loaded().target()))
            .await?;
        self.shared.commit_to(&object, target).await?;
        self.shared
            .when_ready(&object, has_data, Need::Facts, |_, state| {
                refresh_used(state);
                Ok(state.loaded().facts())
            })
            .await
    }
}

impl Shared {
    /// Returns once `target` is durable, by its own fsync or somebody else's.
    pub(super) async fn commit_to(
        self: &Arc<Self>,
        object: &Arc<Object>,
        target: Changes,
    ) -> Result<(), Refusal> {
        loop {
            let step = object.wait_for(|state| {
                if state.gone {
                    return Some(Err(Refusal::Stale));
                }
                match state.loaded().sync_step(target) {
                    SyncStep::Done => Some(Ok(Step::Done)),
                    SyncStep::Refused => Some(Err(Refusal::Fault)),
                    SyncStep::Wait => None,
                    SyncStep::Start => {
                        let begun = Syncing::begin(object, state);
                        Some(Ok(begun.map_or(Step::OpenFirst, Step::Run)))
                    }
                }
            });
            match step.await? {
                Step::Done => return Ok(()),
                Step::Run(syncing) => {
                    let shared = Arc::clone(self);
                    blocking(move || shared.run_sync(syncing)).await??;
                }
                Step::OpenFirst => {
                    let open = self.when_ready(object, false, Need::File, |_, state| {
                        if state.file.is_none() {
                            state.loaded_mut().nothing_to_sync(target);
                        }
                        Ok(())
                    });
                    open.await?;
                }
            }
        }
    }

    /// One fsync, with the record that goes with it. Blocks.
    pub(super) fn run_sync(&self, syncing: Syncing) -> Result<(), Refusal> {
        let object = Arc::clone(&syncing.object);
        let file = Arc::clone(&syncing.file);
        match object.record_for(&*file, &syncing.batch) {
            Ok(()) => {}
            // The record stays dirty: after an unclean stop the times move, as they would have.
            Err(error) if lacks_room(&error) => {
                warn!(object = %object.id, %error, "no room for a record");
            }
            Err(error) => {
                warn!(object = %object.id, %error, "a record can't be written");
                self.copy_failed(&object, CopyFault::Record);
                return Err(Refusal::Fault);
            }
        }
        let began = self.clock.since_boot();
        let result = file.sync();
        let took = self.clock.since_boot().saturating_sub(began);
        histogram!(METRIC_FSYNC_SECONDS).record(took.as_secs_f64());
        match result {
            Ok(()) => {
                if syncing.succeeded() {
                    self.sink.first_durable_data(object.id);
                }
                // Not durable, and if it is lost the copies are compared once more.
                if let Err(error) = object.record_after(&*file) {
                    warn!(object = %object.id, %error, "a record can't be written");
                }
                Ok(())
            }
            Err(error) => {
                warn!(object = %object.id, %error, "an fsync failed");
                self.copy_failed(&object, CopyFault::Fsync);
                drop(syncing);
                if let Err(error) = object.distrust(&*file) {
                    warn!(object = %object.id, %error, "a record can't be written");
                }
                Err(Refusal::Fault)
            }
        }
    }
}
