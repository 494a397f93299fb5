//! The span queue of one object: who works on which bytes, and who must wait for whom.
//!
//! Invariant: of two entries that overlap and of which one changes bytes, the one that entered
//! first runs first; others run at once. So nothing ever waits for a later entry: no deadlock.
//! Absent on purpose: wakers; whoever waits asks again whenever something has left.

use model::{Mark, Span};

/// A place in the queue; later entries have greater ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What an entry does to the bytes of its span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Looks at them.
    Read,
    /// Writes up to `end`.
    Write {
        /// The byte after the last one written, if all goes well.
        end: u64,
    },
    /// Makes the object this many bytes long.
    SetSize(u64),
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) ticket: Ticket,
    pub(crate) work: Work,
    /// Its own mark (a read's is the last one given out) and the one before.
    pub(crate) marks: Marks,
    span: Span,
}

/// Two marks that were given out one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) previous: Mark,
    pub(crate) own: Mark,
}

/// The queue, in order of entry.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    entries: Vec<Entry>,
    entered: u64,
}

impl Work {
    fn changes(self) -> bool {
        match self {
            Self::Read => false,
            Self::Write { .. } | Self::SetSize(_) => true,
        }
    }
}

impl Spans {
    /// Takes the last place.
    pub(crate) fn enter(&mut self, span: Span, work: Work, marks: Marks) -> Ticket {
        self.entered += 1;
        let ticket = Ticket(self.entered);
        self.entries.push(Entry { ticket, work, marks, span });
        ticket
    }

    /// Whether nothing that entered before `ticket` stands in its way any more.
    pub(crate) fn may_run(&self, ticket: Ticket) -> bool {
        let place = self.place(ticket);
        let (before, from) = self.entries.split_at(place);
        !before.iter().any(|earlier| conflict(earlier, &from[0]))
    }

    /// Gives the place up.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Entry {
        let place = self.place(ticket);
        self.entries.remove(place)
    }

    /// Entries that change bytes, first come first.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.work.changes())
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn place(&self, ticket: Ticket) -> usize {
        self.entries
            .binary_search_by_key(&ticket, |entry| entry.ticket)
            .expect("a ticket is used until its place is given up, and not after")
    }
}

fn conflict(a: &Entry, b: &Entry) -> bool {
    match (a.work, b.work) {
        (Work::Read, Work::Read) => false,
        // At the greatest size the span of a size change is empty, yet two of them have an order.
        (Work::SetSize(_), Work::SetSize(_)) => true,
        _ => a.span.overlaps(b.span),
    }
}
