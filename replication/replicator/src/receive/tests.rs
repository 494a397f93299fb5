use extents::FrameChange;
use model::{Epoch, Reign, Sequence, View};

use super::*;

fn mark(view: u64, sequence: u64) -> Mark {
    let reign = Reign { epoch: Epoch::new(1), view: View::new(view) };
    Mark { reign, sequence: Sequence::new(sequence) }
}

fn base(sequence: u64) -> Base {
    Base { mark: mark(1, sequence), stamp: None, size: 0 }
}

fn frame(mark: Mark) -> Frame {
    Frame { mark, stamp: None, key: None, secure: false, change: FrameChange::Nothing }
}

fn finish(sequence: u64) -> Message {
    Message::Finish { end: base(sequence), durable: mark(1, sequence) }
}

fn hear(core: &mut ReceiveCore, message: Message) -> Vec<ReceiveEffect> {
    core.step(ReceiveEvent::Message(message))
}

fn attempt(number: u64, channel: u32) -> Attempt {
    Attempt { transfer: TransferId::new(Epoch::new(1), number), channel }
}

fn begin() -> Message {
    Message::Begin { attempt: attempt(7, 1), has_data: HasData::Yes, base: base(1) }
}

fn begun() -> ReceiveCore {
    let mut core = ReceiveCore::default();
    core.opened();
    assert_eq!(hear(&mut core, begin()), [ReceiveEffect::Begin(HasData::Yes, base(1))]);
    assert!(!core.wants_more());
    let ready = Message::Ready { received: Some(mark(1, 1)), older: 0 };
    assert_eq!(core.step(ReceiveEvent::Begun(0)), [ReceiveEffect::Answer(ready)]);
    core
}

fn send(core: &mut ReceiveCore, mark: Mark) -> Vec<ReceiveEffect> {
    hear(core, Message::Frame(frame(mark)))
}

#[test]
fn frames_are_executed_in_batches_one_after_the_other() {
    let mut core = begun();
    assert_eq!(send(&mut core, mark(1, 2)), [ReceiveEffect::Apply(vec![frame(mark(1, 2))])]);
    assert_eq!(send(&mut core, mark(1, 3)), []);
    assert_eq!(send(&mut core, mark(1, 5)), []);
    let received = ReceiveEffect::Answer(Message::Received { mark: mark(1, 2) });
    let next = ReceiveEffect::Apply(vec![frame(mark(1, 3)), frame(mark(1, 5))]);
    assert_eq!(core.step(ReceiveEvent::Applied), [received, next]);
}

#[test]
fn an_older_reign_is_fenced_and_a_mark_that_does_not_grow_is_refused() {
    let mut core = begun();
    send(&mut core, mark(2, 1));
    assert_eq!(send(&mut core, mark(1, 9)), [ReceiveEffect::Refuse(Refusal::Fenced)]);
    assert_eq!(send(&mut core, mark(2, 9)), [], "it is over");
    let mut core = begun();
    send(&mut core, mark(1, 2));
    assert_eq!(send(&mut core, mark(1, 2)), [ReceiveEffect::Refuse(Refusal::Invalid)]);
}

#[test]
fn a_round_begins_when_what_came_before_it_is_executed() {
    let mut core = begun();
    send(&mut core, mark(1, 2));
    let round = Round::default();
    assert_eq!(hear(&mut core, Message::Sync { round }), []);
    send(&mut core, mark(1, 3));
    let effects = core.step(ReceiveEvent::Applied);
    assert!(effects.contains(&ReceiveEffect::Sync(round)));
    // The next frames are executed while it runs.
    assert!(effects.contains(&ReceiveEffect::Apply(vec![frame(mark(1, 3))])));
    let durable = ReceiveEffect::Answer(Message::Durable { round, mark: mark(1, 2) });
    assert_eq!(core.step(ReceiveEvent::Synced(round, mark(1, 2))), [durable]);
}

#[test]
fn finished_is_said_after_everything_else() {
    let mut core = begun();
    send(&mut core, mark(1, 2));
    hear(&mut core, Message::Sync { round: Round::default() });
    assert_eq!(hear(&mut core, finish(4)), []);
    core.step(ReceiveEvent::Applied);
    let effects = core.step(ReceiveEvent::Synced(Round::default(), mark(1, 2)));
    assert_eq!(effects[1], ReceiveEffect::Finish(base(4), mark(1, 4)));
    assert_eq!(core.step(ReceiveEvent::Ended), [ReceiveEffect::Done(base(4))]);
}

#[test]
fn what_is_durable_need_not_wait_for_a_sync_of_more() {
    for (durable, waits) in [(2, false), (3, true)] {
        let mut core = begun();
        send(&mut core, mark(1, 2));
        core.step(ReceiveEvent::Applied);
        hear(&mut core, Message::Sync { round: Round::default() });
        core.step(ReceiveEvent::Synced(Round::default(), mark(1, 2)));
        send(&mut core, mark(1, 3));
        core.step(ReceiveEvent::Applied);
        hear(&mut core, Message::Sync { round: Round::default().next() });
        let finish = Message::Finish { end: base(4), durable: mark(1, durable) };
        assert_eq!(hear(&mut core, finish).is_empty(), waits);
    }
}

#[test]
fn a_change_after_finish_is_executed_and_finish_said_again() {
    let mut core = begun();
    assert_eq!(hear(&mut core, finish(4)), [ReceiveEffect::Finish(base(4), mark(1, 4))]);
    assert_eq!(send(&mut core, mark(1, 5)), []);
    let finished = ReceiveEffect::Answer(Message::Finished { mark: mark(1, 4) });
    let apply = ReceiveEffect::Apply(vec![frame(mark(1, 5))]);
    assert_eq!(core.step(ReceiveEvent::Ended), [finished, apply]);
}

#[test]
fn a_new_channel_goes_on_after_what_was_executed() {
    let mut core = begun();
    send(&mut core, mark(1, 2));
    core.step(ReceiveEvent::Applied);
    send(&mut core, mark(1, 3));
    core.opened();
    let resume = Message::Resume { attempt: attempt(7, 2) };
    assert_eq!(hear(&mut core, resume), [ReceiveEffect::Recall]);
    let ready = Message::Ready { received: Some(mark(1, 3)), older: 0 };
    let recalled = core.step(ReceiveEvent::Recalled(Some(mark(1, 3))));
    assert_eq!(recalled, [ReceiveEffect::Answer(ready)]);
    assert_eq!(send(&mut core, mark(1, 3)), [ReceiveEffect::Refuse(Refusal::Invalid)]);
}

#[test]
fn another_transfer_or_a_torn_object_is_begun_anew() {
    let mut core = begun();
    core.opened();
    let unknown = ReceiveEffect::Answer(Message::Ready { received: None, older: 0 });
    let other = Message::Resume { attempt: attempt(8, 1) };
    assert_eq!(hear(&mut core, other), [unknown]);
    let mut core = begun();
    core.opened();
    hear(&mut core, Message::Resume { attempt: attempt(7, 2) });
    core.step(ReceiveEvent::Recalled(None));
    let anew = Message::Begin { attempt: attempt(7, 2), has_data: HasData::Yes, base: base(1) };
    assert_eq!(hear(&mut core, anew), [ReceiveEffect::Begin(HasData::Yes, base(1))]);
}

#[test]
fn a_channel_that_is_heard_after_a_newer_one_changes_nothing() {
    for late in [attempt(7, 1), attempt(7, 2), attempt(6, 9)] {
        let mut core = begun();
        core.opened();
        hear(&mut core, Message::Resume { attempt: attempt(7, 2) });
        core.step(ReceiveEvent::Recalled(Some(mark(1, 1))));
        hear(&mut core, finish(1));
        core.step(ReceiveEvent::Ended);
        core.opened();
        let begin = Message::Begin { attempt: late, has_data: HasData::Yes, base: base(1) };
        assert_eq!(hear(&mut core, begin), [ReceiveEffect::Refuse(Refusal::Fenced)]);
        core.opened();
        let resume = Message::Resume { attempt: late };
        assert_eq!(hear(&mut core, resume), [ReceiveEffect::Refuse(Refusal::Fenced)]);
        core.opened();
        let newer = Message::Resume { attempt: attempt(7, 3) };
        assert_eq!(hear(&mut core, newer), [ReceiveEffect::Recall]);
    }
}

#[test]
fn what_an_owner_never_says_is_refused() {
    for senseless in [
        Message::Ready { received: None, older: 0 },
        Message::Received { mark: mark(1, 1) },
        Message::Durable { round: Round::default(), mark: mark(1, 1) },
        Message::Finished { mark: mark(1, 1) },
        finish(0),
        Message::Refused { refusal: Refusal::Fault },
    ] {
        let mut core = begun();
        assert_eq!(hear(&mut core, senseless), [ReceiveEffect::Refuse(Refusal::Invalid)]);
    }
    for early in [Message::Frame(frame(mark(1, 1))), finish(1)] {
        let mut core = ReceiveCore::default();
        assert_eq!(hear(&mut core, early), [ReceiveEffect::Refuse(Refusal::Invalid)]);
    }
}

#[test]
fn reading_stops_while_much_waits() {
    let mut core = begun();
    send(&mut core, mark(1, 2));
    let mut sequence = 3;
    while core.wants_more() {
        let change = FrameChange::Write { offset: 0, bytes: vec![0; 1 << 20].into() };
        let frame =
            Frame { mark: mark(1, sequence), stamp: None, key: None, secure: false, change };
        assert_eq!(hear(&mut core, Message::Frame(frame)), []);
        sequence += 1;
        assert!(sequence < 20);
    }
    core.step(ReceiveEvent::Applied);
    assert!(core.wants_more());
}

#[test]
fn questions_about_an_older_copy_are_answered_and_too_many_refused() {
    let mut core = ReceiveCore::default();
    core.opened();
    hear(&mut core, begin());
    let ready = Message::Ready { received: Some(mark(1, 1)), older: 9 };
    assert_eq!(core.step(ReceiveEvent::Begun(9)), [ReceiveEffect::Answer(ready)]);
    let ask = |core: &mut ReceiveCore| hear(core, Message::Compare { first: 3, count: 2 });
    assert_eq!(ask(&mut core), [ReceiveEffect::Compare(3..5)]);
    let held = vec![None, Some(ExtentHash([1; 32]))];
    let answer = Message::Compared { first: 3, held: held.clone() };
    let compared = ReceiveEvent::Compared(3, held);
    assert_eq!(core.step(compared), [ReceiveEffect::Answer(answer)]);
    (0..QUESTIONS_MAX).for_each(|_| drop(ask(&mut core)));
    assert_eq!(ask(&mut core), [ReceiveEffect::Refuse(Refusal::Invalid)]);
}
