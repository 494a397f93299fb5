//! A small Raft for the simulation: elections with a first round, checks of the quorum, whole logs
//! in every append. Membership never changes; disks forget nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use model::ApplianceId;

use super::Entry;

/// Ticks of 50 ms until a voter votes again, as [`super::super::ELECTION_MIN`] has it.
pub const ELECTION_TICKS: u32 = 8;
/// Beyond those an election is put off by up to so many.
const ELECTION_SPREAD_TICKS: u64 = 4;

#[derive(Clone, Debug)]
pub enum RaftMessage {
    PreVote { term: u64, last: (u64, usize) },
    PreVoteGiven { term: u64 },
    Vote { term: u64, last: (u64, usize) },
    VoteGiven { term: u64 },
    Append { term: u64, log: Rc<Vec<Entry>>, commit: usize, sent: u64 },
    Appended { term: u64, len: usize, sent: u64 },
    Newer { term: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Follower,
    Asking,
    Candidate,
    Leader,
}

/// What a restart leaves, and what it does not.
pub struct Raft {
    id: ApplianceId,
    voters: Vec<ApplianceId>,
    term: u64,
    voted: Option<(u64, ApplianceId)>,
    pub log: Rc<Vec<Entry>>,
    pub commit: usize,
    role: Role,
    pub leader: Option<ApplianceId>,
    /// Ticks since a leader was heard of, or since the start.
    quiet: u32,
    patience: u32,
    given: BTreeSet<ApplianceId>,
    matched: BTreeMap<ApplianceId, usize>,
    answered: BTreeMap<ApplianceId, u64>,
    active: BTreeSet<ApplianceId>,
    sent: u64,
    checks: u32,
}

pub type Sends = Vec<(ApplianceId, RaftMessage)>;

impl Raft {
    pub fn new(id: ApplianceId, voters: Vec<ApplianceId>) -> Self {
        Self {
            id,
            voters,
            term: 0,
            voted: None,
            log: Rc::default(),
            commit: 0,
            role: Role::Follower,
            leader: None,
            quiet: 0,
            patience: ELECTION_TICKS,
            given: BTreeSet::new(),
            matched: BTreeMap::new(),
            answered: BTreeMap::new(),
            active: BTreeSet::new(),
            sent: 0,
            checks: 0,
        }
    }

    /// The process starts again: it has forgotten whom it heard of, and so waits as if just now.
    /// One that does not wait (`quiet` already over) is one of the mistakes to be found.
    pub fn restart(&mut self, quiet: u32) {
        self.follow(None);
        self.quiet = quiet;
    }

    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    /// Whether an entry of its own term is committed.
    pub fn is_settled(&self) -> bool {
        self.commit > 0 && self.log[self.commit - 1].term == self.term
    }

    /// Begins a read round; it is answered once [`Raft::is_answered`] says so.
    pub fn begin_round(&mut self, sends: &mut Sends, others: &[ApplianceId]) -> u64 {
        self.broadcast(sends, others);
        self.sent
    }

    pub fn is_answered(&self, sent: u64) -> bool {
        let answers = |id: &&ApplianceId| {
            **id == self.id || self.answered.get(*id).is_some_and(|answered| *answered >= sent)
        };
        self.leads() && self.voters.iter().filter(answers).count() >= self.majority()
    }

    pub fn propose(&mut self, mut entry: Entry, sends: &mut Sends, others: &[ApplianceId]) {
        entry.term = self.term;
        Rc::make_mut(&mut self.log).push(entry);
        self.advance();
        self.broadcast(sends, others);
    }

    pub fn tick(&mut self, chance: u64, sends: &mut Sends, others: &[ApplianceId]) {
        self.quiet += 1;
        if self.leads() {
            self.checks += 1;
            if self.checks.is_multiple_of(ELECTION_TICKS) {
                let active = self.active.len() + 1;
                self.active.clear();
                if active < self.majority() {
                    return self.follow(None);
                }
            }
            if self.checks.is_multiple_of(2) {
                self.broadcast(sends, others);
            }
        } else if self.voters.contains(&self.id) && self.quiet >= self.patience {
            self.patience =
                self.quiet + ELECTION_TICKS + (chance % (ELECTION_SPREAD_TICKS + 1)) as u32;
            self.role = Role::Asking;
            self.leader = None;
            self.given = [self.id].into();
            let (term, last) = (self.term + 1, self.last());
            self.to_voters(sends, &RaftMessage::PreVote { term, last });
            self.count_votes(sends, others);
        }
    }

    pub fn receive(
        &mut self,
        from: ApplianceId,
        message: RaftMessage,
        chance: u64,
        sends: &mut Sends,
        others: &[ApplianceId],
    ) {
        match message {
            RaftMessage::PreVote { term, last } => {
                if !self.in_lease() && term > self.term && last >= self.last() {
                    sends.push((from, RaftMessage::PreVoteGiven { term }));
                }
            }
            RaftMessage::PreVoteGiven { term } => {
                if self.role == Role::Asking && term == self.term + 1 {
                    self.given.insert(from);
                    self.count_votes(sends, others);
                }
            }
            RaftMessage::Vote { term, last } => {
                if self.in_lease() || term < self.term {
                    return;
                }
                self.newer(term);
                let free = self.voted.is_none_or(|(t, who)| t < term || who == from);
                if free && last >= self.last() {
                    self.voted = Some((term, from));
                    self.quiet = 0;
                    sends.push((from, RaftMessage::VoteGiven { term }));
                }
            }
            RaftMessage::VoteGiven { term } => {
                if self.role == Role::Candidate && term == self.term {
                    self.given.insert(from);
                    self.count_votes(sends, others);
                }
            }
            RaftMessage::Append { term, log, commit, sent } => {
                if term < self.term {
                    return sends.push((from, RaftMessage::Newer { term: self.term }));
                }
                self.newer(term);
                self.follow(Some(from));
                self.patience = ELECTION_TICKS + (chance % (ELECTION_SPREAD_TICKS + 1)) as u32;
                // Appends of one term may overtake one another; its log only grows.
                let newest = |log: &[Entry]| log.last().map_or(0, |entry| entry.term);
                if newest(&log) > newest(&self.log) || log.len() >= self.log.len() {
                    self.log = log;
                }
                self.commit = self.commit.max(commit);
                let len = self.log.len();
                sends.push((from, RaftMessage::Appended { term, len, sent }));
            }
            RaftMessage::Appended { term, len, sent } => {
                if self.leads() && term == self.term && self.voters.contains(&from) {
                    self.active.insert(from);
                    let matched = self.matched.entry(from).or_default();
                    *matched = (*matched).max(len);
                    let answered = self.answered.entry(from).or_default();
                    *answered = (*answered).max(sent);
                    self.advance();
                }
            }
            RaftMessage::Newer { term } => self.newer(term),
        }
    }

    /// Whether it may vote for nobody: it leads, or heard of a leader not long ago.
    fn in_lease(&self) -> bool {
        self.leads() || self.quiet < ELECTION_TICKS
    }

    fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    fn last(&self) -> (u64, usize) {
        (self.log.last().map_or(0, |entry| entry.term), self.log.len())
    }

    fn newer(&mut self, term: u64) {
        if term > self.term {
            self.term = term;
            let quiet = self.quiet;
            self.follow(None);
            self.quiet = quiet;
        }
    }

    fn follow(&mut self, leader: Option<ApplianceId>) {
        self.role = Role::Follower;
        self.leader = leader;
        self.quiet = 0;
    }

    fn count_votes(&mut self, sends: &mut Sends, others: &[ApplianceId]) {
        if self.given.len() < self.majority() {
            return;
        }
        match self.role {
            Role::Asking => {
                self.term += 1;
                self.role = Role::Candidate;
                self.voted = Some((self.term, self.id));
                self.given = [self.id].into();
                let (term, last) = (self.term, self.last());
                self.to_voters(sends, &RaftMessage::Vote { term, last });
                self.count_votes(sends, others);
            }
            Role::Candidate => {
                self.role = Role::Leader;
                self.leader = Some(self.id);
                self.matched.clear();
                self.answered.clear();
                self.active = self.given.clone();
                self.checks = 0;
                self.propose(Entry::default(), sends, others);
            }
            Role::Follower | Role::Leader => {}
        }
    }

    fn advance(&mut self) {
        let mut lens: Vec<usize> = self
            .voters
            .iter()
            .map(|id| match self.matched.get(id) {
                _ if *id == self.id => self.log.len(),
                matched => matched.copied().unwrap_or(0),
            })
            .collect();
        lens.sort_unstable();
        let held = lens[self.voters.len() - self.majority()];
        if held > self.commit && self.log[held - 1].term == self.term {
            self.commit = held;
        }
    }

    fn broadcast(&mut self, sends: &mut Sends, others: &[ApplianceId]) {
        self.sent += 1;
        let (term, log, commit, sent) = (self.term, self.log.clone(), self.commit, self.sent);
        for to in others.iter().filter(|to| **to != self.id) {
            let log = log.clone();
            sends.push((*to, RaftMessage::Append { term, log, commit, sent }));
        }
    }

    fn to_voters(&self, sends: &mut Sends, message: &RaftMessage) {
        for to in self.voters.iter().filter(|to| **to != self.id) {
            sends.push((*to, message.clone()));
        }
    }
}
