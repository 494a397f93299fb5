//! Drivers of several appliances in one process, in real time, over a wire of bytes.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use model::{ApplianceId, Clock, GroupId, Index, Membership, Refusal, Timestamp};
use parking_lot::Mutex;

use super::{PATIENCE, pause};
use crate::{
    Applied, ApplyFault, Committed, Driver, Groups, Handle, LogPoint, LogStore, MemoryLog, Outbox,
    PeerMessage, Role, StateMachines, Ticket, Wanted,
    limits::TAIL_ENTRIES,
    testing::{Seeded, group, index},
};

struct Running(Instant);

impl Clock for Running {
    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }

    fn since_boot(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What all appliances of a test can reach.
#[derive(Default)]
struct World {
    handles: Mutex<BTreeMap<ApplianceId, Handle>>,
    images: Mutex<BTreeMap<ApplianceId, Vec<Committed>>>,
}

struct Post {
    me: ApplianceId,
    world: Arc<World>,
}

impl Outbox for Post {
    fn send(&mut self, to: ApplianceId, messages: Vec<(GroupId, PeerMessage)>) {
        let over_the_wire = |(group, message): (GroupId, PeerMessage)| {
            (group, PeerMessage::decode(&message.encode()).unwrap())
        };
        if let Some(handle) = self.world.handles.lock().get(&to).cloned() {
            handle.receive(self.me, messages.into_iter().map(over_the_wire).collect());
        }
    }
}

/// What the state machine of one appliance has come to.
#[derive(Default)]
struct State {
    applied: Mutex<Vec<Committed>>,
    answered: Mutex<Vec<Ticket>>,
    readable: Mutex<Vec<Ticket>>,
    refused: Mutex<Vec<(Ticket, Refusal)>>,
    roles: Mutex<Vec<Role>>,
    resets: Mutex<Vec<Index>>,
    handle: OnceLock<Handle>,
}

struct Machines {
    me: ApplianceId,
    state: Arc<State>,
    world: Arc<World>,
}

fn applied(entries: &[Committed], founding: &Membership) -> Applied {
    let last = entries.last().map(|entry| (entry.index, entry.term)).unwrap_or_default();
    let newest = entries.iter().rev().find_map(|entry| entry.membership.clone());
    let membership = newest.unwrap_or_else(|| founding.clone());
    Applied { index: last.0, term: last.1, membership }
}

impl StateMachines for Machines {
    fn apply(&mut self, _: GroupId, entries: Vec<Committed>) -> Result<(), ApplyFault> {
        let mut applied = self.state.applied.lock();
        for entry in entries {
            assert_eq!(entry.index.get(), applied.len() as u64 + 1);
            self.state.answered.lock().extend(entry.ticket);
            applied.push(entry);
        }
        Ok(())
    }

    fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        self.state.refused.lock().push((ticket, refusal));
    }

    fn checkpoint_wanted(&mut self, _: GroupId) {}

    fn read_ready(&mut self, ticket: Ticket) {
        self.state.readable.lock().push(ticket);
    }

    fn role_changed(&mut self, _: GroupId, role: Role) {
        self.state.roles.lock().push(role);
    }

    fn snapshot_wanted(&mut self, group: GroupId) {
        let entries = self.state.applied.lock().clone();
        let applied = applied(&entries, &founding());
        let point = LogPoint { index: applied.index, term: applied.term };
        self.world.images.lock().insert(self.me, entries);
        self.state.handle.wait().snapshot_made(group, point, applied.membership);
    }

    fn install_snapshot(
        &mut self,
        group: GroupId,
        from: ApplianceId,
        point: LogPoint,
        _: Membership,
    ) {
        let image = self.world.images.lock()[&from].clone();
        assert!(image.len() as u64 >= point.index.get());
        let applied = applied(&image, &founding());
        *self.state.applied.lock() = image;
        self.state.handle.wait().snapshot_installed(group, applied);
    }

    fn log_reset(&mut self, _: GroupId, index: Index) {
        self.state.resets.lock().push(index);
    }
}

struct Appliance {
    log: Arc<MemoryLog>,
    state: Arc<State>,
    handle: Handle,
}

fn founding() -> Membership {
    Membership::of_voters((1..=3).map(ApplianceId::new))
}

fn start(world: &Arc<World>, number: u64, clock: &Arc<Running>) -> Appliance {
    let me = ApplianceId::new(number);
    let log = Arc::new(MemoryLog::new());
    let groups = Groups::new(me, Arc::clone(&log), Arc::new(Seeded::new(number)));
    let state = Arc::new(State::default());
    let machines = Machines { me, state: Arc::clone(&state), world: Arc::clone(world) };
    let outbox = Box::new(Post { me, world: Arc::clone(world) });
    let on_fatal = Box::new(|fatal| panic!("{fatal:?}"));
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let handle = Driver::spawn(groups, Box::new(machines), outbox, clock, on_fatal).unwrap();
    state.handle.set(handle.clone()).ok().unwrap();
    world.handles.lock().insert(me, handle.clone());
    handle.open_group(group(1), Applied::founded(founding())).wait().unwrap();
    Appliance { log, state, handle }
}

#[expect(clippy::disallowed_methods, reason = "these threads run in real time")]
fn running() -> Arc<Running> {
    Arc::new(Running(Instant::now()))
}

#[track_caller]
fn until<T>(clock: &Running, mut found: impl FnMut() -> Option<T>) -> T {
    let end = clock.since_boot() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(clock.since_boot() < end, "it never happened");
        pause(Duration::from_millis(2));
    }
}

fn leader(fleet: &BTreeMap<u64, Appliance>) -> Option<u64> {
    let leads = |appliance: &Appliance| appliance.handle.watch(group(1)).leads();
    fleet.iter().find(|(_, appliance)| leads(appliance)).map(|(number, _)| *number)
}

#[test]
fn three_appliances_elect_commit_read_join_a_fourth_and_outlive_their_leader() {
    let (world, clock) = (Arc::new(World::default()), running());
    let mut fleet: BTreeMap<_, _> =
        (1..=3).map(|number| (number, start(&world, number, &clock))).collect();
    let first = until(&clock, || leader(&fleet));
    let old = &fleet[&first];
    let view = old.handle.watch(group(1));
    assert_eq!(view.leader(), Some(ApplianceId::new(first)));

    // Enough that the log does not reach back to the beginning once it is cut.
    let count = TAIL_ENTRIES + 200;
    for ticket in 0..count {
        let data = ticket.to_le_bytes().to_vec();
        old.handle.propose(group(1), Ticket::new(ticket), data).unwrap();
    }
    until(&clock, || (old.state.answered.lock().len() as u64 == count).then_some(()));
    old.handle.read(group(1), Ticket::new(count)).unwrap();
    until(&clock, || (!old.state.readable.lock().is_empty()).then_some(()));
    until(&clock, || (clock.since_boot() < view.read_lease_until()).then_some(()));
    assert!(view.commit().get() > count && view.last() >= view.commit());

    // A fourth comes by a snapshot.
    old.handle.checkpointed(group(1), index(count));
    until(&clock, || (old.log.state(group(1)).unwrap().cut.index.get() > 100).then_some(()));
    let fourth = start(&world, 4, &clock);
    let voters = (1..=4).map(ApplianceId::new).collect();
    let wanted = Wanted { voters, learners: Vec::new() };
    old.handle.change_membership(group(1), Ticket::new(count + 1), wanted).unwrap();
    until(&clock, || (!fourth.state.resets.lock().is_empty()).then_some(()));
    fleet.insert(4, fourth);
    let whole = |appliance: &Appliance| {
        let entries = appliance.state.applied.lock().clone();
        let membership = applied(&entries, &founding()).membership;
        (entries.len() as u64 > count && membership.voters.len() == 4 && !membership.is_joint())
            .then_some(())
    };
    fleet.values().for_each(|appliance| until(&clock, || whole(appliance)));

    // The leader goes.
    let gone = fleet.remove(&first).unwrap();
    world.handles.lock().remove(&ApplianceId::new(first));
    gone.handle.stop();
    fleet.values().for_each(|appliance| appliance.handle.wake(group(1)));
    let second = until(&clock, || leader(&fleet));
    let new = &fleet[&second];
    new.handle.propose(group(1), Ticket::new(9_999), vec![1]).unwrap();
    until(&clock, || new.state.answered.lock().contains(&Ticket::new(9_999)).then_some(()));
    assert!(new.state.roles.lock().last().unwrap().leads);
    assert!(gone.state.refused.lock().is_empty());
    fleet.values().for_each(|appliance| appliance.handle.stop());
}

#[test]
fn too_much_mail_is_dropped_and_a_stopped_driver_takes_none() {
    let (world, clock) = (Arc::new(World::default()), running());
    let alone = start(&world, 1, &clock);
    let sleep = PeerMessage::Sleep { term: Default::default(), commit: index(0) };
    let much = vec![(group(1), sleep); 100_000];
    alone.handle.receive(ApplianceId::new(2), much.clone());
    alone.handle.stop();
    alone.handle.receive(ApplianceId::new(2), much);
    assert_eq!(alone.handle.read(group(1), Ticket::new(1)), Err(Refusal::Fault));
}
