//! Which calls about a file were answered: whoever may own it next must know them, since each of
//! them may come again.
//!
//! Invariant: a copy that counts knows of no change that it does not have. If it did, and became
//! the owner, the call that made the change would be answered a second time, and the change would
//! be lost. So it takes no answer about a change that is yet to come: that one brings its call
//! along. Absent on purpose: when anybody is told.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use extents::CopyState;
use model::{ApplianceId, Mark, ObjectId, Refusal, RequestKey, VolumeId};
use ownership::effective_owner;

use crate::local::{DataAnswer, Local};
use crate::router::Router;
use crate::wire::copies::{CopyTold, CopyWhat};
use crate::wire::{self, Reply, Request};

/// A call, and what it was answered.
type Answered = (RequestKey, DataAnswer);

/// What is known elsewhere of a file's calls, besides those that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowing {
    /// It is true as well.
    Also,
    /// What they did is undone.
    Only,
}

impl<S: Imaging> Router<S> {
    /// Tells a copy that counts, or is about to, the calls about a file of this appliance.
    ///
    /// # Errors
    /// `Busy`: it did not take them.
    pub(crate) async fn tell_copy(
        &self,
        local: &Local<S>,
        object: ObjectId,
        to: ApplianceId,
        (answers, knowing): (&[Answered], Knowing),
    ) -> Result<(), Refusal> {
        for (answers, anew) in in_parts(answers, knowing, BESIDE_ONE) {
            let what = (CopyWhat::Answers { anew }, wire::encode(&answers));
            match self.ask_copy(local, object, to, what).await {
                Some(CopyTold::Knows) => {}
                Some(CopyTold::Refused(refusal)) => return Err(refusal),
                _ => return Err(Refusal::Busy),
            }
        }
        Ok(())
    }

    /// Tells the target of a stream, whose copy does not count before it has everything.
    ///
    /// # Errors
    /// `Fenced`: this appliance does not own the file there. `Busy`: it did not take them.
    pub(crate) async fn tell_target(
        &self,
        (volume, object): (VolumeId, ObjectId),
        to: ApplianceId,
        (answers, knowing): (&[Answered], Knowing),
    ) -> Result<(), Refusal> {
        for (answers, anew) in in_parts(answers, knowing, ANSWERS_AT_ONCE) {
            let request = Request::Answers { volume, object, answers, anew };
            match self.ask_peer(to, &request, Bytes::new(), TARGET_WAIT).await {
                Ok((Reply::At(_), _)) => {}
                Ok((Reply::Not(refusal), _)) => return Err(refusal),
                Ok(_) | Err(_) => return Err(Refusal::Busy),
            }
        }
        Ok(())
    }

    /// Takes what a stream's source has answered.
    pub(crate) fn take_answers(
        &self,
        from: ApplianceId,
        (volume, object): (VolumeId, ObjectId),
        (answers, anew): (Vec<Answered>, bool),
    ) -> Reply {
        let Ok(local) = self.local(volume) else { return Reply::Not(Refusal::Stale) };
        let fleet = self.fleet_now();
        let owner = local.file(object).ok().and_then(|file| {
            effective_owner(file.inode.record()?, |appliance| fleet.is_up(appliance))
        });
        if owner != Some(from) {
            return Reply::Not(Refusal::Fenced);
        }
        if anew {
            local.data_calls.forget_about(object);
        }
        local.data_calls.take_over(object, answers);
        Reply::At(local.catalog.applied_index())
    }

    /// Takes what the owner of the copy here has answered, as far as the copy has come.
    pub(crate) async fn learn_answers(
        &self,
        local: &Local<S>,
        object: ObjectId,
        (mut answers, anew): (Vec<Answered>, bool),
    ) -> CopyTold {
        let has_data = local.file(object).is_ok_and(|file| file.has_data);
        let state = match local.objects.followed(object, has_data).await {
            Ok(copy) => copy.state,
            // It can't be read, or an older one was removed: nothing is known to be there.
            Err(Refusal::Fault | Refusal::Stale) => CopyState::InDoubt,
            Err(refusal) => return CopyTold::Refused(refusal),
        };
        answers.retain(|(_, answer)| is_true_of(answer, state));
        if anew {
            // It is about to hold something else: before it owns the file, others that are sure
            // of theirs are asked.
            local.witnessed.forget(object);
            local.data_calls.forget_about(object);
        }
        local.data_calls.take_over(object, answers);
        CopyTold::Knows
    }
}

/// The calls about a file that are answered here and not among `told`; they are from now on.
pub(crate) fn untold<S>(
    local: &Local<S>,
    object: ObjectId,
    told: &mut HashSet<RequestKey>,
) -> Vec<Answered> {
    let mut all = local.data_calls.answers_about(object);
    all.retain(|(key, _)| told.insert(*key));
    all
}

/// The calls about a file that are known here, but for the first `skip`.
pub(crate) fn calls_known<S>(local: &Local<S>, object: ObjectId, skip: u64) -> CopyTold {
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let all = local.data_calls.answers_about(object);
    CopyTold::Calls(all.into_iter().skip(skip).take(ANSWERS_AT_ONCE).collect())
}

/// Whether a copy in that state has what the answer says was done.
fn is_true_of(answer: &DataAnswer, state: CopyState) -> bool {
    let mark = match answer {
        DataAnswer::WroteAt(_, mark) | DataAnswer::SetAt(_, mark) => *mark,
        // Its client does not count on it, whatever was done of it.
        DataAnswer::Refused(_) => return true,
        // Nobody knows by which change.
        DataAnswer::Wrote(_) | DataAnswer::Set(_) => return false,
    };
    match state {
        CopyState::At(at) => mark <= at,
        CopyState::InDoubt => mark == Mark::default(),
    }
}

/// At most so many answers at once. With each part goes whether all that was known before is to be
/// forgotten; then there is one part at least.
fn in_parts(
    answers: &[Answered],
    knowing: Knowing,
    at_once: usize,
) -> impl Iterator<Item = (Vec<Answered>, bool)> {
    let forgets = knowing == Knowing::Only;
    let first = forgets.then(|| answers.split_at(answers.len().min(at_once)));
    let (first, rest) = first.map_or((None, answers), |(first, rest)| (Some(first), rest));
    let others = rest.chunks(at_once).map(move |part| (part.to_vec(), false));
    first.map(|part| (part.to_vec(), true)).into_iter().chain(others)
}

/// Each takes up to a few hundred bytes of a header's 64 KiB.
const ANSWERS_AT_ONCE: usize = 100;
/// What travels beside a header may be 2 MiB. One who knew a part would not know the rest: all that
/// one client's changes of a file can be remembered of fit.
const BESIDE_ONE: usize = 2000;
/// The file's requests wait meanwhile.
const TARGET_WAIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use model::{ClientAddress, Reign, Sequence};

    use super::*;

    fn mark(sequence: u64) -> Mark {
        Mark { reign: Reign::default(), sequence: Sequence::new(sequence) }
    }

    fn set(sequence: u64) -> DataAnswer {
        DataAnswer::SetAt(model::Wcc::default(), mark(sequence))
    }

    #[test]
    fn a_copy_believes_answers_about_changes_that_it_has() {
        let refused = DataAnswer::Refused(Box::new(Refusal::Access.into()));
        for (answer, at_five, in_doubt) in [
            (set(5), true, false),
            (set(6), false, false),
            (set(0), true, true),
            (refused, true, true),
            (DataAnswer::Set(model::Wcc::default()), false, false),
        ] {
            assert_eq!(is_true_of(&answer, CopyState::At(mark(5))), at_five, "{answer:?}");
            assert_eq!(is_true_of(&answer, CopyState::InDoubt), in_doubt, "{answer:?}");
        }
    }

    #[test]
    fn all_answers_are_told_in_parts_and_what_is_undone_is_forgotten_once() {
        let key = |digest| RequestKey { client: ClientAddress::default(), digest };
        let many: Vec<Answered> = (0..250).map(|digest| (key(digest), set(1))).collect();
        for (answers, knowing, wanted) in [
            (&many[..], Knowing::Also, vec![(100, false), (100, false), (50, false)]),
            (&many[..], Knowing::Only, vec![(100, true), (100, false), (50, false)]),
            (&many[..100], Knowing::Only, vec![(100, true)]),
            (&[], Knowing::Only, vec![(0, true)]),
            (&[], Knowing::Also, vec![]),
        ] {
            let parts: Vec<_> = in_parts(answers, knowing, 100).collect();
            let sizes: Vec<_> = parts.iter().map(|(part, anew)| (part.len(), *anew)).collect();
            assert_eq!(sizes, wanted);
            let told: Vec<Answered> = parts.into_iter().flat_map(|(part, _)| part).collect();
            assert_eq!(told, answers);
        }
    }
}
