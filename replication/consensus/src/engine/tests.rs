use std::{fs, ops::RangeInclusive, thread};

use tempfile::TempDir;

use super::{decode_cut, decode_hard_state, encode_cut, encode_hard_state};
use crate::{
    Durability::{Buffered, Synced},
    EngineLog, HardState, LogBatch, LogFault, LogPoint, LogStore,
    limits::{LOG_FILE_BYTES, LOG_PURGE_BYTES},
    store::contract::{Fixture, contract_tests},
    testing::{Seeded, entry, group, index, term},
};

struct OnDisk {
    folder: TempDir,
    log: Option<EngineLog>,
}

impl OnDisk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let log = Some(EngineLog::open(&folder.path().join("log")).unwrap());
        Self { folder, log }
    }
}

impl Fixture for OnDisk {
    type Store = EngineLog;

    fn store(&self) -> &EngineLog {
        self.log.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.log = None;
        self.log = Some(EngineLog::open(&self.folder.path().join("log")).unwrap());
    }
}

contract_tests!(OnDisk::new());

#[test]
fn records_look_as_they_always_did() {
    let state = HardState { term: 0x0102, vote: 3, commit: u64::MAX, ..HardState::default() };
    let golden = b"\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(encode_hard_state(&state), golden);
    assert_eq!(decode_hard_state(golden), Some(state));

    let cut = LogPoint { index: index(0x0506), term: term(7) };
    let golden = b"\x01\x06\x05\0\0\0\0\0\0\x07\0\0\0\0\0\0\0";
    assert_eq!(encode_cut(cut), golden);
    assert_eq!(decode_cut(golden), Some(cut));
}

#[test]
fn a_record_of_another_shape_is_not_understood() {
    let good = encode_cut(LogPoint { index: index(1), term: term(2) });
    assert_eq!(decode_cut(&[]), None);
    assert_eq!(decode_cut(&good[..good.len() - 1]), None);
    assert_eq!(decode_cut(&[good.as_slice(), &[0]].concat()), None);
    assert_eq!(decode_cut(&[&[2], &good[1..]].concat()), None);
    assert_eq!(decode_hard_state(&good), None);
}

#[test]
fn a_log_file_that_cannot_be_read_refuses_to_start_and_is_named() {
    let log = OnDisk::new();
    let folder = log.folder.path().join("log");
    drop(log.log);
    // Reading a folder as a file fails with EISDIR, whoever asks; EIO can't be had for free.
    let broken = folder.join("0000000000000007.raftlog");
    fs::create_dir(&broken).unwrap();
    let refused = EngineLog::open(&folder).err().unwrap();
    assert!(matches!(&refused, LogFault::Unreadable { path, .. } if *path == broken));
    let said = refused.to_string();
    assert!(said.contains(broken.to_str().unwrap()) && said.contains("restore"), "{said}");
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_batch() {
    let mut log = OnDisk::new();
    for at in 1..=3 {
        let mut batch = LogBatch::default();
        batch.append(group(1), vec![entry(at, 1, "whole")]);
        log.store().write(&batch, Synced).unwrap();
    }
    log.log = None;
    let folder = log.folder.path().join("log");
    let file = folder.join("0000000000000001.raftlog");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
    log.restart();
    assert_eq!(log.store().state(group(1)).unwrap().last, index(2));
}

fn incompressible(len: usize) -> String {
    let chance = Seeded::new(1);
    (0..len / 16).map(|_| format!("{:016x}", chance.next())).collect()
}

fn old_group(log: &EngineLog) {
    let mut batch = LogBatch::default();
    batch.append(group(9), (1..=20).map(|at| entry(at, 1, "old")).collect());
    log.write(&batch, Buffered).unwrap();
}

/// Makes the log give up its files again and again, by a group that is cut as it grows. Gives the
/// most bytes it took.
fn churn(log: &EngineLog, indices: RangeInclusive<u64>) -> u64 {
    let data = incompressible(1 << 20);
    let mut longest = 0;
    for at in indices {
        let mut batch = LogBatch::default();
        batch.append(group(1), vec![entry(at, 1, &data)]);
        batch.cut(group(1), LogPoint { index: index(at), term: term(1) });
        log.write(&batch, Buffered).unwrap();
        log.purge().unwrap();
        longest = longest.max(log.disk_bytes());
    }
    longest
}

#[test]
fn a_log_that_is_cut_does_not_grow_beyond_its_limit() {
    let case = || {
        let log = OnDisk::new();
        let longest = churn(log.store(), 1..=400);
        assert!(longest > LOG_PURGE_BYTES, "never reached the limit: {longest}");
        // The files now written to, one for new and one for moved entries, count as full.
        assert!(longest <= LOG_PURGE_BYTES + 2 * LOG_FILE_BYTES, "{longest}");
    };
    thread::spawn(case).join().unwrap();
}

#[test]
fn entries_outlive_the_file_they_were_written_to() {
    let case = || {
        let mut log = OnDisk::new();
        old_group(log.store());
        churn(log.store(), 1..=400);
        log.restart();
        assert_eq!(log.store().state(group(1)).unwrap().last, index(400));
        let kept = log.store().entries(group(9), index(1), index(21), u64::MAX).unwrap();
        assert_eq!(kept.len(), 20);
    };
    thread::spawn(case).join().unwrap();
}

#[test]
fn entries_cut_after_they_were_moved_do_not_come_back() {
    let case = || {
        let mut log = OnDisk::new();
        old_group(log.store());
        churn(log.store(), 1..=400);
        let mut cut = LogBatch::default();
        cut.cut(group(9), LogPoint { index: index(15), term: term(1) });
        log.store().write(&cut, Synced).unwrap();
        let mut whole = LogBatch::default();
        whole.append(group(9), vec![entry(21, 1, "new")]);
        whole.cut(group(9), LogPoint { index: index(21), term: term(1) });
        log.store().write(&whole, Synced).unwrap();
        churn(log.store(), 401..=800);
        log.restart();
        let state = log.store().state(group(9)).unwrap();
        assert_eq!((state.cut.index, state.last), (index(21), index(21)));
        let mut next = LogBatch::default();
        next.append(group(9), vec![entry(22, 2, "next")]);
        log.store().write(&next, Synced).unwrap();
        log.restart();
        let held = log.store().entries(group(9), index(22), index(23), u64::MAX).unwrap();
        assert_eq!(held, [entry(22, 2, "next")]);
    };
    thread::spawn(case).join().unwrap();
}

#[test]
fn a_group_removed_after_its_entries_were_moved_does_not_come_back() {
    let case = || {
        let mut log = OnDisk::new();
        old_group(log.store());
        churn(log.store(), 1..=400);
        let mut removal = LogBatch::default();
        removal.remove(group(9));
        log.store().write(&removal, Synced).unwrap();
        churn(log.store(), 401..=800);
        log.restart();
        assert_eq!(log.store().groups(), [group(1)]);
    };
    thread::spawn(case).join().unwrap();
}

#[test]
fn a_group_that_keeps_old_files_alive_is_asked_for_a_checkpoint() {
    let log = OnDisk::new();
    let data = incompressible(1 << 20);
    let mut wanted = Vec::new();
    for at in 1..=250 {
        let mut batch = LogBatch::default();
        batch.append(group(5), vec![entry(at, 1, &data)]);
        log.store().write(&batch, Buffered).unwrap();
        if at % 50 == 0 {
            wanted.extend(log.store().purge().unwrap());
        }
    }
    assert!(wanted.contains(&group(5)), "{wanted:?}");
}
