use extents::FrameChange;
use model::{Epoch, Reign, Sequence, Span, View};

use super::*;

const SETTINGS: SendSettings = SendSettings {
    rate_bytes_per_second: None,
    window_bytes: 4 << 20,
    queue_bytes: 32 << 20,
    copies_at_a_time: 4,
    sync_every_bytes: 8 << 20,
    close_bytes: 2 << 20,
};

fn mark(sequence: u64) -> Mark {
    let reign = Reign { epoch: Epoch::new(1), view: View::new(1) };
    Mark { reign, sequence: Sequence::new(sequence) }
}

fn base(sequence: u64) -> Base {
    Base { mark: mark(sequence), stamp: None, size: 64 << 20 }
}

fn finish(sequence: u64) -> Message {
    Message::Finish { end: base(sequence), durable: mark(0) }
}

fn frame(sequence: u64, len: usize) -> Frame {
    let change = FrameChange::Write { offset: 0, bytes: vec![0; len].into() };
    Frame { mark: mark(sequence), stamp: None, key: None, secure: false, change }
}

fn copied(data_bytes: u64) -> Copied {
    Copied { span: Span::new(0, 1 << 20).unwrap(), data_bytes, mark: mark(0), held: false }
}

fn look(to_copy: u64) -> Look {
    let backlog = Backlog { to_copy, ..Backlog::default() };
    Look { now: Duration::ZERO, backlog, settled: None, promised: Mark::default() }
}

fn core_with(settings: SendSettings) -> SendCore {
    let mut core =
        SendCore::new(settings, TransferId::new(Epoch::new(1), 1), HasData::Yes, base(0));
    let effects = core.step(look(0), SendEvent::Connected);
    assert!(matches!(effects[..], [SendEffect::Send(Message::Begin { .. })]));
    core
}

fn up_with(settings: SendSettings) -> SendCore {
    let mut core = core_with(settings);
    answer(&mut core, look(0), Message::Ready { received: Some(mark(0)), older: 0 });
    // With nothing to copy a round makes the file itself durable.
    let durable = Message::Durable { round: core.round, mark: mark(0) };
    answer(&mut core, look(0), durable);
    core
}

fn answer(core: &mut SendCore, look: Look, answer: Message) -> Vec<SendEffect> {
    core.step(look, SendEvent::Answer(answer))
}

fn copies(effects: &[SendEffect]) -> usize {
    effects.iter().filter(|effect| **effect == SendEffect::Copy).count()
}

fn syncs(effects: &[SendEffect]) -> usize {
    let sync = |effect: &&SendEffect| matches!(effect, SendEffect::Send(Message::Sync { .. }));
    effects.iter().filter(sync).count()
}

#[test]
fn nothing_goes_out_before_the_receiver_is_ready() {
    let mut core = core_with(SETTINGS);
    assert!(!core.wants_frame());
    assert_eq!(copies(&core.step(look(9), SendEvent::Woke)), 0);
    let ready = Message::Ready { received: Some(mark(0)), older: 0 };
    assert_eq!(copies(&answer(&mut core, look(9), ready)), 4);
    assert!(core.wants_frame());
}

#[test]
fn no_more_is_on_its_way_than_the_window() {
    let mut core = up_with(SETTINGS);
    for sequence in 1..=4 {
        assert!(core.wants_frame());
        core.step(look(9), SendEvent::Frame(frame(sequence, 1 << 20)));
    }
    assert!(!core.wants_frame());
    answer(&mut core, look(9), Message::Received { mark: mark(1) });
    assert!(core.wants_frame());
}

#[test]
fn no_more_copies_are_made_than_may_be_and_none_while_much_is_queued() {
    let mut core = up_with(SETTINGS);
    assert_eq!(copies(&core.step(look(9), SendEvent::Woke)), 4);
    let copied = copied(1 << 20);
    assert_eq!(copies(&core.step(look(5), SendEvent::Copied(Ok(Some(copied))))), 1);
    let mut crowded = look(5);
    crowded.backlog.queued_bytes = 16 << 20;
    assert_eq!(copies(&core.step(crowded, SendEvent::Copied(Ok(Some(copied))))), 0);
}

#[test]
fn a_rate_holds_copies_up_and_not_frames() {
    let settings = SendSettings { rate_bytes_per_second: Some(1 << 20), ..SETTINGS };
    let mut core = up_with(settings);
    assert_eq!(copies(&core.step(look(9), SendEvent::Woke)), 1);
    assert!(core.wants_frame());
    let at = core.wake_at(look(8)).unwrap();
    assert!((Duration::from_millis(999)..Duration::from_millis(1001)).contains(&at), "{at:?}");
    let later = |now| Look { now, ..look(8) };
    assert_eq!(copies(&core.step(later(Duration::from_millis(900)), SendEvent::Woke)), 0);
    assert_eq!(copies(&core.step(later(at + Duration::from_millis(1)), SendEvent::Woke)), 1);
    // A hole costs nothing.
    let hole = copied(0);
    let event = SendEvent::Copied(Ok(Some(hole)));
    assert_eq!(copies(&core.step(later(at + Duration::from_millis(2)), event)), 1);
}

#[test]
fn one_round_runs_at_a_time_and_the_last_one_is_small() {
    let mut core = up_with(SETTINGS);
    let mut asked = 0;
    for sequence in 1..=20 {
        asked += syncs(&core.step(look(9), SendEvent::Frame(frame(sequence, 1 << 20))));
        answer(&mut core, look(9), Message::Received { mark: mark(sequence) });
    }
    assert_eq!(asked, 1);
    let durable = Message::Durable { round: core.round, mark: mark(8) };
    assert_eq!(syncs(&answer(&mut core, look(9), durable)), 1);
    assert!(!core.is_close(look(0)), "a round is under way");
    let durable = Message::Durable { round: core.round, mark: mark(20) };
    assert_eq!(syncs(&answer(&mut core, look(0), durable)), 0);
    assert!(!core.is_close(look(0)), "copies are under way");
    for _ in 0..4 {
        core.step(look(0), SendEvent::Copied(Ok(None)));
    }
    assert!(core.is_close(look(0)));
    assert!(!core.is_close(look(1)));
}

#[test]
fn a_new_channel_gets_what_the_receiver_does_not_have_and_no_more() {
    let mut core = up_with(SETTINGS);
    for sequence in 1..=3 {
        core.step(look(9), SendEvent::Frame(frame(sequence, 100)));
    }
    core.step(look(0), SendEvent::Broken);
    assert!(!core.is_up() && !core.wants_frame());
    let effects = core.step(look(0), SendEvent::Connected);
    assert!(matches!(effects[..], [SendEffect::Send(Message::Resume { .. })]));
    let effects = answer(&mut core, look(9), Message::Ready { received: Some(mark(2)), older: 0 });
    assert_eq!(effects[0], SendEffect::Send(Message::Frame(frame(3, 100))));
    assert_eq!(core.bytes_resent, 100);
    let frames = effects.iter().filter(|e| matches!(e, SendEffect::Send(Message::Frame(_))));
    assert_eq!(frames.count(), 1);
}

#[test]
fn a_drain_that_broke_off_does_not_go_on_by_itself() {
    let mut core = up_with(SETTINGS);
    core.step(look(0), SendEvent::Frame(frame(1, 100)));
    core.step(look(0), SendEvent::Drain);
    let settled = Look { settled: Some(base(1)), ..look(0) };
    let effects = core.step(settled, SendEvent::Woke);
    assert_eq!(effects, [SendEffect::Send(finish(1))]);
    core.step(settled, SendEvent::Broken);
    core.step(settled, SendEvent::Connected);
    // Changes may be made again: nothing is finished, and it comes close as if for the first time.
    let effects = answer(&mut core, settled, Message::Ready { received: Some(mark(1)), older: 0 });
    assert_eq!(effects, []);
    assert!(core.is_close(settled));
    let effects = core.step(settled, SendEvent::Drain);
    assert_eq!(effects, [SendEffect::Send(finish(1))]);
}

#[test]
fn a_receiver_without_memory_makes_it_begin_anew() {
    let mut core = up_with(SETTINGS);
    core.step(look(9), SendEvent::Frame(frame(1, 100)));
    core.step(look(0), SendEvent::Broken);
    core.step(look(0), SendEvent::Connected);
    let effects = answer(&mut core, look(0), Message::Ready { received: None, older: 0 });
    assert_eq!(effects, [SendEffect::BeginAnew]);
    assert!(matches!(core.begin_anew(base(5)), Message::Begin { .. }));
    answer(&mut core, look(0), Message::Ready { received: Some(mark(5)), older: 0 });
    assert!(core.wants_frame());
}

#[test]
fn finished_is_only_what_the_object_still_is() {
    let mut core = up_with(SETTINGS);
    core.step(look(0), SendEvent::Drain);
    let settled = |sequence| Look { settled: Some(base(sequence)), ..look(0) };
    let effects = core.step(settled(3), SendEvent::Woke);
    assert_eq!(effects, [SendEffect::Send(finish(3))]);
    let again = answer(&mut core, settled(4), Message::Finished { mark: mark(3) });
    assert_eq!(core.finished(), None);
    assert_eq!(again, [SendEffect::Send(finish(4))]);
    answer(&mut core, settled(4), Message::Finished { mark: mark(4) });
    assert_eq!(core.finished(), Some(base(4)));
}

#[test]
fn what_was_promised_or_was_copied_must_be_durable_at_the_receiver() {
    for (copied, promised, wanted) in [(false, 0, 0), (false, 2, 2), (true, 0, 1), (true, 2, 2)] {
        let mut core = up_with(SETTINGS);
        let mut first = frame(1, 4096);
        if copied {
            first.change = FrameChange::Hole(Span::new(0, EXTENT_BYTES).unwrap());
        }
        core.step(look(0), SendEvent::Frame(first));
        core.step(look(0), SendEvent::Frame(frame(2, 100)));
        core.step(look(0), SendEvent::Frame(frame(3, 100)));
        core.step(Look { promised: mark(promised), ..look(0) }, SendEvent::Drain);
        // What becomes durable later nobody was promised.
        let settled = Look { settled: Some(base(3)), promised: mark(3), ..look(0) };
        let effects = core.step(settled, SendEvent::Woke);
        let finish = Message::Finish { end: base(3), durable: mark(wanted) };
        assert_eq!(effects, [SendEffect::Send(finish)]);
    }
}

#[test]
fn beside_a_fast_writer_it_calls_more_and_more_close() {
    let mut core = up_with(SETTINGS);
    let at = |millis, queued_bytes| {
        let backlog = Backlog { frames: 1, queued_bytes, ..Backlog::default() };
        Look { now: Duration::from_millis(millis), backlog, ..look(0) }
    };
    let closes = |core: &SendCore, millis| {
        (0..64).take_while(|step| core.is_close(at(millis, step << 16))).count()
    };
    core.step(at(0, 0), SendEvent::Woke);
    let limits: Vec<_> = (0..12).map(|round| closes(&core, round * 10)).collect();
    assert!(limits[0] < 4 && limits.is_sorted(), "{limits:?}");
    assert_eq!(limits[11], 33, "no more than the settings say: {limits:?}");
    assert!(core.wake_at(at(0, 0)).is_some_and(|at| at < Duration::from_millis(50)));
    assert_eq!(core.wake_at(at(500, 0)), None);
}

#[test]
fn a_round_more_is_asked_for_only_if_more_was_promised() {
    let mut core = up_with(SETTINGS);
    let with = |promised| Look { promised: mark(promised), ..look(0) };
    let large = 512 << 10;
    assert_eq!(syncs(&core.step(with(0), SendEvent::Frame(frame(1, large)))), 0);
    answer(&mut core, with(0), Message::Received { mark: mark(1) });
    assert!(core.is_close(with(0)) && !core.is_close(with(1)));
    let later = Look { now: Duration::from_secs(1), ..with(1) };
    assert!(core.is_close(later), "so little is made durable at the end, too");
    assert_eq!(syncs(&core.step(with(1), SendEvent::Woke)), 1);
    assert!(!core.is_close(with(0)), "a sync runs");
    let durable = Message::Durable { round: core.round, mark: mark(1) };
    assert_eq!(syncs(&answer(&mut core, with(1), durable)), 0);
    assert!(core.is_close(with(1)));
    // A mark that no frame carries: no round would bring it.
    assert_eq!(syncs(&core.step(with(2), SendEvent::Woke)), 0);
    assert!(core.is_close(with(2)));
}

#[test]
fn no_round_is_asked_for_behind_a_finish() {
    let mut core = up_with(SETTINGS);
    for sequence in 1..=20 {
        core.step(look(9), SendEvent::Frame(frame(sequence, 1 << 20)));
    }
    assert!(core.round_running);
    for _ in 0..4 {
        core.step(look(0), SendEvent::Copied(Ok(None)));
    }
    core.step(look(0), SendEvent::Drain);
    let settled = Look { settled: Some(base(20)), ..look(0) };
    let effects = core.step(settled, SendEvent::Woke);
    assert_eq!(effects, [SendEffect::Send(finish(20))]);
    let durable = Message::Durable { round: core.round, mark: mark(8) };
    assert_eq!(answer(&mut core, settled, durable), []);
}

#[test]
fn senseless_answers_end_it() {
    let answers = [
        Message::Ready { received: None, older: 0 },
        Message::Received { mark: mark(9) },
        Message::Durable { round: Round::default(), mark: mark(0) },
        Message::Finished { mark: mark(0) },
        Message::Sync { round: Round::default() },
        finish(0),
    ];
    for senseless in answers {
        let mut core = up_with(SETTINGS);
        answer(&mut core, look(0), senseless);
        assert_eq!(core.fault(), Some(TransferFault::Protocol));
        assert!(!core.wants_frame());
    }
}

#[test]
fn settings_that_would_not_get_on_are_refused() {
    assert_eq!(SendSettings::default().check(), Ok(()));
    let queue = SendSettings { queue_bytes: 4 << 20, ..SETTINGS };
    assert_eq!(queue.check(), Err(BadSettings::Queue));
    let none = SendSettings { copies_at_a_time: 0, ..SETTINGS };
    assert_eq!(none.check(), Err(BadSettings::Queue));
    let small = SendSettings { window_bytes: 1, ..SETTINGS };
    assert_eq!(small.check(), Err(BadSettings::Small));
    let rate = SendSettings { rate_bytes_per_second: Some(0), ..SETTINGS };
    assert_eq!(rate.check(), Err(BadSettings::Rate));
}

/// One that is up, with an older copy at the receiver, before the first copy.
fn asking(older: u64) -> (SendCore, Vec<SendEffect>) {
    let mut core = core_with(SETTINGS);
    let ready = Message::Ready { received: Some(mark(0)), older };
    let effects = answer(&mut core, at(0), ready);
    (core, effects)
}

/// With all from `next` to 1000 still to be copied.
fn at(next: u64) -> Look {
    let backlog = Backlog { to_copy: 1000 - next, next: Some(next), ..Backlog::default() };
    Look { backlog, ..look(0) }
}

fn questions(effects: &[SendEffect]) -> Vec<(u64, u32)> {
    let question = |effect: &SendEffect| match effect {
        SendEffect::Send(Message::Compare { first, count }) => Some((*first, *count)),
        _ => None,
    };
    effects.iter().filter_map(question).collect()
}

fn compared(first: u64, count: usize) -> Message {
    Message::Compared { first, held: vec![None; count] }
}

#[test]
fn copies_wait_until_it_is_known_what_an_older_copy_holds() {
    let (mut core, effects) = asking(100);
    assert_eq!((questions(&effects), copies(&effects)), (vec![(0, 64), (64, 36)], 0));
    let effects = answer(&mut core, at(0), compared(0, 64));
    assert_eq!(effects[0], SendEffect::Learn(0, vec![None; 64]));
    assert_eq!(copies(&effects), 4);
    // The next ones are still being asked about.
    let (mut core, _) = asking(100);
    answer(&mut core, at(0), compared(0, 64));
    assert_eq!(copies(&core.step(at(63), SendEvent::Copied(Ok(Some(copied(0)))))), 0);
    assert_eq!(core.wake_at(at(63)), None);
}

#[test]
fn answers_may_come_in_any_order() {
    let (mut core, _) = asking(100);
    let effects = answer(&mut core, at(0), compared(64, 36));
    assert_eq!((&effects[0], copies(&effects)), (&SendEffect::Learn(64, vec![None; 36]), 0));
    assert_eq!(copies(&answer(&mut core, at(0), compared(0, 64))), 4);
    assert_eq!(core.fault(), None);
}

#[test]
fn what_is_beyond_the_older_copy_does_not_wait() {
    let (mut core, _) = asking(2);
    answer(&mut core, at(0), compared(0, 2));
    let effects = core.step(at(2), SendEvent::Woke);
    assert_eq!((questions(&effects), copies(&effects)), (vec![], 0), "four are under way");
    let effects = core.step(at(2), SendEvent::Copied(Ok(Some(copied(0)))));
    assert_eq!(copies(&effects), 1);
}

#[test]
fn it_is_asked_about_no_more_than_a_little_ahead_and_not_about_what_was_passed_over() {
    let (mut core, effects) = asking(900);
    assert_eq!(questions(&effects), [(0, 64), (64, 64)]);
    let effects = answer(&mut core, at(0), compared(0, 64));
    assert_eq!(questions(&effects), [(128, 64)]);
    answer(&mut core, at(0), compared(64, 64));
    let effects = answer(&mut core, at(0), compared(128, 64));
    assert_eq!(questions(&effects), [], "far enough");
    assert_eq!(questions(&core.step(at(800), SendEvent::Woke)), [(800, 64)]);
}

#[test]
fn an_answer_to_what_was_not_asked_ends_the_transfer() {
    let (mut core, _) = asking(100);
    answer(&mut core, at(0), compared(0, 63));
    assert_eq!(core.fault(), Some(TransferFault::Protocol));
}

#[test]
fn after_a_break_nothing_waits_for_answers_that_will_not_come() {
    let (mut core, _) = asking(100);
    core.step(at(0), SendEvent::Frame(frame(1, 1)));
    core.step(at(0), SendEvent::Broken);
    core.step(at(0), SendEvent::Connected);
    let ready = Message::Ready { received: Some(mark(1)), older: 100 };
    assert_eq!(copies(&answer(&mut core, at(0), ready)), 4);
    // If it broke before anything was sent, all begins again, the questions too.
    let (mut core, _) = asking(100);
    core.step(at(0), SendEvent::Broken);
    core.step(at(0), SendEvent::Connected);
    let ready = Message::Ready { received: Some(mark(0)), older: 100 };
    assert_eq!(questions(&answer(&mut core, at(0), ready)), [(0, 64), (64, 36)]);
}

#[test]
fn what_the_receiver_holds_must_be_durable_there_like_what_is_copied() {
    let mut core = up_with(SETTINGS);
    let woken = core.step(look(1), SendEvent::Woke);
    assert_eq!(copies(&woken), 1);
    let held = Copied { mark: mark(3), held: true, ..copied(1 << 20) };
    let nothing = Frame { change: FrameChange::Nothing, ..frame(3, 0) };
    core.step(look(0), SendEvent::Frame(nothing));
    let effects = core.step(look(0), SendEvent::Copied(Ok(Some(held))));
    assert_eq!((syncs(&effects), core.is_close(look(0))), (1, false));
    assert_eq!((core.bytes_copied, core.bytes_held), (0, 1 << 20));
    let durable = Message::Durable { round: core.round, mark: mark(3) };
    answer(&mut core, look(0), durable);
    assert!(core.is_close(look(0)));
}
