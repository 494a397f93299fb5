//! What every disk promises, checked on the real one and on its twin.

use std::path::PathBuf;

use super::*;
use crate::{LinuxDisk, Record, RecordState, simulated::SimulatedDisk};

/// A disk, and a directory on it to work in.
struct Subject<'a> {
    disk: &'a dyn Disk,
    root: PathBuf,
}

type Claim = fn(&Subject<'_>);

#[test]
fn the_real_disk_keeps_the_contract() {
    for claim in CONTRACT {
        let scratch = tempfile::tempdir().unwrap();
        let disk = LinuxDisk::new(scratch.path()).unwrap();
        claim(&Subject { disk: &disk, root: scratch.path().to_owned() });
    }
}

#[test]
fn the_simulated_disk_keeps_the_contract() {
    for claim in CONTRACT {
        let disk = SimulatedDisk::new(1 << 30);
        claim(&Subject { disk: &disk, root: PathBuf::from("/") });
    }
}

const CONTRACT: [Claim; 17] = [
    a_missing_file_is_not_found,
    a_missing_directory_is_not_found,
    a_file_is_made_once,
    bytes_are_read_back,
    a_read_stops_at_the_end,
    a_read_appends_to_what_is_there,
    a_hole_reads_as_zeros_and_takes_no_room,
    a_file_cut_short_forgets_what_was_beyond,
    a_file_made_longer_reads_as_zeros,
    a_record_is_replaced_as_a_whole,
    data_and_holes_are_told_apart,
    a_punched_hole_reads_as_zeros_and_gives_its_room_back,
    a_synced_read_needs_no_waiting,
    an_unlinked_file_lives_until_it_is_closed,
    a_renamed_file_keeps_its_bytes,
    a_directory_lists_what_is_in_it,
    a_file_that_is_forgotten_reads_as_before,
];

impl Subject<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn new_file(&self, name: &str) -> Arc<dyn BackingFile> {
        self.disk.open(&self.path(name), Open::OrCreate).unwrap()
    }
}

fn span(offset: u64, len: u64) -> Span {
    Span::new(offset, len).unwrap()
}

fn read(file: &dyn BackingFile, span: Span) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let count = file.read(span, &mut bytes, Wait::AsNeeded).unwrap();
    assert_eq!(count, bytes.len());
    bytes.to_vec()
}

fn write(file: &dyn BackingFile, payload: &[u8], offset: u64) {
    let count = file.write(payload, offset).unwrap();
    assert_eq!(count, payload.len());
}

fn kind(result: io::Result<impl Sized>) -> io::ErrorKind {
    result.err().unwrap().kind()
}

fn a_missing_file_is_not_found(on: &Subject<'_>) {
    let opened = on.disk.open(&on.path("a"), Open::Existing);
    assert_eq!(kind(opened), io::ErrorKind::NotFound);
    let unlinked = on.disk.unlink(&on.path("a"));
    assert_eq!(kind(unlinked), io::ErrorKind::NotFound);
}

fn a_missing_directory_is_not_found(on: &Subject<'_>) {
    let opened = on.disk.open(&on.path("a/b"), Open::OrCreate);
    assert_eq!(kind(opened), io::ErrorKind::NotFound);
}

fn a_file_is_made_once(on: &Subject<'_>) {
    write(&*on.new_file("a"), b"here", 0);
    let again = on.new_file("a");
    assert_eq!(again.facts().unwrap().size, 4);
    assert_eq!(again.record().unwrap(), None);
}

fn bytes_are_read_back(on: &Subject<'_>) {
    let file = on.new_file("a");
    let payload: Vec<u8> = (0..100_000).map(|index| (index % 251) as u8).collect();
    write(&*file, &payload, 5);
    assert_eq!(read(&*file, span(5, 100_000)), payload);
    write(&*file, b"over", 4094);
    assert_eq!(read(&*file, span(4094, 4)), b"over");
    file.sync().unwrap();
    assert!(file.facts().unwrap().used > 0);
}

fn a_read_stops_at_the_end(on: &Subject<'_>) {
    let file = on.new_file("a");
    write(&*file, b"end", 0);
    assert_eq!(read(&*file, span(1, 100)), b"nd");
    assert_eq!(read(&*file, span(3, 1)), b"");
    assert_eq!(read(&*file, span(1 << 40, 1)), b"");
}

fn a_read_appends_to_what_is_there(on: &Subject<'_>) {
    let file = on.new_file("a");
    write(&*file, b"second", 0);
    let mut bytes = BytesMut::from(&b"first "[..]);
    file.read(span(0, 6), &mut bytes, Wait::AsNeeded).unwrap();
    assert_eq!(&bytes[..], b"first second");
}

fn a_hole_reads_as_zeros_and_takes_no_room(on: &Subject<'_>) {
    let file = on.new_file("a");
    write(&*file, b"far", 1 << 33);
    file.sync().unwrap();
    let facts = file.facts().unwrap();
    assert_eq!(facts.size, (1 << 33) + 3);
    assert!(facts.used < 1 << 20);
    assert_eq!(read(&*file, span(1 << 32, 10)), [0; 10]);
}

fn a_file_cut_short_forgets_what_was_beyond(on: &Subject<'_>) {
    let file = on.new_file("a");
    write(&*file, &[7; 10_000], 0);
    file.set_size(5000).unwrap();
    file.set_size(10_000).unwrap();
    assert_eq!(read(&*file, span(4999, 2)), [7, 0]);
    assert_eq!(read(&*file, span(9999, 2)), [0]);
}

fn a_file_made_longer_reads_as_zeros(on: &Subject<'_>) {
    let file = on.new_file("a");
    file.set_size(1 << 40).unwrap();
    let facts = file.facts().unwrap();
    assert_eq!((facts.size, facts.used), (1 << 40, 0));
    assert_eq!(read(&*file, span((1 << 40) - 1, 5)), [0]);
}

fn a_record_is_replaced_as_a_whole(on: &Subject<'_>) {
    let file = on.new_file("a");
    assert_eq!(file.record().unwrap(), None);
    let mut record = Record { state: RecordState::Dirty, stamp: model::Stamp::default() };
    file.set_record(&record.encode()).unwrap();
    record.state = RecordState::Clean;
    file.set_record(&record.encode()).unwrap();
    let reopened = on.disk.open(&on.path("a"), Open::Existing).unwrap();
    assert_eq!(reopened.record().unwrap().unwrap(), record.encode());
    // Too long for a record: whatever comes back must not pass for one.
    file.set_record(&[1; 200]).unwrap();
    assert!(Record::decode(&file.record().unwrap().unwrap()).is_err());
}

fn data_and_holes_are_told_apart(on: &Subject<'_>) {
    let file = on.new_file("a");
    assert_eq!(file.next_data(0).unwrap(), None);
    write(&*file, &[1; 4096], 1 << 20);
    file.set_size(4 << 20).unwrap();
    // Also before anything was synced.
    for _ in 0..2 {
        assert_eq!(file.next_data(0).unwrap(), Some(1 << 20));
        assert_eq!(file.next_data((1 << 20) + 5).unwrap(), Some((1 << 20) + 5));
        assert_eq!(file.next_hole(0).unwrap(), 0);
        assert_eq!(file.next_hole(1 << 20).unwrap(), (1 << 20) + 4096);
        assert_eq!(file.next_data((1 << 20) + 4096).unwrap(), None);
        assert_eq!(file.next_data(4 << 20).unwrap(), None);
        file.sync().unwrap();
    }
    write(&*file, &[1; 100], (4 << 20) - 100);
    assert_eq!(file.next_hole((4 << 20) - 50).unwrap(), 4 << 20);
}

fn a_punched_hole_reads_as_zeros_and_gives_its_room_back(on: &Subject<'_>) {
    let file = on.new_file("a");
    write(&*file, &[7; 256 << 10], 0);
    file.sync().unwrap();
    let before = file.facts().unwrap();
    file.punch(span(100, 128 << 10)).unwrap();
    file.punch(span(200 << 10, 0)).unwrap();
    file.punch(span((256 << 10) - 10, 1 << 20)).unwrap();
    file.sync().unwrap();
    let after = file.facts().unwrap();
    assert_eq!(after.size, before.size);
    assert!(after.used <= before.used - (120 << 10), "{before:?} {after:?}");
    assert_eq!(read(&*file, span(99, 2)), [7, 0]);
    assert_eq!(read(&*file, span(99 + (128 << 10), 2)), [0, 7]);
    assert_eq!(read(&*file, span((256 << 10) - 11, 5)), [7, 0, 0, 0, 0]);
}

fn a_synced_read_needs_no_waiting(on: &Subject<'_>) {
    let file = on.new_file("a");
    write(&*file, &[3; 8192], 0);
    file.sync().unwrap();
    let mut bytes = BytesMut::new();
    // Not every file system can do it, but then it says so.
    match file.read(span(0, 8192), &mut bytes, Wait::Never) {
        Ok(count) => assert_eq!((count, &bytes[..]), (8192, &[3; 8192][..])),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
    }
}

fn an_unlinked_file_lives_until_it_is_closed(on: &Subject<'_>) {
    let file = on.new_file("a");
    write(&*file, b"still", 0);
    on.disk.unlink(&on.path("a")).unwrap();
    assert_eq!(read(&*file, span(0, 5)), b"still");
    file.sync().unwrap();
    let opened = on.disk.open(&on.path("a"), Open::Existing);
    assert_eq!(kind(opened), io::ErrorKind::NotFound);
}

fn a_renamed_file_keeps_its_bytes(on: &Subject<'_>) {
    write(&*on.new_file("a"), b"moved", 0);
    on.disk.make_dir(&on.path("d")).unwrap();
    let (from, to) = (&*on.path("a"), &*on.path("d/b"));
    on.disk.rename(Rename { from, to }).unwrap();
    let file = on.disk.open(to, Open::Existing).unwrap();
    assert_eq!(read(&*file, span(0, 5)), b"moved");
    let opened = on.disk.open(from, Open::Existing);
    assert_eq!(kind(opened), io::ErrorKind::NotFound);
}

fn a_directory_lists_what_is_in_it(on: &Subject<'_>) {
    on.disk.make_dir(&on.path("d")).unwrap();
    let again = on.disk.make_dir(&on.path("d"));
    assert_eq!(kind(again), io::ErrorKind::AlreadyExists);
    on.new_file("d/b");
    on.new_file("d/a");
    on.new_file("c");
    on.disk.sync_dir(&on.path("d")).unwrap();
    on.disk.sync_file_system(&on.root).unwrap();
    let mut names = Vec::new();
    on.disk.list(&on.path("d"), &mut |name| names.push(name.to_owned())).unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    let totals = on.disk.totals(&on.root).unwrap();
    assert!(totals.available <= totals.free && totals.free <= totals.total);
}

#[test]
fn a_power_cut_forgets_what_was_not_synced() {
    let disk = SimulatedDisk::new(1 << 30);
    let on = Subject { disk: &disk, root: PathBuf::from("/") };
    let kept = on.new_file("kept");
    write(&*kept, b"old", 0);
    kept.sync().unwrap();
    write(&*kept, b"new", 0);
    write(&*on.new_file("lost"), b"all", 0);
    disk.cut_power();
    assert_eq!(kept.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
    let kept = on.disk.open(&on.path("kept"), Open::Existing).unwrap();
    assert_eq!(read(&*kept, span(0, 3)), b"old");
    let lost = on.disk.open(&on.path("lost"), Open::Existing);
    assert_eq!(kind(lost), io::ErrorKind::NotFound);
}

#[test]
fn a_file_in_a_directory_that_was_not_synced_is_lost_with_it() {
    let disk = SimulatedDisk::new(1 << 30);
    let on = Subject { disk: &disk, root: PathBuf::from("/") };
    on.disk.make_dir(&on.path("d")).unwrap();
    on.new_file("d/a").sync().unwrap();
    disk.cut_power();
    let opened = on.disk.open(&on.path("d/a"), Open::Existing);
    assert_eq!(kind(opened), io::ErrorKind::NotFound);
}

fn a_file_that_is_forgotten_reads_as_before(subject: &Subject<'_>) {
    let missing = subject.disk.open_cold(&subject.path("none"));
    assert_eq!(missing.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    let file = subject.new_file("file");
    file.write(b"some bytes", 0).unwrap();
    let cold = subject.disk.open_cold(&subject.path("file")).unwrap();
    let whole = Span::new(0, 10).unwrap();
    let mut bytes = BytesMut::new();
    let mut looked = 0;
    subject.disk.in_background(&mut || {
        cold.forget(whole).unwrap();
        cold.forget(Span::new(3, 0).unwrap()).unwrap();
        looked += cold.read(whole, &mut bytes, Wait::AsNeeded).unwrap();
    });
    assert_eq!((looked, &bytes[..]), (10, &b"some bytes"[..]), "unsynced ones, too");
    file.sync().unwrap();
    cold.forget(whole).unwrap();
    bytes.clear();
    cold.read(whole, &mut bytes, Wait::AsNeeded).unwrap();
    assert_eq!(&bytes[..], b"some bytes");
}
