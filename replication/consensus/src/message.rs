//! What appliances say to one another about a group, and its bytes.
//!
//! Invariant: [`PeerMessage::decode`] never panics, never allocates by a length that the bytes only
//! claim, and lets nothing through that would make raft-rs panic whatever its state; what depends
//! on the state is checked where it is known. Absent on purpose: frames, who is connected to whom.

use model::{Index, Term};
use protobuf::Message as _;
use raft::eraftpb::{Entry, Message, MessageType};
use thiserror::Error;

use crate::{
    fields::for_each_field,
    limits::{CONTEXT_BYTES_MAX, MESSAGE_ENTRIES_MAX, NUMBER_MAX, PEER_MESSAGE_BYTES_MAX},
    membership::{from_conf_state, is_change, is_sound, parse_change},
};

/// One message about one group from one appliance to another. May be lost, late, or come twice.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerMessage {
    /// One of Raft's own.
    Raft(Box<Message>),
    /// The leader stops ticking, as everybody has all of its log: stop as well.
    Sleep {
        /// The leader's term.
        term: Term,
        /// Its last entry, which is committed.
        commit: Index,
    },
}

/// Bytes that are no message. Drop them: Raft sends again what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadMessage {
    /// Longer than [`PEER_MESSAGE_BYTES_MAX`].
    #[error("the message is too long")]
    TooLong,
    /// Of a format or a kind that this release does not know.
    #[error("the message is of an unknown format")]
    UnknownFormat,
    /// The bytes don't add up.
    #[error("the message is broken")]
    Broken,
    /// It can be read, but no Raft would send it.
    #[error("the message makes no sense")]
    Senseless,
}

impl PeerMessage {
    /// As bytes for the wire: a format byte, a kind, then the kind's own bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Raft(message) => {
                let mut bytes = vec![FORMAT, KIND_RAFT];
                message.write_to_vec(&mut bytes).expect("a vector takes every message");
                bytes
            }
            Self::Sleep { term, commit } => {
                let mut bytes = vec![FORMAT, KIND_SLEEP];
                bytes.extend_from_slice(&term.get().to_le_bytes());
                bytes.extend_from_slice(&commit.get().to_le_bytes());
                bytes
            }
        }
    }

    /// From bytes off the wire.
    ///
    /// # Errors
    /// Whatever the bytes are, one of [`BadMessage`]; they are to be dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        if bytes.len() > PEER_MESSAGE_BYTES_MAX {
            return Err(BadMessage::TooLong);
        }
        match bytes {
            [FORMAT, KIND_RAFT, body @ ..] => {
                check_lengths(body).ok_or(BadMessage::Broken)?;
                let mut message = Message::default();
                message.merge_from_bytes(body).map_err(|_| BadMessage::Broken)?;
                match is_sensible(&message) {
                    true => Ok(Self::Raft(Box::new(message))),
                    false => Err(BadMessage::Senseless),
                }
            }
            [FORMAT, KIND_SLEEP, body @ ..] => {
                let (numbers, rest) = body.as_chunks::<8>();
                let ([term, commit], []) = (numbers, rest) else {
                    return Err(BadMessage::Broken);
                };
                let (term, commit) = (u64::from_le_bytes(*term), u64::from_le_bytes(*commit));
                Ok(Self::Sleep { term: Term::new(term), commit: Index::new(commit) })
            }
            _ => Err(BadMessage::UnknownFormat),
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        let entries = match self {
            Self::Raft(message) => message.get_entries(),
            Self::Sleep { .. } => &[],
        };
        MESSAGE_OVERHEAD + entries.iter().map(|e| e.data.len() + MESSAGE_OVERHEAD).sum::<usize>()
    }
}

/// Whether a correct Raft may send it to another; in any state, raft-rs can look at it.
pub(crate) fn is_sensible(message: &Message) -> bool {
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    let fields = message.from != 0
        && message.term != 0
        && numbers.iter().all(|number| *number <= NUMBER_MAX)
        && message.context.len() <= CONTEXT_BYTES_MAX
        && message.request_snapshot == 0
        && message.priority == 0
        && message.deprecated_priority == 0;
    fields
        && match message.get_msg_type() {
            MessageType::MsgAppend => is_sensible_append(message),
            MessageType::MsgSnapshot => is_sensible_snapshot(message),
            MessageType::MsgAppendResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgSnapStatus
            | MessageType::MsgTimeoutNow
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse => message.entries.is_empty(),
            // A proposal, a read or a transfer is asked of the leader where it is; the rest raft-rs
            // only says to itself.
            MessageType::MsgPropose
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp
            | MessageType::MsgTransferLeader
            | MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgCheckQuorum => false,
        }
}

/// Its entries follow its place in the log without gaps, and terms never go back. raft-rs takes
/// term 0 for the term of whatever it does not have, so only the log's beginning may say it.
fn is_sensible_append(message: &Message) -> bool {
    let mut before = (message.index, message.log_term);
    let mut follows = |entry: &Entry| {
        let follows = entry.index == before.0 + 1 && entry.term >= before.1;
        before = (entry.index, entry.term);
        follows && entry.term > 0 && (!is_change(entry) || parse_change(entry).is_some())
    };
    (message.index == 0) == (message.log_term == 0)
        && message.log_term <= message.term
        && message.entries.len() <= MESSAGE_ENTRIES_MAX
        && message.entries.iter().all(&mut follows)
        && before.1 <= message.term
        && before.0 <= NUMBER_MAX
}

fn is_sensible_snapshot(message: &Message) -> bool {
    let snapshot = message.get_snapshot();
    let metadata = snapshot.get_metadata();
    (1..=NUMBER_MAX).contains(&metadata.index)
        && (1..=message.term).contains(&metadata.term)
        && snapshot.data.is_empty()
        && message.entries.is_empty()
        && is_sound(&from_conf_state(metadata.get_conf_state()))
}

/// Whether every length in a message's bytes ends within them, and no list is too long. The
/// library makes room for what a length claims before it looks.
fn check_lengths(message: &[u8]) -> Option<()> {
    let mut entries = 0;
    for_each_field(message, &mut |field, body| match field {
        ENTRIES_FIELD => {
            entries += 1;
            (entries <= MESSAGE_ENTRIES_MAX).then_some(())?;
            for_each_field(body, &mut |_, _| Some(()))
        }
        SNAPSHOT_FIELD => for_each_field(body, &mut |field, body| match field {
            METADATA_FIELD => for_each_field(body, &mut |field, body| match field {
                CONF_STATE_FIELD => {
                    (body.len() <= CONF_STATE_BYTES_MAX).then_some(())?;
                    for_each_field(body, &mut |_, _| Some(()))
                }
                _ => Some(()),
            }),
            _ => Some(()),
        }),
        _ => Some(()),
    })
}

const FORMAT: u8 = 1;
const KIND_RAFT: u8 = 0;
const KIND_SLEEP: u8 = 1;

/// Fields of eraftpb.proto.
const ENTRIES_FIELD: u64 = 7;
const SNAPSHOT_FIELD: u64 = 9;
const METADATA_FIELD: u64 = 2;
const CONF_STATE_FIELD: u64 = 1;

/// Far more than the most members need.
const CONF_STATE_BYTES_MAX: usize = 16 << 10;

/// What a message or an entry takes besides its bytes, about.
const MESSAGE_OVERHEAD: usize = 64;

#[cfg(test)]
mod tests;
