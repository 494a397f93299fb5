//! WRITE and changes of size.
//!
//! Invariant: the mark is given, the span entered and the sizes of weak cache consistency are
//! computed in one step; the record says "dirty" before the first byte moves; the payload is never
//! copied.

use std::{io, sync::Arc};

use bytes::Bytes;
use model::{ObjectId, Refusal, Span, Stability};
use tracing::warn;

use super::{
    CopyFault, Objects, Shared, SizeDone, Stamping, WriteDone, blocking, here::Place, lacks_room,
    refusal_of,
};
use crate::{
    BackingFile,
    core::{Begun, Changes, Reached, Sized, SyncStep},
    feed::FrameChange,
    object::{Need, Object, Running, State, Syncing},
};

/// A change that has its mark and its place.
struct Change {
    running: Running,
    file: Arc<dyn BackingFile>,
    begun: Begun,
    /// The record says "dirty" already.
    flagged: bool,
}

/// A write that has its turn.
struct Writing {
    change: Change,
    span: Span,
    payload: Bytes,
    count: usize,
}

impl Objects {
    /// Writes `payload` at `offset`. With more than `Unstable` it is durable when this returns.
    /// `NoSpace` and `QuotaExceeded`: nothing was written. `Fault`: nothing may be relied upon.
    pub async fn write(
        &self,
        object: ObjectId,
        has_data: bool,
        offset: u64,
        payload: Bytes,
        stability: Stability,
        stamping: Stamping,
    ) -> Result<WriteDone, Refusal> {
        let span = Span::new(offset, payload.len() as u64).ok_or(Refusal::FileTooBig)?;
        if span.len() > u64::from(u32::MAX) {
            return Err(Refusal::Invalid);
        }
        let committed = match stability {
            Stability::Unstable => Stability::Unstable,
            Stability::DataSync | Stability::FileSync => Stability::FileSync,
        };
        if span.is_empty() {
            let facts = self.facts(object, has_data).await?;
            return Ok(WriteDone { count: 0, committed, before: facts, after: facts });
        }
        let object = self.shared.table.get(object)?;
        self.shared.space.admit(span.len())?;
        let change = self.begin(&object, has_data, Some(span), |state| {
            state.loaded_mut().begin_write(span, stamping)
        });
        let change = change.await?;
        change.turn().await?;
        let writing = Writing { change, span, payload, count: 0 };
        let shared = Arc::clone(&self.shared);
        let (target, mut done) = match self.shared.writes_here.place(committed, span.len()) {
            Place::Here(watch) => {
                let written = writing.run(&shared, committed);
                watch.end();
                written?
            }
            // The payload was received by this processor a moment ago: its cache still has it.
            Place::Relieved => tokio::task::block_in_place(|| writing.run(&shared, committed))?,
            Place::Pool => blocking(move || writing.run(&shared, committed)).await??,
        };
        done.committed = committed;
        if committed != Stability::Unstable {
            self.shared.commit_to(&object, target).await?;
        }
        Ok(done)
    }

    /// Makes the object `size` bytes long; durable when this returns.
    pub async fn set_size(
        &self,
        object: ObjectId,
        has_data: bool,
        size: u64,
        stamping: Stamping,
    ) -> Result<SizeDone, Refusal> {
        if size > model::FILE_BYTES_MAX {
            return Err(Refusal::FileTooBig);
        }
        let object = self.shared.table.get(object)?;
        let change = self.begin(&object, has_data, None, |state| {
            state.loaded_mut().begin_set_size(size, stamping)
        });
        let change = change.await?;
        change.turn().await?;
        let shared = Arc::clone(&self.shared);
        let (target, done) = blocking(move || change.set_size(&shared, size)).await??;
        self.shared.commit_to(&object, target).await?;
        Ok(done)
    }

    async fn begin(
        &self,
        object: &Arc<Object>,
        has_data: bool,
        written: Option<Span>,
        begin: impl FnOnce(&mut State) -> Result<Begun, Refusal>,
    ) -> Result<Change, Refusal> {
        self.shared
            .when_ready(object, has_data, Need::FileMade, |object, state| {
                let file = state.file.clone().expect("FileMade means an open file");
                let begun = begin(state)?;
                Ok(Change {
                    running: Running::change(object, state, &begun, written),
                    file,
                    begun,
                    flagged: state.loaded().is_flagged(begun.reign),
                })
            })
            .await
    }
}

impl Change {
    /// Waits for everything in the way; a `Fault` if the copy broke meanwhile.
    async fn turn(&self) -> Result<(), Refusal> {
        self.running.turn().await;
        let fault = self.running.object().state().loaded().fault();
        fault.map_or(Ok(()), |_| Err(Refusal::Fault))
    }

    fn flag(&self) -> io::Result<()> {
        if self.flagged {
            return Ok(());
        }
        let object = self.running.object();
        object.flag(&*self.file, self.begun.reign)
    }

    /// What goes wrong when the record can't be written before the bytes.
    fn unflagged(self, shared: &Shared, error: &io::Error) -> Refusal {
        let object = Arc::clone(self.running.object());
        drop(self);
        if !lacks_room(error) {
            warn!(object = %object.id, %error, "a record can't be written");
            shared.copy_failed(&object, CopyFault::Record);
        }
        refusal_of(error)
    }

    fn set_size(self, shared: &Shared, size: u64) -> Result<(Changes, SizeDone), Refusal> {
        match self.flag() {
            Ok(()) => {}
            // Making an object smaller must go on when there is no room.
            Err(error) if lacks_room(&error) => {}
            Err(error) => return Err(self.unflagged(shared, &error)),
        }
        let object = Arc::clone(self.running.object());
        let result = self.file.set_size(size);
        let used = self.file.facts().map(|facts| facts.used).ok();
        if let Err(error) = result {
            if !lacks_room(&error) {
                warn!(object = %object.id, %error, "a change of size failed");
                shared.copy_failed(&object, CopyFault::SetSize);
            }
            let nothing = || FrameChange::Nothing;
            self.running.finish_change(nothing, |core, ticket| {
                core.finish_set_size(ticket, Sized::AsBefore)
            });
            return Err(refusal_of(&error));
        }
        let mut after = self.begun.after;
        let made = || FrameChange::SetSize(size);
        let target = self.running.finish_change(made, |core, ticket| {
            core.finish_set_size(ticket, Sized::AsAsked);
            if let Some(used) = used {
                core.set_used(used);
                after.used = used;
            }
            core.target()
        });
        let done = SizeDone { before: self.begun.before, after };
        sync_here(shared, &object, target);
        Ok((target, done))
    }
}

impl Writing {
    /// The whole write, where it may block; with the fsync, if one is wanted and nobody else's is
    /// under way.
    fn run(
        mut self,
        shared: &Shared,
        committed: Stability,
    ) -> Result<(Changes, WriteDone), Refusal> {
        if let Err(error) = self.change.flag() {
            return Err(self.change.unflagged(shared, &error));
        }
        let object = Arc::clone(self.change.running.object());
        if let Err(error) = self.write_rest() {
            if !lacks_room(&error) {
                warn!(object = %object.id, %error, "a write failed");
                shared.copy_failed(&object, CopyFault::Write);
                self.finish();
                return Err(Refusal::Fault);
            }
            if self.count == 0 {
                self.finish();
                return Err(refusal_of(&error));
            }
        }
        let (target, done) = self.finish();
        if committed != Stability::Unstable {
            sync_here(shared, &object, target);
        }
        Ok((target, done))
    }

    fn write_rest(&mut self) -> io::Result<()> {
        while self.count < self.payload.len() {
            let rest = &self.payload[self.count..];
            let offset = self.span.offset() + self.count as u64;
            self.count += self.change.file.write(rest, offset)?;
        }
        Ok(())
    }

    fn finish(self) -> (Changes, WriteDone) {
        let end = self.span.offset() + self.count as u64;
        let reached = match self.count {
            0 => Reached::Nowhere,
            _ => Reached::UpTo(end),
        };
        let used = self.change.file.facts().map(|facts| facts.used).ok();
        let Begun { before, mut after, .. } = self.change.begun;
        if self.count < self.payload.len() {
            after.size = before.size.max(end);
        }
        let made = || match self.count {
            0 => FrameChange::Nothing,
            count => FrameChange::Write {
                offset: self.span.offset(),
                bytes: self.payload.slice(..count),
            },
        };
        let target = self.change.running.finish_change(made, |core, ticket| {
            core.finish_write(ticket, reached);
            if let Some(used) = used {
                core.set_used(used);
                after.used = used;
            }
            core.target()
        });
        let done =
            WriteDone { count: self.count as u32, committed: Stability::Unstable, before, after };
        (target, done)
    }
}

/// Begins the fsync for `target` on this thread, unless one is under way or none is needed; the
/// outcome is found in the object by whoever waits for it.
fn sync_here(shared: &Shared, object: &Arc<Object>, target: Changes) {
    let syncing = {
        let mut state = object.state();
        match state.loaded().sync_step(target) {
            SyncStep::Start if !state.gone => Syncing::begin(object, &mut state),
            SyncStep::Start | SyncStep::Done | SyncStep::Refused | SyncStep::Wait => None,
        }
    };
    if let Some(syncing) = syncing {
        let _ = shared.run_sync(syncing);
    }
}
