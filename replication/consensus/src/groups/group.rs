//! One group: raft-rs's `RawNode`, and which ticket waits for which entry.
//!
//! Invariant: a ticket is bound to (index, term) and is answered with success only when that very
//! entry is handed out. Absent on purpose: writing, other groups.

use std::{collections::BTreeMap, sync::Arc};

use model::{ApplianceId, Entropy, GroupId, Index, Refusal, Term};
use raft::{
    Config, RawNode, ReadOnlyOption, Ready, StateRole,
    eraftpb::{Entry, EntryType, Message, MessageType},
};

use super::log::GroupLog;
use crate::{
    Applied, Committed, Effect, GroupState, LogFault, LogPoint, LogStore, Ticket,
    limits::{
        APPLY_BYTES_MAX, BEAT_TICKS, ELECTION_TICKS_MAX, ELECTION_TICKS_MIN, MESSAGE_BYTES_MAX,
        MESSAGES_IN_FLIGHT_MAX, PROPOSAL_BYTES_MAX, TAIL_ENTRIES, UNCOMMITTED_BYTES_MAX,
    },
};

pub(super) struct Group<L: LogStore> {
    id: GroupId,
    node: RawNode<GroupLog<L>>,
    alone: bool,
    /// Tickets of entries not handed out yet. One index may have several, of several terms: which
    /// of them is committed is open until one is.
    waiting: BTreeMap<(Index, Term), Ticket>,
    /// The last entry handed out.
    handed: Index,
    /// Cut once the batch that says so is written.
    pending_cut: Option<LogPoint>,
    timeout: Option<Timeout>,
}

pub(super) enum Opened<L: LogStore> {
    Open(Box<Group<L>>),
    Lost { missing: Index },
}

/// An election timeout drawn from our own entropy, and for which role and term.
struct Timeout {
    role: StateRole,
    term: u64,
    ticks: usize,
}

impl<L: LogStore> Group<L> {
    pub(super) fn open(
        me: ApplianceId,
        id: GroupId,
        store: Arc<L>,
        applied: &Applied,
    ) -> Result<Opened<L>, LogFault> {
        let state = store.state(id)?;
        if let Some(missing) = first_missing(store.as_ref(), id, &state, applied)? {
            return Ok(Opened::Lost { missing });
        }
        let log = GroupLog::open(store, id, state, applied)?;
        // The core logs nothing: what matters leaves it as an effect.
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let mut node = RawNode::new(&config(me, applied.index), log, &logger)
            .expect("the configuration is a constant and the log was checked");
        let alone = applied.voters == [me];
        if alone {
            node.campaign().expect("a lone voter can always campaign");
        }
        Ok(Opened::Open(Box::new(Self {
            id,
            node,
            alone,
            waiting: BTreeMap::new(),
            handed: applied.index,
            pending_cut: None,
            timeout: None,
        })))
    }

    /// Whether it has no voter but this appliance.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    #[cfg(test)]
    pub(super) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(super) fn last(&self) -> Index {
        Index::new(self.node.raft.raft_log.last_index())
    }

    pub(super) fn propose(&mut self, ticket: Ticket, data: Vec<u8>) -> Result<(), Refusal> {
        if data.is_empty() || data.len() > PROPOSAL_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        // raft-rs would send a follower's proposal on to the leader, and then nobody here could
        // say what became of it.
        if self.node.raft.state != StateRole::Leader {
            return Err(Refusal::Busy);
        }
        self.node.propose(Vec::new(), data).map_err(|_| Refusal::Busy)?;
        self.waiting.insert((self.last(), Term::new(self.node.raft.term)), ticket);
        Ok(())
    }

    /// The state machine has applied up to `index`. What was never handed out can't have been.
    pub(super) fn applied(&mut self, index: Index) {
        let known = self.node.raft.raft_log.applied;
        if index.get() > known && index <= self.handed {
            self.node.advance_apply_to(index.get());
        }
    }

    /// Where to cut the log, now that the state machine is durable up to `index`.
    pub(super) fn checkpointed(&mut self, index: Index) -> Result<Option<LogPoint>, LogFault> {
        if index > self.handed {
            return Ok(None);
        }
        self.applied(index);
        let kept = if self.alone { 0 } else { TAIL_ENTRIES };
        let index = Index::new(index.get().saturating_sub(kept));
        let log = self.node.store();
        let cut = self.pending_cut.unwrap_or(log.cut_point());
        if index <= cut.index {
            return Ok(None);
        }
        let point = LogPoint { index, term: log.term_of(index)? };
        self.pending_cut = Some(point);
        Ok(self.pending_cut)
    }

    /// The cut has been written.
    pub(super) fn cut_to(&mut self, point: LogPoint) {
        self.pending_cut = None;
        self.node.mut_store().set_cut(point);
    }

    pub(super) fn tick(&mut self, entropy: &dyn Entropy) {
        self.node.tick();
        self.settle_timeout(entropy);
    }

    pub(super) fn receive(&mut self, message: Message, entropy: &dyn Entropy) {
        if self.understands(&message) {
            // A message that makes no sense now is a lost message.
            let _ = self.node.step(message);
            self.settle_timeout(entropy);
        }
    }

    /// What is absent here on purpose must not come in by the wire; and raft-rs panics when a
    /// leader counts on entries that this log has lost.
    fn understands(&self, message: &Message) -> bool {
        let plain = |entry: &Entry| entry.get_entry_type() == EntryType::EntryNormal;
        match message.get_msg_type() {
            MessageType::MsgSnapshot | MessageType::MsgPropose => false,
            MessageType::MsgHeartbeat => message.commit <= self.last().get(),
            _ => message.entries.iter().all(plain),
        }
    }

    /// raft-rs draws each election timeout from its own source of chance. Whenever it may have,
    /// ours takes its place: drawn once for a role and term, so that one seed gives one history.
    pub(super) fn settle_timeout(&mut self, entropy: &dyn Entropy) {
        if self.alone {
            return;
        }
        let (role, term) = (self.node.raft.state, self.node.raft.term);
        let drawn = match &self.timeout {
            Some(timeout) if timeout.role == role && timeout.term == term => timeout.ticks,
            _ => draw_ticks(entropy),
        };
        self.timeout = Some(Timeout { role, term, ticks: drawn });
        self.node.raft.set_randomized_election_timeout(drawn);
    }

    pub(super) fn has_ready(&self) -> bool {
        self.node.has_ready()
    }

    pub(super) fn ready(&mut self) -> Option<Ready> {
        if !self.node.has_ready() {
            return None;
        }
        let ready = self.node.ready();
        assert!(ready.snapshot().is_empty(), "messages with snapshots are not let in");
        Some(ready)
    }

    /// What `ready` asked to write is written (and durable, if it must be): goes on from there.
    pub(super) fn written(
        &mut self,
        mut ready: Ready,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), LogFault> {
        self.node.mut_store().appended(entries);
        self.send(ready.take_messages(), effects);
        self.send(ready.take_persisted_messages(), effects);
        let mut committed = ready.take_committed_entries();
        let mut light = self.node.advance_append(ready);
        self.send(light.take_messages(), effects);
        committed.append(&mut light.take_committed_entries());
        self.hand_out(committed, effects)
    }

    /// The tickets still open; their entries may or may not be committed one day.
    pub(super) fn into_tickets(self) -> impl Iterator<Item = Ticket> {
        self.waiting.into_values()
    }

    fn send(&self, messages: Vec<Message>, effects: &mut Vec<Effect>) {
        effects.extend(messages.into_iter().map(|message| Effect::Send {
            group: self.id,
            to: ApplianceId::new(message.to),
            message,
        }));
    }

    fn hand_out(&mut self, entries: Vec<Entry>, effects: &mut Vec<Effect>) -> Result<(), LogFault> {
        let Some(last) = entries.last() else {
            return Ok(());
        };
        let last = Index::new(last.index);
        let mut committed = Vec::with_capacity(entries.len());
        for entry in entries {
            let (index, term) = (Index::new(entry.index), Term::new(entry.term));
            if entry.get_entry_type() != EntryType::EntryNormal {
                return Err(LogFault::UnknownEntry { group: self.id, index });
            }
            assert_eq!(index, self.handed.next(), "entries are handed out without gaps");
            self.handed = index;
            let ticket = self.settle_tickets(index, term, effects);
            committed.push(Committed { index, term, data: entry.data, ticket });
        }
        self.node.mut_store().handed_out(last);
        effects.push(Effect::Apply { group: self.id, entries: committed });
        Ok(())
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

/// The first entry that the state machine has applied, or relies on, and the log does not have.
fn first_missing<L: LogStore>(
    store: &L,
    group: GroupId,
    state: &GroupState,
    applied: &Applied,
) -> Result<Option<Index>, LogFault> {
    let known = applied.index.get().max(state.hard_state.commit);
    if known > state.last.get() {
        return Ok(Some(state.last.next()));
    }
    if applied.index < state.cut.index {
        return Ok(Some(applied.index.next()));
    }
    let same = store.term(group, applied.index)? == applied.term;
    Ok((!same).then_some(applied.index))
}

fn config(me: ApplianceId, applied: Index) -> Config {
    Config {
        id: me.get(),
        election_tick: ELECTION_TICKS_MIN,
        min_election_tick: ELECTION_TICKS_MIN,
        // raft-rs's upper end is exclusive.
        max_election_tick: ELECTION_TICKS_MAX + 1,
        heartbeat_tick: BEAT_TICKS,
        applied: applied.get(),
        max_size_per_msg: MESSAGE_BYTES_MAX,
        max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
        check_quorum: true,
        pre_vote: true,
        read_only_option: ReadOnlyOption::Safe,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
        max_committed_size_per_ready: APPLY_BYTES_MAX,
        ..Config::default()
    }
}

fn draw_ticks(entropy: &dyn Entropy) -> usize {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    let choices = (ELECTION_TICKS_MAX - ELECTION_TICKS_MIN + 1) as u64;
    ELECTION_TICKS_MIN + (u64::from_le_bytes(bytes) % choices) as usize
}
