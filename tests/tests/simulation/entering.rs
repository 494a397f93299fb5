//! Entries: proposed where their group is led, and known here once they are applied here.
//!
//! Invariant: an entry carries the view under which it was decided upon; if that is refused,
//! whoever decided decides anew. Absent on purpose: trying again.

use std::time::Duration;

use catalog::{Command, Envelope, encode_fleet_command};
use consensus::{Event, Ticket};
use model::{ApplianceId, GroupId, Index, Reign, VolumeId};
use ownership::FleetCommand;

use crate::process::{Ctx, Out, Process, Waiter};
use crate::words::{Ask, Entered, Message, Reply};

/// What became of something asked of a group.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is applied, here too.
    Applied(Entered, Index),
    /// A read may be done.
    Ready,
    /// It was not taken, and never will be.
    NotTaken,
    /// Nobody can say; it may still be applied.
    Unknown,
}

/// An entry on its way.
#[derive(Debug)]
pub struct Entry {
    group: GroupId,
    data: Vec<u8>,
    stage: Stage,
    /// Of a `Down`: whom it is about.
    pub accused: (ApplianceId, model::Incarnation),
}

#[derive(Debug)]
enum Stage {
    New,
    Proposed(Ticket),
    Asked(u64, Duration),
    Waiting(Entered, Index),
}

impl Entry {
    pub fn volume(volume: VolumeId, reign: Reign, command: Command) -> Self {
        let data = Envelope { reign, command }.encode();
        Self { group: volume.into(), data, stage: Stage::New, accused: Default::default() }
    }

    pub fn fleet(command: FleetCommand) -> Self {
        let data = encode_fleet_command(&command);
        Self { group: GroupId::FLEET, data, stage: Stage::New, accused: Default::default() }
    }
}

impl Process {
    /// Goes on with an entry; says at last what became of it.
    pub fn poll_entry(&mut self, ctx: &mut Ctx<'_>, entry: &mut Entry) -> Option<Fate> {
        loop {
            match &entry.stage {
                Stage::New => {
                    let raft = self.groups.watch(entry.group);
                    let leader = raft.leader();
                    if raft.leads() {
                        let ticket = self.ticket(Waiter::Here);
                        let (group, data) = (entry.group, entry.data.clone());
                        self.events.push(Event::Propose { group, ticket, data });
                        entry.stage = Stage::Proposed(ticket);
                    } else if let Some(leader) = leader.filter(|leader| *leader != self.me) {
                        let (group, data) = (entry.group, entry.data.clone());
                        let ask = self.ask(ctx, leader, Ask::Propose { group, data });
                        entry.stage = Stage::Asked(ask, self.now + PROPOSAL_WAIT);
                    } else {
                        return Some(Fate::NotTaken);
                    }
                    return None;
                }
                Stage::Proposed(ticket) => {
                    let fate = self.fates.get(ticket)?.clone()?;
                    self.fates.remove(ticket);
                    match fate {
                        Fate::Applied(entered, index) => {
                            entry.stage = Stage::Waiting(entered, index);
                        }
                        other => return Some(other),
                    }
                }
                Stage::Asked(ask, until) => match self.replies.remove(ask) {
                    Some(Reply::Entered(entered, index)) => {
                        entry.stage = Stage::Waiting(entered, index);
                    }
                    Some(Reply::NotLeader) => return Some(Fate::NotTaken),
                    Some(_) => return Some(Fate::Unknown),
                    None if self.now > *until => {
                        self.asked.remove(ask);
                        return Some(Fate::Unknown);
                    }
                    None => return None,
                },
                Stage::Waiting(entered, index) => {
                    if self.applied_index(entry.group) < *index {
                        return None;
                    }
                    return Some(Fate::Applied(entered.clone(), *index));
                }
            }
        }
    }

    /// How far a group's log is applied here; one that is not open here is behind with nothing.
    pub fn applied_index(&self, group: GroupId) -> Index {
        if group == GroupId::FLEET {
            return self.fleet.applied().index;
        }
        let local = self.volumes.get(&VolumeId::new(group.get()));
        local.map_or(Index::new(u64::MAX), |local| local.catalog.applied_index())
    }

    /// Asks another appliance; the answer comes into `replies`.
    pub fn ask(&mut self, ctx: &mut Ctx<'_>, to: ApplianceId, ask: Ask) -> u64 {
        let number = self.number();
        self.asked.insert(number);
        ctx.out.push(Out::Send { to, message: Message::Ask(number, ask) });
        number
    }

    /// Answers another appliance's proposal, if this one leads.
    pub fn propose_for(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: (ApplianceId, u64),
        group: GroupId,
        data: Vec<u8>,
    ) {
        let raft = self.groups.watch(group);
        if !raft.leads() {
            let message = Message::Reply(from.1, Reply::NotLeader);
            return ctx.out.push(Out::Send { to: from.0, message });
        }
        let ticket = self.ticket(Waiter::Peer(from.0, from.1));
        self.events.push(Event::Propose { group, ticket, data });
    }
}

const PROPOSAL_WAIT: Duration = Duration::from_millis(700);
