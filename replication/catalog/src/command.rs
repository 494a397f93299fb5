//! Entries of a volume's Raft group.

use model::{
    ApplianceId, Asked, Changed, Index, Membership, ObjectId, Refusal, Reign, RootDirectory, Term,
    Timestamp, View,
};
use serde::{Deserialize, Serialize};

use crate::fault::CatalogFault;
use crate::records::FORMAT;

/// One thing to do to the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A change of names or attributes that a client asked for.
    Change(Asked),
    /// From here on `appliance` acts under `view`; entries of older views are refused.
    Reign {
        /// Who.
        appliance: ApplianceId,
        /// Under which view.
        view: View,
    },
    /// Makes the root directory of a new volume.
    MakeRoot {
        /// Owner and mode.
        root: RootDirectory,
        /// When.
        now: Timestamp,
    },
    /// These objects have durable data: a missing backing file is a fault from here on.
    HasData(Vec<ObjectId>),
    /// A WRITE took setuid and setgid from a file.
    DropPrivileges {
        /// Which.
        object: ObjectId,
        /// When.
        now: Timestamp,
    },
    /// An appliance's copy misses acknowledged data, or may.
    MarkStale {
        /// Of which object.
        object: ObjectId,
        /// Whose.
        appliance: ApplianceId,
    },
    /// The operator takes an appliance's copy for good again.
    ClearStale {
        /// Of which object.
        object: ObjectId,
        /// Whose.
        appliance: ApplianceId,
    },
    /// The backing files of these removed objects are gone for good, as a lone appliance said it
    /// before there were several.
    Removed(Vec<ObjectId>),
    /// An appliance gets a copy of a file; it is stale until a hand-over says that it is whole.
    AddReplica {
        /// Of which file.
        object: ObjectId,
        /// Who.
        appliance: ApplianceId,
    },
    /// The file changes its owner and its epoch. The new owner's copy is whole and durable.
    HandOver {
        /// Which file.
        object: ObjectId,
        /// Who owns it from here on.
        to: ApplianceId,
    },
    /// The file keeps its owner and changes its epoch: what cancels a hand-over.
    Keep {
        /// Which file.
        object: ObjectId,
    },
    /// An appliance that does not own the file gives its copy up.
    DropReplica {
        /// Of which file.
        object: ObjectId,
        /// Who.
        appliance: ApplianceId,
    },
    /// One appliance's backing files of these objects are gone for good.
    RemovedBy {
        /// Whose.
        appliance: ApplianceId,
        /// Of which objects.
        objects: Vec<ObjectId>,
    },
    /// The operator wants a file at one appliance, or no longer at any one.
    Pin {
        /// Which file.
        object: ObjectId,
        /// Where.
        to: Option<ApplianceId>,
    },
    /// A CREATE, of a file that is born with several copies: empty, they are all alike.
    Create {
        /// What a client asked for; anything but a CREATE is refused.
        asked: Asked,
        /// Who has the other copies.
        others: Others,
    },
    /// The file changes its owner and its epoch. The new owner's copy counted before.
    Promote {
        /// Which file.
        object: ObjectId,
        /// Who owns it from here on.
        to: ApplianceId,
    },
    /// An appliance's copy is whole again, and as durable as the owner's: it counts from here on.
    Synced {
        /// Of which file.
        object: ObjectId,
        /// Whose.
        appliance: ApplianceId,
    },
    /// An appliance can't read its copy of a file: another good one answers from here on. Refused
    /// with `Invalid` if there is none, since most of a file may be readable still.
    GiveUp {
        /// Of which file.
        object: ObjectId,
        /// Whose.
        appliance: ApplianceId,
    },
}

/// Copies of a file besides its owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Others {
    /// Who has them, in order of succession.
    pub replicas: Box<[ApplianceId]>,
    /// Those of them that miss what comes: they are not up.
    pub stale: Box<[ApplianceId]>,
}

/// A command with the reign its proposer acts under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// View and epoch of the proposer; an older one than the catalog's is refused.
    pub reign: Reign,
    /// What to do.
    pub command: Command,
}

/// What an entry did: a change's result, nothing more to say, or why nothing was done.
pub type Answer = Result<Option<Box<Changed>>, Refusal>;

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Where in the log.
    pub index: Index,
    /// In which term.
    pub term: Term,
    /// An encoded [`Envelope`]; empty for Raft's own entries.
    pub data: &'a [u8],
    /// Who takes part in the group from here on, if this entry changes it.
    pub membership: Option<&'a Membership>,
}

impl Envelope {
    /// The bytes that go into the log.
    pub fn encode(&self) -> Vec<u8> {
        crate::records::encode(self)
    }

    /// Reads an entry's bytes.
    ///
    /// # Errors
    /// [`CatalogFault::Entry`]: a newer program wrote the log.
    pub fn decode(entry: &LogEntry<'_>) -> Result<Self, CatalogFault> {
        let fault = |reason: String| CatalogFault::Entry { index: entry.index, reason };
        match entry.data.split_first() {
            Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|e| fault(e.to_string())),
            other => Err(fault(format!("format {:?}, not {FORMAT}", other.map(|(f, _)| f)))),
        }
    }
}
