//! Who takes part in a group, from our words to raft-rs's and back.
//!
//! Invariant: what [`is_sound`] lets through, raft-rs takes without a panic and gives back the
//! same. Lists are sorted, since raft-rs keeps sets: equal memberships are equal values everywhere.
//! Absent on purpose: who should take part.

use model::{ApplianceId, Membership};
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
    Entry, EntryType,
};

use crate::{fields::is_flat_change, limits::MEMBERS_MAX};

/// As raft-rs wants it.
pub(crate) fn to_conf_state(membership: &Membership) -> ConfState {
    let raw = |ids: &[ApplianceId]| ids.iter().map(|id| id.get()).collect::<Vec<_>>();
    let mut state = ConfState::default();
    state.set_voters(raw(&membership.voters));
    state.set_learners(raw(&membership.learners));
    state.set_voters_outgoing(raw(&membership.outgoing));
    state.set_learners_next(raw(&membership.learners_next));
    state.auto_leave = membership.auto_leave;
    state
}

/// As raft-rs says it, in order.
pub(crate) fn from_conf_state(state: &ConfState) -> Membership {
    let ids = |raw: &[u64]| {
        let mut ids: Vec<_> = raw.iter().copied().map(ApplianceId::new).collect();
        ids.sort_unstable();
        ids
    };
    Membership {
        voters: ids(state.get_voters()),
        learners: ids(state.get_learners()),
        outgoing: ids(state.get_voters_outgoing()),
        learners_next: ids(state.get_learners_next()),
        auto_leave: state.auto_leave,
    }
}

/// Whether raft-rs can hold it: somebody votes, nobody is in it twice or in two roles at once.
pub(crate) fn is_sound(membership: &Membership) -> bool {
    let Membership { voters, learners, outgoing, learners_next, auto_leave } = membership;
    let apart = |a: &[ApplianceId], b: &[ApplianceId]| a.iter().all(|id| !b.contains(id));
    let lists = [voters, learners, outgoing, learners_next];
    let joint = membership.is_joint();
    !voters.is_empty()
        && lists.iter().all(|ids| ids.len() <= MEMBERS_MAX && is_set(ids))
        && apart(learners, voters)
        && apart(learners, outgoing)
        && apart(learners_next, voters)
        && learners_next.iter().all(|id| outgoing.contains(id))
        && (joint || (learners_next.is_empty() && !auto_leave))
}

/// Whether these can be the two sets that a change leads to.
pub(crate) fn can_be_wanted(voters: &[ApplianceId], learners: &[ApplianceId]) -> bool {
    let wanted = Membership {
        voters: voters.to_vec(),
        learners: learners.to_vec(),
        ..Membership::default()
    };
    is_sound(&wanted)
}

/// The change that leads from `now` to the wanted sets by joint consensus, which the leader leaves
/// by itself (Ongaro's dissertation, section 4.3). If nothing changes it says so once more, so that
/// it is answered as every other change is.
pub(crate) fn change(
    now: &Membership,
    voters: &[ApplianceId],
    learners: &[ApplianceId],
) -> ConfChangeV2 {
    let single = |id: &ApplianceId, kind| {
        let mut single = ConfChangeSingle { node_id: id.get(), ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        single
    };
    let added = voters.iter().filter(|id| !now.voters.contains(id));
    let mut changes: Vec<_> = added.map(|id| single(id, ConfChangeType::AddNode)).collect();
    let taught = learners.iter().filter(|id| !now.learners.contains(id));
    changes.extend(taught.map(|id| single(id, ConfChangeType::AddLearnerNode)));
    let known = now.voters.iter().chain(&now.learners);
    let gone = known.filter(|id| !voters.contains(id) && !learners.contains(id));
    changes.extend(gone.map(|id| single(id, ConfChangeType::RemoveNode)));
    if let (true, Some(first)) = (changes.is_empty(), voters.first()) {
        changes.push(single(first, ConfChangeType::AddNode));
    }
    let mut change = ConfChangeV2::default();
    change.set_transition(ConfChangeTransition::Implicit);
    change.set_changes(changes.into());
    change
}

/// Whether the entry changes who takes part.
pub(crate) fn is_change(entry: &Entry) -> bool {
    entry.get_entry_type() != EntryType::EntryNormal
}

/// The change in an entry that is one; nothing if its bytes make no sense.
pub(crate) fn parse_change(entry: &Entry) -> Option<ConfChangeV2> {
    if !is_flat_change(&entry.data) {
        return None;
    }
    let change = match entry.get_entry_type() {
        EntryType::EntryNormal => return None,
        EntryType::EntryConfChange => {
            let mut old = ConfChange::default();
            old.merge_from_bytes(&entry.data).ok()?;
            raft_change(&old)
        }
        EntryType::EntryConfChangeV2 => {
            let mut change = ConfChangeV2::default();
            change.merge_from_bytes(&entry.data).ok()?;
            change
        }
    };
    (change.changes.len() <= 4 * MEMBERS_MAX).then_some(change)
}

/// The older form, which we never propose, as the newer one.
fn raft_change(old: &ConfChange) -> ConfChangeV2 {
    let mut single = ConfChangeSingle { node_id: old.node_id, ..ConfChangeSingle::default() };
    single.set_change_type(old.get_change_type());
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    change
}

fn is_set(ids: &[ApplianceId]) -> bool {
    let nobody = ApplianceId::default();
    ids.iter().enumerate().all(|(at, id)| *id != nobody && !ids[..at].contains(id))
}

#[cfg(test)]
mod tests;
