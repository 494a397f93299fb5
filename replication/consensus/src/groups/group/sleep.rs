//! A group of several that nobody uses costs nothing: all of it sleeps.
//!
//! Invariant: a leader sleeps only when everybody has all of its log and knows it to be committed,
//! so nobody misses anything; a sleeping leader has no read lease, and a woken member waits for a
//! whole election timeout before it doubts its leader, unless it is told that the leader is gone.
//! Anything that is asked of the group or said to it wakes it; that its state machine has applied
//! or checkpointed does not. Absent on purpose: knowing that a sleeping leader has died: the caller
//! does, and says so.

use model::{ApplianceId, GroupId, Index, Term};
use raft::{
    StateRole,
    eraftpb::{Message, MessageType},
};

use super::Group;
use crate::{LogStore, PeerMessage, limits::SLEEP_TICKS};

impl<L: LogStore> Group<L> {
    /// Something is asked of the group.
    pub(in super::super) fn wake(&mut self) {
        if self.asleep {
            self.asleep = false;
            self.idle = 0;
            self.node.raft.election_elapsed = 0;
            self.reads.forget_answers();
            self.reads.settle(self.me, &self.membership);
        }
    }

    /// The group is used.
    pub(in super::super) fn used(&mut self) {
        self.wake();
        self.idle = 0;
    }

    /// Answers to beats that were sent before falling asleep wake nobody.
    pub(super) fn sleeps_through(&self, message: &Message) -> bool {
        self.asleep
            && self.is_leader()
            && message.term <= self.node.raft.term
            && message.get_msg_type() == MessageType::MsgHeartbeatResponse
    }

    pub(super) fn sleep_if_idle(&mut self) {
        if self.idle < SLEEP_TICKS || !self.is_leader() || !self.all_agree() {
            return;
        }
        let (term, commit) = (self.term(), self.last());
        let others = self.node.raft.prs().iter().map(|(id, _)| ApplianceId::new(*id));
        let others = others.filter(|id| *id != self.me);
        let mut told: Vec<_> = others.map(|to| (to, PeerMessage::Sleep { term, commit })).collect();
        // In an order of ours: raft-rs keeps them in none.
        told.sort_unstable_by_key(|(to, _)| *to);
        self.outgoing.append(&mut told);
        self.asleep = true;
    }

    fn all_agree(&self) -> bool {
        let raft = &self.node.raft;
        let last = self.last();
        let here = self.handed.index == last && !self.membership.is_joint();
        let others = || raft.prs().iter().filter(|(id, _)| **id != self.me.get());
        self.id != GroupId::FLEET
            && here
            && !self.alone
            && raft.lead_transferee.is_none()
            && !self.reads.are_waiting()
            && others().all(|(_, other)| {
                other.matched == last.get() && other.committed_index == last.get()
            })
    }

    /// The leader sleeps. Who does not agree with it stays awake, and wakes it in time.
    pub(super) fn sleep_if_told(&mut self, from: ApplianceId, term: Term, commit: Index) {
        let raft = &self.node.raft;
        let follows = raft.state == StateRole::Follower
            && raft.leader_id == from.get()
            && self.term() == term;
        let agrees = self.last() == commit && raft.raft_log.committed == commit.get();
        if follows && agrees && self.installing.is_none() && self.id != GroupId::FLEET {
            self.asleep = true;
        }
    }
}
