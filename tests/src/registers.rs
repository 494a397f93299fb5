//! Whether what clients saw of registers can be told as one story: each operation took effect at
//! one moment between its call and its answer (Herlihy and Wing, "Linearizability", 1990).
//!
//! Invariant: every write writes another value. Then the question has an answer in n log n (Gibbons
//! and Korach, "Testing shared memories", 1997, section 4): the operations on a value are its
//! cluster, and the clusters must fit after one another.

use std::collections::HashMap;
use std::time::Duration;

/// What a client did and saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Of which register.
    pub register: usize,
    /// Whether it wrote or read.
    pub kind: Kind,
    /// What it wrote or read; [`INITIAL`] is what was there before the first write.
    pub value: u64,
    /// When it was called.
    pub called: Duration,
    /// When it was answered; never, if nobody knows what became of it.
    pub answered: Option<Duration>,
}

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It may have taken effect at any time after the call if there was no answer.
    Write,
    /// One without an answer says nothing.
    Read,
}

/// The value of a register that nobody has written.
pub const INITIAL: u64 = 0;

/// Two operations, or more, that contradict one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Why.
    pub why: &'static str,
    /// The operations on the values in question, in the order of their calls.
    pub seen: Vec<Operation>,
}

/// Looks for a contradiction in what was seen of all registers.
///
/// # Errors
/// The first that is found.
pub fn check(history: &[Operation]) -> Result<(), Contradiction> {
    let mut registers: HashMap<usize, HashMap<u64, Cluster>> = HashMap::new();
    for operation in history {
        if operation.kind == Kind::Read && operation.answered.is_none() {
            continue;
        }
        let clusters = registers.entry(operation.register).or_default();
        clusters.entry(operation.value).or_default().0.push(*operation);
    }
    registers.into_values().try_for_each(|clusters| check_register(clusters.into_values()))
}

/// All operations on one value.
#[derive(Clone, Debug, Default)]
struct Cluster(Vec<Operation>);

/// From the first answer to the last call of a cluster. If it goes forward, the register had the
/// value throughout; if backward, at some moment within.
#[derive(Clone, Debug)]
struct Zone {
    cluster: Cluster,
    first_answer: Duration,
    last_call: Duration,
}

impl Cluster {
    fn is_unseen(&self) -> bool {
        self.0.iter().all(|operation| operation.kind == Kind::Write && operation.answered.is_none())
    }

    fn zone(self) -> Result<Zone, Contradiction> {
        let answered = |operation: &Operation| operation.answered.unwrap_or(Duration::MAX);
        let first_answer = self.0.iter().map(answered).min().unwrap_or_default();
        let last_call = self.0.iter().map(|operation| operation.called).max().unwrap_or_default();
        let mut writes = self.0.iter().filter(|operation| operation.kind == Kind::Write);
        let (write, second) = (writes.next(), writes.next());
        let is_initial = self.0.first().is_some_and(|operation| operation.value == INITIAL);
        let (first_answer, why) = match (write, second) {
            (None, _) if is_initial => (Duration::ZERO, None),
            (None, _) => (first_answer, Some("it was read and nobody wrote it")),
            (Some(_), Some(_)) => (first_answer, Some("it was written twice")),
            (Some(write), None) => {
                let early = self.0.iter().any(|read| answered(read) < write.called);
                (first_answer, early.then_some("it was read before it was written"))
            }
        };
        match why {
            Some(why) => Err(contradiction(why, [self])),
            None => Ok(Zone { cluster: self, first_answer, last_call }),
        }
    }
}

fn contradiction(why: &'static str, clusters: impl IntoIterator<Item = Cluster>) -> Contradiction {
    let mut seen: Vec<Operation> = clusters.into_iter().flat_map(|cluster| cluster.0).collect();
    seen.sort_by_key(|operation| operation.called);
    Contradiction { why, seen }
}

fn check_register(clusters: impl Iterator<Item = Cluster>) -> Result<(), Contradiction> {
    let seen = clusters.filter(|cluster| !cluster.is_unseen());
    let zones = seen.map(Cluster::zone).collect::<Result<Vec<_>, _>>()?;
    let goes_forward = |zone: &Zone| zone.first_answer < zone.last_call;
    let (mut forward, backward): (Vec<_>, Vec<_>) = zones.into_iter().partition(goes_forward);
    forward.sort_by_key(|zone| zone.first_answer);
    for pair in forward.windows(2) {
        if pair[1].first_answer < pair[0].last_call {
            let both = [pair[0].cluster.clone(), pair[1].cluster.clone()];
            return Err(contradiction("each was there before the other and after it", both));
        }
    }
    for zone in backward {
        // The last one that began before: none of the others can hold it.
        let at = forward.partition_point(|other| other.first_answer < zone.last_call);
        let around = at.checked_sub(1).map(|at| &forward[at]);
        if let Some(around) = around.filter(|around| zone.first_answer < around.last_call) {
            let both = [around.cluster.clone(), zone.cluster];
            return Err(contradiction("one was there while the other was", both));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn op(kind: Kind, value: u64, called: u64, answered: Option<u64>) -> Operation {
        let (called, answered) = (Duration::from_secs(called), answered.map(Duration::from_secs));
        Operation { register: 0, kind, value, called, answered }
    }

    fn wrote(value: u64, called: u64, answered: u64) -> Operation {
        op(Kind::Write, value, called, Some(answered))
    }

    fn read(value: u64, called: u64, answered: u64) -> Operation {
        op(Kind::Read, value, called, Some(answered))
    }

    fn why(history: &[Operation]) -> &'static str {
        check(history).map_or_else(|found| found.why, |()| "")
    }

    #[test]
    fn what_a_register_can_do_is_no_contradiction() {
        assert_eq!(why(&[read(INITIAL, 1, 2), wrote(7, 3, 4), read(7, 5, 6)]), "");
        assert_eq!(why(&[wrote(7, 1, 4), wrote(8, 2, 5), read(8, 6, 7)]), "");
        assert_eq!(why(&[wrote(7, 1, 4), wrote(8, 2, 5), read(7, 6, 7)]), "");
        let unknown = op(Kind::Write, 8, 2, None);
        assert_eq!(why(&[wrote(7, 1, 3), unknown, read(7, 5, 6), read(8, 8, 9)]), "");
        assert_eq!(why(&[wrote(7, 1, 3), unknown, read(7, 5, 6)]), "");
    }

    #[test]
    fn each_way_to_break_one_is_found() {
        let stale = [wrote(7, 1, 2), wrote(8, 3, 4), read(7, 5, 6)];
        assert_ne!(why(&stale), "", "a stale read");
        assert_ne!(why(&[wrote(7, 1, 2), read(INITIAL, 3, 4)]), "", "a lost write");
        let back = [wrote(7, 1, 2), wrote(8, 3, 9), read(8, 4, 5), read(7, 6, 7)];
        assert_ne!(why(&back), "", "what was seen is unseen");
        assert_ne!(why(&[read(7, 1, 2), wrote(7, 3, 4)]), "", "from the future");
        assert_ne!(why(&[read(9, 1, 2)]), "", "from nowhere");
        let unknown = op(Kind::Write, 8, 2, None);
        let came_back = [unknown, read(8, 3, 4), wrote(9, 5, 6), read(8, 7, 8)];
        assert_ne!(why(&came_back), "", "it took effect twice");
    }

    /// Whether some order of the operations is a register's, by trying all of them.
    fn can_be_ordered(left: &[Operation], value: u64) -> bool {
        let must = |op: &&Operation| op.answered.is_some();
        if !left.iter().any(|op| must(&op)) {
            return true;
        }
        let first_answer = left.iter().filter_map(|op| op.answered).min().unwrap();
        (0..left.len()).filter(|at| left[*at].called <= first_answer).any(|at| {
            let next = left[at];
            let fits = next.kind == Kind::Write || next.value == value;
            let rest: Vec<_> = [&left[..at], &left[at + 1..]].concat();
            fits && can_be_ordered(&rest, next.value)
        })
    }

    #[test]
    fn it_agrees_with_trying_all_orders() {
        let mut random = Random::new(11);
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut history = Vec::new();
            let writes = 1 + random.draw() % 3;
            // No two moments are the same: each is drawn of a grid of its own.
            let moment = |number: u64, random: &mut Random| (random.draw() % 12) * 16 + number;
            let mut number = 0;
            for value in 1..=writes + random.draw() % 4 {
                let (a, b) = (moment(number, &mut random), moment(number + 1, &mut random));
                number += 2;
                let (called, answered) = (a.min(b) + 1, a.max(b) + 1);
                if value <= writes {
                    let answered = Some(answered).filter(|_| !random.draw().is_multiple_of(5));
                    history.push(op(Kind::Write, value, called, answered));
                } else {
                    history.push(read(random.draw() % (writes + 1), called, answered));
                }
            }
            let expected = can_be_ordered(&history, INITIAL);
            assert_eq!(check(&history).is_ok(), expected, "{history:#?}");
            refused += usize::from(!expected);
        }
        assert!((2_000..18_000).contains(&refused), "of both kinds: {refused}");
    }
}
