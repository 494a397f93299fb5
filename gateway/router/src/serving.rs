//! Requests that are executed here, for a client of this appliance or of another one.
//!
//! Invariant: whatever touches a file's data passes its gate first and looks only then who owns it.

use std::sync::Arc;

use bytes::Bytes;
use catalog::Imaging;
use model::{
    ApplianceId, Attributes, ObjectId, Refusal, SetAttributes, Span, Timestamp, VolumeId, Wcc,
};
use volume::{Ask, Committed, ReadData, Refused, SpaceReport, WriteRequest, Wrote};

use crate::local::Local;
use crate::ports::taken_set;
use crate::router::Router;
use crate::standing::About;
use crate::wire::Call;

impl<S: Imaging> Router<S> {
    /// GETATTR.
    pub(crate) async fn serve_attributes(
        &self,
        local: &Arc<Local<S>>,
        object: ObjectId,
    ) -> Result<Attributes, Refused> {
        let pass = local.gates.pass(object).await;
        let inode = local.inode(object)?;
        let (attributes, seen) = self.attributes_here(local, object, &inode).await?;
        drop(pass);
        if let Some(seen) = seen {
            self.outlives_its_owner(local, object, seen).await?;
        }
        Ok(attributes)
    }

    /// SETATTR.
    pub(crate) async fn serve_set(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Wcc, Refused> {
        if set.size.is_some() {
            self.join_copies(local, object).await?;
        }
        let _pass = local.gates.pass(object).await;
        self.set_attributes_of(ask, local, object, set, guard).await
    }

    /// READ. If the bytes can't be read here, a copy that is good answers from then on.
    pub(crate) async fn serve_read(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
        span: Span,
    ) -> Result<ReadData, Refused> {
        let pass = local.gates.pass(object).await;
        let read = self.read_file(ask, local, object, span).await;
        drop(pass);
        match read {
            Ok((data, seen)) => {
                self.outlives_its_owner(local, object, seen).await?;
                Ok(data)
            }
            Err(Refused { refusal: Refusal::Fault, .. })
                if self.give_up_copy(local, object).await? =>
            {
                Err(Refusal::Fenced.into())
            }
            Err(refused) => Err(refused),
        }
    }

    /// WRITE.
    pub(crate) async fn serve_write(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        request: WriteRequest,
    ) -> Result<Wrote, Refused> {
        self.join_copies(local, request.object).await?;
        let _pass = local.gates.pass(request.object).await;
        self.write_file(ask, local, request).await
    }

    /// COMMIT. A hand-over does not wait for its sync: whoever owns the file after that answers.
    pub(crate) async fn serve_commit(
        &self,
        ask: &Ask,
        local: &Arc<Local<S>>,
        object: ObjectId,
    ) -> Result<Committed, Refused> {
        loop {
            self.join_copies(local, object).await?;
            let pass = local.gates.pass(object).await;
            let file = self.may_commit(ask, local, object).await?;
            drop(pass);
            let committed = self.commit_everywhere(local, object, &file).await?;
            let _pass = local.gates.pass(object).await;
            if self.owned(local, object)?.epoch == file.epoch {
                return self.committed(ask, local, object, &file, committed).await;
            }
        }
    }

    /// FSSTAT: the room on this appliance's disk.
    pub(crate) async fn serve_space(
        &self,
        local: &Arc<Local<S>>,
        object: ObjectId,
    ) -> Result<SpaceReport, Refused> {
        let attributes = self.serve_attributes(local, object).await?;
        let disk = self.parts.space.totals()?;
        // Not `free`: BTRFS counts there what its metadata has taken and file data never gets.
        let objects_free = disk.available / BYTES_PER_OBJECT;
        Ok(SpaceReport {
            bytes_total: disk.total,
            bytes_free: disk.available,
            objects_total: local.catalog.objects().saturating_add(objects_free),
            objects_free,
            attributes,
        })
    }

    /// A part of a change of names that belongs to a file's owner elsewhere.
    pub(crate) async fn set_elsewhere(
        &self,
        ask: &Ask,
        object: ObjectId,
        call: impl Fn() -> Call,
    ) -> Result<Wcc, Refused> {
        // Boxed: a change of names waits here for a request of its own.
        let here = |local: Arc<Local<S>>, view| {
            let call = call();
            async move {
                let Call::SizeCreated { object, set, made } = call else {
                    return Err(Refusal::Fault.into());
                };
                self.join_copies(&local, object).await?;
                let _pass = local.gates.pass(object).await;
                self.size_here(&ask.in_view(view), &local, object, set, made).await
            }
        };
        let call = || (call(), Bytes::new());
        self.routed(ask, About::Object(object), here, call, taken_set).await
    }

    /// Who owns a file that is made now: this appliance if it holds the volume, else whoever makes
    /// it.
    pub(crate) fn home_of_new(&self, volume: VolumeId) -> ApplianceId {
        let me = self.parts.appliance;
        if self.lease.is_for_ever() {
            return me;
        }
        let fleet = self.fleet_now();
        let draining = fleet.member(me).is_some_and(|member| member.draining);
        match fleet.volume_members(volume).contains(&me) && !draining {
            true => me,
            false => NOBODY,
        }
    }
}

/// Stands for the appliance that makes the file; there is no appliance 0.
pub(crate) const NOBODY: ApplianceId = ApplianceId::new(0);

/// What one more object is taken to cost: BTRFS has no table of them, and `df -i` wants a number.
const BYTES_PER_OBJECT: u64 = 4096;
