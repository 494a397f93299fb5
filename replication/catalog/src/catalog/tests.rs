use model::{
    Change, ClientAddress, CreateHow, Identity, Reign, RootDirectory, SetAttributes, Timestamp,
};

use model::Mark;

use super::*;
use crate::command::{Command, Envelope};
use crate::memory::MemoryStore;

const ADA: ApplianceId = ApplianceId::new(1);

/// A catalog and the log that leads to it.
struct World {
    catalog: Catalog<MemoryStore>,
    log: Vec<Vec<u8>>,
    clock: u64,
}

impl World {
    fn new() -> Self {
        let catalog = Catalog::open(MemoryStore::default(), &[ADA]).unwrap();
        let mut world = Self { catalog, log: vec![], clock: 1_000 };
        world.enter(Command::Reign { appliance: ADA, view: View::new(1) }).unwrap();
        let now = world.now();
        world.enter(Command::MakeRoot { root: RootDirectory::default(), now }).unwrap();
        world
    }

    fn now(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp::from_nanos(self.clock)
    }

    fn enter(&mut self, command: Command) -> Answer {
        let reign = Reign { view: View::new(1), ..Reign::default() };
        self.enter_as(reign, command)
    }

    fn enter_as(&mut self, reign: Reign, command: Command) -> Answer {
        self.log.push(Envelope { reign, command }.encode());
        let index = Index::new(self.log.len() as u64);
        let data = self.log.last().unwrap();
        let entry = LogEntry { index, term: Term::new(1), data, membership: None };
        self.catalog.apply(&[entry]).unwrap().remove(0)
    }

    fn change_as(&mut self, who: Identity, change: Change) -> Result<Changed, Refusal> {
        let now = self.now();
        let answer = self.enter(Command::Change(change.asked(who, None, now)));
        answer.map(|changed| *changed.unwrap())
    }

    fn change(&mut self, change: Change) -> Result<Changed, Refusal> {
        self.change_as(Identity::root(), change)
    }

    fn create(&mut self, dir: ObjectId, text: &str) -> ObjectId {
        self.change(create(dir, text)).unwrap().object
    }

    fn mkdir(&mut self, dir: ObjectId, text: &str) -> ObjectId {
        let set = SetAttributes { mode: Some(0o755), ..SetAttributes::default() };
        self.change(Change::MakeDirectory { dir, name: name(text), set }).unwrap().object
    }

    fn find(&self, dir: ObjectId, text: &str) -> Option<ObjectId> {
        self.catalog.look_up(dir, &name(text)).unwrap().unwrap().target.map(|(object, _)| object)
    }

    fn links(&self, object: ObjectId) -> u32 {
        self.catalog.inode(object).unwrap().unwrap().links
    }

    fn clean(&self) {
        let report = self.catalog.check().unwrap();
        assert_eq!(report.violations, vec![]);
    }
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn create(dir: ObjectId, text: &str) -> Change {
    let set = SetAttributes { mode: Some(0o644), ..SetAttributes::default() };
    Change::Create { dir, name: name(text), how: CreateHow::Guarded(set), owner: ADA }
}

fn rename(from_dir: ObjectId, from: &str, to_dir: ObjectId, to: &str) -> Change {
    Change::Rename { from_dir, from: name(from), to_dir, to: name(to) }
}

fn user(uid: u32) -> Identity {
    Identity { uid, gid: uid, gids: Box::new([]) }
}

const ROOT: ObjectId = ObjectId::ROOT;

#[test]
fn a_name_leads_to_what_it_was_given_until_it_is_taken() {
    let mut world = World::new();
    let file = world.create(ROOT, "a");
    assert_eq!(world.find(ROOT, "a"), Some(file));
    let gone = world.change(Change::Remove { dir: ROOT, name: name("a") }).unwrap();
    assert_eq!(gone.removed, Some(file));
    assert_eq!(world.find(ROOT, "a"), None);
    assert_eq!(world.catalog.removals(ADA, 10).unwrap(), [file]);
    world.enter(Command::RemovedBy { appliance: ADA, objects: vec![file] }).unwrap();
    assert!(world.catalog.removals(ADA, 10).unwrap().is_empty());
    world.clean();
}

#[test]
fn the_same_log_gives_the_same_catalog_whether_applied_one_by_one_or_at_once() {
    let mut world = World::new();
    let dir = world.mkdir(ROOT, "d");
    for n in 0..20 {
        world.create(dir, &format!("f{n}"));
    }
    world.change(rename(dir, "f3", ROOT, "f3")).unwrap();
    world.change(rename(dir, "f4", dir, "f5")).unwrap();
    let _ = world.change(rename(dir, "missing", dir, "x"));
    let entries: Vec<LogEntry<'_>> = world
        .log
        .iter()
        .enumerate()
        .map(|(at, data)| LogEntry {
            index: Index::new(at as u64 + 1),
            term: Term::new(1),
            data,
            membership: None,
        })
        .collect();
    let other = Catalog::open(MemoryStore::default(), &[ADA]).unwrap();
    other.apply(&entries).unwrap();
    assert_eq!(everything(&other), everything(&world.catalog));
    world.clean();
}

fn everything(catalog: &Catalog<MemoryStore>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = vec![];
    let mut visit = |key: &[u8], value: &[u8]| {
        all.push((key.to_vec(), value.to_vec()));
        Scan::Continue
    };
    catalog.store().scan(&[], &[255], &mut visit).unwrap();
    all
}

#[test]
fn a_refused_entry_leaves_no_trace_but_its_index() {
    let mut world = World::new();
    let dir = world.mkdir(ROOT, "d");
    world.create(dir, "f");
    let before = everything(&world.catalog);
    let refused = [
        Change::RemoveDirectory { dir: ROOT, name: name("d") },
        Change::Remove { dir: ROOT, name: name("d") },
        rename(ROOT, "d", dir, "below"),
        create(dir, "f"),
        Change::Link { object: dir, dir: ROOT, name: name("l") },
    ];
    for change in refused {
        assert!(world.change(change).is_err());
    }
    let keep = |all: Vec<(Vec<u8>, Vec<u8>)>| -> Vec<_> {
        all.into_iter().filter(|(key, _)| key != keys::STATE).collect()
    };
    assert_eq!(keep(everything(&world.catalog)), keep(before));
}

#[test]
fn a_directory_is_never_moved_below_itself() {
    let mut world = World::new();
    let a = world.mkdir(ROOT, "a");
    let b = world.mkdir(a, "b");
    assert_eq!(world.change(rename(ROOT, "a", b, "x")), Err(Refusal::Invalid));
    assert_eq!(world.change(rename(ROOT, "a", a, "x")), Err(Refusal::Invalid));
    world.clean();
}

#[test]
fn renaming_keeps_link_counts_of_directories_right() {
    let mut world = World::new();
    let (a, b) = (world.mkdir(ROOT, "a"), world.mkdir(ROOT, "b"));
    let moved = world.mkdir(a, "m");
    world.mkdir(b, "m");
    world.change(rename(a, "m", b, "m")).unwrap();
    assert_eq!((world.links(a), world.links(b), world.links(ROOT)), (2, 3, 4));
    assert_eq!(world.find(b, "m"), Some(moved));
    world.clean();
}

#[test]
fn renaming_over_kinds_is_refused_as_posix_says() {
    let mut world = World::new();
    let full = world.mkdir(ROOT, "full");
    world.create(full, "f");
    world.mkdir(ROOT, "dir");
    world.create(ROOT, "file");
    assert_eq!(world.change(rename(ROOT, "dir", ROOT, "full")), Err(Refusal::NotEmpty));
    assert_eq!(world.change(rename(ROOT, "file", ROOT, "dir")), Err(Refusal::IsDirectory));
    assert_eq!(world.change(rename(ROOT, "dir", ROOT, "file")), Err(Refusal::NotDirectory));
    assert_eq!(world.change(rename(ROOT, "none", ROOT, "x")), Err(Refusal::NotFound));
}

#[test]
fn renaming_a_name_to_another_link_of_the_same_object_keeps_both() {
    let mut world = World::new();
    let object = world.create(ROOT, "a");
    world.change(Change::Link { object, dir: ROOT, name: name("b") }).unwrap();
    world.change(rename(ROOT, "a", ROOT, "b")).unwrap();
    assert_eq!((world.find(ROOT, "a"), world.find(ROOT, "b")), (Some(object), Some(object)));
    assert_eq!(world.links(object), 2);
}

#[test]
fn the_sticky_bit_keeps_strangers_from_taking_names() {
    let mut world = World::new();
    let set = SetAttributes { mode: Some(0o1777), ..SetAttributes::default() };
    let tmp =
        world.change(Change::MakeDirectory { dir: ROOT, name: name("tmp"), set }).unwrap().object;
    world.change_as(user(5), create(tmp, "mine")).unwrap();
    let take = Change::Remove { dir: tmp, name: name("mine") };
    assert_eq!(world.change_as(user(6), take.clone()), Err(Refusal::NotPermitted));
    assert_eq!(world.change_as(user(6), rename(tmp, "mine", tmp, "x")), Err(Refusal::NotPermitted));
    world.change_as(user(5), take).unwrap();
}

#[test]
fn a_listing_of_one_entry_at_a_time_ends_with_the_last() {
    let mut world = World::new();
    for files in [0, 1] {
        let mut listed = vec![];
        let mut after = Cookie::START;
        loop {
            let page = world.catalog.list(ROOT, after, 1, false).unwrap().unwrap();
            listed.extend(page.names.iter().map(|entry| entry.name.clone()));
            after = page.names.last().unwrap().cookie;
            if page.end {
                break;
            }
        }
        assert_eq!(listed.len(), 2 + files, "{listed:?}");
        world.create(ROOT, &format!("file {files}"));
    }
}

#[test]
fn a_listing_goes_on_where_it_was_whatever_happened_meanwhile() {
    let mut world = World::new();
    for n in 0..10 {
        world.create(ROOT, &format!("f{n}"));
    }
    let first = world.catalog.list(ROOT, Cookie::START, 5, false).unwrap().unwrap();
    let texts: Vec<_> = first.names.iter().map(|n| n.name.clone()).collect();
    assert_eq!(texts, [&b"."[..], b"..", b"f0", b"f1", b"f2"]);
    for gone in ["f1", "f2", "f3", "f7"] {
        world.change(Change::Remove { dir: ROOT, name: name(gone) }).unwrap();
    }
    world.create(ROOT, "late");
    let rest = world.catalog.list(ROOT, first.names[4].cookie, 100, true).unwrap().unwrap();
    let texts: Vec<_> = rest.names.iter().map(|n| n.name.clone()).collect();
    assert_eq!(texts, [&b"f4"[..], b"f5", b"f6", b"f8", b"f9", b"late"]);
    assert!(rest.end && rest.names.iter().all(|n| n.inode.is_some()));
}

#[test]
fn an_exclusive_create_sent_again_finds_its_file_and_another_one_is_refused() {
    let mut world = World::new();
    let ask = |verifier| Change::Create {
        dir: ROOT,
        name: name("x"),
        how: CreateHow::Exclusive(verifier),
        owner: ADA,
    };
    let made = world.change(ask([1; 8])).unwrap();
    let again = world.change(ask([1; 8])).unwrap();
    assert_eq!((again.object, again.created), (made.object, false));
    assert_eq!(world.change(ask([2; 8])), Err(Refusal::Exists));
}

#[test]
fn a_call_that_was_answered_gets_the_same_answer_again_even_in_the_same_batch() {
    let mut world = World::new();
    world.create(ROOT, "a");
    let key = RequestKey { client: ClientAddress::from_bytes([3; 16]), digest: 77 };
    let now = world.now();
    let remove = Change::Remove { dir: ROOT, name: name("a") };
    let asked = remove.asked(Identity::root(), Some(key), now);
    let reign = Reign { view: View::new(1), ..Reign::default() };
    let data = Envelope { reign, command: Command::Change(asked) }.encode();
    let next = world.log.len() as u64 + 1;
    let entry = |index| LogEntry {
        index: Index::new(index),
        term: Term::new(1),
        data: &data,
        membership: None,
    };
    let answers = world.catalog.apply(&[entry(next), entry(next + 1)]).unwrap();
    assert!(answers[0].is_ok());
    assert_eq!(answers[0], answers[1]);
    let later = world.catalog.apply(&[entry(next + 2)]).unwrap();
    assert_eq!(later[0], answers[0]);
    assert_eq!(world.catalog.replayed(&key).unwrap(), Some(answers[0].clone()));
}

#[test]
fn a_catalog_that_changes_meanwhile_checks_clean() {
    let mut world = World::new();
    for number in 0..300 {
        world.create(ObjectId::ROOT, &format!("f{number}"));
    }
    let World { catalog, mut log, mut clock } = world;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let set = SetAttributes { mode: Some(0o755), ..SetAttributes::default() };
            let make = Change::MakeDirectory { dir: ObjectId::ROOT, name: name("d"), set };
            let remove = Change::RemoveDirectory { dir: ObjectId::ROOT, name: name("d") };
            for change in [make, remove].iter().cycle() {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                clock += 1;
                let now = Timestamp::from_nanos(clock);
                let command = Command::Change(change.clone().asked(Identity::root(), None, now));
                let reign = Reign { view: View::new(1), ..Reign::default() };
                log.push(Envelope { reign, command }.encode());
                let (index, data) = (Index::new(log.len() as u64), log.last().unwrap());
                let entry = LogEntry { index, term: Term::new(1), data, membership: None };
                assert!(catalog.apply(&[entry]).unwrap().remove(0).is_ok());
            }
        });
        let reports: Vec<_> = (0..300).map(|_| catalog.check().unwrap()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reports.iter().all(|report| report.violations.is_empty()));
        assert!(reports.iter().any(|report| report.objects != reports[0].objects));
    });
}

#[test]
fn the_replay_cache_survives_a_restart() {
    let mut world = World::new();
    world.create(ROOT, "a");
    let key = RequestKey { client: ClientAddress::from_bytes([3; 16]), digest: 78 };
    let now = world.now();
    let remove = Change::Remove { dir: ROOT, name: name("a") };
    let answer = world.enter(Command::Change(remove.asked(Identity::root(), Some(key), now)));
    let reopened = Catalog::open(world.catalog.records.store, &[ADA]).unwrap();
    assert_eq!(reopened.replayed(&key).unwrap(), Some(answer));
}

#[test]
fn an_entry_of_an_older_view_is_refused_after_a_newer_reign() {
    let mut world = World::new();
    world.enter(Command::Reign { appliance: ADA, view: View::new(2) }).unwrap();
    assert_eq!(world.change(create(ROOT, "late")), Err(Refusal::Fenced));
    assert_eq!(world.find(ROOT, "late"), None);
}

#[test]
fn a_guard_that_does_not_match_fails_closed() {
    let mut world = World::new();
    let object = world.create(ROOT, "a");
    let ctime = world.catalog.inode(object).unwrap().unwrap().times.ctime;
    let set = |guard| Change::SetAttributes {
        object,
        set: SetAttributes { mode: Some(0o600), ..SetAttributes::default() },
        guard: Some(guard),
        expected_change: None,
        mark: Mark::default(),
        ctime_floor: Timestamp::default(),
    };
    assert_eq!(world.change(set(Timestamp::from_nanos(1))), Err(Refusal::NotSync));
    let changed = world.change(set(ctime)).unwrap().inode.unwrap();
    assert!(changed.times.ctime > ctime);
}

#[test]
fn a_stale_copy_is_listed_as_a_fault_until_it_is_cleared() {
    let mut world = World::new();
    let object = world.create(ROOT, "a");
    world.enter(Command::MarkStale { object, appliance: ADA }).unwrap();
    assert_eq!(world.catalog.faults(10).unwrap(), [object]);
    world.enter(Command::ClearStale { object, appliance: ADA }).unwrap();
    assert!(world.catalog.faults(10).unwrap().is_empty());
    let nobody = Command::MarkStale { object, appliance: ApplianceId::new(99) };
    assert_eq!(world.enter(nobody), Err(Refusal::Invalid));
}

#[test]
fn the_check_notices_each_kind_of_damage() {
    let damage: [fn(&World, &mut crate::store::Batch); 3] = [
        |world, batch| batch.delete(keys::inode(world.find(ROOT, "a").unwrap())),
        |_, batch| batch.delete(keys::name(ROOT, &name("a"))),
        |_, batch| batch.delete(keys::cookie(ROOT, Cookie::FIRST_NAME)),
    ];
    for hurt in damage {
        let mut world = World::new();
        world.create(ROOT, "a");
        world.clean();
        let mut batch = crate::store::Batch::default();
        hurt(&world, &mut batch);
        world.catalog.store().apply(batch).unwrap();
        assert_ne!(world.catalog.check().unwrap().violations, vec![]);
    }
}
