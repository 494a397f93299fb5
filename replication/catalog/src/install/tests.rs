use model::{
    ApplianceId, Change, CreateHow, Identity, Membership, Name, ObjectId, Reign, RootDirectory,
    SetAttributes, Term, Timestamp, View,
};

use super::*;
use crate::catalog::Catalog;
use crate::command::{Command, Envelope, LogEntry};
use crate::memory::MemoryStore;
use crate::store::Image;

const ADA: ApplianceId = ApplianceId::new(1);
const BOB: ApplianceId = ApplianceId::new(2);

fn entry(index: u64, data: &[u8]) -> LogEntry<'_> {
    LogEntry { index: Index::new(index), term: Term::new(1), data, membership: None }
}

/// A catalog with some files, in the middle of a change of its membership.
fn filled(files: u64) -> Catalog<MemoryStore> {
    let catalog = Catalog::open(MemoryStore::default(), &[ADA]).unwrap();
    let reign = Reign { view: View::new(1), ..Reign::default() };
    let encode = |command| Envelope { reign, command }.encode();
    let now = Timestamp::from_nanos(1);
    let root = encode(Command::MakeRoot { root: RootDirectory::default(), now });
    catalog.apply(&[entry(1, &root)]).unwrap();
    for n in 0..files {
        let how = CreateHow::Guarded(SetAttributes::default());
        let name = Name::parse(format!("f{n}").as_bytes()).unwrap();
        let create = Change::Create { dir: ObjectId::ROOT, name, how, owner: ADA };
        let data = encode(Command::Change(create.asked(Identity::root(), None, now)));
        catalog.apply(&[entry(2 + n, &data)]).unwrap();
    }
    let membership = Membership {
        voters: vec![ADA, BOB],
        outgoing: vec![ADA],
        auto_leave: true,
        ..Membership::default()
    };
    let joint = LogEntry { membership: Some(&membership), ..entry(2 + files, &[]) };
    catalog.apply(&[joint]).unwrap();
    catalog
}

fn install(from: &Catalog<MemoryStore>) -> MemoryStore {
    let (_, mut image) = from.image().unwrap();
    let target = MemoryStore::default();
    let mut installing = Installing::new(target);
    loop {
        let piece = image.next(300).unwrap();
        if piece.is_empty() {
            break;
        }
        installing.take(piece).unwrap();
    }
    installing.finish_into().unwrap().0
}

#[test]
fn an_installed_image_is_the_catalog_it_was_taken_of_and_says_so_until_the_log_is_reset() {
    let from = filled(50);
    let store = install(&from);
    store.power_cut();
    let installed = Catalog::open(store, &[]).unwrap();
    let (theirs, ours) = (from.applied(), installed.applied());
    assert!(ours.installed && !theirs.installed);
    assert_eq!(
        (ours.index, ours.term, ours.membership),
        (theirs.index, theirs.term, theirs.membership)
    );
    assert_eq!(installed.objects(), from.objects());
    assert_eq!(installed.check().unwrap(), from.check().unwrap());
    installed.confirm_installed().unwrap();
    assert!(!installed.applied().installed);
}

#[test]
fn what_is_applied_after_an_image_was_taken_is_not_in_it() {
    let from = filled(3);
    let (applied, mut image) = from.image().unwrap();
    from.apply(&[entry(applied.index.get() + 1, &[])]).unwrap();
    let mut installing = Installing::new(MemoryStore::default());
    installing.take(image.next(usize::MAX).unwrap()).unwrap();
    assert_eq!(installing.finish().unwrap(), applied.index);
}

#[test]
fn half_an_image_is_no_catalog() {
    let (_, mut image) = filled(50).image().unwrap();
    let mut installing = Installing::new(MemoryStore::default());
    installing.take(image.next(300).unwrap()).unwrap();
    assert!(matches!(installing.finish(), Err(InstallFault::Incomplete(_))));
}

#[test]
fn a_power_cut_before_the_end_leaves_an_empty_catalog() {
    let (_, mut image) = filled(50).image().unwrap();
    let mut installing = Installing::new(MemoryStore::default());
    installing.take(image.next(usize::MAX).unwrap()).unwrap();
    installing.store.power_cut();
    let catalog = Catalog::open(installing.store, &[ADA]).unwrap();
    assert_eq!((catalog.objects(), catalog.applied().index), (0, Index::default()));
}
