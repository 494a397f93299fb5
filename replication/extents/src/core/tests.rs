use model::{Epoch, View};
use proptest::prelude::*;

use super::*;

fn reign(view: u64) -> Reign {
    Reign { epoch: Epoch::new(0), view: View::new(view) }
}

fn stamping(now: u64) -> Stamping {
    Stamping {
        now: Timestamp::from_nanos(now),
        reign: reign(1),
        ctime_floor: Timestamp::default(),
        key: None,
        secure: false,
    }
}

fn span(offset: u64, len: u64) -> Span {
    Span::new(offset, len).unwrap()
}

fn empty() -> Core {
    Core::empty(Sequence::default())
}

fn of_size(size: u64) -> Core {
    Core::loaded(size, None, Timestamp::default(), Sequence::default())
}

fn dirty_record(sequence: u64, time: u64) -> Record {
    Record {
        state: RecordState::Dirty,
        stamp: Stamp {
            mark: Mark { reign: reign(1), sequence: Sequence::new(sequence) },
            mtime: Timestamp::from_nanos(time),
            ctime: Timestamp::from_nanos(time),
        },
    }
}

#[test]
fn overlapping_writes_wait_in_order_and_others_do_not() {
    let mut core = of_size(100);
    let first = core.begin_write(span(0, 10), stamping(1)).unwrap().ticket;
    let second = core.begin_write(span(5, 10), stamping(1)).unwrap().ticket;
    let apart = core.begin_write(span(20, 10), stamping(1)).unwrap().ticket;
    assert!(core.may_run(first) && core.may_run(apart) && !core.may_run(second));
    core.finish_write(first, Reached::UpTo(10));
    assert!(core.may_run(second));
}

#[test]
fn a_read_of_the_hole_that_a_write_will_make_waits_for_it() {
    let mut core = of_size(10);
    core.begin_write(span(50, 10), stamping(1)).unwrap();
    let plan = core.begin_read(span(20, 10)).unwrap();
    assert!(!core.may_run(plan.ticket.unwrap()));
}

#[test]
fn a_write_waits_for_an_earlier_read_of_its_bytes() {
    let mut core = of_size(10);
    let read = core.begin_read(span(0, 10)).unwrap().ticket.unwrap();
    let write = core.begin_write(span(0, 1), stamping(1)).unwrap().ticket;
    assert!(!core.may_run(write));
    core.finish_read(read);
    assert!(core.may_run(write));
}

#[test]
fn a_failed_write_takes_its_size_back() {
    let mut core = of_size(10);
    let begun = core.begin_write(span(10, 10), stamping(1)).unwrap();
    assert_eq!((begun.before.size, begun.after.size), (10, 20));
    core.finish_write(begun.ticket, Reached::Nowhere);
    assert_eq!(core.facts().size, 10);
}

#[test]
fn a_write_that_nobody_finishes_takes_its_size_back() {
    let mut core = of_size(10);
    let begun = core.begin_write(span(10, 10), stamping(1)).unwrap();
    core.abandon(begun.ticket);
    assert_eq!(core.facts().size, 10);
}

#[test]
fn times_move_even_if_the_clock_does_not() {
    let mut core = empty();
    let first = core.begin_write(span(0, 1), stamping(5)).unwrap();
    let second = core.begin_write(span(1, 1), stamping(5)).unwrap();
    let ctime = |begun: Begun| begun.after.stamp.unwrap().ctime.as_nanos();
    assert_eq!((ctime(first), ctime(second)), (5, 6));
}

#[test]
fn a_change_is_later_than_the_ctime_floor() {
    let mut core = empty();
    let mut stamping = stamping(5);
    stamping.ctime_floor = Timestamp::from_nanos(100);
    let begun = core.begin_write(span(0, 1), stamping).unwrap();
    assert_eq!(begun.after.stamp.unwrap().ctime.as_nanos(), 101);
}

#[test]
fn an_older_reign_is_fenced() {
    let mut core = empty();
    core.take_mark(reign(2)).unwrap();
    let refused = core.begin_write(span(0, 1), stamping(1));
    assert_eq!(refused.unwrap_err(), Refusal::Fenced);
}

#[test]
fn a_mark_taken_before_a_core_was_forgotten_is_not_given_again() {
    let mut core = empty();
    core.take_mark(reign(1)).unwrap();
    let taken = core.take_mark(reign(1)).unwrap();
    let floor = core.sequence_beyond_record().unwrap();
    let mut core = Core::empty(floor);
    let begun = core.begin_write(span(0, 1), stamping(1)).unwrap();
    assert!(begun.after.stamp.unwrap().mark > taken);
}

#[test]
fn a_dirty_record_moves_times_and_mark_when_it_is_loaded() {
    let record = dirty_record(7, 1000);
    let core = Core::loaded(5, Some(record), Timestamp::from_nanos(10), Sequence::default());
    let stamp = core.facts().stamp.unwrap();
    assert!(stamp.mtime > record.stamp.mtime && stamp.mark > record.stamp.mark);
    assert!(core.is_uncommitted());
}

#[test]
fn a_first_write_of_a_new_reign_flags_the_record_again() {
    let mut core = empty();
    core.set_flagged(reign(1));
    assert!(core.is_flagged(reign(1)) && !core.is_flagged(reign(2)));
}

#[test]
fn an_fsync_that_begins_while_a_write_is_under_way_leaves_the_record_dirty() {
    let mut core = empty();
    let first = core.begin_write(span(0, 1), stamping(1)).unwrap();
    core.set_flagged(reign(1));
    core.finish_write(first.ticket, Reached::UpTo(1));
    core.begin_write(span(1, 1), stamping(2)).unwrap();
    let batch = core.begin_sync();
    let record = core.record_for(&batch).unwrap();
    assert_eq!(record.state, RecordState::Dirty);
    assert!(core.is_flagged(reign(1)));
}

#[test]
fn what_a_sync_covers_was_promised_though_an_earlier_write_is_still_under_way() {
    let mut core = of_size(100);
    let slow = core.begin_write(span(0, 10), stamping(1)).unwrap();
    let slow_mark = core.marks().0;
    let quick = core.begin_write(span(50, 10), stamping(2)).unwrap();
    let quick_mark = core.marks().0;
    core.finish_write(quick.ticket, Reached::UpTo(60));
    let batch = core.begin_sync();
    let later = core.begin_write(span(80, 10), stamping(3)).unwrap();
    core.finish_sync(batch);
    assert!(core.marks().1 < slow_mark, "not all up to there is durable");
    assert_eq!(core.promised(), quick_mark);
    core.finish_write(slow.ticket, Reached::UpTo(10));
    core.finish_write(later.ticket, Reached::UpTo(90));
    let batch = core.begin_sync();
    core.finish_sync(batch);
    let (given, durable) = core.marks();
    assert_eq!((durable, core.promised()), (given, given));
}

#[test]
fn a_write_that_begins_just_after_an_fsync_flags_the_record_anew() {
    let mut core = empty();
    let first = core.begin_write(span(0, 1), stamping(1)).unwrap();
    core.set_flagged(reign(1));
    core.finish_write(first.ticket, Reached::UpTo(1));
    let batch = core.begin_sync();
    assert_eq!(core.record_for(&batch).unwrap().state, RecordState::Clean);
    core.begin_write(span(1, 1), stamping(2)).unwrap();
    assert!(!core.is_flagged(reign(1)));
    assert_eq!(core.record_for(&batch).unwrap().state, RecordState::Dirty);
}

#[test]
fn an_fsync_does_not_cover_what_was_done_after_it_began() {
    let mut core = empty();
    let first = core.begin_write(span(0, 1), stamping(1)).unwrap();
    core.finish_write(first.ticket, Reached::UpTo(1));
    let covered = core.target();
    let batch = core.begin_sync();
    let late = core.begin_write(span(1, 1), stamping(2)).unwrap();
    core.finish_write(late.ticket, Reached::UpTo(2));
    let not_covered = core.target();
    assert_eq!(core.sync_step(covered), SyncStep::Wait);
    core.finish_sync(batch);
    assert_eq!(core.sync_step(covered), SyncStep::Done);
    assert_eq!(core.sync_step(not_covered), SyncStep::Start);
}

#[test]
fn a_broken_copy_refuses_changes_and_commits_until_it_is_cleared() {
    let mut core = empty();
    assert!(core.fail(CopyFault::Fsync) && !core.fail(CopyFault::Write));
    let refused = core.begin_write(span(0, 1), stamping(1));
    assert_eq!(refused.unwrap_err(), Refusal::Fault);
    assert_eq!(core.sync_step(core.target()), SyncStep::Refused);
    let cleared = core.clear_fault(Timestamp::from_nanos(1));
    assert_eq!(cleared, Some(CopyFault::Fsync));
    assert!(core.begin_write(span(0, 1), stamping(1)).is_ok());
}

#[test]
fn a_later_entry_with_an_earlier_time_moves_the_ctime() {
    let mut core = empty();
    let begun = core.begin_write(span(0, 1), stamping(50)).unwrap();
    core.finish_write(begun.ticket, Reached::UpTo(1));
    core.raise_ctime(Timestamp::from_nanos(40));
    assert_eq!(core.facts().stamp.unwrap().ctime.as_nanos(), 51);
    core.raise_ctime(Timestamp::from_nanos(60));
    assert_eq!(core.facts().stamp.unwrap().ctime.as_nanos(), 51);
}

#[test]
fn the_span_queue_is_bounded() {
    let mut core = of_size(1);
    for _ in 0..SPANS_PER_OBJECT_MAX {
        core.begin_read(span(0, 1)).unwrap();
    }
    assert_eq!(core.begin_read(span(0, 1)).unwrap_err(), Refusal::Busy);
}

#[derive(Clone, Debug)]
enum Action {
    Write {
        offset: u64,
        len: u64,
    },
    SetSize(u64),
    Read {
        offset: u64,
        len: u64,
    },
    /// Run one of those whose turn has come; it gets this many bytes done at most.
    Run {
        choice: usize,
        bytes: u64,
    },
    BeginSync,
    EndSync,
}

#[derive(Clone, Debug)]
enum Kind {
    Write { offset: u64, len: u64, fill: u8 },
    SetSize(u64),
    Read(Span),
}

#[derive(Clone, Debug)]
struct Op {
    ticket: Ticket,
    mark: Mark,
    kind: Kind,
}

/// Objects with one core, and a file that is changed only when an operation has its turn; beside
/// it what each operation did, to do it all again in order.
struct Bench {
    core: Core,
    file: Vec<u8>,
    waiting: Vec<Op>,
    done: Vec<(Op, u64)>,
    last: Stamp,
    sync: Option<(Batch, Vec<Mark>)>,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            core: empty(),
            file: Vec::new(),
            waiting: Vec::new(),
            done: Vec::new(),
            last: Stamp::default(),
            sync: None,
            now: 0,
        }
    }

    fn begun(&mut self, begun: Begun, kind: Kind) {
        let stamp = begun.after.stamp.unwrap();
        assert!(stamp.mark > self.last.mark && stamp.ctime > self.last.ctime);
        self.last = stamp;
        self.waiting.push(Op { ticket: begun.ticket, mark: stamp.mark, kind });
    }

    fn act(&mut self, action: Action) {
        self.now += 1;
        match action {
            Action::Write { offset, len } => {
                let begun = self.core.begin_write(span(offset, len), stamping(self.now / 3));
                let fill = self.now as u8 | 1;
                self.begun(begun.unwrap(), Kind::Write { offset, len, fill });
            }
            Action::SetSize(size) => {
                let begun = self.core.begin_set_size(size, stamping(self.now / 3));
                self.begun(begun.unwrap(), Kind::SetSize(size));
            }
            Action::Read { offset, len } => {
                let plan = self.core.begin_read(span(offset, len)).unwrap();
                assert_eq!(plan.eof, offset + plan.span.len() >= plan.facts.size);
                if let Some(ticket) = plan.ticket {
                    self.waiting.push(Op {
                        ticket,
                        mark: self.core.marks().0,
                        kind: Kind::Read(plan.span),
                    });
                }
            }
            Action::Run { choice, bytes } => self.run(choice, bytes),
            Action::BeginSync if self.sync.is_none() => {
                let batch = self.core.begin_sync();
                let unfinished = self.waiting.iter();
                let changes = unfinished.filter(|op| !matches!(op.kind, Kind::Read(_)));
                self.sync = Some((batch, changes.map(|op| op.mark).collect()));
            }
            Action::BeginSync => {}
            Action::EndSync => {
                if let Some((batch, unfinished)) = self.sync.take() {
                    let (_, before) = self.core.marks();
                    self.core.finish_sync(batch);
                    let (given, durable) = self.core.marks();
                    assert!(durable >= before);
                    assert!((durable..=given).contains(&self.core.promised()));
                    assert!(unfinished.iter().all(|mark| *mark > durable));
                }
            }
        }
    }

    fn run(&mut self, choice: usize, bytes: u64) {
        let ready: Vec<usize> = (0..self.waiting.len())
            .filter(|index| self.core.may_run(self.waiting[*index].ticket))
            .collect();
        assert!(self.waiting.is_empty() || !ready.is_empty(), "deadlock");
        let Some(index) = ready.get(choice % ready.len().max(1)) else {
            return;
        };
        let op = self.waiting.remove(*index);
        let bytes = match op.kind {
            Kind::Write { len, .. } => bytes.min(len),
            Kind::SetSize(_) | Kind::Read(_) => bytes,
        };
        match &op.kind {
            Kind::Read(span) => self.read(op.ticket, *span),
            Kind::Write { offset, .. } => {
                apply(&mut self.file, &op.kind, bytes);
                let reached = match bytes {
                    0 => Reached::Nowhere,
                    _ => Reached::UpTo(offset + bytes),
                };
                self.core.finish_write(op.ticket, reached);
            }
            Kind::SetSize(_) => {
                apply(&mut self.file, &op.kind, bytes);
                let sized = match bytes {
                    0 => Sized::AsBefore,
                    _ => Sized::AsAsked,
                };
                self.core.finish_set_size(op.ticket, sized);
            }
        }
        self.done.push((op, bytes));
        if self.waiting.is_empty() {
            assert_eq!(self.core.facts().size, self.file.len() as u64);
        }
    }

    /// A read gets what the changes before it, done in order, leave there.
    fn read(&mut self, ticket: Ticket, span: Span) {
        self.core.finish_read(ticket);
        let expected = self.in_order(Some(ticket));
        let end = (span.end() as usize).min(self.file.len());
        let found = self.file.get(span.offset() as usize..end).unwrap_or(&[]);
        let end = (span.end() as usize).min(expected.len());
        let wanted = expected.get(span.offset() as usize..end).unwrap_or(&[]);
        if (found.len() as u64) < span.len() {
            let judged = self.core.judge_short_read(span.offset() + found.len() as u64);
            assert_ne!(judged, ShortRead::Missing);
            if judged == ShortRead::Early {
                return;
            }
        }
        // A later change beyond an earlier one that failed may have made a hole there meanwhile.
        let hole = &found[wanted.len()..];
        assert_eq!(&found[..wanted.len()], wanted);
        assert!(hole.iter().all(|byte| *byte == 0));
    }

    /// What all changes that are done and came before `ticket` make, one after the other.
    fn in_order(&self, before: Option<Ticket>) -> Vec<u8> {
        let mut done: Vec<&(Op, u64)> = self
            .done
            .iter()
            .filter(|(op, _)| before.is_none_or(|ticket| op.ticket < ticket))
            .collect();
        done.sort_by_key(|(op, _)| op.ticket);
        let mut file = Vec::new();
        for (op, bytes) in done {
            apply(&mut file, &op.kind, *bytes);
        }
        file
    }
}

fn apply(file: &mut Vec<u8>, kind: &Kind, bytes: u64) {
    match *kind {
        Kind::Read(_) => {}
        Kind::SetSize(size) if bytes > 0 => file.resize(size as usize, 0),
        Kind::SetSize(_) => {}
        Kind::Write { .. } if bytes == 0 => {}
        Kind::Write { offset, fill, .. } => {
            let end = (offset + bytes) as usize;
            file.resize(file.len().max(end), 0);
            file[offset as usize..end].fill(fill);
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    // Mostly everything is written; sometimes part of it, or nothing.
    let bytes = prop_oneof![8 => Just(u64::MAX), 1 => 0..8_u64];
    prop_oneof![
        4 => (0..60_u64, 1..20_u64).prop_map(|(offset, len)| Action::Write { offset, len }),
        1 => (0..80_u64).prop_map(Action::SetSize),
        2 => (0..80_u64, 0..20_u64).prop_map(|(offset, len)| Action::Read { offset, len }),
        6 => (any::<usize>(), bytes)
            .prop_map(|(choice, bytes)| Action::Run { choice, bytes }),
        1 => Just(Action::BeginSync),
        1 => Just(Action::EndSync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_runs_at_once_the_bytes_are_those_of_the_order_of_sequences(
        actions in prop::collection::vec(action(), 1..80),
        choices in prop::collection::vec(any::<usize>(), 80),
    ) {
        let mut bench = Bench::new();
        for action in actions {
            bench.act(action);
        }
        for choice in choices {
            bench.act(Action::Run { choice, bytes: u64::MAX });
        }
        prop_assert!(bench.waiting.is_empty());
        prop_assert_eq!(&bench.file, &bench.in_order(None));
        prop_assert_eq!(bench.core.facts().size, bench.file.len() as u64);
        bench.act(Action::EndSync);
        bench.act(Action::BeginSync);
        bench.act(Action::EndSync);
        let (given, durable) = bench.core.marks();
        prop_assert_eq!(given, durable);
        prop_assert!(!bench.core.is_uncommitted());
    }
}
