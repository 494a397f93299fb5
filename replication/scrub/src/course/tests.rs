use super::*;

const BOB: ApplianceId = ApplianceId::new(2);
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn volume(number: u64) -> VolumeId {
    VolumeId::new(number)
}

fn object(number: u64) -> ObjectId {
    ObjectId::new(number)
}

fn place(in_volume: u64, number: u64, extent: u64) -> Place {
    Place { volume: volume(in_volume), object: object(number), extent }
}

fn course(every_days: u64) -> Course {
    let every = (every_days > 0).then(|| Duration::from_secs(every_days * DAY));
    Course::new(None, Settings { every, bytes_per_second: 1 }, at(0))
}

/// As a restart finds it.
fn restarted(course: &Course) -> Course {
    let kept = Kept::decode(&course.kept().encode()).unwrap();
    Course::new(Some(kept), course.settings(), at(0))
}

#[test]
fn a_pass_looks_at_volume_after_volume_and_ends() {
    let mut course = course(0);
    assert_eq!(course.next(), None);
    assert_eq!(course.start(at(1), None), Started::Anew);
    assert_eq!(course.next(), Some(Next::Walk(place(0, 0, 0), Which::All)));
    course.volume_done(Some(volume(1)));
    course.file_done(volume(1), object(7), Some(Done::default()));
    assert_eq!(course.next(), Some(Next::Walk(place(1, 8, 0), Which::All)));
    course.volume_done(None);
    assert_eq!(course.next(), Some(Next::Mend));
    let finished = course.finish(at(9));
    assert_eq!((finished.counts.files, finished.unmended()), (1, 0));
    assert_eq!((course.next(), course.kept().finished), (None, Some(finished)));
}

#[test]
fn after_a_restart_it_goes_on_in_the_middle_of_the_file() {
    let mut course = course(0);
    course.start(at(1), Some(volume(3)));
    course.file_done(volume(3), object(7), Some(Done::default()));
    course.reached(place(3, 9, 5));
    course.read(1 << 20);
    let mut course = restarted(&course);
    assert_eq!(course.next(), Some(Next::Walk(place(3, 9, 5), Which::All)));
    assert_eq!(course.extent_of(volume(3), object(9)), 5);
    assert_eq!(course.extent_of(volume(3), object(10)), 0, "only of that file");
    assert_eq!((course.kept().pass.counts.files, course.kept().pass.counts.bytes), (1, 1 << 20));
    course.stop(at(2));
    let mut course = restarted(&course);
    assert_eq!(course.next(), None, "who was stopped stays so");
    assert_eq!(course.start(at(3), Some(volume(3))), Started::GoesOn);
    assert_eq!(course.next(), Some(Next::Walk(place(3, 9, 5), Which::All)));
}

#[test]
fn who_wants_more_than_what_runs_gets_a_new_pass() {
    let mut course = course(0);
    course.start(at(1), None);
    course.reached(place(1, 9, 0));
    assert_eq!(course.start(at(2), None), Started::RunsAlready);
    assert_eq!(course.start(at(2), Some(volume(1))), Started::RunsAlready, "it is part of all");
    assert_eq!(course.kept().pass.at, place(1, 9, 0));
    course.stop(at(3));
    assert_eq!(course.start(at(3), Some(volume(1))), Started::Anew, "that is another one");
    assert_eq!(course.next(), Some(Next::Walk(place(1, 0, 0), Which::All)));
    let before = course.pass();
    assert_eq!(course.start(at(3), None), Started::Anew);
    assert_ne!(course.pass(), before);
    assert!(course.stop(at(4)) && !course.stop(at(5)));
}

#[test]
fn a_pass_begins_so_long_after_the_last_one_or_never() {
    let mut course = course(30);
    assert_eq!(course.due(), Some(at(30 * DAY)), "counted from its first start");
    assert!(!course.wake(at(30 * DAY - 1)) && course.wake(at(30 * DAY)));
    assert!(course.is_running() && course.due().is_none() && !course.wake(at(99 * DAY)));
    course.finish(at(31 * DAY));
    assert_eq!(course.due(), Some(at(61 * DAY)));
    course.start(at(32 * DAY), None);
    course.reached(place(1, 9, 0));
    course.stop(at(33 * DAY));
    assert!(!course.wake(at(62 * DAY)) && course.wake(at(63 * DAY)));
    assert_eq!(course.next(), Some(Next::Walk(place(1, 9, 0), Which::All)), "that one goes on");
    let mut never = self::course(0);
    assert_eq!(never.due(), None);
    assert!(!never.wake(Timestamp::from_nanos(u64::MAX)));
}

#[test]
fn a_file_that_is_handed_over_behind_the_cursor_is_looked_at_in_the_end() {
    let mut course = course(0);
    course.came(volume(1), object(5));
    course.start(at(1), Some(volume(1)));
    course.reached(place(1, 9, 0));
    for (came, number) in [(1, 4), (1, 4), (1, 20), (2, 4), (1, 6)] {
        course.came(volume(came), object(number));
    }
    let mut course = restarted(&course);
    course.volume_done(None);
    let mut seen = Vec::new();
    while let Some(Next::File(volume, object)) = course.next() {
        seen.push((volume.get(), object.get()));
        assert_eq!(course.extent_of(volume, object), 0);
        course.reached(place(1, 2, 9));
        course.file_done(volume, object, Some(Done::default()));
    }
    assert_eq!(seen, [(1, 6), (1, 4)], "not what is ahead, elsewhere, or came before it began");
    assert_eq!(course.next(), Some(Next::Mend));
    course.came(volume(1), object(4));
    assert_eq!(course.next(), Some(Next::File(volume(1), object(4))), "up to the end");
}

#[test]
fn when_somebody_leaves_those_files_are_looked_at_once_more() {
    let mut course = course(0);
    course.start(at(1), None);
    course.somebody_left();
    course.reached(place(2, 9, 0));
    course.volume_done(None);
    assert_eq!(course.next(), Some(Next::Walk(place(0, 0, 0), Which::TakenOver)));
    course.somebody_left();
    course.volume_done(None);
    assert_eq!(course.next(), Some(Next::Mend), "once");
}

#[test]
fn too_many_that_come_late_are_counted_as_skipped() {
    let mut course = course(0);
    course.start(at(1), None);
    course.reached(place(2, 0, 0));
    (0..LATE_MAX as u64 + 3).for_each(|number| course.came(volume(1), object(number)));
    let pass = &course.kept().pass;
    assert_eq!((pass.late.len(), pass.counts.skipped), (LATE_MAX, 3));
    course.keep_late(|_, number| number < object(10));
    course.keep_late(|_, _| false);
    assert_eq!(course.kept().pass.late.len(), 10, "there is room enough for these");
}

#[test]
fn what_was_bad_is_mended_gone_or_put_off() {
    let mut course = course(0);
    course.start(at(1), None);
    let bad = |unreadable, differing| Done {
        unreadable,
        differing,
        mending: vec![BOB],
        ..Done::default()
    };
    for number in 5..8 {
        course.file_done(volume(1), object(number), Some(bad(number % 2, 1 - number % 2)));
    }
    let mending = course.mending().to_vec();
    course.mended(&mending[..1], &mending[1..2]);
    assert_eq!(course.mending(), &mending[2..]);
    let finished = course.finish(at(2));
    let counts = finished.counts;
    assert_eq!((counts.unreadable, counts.differing), (2, 1));
    assert_eq!((counts.mended, counts.put_off), (1, 1));
    assert_eq!(finished.unmended(), 1, "one is gone, and its file with it");
    assert!(course.mending().is_empty());
}

#[test]
fn damage_is_known_until_the_file_is_seen_whole_or_gone() {
    let mut course = course(0);
    course.start(at(1), None);
    let damaged = |path: &str| Done {
        unreadable: 1,
        damaged: Some((1 << 20, path.to_owned())),
        ..Done::default()
    };
    course.file_done(volume(1), object(5), Some(damaged("media/film")));
    course.file_done(volume(1), object(5), Some(damaged("media/film")));
    course.file_done(volume(1), object(6), Some(damaged(&"ö".repeat(1000))));
    assert_eq!(course.kept().damaged.len(), 2, "each once");
    assert!(course.kept().damaged[1].path.len() <= PATH_BYTES_MAX);
    course.finish(at(2));
    assert_eq!(restarted(&course).kept().damaged.len(), 2);
    course.start(at(3), None);
    course.file_done(volume(1), object(5), Some(Done { skipped: true, ..Done::default() }));
    assert_eq!(course.kept().damaged.len(), 2, "nobody has seen it whole");
    course.file_done(volume(1), object(5), Some(Done::default()));
    assert_eq!(course.kept().damaged.len(), 1);
    course.keep_damaged(|damage| damage.object != object(6));
    assert!(course.kept().damaged.is_empty());
}

#[test]
fn what_is_none_of_ours_is_passed_and_not_counted() {
    let mut course = course(0);
    course.start(at(1), None);
    course.file_done(volume(1), object(5), None);
    assert_eq!(course.next(), Some(Next::Walk(place(1, 6, 0), Which::All)));
    assert_eq!(course.kept().pass.counts, Counts::default());
}
