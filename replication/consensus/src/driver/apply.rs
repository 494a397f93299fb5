//! The "apply" thread: calls the state machines.

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, Receiver, SyncSender},
};

use model::{GroupId, Index, Refusal};

use super::{
    APPLY_THREAD, StateMachines,
    queue::{PanicWatch, Shared},
};
use crate::{
    Committed, Effect, Ticket,
    limits::{APPLY_ENTRIES_MAX, APPLY_STEPS_MAX},
};

/// What a step leaves to be done.
#[derive(Default)]
pub(super) struct Work {
    entries: BTreeMap<GroupId, Vec<Committed>>,
    pub(super) refused: Vec<(Ticket, Refusal)>,
    pub(super) checkpoints: Vec<GroupId>,
    /// Told after the entries, in order.
    pub(super) news: Vec<Effect>,
}

impl Work {
    pub(super) fn add(&mut self, group: GroupId, mut entries: Vec<Committed>) {
        self.entries.entry(group).or_default().append(&mut entries);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.refused.is_empty()
            && self.checkpoints.is_empty()
            && self.news.is_empty()
    }

    fn len(&self) -> usize {
        self.entries.values().map(Vec::len).sum()
    }

    fn merge(&mut self, later: Self) {
        for (group, entries) in later.entries {
            self.add(group, entries);
        }
        self.refused.extend(later.refused);
        self.checkpoints.extend(later.checkpoints);
        self.news.extend(later.news);
    }
}

/// The way from the log thread, which waits when the state machines can't keep up.
pub(super) fn channel() -> (SyncSender<Work>, Receiver<Work>) {
    mpsc::sync_channel(APPLY_STEPS_MAX)
}

pub(super) fn run(shared: &Shared, mut machines: Box<dyn StateMachines>, works: &Receiver<Work>) {
    let _panic = PanicWatch { shared, thread: APPLY_THREAD };
    while let Ok(mut work) = works.recv() {
        // A state machine costs by the batch: what has piled up goes in as one.
        while work.len() < APPLY_ENTRIES_MAX
            && let Ok(later) = works.try_recv()
        {
            work.merge(later);
        }
        if let Some(done) = perform(shared, machines.as_mut(), work) {
            shared.board.lock().applied.extend(done);
        } else {
            return;
        }
    }
}

/// Does it all and says what was applied; nothing, if there was a fault.
fn perform(
    shared: &Shared,
    machines: &mut dyn StateMachines,
    work: Work,
) -> Option<Vec<(GroupId, Index)>> {
    let mut done = Vec::with_capacity(work.entries.len());
    for (group, entries) in work.entries {
        if shared.has_failed() {
            return None;
        }
        let last = entries.last().map(|entry| (group, entry.index));
        if let Err(fault) = machines.apply(group, entries) {
            shared.fail(fault.into());
            return None;
        }
        done.extend(last);
    }
    for (ticket, refusal) in work.refused {
        machines.refused(ticket, refusal);
    }
    for group in work.checkpoints {
        machines.checkpoint_wanted(group);
    }
    for effect in work.news {
        tell(machines, effect);
    }
    Some(done)
}

/// Entries that came later may have been applied before: that makes nothing told here untrue. To a
/// group that is told to install a snapshot none come.
fn tell(machines: &mut dyn StateMachines, effect: Effect) {
    match effect {
        Effect::ReadReady { ticket, .. } => machines.read_ready(ticket),
        Effect::RoleChanged { group, role } => machines.role_changed(group, role),
        Effect::SnapshotWanted { group } => machines.snapshot_wanted(group),
        Effect::InstallSnapshot { group, from, point, membership } => {
            machines.install_snapshot(group, from, point, membership);
        }
        Effect::LogReset { group, index } => machines.log_reset(group, index),
        // Told in ways of their own.
        Effect::Opened { .. }
        | Effect::Lost { .. }
        | Effect::Refused { .. }
        | Effect::Send { .. }
        | Effect::Apply { .. }
        | Effect::Cut { .. }
        | Effect::CheckpointWanted { .. } => {}
    }
}
