//! Lines that wait for one hearer.
//!
//! Invariant: at most so many lines; of more, the oldest are dropped and counted. Absent on
//! purpose: hearers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Line;

/// A queue; copies are the same one.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    more: Condvar,
    lines_max: usize,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    dropped: u64,
    /// The hearer has taken a line and not come back yet.
    busy: bool,
    has_hearer: bool,
    closed: bool,
}

/// What a hearer is to tell next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This line.
    Line(Line),
    /// So many lines were dropped before the next one.
    Dropped(u64),
}

impl Queue {
    pub fn new(lines_max: usize) -> Self {
        let (state, more) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { state, more, lines_max }) }
    }

    pub fn push(&self, line: Line) {
        let mut state = self.shared.state.lock();
        if state.closed {
            return;
        }
        if state.lines.len() >= self.shared.lines_max {
            state.lines.pop_front();
            state.dropped += 1;
        }
        state.lines.push_back(line);
        self.shared.more.notify_one();
    }

    /// Waits for what is to be told next; whatever was taken before has been told.
    pub fn next(&self) -> Next {
        let mut state = self.shared.state.lock();
        state.has_hearer = true;
        loop {
            state.busy = false;
            let dropped = std::mem::take(&mut state.dropped);
            if dropped > 0 {
                state.busy = true;
                return Next::Dropped(dropped);
            }
            if let Some(line) = state.lines.pop_front() {
                state.busy = true;
                return Next::Line(line);
            }
            // Woken for nothing, it looks again.
            _ = self.shared.more.wait_for(&mut state, LOOK_AGAIN);
        }
    }

    /// Nobody will hear: what waits is forgotten, and what comes.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.lines = VecDeque::new();
    }

    pub fn is_empty(&self) -> bool {
        let state = self.shared.state.lock();
        state.lines.is_empty() && !state.busy
    }

    pub fn has_hearer(&self) -> bool {
        self.shared.state.lock().has_hearer
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Severity;

    fn line(text: &str) -> Line {
        let (program, severity) = ("holdfast".into(), Severity::Info);
        Line { program, severity, at: Duration::ZERO, text: text.to_owned() }
    }

    #[test]
    fn a_hearer_that_does_not_listen_misses_the_oldest_and_hears_how_many() {
        let queue = Queue::new(2);
        for text in ["one", "two", "three", "four", "five"] {
            queue.push(line(text));
        }
        assert_eq!(queue.next(), Next::Dropped(3));
        assert_eq!(queue.next(), Next::Line(line("four")));
        assert_eq!(queue.next(), Next::Line(line("five")));
        queue.push(line("six"));
        assert_eq!(queue.next(), Next::Line(line("six")), "counted once");
    }

    #[test]
    fn it_is_empty_only_once_the_last_line_was_told() {
        let queue = Queue::new(2);
        assert!(queue.is_empty() && !queue.has_hearer());
        queue.push(line("one"));
        assert!(!queue.is_empty());
        queue.next();
        assert!(!queue.is_empty(), "it is being told");
        assert!(queue.has_hearer());
    }

    #[test]
    fn where_nobody_will_hear_nothing_is_kept() {
        let queue = Queue::new(2);
        queue.push(line("one"));
        queue.close();
        queue.push(line("two"));
        assert!(queue.is_empty());
    }
}
