//! Incidents of files that have several copies.

use std::cell::RefCell;
use std::rc::Rc;

use model::{ApplianceId, GroupId};
use replicator::Batch;

use crate::checks::{Invariant, alike};
use crate::clients::ClientEvent;
use crate::config::{Config, Mistake};
use crate::following::ToCopy;
use crate::incidents::{COMMIT, KEY, READ, good, is_entry, only_with, scene_of, write};
use crate::process::Input;
use crate::words::{Ask, How, Message, Outcome, Reply};
use crate::world::{Event, World};

/// A fleet of three, led by the third one; the first one owns the file, of which so many have
/// copies.
pub fn scene(mistake: Mistake, replicas: u64) -> World {
    let config = |seed| Config { replicas, drops_copies: true, ..Config::scenario(seed, mistake) };
    let mut world = scene_of(config);
    let read = world.call(0, 0, READ, 1_500);
    assert!(matches!(read, Some(Outcome::Read { .. })), "it owns the file");
    world
}

/// Whether a message carries changes, or all of a file, to that appliance.
fn to_copy(message: &Message) -> Option<&ToCopy> {
    match message {
        Message::Ask(_, Ask::Copy { what, .. }) => Some(what),
        _ => None,
    }
}

fn changes(message: &Message) -> Option<&Batch> {
    match to_copy(message) {
        Some(ToCopy::Changes { batch, .. }) => Some(batch),
        _ => None,
    }
}

impl World {
    #[track_caller]
    pub fn writes(&mut self, client: usize, at: usize, how: How) {
        let wrote = self.call(client, at, write(how), 6_000);
        assert!(matches!(wrote, Some(Outcome::Wrote { .. })), "{wrote:?}");
    }

    #[track_caller]
    pub fn reads(&mut self, client: usize, at: usize) {
        let read = self.call(client, at, READ, 8_000);
        assert!(matches!(read, Some(Outcome::Read { .. })), "{read:?}");
    }

    pub fn disk_of(&mut self, at: usize, full: bool, failing: bool) {
        self.post(0, Event::Machine { to: at, input: Input::Disk { full, failing } });
        self.millis(1);
    }

    pub fn ends_alike(&mut self) {
        if let Err(what) = alike::check(self) {
            self.history.breaks(Invariant::Alike, what);
        }
    }

    #[track_caller]
    pub fn commits(&mut self, client: usize, at: usize) {
        let committed = self.call(client, at, COMMIT, 6_000);
        assert!(matches!(committed, Some(Outcome::Committed { .. })), "{committed:?}");
    }
}

#[test]
fn what_a_commit_vouches_for_survives_the_loss_of_any_one() {
    only_with(Mistake::CommitsBeforeCopies, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::Unstable);
        // The other copy is never asked to make anything durable.
        world.tap = Some(Box::new(|_, _, message| changes(message).is_some_and(|b| b.durable)));
        world.call(0, 0, COMMIT, 6_000);
        world.power_cut(1);
        world.boot(1, false);
        world.kill(0);
        world.millis(4_000);
        world.call(1, 1, READ, 1_500);
        world.tap = None;
        world.boot(0, false);
        world.reads(1, 1);
        world
    });
}

#[test]
fn a_copy_that_lost_what_it_had_said_it_has_is_made_equal_before_a_commit() {
    only_with(Mistake::TrustsRecords, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::Unstable);
        world.power_cut(1);
        world.boot(1, false);
        world.millis(2_500);
        world.commits(0, 0);
        world.ends_alike();
        world
    });
}

#[test]
fn overlapping_writes_that_reach_copies_in_both_orders_leave_them_alike() {
    only_with(Mistake::TakesChangesAsTheyCome, |mistake| {
        let mut world = scene(mistake, 3);
        world.writes(0, 0, How::FileSync);
        let held: Rc<RefCell<Option<Message>>> = Rc::default();
        let holds = Rc::clone(&held);
        // The second one's first change comes after its second.
        world.tap = Some(Box::new(move |_, to, message| {
            let first = changes(message).is_some_and(|batch| !batch.frames.is_empty());
            let holds_it = to == 1 && first && holds.borrow().is_none();
            if holds_it {
                holds.replace(Some(message.clone()));
            }
            holds_it
        }));
        world.begin_call(0, 0, write(How::Unstable));
        world.begin_call(1, 0, write(How::Unstable));
        world.millis(20);
        world.tap = None;
        let (from, message) = (ApplianceId::new(1), held.borrow_mut().take().unwrap());
        world.post(0, Event::Machine { to: 1, input: Input::Peer { from, message } });
        world.millis(2_000);
        world.commits(0, 0);
        world.ends_alike();
        world
    });
}

#[test]
fn a_take_over_with_unequal_tails_leaves_copies_that_are_alike() {
    only_with(Mistake::TakesTailsForEqual, |mistake| {
        let mut world = scene(mistake, 3);
        world.writes(0, 0, How::FileSync);
        world.tap = Some(Box::new(|_, to, message| to == 2 && to_copy(message).is_some()));
        world.begin_call(0, 0, write(How::Unstable));
        world.millis(30);
        world.kill(0);
        world.tap = None;
        world.commits(1, 1);
        world.reads(1, 1);
        world.boot(0, false);
        world.millis(4_000);
        world.kill(1);
        world.reads(1, 2);
        world.boot(1, false);
        world.millis(4_000);
        world.ends_alike();
        world
    });
}

#[test]
fn a_write_whose_owner_died_is_known_to_who_took_over() {
    only_with(Mistake::ForgetsWhoseChanges, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        world.tap = Some(Box::new(|_, _, message| {
            matches!(message, Message::Reply(_, Reply::Returned(Outcome::Wrote { .. })))
        }));
        world.begin_call(0, 2, write(How::FileSync));
        world.millis(60);
        world.kill(0);
        // Its client is away for a while, and another one goes on with the file.
        world.clients[0].home = Some(0);
        world.reads(1, 1);
        world.writes(1, 1, How::FileSync);
        world.reads(1, 1);
        world.tap = None;
        world.clients[0].home = Some(1);
        world.millis(4_000);
        assert!(matches!(world.clients[0].answers.last(), Some(Outcome::Wrote { .. })));
        world.reads(1, 1);
        world
    });
}

/// A client's WRITE is carried out wherever `reaches` lets it go, and its answer is lost; the
/// client can't reach anybody from then on.
fn unanswered(world: &mut World, reaches: impl Fn(usize) -> bool + 'static) {
    world.tap = Some(Box::new(move |_, to, message| {
        let answer = matches!(message, Message::Reply(_, Reply::Returned(Outcome::Wrote { .. })));
        answer || to_copy(message).is_some() && !reaches(to)
    }));
    world.begin_call(0, 2, write(How::FileSync));
    world.millis(60);
    world.leaves(0);
}

fn comes_back(world: &mut World, at: usize) {
    world.tap = None;
    world.clients[0].home = Some(at);
    world.client_event(0, ClientEvent::Back);
    world.millis(6_000);
    assert!(matches!(world.clients[0].answers.last(), Some(Outcome::Wrote { .. })));
}

#[test]
fn an_owner_that_starts_again_learns_which_calls_it_has_executed() {
    only_with(Mistake::ForgetsCalls, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        unanswered(&mut world, |_| true);
        // By then both know that both have it: its record is clean.
        world.millis(500);
        world.tap = None;
        world.reads(1, 1);
        world.kill(0);
        world.boot(0, false);
        world.writes(1, 1, How::FileSync);
        world.reads(1, 1);
        comes_back(&mut world, 1);
        world.reads(1, 1);
        world
    });
}

#[test]
fn a_copy_that_starts_again_is_told_which_calls_made_it() {
    only_with(Mistake::JoinsUntold, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        unanswered(&mut world, |_| true);
        world.tap = None;
        world.millis(500);
        world.reads(1, 1);
        world.kill(1);
        world.boot(1, false);
        world.millis(2_500);
        world.writes(1, 0, How::FileSync);
        world.reads(1, 0);
        world.kill(0);
        world.reads(1, 1);
        comes_back(&mut world, 1);
        world.reads(1, 1);
        world.boot(0, false);
        world.millis(4_000);
        world
    });
}

#[test]
fn a_copy_believes_no_answer_about_a_change_that_has_not_come_to_it() {
    only_with(Mistake::BelievesWhatIsToCome, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        world.millis(500);
        // The copy starts again. Its owner tells it of a call, and dies before the change comes.
        let told = Rc::new(RefCell::new(false));
        let tells = told.clone();
        world.tap = Some(Box::new(move |_, to, message| {
            *tells.borrow_mut() |= matches!(to_copy(message), Some(ToCopy::Answers { .. }));
            let answer = matches!(message, Message::Reply(_, Reply::Returned(_)));
            answer || to == 1 && changes(message).is_some_and(|batch| !batch.frames.is_empty())
        }));
        world.begin_call(0, 2, write(How::FileSync));
        world.millis(60);
        world.leaves(0);
        world.kill(1);
        world.boot(1, false);
        for _ in 0..100 {
            world.millis(if *told.borrow() { 0 } else { 10 });
        }
        assert!(*told.borrow(), "the copy joins");
        world.millis(5);
        world.kill(0);
        world.tap = None;
        world.millis(3_000);
        comes_back(&mut world, 1);
        world.reads(1, 1);
        world.boot(0, false);
        world.millis(4_000);
        world
    });
}

#[test]
fn a_call_that_is_undone_is_executed_when_it_comes_again() {
    only_with(Mistake::KeepsUndoneCalls, |mistake| {
        let mut world = scene(mistake, 3);
        world.writes(0, 0, How::FileSync);
        unanswered(&mut world, |to| to == 2);
        world.kill(0);
        // From here on the first one's copy stays stale.
        world.tap =
            Some(Box::new(|_, to, message| to == 0 && matches!(message, Message::Stream { .. })));
        // The second one owns it, never had it, and makes the third one's copy equal.
        world.commits(1, 1);
        world.boot(0, false);
        world.millis(4_000);
        world.kill(1);
        world.reads(1, 2);
        comes_back(&mut world, 2);
        world.reads(1, 2);
        world.boot(1, false);
        world.millis(4_000);
        world.ends_alike();
        world
    });
}

#[test]
fn what_a_read_has_shown_outlives_the_owner() {
    only_with(Mistake::ShowsWhatMayBeLost, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        unanswered(&mut world, |_| false);
        world.call(1, 0, READ, 300);
        world.kill(0);
        world.tap = None;
        world.reads(1, 1);
        world.boot(0, false);
        world.millis(3_000);
        world
    });
}

#[test]
fn a_stale_copy_does_not_serve_though_it_is_the_only_one_there() {
    only_with(Mistake::ServesStaleCopies, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        world.kill(1);
        world.writes(0, 0, How::FileSync);
        world.tap = Some(Box::new(|_, _, message| matches!(message, Message::Stream { .. })));
        world.boot(1, false);
        world.millis(2_500);
        world.kill(0);
        world.millis(2_500);
        let read = world.call(1, 1, READ, 2_500);
        assert_eq!(
            matches!(read, Some(Outcome::Read { .. })),
            mistake == Mistake::ServesStaleCopies
        );
        world.tap = None;
        world.boot(0, false);
        world.reads(1, 1);
        world
    });
}

#[test]
fn all_of_a_file_that_a_former_owner_sent_comes_too_late() {
    only_with(Mistake::FollowsAnybody, |mistake| {
        let mut world = scene(mistake, 3);
        world.writes(0, 0, How::Unstable);
        world.power_cut(2);
        world.boot(2, false);
        let held: Rc<RefCell<Vec<Message>>> = Rc::default();
        let holds = Rc::clone(&held);
        world.tap = Some(Box::new(move |_, to, message| {
            let Some(ToCopy::Equal(part)) = to_copy(message).filter(|_| to == 2) else {
                return false;
            };
            holds.borrow_mut().push(message.clone());
            part.last
        }));
        world.millis(4_500);
        let held = held.take();
        assert!(!held.is_empty(), "it is made equal");
        // From here on the first one's copy stays stale.
        world.tap =
            Some(Box::new(|_, to, message| to == 0 && matches!(message, Message::Stream { .. })));
        world.millis(1_500);
        world.kill(0);
        world.writes(1, 1, How::FileSync);
        world.boot(0, false);
        world.millis(2_500);
        // The third one has all that the second one has, which then is not there any more.
        world.writes(1, 1, How::FileSync);
        for message in held {
            let from = ApplianceId::new(1);
            world.post(0, Event::Machine { to: 2, input: Input::Peer { from, message } });
        }
        world.isolate(1, 8_000);
        world.reads(0, 2);
        world.tap = None;
        world.millis(6_000);
        world
    });
}

#[test]
fn a_copy_that_loses_power_while_it_is_made_equal_is_made_equal_from_the_beginning() {
    only_with(Mistake::MendsHalf, |mistake| {
        let mut world = scene(mistake, 2);
        world.writes(0, 0, How::FileSync);
        world.writes(0, 0, How::Unstable);
        world.power_cut(1);
        world.boot(1, false);
        // What it says to the first part comes when it has started again.
        let held: Rc<RefCell<Option<Message>>> = Rc::default();
        let (holds, mut asked) = (Rc::clone(&held), None);
        world.tap = Some(Box::new(move |_, _, message| {
            match message {
                Message::Ask(ask, Ask::Copy { what: ToCopy::Equal(part), .. }) if part.first => {
                    asked = asked.or(Some(*ask));
                    return false;
                }
                Message::Reply(ask, _) if asked == Some(*ask) && holds.borrow().is_none() => {}
                _ => return false,
            }
            holds.replace(Some(message.clone()));
            true
        }));
        for _ in 0..4_500 {
            world.millis(if held.borrow().is_none() { 1 } else { 0 });
        }
        world.tap = None;
        world.power_cut(1);
        world.boot(1, false);
        world.millis(300);
        let (from, message) = (ApplianceId::new(2), held.take().expect("it is made equal"));
        world.post(0, Event::Machine { to: 0, input: Input::Peer { from, message } });
        world.millis(1_000);
        world.commits(0, 0);
        world.ends_alike();
        world
    });
}

#[test]
fn a_verifier_is_new_once_another_answers_for_a_loss() {
    let mut world = scene(Mistake::Nothing, 2);
    let Some(Outcome::Wrote { verifier: before, .. }) =
        world.call(0, 0, write(How::Unstable), 1_000)
    else {
        panic!("a write");
    };
    // The new owner hears of who is down by what it acts under, and so of the loss.
    world.tap = Some(Box::new(|_, to, message| {
        to == 1 && matches!(message, Message::Raft(GroupId::FLEET, _))
    }));
    world.power_cut(0);
    let early = world.call(1, 1, COMMIT, 2_800);
    assert!(!matches!(early, Some(Outcome::Committed { verifier }) if verifier == before));
    world.tap = None;
    let Some(Outcome::Committed { verifier: after }) = world.call(1, 1, COMMIT, 6_000) else {
        panic!("a commit");
    };
    assert_ne!(before, after);
    world.boot(0, false);
    world.millis(2_000);
    good(&world);
}

#[test]
fn a_fleet_that_loses_power_as_one_has_what_was_committed() {
    for seed in 0..20 {
        let mut world = scene(Mistake::Nothing, 3);
        world.writes(0, 0, How::FileSync);
        world.writes(1, 0, How::Unstable);
        world.run_until(world.now + seed * 700);
        (0..3).for_each(|at| world.power_cut(at));
        (0..3).for_each(|at| world.boot(at, false));
        world.reads(0, 1);
        world.writes(1, 2, How::FileSync);
        world.millis(2_000);
        world.kill(0);
        world.reads(0, 1);
        world.boot(0, false);
        world.millis(4_000);
        alike::check(&world).unwrap();
        good(&world);
    }
}

#[test]
fn two_take_overs_in_a_row_lose_nothing() {
    let mut world = scene(Mistake::Nothing, 3);
    world.writes(0, 0, How::FileSync);
    world.kill(0);
    world.writes(0, 1, How::FileSync);
    world.boot(0, false);
    world.millis(300);
    world.kill(1);
    world.writes(0, 2, How::FileSync);
    world.reads(1, 2);
    world.boot(1, false);
    world.millis(6_000);
    alike::check(&world).unwrap();
    world.reads(1, 0);
    good(&world);
}

#[test]
fn a_take_over_in_the_middle_of_a_hand_over_refuses_what_was_cut_off() {
    let mut world = scene(Mistake::Nothing, 3);
    world.writes(0, 0, How::FileSync);
    let kept: Rc<RefCell<Vec<Message>>> = Rc::default();
    let keeps = Rc::clone(&kept);
    let is_promotion = |c: &catalog::Command| matches!(c, catalog::Command::Promote { .. });
    world.tap = Some(Box::new(move |from, _, message| {
        let Message::Ask(_, Ask::Propose { group, data }) = message else { return false };
        let held = from == 0 && *group != GroupId::FLEET && is_entry(data, is_promotion);
        if held {
            keeps.borrow_mut().push(message.clone());
        }
        held
    }));
    let to = ApplianceId::new(3);
    world.post(0, Event::Machine { to: 0, input: Input::Move { key: KEY, to } });
    world.millis(300);
    let message = kept.borrow_mut().pop().expect("it is proposed");
    world.kill(0);
    world.tap = None;
    world.writes(0, 1, How::FileSync);
    let from = ApplianceId::new(1);
    world.post(0, Event::Machine { to: 2, input: Input::Peer { from, message } });
    world.millis(300);
    assert_ne!(world.newest_record(KEY).unwrap().owner, to, "its view is over");
    world.reads(1, 1);
    world.boot(0, false);
    world.millis(5_000);
    alike::check(&world).unwrap();
    good(&world);
}
