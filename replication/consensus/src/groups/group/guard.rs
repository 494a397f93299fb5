//! Which messages raft-rs gets to see.
//!
//! Invariant: nothing that passes makes raft-rs panic, and nobody gets a vote here before
//! [`ELECTION_TICKS_MIN`] ticks have passed since a leader was heard. raft-rs sees to the latter by
//! itself only as long as it remembers who leads: not after a restart, and not after a late word of
//! a higher term; a leader's read lease must outlast both. Absent on purpose: changing anything.

use model::{ApplianceId, Term};
use raft::{
    CAMPAIGN_TRANSFER, RawNode, StateRole,
    eraftpb::{Message, MessageType},
};

use super::super::log::GroupLog;
use crate::{LogStore, limits::ELECTION_TICKS_MIN, message};

/// Whether the message may be stepped: sensible by itself, from who sent it, to `me`, and without a
/// claim on what this log can't have.
pub(super) fn understands<L: LogStore>(
    node: &RawNode<GroupLog<L>>,
    me: ApplianceId,
    from: ApplianceId,
    message: &Message,
) -> bool {
    let addressed = message.from == from.get() && message.to == me.get() && from != me;
    addressed && message::is_sensible(message) && fits_log(node, message)
}

fn fits_log<L: LogStore>(node: &RawNode<GroupLog<L>>, message: &Message) -> bool {
    let log = &node.raft.raft_log;
    match message.get_msg_type() {
        // A leader that counts on entries which this log has lost.
        MessageType::MsgHeartbeat => message.commit <= log.last_index(),
        // A leader that would overwrite what is committed.
        MessageType::MsgAppend => {
            message.entries.iter().take_while(|entry| entry.index <= log.committed).all(|entry| {
                log.term(entry.index).is_ok_and(|term| term == 0 || term == entry.term)
            })
        }
        // A follower that has what the leader has not.
        MessageType::MsgAppendResponse => {
            message.reject
                || node.raft.state != StateRole::Leader
                || message.term > node.raft.term
                || message.index <= log.last_index()
        }
        _ => true,
    }
}

/// Whether the message is a sign of life of the leader of this term or of a newer one.
pub(super) fn is_from_leader(message: &Message, term: Term) -> bool {
    let by_leader = matches!(
        message.get_msg_type(),
        MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
    );
    by_leader && message.term >= term.get()
}

/// Whether the message asks for a vote that can't be given yet. A leader that hands over has ended
/// its lease.
pub(super) fn asks_too_early(message: &Message, ticks_since_heard: usize) -> bool {
    let asks = matches!(
        message.get_msg_type(),
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
    );
    asks && ticks_since_heard < ELECTION_TICKS_MIN && message.context != CAMPAIGN_TRANSFER
}
