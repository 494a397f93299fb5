use model::{ApplianceId, Membership};
use protobuf::Message as _;
use raft::eraftpb::{EntryType, Message, MessageType};

use super::{BadMessage, PeerMessage, is_sensible};
use crate::{
    PEER_MESSAGE_BYTES_MAX,
    limits::NUMBER_MAX,
    membership,
    testing::{Seeded, entry, index, term},
};

fn message(kind: MessageType) -> Message {
    let mut message = Message { from: 1, to: 2, term: 3, ..Message::default() };
    message.set_msg_type(kind);
    message
}

fn append() -> Message {
    let mut append = message(MessageType::MsgAppend);
    (append.index, append.log_term, append.commit) = (4, 2, 3);
    append.entries = vec![entry(5, 2, "a"), entry(6, 3, "b")].into();
    append
}

fn snapshot() -> Message {
    let mut snapshot = message(MessageType::MsgSnapshot);
    let metadata = snapshot.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (9, 2);
    let members = Membership::of_voters([ApplianceId::new(1), ApplianceId::new(2)]);
    metadata.set_conf_state(membership::to_conf_state(&members));
    snapshot
}

fn raft(message: Message) -> PeerMessage {
    PeerMessage::Raft(Box::new(message))
}

#[test]
fn the_bytes_of_each_kind_stay_what_they_are() {
    let sleep = PeerMessage::Sleep { term: term(7), commit: index(258) };
    let golden = [1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(sleep.encode(), golden);
    let mut beat = message(MessageType::MsgHeartbeat);
    beat.commit = 5;
    beat.context = vec![9].into();
    let golden = [1, 0, 8, 8, 16, 2, 24, 1, 32, 3, 64, 5, 98, 1, 9];
    assert_eq!(raft(beat).encode(), golden);
}

#[test]
fn every_kind_comes_back_as_it_went() {
    let sleep = PeerMessage::Sleep { term: term(7), commit: index(258) };
    for message in
        [sleep, raft(append()), raft(snapshot()), raft(message(MessageType::MsgTimeoutNow))]
    {
        assert_eq!(PeerMessage::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn bytes_of_no_known_format_are_refused() {
    let decode = PeerMessage::decode;
    assert_eq!(decode(&[]), Err(BadMessage::UnknownFormat));
    assert_eq!(decode(&[2, 0]), Err(BadMessage::UnknownFormat));
    assert_eq!(decode(&[1, 2]), Err(BadMessage::UnknownFormat));
    assert_eq!(decode(&[1, 1, 0]), Err(BadMessage::Broken));
    assert_eq!(decode(&vec![1; PEER_MESSAGE_BYTES_MAX + 1]), Err(BadMessage::TooLong));
}

#[test]
fn a_length_that_only_claims_is_refused_before_room_is_made() {
    // An entry's data of 5 MB, of which nothing comes; and one level up, an entry.
    for claim in [&[58, 6, 34, 0xc0, 0x96, 0xb1, 2, 0][..], &[58, 0xc0, 0x96, 0xb1, 2]] {
        let bytes = [&[1, 0], claim].concat();
        assert_eq!(PeerMessage::decode(&bytes), Err(BadMessage::Broken));
    }
}

#[test]
fn what_no_raft_sends_is_refused() {
    type Break = fn(&mut Message);
    let broken: &[(Message, Break)] = &[
        (append(), |m| m.from = 0),
        (append(), |m| m.term = 0),
        (append(), |m| m.term = 2),
        (append(), |m| m.index = NUMBER_MAX + 1),
        (append(), |m| m.index = 3),
        (append(), |m| m.log_term = 0),
        (append(), |m| m.log_term = 3),
        (append(), |m| m.entries[1].index = 7),
        (append(), |m| m.entries[1].term = 1),
        (append(), |m| m.entries[1].term = 4),
        (append(), |m| m.entries[1].set_entry_type(EntryType::EntryConfChangeV2)),
        (append(), |m| m.commit = u64::MAX),
        (append(), |m| m.context = vec![0; 65].into()),
        (append(), |m| m.request_snapshot = 1),
        (append(), |m| m.priority = 1),
        (append(), |m| m.set_msg_type(MessageType::MsgHeartbeat)),
        (append(), |m| m.set_msg_type(MessageType::MsgPropose)),
        (snapshot(), |m| m.mut_snapshot().mut_metadata().index = 0),
        (snapshot(), |m| m.mut_snapshot().mut_metadata().term = 4),
        (snapshot(), |m| m.mut_snapshot().data = vec![1].into()),
        (snapshot(), |m| m.mut_snapshot().mut_metadata().mut_conf_state().set_voters(vec![])),
        (snapshot(), |m| m.mut_snapshot().mut_metadata().mut_conf_state().set_learners(vec![1])),
    ];
    for (number, (good, breaks)) in broken.iter().enumerate() {
        assert!(is_sensible(good), "{number}");
        let mut bad = good.clone();
        breaks(&mut bad);
        let decoded = PeerMessage::decode(&raft(bad).encode());
        assert_eq!(decoded, Err(BadMessage::Senseless), "{number}");
    }
    for kind in [MessageType::MsgHup, MessageType::MsgReadIndex, MessageType::MsgTransferLeader] {
        assert!(!is_sensible(&message(kind)), "{kind:?}");
    }
}

#[test]
fn random_bytes_and_damaged_messages_never_panic() {
    let chance = Seeded::new(7);
    let good = [raft(append()).encode(), raft(snapshot()).encode()];
    for _ in 0..50_000 {
        let mut bytes = good[chance.below(2) as usize].clone();
        for _ in 0..=chance.below(3) {
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] = chance.next() as u8;
        }
        bytes.truncate(chance.below(bytes.len() as u64 + 20) as usize + 2);
        if let Ok(PeerMessage::Raft(message)) = PeerMessage::decode(&bytes) {
            message.write_to_bytes().unwrap();
        }
        let noise: Vec<_> = (0..chance.below(40)).map(|_| chance.next() as u8).collect();
        let _ = PeerMessage::decode(&[&[1, 0], &noise[..]].concat());
    }
}
