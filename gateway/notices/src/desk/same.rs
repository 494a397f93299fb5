//! Which notices say the same.
//!
//! Invariant: at most [`SAME_MAX`] are remembered; one that is forgotten is sent again too early
//! rather than never. Absent on purpose: details; facts that differ don't make another notice.

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
        if let Some(seen) = self.seen.get_mut(&key) {
            if now.since(seen.sent_at) < quiet {
                seen.suppressed += 1;
                return Verdict::Repeats(seen.number);
            }
            let suppressed = seen.suppressed;
            *seen = Seen { sent_at: now, number, suppressed: 0 };
            return Verdict::New { suppressed };
        }
        if self.seen.len() == SAME_MAX {
            self.forget_oldest();
        }
        self.seen.insert(key, Seen { sent_at: now, number, suppressed: 0 });
        Verdict::New { suppressed: 0 }
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
}
