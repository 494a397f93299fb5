//! What the log thread knows of a group, to be read by anybody without asking it.
//!
//! Invariant: a read lease is taken back here before anything leaves this appliance that may let
//! another be elected. Values are independent of one another but for that: who needs several reads
//! them in the order that the methods say. Absent on purpose: waiting for a change.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use model::{ApplianceId, GroupId, Index, Term};
use parking_lot::Mutex;

use crate::event::Role;

/// One group as it stands here. All zero while the group is not open.
#[derive(Debug, Default)]
pub struct GroupView {
    leader: AtomicU64,
    term: AtomicU64,
    leads: AtomicBool,
    lease_nanos: AtomicU64,
    commit: AtomicU64,
    last: AtomicU64,
}

impl GroupView {
    /// Who leads, as far as is known here.
    pub fn leader(&self) -> Option<ApplianceId> {
        let leader = self.leader.load(Ordering::Acquire);
        (leader != 0).then_some(ApplianceId::new(leader))
    }

    /// The term.
    pub fn term(&self) -> Term {
        Term::new(self.term.load(Ordering::Acquire))
    }

    /// Whether this appliance leads and an entry of its term is committed: only then does it know
    /// all that was ever acknowledged.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// Until when, since boot, nobody else can have been elected; zero if that is not known, and
    /// centuries ahead for a lone voter.
    ///
    /// A read under the lease takes three steps: note [`commit`](Self::commit), wait until the
    /// state machine has applied up to there and read it, *then* ask for the lease and compare it
    /// with the clock. If it has ended, ask again by [`Handle::read`](crate::Handle::read).
    pub fn read_lease_until(&self) -> Duration {
        Duration::from_nanos(self.lease_nanos.load(Ordering::Acquire))
    }

    /// The last entry known to be committed and durable here.
    pub fn commit(&self) -> Index {
        Index::new(self.commit.load(Ordering::Acquire))
    }

    /// The last entry of the log.
    pub fn last(&self) -> Index {
        Index::new(self.last.load(Ordering::Acquire))
    }

    pub(crate) fn set_role(&self, role: Role) {
        let leader = role.leader.map_or(0, ApplianceId::get);
        self.leads.store(role.leads, Ordering::Release);
        self.leader.store(leader, Ordering::Release);
        self.term.store(role.term.get(), Ordering::Release);
    }

    pub(crate) fn set_lease(&self, until: Duration) {
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.lease_nanos.store(nanos, Ordering::Release);
    }

    pub(crate) fn set_log(&self, commit: Index, last: Index) {
        self.last.store(last.get(), Ordering::Release);
        self.commit.store(commit.get(), Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        self.set_lease(Duration::ZERO);
        self.set_role(Role::default());
        self.set_log(Index::default(), Index::default());
    }
}

/// The views of all groups that are open or watched.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<BTreeMap<GroupId, Arc<GroupView>>>);

impl Views {
    /// The group's view, for as long as it is held; a group opened anew has the same.
    pub(crate) fn of(&self, group: GroupId) -> Arc<GroupView> {
        Arc::clone(self.0.lock().entry(group).or_default())
    }

    /// The group is closed: nobody leads it here.
    pub(crate) fn closed(&self, group: GroupId, view: Arc<GroupView>) {
        view.clear();
        drop(view);
        let mut views = self.0.lock();
        // Whoever still watches must see the group open again.
        if views.get(&group).is_some_and(|view| Arc::strong_count(view) == 1) {
            views.remove(&group);
        }
    }
}

#[cfg(test)]
mod tests;
