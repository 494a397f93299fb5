//! What goes into [`Groups::step`](crate::Groups::step) and what comes out of it.

use bytes::Bytes;
use model::{ApplianceId, GroupId, Index, Refusal, Term};
use raft::eraftpb::Message;

/// The asker's name for one proposal, unique while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Wraps the asker's number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The asker's number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How far a state machine has durably applied its group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The last applied entry; 0 for a new group.
    pub index: Index,
    /// Its term; 0 for a new group.
    pub term: Term,
    /// Who votes in the group.
    pub voters: Vec<ApplianceId>,
}

impl Applied {
    /// Nothing yet, in a new group whose only voter is `appliance`.
    pub fn nothing(appliance: ApplianceId) -> Self {
        Self { index: Index::default(), term: Term::default(), voters: vec![appliance] }
    }
}

/// What happens to the groups.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Take up a group where its state machine stands. A group the log does not know is new. An
    /// open group stays as it is. Answered by `Opened` or `Lost`.
    Open {
        /// Which.
        group: GroupId,
        /// How far it is applied.
        applied: Applied,
    },
    /// Append to the group's log. Answered by `Apply` with the ticket, or by `Refused`.
    Propose {
        /// To which group.
        group: GroupId,
        /// Under which name.
        ticket: Ticket,
        /// What; not empty, at most [`PROPOSAL_BYTES_MAX`](crate::PROPOSAL_BYTES_MAX) bytes.
        data: Vec<u8>,
    },
    /// The state machine has applied up to here.
    Applied {
        /// Of which group.
        group: GroupId,
        /// Up to and with this entry.
        index: Index,
    },
    /// The state machine's state up to here is durable: the log may be cut below.
    Checkpointed {
        /// Of which group.
        group: GroupId,
        /// Up to and with this entry; it has been applied.
        index: Index,
    },
    /// Let go of a group; its log stays. Open tickets are refused, though their entries may still
    /// be committed.
    Close {
        /// Which.
        group: GroupId,
    },
    /// Let go of a group and delete its log.
    Remove {
        /// Which.
        group: GroupId,
    },
    /// Time has passed. Only groups with several voters need it.
    Tick,
    /// A message from another appliance.
    Receive {
        /// Of which group.
        group: GroupId,
        /// What.
        message: Message,
    },
}

/// What is to be done after a step, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The group is open.
    Opened {
        /// Which.
        group: GroupId,
        /// The last entry of its log. When it is applied, all that was ever acknowledged is.
        last: Index,
    },
    /// The group can't be opened: it has applied entries that the log does not have.
    Lost {
        /// Which.
        group: GroupId,
        /// The first entry that is missing, or that is not the one that was applied.
        missing: Index,
    },
    /// The proposal was not taken, or another entry took its place.
    Refused {
        /// Which.
        ticket: Ticket,
        /// Why, and what to do.
        refusal: Refusal,
    },
    /// Send to another appliance. May be lost.
    Send {
        /// Of which group.
        group: GroupId,
        /// To whom.
        to: ApplianceId,
        /// What.
        message: Message,
    },
    /// Apply these durable, committed entries.
    Apply {
        /// Of which group.
        group: GroupId,
        /// In the order of the log, without gaps, each exactly once while the group is open.
        entries: Vec<Committed>,
    },
    /// The log was cut.
    Cut {
        /// Of which group.
        group: GroupId,
        /// The last entry that is gone.
        index: Index,
    },
    /// The log can't give up old files while it holds this group's old entries: checkpoint it.
    CheckpointWanted {
        /// Which.
        group: GroupId,
    },
}

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log.
    pub index: Index,
    /// The term it was proposed in.
    pub term: Term,
    /// What was proposed. Empty for the entry that a new leader begins its term with: only the
    /// applied index moves. Proposals are never empty.
    pub data: Bytes,
    /// The ticket it was proposed under, if that was here and since the group was opened.
    pub ticket: Option<Ticket>,
}
