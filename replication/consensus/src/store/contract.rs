//! What every log promises, as tests. Both the real log and its simulated twin run them all.

use raft::eraftpb::{Entry, HardState};

use crate::{
    Durability::{Buffered, Synced},
    GroupState, LogBatch, LogFault, LogPoint, LogStore,
    testing::{entry, group, index, term},
};

/// A log that can be stopped and started, without losing what was synced.
pub(crate) trait Fixture {
    type Store: LogStore;
    fn store(&self) -> &Self::Store;
    fn restart(&mut self);
}

/// Makes one test of each case, each in a thread of its own.
macro_rules! contract_tests {
    ($fixture:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let case = || crate::store::contract::$case($fixture);
                std::thread::spawn(case).join().unwrap();
            }
        )*
    };
    ($fixture:expr) => {
        crate::store::contract::contract_tests! { $fixture;
            a_new_log_knows_no_group
            what_was_synced_is_there_after_a_restart
            a_sync_makes_earlier_batches_durable_too
            one_write_holds_several_groups
            a_later_entry_replaces_the_tail
            a_cut_drops_what_is_below_and_keeps_the_term_there
            a_log_cut_whole_goes_on_after_the_cut
            a_log_can_be_cut_in_the_write_that_appends
            a_removed_group_is_gone
            a_removed_group_can_be_made_anew
            a_reset_log_holds_nothing_and_goes_on_after_the_point
            a_reset_log_forgets_entries_beyond_the_point
            a_new_log_can_be_reset
            entries_stop_at_the_limit_but_give_one
            an_entry_that_is_not_there_is_missing
            the_hard_state_is_replaced
            many_batches_survive_a_restart
        }
    };
}
pub(crate) use contract_tests;

fn batch(write: impl FnOnce(&mut LogBatch)) -> LogBatch {
    let mut batch = LogBatch::default();
    write(&mut batch);
    batch
}

fn append(number: u64, entries: &[Entry]) -> LogBatch {
    batch(|batch| batch.append(group(number), entries.to_vec()))
}

fn point(at: u64, in_term: u64) -> LogPoint {
    LogPoint { index: index(at), term: term(in_term) }
}

fn hard_state(in_term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: in_term, vote, commit, ..HardState::default() }
}

fn all<L: LogStore>(log: &L, number: u64) -> Vec<Entry> {
    let state = log.state(group(number)).unwrap();
    let low = state.cut.index.next();
    if low > state.last {
        return Vec::new();
    }
    log.entries(group(number), low, state.last.next(), u64::MAX).unwrap()
}

fn abc() -> [Entry; 3] {
    [entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 2, "c")]
}

pub(crate) fn a_new_log_knows_no_group(log: impl Fixture) {
    assert!(log.store().groups().is_empty());
    assert_eq!(log.store().state(group(0)).unwrap(), GroupState::default());
    assert_eq!(log.store().term(group(0), index(0)).unwrap(), term(0));
}

pub(crate) fn what_was_synced_is_there_after_a_restart(mut log: impl Fixture) {
    let mut write = append(0, &abc());
    write.set_hard_state(group(0), hard_state(2, 7, 1));
    log.store().write(&write, Synced).unwrap();
    log.restart();
    assert_eq!(all(log.store(), 0), abc());
    let state = log.store().state(group(0)).unwrap();
    assert_eq!(state.hard_state, hard_state(2, 7, 1));
    assert_eq!((state.cut, state.last), (point(0, 0), index(3)));
}

pub(crate) fn a_sync_makes_earlier_batches_durable_too(mut log: impl Fixture) {
    log.store().write(&append(1, &abc()[..1]), Buffered).unwrap();
    log.store().write(&append(1, &abc()[1..]), Synced).unwrap();
    log.restart();
    assert_eq!(all(log.store(), 1), abc());
}

pub(crate) fn one_write_holds_several_groups(mut log: impl Fixture) {
    let write = batch(|batch| {
        for number in [9, 0, 4] {
            batch.append(group(number), abc().to_vec());
        }
    });
    log.store().write(&write, Synced).unwrap();
    log.restart();
    assert_eq!(log.store().groups(), [group(0), group(4), group(9)]);
    for number in [0, 4, 9] {
        assert_eq!(all(log.store(), number), abc());
    }
}

pub(crate) fn a_later_entry_replaces_the_tail(mut log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    log.store().write(&append(1, &[entry(2, 3, "B")]), Synced).unwrap();
    let expected = [entry(1, 1, "a"), entry(2, 3, "B")];
    assert_eq!(all(log.store(), 1), expected);
    log.restart();
    assert_eq!(all(log.store(), 1), expected);
    assert_eq!(log.store().term(group(1), index(2)).unwrap(), term(3));
}

pub(crate) fn a_cut_drops_what_is_below_and_keeps_the_term_there(mut log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    log.store().write(&batch(|b| b.cut(group(1), point(2, 1))), Synced).unwrap();
    log.restart();
    assert_eq!(all(log.store(), 1), [entry(3, 2, "c")]);
    let state = log.store().state(group(1)).unwrap();
    assert_eq!((state.cut, state.last), (point(2, 1), index(3)));
    assert_eq!(log.store().term(group(1), index(2)).unwrap(), term(1));
    let gone = log.store().entries(group(1), index(2), index(4), u64::MAX);
    assert!(matches!(gone, Err(LogFault::Missing { .. })));
}

pub(crate) fn a_log_cut_whole_goes_on_after_the_cut(mut log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    log.store().write(&batch(|b| b.cut(group(1), point(3, 2))), Synced).unwrap();
    log.restart();
    assert_eq!(log.store().state(group(1)).unwrap().last, index(3));
    log.store().write(&append(1, &[entry(4, 3, "d")]), Synced).unwrap();
    log.restart();
    assert_eq!(all(log.store(), 1), [entry(4, 3, "d")]);
}

pub(crate) fn a_log_can_be_cut_in_the_write_that_appends(mut log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    let mut write = append(1, &[entry(4, 3, "d")]);
    write.cut(group(1), point(3, 2));
    log.store().write(&write, Synced).unwrap();
    assert_eq!(all(log.store(), 1), [entry(4, 3, "d")]);
    log.restart();
    assert_eq!(all(log.store(), 1), [entry(4, 3, "d")]);
}

pub(crate) fn a_removed_group_is_gone(mut log: impl Fixture) {
    let mut write = append(1, &abc());
    write.set_hard_state(group(1), hard_state(2, 7, 1));
    write.append(group(2), abc().to_vec());
    log.store().write(&write, Synced).unwrap();
    log.store().write(&batch(|b| b.remove(group(1))), Synced).unwrap();
    assert_eq!(log.store().state(group(1)).unwrap(), GroupState::default());
    log.restart();
    assert_eq!(log.store().groups(), [group(2)]);
    assert_eq!(log.store().state(group(1)).unwrap(), GroupState::default());
    assert_eq!(all(log.store(), 2), abc());
}

pub(crate) fn a_removed_group_can_be_made_anew(mut log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    log.store().write(&batch(|b| b.remove(group(1))), Synced).unwrap();
    log.store().write(&append(1, &[entry(1, 1, "new")]), Synced).unwrap();
    log.restart();
    assert_eq!(all(log.store(), 1), [entry(1, 1, "new")]);
}

fn reset(number: u64, to: LogPoint, state: HardState) -> LogBatch {
    batch(|b| b.reset(group(number), to, state))
}

pub(crate) fn a_reset_log_holds_nothing_and_goes_on_after_the_point(mut log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    log.store().write(&append(2, &abc()), Synced).unwrap();
    log.store().write(&reset(1, point(9, 4), hard_state(5, 2, 9)), Synced).unwrap();
    for _ in 0..2 {
        let state = log.store().state(group(1)).unwrap();
        assert_eq!((state.cut, state.last), (point(9, 4), index(9)));
        assert_eq!(state.hard_state, hard_state(5, 2, 9));
        assert_eq!(log.store().term(group(1), index(9)).unwrap(), term(4));
        assert!(log.store().entries(group(1), index(3), index(4), u64::MAX).is_err());
        log.restart();
    }
    log.store().write(&append(1, &[entry(10, 5, "j")]), Synced).unwrap();
    for _ in 0..2 {
        assert_eq!(all(log.store(), 1), [entry(10, 5, "j")]);
        assert_eq!(all(log.store(), 2), abc());
        log.restart();
    }
}

pub(crate) fn a_reset_log_forgets_entries_beyond_the_point(mut log: impl Fixture) {
    let data = "x".repeat(100 << 10);
    let old: Vec<_> = (1..=50).map(|at| entry(at, 1, &data)).collect();
    for one in &old {
        log.store().write(&append(1, std::slice::from_ref(one)), Buffered).unwrap();
    }
    log.store().write(&reset(1, point(20, 2), hard_state(3, 0, 20)), Synced).unwrap();
    // Enough for old files to be given up and what they still hold to be moved.
    for at in 1..=400 {
        log.store().write(&append(2, &[entry(at, 1, &data)]), Buffered).unwrap();
        if at % 50 == 0 {
            log.store().write(&batch(|b| b.cut(group(2), point(at - 1, 1))), Synced).unwrap();
            log.store().purge().unwrap();
        }
    }
    for _ in 0..2 {
        let state = log.store().state(group(1)).unwrap();
        assert_eq!((state.cut, state.last), (point(20, 2), index(20)));
        assert_eq!(state.hard_state, hard_state(3, 0, 20));
        log.restart();
    }
    log.store().write(&append(1, &[entry(21, 3, "new")]), Synced).unwrap();
    log.restart();
    assert_eq!(all(log.store(), 1), [entry(21, 3, "new")]);
}

pub(crate) fn a_new_log_can_be_reset(mut log: impl Fixture) {
    log.store().write(&reset(1, point(7, 2), hard_state(2, 1, 7)), Synced).unwrap();
    log.restart();
    assert_eq!(log.store().state(group(1)).unwrap().cut, point(7, 2));
    assert_eq!(log.store().groups(), [group(1)]);
}

pub(crate) fn entries_stop_at_the_limit_but_give_one(log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    let read = |bytes_max| log.store().entries(group(1), index(1), index(4), bytes_max).unwrap();
    assert_eq!(read(0), abc()[..1]);
    assert_eq!(read(1 << 20), abc());
}

pub(crate) fn an_entry_that_is_not_there_is_missing(log: impl Fixture) {
    log.store().write(&append(1, &abc()), Synced).unwrap();
    let missing = |number: u64, at: u64| {
        let read = log.store().entries(group(number), index(at), index(at + 1), u64::MAX);
        assert!(matches!(read, Err(LogFault::Missing { .. })), "{read:?}");
        let term = log.store().term(group(number), index(at));
        assert!(matches!(term, Err(LogFault::Missing { .. })), "{term:?}");
    };
    missing(1, 4);
    missing(2, 1);
}

pub(crate) fn the_hard_state_is_replaced(mut log: impl Fixture) {
    for commit in 1..4 {
        let write = batch(|b| b.set_hard_state(group(1), hard_state(1, 1, commit)));
        log.store().write(&write, Synced).unwrap();
    }
    log.restart();
    assert_eq!(log.store().state(group(1)).unwrap().hard_state, hard_state(1, 1, 3));
}

pub(crate) fn many_batches_survive_a_restart(mut log: impl Fixture) {
    let data = "x".repeat(100 << 10);
    for at in 1..=100 {
        log.store().write(&append(1, &[entry(at, 1, &data)]), Buffered).unwrap();
        log.store().write(&append(2, &[entry(at, 1, "y")]), Buffered).unwrap();
        if at % 10 == 0 {
            let cut = batch(|b| b.cut(group(2), point(at - 5, 1)));
            log.store().write(&cut, Synced).unwrap();
            log.store().purge().unwrap();
        }
    }
    log.restart();
    assert_eq!(all(log.store(), 1).len(), 100);
    assert!(all(log.store(), 1).iter().all(|entry| entry.data == data.as_bytes()));
    assert_eq!(all(log.store(), 2).len(), 5);
}
