//! Incidents of disks: a sync that fails, no room, bytes that rot.

use std::cell::RefCell;
use std::rc::Rc;

use model::{ApplianceId, Refusal};

use crate::checks::alike;
use crate::config::Mistake;
use crate::copies::scene;
use crate::incidents::{KEY, READ, good, only_with};
use crate::process::Input;
use crate::words::{Ask, How, Message, Outcome};
use crate::world::{Event, World};

#[test]
fn a_failed_sync_at_the_owner_makes_its_copy_stale_before_anything_is_answered() {
    only_with(Mistake::IgnoresFailedSyncs, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::Unstable);
        world.disk_of(0, false, true);
        world.commits(0, 0);
        world.disk_of(0, false, false);
        let record = world.newest_record(KEY).unwrap();
        let stale = record.stale.contains(&ApplianceId::new(1)) || record.owner.get() == 2;
        assert_eq!(stale, mistake == Mistake::Nothing, "{record:?}");
        world.power_cut(0);
        world.boot(0, false);
        world.millis(3_000);
        world.reads(1, 0);
        world.ends_alike();
        world
    });
}

#[test]
fn a_failed_sync_that_is_told_late_is_not_told_of_the_copy_that_was_made_anew() {
    let mut world = scene(Mistake::Nothing, 2);
    world.writes(0, 0, How::FileSync);
    // What the copy's appliance proposes itself does not come to the leader yet.
    let kept = Rc::new(RefCell::new(0));
    let keeps = kept.clone();
    world.tap = Some(Box::new(move |from, _, message| {
        let keep = from == 1 && matches!(message, Message::Ask(_, Ask::Propose { .. }));
        *keeps.borrow_mut() += usize::from(keep);
        keep
    }));
    world.disk_of(1, false, true);
    world.writes(0, 0, How::FileSync);
    assert!(world.history.broken > 0 && *kept.borrow() > 0, "it has something to tell");
    world.disk_of(1, false, false);
    let is_good = |world: &World| {
        let record = world.newest_record(KEY).unwrap();
        let bob = ApplianceId::new(2);
        record.replicas.contains(&bob) && !record.stale.contains(&bob)
    };
    assert!(!is_good(&world), "its owner leaves it behind");
    for _ in 0..300 {
        world.millis(if is_good(&world) { 0 } else { 20 });
    }
    assert!(is_good(&world), "and makes it anew");
    world.tap = None;
    for _ in 0..300 {
        world.millis(10);
        assert!(is_good(&world), "it stays");
    }
    world.ends_alike();
    good(&world);
}

#[test]
fn a_copy_without_room_is_left_behind_and_made_whole_later() {
    only_with(Mistake::LiesWhenFull, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        world.disk_of(1, true, false);
        world.writes(0, 0, How::FileSync);
        world.disk_of(1, false, false);
        world.millis(2_500);
        world.kill(0);
        world.reads(1, 1);
        world.boot(0, false);
        world.millis(9_000);
        world.ends_alike();
        world
    });
}

#[test]
fn what_rots_at_its_owner_is_answered_by_another_copy_and_made_anew() {
    let mut world = scene(Mistake::Nothing, 2);
    world.writes(0, 0, How::FileSync);
    world.post(0, Event::Machine { to: 0, input: Input::Rot(KEY) });
    world.millis(1);
    assert!(world.machines[0].process.as_ref().unwrap().is_rotten(KEY));
    world.reads(1, 0);
    world.millis(4_000);
    alike::check(&world).unwrap();
    assert!(!world.machines[0].process.as_ref().unwrap().is_rotten(KEY), "it is made anew");
    world.kill(1);
    world.reads(1, 0);
    good(&world);
}

#[test]
fn rot_at_the_owner_while_the_other_copy_is_behind_is_an_error_and_nothing_is_made_up() {
    only_with(Mistake::TakesRotForZeros, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        world.disk_of(1, true, false);
        world.writes(0, 0, How::FileSync);
        let file = world.machines[0].process.as_mut().unwrap().disk.files.get_mut(&KEY);
        file.unwrap().rotten = true;
        world.disk_of(1, false, false);
        for at in [0, 1] {
            let read = world.call(1, at, READ, 4_000);
            let refused = matches!(read, Some(Outcome::Refused(Refusal::Fault)));
            assert_eq!(refused, mistake == Mistake::Nothing, "{read:?}");
        }
        world
    });
}
