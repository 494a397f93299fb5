//! One group: raft-rs's `RawNode`, and which ticket waits for which entry.
//!
//! Invariant: a ticket is bound to (index, term) and is answered with success only when that very
//! entry is handed out. Absent on purpose: writing what raft-rs asks to write; other groups.

mod guard;
mod handing;
mod install;
mod reads;
mod sleep;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use model::{ApplianceId, Entropy, GroupId, Index, Membership, Refusal, Term};
use raft::{
    Config, INVALID_ID, RawNode, ReadOnlyOption, Ready, SnapshotStatus, StateRole,
    eraftpb::{Entry, Message, MessageType},
};

use super::log::GroupLog;
use crate::{
    Applied, Effect, GroupState, GroupView, LogFault, LogPoint, LogStore, Origin, PeerMessage,
    Role, Ticket,
    limits::{
        APPLY_BYTES_MAX, BEAT_TICKS, ELECTION_TICKS_MAX, ELECTION_TICKS_MIN, MESSAGE_BYTES_MAX,
        MESSAGES_IN_FLIGHT_MAX, PROPOSAL_BYTES_MAX, SNAPSHOT_TAIL_ENTRIES_MAX, TICK,
        UNCOMMITTED_BYTES_MAX,
    },
    membership,
};
use install::Installing;
use reads::Reads;

pub(super) struct Group<L: LogStore> {
    me: ApplianceId,
    id: GroupId,
    node: RawNode<GroupLog<L>>,
    membership: Membership,
    alone: bool,
    asleep: bool,
    /// When it was last looked at; it stands still while it sleeps.
    looked_at: Duration,
    /// Whether the core has it among those that get ticks.
    pub(super) listed: bool,
    /// Tickets of entries not handed out yet. One index may have several, of several terms: which
    /// of them is committed is open until one is.
    waiting: BTreeMap<(Index, Term), Ticket>,
    /// The last entry handed out.
    handed: LogPoint,
    /// Cut once the batch that says so is written.
    pending_cut: Option<LogPoint>,
    timeout: Option<Timeout>,
    /// Ticks since a leader was heard, or since the group was opened.
    heard: usize,
    /// Ticks since anything was asked of the group.
    idle: usize,
    reads: Reads,
    /// The term for the rest of which there is no read lease.
    barred: Option<Term>,
    /// A snapshot was asked for and has not been made.
    snapshot_asked: bool,
    /// How long members have been waiting for a snapshot to arrive.
    snapshot_ticks: BTreeMap<u64, u32>,
    installing: Option<Installing>,
    /// To be sent with what the next step sends.
    outgoing: Vec<(ApplianceId, PeerMessage)>,
    told: Role,
    view: Arc<GroupView>,
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
        origin: Origin,
        view: Arc<GroupView>,
    ) -> Result<Opened<L>, LogFault> {
        if !membership::is_sound(&applied.membership) {
            return Err(LogFault::UnknownFormat { group: id, record: "membership" });
        }
        let mut state = store.state(id)?;
        if let Some(missing) = first_missing(store.as_ref(), id, &state, applied)? {
            if origin == Origin::Log {
                return Ok(Opened::Lost { missing });
            }
            install::reset(store.as_ref(), id, &state.hard_state, applied)?;
            state = store.state(id)?;
        }
        let log = GroupLog::open(store, id, state, applied)?;
        // The core logs nothing: what matters leaves it as an effect.
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config(me, applied.index), log, &logger)
            .expect("the configuration is a constant and the log was checked");
        let mut group = Self {
            me,
            id,
            node,
            membership: applied.membership.clone(),
            alone: applied.membership.is_alone(me),
            asleep: false,
            looked_at: Duration::ZERO,
            listed: false,
            waiting: BTreeMap::new(),
            handed: LogPoint { index: applied.index, term: applied.term },
            pending_cut: None,
            timeout: None,
            heard: 0,
            idle: 0,
            reads: Reads::default(),
            barred: None,
            snapshot_asked: false,
            snapshot_ticks: BTreeMap::new(),
            installing: None,
            outgoing: Vec::new(),
            told: Role::default(),
            view,
        };
        group.lead_alone();
        Ok(Opened::Open(Box::new(group)))
    }

    /// Whether nobody takes part but this appliance.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether it needs to know that time passes. Who does not take part, or not yet, only counts
    /// until it may vote for somebody to whom it does.
    pub(super) fn needs_ticks(&self) -> bool {
        let waits = self.heard < ELECTION_TICKS_MIN || self.membership.includes(self.me);
        !self.alone && !self.asleep && waits
    }

    #[cfg(test)]
    pub(super) fn prolong_lease(&mut self, by: Duration) {
        self.reads.lease_beyond = by;
    }

    fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn term(&self) -> Term {
        Term::new(self.node.raft.term)
    }

    pub(super) fn last(&self) -> Index {
        Index::new(self.node.raft.raft_log.last_index())
    }

    /// A lone voter leads at once. raft-rs refuses while the log has a change of membership that is
    /// committed and not applied: the group may not be what it was.
    fn lead_alone(&mut self) {
        if self.alone && !self.is_leader() {
            // A refusal is tried again when more is applied.
            let _ = self.node.campaign();
        }
    }

    pub(super) fn propose(&mut self, ticket: Ticket, data: Vec<u8>) -> Result<(), Refusal> {
        if data.is_empty() || data.len() > PROPOSAL_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        // raft-rs would send a follower's proposal on to the leader, and then nobody here could
        // say what became of it.
        if !self.is_leader() {
            return Err(Refusal::Busy);
        }
        self.node.propose(Vec::new(), data).map_err(|_| Refusal::Busy)?;
        self.waiting.insert((self.last(), self.term()), ticket);
        Ok(())
    }

    pub(super) fn read(&mut self, ticket: Ticket) -> Result<(), Refusal> {
        // raft-rs would drop it without a word.
        let may = self.is_leader() && self.node.raft.commit_to_current_term();
        match may && self.reads.ask(ticket) {
            true => Ok(()),
            false => Err(Refusal::Busy),
        }
    }

    pub(super) fn change_membership(
        &mut self,
        ticket: Ticket,
        voters: &[ApplianceId],
        learners: &[ApplianceId],
    ) -> Result<(), Refusal> {
        if !membership::can_be_wanted(voters, learners) {
            return Err(Refusal::Invalid);
        }
        // raft-rs would put an empty entry in the place of a change that comes too early.
        let running = self.node.raft.has_pending_conf() || self.membership.is_joint();
        if !self.is_leader() || running {
            return Err(Refusal::Busy);
        }
        let change = membership::change(&self.membership, voters, learners);
        self.node.propose_conf_change(Vec::new(), change).map_err(|_| Refusal::Busy)?;
        self.waiting.insert((self.last(), self.term()), ticket);
        Ok(())
    }

    /// The word to the other to stand for election may arrive at any time, whatever becomes of the
    /// transfer here. So there is no lease until a new term.
    pub(super) fn transfer_leader(&mut self, to: ApplianceId) {
        if self.is_leader() && to != self.me && self.membership.voters.contains(&to) {
            self.barred = Some(self.term());
            self.node.transfer_leader(to.get());
        }
    }

    /// If that appliance led the group, it does no more. Who has not heard from it for so long that
    /// no lease of its can be left stands for election at once; anybody else waits for its silence.
    pub(super) fn leader_gone(&mut self, leader: ApplianceId) {
        self.used();
        let raft = &mut self.node.raft;
        let led = raft.leader_id == leader.get() || raft.leader_id == INVALID_ID;
        let follows = raft.state == StateRole::Follower && led && leader != self.me;
        if !self.alone && follows && self.heard >= ELECTION_TICKS_MIN {
            raft.become_follower(raft.term, INVALID_ID);
            // What is left of the time that was drawn keeps two from standing at once.
            raft.election_elapsed = ELECTION_TICKS_MIN;
        }
    }

    /// The state machine has applied up to `index`. What was never handed out can't have been.
    pub(super) fn applied(&mut self, index: Index) {
        let known = self.node.raft.raft_log.applied;
        if index.get() > known && index <= self.handed.index {
            self.node.advance_apply_to(index.get());
            self.lead_alone();
        }
    }

    /// Where to cut the log, now that the state machine is durable up to `index`.
    pub(super) fn checkpointed(
        &mut self,
        index: Index,
        tail: u64,
    ) -> Result<Option<LogPoint>, LogFault> {
        if index > self.handed.index {
            return Ok(None);
        }
        self.applied(index);
        let kept = if self.alone { 0 } else { tail };
        let mut index = Index::new(index.get().saturating_sub(kept));
        let log = self.node.store();
        if let Some(snapshot) = log.snapshot_index()
            && index.get().saturating_sub(snapshot.get()) <= SNAPSHOT_TAIL_ENTRIES_MAX
        {
            index = index.min(snapshot);
        }
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

    /// Time has passed. What a group slept through counts as time without a leader.
    pub(super) fn look(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.looked_at);
        if self.asleep {
            let ticks = (passed.as_millis() / TICK.as_millis()) as usize;
            self.heard = self.heard.saturating_add(ticks);
        }
        self.looked_at = now;
    }

    pub(super) fn tick(&mut self, entropy: &dyn Entropy) {
        self.heard = self.heard.saturating_add(1);
        self.idle = self.idle.saturating_add(1);
        self.node.tick();
        self.settle_timeout(entropy);
        self.send_snapshots_again();
        self.sleep_if_idle();
    }

    pub(super) fn receive(
        &mut self,
        from: ApplianceId,
        message: PeerMessage,
        entropy: &dyn Entropy,
    ) {
        let message = match message {
            PeerMessage::Raft(message) => *message,
            PeerMessage::Sleep { term, commit } => return self.sleep_if_told(from, term, commit),
        };
        if !guard::understands(&self.node, self.me, from, &message) || self.sleeps_through(&message)
        {
            return;
        }
        self.wake();
        if guard::asks_too_early(&message, self.heard) {
            return;
        }
        if guard::is_from_leader(&message, self.term()) {
            self.heard = 0;
        }
        match message.get_msg_type() {
            MessageType::MsgSnapshot => self.receive_snapshot(message),
            MessageType::MsgAppend if self.installing.is_some() => {}
            MessageType::MsgSnapStatus => {
                if message.reject && message.term == self.node.raft.term && self.is_leader() {
                    self.node.report_snapshot(message.from, SnapshotStatus::Failure);
                }
            }
            kind => {
                let current = message.term == self.node.raft.term && self.is_leader();
                if kind == MessageType::MsgHeartbeatResponse && current {
                    self.reads.answer(from, &message.context);
                    self.reads.settle(self.me, &self.membership);
                }
                self.step(message);
            }
        }
        self.settle_timeout(entropy);
    }

    fn step(&mut self, mut message: Message) {
        // raft-rs ignores a refusal of an older term, and with it what its sender knows to be
        // committed. But that is true in every term, and a group may need it to elect anybody: the
        // end of a change may be known to none but one who was removed by it.
        if message.get_msg_type() == MessageType::MsgRequestPreVoteResponse
            && message.reject
            && message.commit > self.node.raft.raft_log.committed
        {
            message.term = message.term.max(self.node.raft.term);
        }
        // A message that makes no sense now is a lost message.
        let _ = self.node.step(message);
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

    pub(super) fn ready(&mut self, now: Duration) -> Option<Ready> {
        if let Some(context) = self.reads.begin(now) {
            self.node.read_index(context);
        }
        if !self.node.has_ready() {
            return None;
        }
        let ready = self.node.ready();
        assert!(ready.snapshot().is_empty(), "raft-rs never restores a snapshot");
        Some(ready)
    }

    /// What `ready` asked to write is written (and durable, if it must be): goes on from there.
    pub(super) fn written(
        &mut self,
        now: Duration,
        mut ready: Ready,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), LogFault> {
        self.node.mut_store().appended(entries);
        self.send(now, ready.take_messages(), effects);
        self.send(now, ready.take_persisted_messages(), effects);
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, Index::new(state.index));
        }
        let mut committed = ready.take_committed_entries();
        let mut light = self.node.advance_append(ready);
        self.send(now, light.take_messages(), effects);
        committed.append(&mut light.take_committed_entries());
        match &mut self.installing {
            Some(installing) => installing.held.append(&mut committed),
            None => self.hand_out(committed, effects)?,
        }
        Ok(())
    }

    /// The end of a step: what is to be told of it, in `effects` and in the view.
    pub(super) fn tell(&mut self, effects: &mut Vec<Effect>) {
        let term = self.term();
        let role = Role {
            leader: Some(self.node.raft.leader_id).filter(|id| *id != 0).map(ApplianceId::new),
            term,
            leads: self.is_leader() && self.handed.term == term,
        };
        if (role.leader, role.term) != (self.told.leader, self.told.term) {
            let refused = self.reads.end().into_iter();
            effects
                .extend(refused.map(|ticket| Effect::Refused { ticket, refusal: Refusal::Busy }));
            self.reads.settle(self.me, &self.membership);
            self.idle = 0;
        }
        for (index, tickets) in self.reads.take_ready(self.handed.index) {
            effects.extend(tickets.into_iter().map(|ticket| Effect::ReadReady { ticket, index }));
        }
        let leased = role.leads && !self.asleep && self.barred != Some(term);
        let until = if leased { self.reads.lease_until() } else { Duration::ZERO };
        self.view.set_lease(until);
        self.view.set_log(Index::new(self.node.raft.raft_log.committed), self.last());
        if role != self.told {
            self.told = role;
            self.view.set_role(role);
            effects.push(Effect::RoleChanged { group: self.id, role });
        }
        if self.node.store().take_missed() && !self.snapshot_asked {
            self.snapshot_asked = true;
            effects.push(Effect::SnapshotWanted { group: self.id });
        }
        let group = self.id;
        let told = self.outgoing.drain(..);
        effects.extend(told.map(|(to, message)| Effect::Send { group, to, message }));
        effects.extend(self.install_effect());
    }

    /// Refuses what still waits; entries may or may not be committed one day.
    pub(super) fn close(self) -> (Vec<Ticket>, Arc<GroupView>) {
        let tickets = self.waiting.into_values().chain(self.reads.into_tickets());
        (tickets.collect(), self.view)
    }

    fn send(&mut self, now: Duration, messages: Vec<Message>, effects: &mut Vec<Effect>) {
        for mut message in messages {
            let beat = message.get_msg_type() == MessageType::MsgHeartbeat;
            if beat && message.context.is_empty() {
                message.context = self.reads.stamp(now).into();
            }
            let to = ApplianceId::new(message.to);
            let message = PeerMessage::Raft(Box::new(message));
            effects.push(Effect::Send { group: self.id, to, message });
        }
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
