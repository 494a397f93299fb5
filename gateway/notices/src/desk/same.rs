//! Which notices say the same.
//!
//! Invariant: at most [`SAME_MAX`] are remembered; one that is forgotten is sent again too early
//! rather than never, and so is one since which something else was told of the same subject by the
//! same job: "down" after "up" is news, however soon. Absent on purpose: details; facts that differ
//! don't make another notice.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::notice::{Notice, Number, Status};
use crate::when::Moment;

#[derive(Default)]
pub(super) struct Same {
    seen: BTreeMap<Key, Seen>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    subject: String,
    job: String,
    status: Status,
    message: String,
}

struct Seen {
    sent_at: Moment,
    number: Number,
    suppressed: u64,
    /// Something else was told since: it is no repetition any more.
    superseded: bool,
}

/// What to do with a notice.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it; so often it was only counted before.
    New { suppressed: u64 },
    /// Count it: it repeats this one.
    Repeats(Number),
}

impl Same {
    /// Whether this notice is sent, as `number`, or counted.
    pub(super) fn judge(
        &mut self,
        now: Moment,
        quiet: Duration,
        notice: &Notice,
        number: Number,
    ) -> Verdict {
        let key = Key {
            subject: notice.subject.clone(),
            job: notice.job.clone(),
            status: notice.status,
            message: notice.message.clone(),
        };
        self.supersede_others(&key);
        if let Some(seen) = self.seen.get_mut(&key) {
            if now.since(seen.sent_at) < quiet && !seen.superseded {
                seen.suppressed += 1;
                return Verdict::Repeats(seen.number);
            }
            let suppressed = seen.suppressed;
            *seen = Seen { sent_at: now, number, suppressed: 0, superseded: false };
            return Verdict::New { suppressed };
        }
        if self.seen.len() == SAME_MAX {
            self.forget_oldest();
        }
        let seen = Seen { sent_at: now, number, suppressed: 0, superseded: false };
        self.seen.insert(key, seen);
        Verdict::New { suppressed: 0 }
    }

    /// What was told before of the same subject by the same job does not hold any more.
    fn supersede_others(&mut self, new: &Key) {
        let first = Key { status: Status::Good, message: String::new(), ..new.clone() };
        for (key, seen) in self.seen.range_mut(first..) {
            if (&key.subject, &key.job) != (&new.subject, &new.job) {
                return;
            }
            seen.superseded |= key != new;
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.number);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.seen.remove(&key);
        }
    }
}

/// As many as are listed; 1.5 MiB if all are as long as they may be.
const SAME_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(subject: usize) -> Notice {
        Notice {
            subject: subject.to_string(),
            job: "fsync".to_owned(),
            status: Status::Error,
            message: "It failed.".to_owned(),
            details: BTreeMap::new(),
        }
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let (mut same, quiet) = (Same::default(), Duration::from_secs(600));
        let mut judge = |subject: usize, number: u64| {
            same.judge(Moment::default(), quiet, &notice(subject), Number::new(number))
        };
        for subject in 0..=SAME_MAX {
            assert_eq!(judge(subject, subject as u64), Verdict::New { suppressed: 0 });
        }
        assert_eq!(judge(1, 5000), Verdict::Repeats(Number::new(1)));
        assert_eq!(judge(0, 5000), Verdict::New { suppressed: 0 }, "it was forgotten");
        assert_eq!(same.seen.len(), SAME_MAX);
    }

    #[test]
    fn down_after_up_is_news_however_soon() {
        let (mut same, quiet) = (Same::default(), Duration::from_secs(600));
        let mut judge = |subject, status, number| {
            let notice = Notice { status, ..notice(subject) };
            same.judge(Moment::default(), quiet, &notice, Number::new(number))
        };
        assert_eq!(judge(1, Status::Error, 1), Verdict::New { suppressed: 0 });
        assert_eq!(judge(1, Status::Error, 2), Verdict::Repeats(Number::new(1)));
        assert_eq!(judge(2, Status::Good, 2), Verdict::New { suppressed: 0 }, "another subject");
        assert_eq!(judge(1, Status::Error, 3), Verdict::Repeats(Number::new(1)));
        assert_eq!(judge(1, Status::Good, 3), Verdict::New { suppressed: 0 });
        assert_eq!(judge(1, Status::Error, 4), Verdict::New { suppressed: 2 });
        assert_eq!(judge(1, Status::Error, 5), Verdict::Repeats(Number::new(4)));
    }
}
