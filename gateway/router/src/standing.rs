//! Who answers a request: this appliance, after what, or which other.
//!
//! Invariant: nothing is executed here without a live lease, nor names without being sure to lead,
//! nor a file's data without owning it under a reign that is entered. A fleet of one passes in
//! a few loads. Absent on purpose: executing, sending; what is said here may be over a moment
//! later, so whoever executes looks again behind the file's gate.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catalog::Imaging;
use model::{ApplianceId, ObjectId, ObjectRecord, Refusal, View, VolumeId};
use ownership::lease::Holding;
use ownership::{Claim, Fleet, Here, Motion, standing};
use parking_lot::Mutex;

use crate::local::Local;
use crate::router::Router;

/// What a request is about, as far as that decides who answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Names: the leader of the volume's group.
    Names,
    /// One object: its owner if it is a file, else the leader.
    Object(ObjectId),
}

/// Who answers a request at the moment.
pub enum Standing<S> {
    /// This appliance: it is a fleet of one, or owns the file.
    Here(Arc<Local<S>>),
    /// This appliance: it leads the volume's group, under a read lease.
    Led(Arc<Local<S>>),
    /// This appliance, after a round of the volume's group has shown that it still leads.
    AfterRound(Arc<Local<S>>),
    /// This appliance, after its Reign is entered.
    AfterReign(Arc<Local<S>>),
    /// That one.
    There(ApplianceId),
    /// Nobody is known; it may be a moment.
    Unsettled,
}

/// This appliance's lease, for whoever asks often.
#[derive(Debug)]
pub struct Lease(AtomicU64);

impl Lease {
    /// None yet.
    pub fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Publishes what is held now.
    pub fn set(&self, holding: Holding) {
        let until = match holding {
            Holding::ForEver => FOR_EVER,
            Holding::Until(end) => nanos(end).min(FOR_EVER - 1),
            Holding::Nothing => 0,
        };
        self.0.store(until, Ordering::Release);
    }

    /// What is held now.
    pub fn holding(&self) -> Holding {
        match self.0.load(Ordering::Acquire) {
            0 => Holding::Nothing,
            FOR_EVER => Holding::ForEver,
            nanos => Holding::Until(Duration::from_nanos(nanos)),
        }
    }

    /// Whether this is a fleet of one.
    pub fn is_for_ever(&self) -> bool {
        self.0.load(Ordering::Acquire) == FOR_EVER
    }

    /// Whether anything may be acknowledged at `now`, since boot.
    pub fn is_live(&self, now: Duration) -> bool {
        nanos(now) < self.0.load(Ordering::Acquire)
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Where things were found last, by an appliance that can't look it up.
#[derive(Default)]
pub struct Hints {
    leaders: Mutex<HashMap<VolumeId, ApplianceId>>,
    owners: Mutex<HashMap<(VolumeId, ObjectId), ApplianceId>>,
}

impl Hints {
    /// It was found there.
    pub fn learn(&self, volume: VolumeId, about: About, at: ApplianceId) {
        match about {
            About::Names => {
                self.leaders.lock().insert(volume, at);
            }
            About::Object(object) => {
                let mut owners = self.owners.lock();
                if owners.len() >= OWNERS_MAX {
                    owners.clear();
                }
                owners.insert((volume, object), at);
            }
        }
    }

    /// It was not found there.
    pub fn forget(&self, volume: VolumeId, about: About) {
        match about {
            About::Names => {
                self.leaders.lock().remove(&volume);
            }
            About::Object(object) => {
                self.owners.lock().remove(&(volume, object));
            }
        }
    }

    fn find(&self, volume: VolumeId, about: About) -> Option<ApplianceId> {
        let owner = match about {
            About::Names => None,
            About::Object(object) => self.owners.lock().get(&(volume, object)).copied(),
        };
        owner.or_else(|| self.leaders.lock().get(&volume).copied())
    }
}

impl<S: Imaging> Router<S> {
    /// Who answers, as of now.
    ///
    /// # Errors
    /// STALE if there is no such volume.
    pub(crate) fn standing(&self, volume: VolumeId, about: About) -> Result<Standing<S>, Refusal> {
        let local = self.locals.read().get(&volume).cloned();
        if self.lease.is_for_ever() {
            return local.map(Standing::Here).ok_or(Refusal::Stale);
        }
        let fleet = self.fleet_now();
        if !fleet.volumes().iter().any(|info| info.id == volume) {
            return Err(Refusal::Stale);
        }
        if !self.lease.is_live(self.parts.clock.since_boot()) {
            return Ok(Standing::Unsettled);
        }
        let Some(local) = local else { return Ok(self.without_copy(&fleet, volume, about)) };
        let About::Object(object) = about else { return Ok(self.of_names(&fleet, local)) };
        let inode = local.catalog.inode(object).map_err(crate::local::faulted)?;
        match inode.as_ref().and_then(|inode| inode.record()) {
            Some(record) => Ok(self.of_file(&fleet, local, record)),
            // No file, or one that the log here has not come to yet: the leader knows.
            None => Ok(self.of_names(&fleet, local)),
        }
    }

    /// Whether this appliance owns the file under a reign that it has entered.
    pub(crate) fn owns(&self, local: &Local<S>, record: &ObjectRecord) -> bool {
        self.owns_under(local, record).is_some()
    }

    /// The view under which this appliance owns the file, in a reign that it has entered. Whatever
    /// it decides as the owner is entered under this view: the log refuses it if another may have
    /// acted since.
    pub(crate) fn owns_under(&self, local: &Local<S>, record: &ObjectRecord) -> Option<View> {
        let fleet = self.fleet_now();
        let owns = match self.lease.is_for_ever() {
            // A stale copy that is the only one still answers reads; writes are refused elsewhere.
            true => record.owner == self.parts.appliance,
            false => {
                let standing = self.of_record(&fleet, local, record);
                matches!(standing, ownership::Standing::Execute { .. })
            }
        };
        owns.then(|| fleet.view())
    }

    /// The newest view that an answer to a beat has told of.
    pub(crate) fn heard(&self) -> View {
        View::new(self.heard_view.load(Ordering::Acquire))
    }

    /// When this run came up, since boot.
    /// Whether all others have said that they know of this run.
    fn is_known(&self) -> bool {
        let up = self.up_view.load(Ordering::Acquire);
        up > 0 && self.known_view.load(Ordering::Acquire) == up
    }

    fn up_at(&self) -> Duration {
        Duration::from_nanos(self.up_at_nanos.load(Ordering::Acquire))
    }

    fn of_record(
        &self,
        fleet: &Fleet,
        local: &Local<S>,
        record: &ObjectRecord,
    ) -> ownership::Standing {
        let now = self.parts.clock.since_boot();
        // Before what was heard: the answer that prolonged it may tell of a newer view.
        let lease = self.lease.holding();
        let reigned = local.reign();
        let here = Here {
            appliance: self.parts.appliance,
            view: fleet.view(),
            up_since: View::new(self.up_view.load(Ordering::Acquire)),
            reigned: (reigned > View::default()).then_some(reigned),
            heard: self.heard().max(local.catalog.newest_reign()),
            up_for: match self.is_known() {
                true => Duration::MAX,
                false => now.saturating_sub(self.up_at()),
            },
            lease,
        };
        let is_up = |appliance| fleet.is_up(appliance);
        // A hand-over whose fate is open keeps its file's gate closed.
        standing(now, here, record, is_up, Motion::Settled, Claim::Client)
    }

    fn of_names(&self, fleet: &Fleet, local: Arc<Local<S>>) -> Standing<S> {
        if local.raft.leads() {
            return match local.raft.read_lease_until() > self.parts.clock.since_boot() {
                true => Standing::Led(local),
                false => Standing::AfterRound(local),
            };
        }
        match local.raft.leader() {
            Some(leader) if leader != self.parts.appliance && fleet.is_up(leader) => {
                Standing::There(leader)
            }
            _ => Standing::Unsettled,
        }
    }

    fn of_file(&self, fleet: &Fleet, local: Arc<Local<S>>, record: &ObjectRecord) -> Standing<S> {
        match self.of_record(fleet, &local, record) {
            ownership::Standing::Execute { .. } => Standing::Here(local),
            ownership::Standing::Forward { to, .. } => Standing::There(to),
            ownership::Standing::EnterReignFirst => Standing::AfterReign(local),
            ownership::Standing::Wait(_)
            | ownership::Standing::Behind { .. }
            | ownership::Standing::Nobody => Standing::Unsettled,
        }
    }

    /// This appliance has nothing of the volume: it asks where it was found last, or any member.
    fn without_copy(&self, fleet: &Fleet, volume: VolumeId, about: About) -> Standing<S> {
        let reachable = |a: &ApplianceId| *a != self.parts.appliance && fleet.is_up(*a);
        let hint = self.hints.find(volume, about).filter(reachable);
        let any = || fleet.volume_members(volume).iter().copied().find(reachable);
        match hint.or_else(any) {
            Some(to) => Standing::There(to),
            None => Standing::Unsettled,
        }
    }
}

const FOR_EVER: u64 = u64::MAX;
/// Some 50 bytes each.
const OWNERS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_live_until_its_end_and_for_ever_alone() {
        let lease = Lease::none();
        let at = Duration::from_millis;
        assert!(!lease.is_live(at(0)));
        lease.set(Holding::Until(at(10)));
        assert!(lease.is_live(at(9)) && !lease.is_live(at(10)) && !lease.is_for_ever());
        lease.set(Holding::ForEver);
        assert!(lease.is_live(at(1 << 40)) && lease.is_for_ever());
        lease.set(Holding::Nothing);
        assert!(!lease.is_live(at(1)));
    }

    #[test]
    fn what_was_found_once_is_looked_for_there_until_it_is_not_there() {
        let (hints, volume) = (Hints::default(), VolumeId::new(1));
        let (ada, bob) = (ApplianceId::new(1), ApplianceId::new(2));
        let file = About::Object(ObjectId::new(9));
        assert_eq!(hints.find(volume, file), None);
        hints.learn(volume, About::Names, ada);
        assert_eq!(hints.find(volume, file), Some(ada), "the leader knows");
        hints.learn(volume, file, bob);
        assert_eq!(hints.find(volume, file), Some(bob));
        hints.forget(volume, file);
        assert_eq!(hints.find(volume, file), Some(ada));
    }
}
