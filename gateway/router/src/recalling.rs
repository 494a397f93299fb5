//! What an owner finds out about a file that it changes for the first time since its start: which
//! calls made it what it is, and whether its copy here may be relied on at all.
//!
//! A start forgets the calls; copies elsewhere that followed know them. Invariant: before its first
//! change in a run every call is known here that a client may send again and that is in the bytes
//! here, as far as any good copy knows it. Absent on purpose: copies that must be made equal; see
//! `copies`.

use bytes::Bytes;
use catalog::Imaging;
use extents::CopyState;
use futures_util::future::join_all;
use model::{ApplianceId, Mark, ObjectId, Refusal, RequestKey};

use crate::local::{DataAnswer, Local, OwnFile};
use crate::router::Router;
use crate::wire::copies::{CopyTold, CopyWhat};

/// What becomes of a file whose calls are not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Recall {
    /// These have the same bytes: what they know of calls is true here, too.
    Learn(Vec<ApplianceId>),
    /// Another copy is sure of what it holds, and that is not what is here.
    Yield,
    /// Nobody knows more.
    Begin,
}

impl<S: Imaging> Router<S> {
    /// Learns from the file's good copies which calls made it, once in a run. If one of them is
    /// sure of its copy and this one is in doubt or holds something else, that one owns the file
    /// from here on: it has all that was acknowledged, and knows the calls.
    ///
    /// # Errors
    /// `Fenced`: another one owns the file. `Busy`: a copy did not say.
    pub(crate) async fn recall(
        &self,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
        others: &[ApplianceId],
    ) -> Result<(), Refusal> {
        if local.witnessed.knows(object) {
            return Ok(());
        }
        let here = local.objects.followed(object, file.has_data).await?.state;
        // Nothing was ever done to its bytes.
        if here == CopyState::At(Mark::default()) {
            local.witnessed.learn(object);
            return Ok(());
        }
        let ask = |other: ApplianceId| async move {
            let what = CopyWhat::State { hashes: false };
            (other, self.ask_copy(local, object, other, (what, Bytes::new())).await)
        };
        let mut told = Vec::new();
        for (other, answer) in join_all(others.iter().copied().map(ask)).await {
            match answer {
                Some(CopyTold::State { at, .. }) => told.push((other, at)),
                // It has no file, or can't read it: it is sure of nothing.
                Some(CopyTold::Gap | CopyTold::Refused(_)) => {}
                _ => return Err(Refusal::Busy),
            }
        }
        match recall(here, &told) {
            Recall::Learn(from) => {
                for other in from {
                    let calls = self.calls_known_to(local, object, other).await?;
                    local.data_calls.take_over(object, calls);
                }
            }
            // With `local` what was acknowledged may be here alone.
            Recall::Yield if self.waits_for_all(local) => {
                self.leave_behind(local, file, object, self.parts.appliance).await?;
                return Err(Refusal::Fenced);
            }
            Recall::Yield | Recall::Begin => {}
        }
        local.witnessed.learn(object);
        Ok(())
    }

    async fn calls_known_to(
        &self,
        local: &Local<S>,
        object: ObjectId,
        other: ApplianceId,
    ) -> Result<Vec<(RequestKey, DataAnswer)>, Refusal> {
        let mut known = Vec::new();
        loop {
            let what = CopyWhat::Calls { skip: known.len() as u64 };
            match self.ask_copy(local, object, other, (what, Bytes::new())).await {
                Some(CopyTold::Calls(calls)) if calls.is_empty() => return Ok(known),
                Some(CopyTold::Calls(calls)) => known.extend(calls),
                _ => return Err(Refusal::Busy),
            }
        }
    }
}

/// `told` is what each good copy says it holds; nothing if it is in doubt.
fn recall(here: CopyState, told: &[(ApplianceId, Option<Mark>)]) -> Recall {
    let sure = told.iter().filter_map(|(other, at)| Some((*other, (*at)?)));
    let alike = |(_, at): &(ApplianceId, Mark)| here == CopyState::At(*at);
    let same: Vec<_> = sure.clone().filter(alike).map(|(other, _)| other).collect();
    match (same.is_empty(), sure.count()) {
        (false, _) => Recall::Learn(same),
        (true, 0) => Recall::Begin,
        (true, _) => Recall::Yield,
    }
}

#[cfg(test)]
mod tests {
    use model::{Reign, Sequence};

    use super::*;

    const BOB: ApplianceId = ApplianceId::new(2);
    const CYD: ApplianceId = ApplianceId::new(3);

    fn mark(sequence: u64) -> Mark {
        Mark { reign: Reign::default(), sequence: Sequence::new(sequence) }
    }

    #[test]
    fn calls_are_learnt_from_who_has_the_same_bytes_and_others_that_are_sure_own_the_file() {
        let here = CopyState::At(mark(5));
        let (same, older) = (Some(mark(5)), Some(mark(4)));
        assert_eq!(recall(here, &[(BOB, same), (CYD, None)]), Recall::Learn(vec![BOB]));
        assert_eq!(recall(here, &[(BOB, older), (CYD, same)]), Recall::Learn(vec![CYD]));
        assert_eq!(recall(here, &[(BOB, older), (CYD, None)]), Recall::Yield);
        assert_eq!(recall(CopyState::InDoubt, &[(BOB, None), (CYD, same)]), Recall::Yield);
        assert_eq!(recall(CopyState::InDoubt, &[(BOB, None), (CYD, None)]), Recall::Begin);
        assert_eq!(recall(here, &[]), Recall::Begin);
    }
}
