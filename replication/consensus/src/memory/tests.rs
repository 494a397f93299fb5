use crate::{
    Durability::{Buffered, Synced},
    LogBatch, LogStore, MemoryLog, SyncOutcome,
    store::contract::{Fixture, contract_tests},
    testing::{entry, group, index},
};

/// Every restart is a power cut.
struct Memory(MemoryLog);

impl Fixture for Memory {
    type Store = MemoryLog;

    fn store(&self) -> &MemoryLog {
        &self.0
    }

    fn restart(&mut self) {
        self.0.power_cut(0);
    }
}

contract_tests!(Memory(MemoryLog::new()));

fn one(at: u64) -> LogBatch {
    let mut batch = LogBatch::default();
    batch.append(group(1), vec![entry(at, 1, "x")]);
    batch
}

fn last(log: &MemoryLog) -> u64 {
    log.state(group(1)).unwrap().last.get()
}

#[test]
fn a_power_cut_loses_unsynced_batches_from_the_newest_back() {
    let log = MemoryLog::new();
    log.write(&one(1), Synced).unwrap();
    for at in 2..=4 {
        log.write(&one(at), Buffered).unwrap();
    }
    assert_eq!((log.unsynced(), last(&log)), (3, 4));
    log.power_cut(2);
    assert_eq!((log.unsynced(), last(&log)), (0, 3));
    log.power_cut(2);
    assert_eq!(last(&log), 3);
}

#[test]
fn a_failed_sync_says_so_and_keeps_nothing_for_sure() {
    let log = MemoryLog::with_syncs(|number| match number {
        2 => SyncOutcome::Fails,
        _ => SyncOutcome::Durable,
    });
    log.write(&one(1), Synced).unwrap();
    assert!(log.write(&one(2), Synced).is_err());
    log.power_cut(0);
    assert_eq!(last(&log), 1);
}

#[test]
fn a_sync_that_lies_is_found_out_by_a_power_cut() {
    let log = MemoryLog::with_syncs(|_| SyncOutcome::Lies);
    log.write(&one(1), Synced).unwrap();
    assert_eq!(log.term(group(1), index(1)).unwrap().get(), 1);
    log.power_cut(0);
    assert_eq!(last(&log), 0);
}
