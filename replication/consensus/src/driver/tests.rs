use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use model::{ApplianceId, GroupId, Index, Membership, Refusal};
use parking_lot::{Condvar, Mutex};

use super::{ApplyFault, Driver, Fatal, Handle, OpenFault, StateMachines};
use crate::{
    APPLY_STEPS_MAX, Applied, Committed, Groups, LogPoint, LogStore, MemoryLog, NoPeers,
    PROPOSAL_BYTES_MAX, QUEUE_BYTES_MAX, Role, SyncOutcome, Ticket,
    testing::{Seeded, Still, group, index, term},
};

mod several;

const ME: ApplianceId = ApplianceId::new(1);

/// How long a test waits for what must happen, before it calls it a failure.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Applied(GroupId, Index),
    Readable,
    Refused(Refusal),
}

/// State machines that keep everything, and answer askers by ticket.
#[derive(Default)]
struct Ledger {
    applied: Mutex<BTreeMap<GroupId, Vec<Committed>>>,
    answers: Mutex<BTreeMap<Ticket, Answer>>,
    roles: Mutex<Vec<(GroupId, Role)>>,
    batches: AtomicU64,
    changed: Condvar,
    gate: Mutex<()>,
    broken: bool,
}

impl Ledger {
    fn wait(&self, ticket: u64) -> Answer {
        let mut answers = self.answers.lock();
        loop {
            if let Some(answer) = answers.get(&Ticket::new(ticket)) {
                return answer.clone();
            }
            let waited = self.changed.wait_for(&mut answers, PATIENCE);
            assert!(!waited.timed_out(), "ticket {ticket} was never answered");
        }
    }

    fn answer(&self, ticket: Ticket, answer: Answer) {
        let twice = self.answers.lock().insert(ticket, answer);
        assert_eq!(twice, None, "{ticket:?} was answered twice");
        self.changed.notify_all();
    }
}

struct Machines(Arc<Ledger>);

impl StateMachines for Machines {
    fn apply(&mut self, group: GroupId, entries: Vec<Committed>) -> Result<(), ApplyFault> {
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        let _open = self.0.gate.lock();
        if self.0.broken {
            return Err(ApplyFault { group, source: "broken".into() });
        }
        self.0.applied.lock().entry(group).or_default().extend(entries.iter().cloned());
        for entry in &entries {
            if let Some(ticket) = entry.ticket {
                self.0.answer(ticket, Answer::Applied(group, entry.index));
            }
        }
        Ok(())
    }

    fn refused(&mut self, ticket: Ticket, refusal: Refusal) {
        self.0.answer(ticket, Answer::Refused(refusal));
    }

    fn checkpoint_wanted(&mut self, _: GroupId) {}

    fn read_ready(&mut self, ticket: Ticket) {
        self.0.answer(ticket, Answer::Readable);
    }

    fn role_changed(&mut self, group: GroupId, role: Role) {
        self.0.roles.lock().push((group, role));
    }

    fn snapshot_wanted(&mut self, _: GroupId) {}

    fn install_snapshot(&mut self, _: GroupId, _: ApplianceId, _: LogPoint, _: Membership) {}

    fn log_reset(&mut self, _: GroupId, _: Index) {}
}

#[expect(clippy::disallowed_methods, reason = "a slow disk and a patient asker take real time")]
fn pause(time: Duration) {
    thread::sleep(time);
}

struct Rig {
    log: Arc<MemoryLog>,
    ledger: Arc<Ledger>,
    handle: Handle,
    fatal: Mutex<Receiver<Fatal>>,
}

fn rig_with(log: MemoryLog, ledger: Ledger) -> Rig {
    let (log, ledger) = (Arc::new(log), Arc::new(ledger));
    let groups = Groups::new(ME, Arc::clone(&log), Arc::new(Seeded::new(1)));
    let machines = Box::new(Machines(Arc::clone(&ledger)));
    let (sender, fatal): (Sender<Fatal>, _) = mpsc::channel();
    let on_fatal = Box::new(move |fault| sender.send(fault).unwrap());
    let handle =
        Driver::spawn(groups, machines, Box::new(NoPeers), Arc::new(Still), on_fatal).unwrap();
    Rig { log, ledger, handle, fatal: Mutex::new(fatal) }
}

fn rig() -> Rig {
    rig_with(MemoryLog::new(), Ledger::default())
}

fn slow(time: Duration) -> MemoryLog {
    MemoryLog::with_syncs(move |_| {
        pause(time);
        SyncOutcome::Durable
    })
}

impl Rig {
    fn open(&self, number: u64) -> Result<Index, OpenFault> {
        self.handle.open_group(group(number), Applied::nothing(ME)).wait()
    }

    fn propose(&self, number: u64, ticket: u64) -> Result<(), Refusal> {
        let data = ticket.to_le_bytes().to_vec();
        self.handle.propose(group(number), Ticket::new(ticket), data)
    }
}

#[test]
fn a_proposal_is_answered_once_it_is_applied() {
    let rig = rig();
    assert_eq!(rig.open(3), Ok(index(1)));
    rig.propose(3, 77).unwrap();
    assert_eq!(rig.ledger.wait(77), Answer::Applied(group(3), index(2)));
    assert_eq!(rig.log.unsynced(), 0);
    rig.handle.stop();
}

#[test]
fn what_is_proposed_right_after_opening_finds_the_group_open() {
    let rig = rig();
    for number in 0..200 {
        let _opening = rig.handle.open_group(group(number), Applied::nothing(ME));
        rig.propose(number, number).unwrap();
    }
    for number in 0..200 {
        assert!(matches!(rig.ledger.wait(number), Answer::Applied(..)));
    }
    rig.handle.stop();
}

#[test]
fn many_askers_share_syncs() {
    const ASKERS: u64 = 64;
    const EACH: u64 = 50;
    let rig = rig_with(slow(Duration::from_millis(2)), Ledger::default());
    rig.open(1).unwrap();
    thread::scope(|scope| {
        for asker in 0..ASKERS {
            let rig = &rig;
            scope.spawn(move || {
                for call in 0..EACH {
                    let ticket = asker * EACH + call;
                    rig.propose(1, ticket).unwrap();
                    assert!(matches!(rig.ledger.wait(ticket), Answer::Applied(..)));
                }
            });
        }
    });
    let syncs = rig.log.syncs();
    assert!(syncs * 8 < ASKERS * EACH, "{syncs} syncs for {} proposals", ASKERS * EACH);
    rig.handle.stop();
}

#[test]
fn proposals_that_arrive_during_a_sync_share_the_next() {
    let (entered, in_sync) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let log = MemoryLog::with_syncs(move |number| {
        if number == 2 {
            entered.send(()).unwrap();
            gone.lock().recv().unwrap();
        }
        SyncOutcome::Durable
    });
    let rig = rig_with(log, Ledger::default());
    rig.open(1).unwrap();
    rig.propose(1, 0).unwrap();
    in_sync.recv().unwrap();
    for ticket in 1..=32 {
        rig.propose(1, ticket).unwrap();
    }
    go.send(()).unwrap();
    for ticket in 0..=32 {
        rig.ledger.wait(ticket);
    }
    assert_eq!(rig.log.syncs(), 3);
    rig.handle.stop();
}

#[test]
fn the_next_sync_runs_while_the_last_batch_is_applied() {
    let rig = rig();
    rig.open(1).unwrap();
    let shut = rig.ledger.gate.lock();
    rig.propose(1, 1).unwrap();
    rig.propose(1, 2).unwrap();
    let start = rig.log.syncs();
    let mut ticket = 3;
    // Nothing is applied now, yet syncs go on: as many as may wait for the machines.
    while rig.log.syncs() < start + 2 {
        rig.propose(1, ticket).unwrap();
        ticket += 1;
        pause(Duration::from_millis(1));
    }
    drop(shut);
    rig.handle.stop();
    assert_eq!(rig.ledger.answers.lock().len() as u64, ticket - 1);
}

#[test]
fn a_machine_that_stands_still_ends_in_busy_not_in_memory() {
    let rig = rig();
    rig.open(1).unwrap();
    let shut = rig.ledger.gate.lock();
    let large = vec![1; PROPOSAL_BYTES_MAX];
    let most = (QUEUE_BYTES_MAX / PROPOSAL_BYTES_MAX) * (APPLY_STEPS_MAX + 4);
    let mut taken = 0;
    let mut refused = 0;
    // Until it is refused a hundred times in a row the log thread may still be making room.
    while refused < 100 {
        match rig.handle.propose(group(1), Ticket::new(taken), large.clone()) {
            Ok(()) => (taken, refused) = (taken + 1, 0),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Busy);
                refused += 1;
                pause(Duration::from_millis(1));
            }
        }
        assert!(taken < most as u64, "there is no limit");
    }
    drop(shut);
    rig.handle.stop();
    assert_eq!(rig.ledger.answers.lock().len() as u64, taken);
}

#[test]
fn a_failing_sync_is_fatal_and_answers_nothing() {
    let log = MemoryLog::with_syncs(|number| match number {
        1 => SyncOutcome::Durable,
        _ => SyncOutcome::Fails,
    });
    let rig = rig_with(log, Ledger::default());
    rig.open(1).unwrap();
    for ticket in 0..10 {
        let _ = rig.propose(1, ticket);
    }
    let fatal = rig.fatal.lock().recv_timeout(PATIENCE).unwrap();
    assert!(matches!(fatal, Fatal::Log(_)), "{fatal}");
    rig.handle.stop();
    assert_eq!(*rig.ledger.answers.lock(), BTreeMap::new());
    assert_eq!(rig.propose(1, 11), Err(Refusal::Fault));
    assert!(rig.fatal.lock().try_recv().is_err(), "told twice");
}

#[test]
fn what_waits_to_be_applied_when_the_log_fails_is_not_answered() {
    let log = MemoryLog::with_syncs(|number| match number {
        4 => SyncOutcome::Fails,
        _ => SyncOutcome::Durable,
    });
    let rig = rig_with(log, Ledger::default());
    rig.open(1).unwrap();
    let until = |reached: &dyn Fn() -> bool| {
        while !reached() {
            pause(Duration::from_millis(1));
        }
    };
    until(&|| rig.ledger.batches.load(Ordering::Relaxed) == 1);
    let shut = rig.ledger.gate.lock();
    rig.propose(1, 1).unwrap();
    until(&|| rig.ledger.batches.load(Ordering::Relaxed) == 2);
    rig.propose(1, 2).unwrap();
    until(&|| rig.log.syncs() == 3);
    rig.propose(1, 3).unwrap();
    rig.fatal.lock().recv_timeout(PATIENCE).unwrap();
    drop(shut);
    rig.handle.stop();
    // The first was in the machine's hands already, and it is durable.
    let answered: Vec<_> = rig.ledger.answers.lock().keys().copied().collect();
    assert_eq!(answered, [Ticket::new(1)]);
}

#[test]
fn a_panic_in_the_log_is_fatal() {
    let log = MemoryLog::with_syncs(|number| match number {
        1 => SyncOutcome::Durable,
        _ => panic!("as raft-engine does when a sync fails"),
    });
    let rig = rig_with(log, Ledger::default());
    rig.open(1).unwrap();
    rig.propose(1, 1).unwrap();
    let fatal = rig.fatal.lock().recv_timeout(PATIENCE).unwrap();
    assert!(matches!(fatal, Fatal::Panicked { thread: "log" }), "{fatal}");
    rig.handle.stop();
    assert_eq!(*rig.ledger.answers.lock(), BTreeMap::new());
    assert_eq!(rig.open(2), Err(OpenFault::Stopped));
}

#[test]
fn a_machine_that_fails_is_fatal_and_answers_nothing() {
    let rig = rig_with(MemoryLog::new(), Ledger { broken: true, ..Ledger::default() });
    rig.open(1).unwrap();
    let _ = rig.propose(1, 1);
    let fatal = rig.fatal.lock().recv_timeout(PATIENCE).unwrap();
    assert!(matches!(fatal, Fatal::Apply(_)), "{fatal}");
    rig.handle.stop();
    assert_eq!(*rig.ledger.answers.lock(), BTreeMap::new());
}

#[test]
fn stopping_answers_everything_taken_and_takes_no_more() {
    let rig = rig_with(slow(Duration::from_millis(1)), Ledger::default());
    rig.open(1).unwrap();
    let next = AtomicU64::new(0);
    let taken = thread::scope(|scope| {
        let ask = || {
            let mut taken = Vec::new();
            loop {
                let ticket = next.fetch_add(1, Ordering::Relaxed);
                match rig.propose(1, ticket) {
                    Ok(()) => taken.push(Ticket::new(ticket)),
                    Err(Refusal::Busy) => thread::yield_now(),
                    Err(refusal) => {
                        assert_eq!(refusal, Refusal::Fault);
                        return taken;
                    }
                }
            }
        };
        let askers: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        pause(Duration::from_millis(20));
        rig.handle.stop();
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect::<Vec<_>>()
    });
    let answers = rig.ledger.answers.lock();
    assert_eq!(answers.len(), taken.len());
    assert!(answers.values().all(|answer| matches!(answer, Answer::Applied(..))));
    assert_eq!(rig.log.unsynced(), 0);
}

#[test]
fn everything_acknowledged_is_applied_again_after_a_power_cut() {
    let first = rig();
    first.open(1).unwrap();
    for ticket in 0..100 {
        first.propose(1, ticket).unwrap();
        first.ledger.wait(ticket);
    }
    first.handle.stop();
    first.log.power_cut(0);
    let Ok(log) = Arc::try_unwrap(first.log) else { panic!("the threads are gone") };
    let second = rig_with(log, Ledger::default());
    let last = second.open(1).unwrap();
    second.propose(1, 1000).unwrap();
    assert_eq!(second.ledger.wait(1000), Answer::Applied(group(1), last.next()));
    let applied = second.ledger.applied.lock();
    let held: Vec<_> = applied[&group(1)].iter().filter(|entry| !entry.data.is_empty()).collect();
    assert_eq!(held.len(), 101);
    assert!(held[..100].iter().zip(0_u64..).all(|(e, ticket)| *e.data == ticket.to_le_bytes()));
    drop(applied);
    second.handle.stop();
}

#[test]
fn a_lost_log_is_told_to_who_opens_it() {
    let rig = rig();
    let applied =
        Applied { index: index(9), term: term(1), membership: Membership::of_voters([ME]) };
    let opened = rig.handle.open_group(group(3), applied).wait();
    assert_eq!(opened, Err(OpenFault::Lost { missing: index(1) }));
    rig.handle.stop();
}

#[test]
fn a_checkpoint_cuts_the_log() {
    let rig = rig();
    rig.open(3).unwrap();
    rig.propose(3, 1).unwrap();
    rig.ledger.wait(1);
    rig.handle.checkpointed(group(3), index(2));
    rig.handle.stop();
    assert_eq!(rig.log.state(group(3)).unwrap().cut.index, index(2));
}

#[test]
fn a_closed_group_refuses_and_a_removed_one_leaves_no_log() {
    let rig = rig();
    rig.open(3).unwrap();
    rig.open(4).unwrap();
    rig.handle.close_group(group(3));
    rig.handle.remove_group(group(4));
    rig.propose(3, 1).unwrap();
    assert_eq!(rig.ledger.wait(1), Answer::Refused(Refusal::Busy));
    rig.handle.stop();
    assert_eq!(rig.log.groups(), [group(3)]);
}

#[test]
fn a_stopped_driver_refuses_everything_at_once() {
    let rig = rig();
    rig.open(3).unwrap();
    rig.handle.stop();
    rig.handle.stop();
    assert_eq!(rig.propose(3, 1), Err(Refusal::Fault));
    assert_eq!(rig.open(4), Err(OpenFault::Stopped));
    rig.handle.checkpointed(group(3), index(1));
}

#[test]
fn what_can_never_be_taken_is_refused_at_the_door() {
    let rig = rig();
    rig.open(3).unwrap();
    let propose = |data| rig.handle.propose(group(3), Ticket::new(1), data);
    assert_eq!(propose(Vec::new()), Err(Refusal::Invalid));
    assert_eq!(propose(vec![0; PROPOSAL_BYTES_MAX + 1]), Err(Refusal::Invalid));
    rig.handle.stop();
}

#[test]
fn the_fleets_rounds_wait_for_no_sync_of_the_volumes() {
    let (entered, in_sync) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let log = MemoryLog::with_syncs(move |number| {
        if number == 3 {
            entered.send(()).unwrap();
            gone.lock().recv().unwrap();
        }
        SyncOutcome::Durable
    });
    let rig = rig_with(log, Ledger::default());
    let fleet = Arc::new(Ledger::default());
    let groups = Groups::new(ME, Arc::clone(&rig.log), Arc::new(Seeded::new(2)));
    let machines = Box::new(Machines(Arc::clone(&fleet)));
    let on_fatal = Box::new(|fault| panic!("{fault}"));
    let driver =
        Driver::spawn(groups, machines, Box::new(NoPeers), Arc::new(Still), on_fatal).unwrap();
    let handle = rig.handle.clone().beside(driver);
    for group in [GroupId::FLEET, group(1)] {
        handle.open_group(group, Applied::nothing(ME)).wait().unwrap();
    }
    handle.propose(group(1), Ticket::new(1), vec![1]).unwrap();
    in_sync.recv().unwrap();
    handle.read(GroupId::FLEET, Ticket::new(2)).unwrap();
    assert_eq!(fleet.wait(2), Answer::Readable);
    go.send(()).unwrap();
    assert!(matches!(rig.ledger.wait(1), Answer::Applied(..)));
    handle.stop();
}
