//! Snapshots: those that others need from here, and those that this member needs.
//!
//! Invariant: raft-rs never restores a snapshot. While one is being installed the log stays what it
//! was, so a vote is given by what the log really holds, and nothing is appended or handed out.
//! Once it is installed the log is reset in one durable write and the group opened anew from there;
//! until then the state machine's mark lets a restart finish that write. Absent on purpose: bytes.

use std::sync::Arc;

use model::{ApplianceId, GroupId, Index, Membership, Refusal, Term};
use raft::{
    ProgressState, SnapshotStatus,
    eraftpb::{Entry, HardState, Message, MessageType},
};

use super::{Group, Opened};
use crate::{
    Applied, Durability, Effect, LogBatch, LogFault, LogPoint, LogStore, Origin, PeerMessage,
    limits::SNAPSHOT_RETRY_TICKS, membership,
};

/// A snapshot on its way into the state machine.
pub(super) struct Installing {
    /// The leader's word; stepped at last, so that raft-rs answers it.
    message: Message,
    told: bool,
    /// Entries that turned out to be committed meanwhile, should it fail.
    pub(super) held: Vec<Entry>,
}

impl<L: LogStore> Group<L> {
    pub(in super::super) fn snapshot_made(&mut self, point: LogPoint, membership: &Membership) {
        let known = point.index <= self.handed.index && membership::is_sound(membership);
        self.snapshot_asked = false;
        if known && self.node.store().snapshot_index().is_none_or(|old| old < point.index) {
            self.node.mut_store().set_snapshot(point, membership);
        }
    }

    pub(in super::super) fn snapshot_dropped(&mut self) {
        self.snapshot_asked = false;
        self.node.mut_store().drop_snapshot();
    }

    /// The word that a snapshot is to be fetched may be lost; raft-rs would wait for ever.
    pub(super) fn send_snapshots_again(&mut self) {
        if !self.is_leader() {
            return self.snapshot_ticks.clear();
        }
        let waits = |state| state == ProgressState::Snapshot;
        let waiting: Vec<u64> = self
            .node
            .raft
            .prs()
            .iter()
            .filter_map(|(id, progress)| waits(progress.state).then_some(*id))
            .collect();
        self.snapshot_ticks.retain(|id, _| waiting.contains(id));
        for id in waiting {
            let ticks = self.snapshot_ticks.entry(id).or_default();
            *ticks += 1;
            if *ticks >= SNAPSHOT_RETRY_TICKS {
                *ticks = 0;
                self.node.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }

    /// A snapshot that this member does not need is raft-rs's to answer. One that it needs is a
    /// sign of the leader's life and no more until it is installed.
    pub(super) fn receive_snapshot(&mut self, message: Message) {
        let metadata = message.get_snapshot().get_metadata();
        let log = &self.node.raft.raft_log;
        let old = message.term < self.node.raft.term;
        let known =
            metadata.index <= log.committed || log.match_term(metadata.index, metadata.term);
        if !old && !known {
            let mut beat = Message::default();
            beat.set_msg_type(MessageType::MsgHeartbeat);
            (beat.from, beat.to, beat.term) = (message.from, message.to, message.term);
            self.step(beat);
            let follows = self.node.raft.leader_id == message.from;
            if follows && self.installing.is_none() {
                self.installing = Some(Installing { message, told: false, held: Vec::new() });
            }
        } else if self.installing.is_none() {
            self.step(message);
        }
    }

    /// What the caller is to be told to install, once.
    pub(super) fn install_effect(&mut self) -> Option<Effect> {
        let installing = self.installing.as_mut().filter(|installing| !installing.told)?;
        installing.told = true;
        let metadata = installing.message.get_snapshot().get_metadata();
        Some(Effect::InstallSnapshot {
            group: self.id,
            from: ApplianceId::new(installing.message.from),
            point: LogPoint { index: Index::new(metadata.index), term: Term::new(metadata.term) },
            membership: membership::from_conf_state(metadata.get_conf_state()),
        })
    }

    /// The snapshot is the state machine now: the log follows, durably, and the group goes on from
    /// there. Says who has waited in vain. Nothing, if none was asked for or it is too old to help.
    pub(in super::super) fn snapshot_installed(
        &mut self,
        applied: &Applied,
    ) -> Result<Option<Vec<Effect>>, LogFault> {
        if applied.index <= self.handed.index || !membership::is_sound(&applied.membership) {
            return Ok(None);
        }
        let Some(installing) = self.installing.take() else {
            return Ok(None);
        };
        let store = Arc::clone(self.node.store().store());
        reset(store.as_ref(), self.id, &self.node.raft.hard_state(), applied)?;
        let view = Arc::clone(&self.view);
        let opened = Self::open(self.me, self.id, store, applied, Origin::Snapshot, view)?;
        let Opened::Open(mut anew) = opened else {
            unreachable!("an installed snapshot is never lost");
        };
        anew.listed = self.listed;
        anew.told = self.told;
        // Nobody may take a message sent by the old one for an answer to the new one's: drop them.
        let old = std::mem::replace(self, *anew);
        let (tickets, _) = old.close();
        self.receive_snapshot(installing.message);
        let refused = |ticket| Effect::Refused { ticket, refusal: Refusal::Busy };
        Ok(Some(tickets.into_iter().map(refused).collect()))
    }

    /// It could not be installed: goes on as before, and tells the leader.
    pub(in super::super) fn snapshot_failed(
        &mut self,
        effects: &mut Vec<Effect>,
    ) -> Result<(), LogFault> {
        let Some(installing) = self.installing.take() else {
            return Ok(());
        };
        let mut failed = Message::default();
        failed.set_msg_type(MessageType::MsgSnapStatus);
        (failed.from, failed.to) = (self.me.get(), installing.message.from);
        failed.term = self.node.raft.term;
        failed.reject = true;
        let to = ApplianceId::new(failed.to);
        self.outgoing.push((to, PeerMessage::Raft(Box::new(failed))));
        self.hand_out(installing.held, effects)
    }
}

/// Has the log begin after the entry that the state machine stands at, in one durable write. The
/// vote is kept: it was given by this member, whatever its log was.
pub(super) fn reset<L: LogStore>(
    store: &L,
    group: GroupId,
    old: &HardState,
    applied: &Applied,
) -> Result<(), LogFault> {
    let mut hard_state = HardState { commit: applied.index.get(), ..old.clone() };
    if hard_state.term < applied.term.get() {
        (hard_state.term, hard_state.vote) = (applied.term.get(), 0);
    }
    let point = LogPoint { index: applied.index, term: applied.term };
    let mut batch = LogBatch::default();
    batch.reset(group, point, hard_state);
    store.write(&batch, Durability::Synced)
}
