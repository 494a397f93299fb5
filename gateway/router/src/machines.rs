//! The state machines behind the groups: the fleet's and one a volume. Called by the apply threads,
//! one for the fleet's group and one for all volumes', with committed entries; answers whoever
//! waits once they are applied.
//!
//! Invariant: nothing here waits. What needs time is told to the router, which does it elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Catalog, CatalogFault, FleetCatalog, Imaging, LogEntry};
use consensus::{ApplyFault, Committed, LogPoint, Role, StateMachines, Ticket};
use extents::Objects;
use model::{ApplianceId, GroupId, Index, Membership, Refusal, VolumeId, VolumeInfo};
use ownership::Fleet;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};

use crate::waiters::Waiters;

/// All state machines of one appliance.
pub struct Machines<S> {
    /// The fleet's.
    pub(crate) fleet: FleetCatalog<S>,
    /// One a volume that is open here.
    pub(crate) volumes: RwLock<HashMap<VolumeId, Arc<Machine<S>>>>,
    /// The fleet as its last entry left it.
    pub(crate) fleet_now: RwLock<Arc<Fleet>>,
    /// Its volumes.
    pub(crate) table: RwLock<Arc<Vec<VolumeInfo>>>,
    /// How far the fleet's log is applied.
    pub(crate) fleet_applied: watch::Sender<Index>,
    /// Counts whatever may change who may do what: views, roles, owners.
    pub(crate) motion: watch::Sender<u64>,
    pub(crate) waiters: Waiters,
    /// Wakes housekeeping for a checkpoint before its time.
    pub(crate) checkpoint_wanted: Notify,
    tell: mpsc::UnboundedSender<News>,
    told: Mutex<Option<mpsc::UnboundedReceiver<News>>>,
}

/// The state machine of one volume that is open here.
pub(crate) struct Machine<S> {
    pub(crate) catalog: Arc<Catalog<S>>,
    pub(crate) objects: Arc<Objects>,
    /// How far its log is applied.
    pub(crate) applied: watch::Sender<Index>,
}

/// What the router is told. At most a few a change of role or view.
#[derive(Debug)]
pub(crate) enum News {
    /// The fleet's state changed.
    Fleet,
    /// Who leads the group changed.
    Role(GroupId),
    /// A follower of the group needs an image of it.
    SnapshotWanted(GroupId),
    /// This appliance is so far behind that it needs that one's image.
    InstallSnapshot { group: GroupId, from: ApplianceId, point: LogPoint },
    /// The group's log goes on from the image that was installed.
    LogReset(GroupId),
    /// Who takes part in the group changed.
    Membership(GroupId),
}

impl<S: Imaging> Machines<S> {
    /// State machines with no volume open yet.
    pub fn new(fleet: FleetCatalog<S>) -> Arc<Self> {
        let now = fleet.fleet();
        let table = Arc::new(now.volumes().to_vec());
        let applied = fleet.applied().index;
        let (tell, told) = mpsc::unbounded_channel();
        Arc::new(Self {
            fleet,
            volumes: RwLock::default(),
            fleet_now: RwLock::new(Arc::new(now)),
            table: RwLock::new(table),
            fleet_applied: watch::Sender::new(applied),
            motion: watch::Sender::new(0),
            waiters: Waiters::default(),
            checkpoint_wanted: Notify::new(),
            tell,
            told: Mutex::new(Some(told)),
        })
    }

    /// The handle that the apply thread gets.
    pub fn for_driver(self: &Arc<Self>) -> Box<dyn StateMachines> {
        Box::new(Applier(self.clone()))
    }

    /// Where the news come; once.
    pub(crate) fn news(&self) -> Option<mpsc::UnboundedReceiver<News>> {
        self.told.lock().take()
    }

    /// Something about who may do what has changed: whoever waits looks again.
    pub(crate) fn moved(&self) {
        self.motion.send_modify(|count| *count += 1);
    }

    /// The fleet's state is another one than it was: by entries, or as an image.
    pub(crate) fn fleet_changed(&self) {
        let fleet = Arc::new(self.fleet.fleet());
        *self.table.write() = Arc::new(fleet.volumes().to_vec());
        *self.fleet_now.write() = fleet;
        self.fleet_applied.send_replace(self.fleet.applied().index);
        self.moved();
        self.tell(News::Fleet);
    }

    fn tell(&self, news: News) {
        // Only a router that has ended no longer listens.
        let _ = self.tell.send(news);
    }

    fn apply_fleet(&self, committed: &[Committed]) -> Result<(), CatalogFault> {
        let answers = self.fleet.apply(&log_entries(committed))?;
        self.fleet_changed();
        for (entry, answer) in committed.iter().zip(answers) {
            if let (Some(ticket), Some(answer)) = (entry.ticket, answer) {
                self.waiters.answer_fleet(ticket, answer, entry.index);
            }
        }
        Ok(())
    }

    fn apply_volume(&self, group: GroupId, committed: &[Committed]) -> Result<(), CatalogFault> {
        let machine = self.volumes.read().get(&VolumeId::new(group.get())).cloned();
        let Some(machine) = machine else {
            // Deleted meanwhile, or let go of to be opened anew: whoever waits finds out which.
            for ticket in committed.iter().filter_map(|entry| entry.ticket) {
                self.waiters.refuse(ticket, Refusal::Busy);
            }
            return Ok(());
        };
        let applied =
            machine.catalog.apply_and_tell(&log_entries(committed), |object, ctime| {
                // Data may have changed since the entry got its time: the entry shows all the same.
                machine.objects.raise_ctime(object, ctime);
            })?;
        if let Some(last) = committed.last() {
            machine.applied.send_replace(last.index);
        }
        for (entry, answer) in committed.iter().zip(applied) {
            if let Some(ticket) = entry.ticket {
                self.waiters.answer_volume(ticket, answer, entry.index);
            }
        }
        if machine.catalog.take_owners_moved() {
            self.moved();
        }
        Ok(())
    }
}

struct Applier<S>(Arc<Machines<S>>);

impl<S: Imaging> StateMachines for Applier<S> {
    fn apply(&mut self, group: GroupId, entries: Vec<Committed>) -> Result<(), ApplyFault> {
        let applied = if group == GroupId::FLEET {
            self.0.apply_fleet(&entries)
        } else {
            self.0.apply_volume(group, &entries)
        };
        applied.map_err(|fault| ApplyFault { group, source: Box::new(fault) })?;
        if entries.iter().any(|entry| entry.membership.is_some()) {
            self.0.moved();
            self.0.tell(News::Membership(group));
        }
        Ok(())
    }

    fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        self.0.waiters.refuse(ticket, refusal);
    }

    fn read_ready(&mut self, ticket: Ticket) {
        self.0.waiters.answer_read(ticket);
    }

    fn log_reset(&mut self, group: GroupId, _index: Index) {
        self.0.tell(News::LogReset(group));
    }

    fn role_changed(&mut self, group: GroupId, _: Role) {
        self.0.moved();
        self.0.tell(News::Role(group));
    }

    fn snapshot_wanted(&mut self, group: GroupId) {
        self.0.tell(News::SnapshotWanted(group));
    }

    fn install_snapshot(
        &mut self,
        group: GroupId,
        from: ApplianceId,
        point: LogPoint,
        _membership: Membership,
    ) {
        self.0.tell(News::InstallSnapshot { group, from, point });
    }

    fn checkpoint_wanted(&mut self, _group: GroupId) {
        // Housekeeping checkpoints every group that has moved; that one is among them.
        self.0.checkpoint_wanted.notify_one();
    }
}

fn log_entries(committed: &[Committed]) -> Vec<LogEntry<'_>> {
    committed
        .iter()
        .map(|entry| LogEntry {
            index: entry.index,
            term: entry.term,
            data: &entry.data,
            membership: entry.membership.as_ref(),
        })
        .collect()
}
