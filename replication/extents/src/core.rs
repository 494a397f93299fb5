//! Everything that is decided about one object's data: marks, times, sizes, the order of spans,
//! when its record must say "dirty", what an fsync covers, and whether its copy is broken.
//!
//! Invariants: marks and ctimes only grow; `size` is what the bytes will be once every entered
//! change is done, and is corrected as soon as one comes short; a change counts as synced only by
//! an fsync that began after it was done. PURE: an event in, a verdict out.
//! Absent on purpose: IO, locks, waiting, clocks, knowledge of files.

mod follow;
mod spans;
mod stream;
mod touched;

use model::{DataFacts, Mark, Refusal, Reign, RequestKey, Sequence, Span, Stamp, Timestamp};

pub(crate) use spans::Ticket;
use spans::{Marks, Spans, Work};
pub use stream::Base;
pub(crate) use stream::BatchEnd;
pub use touched::Touched;

use crate::record::{Record, RecordState};

/// What a change's mark and times are made of.
#[derive(Clone, Copy, Debug)]
pub struct Stamping {
    /// The wall clock.
    pub now: Timestamp,
    /// The reign under which the caller acts; an older one than the object's last is fenced.
    pub reign: Reign,
    /// A ctime given out by somebody else (the catalog's): the change's is later.
    pub ctime_floor: Timestamp,
    /// The client's call that makes it: other copies get to know it.
    pub key: Option<RequestKey>,
    /// Whether whoever makes it waits until it is durable everywhere.
    pub secure: bool,
}

/// What went wrong with this appliance's copy of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFault {
    /// A write failed other than for want of space.
    Write,
    /// A change of size failed other than for want of space.
    SetSize,
    /// The record beside the bytes could not be written.
    Record,
    /// An fsync failed: what it should have covered may be lost.
    Fsync,
}

/// A change that has its mark and its place in the span queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) ticket: Ticket,
    pub(crate) reign: Reign,
    pub(crate) key: Option<RequestKey>,
    pub(crate) secure: bool,
    /// Just before this change, and just after it: one atomic step.
    pub(crate) before: DataFacts,
    pub(crate) after: DataFacts,
}

/// How a read begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadPlan {
    /// What there is of the bytes asked for; with a place in the queue unless that is nothing.
    pub(crate) span: Span,
    pub(crate) ticket: Option<Ticket>,
    /// Whether nothing follows `span`.
    pub(crate) eof: bool,
    pub(crate) facts: DataFacts,
}

/// Why a file gave fewer bytes than its object has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShortRead {
    /// The object ends there after all: an earlier change came short.
    End,
    /// A change of size is still to come: ask again.
    Early,
    /// The bytes are missing.
    Missing,
}

/// A number of changes that an fsync must cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changes(u64);

/// What to do for somebody who wants changes synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncStep {
    /// They are.
    Done,
    /// Never: the copy is broken.
    Refused,
    /// Another fsync is under way; ask again when it has ended.
    Wait,
    /// Begin one.
    Start,
}

/// What one fsync covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    changes: Changes,
    /// Everything up to here is in it.
    mark: Mark,
    /// Nothing after this is in it; some changes between may be.
    reached: Mark,
}

/// One object's data, as the owner keeps it in memory.
#[derive(Debug)]
pub(crate) struct Core {
    spans: Spans,
    size_done: u64,
    size: u64,
    used: u64,
    stamp: Option<Stamp>,
    given: Mark,
    sequence_floor: Sequence,
    durable: Mark,
    promised: Mark,
    /// Its name may not be that of its bytes.
    in_doubt: bool,
    /// Of this name it is to be, and has the first pieces.
    becoming: Option<Mark>,
    /// Other appliances' copies follow it, or it follows another's.
    shared: bool,
    touched: Touched,
    /// Every good copy is known to hold all up to here.
    settled: Mark,
    /// The mark of the last record that says so.
    settled_recorded: Mark,
    flagged: Option<Reign>,
    done: Changes,
    synced: Changes,
    syncing: bool,
    fault: Option<CopyFault>,
}

impl Core {
    /// An object without a backing file. Sequences start above `sequence_floor`.
    pub(crate) fn empty(sequence_floor: Sequence) -> Self {
        Self {
            spans: Spans::default(),
            size_done: 0,
            size: 0,
            used: 0,
            stamp: None,
            given: Mark::default(),
            sequence_floor,
            durable: Mark::default(),
            promised: Mark::default(),
            in_doubt: false,
            becoming: None,
            shared: false,
            touched: Touched::default(),
            settled: Mark::default(),
            settled_recorded: Mark::default(),
            flagged: None,
            done: Changes(0),
            synced: Changes(0),
            syncing: false,
            fault: None,
        }
    }

    /// An object as its backing file shows it. A dirty record means an unclean stop: bytes may have
    /// changed after `record`, so the times move now.
    pub(crate) fn loaded(
        size: u64,
        record: Option<Record>,
        now: Timestamp,
        sequence_floor: Sequence,
    ) -> Self {
        let mut core = Self::empty(sequence_floor);
        core.size_done = size;
        core.size = size;
        let Some(record) = record else {
            core.in_doubt = size > 0;
            return core;
        };
        core.stamp = Some(record.stamp);
        core.given = record.stamp.mark;
        core.touched.lose();
        match record.state {
            RecordState::Clean => {
                core.durable = record.stamp.mark;
                core.promised = record.stamp.mark;
                core.settled = record.stamp.mark;
                core.settled_recorded = record.stamp.mark;
            }
            RecordState::Dirty => core.restamp(now),
            RecordState::InDoubt => core.doubt(),
        }
        core
    }

    /// Size, disk use and stamp.
    pub(crate) fn facts(&self) -> DataFacts {
        DataFacts { size: self.size, used: self.used, stamp: self.stamp }
    }

    /// Takes note of the disk use.
    pub(crate) fn set_used(&mut self, used: u64) {
        self.used = used;
    }

    /// The last mark given out, and the last one that is durable with all before it.
    pub(crate) fn marks(&self) -> (Mark, Mark) {
        (self.given, self.durable)
    }

    /// No change after this mark is in any sync that succeeded. A change before it may be, though
    /// an earlier one is still under way: whoever asked was told that it is durable.
    pub(crate) fn promised(&self) -> Mark {
        self.promised
    }

    /// Gives a write its mark, times and place.
    pub(crate) fn begin_write(&mut self, span: Span, stamping: Stamping) -> Result<Begun, Refusal> {
        let end = span.end();
        // A write beyond the end also makes the bytes between: whoever reads those waits for it.
        let start = span.offset().min(self.size);
        let touched = Span::new(start, end - start).ok_or(Refusal::FileTooBig)?;
        let size = self.size.max(end);
        self.begin_change((touched, span), Work::Write { end }, size, stamping)
    }

    /// Gives a change of size its mark, times and place.
    pub(crate) fn begin_set_size(
        &mut self,
        size: u64,
        stamping: Stamping,
    ) -> Result<Begun, Refusal> {
        let touched = Span::from_offset(size.min(self.size));
        self.begin_change((touched, between(size, self.size)), Work::SetSize(size), size, stamping)
    }

    /// Gives a read of whatever there is of `span` its place.
    pub(crate) fn begin_read(&mut self, span: Span) -> Result<ReadPlan, Refusal> {
        let facts = self.facts();
        let len = span.len().min(self.size.saturating_sub(span.offset()));
        let clipped = Span::new(span.offset(), len).ok_or(Refusal::Invalid)?;
        let eof = span.offset() + len >= self.size;
        let ticket = match clipped.is_empty() {
            true => None,
            false => {
                self.admit_span()?;
                let marks = Marks { previous: self.given, own: self.given };
                Some(self.spans.enter(clipped, Work::Read, marks))
            }
        };
        Ok(ReadPlan { span: clipped, ticket, eof, facts })
    }

    /// Whether the entry's turn has come.
    pub(crate) fn may_run(&self, ticket: Ticket) -> bool {
        self.spans.may_run(ticket)
    }

    /// A write is over: it put its bytes up to `reached` (its start, if none).
    pub(crate) fn finish_write(&mut self, ticket: Ticket, reached: Reached) {
        let entry = self.spans.leave(ticket);
        debug_assert!(matches!(entry.work, Work::Write { .. }));
        if let Reached::UpTo(end) = reached {
            self.size_done = self.size_done.max(end);
        }
        self.change_done();
    }

    /// A change of size is over.
    pub(crate) fn finish_set_size(&mut self, ticket: Ticket, outcome: Sized) {
        let entry = self.spans.leave(ticket);
        if let (Work::SetSize(size), Sized::AsAsked) = (entry.work, outcome) {
            self.size_done = size;
        }
        self.change_done();
    }

    /// A read is over.
    pub(crate) fn finish_read(&mut self, ticket: Ticket) {
        self.spans.leave(ticket);
    }

    /// An entry that never ran, or of which nobody knows how far it came, leaves.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        match self.spans.leave(ticket).work {
            Work::Read => {}
            Work::Write { .. } | Work::SetSize(_) => self.change_done(),
        }
    }

    /// What it means that a read which had its turn got nothing from `offset` on, though the object
    /// was longer when the read began.
    pub(crate) fn judge_short_read(&self, offset: u64) -> ShortRead {
        if self.size <= offset {
            ShortRead::End
        } else if self.spans.changes().next().is_some() {
            ShortRead::Early
        } else {
            ShortRead::Missing
        }
    }

    /// Takes a mark for a change that is made elsewhere, so that its order with changes of data is
    /// defined.
    pub(crate) fn take_mark(&mut self, reign: Reign) -> Result<Mark, Refusal> {
        self.give_mark(reign)
    }

    /// The ctime given out from now on is later than `given`, which somebody else gave out for a
    /// change that came after our last.
    pub(crate) fn raise_ctime(&mut self, given: Timestamp) {
        if let Some(stamp) = &mut self.stamp
            && stamp.ctime >= given
        {
            stamp.ctime = stamp.ctime.advanced_to(given);
            self.done.0 += 1;
        }
    }

    /// The sequence below which a later incarnation of this core must not start: only if more
    /// marks were given out than the record shows.
    pub(crate) fn sequence_beyond_record(&self) -> Option<Sequence> {
        let recorded = self.stamp.map_or(Mark::default(), |stamp| stamp.mark);
        (self.given > recorded).then_some(self.given.sequence)
    }

    /// Whether bytes may be written under `reign` without a new dirty record first.
    pub(crate) fn is_flagged(&self, reign: Reign) -> bool {
        self.flagged == Some(reign)
    }

    /// The record to write before bytes are written.
    pub(crate) fn dirty_record(&self) -> Option<Record> {
        self.record(RecordState::Dirty)
    }

    /// A dirty record of `reign` is in the file.
    pub(crate) fn set_flagged(&mut self, reign: Reign) {
        self.flagged = Some(reign);
    }

    /// What must be synced so that all changes done by now are durable.
    pub(crate) fn target(&self) -> Changes {
        self.done
    }

    /// What to do for somebody who wants `target` synced.
    pub(crate) fn sync_step(&self, target: Changes) -> SyncStep {
        if self.fault.is_some() {
            SyncStep::Refused
        } else if self.synced >= target {
            SyncStep::Done
        } else if self.syncing {
            SyncStep::Wait
        } else {
            SyncStep::Start
        }
    }

    /// There is no backing file, so the changes up to `target` did nothing to bytes: they gave the
    /// copy a name, or failed.
    pub(crate) fn nothing_to_sync(&mut self, target: Changes) {
        self.synced = self.synced.max(target);
    }

    /// An fsync is about to begin: from here on the next write flags the record anew, unless
    /// changes are under way, which keep it dirty.
    pub(crate) fn begin_sync(&mut self) -> Batch {
        assert!(!self.syncing, "one fsync of an object at a time");
        self.syncing = true;
        let first = self.spans.changes().next();
        let mark = first.map_or(self.given, |entry| entry.marks.previous);
        if first.is_none() {
            self.flagged = None;
        }
        self.settled_recorded = Mark::default();
        Batch { changes: self.done, mark, reached: self.given }
    }

    /// The record to write before the fsync of `batch`: clean, unless something came in between.
    pub(crate) fn record_for(&self, batch: &Batch) -> Option<Record> {
        let quiet = self.spans.changes().next().is_none() && self.done == batch.changes;
        self.record(match quiet {
            false => RecordState::Dirty,
            // Until the fsync is over, a power cut may leave a part of what its name says.
            true if self.shared || self.in_doubt => RecordState::InDoubt,
            true => RecordState::Clean,
        })
    }

    /// The record to write after an fsync, without another, once every good copy is known to hold
    /// the same: its name is that of its bytes, and nobody else's copy can be another.
    pub(crate) fn record_after(&self) -> Option<Record> {
        let proven = !self.is_uncommitted() && !self.in_doubt && self.flagged.is_none();
        let quiet = self.spans.changes().next().is_none();
        let news = |record: &Record| {
            let mark = record.stamp.mark;
            self.settled >= mark && self.settled_recorded < mark
        };
        self.record(RecordState::Clean)
            .filter(|record| self.shared && proven && quiet && news(record))
    }

    /// The record of [`Self::record_after`] is in the file.
    pub(crate) fn set_settled_recorded(&mut self, record: &Record) {
        self.settled_recorded = record.stamp.mark;
    }

    /// The fsync of `batch` succeeded.
    pub(crate) fn finish_sync(&mut self, batch: Batch) {
        self.syncing = false;
        self.synced = self.synced.max(batch.changes);
        self.durable = self.durable.max(batch.mark);
        self.promised = self.promised.max(batch.reached);
    }

    /// The fsync under way failed, or was never run: nothing is known.
    pub(crate) fn abandon_sync(&mut self) {
        self.syncing = false;
        self.flagged = None;
    }

    /// This copy is broken; the first reason stays. Whether it is news.
    pub(crate) fn fail(&mut self, fault: CopyFault) -> bool {
        let news = self.fault.is_none();
        self.fault.get_or_insert(fault);
        news
    }

    /// Why this copy is broken.
    pub(crate) fn fault(&self) -> Option<CopyFault> {
        self.fault
    }

    /// Somebody took responsibility for what was lost: the times move, for bytes may have.
    pub(crate) fn clear_fault(&mut self, now: Timestamp) -> Option<CopyFault> {
        let fault = self.fault.take()?;
        self.flagged = None;
        self.restamp(now);
        Some(fault)
    }

    /// Whether an fsync is owed.
    pub(crate) fn is_uncommitted(&self) -> bool {
        self.synced < self.done
    }

    /// Whether nobody works on it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.spans.is_empty() && !self.syncing
    }

    fn begin_change(
        &mut self,
        (touched, differs): (Span, Span),
        work: Work,
        size: u64,
        stamping: Stamping,
    ) -> Result<Begun, Refusal> {
        if self.fault.is_some() {
            return Err(Refusal::Fault);
        }
        self.admit_span()?;
        let before = self.facts();
        let previous = self.given;
        let mark = self.give_mark(stamping.reign)?;
        let last = self.stamp.map_or(Timestamp::default(), |stamp| stamp.ctime);
        let ctime = last.max(stamping.ctime_floor).advanced_to(stamping.now);
        self.stamp = Some(Stamp { mark, mtime: ctime, ctime });
        // Given once, to these very bytes, whatever they were before.
        self.in_doubt = false;
        self.touched.note(differs, mark);
        self.size = size;
        Ok(Begun {
            ticket: self.spans.enter(touched, work, Marks { previous, own: mark }),
            reign: stamping.reign,
            key: stamping.key,
            secure: stamping.secure,
            before,
            after: self.facts(),
        })
    }

    fn admit_span(&self) -> Result<(), Refusal> {
        if self.spans.len() >= SPANS_PER_OBJECT_MAX {
            return Err(Refusal::Busy);
        }
        Ok(())
    }

    fn give_mark(&mut self, reign: Reign) -> Result<Mark, Refusal> {
        if reign < self.given.reign {
            return Err(Refusal::Fenced);
        }
        let mut mark = self.given.next_under(reign);
        mark.sequence = mark.sequence.max(self.sequence_floor.next());
        self.given = mark;
        Ok(mark)
    }

    fn change_done(&mut self) {
        self.done.0 += 1;
        // Changes that are done commute with those still under way (they do not overlap), so the
        // size to come is what is there with the rest applied in order.
        self.size = self.spans.changes().fold(self.size_done, |size, entry| match entry.work {
            Work::Read => size,
            Work::Write { end } => size.max(end),
            Work::SetSize(to) => to,
        });
    }

    fn restamp(&mut self, now: Timestamp) {
        let Some(stamp) = &mut self.stamp else { return };
        let ctime = stamp.ctime.advanced_to(now);
        let sequence = self.given.sequence.get().saturating_add(RESTAMP_SEQUENCES);
        self.given.sequence = Sequence::new(sequence);
        *stamp = Stamp { mark: self.given, mtime: ctime, ctime };
        self.done.0 += 1;
        self.doubt();
    }

    fn doubt(&mut self) {
        self.in_doubt = true;
        self.touched.lose();
    }

    fn record(&self, state: RecordState) -> Option<Record> {
        self.stamp.map(|stamp| Record { state, stamp })
    }
}

/// The bytes that a change of size makes or takes.
fn between(size: u64, other: u64) -> Span {
    let start = size.min(other);
    Span::new(start, size.max(other) - start).unwrap_or(Span::from_offset(start))
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Not a byte was written.
    Nowhere,
    /// Everything up to this byte.
    UpTo(u64),
}

/// What became of a change of size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sized {
    /// The object has the new size.
    AsAsked,
    /// It has the size it had.
    AsBefore,
}

/// Entries in one object's span queue. A kernel client keeps at most a few hundred requests in
/// flight; the queue is searched from end to end, so it must stay short.
pub(crate) const SPANS_PER_OBJECT_MAX: usize = 1024;

/// How far the sequence jumps when times are stamped anew without knowing which sequences were
/// given out since the record was written: more changes than can happen between two fsyncs, and
/// still few enough for 2^24 jumps in one reign.
const RESTAMP_SEQUENCES: u64 = 1 << 40;

#[cfg(test)]
mod tests;
