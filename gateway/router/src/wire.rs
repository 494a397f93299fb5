//! What appliances ask of one another, as bytes.
//!
//! Invariant: what was encoded decodes to itself, and any other bytes are refused; nothing is
//! allocated by a length that was not received. File data never passes through here: it travels
//! beside, as it came. Variants are only ever added at the end, so that an appliance one version
//! older reads what it knows and refuses the rest. Absent on purpose: the transport.

use bytes::Bytes;
use catalog::Answer;
use model::{
    ApplianceId, Attributes, Change, Epoch, GroupId, Identity, Index, Name, ObjectId, ObjectRecord,
    Refusal, RequestKey, SetAttributes, Stability, Timestamp, View, VolumeId, Wcc,
};
use ownership::heat::Explained;
use ownership::{FleetAnswer, FleetRefusal, OwnerChange};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use volume::{
    Ask, Committed, Done, Found, Line, Listing, LookUpName, Page, Refused, SpaceReport, Wrote,
};

pub mod addresses;
pub mod balance;
pub mod copies;
pub mod scrub;

use self::addresses::{AddressAsk, AddressTold};
use self::balance::{BalanceAsk, BalanceTold};
use self::copies::{CopyAsk, CopyTold};
use self::scrub::{ScrubAsk, ScrubReport};
use crate::local::DataAnswer;
use crate::moving::JobReport;
use crate::overview::{CopiesReport, LedgerQuestion};

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// A client's call that the asker may not execute. A WRITE's bytes travel beside it.
    Forward(Box<Forwarded>),
    /// Enter this into the group, which the asked is taken to lead.
    Propose {
        /// Which group.
        group: GroupId,
        /// The encoded entry.
        data: Vec<u8>,
    },
    /// Answer when you have applied the group's log up to here.
    AppliedUpTo {
        /// Which group.
        group: GroupId,
        /// Up to and with this entry.
        index: Index,
    },
    /// The attributes of these files, which the asked is taken to own.
    Attributes {
        /// Of which volume.
        volume: VolumeId,
        /// Which files.
        objects: Vec<ObjectId>,
    },
    /// Hand the object over to that appliance. Asked of its owner.
    Transfer {
        /// Of which volume.
        volume: VolumeId,
        /// Which file.
        object: ObjectId,
        /// To whom.
        to: ApplianceId,
        /// Why.
        cause: TransferCause,
    },
    /// How is that transfer going?
    TransferStatus {
        /// The owner's number for it.
        transfer: u64,
    },
    /// Break that transfer off.
    CancelTransfer {
        /// The owner's number for it.
        transfer: u64,
    },
    /// The whole state of the fleet's group, for one who is far behind.
    FleetImage,
    /// The record of this file. Asked of a member of its volume.
    Record {
        /// Of which volume.
        volume: VolumeId,
        /// Which file.
        object: ObjectId,
    },
    /// These calls about the file were answered by its owner, who sends it here in a stream.
    Answers {
        /// Of which volume.
        volume: VolumeId,
        /// Which file.
        object: ObjectId,
        /// Each call and what it was told.
        answers: Vec<(RequestKey, DataAnswer)>,
        /// Whether what is known there of other calls about it is undone.
        anew: bool,
    },
    /// Why does the file stay or move? Asked of its owner.
    Explain {
        /// Of which volume.
        volume: VolumeId,
        /// Which file.
        object: ObjectId,
    },
    /// What does that appliance hold of the volume? Asked of who has the volume's catalog.
    Copies {
        /// Of which volume.
        volume: VolumeId,
        /// Whose copies.
        appliance: ApplianceId,
    },
    /// Which changes of owners do you remember?
    Ledger(LedgerQuestion),
    /// How much room have you?
    Room,
    /// The operator wants the file at one appliance, or no longer at any one. Asked of its owner.
    Pin {
        /// Of which volume.
        volume: VolumeId,
        /// Which file.
        object: ObjectId,
        /// Where.
        to: Option<ApplianceId>,
    },
    /// Which transfers do you remember?
    Jobs,
    /// From a file's owner to a copy of it. Bytes travel beside.
    Copy(Box<CopyAsk>),
    /// Answered once the asked acts under this view, or a newer one.
    InView {
        /// Of the fleet.
        view: View,
    },
    /// About a floating address.
    Address(Box<AddressAsk>),
    /// About your scrubs.
    Scrub(ScrubAsk),
    /// About evening out disks.
    Balance(Box<BalanceAsk>),
}

/// What opens a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamOpening {
    /// An image of the volume's catalog is wanted.
    Image {
        /// Of which volume.
        volume: VolumeId,
    },
    /// A file comes, and all changes of it.
    HandOver {
        /// Of which volume.
        volume: VolumeId,
        /// Which file.
        object: ObjectId,
        /// In which epoch.
        epoch: Epoch,
        /// What the volume's log said about it stands here or before.
        index: Index,
    },
}

/// Why an object moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferCause {
    /// An operator asked for it.
    Asked,
    /// It is used mostly from there.
    Heat,
    /// Its owner is being emptied.
    Drain,
    /// Nothing moves: the file gets one more good copy.
    Copy,
    /// The disk of its owner is fuller than others.
    Rebalance,
    /// Its owner stays: it gets a copy in the place of the one at that appliance, whose disk is
    /// fuller than others.
    Replace(ApplianceId),
}

/// A client's call, with all that the door found out about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    /// In which volume.
    pub volume: VolumeId,
    /// As whom, after squash.
    pub identity: Identity,
    /// In which call.
    pub key: Option<RequestKey>,
    /// The export's verdict: changes are refused.
    pub read_only: bool,
    /// The view under which it is sent.
    pub view: View,
    /// How far the asker has applied the volume's log; 0 if it does not have it. The asked first
    /// catches up with it.
    pub index: Index,
    /// How long the asker waits for an answer, in milliseconds.
    pub patience_ms: u32,
    /// What.
    pub call: Call,
}

/// What a client can ask of a volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// GETATTR.
    Attributes {
        /// Of what.
        object: ObjectId,
    },
    /// LOOKUP.
    LookUp {
        /// Where.
        dir: ObjectId,
        /// What.
        name: WireName,
    },
    /// READLINK.
    ReadLink {
        /// Of what.
        object: ObjectId,
    },
    /// READDIR and READDIRPLUS.
    List {
        /// What.
        dir: ObjectId,
        /// Which part.
        page: Page,
    },
    /// CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.
    Change(Change),
    /// SETATTR.
    SetAttributes {
        /// Of what.
        object: ObjectId,
        /// To what.
        set: SetAttributes,
        /// If its ctime is this.
        guard: Option<Timestamp>,
    },
    /// The part of a CREATE that is done to the file's data.
    SizeCreated {
        /// Of what.
        object: ObjectId,
        /// Size, and the mtime beside it.
        set: SetAttributes,
        /// Whether the CREATE made the file.
        made: Made,
    },
    /// READ.
    Read {
        /// Of what.
        object: ObjectId,
        /// From which byte.
        offset: u64,
        /// How many.
        len: u32,
    },
    /// WRITE; the bytes travel beside it.
    Write {
        /// To what.
        object: ObjectId,
        /// From which byte.
        offset: u64,
        /// How durable.
        stability: Stability,
    },
    /// COMMIT.
    Commit {
        /// Of what.
        object: ObjectId,
    },
    /// FSSTAT.
    Space {
        /// Asked about what.
        object: ObjectId,
    },
}

/// Whether a CREATE made the file that it answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// It did.
    Now,
    /// It was there.
    Before,
}

/// What LOOKUP can be asked for, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireName {
    /// The directory itself.
    Dot,
    /// Its parent.
    DotDot,
    /// A name in it.
    Name(Name),
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The call was executed. READ's bytes travel beside it.
    Returned(Box<Returned>),
    /// It was executed and refused.
    Refused(Box<Refused>),
    /// It was not executed: ask that appliance, or look again in your own tables if none is named.
    Moved {
        /// Whom to ask.
        to: Option<ApplianceId>,
        /// The view in which that is so.
        view: View,
    },
    /// What became of a proposal to a volume's group.
    Entered {
        /// The entry's answer.
        answer: Answer,
        /// Everything up to here has been applied there.
        index: Index,
    },
    /// What became of a proposal to the fleet's group.
    FleetEntered {
        /// The entry's answer.
        answer: Result<FleetAnswer, FleetRefusal>,
        /// Everything up to here has been applied there.
        index: Index,
    },
    /// Where the log stands, or that it is applied up to there.
    At(Index),
    /// What there was of the attributes asked for.
    Attributes(Vec<Attributes>),
    /// A transfer runs under this number.
    Transfer {
        /// The owner's number for it.
        transfer: u64,
    },
    /// How a transfer is going.
    TransferStatus(TransferStatus),
    /// Who owns a file and who has copies.
    Record {
        /// Who owns it and who has copies.
        record: ObjectRecord,
        /// Where the operator wants it.
        pin: Option<ApplianceId>,
    },
    /// It was not done: why, and what to do.
    Not(Refusal),
    /// The asked does not lead the group; it believes that this one does.
    NotLeader(Option<ApplianceId>),
    /// The question was not understood: it comes from a newer program.
    Unknown,
    /// Why a file stays or moves.
    Explained(Box<Explained>),
    /// What an appliance holds of a volume.
    Copies(CopiesReport),
    /// Changes of owners, the newest first.
    Ledger(Vec<OwnerChange>),
    /// Free bytes, the reserve not counted.
    Room(u64),
    /// Transfers, the newest first; at most [`JOBS_TOLD_MAX`](crate::moving::JOBS_TOLD_MAX).
    Jobs(Vec<JobReport>),
    /// What a copy says to its file's owner.
    Copied(CopyTold),
    /// What is to be said about a floating address.
    Address(AddressTold),
    /// How an appliance's scrubs stand.
    Scrub(Box<ScrubReport>),
    /// What is to be said about evening out disks.
    Balance(Box<BalanceTold>),
}

/// How a transfer is going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// What it is doing.
    pub phase: TransferPhase,
    /// Bytes to move in all.
    pub bytes_total: u64,
    /// Bytes moved.
    pub bytes_done: u64,
    /// How long requests were held up at its end, in microseconds.
    pub pause_micros: u64,
    /// What became of it, once it has ended: a sentence.
    pub outcome: Option<String>,
}

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferPhase {
    /// Waiting for its turn.
    Waiting,
    /// Copying bytes.
    Copying,
    /// Requests are parked for the last bytes and the entry.
    Closing,
    /// The new owner owns it.
    Done,
    /// The old owner keeps it.
    Kept,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Returned {
    /// GETATTR.
    Attributes(Attributes),
    /// LOOKUP.
    Found(Found),
    /// READLINK.
    Link(Bytes, Attributes),
    /// READDIR and READDIRPLUS.
    Listing(Listing),
    /// A change of names, and the entry after which it shows.
    Done(Done, Index),
    /// SETATTR.
    Set(Wcc),
    /// READ; the bytes travel beside it.
    Read {
        /// Whether the file ends with them.
        eof: End,
        /// The file's attributes.
        attributes: Attributes,
    },
    /// WRITE.
    Wrote(Wrote),
    /// COMMIT.
    Committed(Committed),
    /// FSSTAT.
    Space(SpaceReport),
}

/// Whether a file ends with the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It does.
    Reached,
    /// There is more.
    Beyond,
}

/// Bytes that are no question or answer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bytes that this program does not understand")]
pub struct BadMessage;

impl Call {
    /// Whether a call changes something: done twice it is not the same as done once.
    pub fn changes(&self) -> bool {
        match self {
            Self::SetAttributes { .. }
            | Self::SizeCreated { .. }
            | Self::Write { .. }
            | Self::Change(_) => true,
            Self::LookUp { .. }
            | Self::ReadLink { .. }
            | Self::List { .. }
            | Self::Attributes { .. }
            | Self::Read { .. }
            | Self::Commit { .. }
            | Self::Space { .. } => false,
        }
    }
}

impl Forwarded {
    /// For whom and where, as the executing appliance sees it.
    pub fn ask(&self) -> Ask {
        let Self { volume, key, read_only, view, .. } = *self;
        let (identity, view, line) = (self.identity.clone(), Some(view), Line::default());
        Ask { volume, identity, key, read_only, view, line }
    }
}

impl WireName {
    /// What is looked for.
    pub fn as_look_up(&self) -> LookUpName<'_> {
        match self {
            Self::Dot => LookUpName::Dot,
            Self::DotDot => LookUpName::DotDot,
            Self::Name(name) => LookUpName::Name(name),
        }
    }
}

impl From<LookUpName<'_>> for WireName {
    fn from(name: LookUpName<'_>) -> Self {
        match name {
            LookUpName::Dot => Self::Dot,
            LookUpName::DotDot => Self::DotDot,
            LookUpName::Name(name) => Self::Name(name.clone()),
        }
    }
}

/// What goes to and fro by beats: one way, before everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heartbeat {
    /// From who wants a lease.
    Beat(ownership::lease::Beat),
    /// From who grants it.
    Answer(ownership::lease::BeatAnswer),
}

/// The kind of every message here: what it is stands in its header.
pub const KIND: u16 = 1;
/// A message whose header is so long that it travels as the payload; it has no other.
const KIND_LONG: u16 = 2;
/// Longer ones travel as the payload.
const HEADER_BYTES_MAX: usize = 48 << 10;

/// A header and the bytes beside it, as they are put into a message.
pub fn join(header: Bytes, payload: Bytes) -> (u16, Bytes, Bytes) {
    if header.len() <= HEADER_BYTES_MAX {
        return (KIND, header, payload);
    }
    (KIND_LONG, Bytes::new(), header)
}

/// A message's header and the bytes beside it.
pub fn split(kind: u16, header: Bytes, payload: Bytes) -> (Bytes, Bytes) {
    if kind == KIND_LONG { (payload, Bytes::new()) } else { (header, payload) }
}

/// The bytes of a question or an answer.
pub fn encode<T: Serialize>(message: &T) -> Bytes {
    let bytes = postcard::to_extend(message, vec![FORMAT]);
    Bytes::from(bytes.expect("our messages have no unsizable parts"))
}

/// Reads a question or an answer.
///
/// # Errors
/// [`BadMessage`]: rot, a newer program, or somebody who means no good. Nothing was done.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadMessage> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|_| BadMessage),
        _ => Err(BadMessage),
    }
}

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests;
