use model::{
    Change, CreateHow, Identity, Index, Name, Reign, RootDirectory, SetAttributes, Term, Timestamp,
    View,
};

use super::*;
use crate::catalog::Catalog;
use crate::command::{Answer, Command, Envelope, LogEntry};
use crate::memory::MemoryStore;
use crate::store::{Batch, Image, Imaging};

const ADA: ApplianceId = ApplianceId::new(1);
const BOB: ApplianceId = ApplianceId::new(2);
const CYD: ApplianceId = ApplianceId::new(3);
const FILE: ObjectId = ObjectId::new(2);

/// A volume with one file, which ADA owns.
struct World {
    catalog: Catalog<MemoryStore>,
    entries: u64,
}

impl World {
    fn new() -> Self {
        let catalog = Catalog::open(MemoryStore::default(), &[ADA, BOB, CYD]).unwrap();
        let mut world = Self { catalog, entries: 0 };
        world.enter(1, 0, Command::Reign { appliance: ADA, view: View::new(1) }).unwrap();
        let root = RootDirectory::default();
        world.enter(1, 0, Command::MakeRoot { root, now: Timestamp::default() }).unwrap();
        let how = CreateHow::Guarded(SetAttributes::default());
        let name = Name::parse(b"file").unwrap();
        let create = Change::Create { dir: ObjectId::ROOT, name, how, owner: ADA };
        let asked = create.asked(Identity::root(), None, Timestamp::default());
        world.enter(1, 0, Command::Change(asked)).unwrap();
        world
    }

    fn enter(&mut self, view: u64, epoch: u64, command: Command) -> Answer {
        self.entries += 1;
        let reign = Reign { view: View::new(view), epoch: Epoch::new(epoch) };
        let data = Envelope { reign, command }.encode();
        let index = Index::new(self.entries);
        let entry = LogEntry { index, term: Term::new(1), data: &data, membership: None };
        self.catalog.apply(&[entry]).unwrap().remove(0)
    }

    fn record(&self) -> ObjectRecord {
        self.catalog.inode(FILE).unwrap().unwrap().record().unwrap().clone()
    }

    fn removals(&self, appliance: ApplianceId) -> Vec<ObjectId> {
        self.catalog.removals(appliance, 10).unwrap()
    }
}

const ADD_BOB: Command = Command::AddReplica { object: FILE, appliance: BOB };
const TO_BOB: Command = Command::HandOver { object: FILE, to: BOB };
const KEEP: Command = Command::Keep { object: FILE };

#[test]
fn a_copy_on_its_way_is_stale_until_the_hand_over_makes_it_the_owners() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    let record = world.record();
    assert_eq!(
        (record.owner, &*record.replicas, &*record.stale),
        (ADA, &[ADA, BOB][..], &[BOB][..])
    );
    world.enter(1, 0, TO_BOB).unwrap();
    let record = world.record();
    assert_eq!((record.owner, record.epoch, &*record.stale), (BOB, Epoch::new(1), &[][..]));
    assert_eq!(&*record.replicas, &[ADA, BOB]);
}

#[test]
fn of_a_hand_over_and_its_cancelling_the_first_in_the_log_wins() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    world.enter(1, 0, KEEP).unwrap();
    assert_eq!(world.enter(1, 0, TO_BOB), Err(Refusal::Fenced));
    assert_eq!((world.record().owner, world.record().epoch), (ADA, Epoch::new(1)));

    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    world.enter(1, 0, TO_BOB).unwrap();
    assert_eq!(world.enter(1, 0, KEEP), Err(Refusal::Fenced));
    assert_eq!(world.record().owner, BOB);
}

#[test]
fn a_hand_over_from_before_a_take_over_is_refused_by_its_reign() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    world.enter(2, 0, Command::Reign { appliance: CYD, view: View::new(2) }).unwrap();
    assert_eq!(world.enter(1, 0, TO_BOB), Err(Refusal::Fenced));
    assert_eq!((world.record().owner, world.record().epoch), (ADA, Epoch::new(0)));
}

#[test]
fn an_epoch_from_the_future_ends_nothing() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    assert_eq!(world.enter(1, 7, TO_BOB), Err(Refusal::Fenced));
    assert_eq!(world.enter(1, 7, KEEP), Err(Refusal::Fenced));
}

#[test]
fn who_has_no_copy_gets_no_file() {
    let mut world = World::new();
    assert_eq!(world.enter(1, 0, TO_BOB), Err(Refusal::Invalid));
    let to_itself = Command::HandOver { object: FILE, to: ADA };
    assert_eq!(world.enter(1, 0, to_itself), Err(Refusal::Invalid));
}

#[test]
fn a_copy_that_is_given_up_is_removed_by_the_one_who_had_it_and_only_then_made_anew() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    world.enter(1, 0, TO_BOB).unwrap();
    let drop_ada = || Command::DropReplica { object: FILE, appliance: ADA };
    assert_eq!(world.enter(1, 0, drop_ada()), Err(Refusal::Fenced), "proposed by the old owner");
    world.enter(1, 1, drop_ada()).unwrap();
    assert_eq!((world.removals(ADA), world.removals(BOB)), (vec![FILE], vec![]));
    let add_ada = || Command::AddReplica { object: FILE, appliance: ADA };
    assert_eq!(world.enter(1, 1, add_ada()), Err(Refusal::Busy));
    world.enter(1, 0, Command::RemovedBy { appliance: ADA, objects: vec![FILE] }).unwrap();
    world.enter(1, 1, add_ada()).unwrap();
    assert_eq!(&*world.record().replicas, &[BOB, ADA]);
    assert_eq!(world.catalog.check().unwrap().violations, vec![]);
}

#[test]
fn the_owner_never_gives_its_own_copy_up() {
    let mut world = World::new();
    let drop_ada = Command::DropReplica { object: FILE, appliance: ADA };
    assert_eq!(world.enter(1, 0, drop_ada), Err(Refusal::Invalid));
}

#[test]
fn a_removed_file_is_removed_by_everyone_who_has_a_copy() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    let name = Name::parse(b"file").unwrap();
    let remove = Change::Remove { dir: ObjectId::ROOT, name };
    let asked = remove.asked(Identity::root(), None, Timestamp::default());
    world.enter(1, 0, Command::Change(asked)).unwrap();
    assert_eq!((world.removals(ADA), world.removals(BOB)), (vec![FILE], vec![FILE]));
    world.enter(1, 0, Command::RemovedBy { appliance: ADA, objects: vec![FILE] }).unwrap();
    assert_eq!((world.removals(ADA), world.removals(BOB)), (vec![], vec![FILE]));
}

#[test]
fn only_the_owners_own_stale_copy_is_a_fault() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    assert_eq!(world.catalog.faults(10).unwrap(), []);
    world.enter(1, 0, Command::MarkStale { object: FILE, appliance: ADA }).unwrap();
    assert_eq!(world.catalog.faults(10).unwrap(), [FILE]);
    world.enter(1, 0, Command::ClearStale { object: FILE, appliance: ADA }).unwrap();
    assert_eq!(world.catalog.faults(10).unwrap(), []);
}

#[test]
fn the_copies_of_one_appliance_are_found_piece_by_piece() {
    let mut world = World::new();
    for n in 0..5 {
        let how = CreateHow::Guarded(SetAttributes::default());
        let name = Name::parse(format!("f{n}").as_bytes()).unwrap();
        let owner = if n % 2 == 0 { BOB } else { ADA };
        let create = Change::Create { dir: ObjectId::ROOT, name, how, owner };
        let asked = create.asked(Identity::root(), None, Timestamp::default());
        world.enter(1, 0, Command::Change(asked)).unwrap();
    }
    let (mut after, mut found) = (ObjectId::ROOT, vec![]);
    loop {
        let some = world.catalog.copies_of(BOB, after, 2).unwrap();
        found.extend(some.found.into_iter().map(|(object, _)| object.get()));
        match some.next {
            Some(last) => after = last,
            None => break,
        }
    }
    assert_eq!(found, [3, 5, 7]);
}

#[test]
fn another_copy_answers_in_an_epoch_of_its_own() {
    let mut world = World::new();
    world.enter(1, 0, ADD_BOB).unwrap();
    world.enter(1, 0, TO_BOB).unwrap();
    world.enter(1, 1, Command::MarkStale { object: FILE, appliance: ADA }).unwrap();
    assert_eq!(world.record().epoch, Epoch::new(1), "ADA did not answer");
    world.enter(1, 1, Command::MarkStale { object: FILE, appliance: BOB }).unwrap();
    assert_eq!(world.record().epoch, Epoch::new(2));
    world.enter(1, 2, Command::ClearStale { object: FILE, appliance: BOB }).unwrap();
    assert_eq!(world.record().epoch, Epoch::new(3));
}

#[test]
fn the_last_good_copy_is_not_given_up() {
    let mut world = World::new();
    let give_up = |appliance| Command::GiveUp { object: FILE, appliance };
    world.enter(1, 0, ADD_BOB).unwrap();
    assert_eq!(world.enter(1, 0, give_up(ADA)), Err(Refusal::Invalid), "the other is not whole");
    world.enter(1, 0, Command::Synced { object: FILE, appliance: BOB }).unwrap();
    let before = world.record().epoch;
    world.enter(1, before.get(), give_up(ADA)).unwrap();
    assert_eq!(*world.record().stale, [ADA]);
    assert!(world.record().epoch > before, "who answered before does no more");
    let now = world.record().epoch.get();
    assert_eq!(world.enter(1, now, give_up(BOB)), Err(Refusal::Invalid));
    assert_eq!(world.enter(1, now, give_up(CYD)), Err(Refusal::Invalid), "it has none");
}

#[test]
fn a_file_stays_pinned_until_it_is_freed_or_gone() {
    let mut world = World::new();
    let pin = |to| Command::Pin { object: FILE, to };
    let reopened = |world: &World| {
        let (store, mut batch) = (MemoryStore::default(), Batch::default());
        let records = world.catalog.store().image().unwrap().next(usize::MAX).unwrap();
        records.into_iter().for_each(|(key, value)| batch.put(key, value));
        store.apply(batch).unwrap();
        Catalog::open(store, &[ADA]).unwrap().pin(FILE)
    };
    world.enter(1, 0, pin(Some(BOB))).unwrap();
    assert_eq!((world.catalog.pin(FILE), reopened(&world)), (Some(BOB), Some(BOB)));
    world.enter(1, 0, pin(Some(CYD))).unwrap();
    assert_eq!((world.catalog.pin(FILE), reopened(&world)), (Some(CYD), Some(CYD)));
    world.enter(1, 0, pin(None)).unwrap();
    assert_eq!((world.catalog.pin(FILE), reopened(&world)), (None, None));

    world.enter(1, 0, pin(Some(BOB))).unwrap();
    assert_eq!(world.catalog.pins().len(), 1);
    let name = Name::parse(b"file").unwrap();
    let remove = Change::Remove { dir: ObjectId::ROOT, name };
    let asked = remove.asked(Identity::root(), None, Timestamp::default());
    world.enter(1, 0, Command::Change(asked)).unwrap();
    assert_eq!((world.catalog.pin(FILE), reopened(&world)), (None, None));
    assert_eq!(world.enter(1, 0, pin(Some(BOB))), Err(Refusal::Stale), "there is no such file");
    let root = Command::Pin { object: ObjectId::ROOT, to: Some(BOB) };
    assert_eq!(world.enter(1, 0, root), Err(Refusal::Invalid), "no file");
}
