//! All backing files of one volume on this appliance: the operations that others call.
//!
//! Invariants: changes of one object take their marks and times in one step under its lock, and
//! those that overlap are done in that order; whatever was promised durable was fsynced through the
//! very descriptor that wrote it; a failed fsync is never tried again into a success. A caller may
//! go away at any await: what it began is finished or undone without it.
//! Absent on purpose: names, permission, owners and everything else the catalog knows.

mod change;
mod cold;
mod copy;
mod follow;
mod here;
mod load;
mod read;
mod receive;
mod sync;
mod upkeep;

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use model::{Clock, DataFacts, Mark, ObjectId, Refusal, Reign, Stability, Timestamp};

use self::here::WritesHere;
pub use self::{
    cold::Cold,
    copy::{Attach, Copied, Feed, RUNS_PER_COPY_MAX},
    follow::{Equal, Followed, Piece, Taken},
    read::READ_BYTES_MAX,
    receive::{COMPARED_AT_ONCE_MAX, Receipt},
};
pub use crate::core::{Base, CopyFault, Stamping, Touched};
use crate::{
    Disk, Space,
    feed::FeedEnd,
    object::{Need, Object},
    table::Table,
};

/// What the operator may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the backing files are: `<dir>/<object >> 12 in hex>/<object in hex>`. Exists.
    pub dir: PathBuf,
    /// Backing files open at a time.
    pub open_files_max: usize,
    /// Objects whose size and times are kept in memory (some 500 bytes each).
    pub known_objects_max: usize,
}

/// What others must be told. Called from any thread, also with many files' fsyncs waiting behind
/// the call: must not block.
pub trait Sink: Send + Sync {
    /// This appliance's copy is broken: writes and commits of the object are refused from now on.
    fn copy_failed(&self, object: ObjectId, fault: CopyFault);
    /// The object has durable data: from now on a missing backing file is a fault. May be said
    /// again after a start.
    fn first_durable_data(&self, object: ObjectId);
}

/// The object data of one volume.
#[derive(Clone)]
pub struct Objects {
    shared: Arc<Shared>,
}

/// A READ, done.
#[derive(Clone, Debug)]
pub struct ReadDone {
    /// The bytes, from the start of the span.
    pub bytes: Bytes,
    /// Whether the object ends with them.
    pub eof: bool,
    /// Of the moment that `eof` speaks of.
    pub facts: DataFacts,
}

/// A WRITE, done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteDone {
    /// Bytes written, from the start of the payload; fewer only if the disk got full.
    pub count: u32,
    /// What was done: `FileSync` if more than `Unstable` was asked.
    pub committed: Stability,
    /// Just before.
    pub before: DataFacts,
    /// Just after, in the same atomic step.
    pub after: DataFacts,
}

/// A change of size, done and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeDone {
    /// Just before.
    pub before: DataFacts,
    /// Just after, in the same atomic step.
    pub after: DataFacts,
}

pub(crate) struct Shared {
    settings: Settings,
    disk: Arc<dyn Disk>,
    space: Arc<Space>,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    table: Table,
    writes_here: WritesHere,
    reads: read::Counted,
}

impl Objects {
    /// Opens the volume's data. Looks at no object: each is looked at when it is first used.
    pub fn open(
        settings: Settings,
        disk: Arc<dyn Disk>,
        space: Arc<Space>,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        // Fails here rather than at the first request if there is no such directory.
        disk.list(&settings.dir, &mut |_| {})?;
        let table = Table::new(settings.known_objects_max, settings.open_files_max);
        let shared = Shared {
            settings,
            disk,
            space,
            sink,
            writes_here: WritesHere::new(clock.clone()),
            clock,
            table,
            reads: read::Counted::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Size, disk use and stamp. `has_data`: a missing backing file is a `Fault`, else it is an
    /// empty object.
    pub async fn facts(&self, object: ObjectId, has_data: bool) -> Result<DataFacts, Refusal> {
        let object = self.shared.table.get(object)?;
        let facts = self.shared.when_ready(&object, has_data, Need::Facts, |_, state| {
            refresh_used(state);
            Ok(state.loaded().facts())
        });
        facts.await
    }

    /// Looks at the backing files of all these objects that are not in memory, with one change of
    /// thread for all of them. What goes wrong is met again by whoever asks for one of them.
    pub async fn look_ahead(&self, objects: impl Iterator<Item = (ObjectId, bool)>) {
        let is_unknown = |object: &ObjectId| {
            let known = self.shared.table.find(*object);
            known.is_none_or(|known| known.state().core.is_none())
        };
        let unknown: Vec<_> = objects.filter(|(object, _)| is_unknown(object)).collect();
        if unknown.len() > 1 {
            let shared = Arc::clone(&self.shared);
            // Only a runtime that stops ends it early.
            let _ = blocking(move || shared.look_ahead(&unknown)).await;
        }
    }

    /// Takes a mark for a change of the object's times that is an entry of the catalog, so that its
    /// order with changes of data is defined. With the facts of just before.
    pub async fn take_mark(
        &self,
        object: ObjectId,
        has_data: bool,
        reign: Reign,
    ) -> Result<(Mark, DataFacts), Refusal> {
        let object = self.shared.table.get(object)?;
        let taken = self.shared.when_ready(&object, has_data, Need::Facts, |_, state| {
            refresh_used(state);
            let core = state.loaded_mut();
            let before = core.facts();
            Ok((core.take_mark(reign)?, before))
        });
        taken.await
    }

    /// An entry gave the object the ctime `given`: the ones given out from now on are later. Does
    /// nothing to an object that is not in memory, for that has given out none of its own.
    pub fn raise_ctime(&self, object: ObjectId, given: Timestamp) {
        if let Some(object) = self.shared.table.find(object)
            && let Some(core) = &mut object.state().core
        {
            core.raise_ctime(given);
        }
    }

    /// Makes everything on the disk durable: what was removed stays removed.
    pub async fn sync_file_system(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.disk.sync_file_system(&shared.settings.dir))
            .await
            .map_err(|_| io::Error::other("the runtime is stopping"))?
    }
}

/// Brings the disk use up to date, where that needs no waiting.
fn refresh_used(state: &mut crate::object::State) {
    if let Some(file) = &state.file
        && let Ok(facts) = file.facts()
    {
        state.loaded_mut().set_used(facts.used);
    }
}

/// Runs `work` where it may block. A runtime that stops is a fault: it is not done.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::Fault)
}

/// What an asker is told of an error of the disk.
fn refusal_of(error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => Refusal::NoSpace,
        Some(libc::EDQUOT) => Refusal::QuotaExceeded,
        Some(libc::EFBIG) => Refusal::FileTooBig,
        Some(libc::EMFILE | libc::ENFILE) => Refusal::Busy,
        _ => Refusal::Fault,
    }
}

/// Whether an error of the disk only says that there is no room: the copy is as good as before.
fn lacks_room(error: &io::Error) -> bool {
    let refusal = refusal_of(error);
    matches!(refusal, Refusal::NoSpace | Refusal::QuotaExceeded | Refusal::FileTooBig)
}

/// How long one fsync took; a histogram, in seconds.
pub const METRIC_FSYNC_SECONDS: &str = "holdfast_fsync_seconds";

/// Reads that found bytes; a counter. By `from`: `memory`, where all of them were, or `disk`.
pub const METRIC_READS: &str = "holdfast_reads_total";

impl Shared {
    /// Says that this copy is broken, the first time.
    fn copy_failed(&self, object: &Object, fault: CopyFault) {
        let news = {
            let mut state = object.state();
            let news = state.loaded_mut().fail(fault);
            if news {
                state.feeds.end(FeedEnd::Fault(fault));
            }
            news
        };
        if news {
            tracing::error!(object = %object.id, ?fault, "the copy of an object is broken");
            self.sink.copy_failed(object.id, fault);
            object.wake_all();
        }
    }
}

#[cfg(test)]
mod tests;
