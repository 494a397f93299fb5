//! Carries entries out, one after the other, on top of what stands; all of them become one batch.
//!
//! Invariant: what an entry does depends on the entries before it and on nothing else. A refused
//! one leaves no trace. Absent on purpose: what becomes visible when; that is the catalog's.

use model::{
    ApplianceId, Asked, Changed, Cookie, Epoch, Index, Inode, InodeKind, Mark, Membership,
    ObjectId, Refusal, RequestKey, Times, Timestamp,
};

use crate::command::{Answer, Command, Envelope, LogEntry, Others};
use crate::fault::CatalogFault;
use crate::keys;
use crate::owners::{self, At};
use crate::plan::{self, Stop};
use crate::records::{JointRecord, ReplayRecord, encode};
use crate::replay::{Replay, ReplayClock};
use crate::store::Store;
use crate::txn::Txn;

/// A run of entries that become one batch.
pub struct Run<'a, S> {
    txn: Txn<'a, S>,
    replay: &'a mut Replay,
    clock_before: ReplayClock,
    joint: Option<JointRecord>,
    owners_moved: bool,
    answers: Vec<(Index, Answer)>,
    ctimes: Vec<(ObjectId, Timestamp)>,
    pins: Vec<(ObjectId, Option<ApplianceId>)>,
}

impl<'a, S: Store> Run<'a, S> {
    /// Nothing done yet.
    pub fn new(txn: Txn<'a, S>, replay: &'a mut Replay) -> Self {
        let clock_before = replay.clock;
        Self {
            txn,
            replay,
            clock_before,
            joint: None,
            owners_moved: false,
            answers: Vec::new(),
            ctimes: Vec::new(),
            pins: Vec::new(),
        }
    }

    /// Carries out one more entry.
    ///
    /// # Errors
    /// [`CatalogFault`]: nothing of the run may become visible.
    pub fn take(&mut self, entry: &LogEntry<'_>) -> Result<(), CatalogFault> {
        let answer = self.entry(entry)?;
        self.answers.push((entry.index, answer));
        Ok(())
    }

    /// Whether an entry changed who owns something, or who may.
    pub fn owners_moved(&self) -> bool {
        self.owners_moved
    }

    /// The ctimes that clients' changes gave to objects, in their order.
    pub fn take_ctimes(&mut self) -> Vec<(ObjectId, Timestamp)> {
        std::mem::take(&mut self.ctimes)
    }

    /// Which files were pinned where, or freed, in their order.
    pub fn take_pins(&mut self) -> Vec<(ObjectId, Option<ApplianceId>)> {
        std::mem::take(&mut self.pins)
    }

    /// What was changed, the joint part of the membership if that was among it, and an answer for
    /// each entry.
    pub fn into_parts(mut self) -> (Txn<'a, S>, Option<JointRecord>, Vec<Answer>) {
        if self.replay.clock != self.clock_before {
            self.txn.put(keys::REPLAY_CLOCK.to_vec(), encode(&self.replay.clock));
        }
        let answers = self.answers.into_iter().map(|(_, answer)| answer).collect();
        (self.txn, self.joint, answers)
    }

    fn entry(&mut self, entry: &LogEntry<'_>) -> Result<Answer, CatalogFault> {
        let applied = self.txn.state.applied;
        if entry.index != applied.next() {
            return Err(CatalogFault::Gap { applied, got: entry.index });
        }
        self.txn.state.applied = entry.index;
        self.txn.state.term = entry.term;
        if let Some(membership) = entry.membership {
            self.set_membership(membership);
        }
        if entry.data.is_empty() {
            return Ok(Ok(None));
        }
        let Envelope { reign, command } = Envelope::decode(entry)?;
        let outcome = match command {
            Command::Reign { appliance: _, view } => {
                self.owners_moved = true;
                self.txn.state.fence.reign(view).map(|()| None).map_err(Stop::from)
            }
            command => {
                let epoch = self.epoch_at_stake(&command)?;
                match self.txn.state.fence.admits(reign, epoch) {
                    Ok(()) => self.command(entry, reign.epoch, command),
                    Err(refusal) => Err(refusal.into()),
                }
            }
        };
        match outcome {
            Ok(changed) => Ok(Ok(changed)),
            Err(Stop::Refusal(refusal)) => Ok(Err(refusal)),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// The epoch of the object's record, for a command that only its owner may give.
    fn epoch_at_stake(&self, command: &Command) -> Result<Option<Epoch>, CatalogFault> {
        let object = match command {
            Command::Change(Asked {
                change: model::Change::SetAttributes { object, .. }, ..
            })
            | Command::DropPrivileges { object, .. }
            | Command::MarkStale { object, .. }
            | Command::AddReplica { object, .. }
            | Command::HandOver { object, .. }
            | Command::Keep { object }
            | Command::Synced { object, .. }
            | Command::Promote { object, .. }
            | Command::GiveUp { object, .. }
            | Command::DropReplica { object, .. } => *object,
            Command::Change(_)
            | Command::Create { .. }
            | Command::Reign { .. }
            | Command::MakeRoot { .. }
            | Command::HasData(_)
            | Command::ClearStale { .. }
            | Command::Removed(_)
            | Command::RemovedBy { .. }
            | Command::Pin { .. } => return Ok(None),
        };
        let inode = self.txn.inode(object)?;
        Ok(inode.as_ref().and_then(Inode::record).map(|record| record.epoch))
    }

    fn command(
        &mut self,
        entry: &LogEntry<'_>,
        epoch: Epoch,
        command: Command,
    ) -> Result<Option<Box<Changed>>, Stop> {
        match command {
            Command::Change(asked) => return self.change(entry.index, &asked, &Others::default()),
            Command::Create { asked, others } => return self.change(entry.index, &asked, &others),
            Command::Reign { .. } => {}
            Command::MakeRoot { root, now } => {
                if self.txn.inode(ObjectId::ROOT)?.is_some() {
                    return Err(Refusal::Exists.into());
                }
                let object = self.txn.new_object();
                let kind = InodeKind::Directory {
                    parent: object,
                    entries: 0,
                    next_cookie: Cookie::FIRST_NAME,
                };
                let times = Times { atime: now, mtime: now, ctime: now, mark: Mark::default() };
                let (mode, uid, gid) = (root.mode, root.uid, root.gid);
                let inode = Inode { kind, mode, uid, gid, links: 2, change: 1, times };
                self.txn.put_inode(object, inode);
            }
            Command::HasData(objects) => {
                for object in objects {
                    self.edit_file(object, |kind| {
                        if let InodeKind::File { has_data, .. } = kind {
                            *has_data = true;
                        }
                    })?;
                }
            }
            Command::DropPrivileges { object, now } => {
                plan::drop_privileges(&mut self.txn, object, now)?;
            }
            Command::MarkStale { object, appliance } => {
                self.owners_moved = true;
                owners::mark_stale(&mut self.txn, object, appliance)?;
            }
            Command::GiveUp { object, appliance } => {
                self.owners_moved = true;
                owners::give_up(&mut self.txn, object, appliance)?;
            }
            Command::ClearStale { object, appliance } => {
                owners::clear_stale(&mut self.txn, object, appliance)?;
            }
            Command::Removed(objects) => {
                for object in objects {
                    self.txn.delete(keys::removal(object));
                }
            }
            Command::RemovedBy { appliance, objects } => {
                for object in objects {
                    self.txn.delete(keys::removal_by(appliance, object));
                    self.txn.delete(keys::removal(object));
                }
            }
            Command::AddReplica { object, appliance } => {
                owners::add_replica(&mut self.txn, object, appliance)?;
            }
            Command::HandOver { object, to } => {
                self.owners_moved = true;
                owners::hand_over(&mut self.txn, At { object, epoch }, to)?;
            }
            Command::Keep { object } => {
                self.owners_moved = true;
                owners::keep(&mut self.txn, At { object, epoch })?;
            }
            Command::DropReplica { object, appliance } => {
                owners::drop_replica(&mut self.txn, At { object, epoch }, appliance)?;
            }
            Command::Promote { object, to } => {
                self.owners_moved = true;
                owners::promote(&mut self.txn, At { object, epoch }, to)?;
            }
            Command::Synced { object, appliance } => {
                self.owners_moved = true;
                owners::clear_stale(&mut self.txn, object, appliance)?;
            }
            Command::Pin { object, to } => {
                self.owners_moved = true;
                owners::pin(&mut self.txn, object, to)?;
                self.pins.push((object, to));
            }
        }
        Ok(None)
    }

    /// Who takes part in the group from this entry on.
    fn set_membership(&mut self, membership: &Membership) {
        let joint = JointRecord::of(membership);
        self.txn.state.voters = membership.voters.clone();
        self.txn.state.learners = membership.learners.clone();
        if joint == JointRecord::default() {
            self.txn.delete(keys::JOINT.to_vec());
        } else {
            self.txn.put(keys::JOINT.to_vec(), encode(&joint));
        }
        self.joint = Some(joint);
    }

    /// A client's change, once: a call that was answered before gets its answer again.
    fn change(
        &mut self,
        index: Index,
        asked: &Asked,
        others: &Others,
    ) -> Result<Option<Box<Changed>>, Stop> {
        if let Some(key) = &asked.key
            && let Some(answer) = self.answered(key)?
        {
            return answer.map_err(Stop::from);
        }
        let inodes_set = self.txn.inodes_set();
        let answer: Answer = match plan::plan(&mut self.txn, asked, others) {
            Ok(changed) => {
                if let Some(inode) = &changed.inode
                    && self.txn.inodes_set() > inodes_set
                {
                    self.ctimes.push((changed.object, inode.times.ctime));
                }
                if let Some(removed) = changed.removed {
                    self.pins.push((removed, None));
                }
                Ok(Some(Box::new(changed)))
            }
            // Its proposer looks again and proposes again: not the call's answer.
            Err(Stop::Refusal(refusal @ Refusal::Conflict)) => return Err(refusal.into()),
            Err(Stop::Refusal(refusal)) => Err(refusal),
            Err(stop @ Stop::Fault(_)) => return Err(stop),
        };
        if let Some(key) = asked.key {
            let at = self.replay.clock.pass(asked.now);
            let record = ReplayRecord { digest: key.digest, at, answer: answer.clone() };
            self.txn.put(keys::replay(key.client, index.get()), encode(&record));
            for slot in self.replay.insert(key, index.get(), at) {
                self.txn.delete(keys::replay(slot.client, slot.index));
            }
        }
        answer.map_err(Stop::from)
    }

    fn answered(&self, key: &RequestKey) -> Result<Option<Answer>, CatalogFault> {
        let Some(slot) = self.replay.find(key) else { return Ok(None) };
        if let Some((_, answer)) = self.answers.iter().find(|(i, _)| i.get() == slot.index) {
            return Ok(Some(answer.clone()));
        }
        self.txn.stored_answer(&keys::replay(slot.client, slot.index))
    }

    fn edit_file(
        &mut self,
        object: ObjectId,
        edit: impl FnOnce(&mut InodeKind),
    ) -> Result<(), CatalogFault> {
        // Gone meanwhile: there is nothing left to note.
        if let Some(mut inode) = self.txn.inode(object)? {
            edit(&mut inode.kind);
            self.txn.put_inode(object, inode);
        }
        Ok(())
    }
}
