//! When a leader may answer reads: rounds of beats, and the lease that they give.
//!
//! Invariant: a round counts from the moment of the step in which its first beat left, never from
//! its answers, so the lease ends before any follower that answered may vote for another. A round
//! is never numbered twice. Absent on purpose: raft-rs's own lease, which runs from the answers.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use model::{ApplianceId, Index, Membership};

use crate::{
    Ticket,
    limits::{READ_LEASE, READS_MAX, ROUNDS_MAX},
};

/// The rounds of one group's leader, and who waits for them.
#[derive(Default)]
pub(super) struct Reads {
    last_round: u64,
    /// When each of the newest rounds left.
    sent: VecDeque<(u64, Duration)>,
    /// When the newest round left that each member has answered.
    answered: BTreeMap<ApplianceId, Duration>,
    /// When the newest round left that a quorum has answered.
    quorum: Option<Duration>,
    /// Asked since the last round of reads.
    asked: Vec<Ticket>,
    /// Under way: the round, and who waits for it.
    running: VecDeque<(u64, Vec<Ticket>)>,
    /// Confirmed: safe once this entry is handed out.
    confirmed: Vec<(Index, Vec<Ticket>)>,
    #[cfg(test)]
    pub(super) lease_beyond: Duration,
}

impl Reads {
    /// Lets a read wait for the next round; `false` if too many do.
    pub(super) fn ask(&mut self, ticket: Ticket) -> bool {
        let running: usize = self.running.iter().map(|(_, tickets)| tickets.len()).sum();
        let room = self.asked.len() + running < READS_MAX;
        if room {
            self.asked.push(ticket);
        }
        room
    }

    /// Begins a round for all who have asked, if any: what its beats are to carry.
    pub(super) fn begin(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.asked.is_empty() {
            return None;
        }
        let round = self.next_round(now);
        self.running.push_back((round, std::mem::take(&mut self.asked)));
        Some(round.to_le_bytes().to_vec())
    }

    /// What beats that leave now are to carry, if they are not of a round of reads.
    pub(super) fn stamp(&mut self, now: Duration) -> Vec<u8> {
        let round = match self.sent.back() {
            Some((round, sent)) if *sent == now => *round,
            _ => self.next_round(now),
        };
        round.to_le_bytes().to_vec()
    }

    fn next_round(&mut self, now: Duration) -> u64 {
        self.last_round += 1;
        self.sent.push_back((self.last_round, now));
        if self.sent.len() > ROUNDS_MAX {
            self.sent.pop_front();
        }
        self.last_round
    }

    /// `from` has answered a beat that carried `context`.
    pub(super) fn answer(&mut self, from: ApplianceId, context: &[u8]) {
        let Ok(round) = context.try_into().map(u64::from_le_bytes) else {
            return;
        };
        let Ok(at) = self.sent.binary_search_by_key(&round, |(round, _)| *round) else {
            return;
        };
        let sent = self.sent[at].1;
        let newest = self.answered.entry(from).or_insert(sent);
        *newest = sent.max(*newest);
    }

    /// Finds the newest round that a quorum of `membership` has answered.
    pub(super) fn settle(&mut self, me: ApplianceId, membership: &Membership) {
        let half = |voters: &[ApplianceId]| {
            let time = |voter: &ApplianceId| match *voter == me {
                true => Some(Duration::MAX),
                false => self.answered.get(voter).copied(),
            };
            let mut times: Vec<_> = voters.iter().map(time).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            times.get(voters.len() / 2).copied().flatten()
        };
        let incoming = half(&membership.voters);
        self.quorum = match membership.is_joint() {
            true => incoming.min(half(&membership.outgoing)),
            false => incoming,
        };
    }

    /// Until when nobody else can be elected; zero if that is not known.
    pub(super) fn lease_until(&self) -> Duration {
        #[cfg(test)]
        let lease = READ_LEASE + self.lease_beyond;
        #[cfg(not(test))]
        let lease = READ_LEASE;
        self.quorum.map_or(Duration::ZERO, |sent| sent.saturating_add(lease))
    }

    /// Whether anybody waits.
    pub(super) fn are_waiting(&self) -> bool {
        !self.asked.is_empty() || !self.running.is_empty() || !self.confirmed.is_empty()
    }

    /// A round of reads has come through: they may be done once `index` is.
    pub(super) fn confirm(&mut self, context: &[u8], index: Index) {
        let Ok(round) = context.try_into().map(u64::from_le_bytes) else {
            return;
        };
        // A round that came through has carried those before it along.
        while self.running.front().is_some_and(|(first, _)| *first <= round) {
            let (_, tickets) = self.running.pop_front().expect("it is the first");
            self.confirmed.push((index, tickets));
        }
    }

    /// Takes those that may be done now that all up to `handed` is handed out.
    pub(super) fn take_ready(&mut self, handed: Index) -> Vec<(Index, Vec<Ticket>)> {
        match self.confirmed.is_empty() {
            true => Vec::new(),
            false => self.confirmed.extract_if(.., |(index, _)| *index <= handed).collect(),
        }
    }

    /// No beat sent so far gives a lease, and no read waiting for a round will have one: who
    /// waited. Those that were confirmed still hold.
    pub(super) fn end(&mut self) -> Vec<Ticket> {
        self.forget_answers();
        let mut tickets = std::mem::take(&mut self.asked);
        tickets.extend(self.running.drain(..).flat_map(|(_, waiting)| waiting));
        tickets
    }

    /// No beat sent so far gives a lease.
    pub(super) fn forget_answers(&mut self) {
        self.sent.clear();
        self.answered.clear();
        self.quorum = None;
    }

    /// All who wait for anything.
    pub(super) fn into_tickets(mut self) -> impl Iterator<Item = Ticket> {
        let tickets = self.end();
        tickets.into_iter().chain(self.confirmed.into_iter().flat_map(|(_, waiting)| waiting))
    }
}

#[cfg(test)]
mod tests;
