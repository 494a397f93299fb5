//! Raft's messages to other appliances: those of all groups of one step share frames.
//!
//! Invariant: what can't be read is dropped, which Raft bears as any loss. Absent on purpose: the
//! meaning of messages.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use consensus::{Outbox, PeerMessage};
use mesh::{Mesh, Topic, limits::TELL_BYTES_MAX};
use model::{ApplianceId, GroupId};
use parking_lot::RwLock;

/// The mesh, once there is one.
#[derive(Default)]
pub struct MeshSlot(RwLock<Option<Arc<dyn Mesh>>>);

impl MeshSlot {
    /// The mesh.
    pub fn get(&self) -> Option<Arc<dyn Mesh>> {
        self.0.read().clone()
    }

    /// There is one now.
    pub fn set(&self, mesh: Arc<dyn Mesh>) {
        *self.0.write() = Some(mesh);
    }
}

/// Sends what the groups want sent.
pub struct MeshOutbox(pub Arc<MeshSlot>);

impl Outbox for MeshOutbox {
    fn send(&mut self, to: ApplianceId, messages: Vec<(GroupId, PeerMessage)>) {
        let Some(mesh) = self.0.get() else { return };
        let mut frame = BytesMut::new();
        for (group, message) in messages {
            let bytes = message.encode();
            if !frame.is_empty() && frame.len() + HEAD_BYTES + bytes.len() > TELL_BYTES_MAX {
                mesh.tell(to, Topic::RAFT, frame.split().freeze());
            }
            frame.put_u64_le(group.get());
            frame.put_u32_le(bytes.len() as u32);
            frame.put_slice(&bytes);
        }
        mesh.tell(to, Topic::RAFT, frame.freeze());
    }
}

/// The messages in a frame, as far as they can be read.
pub fn decode(frame: &Bytes) -> Vec<(GroupId, PeerMessage)> {
    let mut rest = &frame[..];
    let mut messages = Vec::new();
    while rest.len() >= HEAD_BYTES {
        let group = GroupId::new(rest.get_u64_le());
        let len = rest.get_u32_le() as usize;
        let Some((bytes, after)) = rest.split_at_checked(len) else { break };
        match PeerMessage::decode(bytes) {
            Ok(message) => messages.push((group, message)),
            Err(bad) => tracing::debug!(%group, %bad, "a message of Raft can't be read"),
        }
        rest = after;
    }
    messages
}

const HEAD_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use model::{Index, Term};

    use super::*;

    #[test]
    fn messages_of_many_groups_arrive_from_one_frame_and_a_torn_one_loses_its_end() {
        let sleep = |n| PeerMessage::Sleep { term: Term::new(n), commit: Index::new(n) };
        let mut frame = BytesMut::new();
        for n in 0..3 {
            let bytes = sleep(n).encode();
            frame.put_u64_le(n);
            frame.put_u32_le(bytes.len() as u32);
            frame.put_slice(&bytes);
        }
        let frame = frame.freeze();
        let all = decode(&frame);
        assert_eq!(all, (0..3).map(|n| (GroupId::new(n), sleep(n))).collect::<Vec<_>>());
        for len in 0..frame.len() {
            assert!(decode(&frame.slice(..len)).len() < 3);
        }
    }
}
