//! The copies of other appliances' files that are here: what their owners ask of them.
//!
//! Invariant: a copy takes changes from its file's owner alone, in the view and epoch that are
//! known here; whoever has a change knows the call that made it. Absent on purpose: what comes upon
//! what; the copy itself decides that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use extents::{Frame, FrameChange, Taken};
use model::{ApplianceId, EXTENT_BYTES, Mark, Refusal, Stability, Wcc, Written};
use ownership::{Following, Sender, effective_owner, following};
use volume::Wrote;

use crate::local::{DataAnswer, Local};
use crate::router::Router;
use crate::routing::Patience;
use crate::telling::calls_known;
use crate::wire;
use crate::wire::copies::{self, CopyAsk, CopyTold, CopyWhat, HASHED_MAX};

impl<S: Imaging> Router<S> {
    /// Answers a file's owner about the copy here.
    pub(crate) async fn copy_asked(
        &self,
        from: ApplianceId,
        ask: CopyAsk,
        payload: Bytes,
    ) -> CopyTold {
        let patience = Patience::new(self.parts.clock.since_boot(), CATCH_UP_MAX);
        if self.wait_for_view(ask.view, patience).await.is_err() {
            return CopyTold::NotNow;
        }
        let Ok(local) = self.local(ask.volume) else { return CopyTold::NotNow };
        if self.wait_applied(&local, ask.index, patience).await.is_err() {
            return CopyTold::NotNow;
        }
        let CopyAsk { what, .. } = ask.clone();
        self.is_followed_now(&local, ask.object);
        match what {
            CopyWhat::Changes { previous, settled, durable, told: calls_told, changes } => {
                let Ok(frames) = copies::frames_of(changes, payload) else {
                    return CopyTold::Refused(Refusal::Invalid);
                };
                let upon = (previous, durable);
                let told = self.take_changes(from, &ask, &local, upon, frames).await;
                if calls_told && matches!(told, CopyTold::Has { .. }) {
                    local.witnessed.learn(ask.object);
                }
                local.objects.settled(ask.object, settled);
                told
            }
            CopyWhat::Calls { skip } => match self.becomes_equal(from, &ask, &local) {
                true => calls_known(&local, ask.object, skip),
                false => CopyTold::NotNow,
            },
            CopyWhat::Answers { anew } => {
                let Ok(answers) = wire::decode(&payload) else {
                    return CopyTold::Refused(Refusal::Invalid);
                };
                match self.becomes_equal(from, &ask, &local) {
                    true => self.learn_answers(&local, ask.object, (answers, anew)).await,
                    false => CopyTold::NotNow,
                }
            }
            CopyWhat::State { hashes } => match self.becomes_equal(from, &ask, &local) {
                true => state_of(&ask, &local, hashes).await.unwrap_or_else(CopyTold::Refused),
                false => CopyTold::NotNow,
            },
            CopyWhat::Extent { extent, at } => {
                self.extent_asked(from, &ask, &local, (extent, at)).await
            }
            CopyWhat::Equal { stamp, size, last, pieces, first } => {
                let Ok(pieces) = copies::pieces_of(pieces, payload) else {
                    return CopyTold::Refused(Refusal::Invalid);
                };
                if !self.becomes_equal(from, &ask, &local) {
                    return CopyTold::NotNow;
                }
                let equal = extents::Equal { stamp: stamp.into(), size, first, last };
                match local.objects.make_equal(ask.object, equal, pieces).await {
                    Ok(mark) => CopyTold::Has { mark, durable: false },
                    Err(refusal) => CopyTold::Refused(refusal),
                }
            }
        }
    }

    async fn take_changes(
        &self,
        from: ApplianceId,
        ask: &CopyAsk,
        local: &Arc<Local<S>>,
        (previous, durable): (Mark, bool),
        frames: Vec<Frame>,
    ) -> CopyTold {
        let until = self.parts.clock.since_boot() + EARLY_MAX;
        let has_data = local.file(ask.object).is_ok_and(|file| file.has_data);
        let mark = loop {
            let takes = match frames.is_empty() {
                true => self.becomes_equal(from, ask, local),
                false => self.takes_from(from, ask, local),
            };
            if !takes {
                return CopyTold::NotNow;
            }
            let taken = local.objects.take_changes(ask.object, has_data, previous, frames.clone());
            match taken.await {
                Ok(Taken::At(mark)) => break mark,
                Ok(Taken::Early) if self.parts.clock.since_boot() < until => {
                    tokio::time::sleep(EARLY_AGAIN_AFTER).await;
                }
                Ok(Taken::Early | Taken::Gap) => return CopyTold::Gap,
                Err(Refusal::Busy) => return CopyTold::NotNow,
                Err(Refusal::Fenced) => return CopyTold::Gap,
                Err(refusal) => return CopyTold::Refused(refusal),
            }
        };
        self.remember_calls(local, ask, &frames);
        if durable && let Err(refusal) = local.objects.commit(ask.object, has_data).await {
            return CopyTold::Refused(refusal);
        }
        CopyTold::Has { mark, durable }
    }

    /// A call that comes again after a take-over is not executed twice.
    fn remember_calls(&self, local: &Local<S>, ask: &CopyAsk, frames: &[Frame]) {
        let verifier = self.verifier(ask.volume);
        let answer = |frame: &Frame| {
            let key = frame.key?;
            let answer = match &frame.change {
                FrameChange::Write { bytes, .. } => {
                    let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    let written = Written { count, committed: Stability::Unstable, verifier };
                    DataAnswer::WroteAt(Wrote { written, wcc: Wcc::default() }, frame.mark)
                }
                FrameChange::SetSize(_) => DataAnswer::SetAt(Wcc::default(), frame.mark),
                // It failed: its answer is the owner's to give.
                _ => return None,
            };
            Some((key, answer))
        };
        let answers: Vec<_> = frames.iter().filter_map(answer).collect();
        if !answers.is_empty() {
            local.data_calls.take_over(ask.object, answers);
        }
    }

    /// Whether the copy here takes what that appliance sends, as things stand now.
    pub(crate) fn takes_from(&self, from: ApplianceId, ask: &CopyAsk, local: &Local<S>) -> bool {
        let fleet = self.fleet_now();
        let Ok(inode) = local.inode(ask.object) else { return false };
        let sender = Sender { appliance: from, view: ask.view, epoch: ask.epoch };
        let me = self.parts.appliance;
        inode.record().is_some_and(|record| {
            let stands = following(me, fleet.view(), record, |a| fleet.is_up(a), sender);
            stands == Following::Take
        })
    }

    /// The same for what makes a copy whole: it may be stale.
    fn becomes_equal(&self, from: ApplianceId, ask: &CopyAsk, local: &Local<S>) -> bool {
        let fleet = self.fleet_now();
        let Ok(inode) = local.inode(ask.object) else { return false };
        let me = self.parts.appliance;
        inode.record().is_some_and(|record| {
            let owner = effective_owner(record, |a| fleet.is_up(a));
            let same = ask.view == fleet.view() && ask.epoch == record.epoch;
            owner == Some(from) && same && from != me && record.replicas.contains(&me)
        })
    }
}

async fn state_of<S: Imaging>(
    ask: &CopyAsk,
    local: &Local<S>,
    hashes: bool,
) -> Result<CopyTold, Refusal> {
    let has_data = local.file(ask.object)?.has_data;
    let copy = match local.objects.followed(ask.object, has_data).await {
        Ok(copy) => copy,
        // Its backing file is gone, or was removed with an older copy: whatever the owner has is
        // different.
        Err(Refusal::Fault | Refusal::Stale) => return Ok(CopyTold::Gap),
        Err(refusal) => return Err(refusal),
    };
    let mut told = CopyTold::of_copy(&copy);
    if let CopyTold::State { size, hashes: found, .. } = &mut told
        && hashes
    {
        let count = size.div_ceil(EXTENT_BYTES);
        if count <= HASHED_MAX {
            *found = hash_all(local, ask, has_data, count).await?;
        }
    }
    Ok(told)
}

async fn hash_all<S: Imaging>(
    local: &Local<S>,
    ask: &CopyAsk,
    has_data: bool,
    count: u64,
) -> Result<Vec<[u8; 32]>, Refusal> {
    let mut hashes = Vec::new();
    for extent in 0..count {
        match local.objects.pieces(ask.object, has_data, vec![extent]).await {
            Ok(pieces) => hashes.extend(pieces.iter().map(|piece| piece.hash().0)),
            // It can't be read: whatever the owner has is different.
            Err(Refusal::Fault) => hashes.push(UNREADABLE),
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(hashes)
}

/// The hash of nothing that can be read.
const UNREADABLE: [u8; 32] = [0; 32];
/// The owner asks again.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);
/// Longer than a predecessor is on its way.
const EARLY_MAX: Duration = Duration::from_millis(300);
const EARLY_AGAIN_AFTER: Duration = Duration::from_millis(1);
