//! Object records: who owns a file and who has copies of it.
//!
//! Invariant: an epoch names one owner. HandOver and Keep both end the epoch they were proposed in,
//! so the first of the two that is applied wins and the other one is refused. A copy that is stale
//! never becomes good but by a HandOver to it, its owner's Synced or the operator's word.

use model::{ApplianceId, Epoch, Inode, InodeKind, ObjectId, ObjectRecord, Refusal};

use crate::keys;
use crate::plan::Stop;
use crate::records::encode;
use crate::store::Store;
use crate::txn::Txn;

/// A file, and the epoch in which something about it was proposed.
#[derive(Clone, Copy)]
pub struct At {
    /// Which file.
    pub object: ObjectId,
    /// How often it had been handed over as its proposer saw it.
    pub epoch: Epoch,
}

/// The most appliances that may have a copy of one file, those on their way included.
pub const COPIES_MAX: usize = 8;

/// `appliance` gets a copy; until that is whole it is stale. A copy that is there stays as it is.
pub fn add_replica<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    appliance: ApplianceId,
) -> Result<(), Stop> {
    // Its old file is still to be removed there: who gets bytes now would lose them.
    if txn.has(&keys::removal_by(appliance, object))? {
        return Err(Refusal::Busy.into());
    }
    edit(txn, object, |record| {
        if record.replicas.contains(&appliance) {
            return Ok(());
        }
        if record.replicas.len() >= COPIES_MAX {
            return Err(Refusal::Invalid);
        }
        record.replicas = with(&record.replicas, appliance);
        record.stale = with(&record.stale, appliance);
        Ok(())
    })
}

/// `to`, whose copy is whole and durable, owns the file from here on; the old owner keeps its copy.
pub fn hand_over<S: Store>(txn: &mut Txn<'_, S>, at: At, to: ApplianceId) -> Result<(), Stop> {
    edit(txn, at.object, |record| {
        end_epoch(record, at.epoch)?;
        if !record.replicas.contains(&to) || to == record.owner {
            return Err(Refusal::Invalid);
        }
        record.owner = to;
        record.stale = without(&record.stale, to);
        Ok(())
    })
}

/// `to`, whose copy counts, owns the file from here on. Refused if the log has heard meanwhile that
/// it does not count any more.
pub fn promote<S: Store>(txn: &mut Txn<'_, S>, at: At, to: ApplianceId) -> Result<(), Stop> {
    edit(txn, at.object, |record| {
        end_epoch(record, at.epoch)?;
        let counts = record.replicas.contains(&to) && !record.stale.contains(&to);
        if !counts || to == record.owner {
            return Err(Refusal::Invalid);
        }
        record.owner = to;
        Ok(())
    })
}

/// The owner keeps the file: a hand-over that was proposed in this epoch comes too late.
pub fn keep<S: Store>(txn: &mut Txn<'_, S>, at: At) -> Result<(), Stop> {
    edit(txn, at.object, |record| end_epoch(record, at.epoch))
}

/// `appliance`, which does not own the file, gives its copy up and removes it.
pub fn drop_replica<S: Store>(
    txn: &mut Txn<'_, S>,
    at: At,
    appliance: ApplianceId,
) -> Result<(), Stop> {
    let mut had = false;
    edit(txn, at.object, |record| {
        if record.epoch != at.epoch {
            return Err(Refusal::Fenced);
        }
        if record.owner == appliance {
            return Err(Refusal::Invalid);
        }
        had = record.replicas.contains(&appliance);
        record.replicas = without(&record.replicas, appliance);
        record.stale = without(&record.stale, appliance);
        Ok(())
    })?;
    if had {
        note_removal(txn, at.object, &[appliance]);
    }
    Ok(())
}

/// A copy misses acknowledged data, or may.
pub fn mark_stale<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    appliance: ApplianceId,
) -> Result<(), Stop> {
    edit(txn, object, |record| leave_behind(record, appliance))
}

/// A copy can't be read, and another one is good.
pub fn give_up<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    appliance: ApplianceId,
) -> Result<(), Stop> {
    edit(txn, object, |record| {
        let good = |copy: &ApplianceId| *copy != appliance && !record.stale.contains(copy);
        if !record.replicas.iter().any(good) {
            return Err(Refusal::Invalid);
        }
        leave_behind(record, appliance)
    })
}

fn leave_behind(record: &mut ObjectRecord, appliance: ApplianceId) -> Result<(), Refusal> {
    must_have_copy(record, appliance)?;
    if !record.stale.contains(&appliance) {
        // While the recorded owner's copy is good it decides, and who follows it never does.
        let may_rule = appliance == record.owner || record.stale.contains(&record.owner);
        record.stale = with(&record.stale, appliance);
        end_rule(record, may_rule);
    }
    Ok(())
}

/// A copy is good again: whole, by its owner's word, or the operator takes it for that.
pub fn clear_stale<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    appliance: ApplianceId,
) -> Result<(), Stop> {
    edit(txn, object, |record| {
        must_have_copy(record, appliance)?;
        if record.stale.contains(&appliance) {
            record.stale = without(&record.stale, appliance);
            end_rule(record, true);
        }
        Ok(())
    })
}

/// The operator wants the file at `to`, or no longer at any one appliance.
pub fn pin<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    to: Option<ApplianceId>,
) -> Result<(), Stop> {
    let inode = txn.inode(object)?.ok_or(Refusal::Stale)?;
    if inode.record().is_none() {
        return Err(Refusal::Invalid.into());
    }
    match to {
        Some(to) => txn.put(keys::pin(object), encode(&to)),
        None => txn.delete(keys::pin(object)),
    }
    Ok(())
}

/// These appliances are to remove their backing files of `object`.
pub fn note_removal<S: Store>(txn: &mut Txn<'_, S>, object: ObjectId, copies: &[ApplianceId]) {
    for appliance in copies {
        txn.put(keys::removal_by(*appliance, object), Vec::new());
    }
}

/// Keeps the list of files of which some copy is stale.
pub fn note_degraded<S: Store>(txn: &mut Txn<'_, S>, object: ObjectId, record: &ObjectRecord) {
    if record.stale.is_empty() {
        txn.delete(keys::degraded(object));
    } else {
        txn.put(keys::degraded(object), Vec::new());
    }
}

fn edit<S: Store>(
    txn: &mut Txn<'_, S>,
    object: ObjectId,
    change: impl FnOnce(&mut ObjectRecord) -> Result<(), Refusal>,
) -> Result<(), Stop> {
    let mut inode: Inode = txn.inode(object)?.ok_or(Refusal::Stale)?;
    let InodeKind::File { record, .. } = &mut inode.kind else {
        return Err(Refusal::Invalid.into());
    };
    let before = record.clone();
    change(record)?;
    if *record != before {
        // The owner's own copy is what answers: only that one is a fault to look at.
        if record.stale.contains(&record.owner) {
            let stale = encode(&record.stale);
            txn.put(keys::fault(object), stale);
        } else {
            txn.delete(keys::fault(object));
        }
        note_degraded(txn, object, record);
        txn.put_inode(object, inode);
    }
    Ok(())
}

/// A copy that may answer has become stale or good again, and so another one may have begun or
/// ceased to answer in one and the same view: an epoch of its own keeps the two reigns apart.
fn end_rule(record: &mut ObjectRecord, may_rule: bool) {
    if may_rule && record.replicas.len() > 1 {
        record.epoch = record.epoch.next();
    }
}

fn end_epoch(record: &mut ObjectRecord, epoch: Epoch) -> Result<(), Refusal> {
    if record.epoch != epoch {
        return Err(Refusal::Fenced);
    }
    record.epoch = epoch.next();
    Ok(())
}

fn must_have_copy(record: &ObjectRecord, appliance: ApplianceId) -> Result<(), Refusal> {
    if record.replicas.contains(&appliance) { Ok(()) } else { Err(Refusal::Invalid) }
}

fn with(list: &[ApplianceId], appliance: ApplianceId) -> Box<[ApplianceId]> {
    list.iter().copied().chain([appliance]).collect()
}

fn without(list: &[ApplianceId], appliance: ApplianceId) -> Box<[ApplianceId]> {
    list.iter().copied().filter(|other| *other != appliance).collect()
}

#[cfg(test)]
mod tests;
