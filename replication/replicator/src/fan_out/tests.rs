use bytes::Bytes;
use extents::FrameChange;
use model::{Reign, Sequence};

use super::*;

const BOB: ApplianceId = ApplianceId::new(2);
const CYD: ApplianceId = ApplianceId::new(3);
const NOW: Duration = Duration::ZERO;

fn mark(sequence: u64) -> Mark {
    Mark { reign: Reign::default(), sequence: Sequence::new(sequence) }
}

fn frame(sequence: u64, len: usize) -> Frame {
    let change = FrameChange::Write { offset: 0, bytes: Bytes::from(vec![0; len]) };
    Frame { mark: mark(sequence), stamp: None, key: None, secure: false, change }
}

/// What is sent: to whom, upon which change, which changes, and whether to be durable.
fn sent(effects: &[FanOutEffect]) -> Vec<(ApplianceId, u64, Vec<u64>, bool)> {
    let of = |effect: &FanOutEffect| match effect {
        FanOutEffect::Send { to, batch } => {
            let frames = batch.frames.iter().map(|frame| frame.mark.sequence.get()).collect();
            Some((*to, batch.previous.sequence.get(), frames, batch.durable))
        }
        FanOutEffect::Lost { .. } => None,
    };
    effects.iter().filter_map(of).collect()
}

fn lost(effects: &[FanOutEffect]) -> Vec<(ApplianceId, LostWhy)> {
    let of = |effect: &FanOutEffect| match effect {
        FanOutEffect::Lost { follower, why } => Some((*follower, *why)),
        FanOutEffect::Send { .. } => None,
    };
    effects.iter().filter_map(of).collect()
}

fn runs(who: &[ApplianceId]) -> Vec<(ApplianceId, Incarnation)> {
    who.iter().map(|appliance| (*appliance, Incarnation::new(1))).collect()
}

/// At the third change, and whoever follows has said that it is, too.
fn joined(who: &[ApplianceId]) -> FanOut {
    let mut core = FanOut::new(FanOutSettings::default(), mark(3));
    let asked = core.follow(NOW, &runs(who));
    assert_eq!(sent(&asked).len(), who.len());
    assert!(!core.is_joined());
    for (at, from) in who.iter().enumerate() {
        has(&mut core, *from, at as u64 + 1, 3, false);
    }
    assert!(core.is_joined() && core.has_all(mark(3)));
    core
}

fn has(
    core: &mut FanOut,
    from: ApplianceId,
    batch: u64,
    upto: u64,
    durable: bool,
) -> Vec<FanOutEffect> {
    let told = Told::Has { mark: mark(upto), durable };
    core.step(NOW, FanOutEvent::Told { from, batch, told })
}

#[test]
fn a_change_goes_to_everybody_and_all_must_say_that_they_have_it() {
    let mut core = joined(&[BOB, CYD]);
    let effects = core.step(NOW, FanOutEvent::Frame(frame(4, 10)));
    assert_eq!(sent(&effects), [(BOB, 3, vec![4], false), (CYD, 3, vec![4], false)]);
    has(&mut core, BOB, 3, 4, false);
    assert!(!core.has_all(mark(4)));
    has(&mut core, CYD, 4, 4, false);
    assert!(core.has_all(mark(4)) && !core.is_secure(mark(4)));
}

#[test]
fn what_is_to_be_durable_is_asked_for_once_and_with_the_change_if_both_come_together() {
    let mut core = joined(&[BOB]);
    core.step(NOW, FanOutEvent::Frame(frame(4, 10)));
    let effects = core.step(NOW, FanOutEvent::Secure(mark(4)));
    assert_eq!(sent(&effects), [(BOB, 4, vec![], true)]);
    assert!(core.step(NOW, FanOutEvent::Secure(mark(4))).is_empty());
    has(&mut core, BOB, 3, 4, true);
    assert!(core.is_secure(mark(4)));
    assert!(core.step(NOW, FanOutEvent::Secure(mark(4))).is_empty());
}

#[test]
fn a_change_whose_writer_waits_until_it_is_durable_says_so_itself() {
    let mut core = joined(&[BOB]);
    let frame = Frame { secure: true, ..frame(4, 10) };
    assert_eq!(sent(&core.step(NOW, FanOutEvent::Frame(frame))), [(BOB, 3, vec![4], true)]);
    assert!(core.step(NOW, FanOutEvent::Secure(mark(4))).is_empty());
    has(&mut core, BOB, 2, 4, true);
    assert!(core.is_secure(mark(4)));
}

#[test]
fn what_failed_is_sent_again_with_all_that_came_after_it() {
    let mut core = joined(&[BOB]);
    let large = 1 << 20;
    for sequence in 4..6 {
        core.step(NOW, FanOutEvent::Frame(frame(sequence, large)));
    }
    assert!(core.step(NOW, FanOutEvent::Failed { to: BOB, batch: 2 }).is_empty(), "it rests");
    let later = core.wake_at().unwrap();
    let effects = core.step(later, FanOutEvent::Woke);
    assert_eq!(sent(&effects), [(BOB, 3, vec![4], false), (BOB, 4, vec![5], false)]);
    // The first sending had got there after all; it is asked for once more all the same.
    has(&mut core, BOB, 3, 5, false);
    assert!(!core.has_all(mark(5)));
    has(&mut core, BOB, 5, 5, false);
    assert!(core.has_all(mark(5)));
}

#[test]
fn many_little_changes_go_as_one_and_no_more_are_on_their_way_than_may_be() {
    let mut core = joined(&[BOB]);
    for sequence in 4..12 {
        core.step(NOW, FanOutEvent::Frame(frame(sequence, 10)));
    }
    let effects = has(&mut core, BOB, 2, 4, false);
    assert_eq!(sent(&effects), [(BOB, 7, vec![8, 9, 10, 11], false)]);
}

#[test]
fn a_follower_that_says_nothing_is_lost_once_and_everybody_waits_until_the_log_knows() {
    let mut core = joined(&[BOB, CYD]);
    core.step(NOW, FanOutEvent::Frame(frame(4, 10)));
    has(&mut core, CYD, 4, 4, false);
    let late = core.wake_at().unwrap();
    assert_eq!(late, FanOutSettings::default().ack_max);
    assert_eq!(lost(&core.step(late, FanOutEvent::Woke)), [(BOB, LostWhy::Silent)]);
    assert!(core.step(late, FanOutEvent::Woke).is_empty());
    assert!(!core.has_all(mark(4)), "it may still be taken for good");
    core.follow(late, &runs(&[CYD]));
    assert!(core.has_all(mark(4)));
}

#[test]
fn a_copy_that_differs_is_lost_until_it_is_made_equal() {
    let mut core = FanOut::new(FanOutSettings::default(), mark(3));
    core.follow(NOW, &runs(&[BOB]));
    let gap = FanOutEvent::Told { from: BOB, batch: 1, told: Told::Gap };
    assert_eq!(lost(&core.step(NOW, gap)), [(BOB, LostWhy::Gap)]);
    assert!(!core.is_joined());
    let naming = Frame { change: FrameChange::Nothing, ..frame(4, 0) };
    assert!(core.step(NOW, FanOutEvent::Frame(naming)).is_empty());
    assert!(core.made_equal(NOW, BOB, mark(4)).is_empty());
    assert!(core.is_joined() && core.has_all(mark(4)) && !core.is_secure(mark(4)));
    let effects = core.step(NOW, FanOutEvent::Frame(frame(5, 10)));
    assert_eq!(sent(&effects), [(BOB, 4, vec![5], false)]);
}

#[test]
fn who_claims_to_have_what_was_never_made_is_lost() {
    let mut core = joined(&[BOB]);
    core.step(NOW, FanOutEvent::Frame(frame(4, 10)));
    let effects = has(&mut core, BOB, 2, 9, true);
    assert_eq!(lost(&effects), [(BOB, LostWhy::Gap)]);
    assert!(!core.is_secure(mark(4)));
}

#[test]
fn what_an_earlier_run_said_is_worth_nothing() {
    let mut core = joined(&[BOB]);
    core.step(NOW, FanOutEvent::Secure(mark(3)));
    let asked = core.follow(NOW, &[(BOB, Incarnation::new(2))]);
    assert_eq!(sent(&asked), [(BOB, 3, vec![], true)]);
    assert!(!core.is_joined() && !core.has_all(mark(3)));
}
