//! What goes into [`Groups::step`](crate::Groups::step) and what comes out of it.

use bytes::Bytes;
use model::{ApplianceId, GroupId, Index, Membership, Refusal, Term};

use crate::{LogPoint, PeerMessage};

/// The asker's name for one proposal, read or change of membership, unique while it is open.
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
    /// Who took part in the group then. A state machine stores it with the index: from the group's
    /// founding until an entry with another is applied.
    pub membership: Membership,
}

impl Applied {
    /// Nothing yet, in a new group whose only voter is `appliance`.
    pub fn nothing(appliance: ApplianceId) -> Self {
        Self::founded(Membership::of_voters([appliance]))
    }

    /// Nothing yet, in a group that was founded with `membership`. A member that joins later opens
    /// it so too, though it is not among them: it learns from the log that it is.
    pub fn founded(membership: Membership) -> Self {
        Self { index: Index::default(), term: Term::default(), membership }
    }
}

/// How a state machine came to stand where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It applied the log's entries.
    Log,
    /// It is an installed snapshot, whose mark is still there: the log may not know it yet.
    Snapshot,
}

/// Who leads a group, as known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The leader; none while there is no election or none is known to be won.
    pub leader: Option<ApplianceId>,
    /// The term.
    pub term: Term,
    /// Whether this appliance leads and has committed and handed out an entry of its own term, so
    /// that the state machine, once it has applied it, has all that was ever acknowledged.
    pub leads: bool,
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
        /// By what. An installed snapshot that is beyond the log finishes its installation;
        /// anything else beyond the log is `Lost`.
        origin: Origin,
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
    /// Say when a read is safe: by a round of the leader's to a quorum, which all reads of a step
    /// share. Answered by `ReadReady`, or by `Refused` with `Busy` if this appliance does not lead
    /// (or not for long enough), or ceases to.
    Read {
        /// Of which group.
        group: GroupId,
        /// Under which name.
        ticket: Ticket,
    },
    /// Change who takes part, by joint consensus. Refused with `Busy` unless this appliance leads
    /// and no other change is under way, with `Invalid` if the sets can't be. Answered when the
    /// group has entered the joint state, by `Apply` with the ticket and a joint membership;
    /// another entry ends the joint state soon after. Asking for what is so already is answered
    /// the same way.
    ChangeMembership {
        /// Of which group.
        group: GroupId,
        /// Under which name.
        ticket: Ticket,
        /// All who are to vote.
        voters: Vec<ApplianceId>,
        /// All who are to get the log without a vote.
        learners: Vec<ApplianceId>,
    },
    /// Let another voter lead, if this appliance does and the other has the whole log soon.
    /// Meanwhile proposals are refused. Not answered: see `RoleChanged`. From then on this
    /// appliance has no read lease for the rest of its term, whatever came of it.
    TransferLeader {
        /// Of which group.
        group: GroupId,
        /// To whom.
        to: ApplianceId,
    },
    /// Wake a sleeping group: it is going to be used.
    Wake {
        /// Which.
        group: GroupId,
    },
    /// This appliance's run is over, or its lease is: if it was who led a group, it leads no more,
    /// and no lease of its reads is left. Another one is elected without waiting for its silence.
    LeaderGone {
        /// Of which group.
        group: GroupId,
        /// Who.
        leader: ApplianceId,
    },
    /// A snapshot of the state machine is at hand to be fetched by members that need it. The log
    /// is kept from there until a newer one is made or this is dropped.
    SnapshotMade {
        /// Of which group.
        group: GroupId,
        /// The last entry in it.
        point: LogPoint,
        /// Who took part at that entry.
        membership: Membership,
    },
    /// The snapshot is gone, or could not be made: a member that needs one makes us ask again.
    SnapshotDropped {
        /// Of which group.
        group: GroupId,
    },
    /// The snapshot that was asked for by `InstallSnapshot`, or a newer one, is the state machine
    /// now. Its mark must stay until `LogReset` comes, or `Opened` after a restart.
    SnapshotInstalled {
        /// Of which group.
        group: GroupId,
        /// Where the state machine stands by it.
        applied: Applied,
    },
    /// The snapshot could not be installed and the state machine is as it was: the leader is told,
    /// and will send word again.
    SnapshotFailed {
        /// Of which group.
        group: GroupId,
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
        /// From whom, as the connection knows.
        from: ApplianceId,
        /// What.
        message: PeerMessage,
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
        message: PeerMessage,
    },
    /// The read may be done: whoever has done what was handed out so far sees all that was
    /// acknowledged before it was asked.
    ReadReady {
        /// Which.
        ticket: Ticket,
        /// The entry that must be applied first. It has been handed out.
        index: Index,
    },
    /// Who leads has changed.
    RoleChanged {
        /// Of which group.
        group: GroupId,
        /// As it is now.
        role: Role,
    },
    /// A member needs entries that were cut: make a snapshot and report `SnapshotMade`, or
    /// `SnapshotDropped`. Not said again before.
    SnapshotWanted {
        /// Of which group.
        group: GroupId,
    },
    /// The entries that come next were cut at the leader. Fetch a snapshot that holds at least
    /// `point`, put it in the state machine's place with a mark, and report `SnapshotInstalled`; or
    /// `SnapshotFailed`. Until then nothing of the group is handed out.
    InstallSnapshot {
        /// Of which group.
        group: GroupId,
        /// Who has it.
        from: ApplianceId,
        /// The last entry in it.
        point: LogPoint,
        /// Who takes part by it.
        membership: Membership,
    },
    /// The log goes on from the installed snapshot, durably: its mark may go.
    LogReset {
        /// Of which group.
        group: GroupId,
        /// The last entry in the snapshot.
        index: Index,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log.
    pub index: Index,
    /// The term it was proposed in.
    pub term: Term,
    /// What was proposed. Empty for the entry that a new leader begins its term with: only the
    /// applied index moves, and for a change of membership. Proposals are never empty.
    pub data: Bytes,
    /// Who takes part from here on, if this entry changes it. A state machine stores it in the same
    /// batch as the applied index.
    pub membership: Option<Membership>,
    /// The ticket it was proposed under, if that was here and since the group was opened.
    pub ticket: Option<Ticket>,
}
