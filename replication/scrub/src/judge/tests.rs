use model::{Reign, Sequence};

use super::*;

const BOB: ApplianceId = ApplianceId::new(2);
const CYD: ApplianceId = ApplianceId::new(3);

fn mark(sequence: u64) -> Mark {
    Mark { reign: Reign::default(), sequence: Sequence::new(sequence) }
}

fn read(sequence: u64, byte: u8) -> Look {
    Look::Read { at: Some(mark(sequence)), size: 9, digest: [byte; 32] }
}

fn unreadable(offset: u64) -> Finding {
    Finding { unreadable: Some(offset), ..Finding::default() }
}

fn differs(offset: u64) -> Finding {
    Finding { differs: Some(offset), ..Finding::default() }
}

fn silent() -> Finding {
    Finding { unproven: true, not_compared: true, ..Finding::default() }
}

const GOOD: Finding =
    Finding { unreadable: None, differs: None, unproven: false, not_compared: false };

#[test]
fn a_difference_is_one_only_between_copies_at_the_same_mark_before_and_after() {
    let (ours, same, other) = (read(4, 1), read(4, 1), read(4, 2));
    let now = Some(mark(4));
    assert_eq!(compare(&ours, now, &same), Part::Same);
    assert_eq!(compare(&ours, now, &other), Part::Differs);
    let longer = Look::Read { at: Some(mark(4)), size: 10, digest: [1; 32] };
    assert_eq!(compare(&ours, now, &longer), Part::Differs, "its size is part of it");
    for (after, theirs) in [
        (Some(mark(5)), other),
        (None, other),
        (now, read(3, 2)),
        (now, read(5, 2)),
        (now, Look::Read { at: None, size: 9, digest: [2; 32] }),
    ] {
        assert_eq!(compare(&ours, after, &theirs), Part::Readable, "{after:?} {theirs:?}");
    }
    let doubtful = Look::Read { at: None, size: 9, digest: [1; 32] };
    assert_eq!(compare(&doubtful, None, &Look::Read { at: None, size: 9, digest: [2; 32] }), {
        Part::Readable
    });
    assert_eq!(compare(&Look::Unreadable, now, &other), Part::Readable);
    assert_eq!(compare(&ours, now, &Look::Unreadable), Part::Unreadable);
    assert_eq!(compare(&ours, now, &Look::Moving), Part::Moving);
    assert_eq!(compare(&ours, now, &Look::Silent), Part::Silent);
}

#[test]
fn what_is_wrong_must_be_seen_twice() {
    for bad in [Part::Differs, Part::Unreadable] {
        let mut trial = Trial::new(0);
        assert_eq!(trial.step(Part::Same, vec![bad]), None);
        assert_eq!(trial.step(Part::Same, vec![bad]), Some((Part::Same, vec![bad])));
        let mut trial = Trial::new(0);
        assert_eq!(trial.step(Part::Same, vec![bad]), None);
        let well = vec![Part::Same];
        assert_eq!(trial.step(Part::Same, well.clone()), Some((Part::Same, well)), "it was not");
    }
    let mut trial = Trial::new(0);
    assert_eq!(trial.step(Part::Unreadable, vec![Part::Readable]), None);
    let found = trial.step(Part::Unreadable, vec![Part::Readable]);
    assert_eq!(found, Some((Part::Unreadable, vec![Part::Readable])));
    let mut trial = Trial::new(u64::MAX);
    assert_eq!(trial.step(Part::Same, vec![Part::Differs]), None, "without patience, too");
    let found = trial.step(Part::Same, vec![Part::Unreadable]);
    assert_eq!(found, Some((Part::Same, vec![Part::Moving])), "that is another thing: not sure");
}

#[test]
fn what_changes_all_the_time_is_given_up_after_a_few_looks() {
    for part in [Part::Readable, Part::Moving] {
        let mut trial = Trial::new(0);
        let looks = (0..100).take_while(|_| trial.step(Part::Same, vec![part]).is_none()).count();
        assert_eq!(looks + 1, TRIES_MAX, "{part:?}");
        assert!(Trial::new(PATIENCE_EXTENTS).step(Part::Same, vec![part]).is_some());
    }
    let mut trial = Trial::new(0);
    let mut last = None;
    for n in 0..TRIES_MAX {
        let part = if n % 2 == 0 { Part::Differs } else { Part::Readable };
        last = trial.step(Part::Same, vec![part]);
    }
    assert_eq!(last, Some((Part::Same, vec![Part::Moving])), "never twice in a row");
    assert!(Trial::new(0).step(Part::Same, vec![]).is_some(), "nobody to wait for");
    let silent = vec![Part::Silent];
    assert!(Trial::new(0).step(Part::Same, silent).is_some(), "it would cost as much again");
}

#[test]
fn the_owners_bytes_win_and_a_bad_copy_is_made_anew() {
    assert_eq!(judge(&GOOD, &[]), Verdict::Clean);
    assert_eq!(judge(&GOOD, &[(BOB, GOOD), (CYD, silent())]), Verdict::Clean);
    for bad in [unreadable(0), differs(5)] {
        assert_eq!(judge(&GOOD, &[(BOB, bad), (CYD, GOOD)]), Verdict::MarkStale(vec![BOB]));
    }
    assert_eq!(judge(&silent(), &[(BOB, differs(0))]), Verdict::Later, "not seen to be whole");
}

#[test]
fn rot_never_costs_the_only_copy_that_can_be_read() {
    let own = unreadable(0);
    assert_eq!(judge(&own, &[]), Verdict::Damaged);
    assert_eq!(judge(&own, &[(BOB, GOOD)]), Verdict::GiveUp(vec![]));
    let hurried = Finding { not_compared: true, ..GOOD };
    assert_eq!(judge(&own, &[(BOB, hurried)]), Verdict::GiveUp(vec![]), "all of it was read");
    assert_eq!(judge(&own, &[(BOB, unreadable(9))]), Verdict::Damaged, "elsewhere in the file");
    assert_eq!(judge(&own, &[(BOB, differs(9))]), Verdict::Damaged, "who is right?");
    assert_eq!(judge(&own, &[(BOB, silent())]), Verdict::Later);
    assert_eq!(judge(&own, &[(BOB, unreadable(9)), (CYD, silent())]), Verdict::Later);
    assert_eq!(judge(&own, &[(BOB, unreadable(9)), (CYD, GOOD)]), Verdict::GiveUp(vec![BOB]));
}

#[test]
fn a_finding_keeps_the_first_place_of_each_kind() {
    let mut finding = Finding::default();
    for (offset, part) in [
        (0, Part::Same),
        (1, Part::Readable),
        (2, Part::Differs),
        (3, Part::Differs),
        (4, Part::Unreadable),
        (5, Part::Unreadable),
    ] {
        finding.note(offset, part);
    }
    let not_compared = true;
    let found = Finding { unreadable: Some(4), differs: Some(2), unproven: false, not_compared };
    assert_eq!(finding, found);
    finding.note(6, Part::Silent);
    assert!(finding.unproven);
}
