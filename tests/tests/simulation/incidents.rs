//! Incidents: fixed stories, each with its claim for a name. Where a mistake of the appliance would
//! break the claim, the same story with that mistake must be found out.

use std::cell::RefCell;
use std::rc::Rc;

use model::{ApplianceId, Change, Cookie, GroupId, ObjectId, VolumeId};
use replicator::Message as Word;

use crate::checks::Invariant;
use crate::checks::tree::name;
use crate::clients::{ClientEvent, create};
use crate::config::{Config, Mistake};
use crate::process::Input;
use crate::words::{Ask, Call, How, Key, Message, Outcome, Piece, Reply};
use crate::world::{Event, World};

const VOLUME: VolumeId = VolumeId::new(1);
/// `f0`, which the first appliance owns.
const FILE: ObjectId = ObjectId::new(3);
/// `f1`, which the second one owns.
const OTHER: ObjectId = ObjectId::new(4);
pub const KEY: Key = (VOLUME, FILE);

fn scene(mistake: Mistake) -> World {
    scene_of(|seed| Config::scenario(seed, mistake))
}

/// A fleet of three that is up, led by the third one in all groups.
pub fn scene_of(config: impl Fn(u64) -> Config) -> World {
    for seed in 1..200 {
        let mut world = World::new(config(seed));
        world.calm = true;
        world.clients.iter_mut().for_each(|client| client.idle = true);
        world.millis(1_500);
        let third = world.machines[2].process.as_ref().unwrap();
        if third.fleet_raft.leads() && third.volumes[&VOLUME].raft.leads() {
            return world;
        }
    }
    panic!("the third appliance never leads");
}

impl World {
    /// A client calls one appliance; what it gets within a time, if anything.
    pub fn call(&mut self, client: usize, at: usize, call: Call, millis: u64) -> Option<Outcome> {
        self.begin_call(client, at, call);
        let before = self.clients[client].answers.len();
        let end = self.now + millis * 1000;
        while self.now < end && self.clients[client].answers.len() == before {
            self.millis(2);
        }
        self.clients[client].answers.get(before).cloned()
    }

    pub fn begin_call(&mut self, client: usize, at: usize, call: Call) {
        self.clients[client].home = Some(at);
        self.clients[client].op = None;
        self.client_event(client, ClientEvent::Hangup);
        self.begin(client, VOLUME, call);
    }

    fn hand_over(&mut self, from: usize, to: u64) {
        // Only who has entered its Reign owns anything.
        assert!(self.call(1, from, READ, 1_500).is_some());
        let to = ApplianceId::new(to);
        self.post(0, Event::Machine { to: from, input: Input::Move { key: KEY, to } });
        self.millis(400);
        let owner = self.machines[2].process.as_ref().unwrap().record(KEY).unwrap().owner;
        assert_eq!(owner, to, "it is handed over");
    }

    pub fn isolate(&mut self, at: usize, millis: u64) {
        for other in (0..3).filter(|other| *other != at) {
            self.cut(at, other, millis * 1000);
            self.cut(other, at, millis * 1000);
        }
    }
}

pub fn write(how: How) -> Call {
    Call::Write { object: FILE, cell: 0, cells: 1, value: 0, how }
}

pub const READ: Call = Call::Read { object: FILE };
pub const COMMIT: Call = Call::Commit { object: FILE };

pub fn good(world: &World) {
    world.verdict().unwrap_or_else(|what| panic!("{what}"));
}

/// The story is good as it is, and is found out with the mistake.
pub fn only_with(mistake: Mistake, story: impl Fn(Mistake) -> World) {
    good(&story(Mistake::Nothing));
    assert!(story(mistake).verdict().is_err(), "{mistake:?} is found out");
}

#[test]
fn an_isolated_owner_answers_nothing_once_another_has_taken_over() {
    only_with(Mistake::ActsWithoutLease, |mistake| {
        let mut world = scene(mistake);
        world.hand_over(0, 2);
        assert!(world.call(1, 1, READ, 1_500).is_some(), "it owns the file");
        world.isolate(1, 6_000);
        world.millis(2_500);
        assert!(matches!(
            world.call(0, 0, write(How::FileSync), 2_000),
            Some(Outcome::Wrote { .. })
        ));
        let read = world.call(1, 1, READ, 500);
        assert_eq!(read.is_some(), mistake != Mistake::Nothing);
        world
    });
}

#[test]
fn a_clock_may_drift_as_far_as_the_margin_and_beyond_it_is_found_out() {
    let story = |rate: i64| {
        let mut world = scene(Mistake::Nothing);
        world.hand_over(0, 2);
        assert!(world.call(1, 1, READ, 1_500).is_some(), "it owns the file");
        world.drift(1, rate);
        world.isolate(1, 6_000);
        world.begin_call(0, 0, write(How::FileSync));
        for _ in 0..60 {
            world.call(1, 1, READ, 40);
            world.millis(10);
        }
        world.millis(4_000);
        world
    };
    let within = story(-9_000);
    assert!(matches!(within.clients[0].answers.last(), Some(Outcome::Wrote { .. })));
    good(&within);
    let verdict = story(-250_000).verdict();
    assert!(matches!(verdict, Err(found) if found.of == Invariant::Leases));
}

#[test]
fn a_call_that_comes_again_over_its_connection_is_begun_once() {
    only_with(Mistake::BeginsDoubles, |mistake| {
        let mut world = scene(mistake);
        assert!(world.call(1, 0, READ, 1_500).is_some(), "it owns the file");
        // The first time it is sent on it gets lost, and is waited for.
        world.tap =
            Some(Box::new(|_, _, message| matches!(message, Message::Ask(_, Ask::Forward { .. }))));
        world.begin_call(0, 1, write(How::FileSync));
        world.millis(20);
        world.tap = None;
        let (op, attempt) = (world.clients[0].op.unwrap(), world.clients[0].attempt);
        world.client_event(0, ClientEvent::Again { op, attempt });
        world.millis(200);
        world.kill(0);
        world.boot(0, false);
        world.millis(3_000);
        assert!(matches!(world.clients[0].answers.last(), Some(Outcome::Wrote { .. })));
        world
    });
}

#[test]
fn a_paused_appliance_that_wakes_after_its_lease_answers_nothing_of_before() {
    let mut world = scene(Mistake::Nothing);
    world.hand_over(0, 2);
    world.pause(1, 3_000_000);
    world.begin_call(1, 1, READ);
    world.millis(2_400);
    assert!(matches!(world.call(0, 0, write(How::FileSync), 1_500), Some(Outcome::Wrote { .. })));
    world.millis(4_000);
    assert!(matches!(world.clients[1].answers.last(), Some(Outcome::Read { .. })));
    good(&world);
}

#[test]
fn an_appliance_returns_while_its_stand_in_still_has_an_older_view() {
    only_with(Mistake::TrustsStandIns, |mistake| {
        let mut world = scene(mistake);
        world.hand_over(0, 2);
        world.kill(1);
        world.millis(2_300);
        assert!(matches!(world.call(0, 0, READ, 500), Some(Outcome::Read { .. })), "it stands in");
        world.cut(1, 0, 1_300_000);
        world.cut(2, 0, 1_300_000);
        world.boot(1, false);
        world.begin_call(1, 1, write(How::FileSync));
        for _ in 0..24 {
            world.call(0, 0, READ, 40);
            world.millis(40);
        }
        world.millis(4_000);
        world
    });
}

#[test]
fn a_file_moves_to_an_appliance_that_has_not_heard_of_a_loss_of_its_data() {
    only_with(Mistake::ForgetsWhatItHeard, |mistake| {
        let mut world = scene(mistake);
        // It has a Reign of its own, for another file.
        assert!(world.call(1, 1, Call::Read { object: OTHER }, 1_500).is_some());
        world.tap = Some(Box::new(|_, to, message| {
            to == 1 && matches!(message, Message::Raft(GroupId::FLEET, _))
        }));
        for _ in 0..4 {
            world.call(0, 0, write(How::Unstable), 500);
        }
        world.power_cut(0);
        world.boot(0, false);
        assert!(world.call(0, 0, READ, 1_500).is_some(), "it is back");
        let to = ApplianceId::new(2);
        world.post(0, Event::Machine { to: 0, input: Input::Move { key: KEY, to } });
        // A COMMIT would enter something first, and be fenced by the newer Reign.
        world.call(1, 1, READ, 900);
        world.tap = None;
        world.millis(3_000);
        world
    });
}

#[test]
fn a_write_whose_reply_was_lost_is_known_where_the_file_has_moved_to() {
    only_with(Mistake::KeepsAnswers, |mistake| {
        let mut world = scene(mistake);
        let dropped = RefCell::new(false);
        world.tap = Some(Box::new(move |_, _, message| {
            let reply =
                matches!(message, Message::Reply(_, Reply::Returned(Outcome::Wrote { .. })));
            reply && !dropped.replace(true)
        }));
        world.begin_call(0, 2, write(How::FileSync));
        world.millis(60);
        world.hand_over(0, 2);
        assert!(matches!(world.call(1, 1, write(How::FileSync), 400), Some(Outcome::Wrote { .. })));
        world.millis(3_000);
        assert!(matches!(world.clients[0].answers.last(), Some(Outcome::Wrote { .. })));
        world
    });
}

#[test]
fn what_comes_late_on_a_channel_that_was_given_up_undoes_nothing() {
    only_with(Mistake::HearsOldChannels, |mistake| {
        let mut world = scene(mistake);
        assert!(world.call(0, 0, write(How::FileSync), 500).is_some());
        let kept: Rc<RefCell<Vec<Message>>> = Rc::default();
        let finished = Rc::new(RefCell::new(false));
        let (keeps, ended) = (Rc::clone(&kept), Rc::clone(&finished));
        // The first channel's words hang in the air until the target has everything by another.
        world.tap = Some(Box::new(move |_, to, message| {
            if let Message::Stream { piece: Piece::Up(Word::Finished { .. }), .. } = message {
                ended.replace(true);
            }
            let mut first = keeps.borrow_mut();
            let held = to == 1 && matches!(message, Message::Stream { .. }) && first.len() < 2;
            if held {
                first.push(message.clone());
            }
            held
        }));
        let to = ApplianceId::new(2);
        world.post(0, Event::Machine { to: 0, input: Input::Move { key: KEY, to } });
        while kept.borrow().len() < 2 {
            world.millis(1);
        }
        // What those words say of its size is not so any more.
        let longer = Call::Write { object: FILE, cell: 2, cells: 1, value: 0, how: How::FileSync };
        assert!(world.call(0, 0, longer, 500).is_some());
        for _ in 0..1_000 {
            if *finished.borrow() {
                break;
            }
            world.millis(1);
        }
        world.tap = None;
        let from = ApplianceId::new(1);
        for message in kept.borrow_mut().drain(..) {
            world.post(0, Event::Machine { to: 1, input: Input::Peer { from, message } });
        }
        world.millis(400);
        let owner = world.machines[2].process.as_ref().unwrap().record(KEY).unwrap().owner;
        assert_eq!(owner, to, "it is handed over");
        assert!(world.call(1, 1, READ, 1_500).is_some());
        world
    });
}

#[test]
fn a_late_duplicate_of_a_write_after_a_newer_one_changes_nothing_though_its_owner_restarted() {
    only_with(Mistake::IgnoresViews, |mistake| {
        let mut world = scene(mistake);
        let kept: Rc<RefCell<Option<Message>>> = Rc::default();
        let keeps = Rc::clone(&kept);
        world.tap = Some(Box::new(move |_, to, message| {
            if to == 0 && matches!(message, Message::Ask(_, Ask::Forward { .. })) {
                keeps.borrow_mut().get_or_insert_with(|| message.clone());
            }
            false
        }));
        assert!(world.call(0, 2, write(How::FileSync), 500).is_some());
        assert!(world.call(1, 0, write(How::FileSync), 500).is_some());
        world.kill(0);
        world.boot(0, false);
        world.millis(2_500);
        assert!(world.call(1, 0, READ, 2_000).is_some(), "it is back");
        let late = kept.borrow_mut().take().unwrap();
        let from = ApplianceId::new(3);
        world.post(0, Event::Machine { to: 0, input: Input::Peer { from, message: late } });
        world.millis(100);
        world.call(1, 0, READ, 500);
        world
    });
}

#[test]
fn a_rename_whose_reply_was_lost_is_done_once() {
    let mut world = scene(Mistake::Nothing);
    assert!(world.call(0, 0, create(ObjectId::ROOT, name("a")), 900).is_some());
    let dropped = RefCell::new(false);
    world.tap = Some(Box::new(move |_, _, message| {
        let reply = matches!(message, Message::Reply(_, Reply::Returned(Outcome::Changed(_))));
        reply && !dropped.replace(true)
    }));
    let dir = ObjectId::ROOT;
    let rename = |from: &str, to: &str| {
        let (from, to) = (name(from), name(to));
        Call::Change(Change::Rename { from_dir: dir, from, to_dir: dir, to })
    };
    world.begin_call(0, 1, rename("a", "b"));
    world.millis(60);
    // Somebody puts another file where the first one was: moving that would be the second effect.
    assert!(world.call(1, 2, create(dir, name("a")), 900).is_some());
    world.millis(4_000);
    assert!(matches!(world.clients[0].answers.last(), Some(Outcome::Changed(_))));
    good(&world);
}

#[test]
fn a_change_that_its_cut_off_leader_gives_up_is_not_done_as_two() {
    only_with(Mistake::HasChangesComeBack, |mistake| {
        let mut world = scene(mistake);
        world.clients[0].patient = true;
        // The others get the entry, and nobody hears that they have.
        world.cut(0, 2, 30_000_000);
        world.cut(1, 2, 30_000_000);
        world.begin_call(0, 2, create(ObjectId::ROOT, name("a")));
        world.millis(30_000);
        world.heal();
        world.millis(6_000);
        assert!(!world.clients[0].answers.is_empty());
        world
    });
}

#[test]
fn an_owner_and_leader_that_dies_between_apply_and_reply_has_done_it_once() {
    let mut world = scene(Mistake::Nothing);
    world.tap = Some(Box::new(|from, _, message| {
        from == 2 && matches!(message, Message::Reply(_, Reply::Returned(Outcome::Changed(_))))
    }));
    world.begin_call(0, 0, create(ObjectId::ROOT, name("a")));
    world.millis(40);
    world.kill(2);
    world.tap = None;
    world.millis(6_000);
    world.boot(2, false);
    world.millis(2_000);
    assert!(matches!(world.clients[0].answers.last(), Some(Outcome::Changed(_))));
    good(&world);
}

#[test]
fn unstable_writes_that_were_handed_over_are_committed_where_they_went() {
    only_with(Mistake::CommitsForOldCopies, |mistake| {
        let mut world = scene(mistake);
        for _ in 0..4 {
            assert!(world.call(0, 0, write(How::Unstable), 500).is_some());
        }
        world.hand_over(0, 2);
        assert!(matches!(world.call(0, 1, COMMIT, 500), Some(Outcome::Committed { .. })));
        world.power_cut(0);
        world.boot(0, false);
        world.millis(1_000);
        // Were the first one's copy still a good one, it would be the one that is left.
        world.kill(1);
        world.millis(4_500);
        world.call(1, 0, READ, 500);
        world.boot(1, false);
        world.millis(2_500);
        assert!(matches!(world.call(1, 0, READ, 3_000), Some(Outcome::Read { .. })));
        world
    });
}

#[test]
fn a_commit_whose_file_leaves_meanwhile_is_answered_where_it_has_gone() {
    let story = |mistake, after| {
        let mut world = scene(mistake);
        assert!(world.call(0, 0, write(How::FileSync), 500).is_some());
        let to = ApplianceId::new(2);
        world.post(0, Event::Machine { to: 0, input: Input::Move { key: KEY, to } });
        world.run_until(world.now + after);
        world.call(0, 0, write(How::Unstable), 500);
        world.begin_call(0, 0, COMMIT);
        world.millis(150);
        // What its COMMIT vouched for is in the copy that is left.
        world.power_cut(1);
        world.boot(1, false);
        world.millis(2_500);
        assert!(matches!(world.call(1, 0, READ, 4_000), Some(Outcome::Read { .. })));
        world
    };
    // The moment at which the gate closes is not known.
    let moments = || (0..40).map(|moment| moment * 500);
    moments().for_each(|after| good(&story(Mistake::Nothing, after)));
    let mut verdicts = moments().map(|after| story(Mistake::CommitsWhatHasLeft, after).verdict());
    assert!(verdicts.any(|verdict| verdict.is_err()));
}

#[test]
fn a_listing_goes_on_where_it_was_under_another_leader() {
    let mut world = scene(Mistake::Nothing);
    let list = |after| Call::List { dir: ObjectId::ROOT, after, max: 3 };
    let Some(Outcome::Listed { names, .. }) = world.call(0, 0, list(Cookie::START), 900) else {
        panic!("a page");
    };
    world.kill(2);
    let after = names.last().map_or(Cookie::DOT_DOT, |(.., cookie)| *cookie);
    let rest = world.call(0, 0, list(after), 9_000);
    assert!(matches!(rest, Some(Outcome::Listed { names, end: true }) if names.len() == 2));
    good(&world);
}

#[test]
fn leader_and_owner_on_different_sides_of_a_partition_contradict_nobody() {
    let mut world = scene(Mistake::Nothing);
    world.cut(0, 2, 3_000_000);
    world.cut(2, 0, 3_000_000);
    world.begin_call(0, 0, write(How::FileSync));
    world.begin_call(1, 2, Call::Change(Change::Remove { dir: ObjectId::ROOT, name: name("f0") }));
    world.millis(8_000);
    assert!(world.clients.iter().all(|client| client.op.is_none()), "both are answered");
    good(&world);
}

#[test]
fn members_change_during_a_partition_and_nothing_is_lost() {
    let mut world = scene(Mistake::Nothing);
    assert!(world.call(0, 0, write(How::FileSync), 500).is_some());
    world.isolate(1, 2_500);
    let voters = vec![ApplianceId::new(1), ApplianceId::new(3)];
    let change = Input::Members { volume: VOLUME, voters };
    world.post(0, Event::Machine { to: 2, input: change });
    world.millis(500);
    assert!(world.call(0, 0, create(ObjectId::ROOT, name("a")), 5_000).is_some());
    world.millis(3_000);
    let membership = world.machines[2].process.as_ref().unwrap().volumes[&VOLUME].catalog.applied();
    assert!(!membership.membership.is_joint() && membership.membership.voters.len() == 2);
    assert!(world.call(1, 0, READ, 2_000).is_some());
    good(&world);
}

#[test]
fn a_follower_that_was_away_while_the_log_was_cut_gets_an_image() {
    let mut world = scene(Mistake::Nothing);
    world.kill(1);
    world.millis(2_000);
    for round in 0..40 {
        let name = name(&format!("n{round}"));
        assert!(world.call(0, 2, create(ObjectId::ROOT, name), 2_000).is_some());
    }
    world.millis(1_500);
    world.boot(1, false);
    world.millis(4_000);
    assert!(world.history.images > 0, "it came by an image");
    let applied = |at: usize| {
        world.machines[at].process.as_ref().unwrap().volumes[&VOLUME].catalog.applied_index()
    };
    assert_eq!(applied(1), applied(2));
    good(&world);
}

#[test]
fn a_hand_over_that_was_cut_off_is_refused_after_a_take_over() {
    let mut world = scene(Mistake::Nothing);
    world.hand_over(0, 2);
    let is_hand_over = |c: &catalog::Command| matches!(c, catalog::Command::HandOver { .. });
    let kept: Rc<RefCell<Vec<Message>>> = Rc::default();
    let keeps = Rc::clone(&kept);
    // Of the next hand-over everything but the proposal arrives.
    world.tap = Some(Box::new(move |from, _, message| {
        let Message::Ask(_, Ask::Propose { group, data }) = message else { return false };
        let held = from == 1 && *group != GroupId::FLEET && is_entry(data, is_hand_over);
        if held {
            keeps.borrow_mut().push(message.clone());
        }
        held
    }));
    assert!(world.call(1, 1, READ, 1_500).is_some());
    let to = ApplianceId::new(3);
    world.post(0, Event::Machine { to: 1, input: Input::Move { key: KEY, to } });
    world.millis(300);
    let proposal = kept.borrow_mut().pop().expect("it is proposed");
    world.kill(1);
    world.millis(2_500);
    assert!(matches!(world.call(0, 0, write(How::FileSync), 2_000), Some(Outcome::Wrote { .. })));
    let from = ApplianceId::new(2);
    world.post(0, Event::Machine { to: 2, input: Input::Peer { from, message: proposal } });
    world.millis(300);
    let record = world.machines[2].process.as_ref().unwrap().record(KEY).unwrap();
    assert_ne!(record.owner, to, "its view is over");
    assert!(matches!(world.call(1, 0, READ, 2_000), Some(Outcome::Read { .. })));
    good(&world);
}

/// Whether an entry of a volume's group is of that kind.
pub fn is_entry(data: &[u8], is: impl Fn(&catalog::Command) -> bool) -> bool {
    let (index, term) = (model::Index::new(1), model::Term::new(1));
    let entry = catalog::LogEntry { index, term, data, membership: None };
    is(&catalog::Envelope::decode(&entry).unwrap().command)
}
