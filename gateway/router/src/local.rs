//! A volume that is open on this appliance.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use catalog::{Answer, Catalog, Imaging};
use consensus::GroupView;
use extents::{CopyFault, Objects, Sink, Stamping};
use model::{
    ApplianceId, Epoch, Inode, InodeKind, Mark, ObjectId, Refusal, Reign, RequestKey, Timestamp,
    View, VolumeId, Wcc,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};

use crate::copies::Fans;
use crate::duplicates::Duplicates;
use crate::gates::Gates;
use crate::machines::Machine;

/// A volume that is open on this appliance.
pub struct Local<S> {
    pub(crate) id: VolumeId,
    pub(crate) catalog: Arc<Catalog<S>>,
    pub(crate) objects: Arc<Objects>,
    /// Which appliance this is.
    pub(crate) appliance: ApplianceId,
    /// Tells how far the catalog is applied.
    pub(crate) machine: Arc<Machine<S>>,
    /// The volume's group as it stands here.
    pub(crate) raft: Arc<GroupView>,
    /// The view of this appliance's newest Reign entry.
    pub(crate) reign: AtomicU64,
    /// Held while one is entered.
    pub(crate) reigning: tokio::sync::Mutex<()>,
    /// Where requests wait while their file changes its owner.
    pub(crate) gates: Gates,
    /// Copies elsewhere that follow files of this appliance.
    pub(crate) fans: Fans,
    /// Who looks after a file's copies is found out one file at a time.
    pub(crate) fan_turns: Turns,
    /// Files of which all calls are known here that made them what they are.
    pub(crate) witnessed: Witnessed,
    pub(crate) news: Arc<News>,
    /// Changes of names that are under way.
    pub(crate) name_calls: Duplicates<Answer>,
    /// WRITE and SETATTR of size, under way or answered.
    pub(crate) data_calls: DataCalls,
    /// Wakes the remover.
    pub(crate) removed: Notify,
    /// SETATTRs of one file take turns: each is conditional on the inode it looked at.
    pub(crate) setters: Turns,
    pub(crate) parting: Parting,
}

/// Whether a volume was let go of, to be closed or opened anew: it is closed once nobody has it in
/// hand any more, so whoever waits for something with it in hand stops waiting.
#[derive(Debug)]
pub struct Parting(watch::Sender<bool>);

impl Default for Parting {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Parting {
    /// It is let go of.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is.
    pub async fn begun(&self) {
        // The sender is in `self`.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }

    /// Waits for `what`, unless the volume is let go of first; `what` is broken off then.
    ///
    /// # Errors
    /// `Fenced`: somebody else answers by now, or this appliance with the volume opened anew.
    pub async fn or<T, E: From<Refusal>>(
        &self,
        what: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            biased;
            done = what => done,
            () = self.begun() => Err(Refusal::Fenced.into()),
        }
    }
}

/// Calls about data, under way or answered; a volume that is opened anew goes on with them.
pub(crate) type DataCalls = Arc<Duplicates<DataAnswer>>;

/// Nothing was called yet.
pub(crate) fn no_data_calls() -> DataCalls {
    Arc::new(Duplicates::with_answers(DataAnswer::is_final))
}

/// Whose turn it is to do something to a file: a queue for each of a few groups of files.
#[derive(Debug, Default)]
pub struct Turns([tokio::sync::Mutex<()>; TURNS]);

impl Turns {
    /// Waits for the turn, in the order of asking; it ends when the guard is dropped.
    pub async fn turn(&self, object: ObjectId) -> tokio::sync::MutexGuard<'_, ()> {
        let group = object.get() % TURNS as u64;
        self.0[group as usize].lock().await
    }
}

/// So many files can have their turn at a time.
const TURNS: usize = 32;

/// Files of which every call is known in this run that made them what they are, as far as answers
/// are kept at all. A start forgets.
#[derive(Debug, Default)]
pub struct Witnessed(Mutex<HashSet<ObjectId>>);

impl Witnessed {
    /// Whether nobody needs to be asked.
    pub fn knows(&self, object: ObjectId) -> bool {
        self.0.lock().contains(&object)
    }

    /// They need to be asked anew.
    pub fn forget(&self, object: ObjectId) {
        self.0.lock().remove(&object);
    }

    /// From here on nobody needs to be.
    pub fn learn(&self, object: ObjectId) {
        let mut known = self.0.lock();
        if known.len() >= WITNESSED_MAX {
            // They are asked about once more when they are changed next.
            known.clear();
        }
        known.insert(object);
    }
}

/// Some 16 MiB.
const WITNESSED_MAX: usize = 1 << 20;

/// The answer to a data request, as far as a second sending needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DataAnswer {
    /// WRITE, as an earlier program answered it.
    Wrote(volume::Wrote),
    /// SETATTR, as an earlier program answered it.
    Set(Wcc),
    /// Either.
    Refused(Box<volume::Refused>),
    /// WRITE: made by that change, which is at the owner's copy, as durable as is said there.
    WroteAt(volume::Wrote, Mark),
    /// SETATTR: made by that change, if it changed the data.
    SetAt(Wcc, Mark),
}

impl DataAnswer {
    /// Whether the same call must get this answer again. "Ask again" is none: whoever does that
    /// with the same call would be told so for ever.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Wrote(_) | Self::Set(_) | Self::WroteAt(..) | Self::SetAt(..) => true,
            Self::Refused(refused) => {
                let refusal = refused.refusal;
                let again = matches!(refusal, Refusal::Busy | Refusal::Conflict | Refusal::Fenced);
                !again && refusal != Refusal::Unknown
            }
        }
    }
}

/// A file, as one request sees it.
pub struct OwnFile {
    pub(crate) inode: Arc<Inode>,
    pub(crate) has_data: bool,
    pub(crate) epoch: Epoch,
    pub(crate) stale: bool,
    /// Under which view it was found to be owned here; of nobody's before that was asked.
    pub(crate) view: View,
}

impl OwnFile {
    /// Whether there is no copy but the one here, good or not.
    pub fn is_alone(&self) -> bool {
        self.inode.record().is_none_or(|record| record.replicas.len() == 1)
    }

    /// Under which what is decided about it is entered.
    pub fn reign(&self) -> Reign {
        Reign { epoch: self.epoch, view: self.view }
    }
}

impl<S: Imaging> Local<S> {
    /// A file's inode, if it is there and is a regular file; whoever owns it.
    ///
    /// # Errors
    /// STALE if it is gone, ISDIR or INVAL if it is something else.
    pub fn file(&self, object: ObjectId) -> Result<OwnFile, Refusal> {
        let inode = self.inode(object)?;
        match &inode.kind {
            InodeKind::File { record, has_data, .. } => {
                let (has_data, epoch) = (*has_data, record.epoch);
                let stale = record.stale.contains(&self.appliance);
                Ok(OwnFile { inode, has_data, epoch, stale, view: View::default() })
            }
            InodeKind::Directory { .. } => Err(Refusal::IsDirectory),
            InodeKind::Symlink { .. }
            | InodeKind::Fifo
            | InodeKind::Socket
            | InodeKind::CharacterDevice(_)
            | InodeKind::BlockDevice(_) => Err(Refusal::Invalid),
        }
    }

    /// An object's inode.
    ///
    /// # Errors
    /// STALE if it is gone; a fault of the store is logged and answered as one.
    pub fn inode(&self, object: ObjectId) -> Result<Arc<Inode>, Refusal> {
        self.catalog.inode(object).map_err(faulted)?.ok_or(Refusal::Stale)
    }

    /// The view of this appliance's newest Reign in this volume.
    pub fn reign(&self) -> View {
        View::new(self.reign.load(Ordering::Acquire))
    }

    /// Waits until every fault is entered: the loss count raised, the copy marked stale.
    ///
    /// # Errors
    /// `Fenced` if the volume is let go of: nothing may be answered.
    pub async fn no_fault_open(&self) -> Result<(), Refusal> {
        let entered = async {
            self.news.no_fault_open().await;
            Ok(())
        };
        self.parting.or(entered).await
    }

    /// What a data change of `file` at `now` is stamped with.
    pub fn stamping(&self, file: &OwnFile, key: Option<RequestKey>, now: Timestamp) -> Stamping {
        let reign = Reign { epoch: file.epoch, view: self.reign() };
        Stamping { now, reign, ctime_floor: file.inode.times.ctime, key, secure: false }
    }
}

/// Logs a fault of the store and answers it.
pub fn faulted(fault: catalog::CatalogFault) -> Refusal {
    tracing::error!(%fault, "the catalog failed");
    Refusal::Fault
}

/// Where a volume's faults come.
pub(crate) type Faults = mpsc::UnboundedReceiver<(ObjectId, CopyFault)>;

/// What the data path tells the rest: called from where nothing may wait.
pub struct News {
    volume: VolumeId,
    /// Objects that got their first durable data.
    first_data: Mutex<Vec<ObjectId>>,
    /// The same, at every good copy.
    secured: Mutex<Vec<ObjectId>>,
    /// Faults that are not yet entered; while there are any, no WRITE or COMMIT is answered.
    faults_open: AtomicUsize,
    faults_entered: Notify,
    faults: mpsc::UnboundedSender<(ObjectId, CopyFault)>,
}

impl News {
    /// News of `volume`, and where its faults come.
    pub fn new(volume: VolumeId) -> (Arc<Self>, Faults) {
        let (faults, entered_later) = mpsc::unbounded_channel();
        let news = Self {
            volume,
            first_data: Mutex::default(),
            secured: Mutex::default(),
            faults_open: AtomicUsize::new(0),
            faults_entered: Notify::new(),
            faults,
        };
        (Arc::new(news), entered_later)
    }

    async fn no_fault_open(&self) {
        while self.faults_open.load(Ordering::Acquire) > 0 {
            let entered = self.faults_entered.notified();
            if self.faults_open.load(Ordering::Acquire) > 0 {
                entered.await;
            }
        }
    }

    /// A fault was entered.
    pub fn fault_entered(&self) {
        self.faults_open.fetch_sub(1, Ordering::AcqRel);
        self.faults_entered.notify_waiters();
    }

    /// Every good copy of the object has durable data.
    pub fn first_secured(&self, object: ObjectId) {
        self.secured.lock().push(object);
    }

    /// Takes the objects of which every good copy has had its first durable data since the last
    /// call.
    pub fn take_secured(&self) -> Vec<ObjectId> {
        std::mem::take(&mut self.secured.lock())
    }

    /// Takes the objects that got their first durable data since the last call.
    pub fn take_first_data(&self) -> Vec<ObjectId> {
        std::mem::take(&mut self.first_data.lock())
    }
}

impl Sink for News {
    fn copy_failed(&self, object: ObjectId, fault: CopyFault) {
        tracing::error!(volume = %self.volume, %object, ?fault, "a copy failed");
        self.faults_open.fetch_add(1, Ordering::AcqRel);
        // At most one a poisoned object; the receiver lives as long as the volume.
        let _ = self.faults.send((object, fault));
    }

    fn first_durable_data(&self, object: ObjectId) {
        self.first_data.lock().push(object);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn who_waits_with_a_volume_in_hand_stops_waiting_when_it_is_let_go_of() {
        let parting = Parting::default();
        let wait = parting.or(pending::<Result<(), Refusal>>());
        let (waited, ()) = tokio::join!(wait, async { parting.begin() });
        assert_eq!(waited, Err(Refusal::Fenced));
        assert_eq!(parting.or(pending::<Result<(), Refusal>>()).await, Err(Refusal::Fenced));
        assert_eq!(parting.or(async { Ok::<_, Refusal>(7) }).await, Ok(7), "it was done already");
        assert!(parting.has_begun());
    }
}
