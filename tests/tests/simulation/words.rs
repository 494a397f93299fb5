//! What appliances and clients say to one another.
//!
//! Absent on purpose: bytes. Only Raft's messages and entries are encoded, since the cores do it.

use catalog::{Answer, Record};
use consensus::PeerMessage;
use extents::CopyState;
use model::{
    ApplianceId, Change, Cookie, Epoch, GroupId, Index, Mark, Name, ObjectId, Refusal, RequestKey,
    View, VolumeId, WriteVerifier,
};
use ownership::lease::{Beat, BeatAnswer};
use ownership::{FleetAnswer, FleetRefusal};

use crate::following::{SentUnder, ToCopy};

/// One file of the fleet.
pub type Key = (VolumeId, ObjectId);

/// A file has so many cells; a write fills some of them with the number of its operation.
pub const CELLS: usize = 4;
pub const CELL_BYTES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Unstable,
    FileSync,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    LookUp { dir: ObjectId, name: Name },
    List { dir: ObjectId, after: Cookie, max: usize },
    Change(Change),
    Read { object: ObjectId },
    Write { object: ObjectId, cell: usize, cells: usize, value: u32, how: How },
    Commit { object: ObjectId },
}

impl Call {
    /// The file that it is about, if it is about data.
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Self::Read { object } | Self::Write { object, .. } | Self::Commit { object } => {
                Some(*object)
            }
            Self::LookUp { .. } | Self::List { .. } | Self::Change(_) => None,
        }
    }

    /// Whether doing it twice could be told from doing it once.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Change(_) | Self::Write { .. })
    }
}

/// A client's call; sent again it is the same one.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub volume: VolumeId,
    pub key: RequestKey,
    pub call: Call,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Found(Option<ObjectId>),
    Listed {
        names: Vec<(Name, ObjectId, Cookie)>,
        end: bool,
    },
    Changed(ObjectId),
    Read {
        cells: [u32; CELLS],
        verifier: WriteVerifier,
    },
    Wrote {
        how: How,
        verifier: WriteVerifier,
    },
    Committed {
        verifier: WriteVerifier,
    },
    Refused(Refusal),
    /// JUKEBOX: certainly not done, come back with another call.
    Busy,
}

/// A change of data that was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Of which file.
    pub object: ObjectId,
    /// With what.
    pub outcome: Outcome,
    /// The change that it is true of a copy to have; the first one, if nothing was done.
    pub mark: Mark,
}

/// What an entry did, told to whoever proposed it.
#[derive(Clone, Debug, PartialEq)]
pub enum Entered {
    Volume(Answer),
    Fleet(Result<FleetAnswer, FleetRefusal>),
}

#[derive(Clone, Debug)]
pub enum Ask {
    Forward {
        request: Request,
        view: View,
        epoch: Option<Epoch>,
        index: Index,
    },
    Propose {
        group: GroupId,
        data: Vec<u8>,
    },
    AppliedUpTo {
        volume: VolumeId,
        index: Index,
    },
    Answers {
        key: Key,
        answers: Vec<(RequestKey, Answered)>,
        /// Whether what is known of other calls about it is undone.
        anew: bool,
    },
    Image {
        group: GroupId,
    },
    /// From a file's owner to another copy.
    Copy {
        key: Key,
        under: SentUnder,
        what: ToCopy,
    },
}

#[derive(Clone, Debug)]
pub enum Reply {
    Returned(Outcome),
    Moved(Option<ApplianceId>),
    /// The asker's view or epoch is older; its log brings both, but for one that holds nothing.
    Behind {
        epoch: Epoch,
    },
    Entered(Entered, Index),
    NotLeader,
    Unknown,
    /// It is so.
    Done,
    FleetImage(Vec<u8>),
    VolumeImage(Vec<Record>),
    Copied(replicator::Told),
    /// What a copy holds, and which calls about it are known there.
    Held {
        state: CopyState,
        answers: Vec<(RequestKey, Answered)>,
    },
    No,
}

#[derive(Clone, Debug)]
pub enum Message {
    Raft(GroupId, PeerMessage),
    Beat(Beat),
    Answer(BeatAnswer),
    Ask(u64, Ask),
    Reply(u64, Reply),
    /// In order and without loss, until the stream breaks.
    Stream {
        stream: u64,
        piece: Piece,
    },
}

#[derive(Clone, Debug)]
pub enum Piece {
    /// A hand-over's stream begins.
    Open { key: Key, epoch: Epoch, index: Index },
    /// To the receiver.
    Down(replicator::Message),
    /// To the owner.
    Up(replicator::Message),
    /// It broke, or the other end will not have it.
    Broken,
}
