//! The state machines behind the groups: the fleet's and one a volume. Called by the apply thread
//! with committed entries; answers whoever waits once they are applied.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Catalog, CatalogFault, FleetCatalog, LogEntry, Store};
use consensus::{ApplyFault, Committed, StateMachines, Ticket};
use model::{GroupId, Refusal, VolumeId, VolumeInfo};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::waiters::Waiters;

/// All state machines of one appliance.
pub struct Machines<S> {
    /// The fleet's.
    pub(crate) fleet: FleetCatalog<S>,
    /// One a volume that is open here.
    pub(crate) volumes: RwLock<HashMap<VolumeId, Arc<Catalog<S>>>>,
    /// The volumes as the last entry of the fleet's group left them.
    pub(crate) table: RwLock<Arc<Vec<VolumeInfo>>>,
    pub(crate) waiters: Waiters,
    /// Wakes housekeeping for a checkpoint before its time.
    pub(crate) checkpoint_wanted: Notify,
}

impl<S: Store> Machines<S> {
    /// State machines with no volume open yet.
    pub fn new(fleet: FleetCatalog<S>) -> Arc<Self> {
        let table = Arc::new(fleet.fleet().volumes().to_vec());
        Arc::new(Self {
            fleet,
            volumes: RwLock::default(),
            table: RwLock::new(table),
            waiters: Waiters::default(),
            checkpoint_wanted: Notify::new(),
        })
    }

    /// The handle that the apply thread gets.
    pub fn for_driver(self: &Arc<Self>) -> Box<dyn StateMachines> {
        Box::new(Applier(self.clone()))
    }

    fn apply_fleet(&self, committed: &[Committed]) -> Result<(), CatalogFault> {
        let answers = self.fleet.apply(&log_entries(committed))?;
        *self.table.write() = Arc::new(self.fleet.fleet().volumes().to_vec());
        for (entry, answer) in committed.iter().zip(answers) {
            if let (Some(ticket), Some(answer)) = (entry.ticket, answer) {
                self.waiters.answer_fleet(ticket, answer);
            }
        }
        Ok(())
    }

    fn apply_volume(&self, group: GroupId, committed: &[Committed]) -> Result<(), CatalogFault> {
        let catalog = self.volumes.read().get(&VolumeId::new(group.get())).cloned();
        let Some(catalog) = catalog else {
            // Deleted meanwhile: its entries lead nowhere.
            for ticket in committed.iter().filter_map(|entry| entry.ticket) {
                self.waiters.refuse(ticket, Refusal::Stale);
            }
            return Ok(());
        };
        let answers = catalog.apply(&log_entries(committed))?;
        for (entry, answer) in committed.iter().zip(answers) {
            if let Some(ticket) = entry.ticket {
                self.waiters.answer_volume(ticket, answer);
            }
        }
        Ok(())
    }
}

struct Applier<S>(Arc<Machines<S>>);

impl<S: Store> StateMachines for Applier<S> {
    fn apply(&mut self, group: GroupId, entries: Vec<Committed>) -> Result<(), ApplyFault> {
        let applied = if group == GroupId::FLEET {
            self.0.apply_fleet(&entries)
        } else {
            self.0.apply_volume(group, &entries)
        };
        applied.map_err(|fault| ApplyFault { group, source: Box::new(fault) })
    }

    fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        self.0.waiters.refuse(ticket, refusal);
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
            membership: None,
        })
        .collect()
}
