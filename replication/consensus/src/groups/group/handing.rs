//! Committed entries leave for the state machine, and changes of membership take effect.
//!
//! Invariant: entries leave in order, each once. A change takes effect when it leaves, and never
//! before the log durably knows that it is committed: a member that forgot it would decide with a
//! quorum that is none any more. Absent on purpose: waiting until anything is applied.

use bytes::Bytes;
use model::{ApplianceId, Index, Membership, Refusal, Term};
use raft::eraftpb::Entry;

use super::Group;
use crate::{
    Committed, Durability, Effect, LogBatch, LogFault, LogPoint, LogStore, Ticket, membership,
};

impl<L: LogStore> Group<L> {
    pub(super) fn hand_out(
        &mut self,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), LogFault> {
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let last = Index::new(last.index);
        if entries.iter().any(membership::is_change) {
            self.save_commit()?;
        }
        let mut committed = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let (index, term) = (Index::new(entry.index), Term::new(entry.term));
            assert_eq!(index, self.handed.index.next(), "entries are handed out without gaps");
            let before = std::mem::replace(&mut self.handed, LogPoint { index, term });
            if term > before.term {
                self.refuse_older(term, effects);
            }
            let changed = match membership::is_change(&entry) {
                true => Some(self.enter_change(&entry)?),
                false => None,
            };
            if changed.is_some() {
                entry.data = Bytes::new();
            }
            let ticket = self.settle_tickets(index, term, effects);
            committed.push(Committed {
                index,
                term,
                data: entry.data,
                membership: changed,
                ticket,
            });
        }
        self.node.mut_store().handed_out(last);
        effects.push(Effect::Apply { group: self.id, entries: committed });
        Ok(())
    }

    /// Makes durable that what is committed is, before it changes who decides.
    fn save_commit(&mut self) -> Result<(), LogFault> {
        let mut batch = LogBatch::default();
        batch.set_hard_state(self.id, self.node.raft.hard_state());
        self.node.store().store().write(&batch, Durability::Synced)
    }

    fn enter_change(&mut self, entry: &Entry) -> Result<Membership, LogFault> {
        let unknown = LogFault::UnknownEntry { group: self.id, index: Index::new(entry.index) };
        let change = membership::parse_change(entry);
        let Some(state) = change.and_then(|change| self.node.apply_conf_change(&change).ok())
        else {
            return Err(unknown);
        };
        self.membership = membership::from_conf_state(&state);
        self.alone = self.membership.is_alone(self.me);
        // raft-rs lets a leader lead on after it was removed, and panics when it counts itself.
        let votes = self.membership.voters.contains(&self.me)
            || self.membership.outgoing.contains(&self.me);
        if self.is_leader() && !votes {
            self.name_successor();
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
        self.reads.settle(self.me, &self.membership);
        self.lead_alone();
        Ok(self.membership.clone())
    }

    /// Whoever has most of the log need not wait for a timeout.
    fn name_successor(&mut self) {
        let progress = self.node.raft.prs();
        let matched = |id: &ApplianceId| progress.get(id.get()).map(|progress| progress.matched);
        let best = self.membership.voters.iter().max_by_key(|id| matched(id)).copied();
        if let Some(best) = best {
            self.node.raft.send_timeout_now(best.get());
        }
    }

    /// Terms never go back along the log: what waits for an entry of an older one, wherever, has
    /// lost. Nothing may ever come to its place.
    fn refuse_older(&mut self, term: Term, effects: &mut Vec<Effect>) {
        let handed = self.handed.index;
        let lost = self.waiting.extract_if(.., |(index, of), _| *index > handed && *of < term);
        let refused = |(_, ticket)| Effect::Refused { ticket, refusal: Refusal::Busy };
        effects.extend(lost.map(refused));
    }

    /// The ticket of the entry (index, term). A ticket that waited for another entry at that index
    /// has lost: its entry will never be committed.
    fn settle_tickets(
        &mut self,
        index: Index,
        term: Term,
        effects: &mut Vec<Effect>,
    ) -> Option<Ticket> {
        let mut won = None;
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= index
        {
            let mine = *first.key() == (index, term);
            let ticket = first.remove();
            match mine {
                true => won = Some(ticket),
                false => effects.push(Effect::Refused { ticket, refusal: Refusal::Busy }),
            }
        }
        won
    }
}
