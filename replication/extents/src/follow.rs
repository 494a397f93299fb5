//! What a copy does with changes that its owner sends to it.
//!
//! Each change names its predecessor, and is executed only on top of exactly that one: so two
//! copies with the same name have the same bytes, whoever sent what to whom, and in which order it
//! came. Invariant: a change is executed once, in its place. Absent on purpose: whether the sender
//! owns the object (`ownership::following` says that), waiting, and the bytes.

use model::Mark;

/// What a copy is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// The change of this mark, and all before it, and nothing else.
    At(Mark),
    /// After an unclean stop, or in the middle of being made equal, nobody can say.
    InDoubt,
}

/// What becomes of changes that come in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The first so many are there already; the others are executed, in order.
    Execute {
        /// How many are there.
        skip: usize,
    },
    /// All of them are there.
    There,
    /// Predecessors are still to come; if they don't, this is a [`Self::Gap`].
    Early,
    /// The copy is not what the owner takes it for: it must be made equal first.
    Gap,
}

/// Admits changes with these `marks`, of which the first follows upon `previous`. Without any it is
/// the question whether the copy is at `previous`.
pub fn admit(copy: CopyState, previous: Mark, marks: &[Mark]) -> Admission {
    let CopyState::At(copy) = copy else { return Admission::Gap };
    let last = marks.last().copied().unwrap_or(previous);
    if copy == last {
        return Admission::There;
    }
    if copy == previous {
        return Admission::Execute { skip: 0 };
    }
    if let Some(found) = marks.iter().position(|mark| *mark == copy) {
        return Admission::Execute { skip: found + 1 };
    }
    // Within a reign there is one sequence of changes: whoever has a later one has all before it.
    if copy > last && copy.reign == last.reign {
        return Admission::There;
    }
    if copy < previous { Admission::Early } else { Admission::Gap }
}

#[cfg(test)]
mod tests {
    use model::{Epoch, Reign, Sequence, View};

    use super::*;

    fn mark(view: u64, sequence: u64) -> Mark {
        let reign = Reign { epoch: Epoch::default(), view: View::new(view) };
        Mark { reign, sequence: Sequence::new(sequence) }
    }

    #[test]
    fn a_change_is_executed_on_top_of_its_predecessor_alone() {
        let at = CopyState::At;
        let marks = [mark(1, 5), mark(1, 6)];
        let admitted = |copy| admit(copy, mark(1, 4), &marks);
        assert_eq!(admitted(at(mark(1, 4))), Admission::Execute { skip: 0 });
        assert_eq!(admitted(at(mark(1, 5))), Admission::Execute { skip: 1 });
        assert_eq!(admitted(at(mark(1, 6))), Admission::There);
        assert_eq!(admitted(at(mark(1, 9))), Admission::There, "sent again, and late");
        assert_eq!(admitted(at(mark(1, 3))), Admission::Early);
        assert_eq!(admitted(CopyState::InDoubt), Admission::Gap);
    }

    #[test]
    fn after_a_take_over_tails_that_differ_are_a_gap_or_come_in_time() {
        let marks = [mark(2, 1)];
        let admitted = |copy| admit(CopyState::At(copy), mark(1, 5), &marks);
        assert_eq!(admitted(mark(1, 5)), Admission::Execute { skip: 0 });
        assert_eq!(admitted(mark(1, 6)), Admission::Gap, "a change that the new owner never had");
        assert_eq!(admitted(mark(1, 4)), Admission::Early);
        assert_eq!(admitted(mark(2, 3)), Admission::There);
        assert_eq!(
            admitted(mark(3, 1)),
            Admission::Gap,
            "a reign that the sender knows nothing of"
        );
    }

    #[test]
    fn without_changes_it_is_a_question() {
        let asked = |copy| admit(CopyState::At(copy), mark(1, 4), &[]);
        assert_eq!(asked(mark(1, 4)), Admission::There);
        assert_eq!(asked(mark(1, 5)), Admission::There, "it has more of the same reign");
        assert_eq!(asked(mark(1, 3)), Admission::Early);
        assert_eq!(asked(mark(2, 1)), Admission::Gap);
    }
}
