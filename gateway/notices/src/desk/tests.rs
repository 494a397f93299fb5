mod random;

use std::collections::BTreeMap;

use super::*;
use crate::when::WallTime;

const FIRST: u64 = 100;

/// A desk with targets for everything, and a clock.
struct World {
    desk: Desk,
    at: Duration,
}

impl World {
    fn new(targets: usize) -> Self {
        Self::with(&vec![Status::Good; targets])
    }

    fn with(leasts: &[Status]) -> Self {
        let desk = Desk::new(Number::new(FIRST), Pace::default(), leasts);
        Self { desk, at: Duration::ZERO }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let wall = WallTime::from_millis(self.at.as_millis() as u64);
        self.desk.step(Now { moment: Moment::new(self.at), wall }, event)
    }

    fn tell(&mut self, subject: &str) -> Vec<Effect> {
        self.step(Event::Told(notice(subject, Status::Error)))
    }

    fn ended(&mut self, target: usize, outcome: Outcome) -> Vec<Effect> {
        self.step(Event::Ended { target: Target(target), outcome, chance: Chance(0) })
    }

    /// Fails what is under way, and waits until it is under way again.
    fn fail(&mut self, target: usize) -> Vec<Effect> {
        let mut effects = self.ended(target, FAILED);
        let at = self.desk.wake_at().expect("it is tried again");
        self.at = at.since(Moment::default());
        effects.extend(self.step(Event::Woke));
        effects
    }
}

const FAILED: Outcome = Outcome::Failed { retry_after: None };

fn notice(subject: &str, status: Status) -> Notice {
    Notice {
        subject: subject.to_owned(),
        job: "fsync".to_owned(),
        status,
        message: "An fsync failed: look at the disk.".to_owned(),
        details: BTreeMap::new(),
    }
}

/// What goes out: target, number, and how many are said not to have been delivered.
fn deliveries(effects: &[Effect]) -> Vec<(usize, u64, u64)> {
    let delivery = |effect: &Effect| match effect {
        Effect::Deliver(delivery) => {
            let number = delivery.numbered.number.get();
            Some((delivery.target.0, number, delivery.undelivered))
        }
        _ => None,
    };
    effects.iter().filter_map(delivery).collect()
}

#[test]
fn a_notice_is_numbered_listed_and_sent_to_every_target() {
    let mut world = World::new(2);
    world.at = Duration::from_secs(7);
    let effects = world.tell("volume media");
    assert_eq!(deliveries(&effects), [(0, FIRST, 0), (1, FIRST, 0)]);
    let listed = world.desk.recent(None, 10);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].number, Number::new(FIRST));
    assert_eq!(listed[0].time, WallTime::from_millis(7000));
    assert_eq!(listed[0].notice, notice("volume media", Status::Error));
}

#[test]
fn a_target_gets_only_what_is_bad_enough_for_it() {
    let mut world = World::with(&[Status::Warning, Status::Error]);
    for (status, expected) in
        [(Status::Good, 0), (Status::Info, 0), (Status::Warning, 1), (Status::Error, 2)]
    {
        let mut fresh = World::with(&[Status::Warning, Status::Error]);
        let effects = fresh.step(Event::Told(notice("a", status)));
        assert_eq!(deliveries(&effects).len(), expected, "{status}");
        world.step(Event::Told(notice("a", status)));
    }
    assert_eq!(world.desk.recent(None, 10).len(), 4, "all are listed");
}

#[test]
fn the_same_within_the_quiet_time_is_counted_and_said_with_the_next() {
    let mut world = World::new(1);
    world.tell("a");
    world.ended(0, Outcome::Delivered);
    for second in 1..=5 {
        world.at = Duration::from_secs(second * 100);
        assert_eq!(world.tell("a"), [Effect::Suppressed(Number::new(FIRST))]);
    }
    assert_eq!(world.desk.recent(None, 10)[0].repeated, 5);
    world.at = Duration::from_secs(600);
    assert_eq!(deliveries(&world.tell("a")), [(0, FIRST + 1, 0)]);
    let listed = world.desk.recent(None, 10);
    assert_eq!(listed[1].notice.details.get(SUPPRESSED).map(String::as_str), Some("5"));
    assert_eq!(listed[0].notice.details.get(SUPPRESSED), None);
}

#[test]
fn another_subject_job_status_or_message_is_another_notice() {
    let mut world = World::new(0);
    let first = notice("a", Status::Error);
    let others = [
        Notice { subject: "b".to_owned(), ..first.clone() },
        Notice { job: "scrub".to_owned(), ..first.clone() },
        Notice { status: Status::Good, ..first.clone() },
        Notice { message: "Another.".to_owned(), ..first.clone() },
    ];
    world.step(Event::Told(first.clone()));
    for other in others {
        assert!(matches!(world.step(Event::Told(other))[..], [Effect::Listed(_)]));
    }
    let again = world.step(Event::Told(first.clone()));
    assert!(matches!(again[..], [Effect::Listed(_)]), "another was told of it since");
    let details = BTreeMap::from([("disk".to_owned(), "sdb".to_owned())]);
    let same = world.step(Event::Told(Notice { details, ..first }));
    assert!(matches!(same[..], [Effect::Suppressed(_)]), "details make no other notice");
}

#[test]
fn a_failed_notice_is_tried_again_after_longer_and_longer_waits() {
    let mut world = World::new(1);
    world.tell("a");
    let mut waits = Vec::new();
    for _ in 0..12 {
        let before = world.at;
        assert_eq!(deliveries(&world.fail(0)), [(0, FIRST, 0)]);
        waits.push((world.at - before).as_millis());
    }
    // Without luck it is half of 1 s, 2 s, ..., 5 min.
    let doubled = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000];
    assert_eq!(waits, [&doubled[..], &[150_000; 3]].concat());
}

#[test]
fn chance_spreads_the_second_half_of_a_wait() {
    for (chance, millis) in [(0, 500), (1 << 31, 750), (u32::MAX, 999)] {
        let mut world = World::new(1);
        world.tell("a");
        let chance = Chance(chance);
        world.step(Event::Ended { target: Target(0), outcome: FAILED, chance });
        let wait = world.desk.wake_at().unwrap().since(Moment::default());
        assert_eq!(wait.as_millis(), millis);
    }
}

#[test]
fn a_target_that_asks_for_a_longer_wait_gets_it_up_to_an_hour() {
    for (asked, waited) in [(0, 0), (30, 30), (1_000_000, 3600)] {
        let mut world = World::new(1);
        world.tell("a");
        let retry_after = Some(Duration::from_secs(asked));
        world.ended(0, Outcome::Failed { retry_after });
        let wait = world.desk.wake_at().unwrap().since(Moment::default());
        assert_eq!(wait.as_secs(), waited);
    }
}

#[test]
fn before_its_time_a_failed_target_is_left_alone() {
    let mut world = World::new(1);
    world.tell("a");
    let failed = world.ended(0, FAILED);
    assert_eq!(failed, [Effect::Failing(Target(0))]);
    assert_eq!(deliveries(&world.tell("b")), []);
    assert_eq!(deliveries(&world.step(Event::Woke)), []);
}

#[test]
fn closing_tries_at_once_what_waits_for_its_time() {
    let mut world = World::new(1);
    world.tell("a");
    world.ended(0, FAILED);
    assert_eq!(deliveries(&world.step(Event::Closing)), [(0, FIRST, 0)]);
}

#[test]
fn a_full_queue_drops_its_oldest_and_the_next_delivered_says_so() {
    let mut world = World::new(1);
    let mut dropped = Vec::new();
    for n in 0..QUEUE_MAX + 3 {
        let effects = world.tell(&n.to_string());
        dropped.extend(effects.into_iter().filter(|e| matches!(e, Effect::Lost(..))));
    }
    // The first is under way.
    let lost = |n: u64| Effect::Lost(Target(0), Number::new(FIRST + n), Loss::Dropped);
    assert_eq!(dropped, [lost(1), lost(2), lost(3)]);
    let next = world.ended(0, Outcome::Delivered);
    assert_eq!(deliveries(&next), [(0, FIRST + 4, 3)]);
    let after = world.ended(0, Outcome::Delivered);
    assert_eq!(deliveries(&after), [(0, FIRST + 5, 0)], "it was said");
}

#[test]
fn what_fails_for_a_day_is_given_up_with_all_that_is_as_old() {
    let mut world = World::new(1);
    world.tell("a");
    world.tell("b");
    world.at = Duration::from_secs(3600);
    world.tell("young");
    let mut lost = Vec::new();
    let mut tries = 0;
    while lost.is_empty() {
        let effects = world.fail(0);
        lost.extend(effects.into_iter().filter(|e| matches!(e, Effect::Lost(..))));
        tries += 1;
    }
    let given_up = |n: u64| Effect::Lost(Target(0), Number::new(FIRST + n), Loss::GivenUp);
    assert_eq!(lost, [given_up(0), given_up(1)]);
    assert!((280..700).contains(&tries), "{tries}");
    assert_eq!(world.desk.targets()[0].undelivered, 2);
    assert_eq!(world.desk.targets()[0].waiting, 1);
}

#[test]
fn a_refused_notice_is_not_tried_again_and_the_next_goes_out() {
    let mut world = World::new(1);
    world.tell("a");
    world.tell("b");
    let effects = world.ended(0, Outcome::Refused);
    assert_eq!(effects[0], Effect::Lost(Target(0), Number::new(FIRST), Loss::Refused));
    assert_eq!(deliveries(&effects), [(0, FIRST + 1, 1)]);
}

#[test]
fn a_target_that_fails_holds_no_other_up() {
    let mut world = World::new(2);
    world.tell("a");
    world.ended(0, FAILED);
    world.ended(1, Outcome::Delivered);
    assert_eq!(deliveries(&world.tell("b")), [(1, FIRST + 1, 0)]);
}

#[test]
fn the_end_of_a_failure_is_told_once() {
    let mut world = World::new(1);
    world.tell("a");
    world.fail(0);
    world.fail(0);
    let effects = world.ended(0, Outcome::Delivered);
    let expected = [Effect::Delivered(Target(0), Number::new(FIRST)), Effect::Recovered(Target(0))];
    assert_eq!(effects, expected);
    assert_eq!(world.desk.targets()[0].failures, 0);
}

#[test]
fn the_list_keeps_the_newest_and_is_read_forward() {
    let mut world = World::new(0);
    for n in 0..NEWEST_MAX + 5 {
        world.tell(&n.to_string());
    }
    let numbers = |after: Option<u64>, limit| -> Vec<u64> {
        let told = world.desk.recent(after.map(Number::new), limit);
        told.iter().map(|told| told.number.get()).collect()
    };
    let last = FIRST + NEWEST_MAX as u64 + 4;
    assert_eq!(numbers(None, usize::MAX).len(), NEWEST_MAX);
    assert_eq!(numbers(None, 2), [last - 1, last]);
    assert_eq!(numbers(Some(0), 2), [FIRST + 5, FIRST + 6]);
    assert_eq!(numbers(Some(last - 1), 9), [last]);
    assert_eq!(numbers(Some(last), 9), [] as [u64; 0]);
}

#[test]
#[should_panic(expected = "under way")]
fn what_was_not_under_way_can_t_end() {
    World::new(1).ended(0, Outcome::Delivered);
}

#[test]
fn a_trial_goes_to_every_target_and_repeats_nothing() {
    let mut world = World::with(&[Status::Error, Status::Good]);
    for number in 0..2 {
        let effects = world.step(Event::Tried(notice("a", Status::Info)));
        let expected = [(0, FIRST + number, 0), (1, FIRST + number, 0)];
        assert_eq!(deliveries(&effects), expected, "whatever the target takes otherwise");
        (0..2).for_each(|target| drop(world.ended(target, Outcome::Delivered)));
    }
}
