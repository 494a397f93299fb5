//! What goes on beside calls: Reigns being entered, old copies given up, backing files removed.

use catalog::Command;
use model::{ApplianceId, ObjectId, ObjectRecord, RequestKey, VolumeId};
use ownership::{Claim, Standing, effective_owner};

use crate::entering::{Entry, Fate};
use crate::process::{Ctx, Process};
use crate::transfers::Purpose;
use crate::words::{Answered, Entered, Key, Reply};

impl Process {
    pub fn poll_volumes(&mut self, ctx: &mut Ctx<'_>) {
        let volumes: Vec<VolumeId> = self.volumes.keys().copied().collect();
        for volume in volumes {
            let local = self.volumes.get_mut(&volume).expect("it is open");
            let (reigning, removing) = (local.reigning.take(), local.removing.take());
            let dropping = local.dropping.take();
            if let Some((view, mut entry)) = reigning {
                let fate = self.poll_entry(ctx, &mut entry);
                let local = self.volumes.get_mut(&volume).expect("it is open");
                match fate {
                    None => local.reigning = Some((view, entry)),
                    Some(Fate::Applied(Entered::Volume(Ok(_)), _)) => {
                        local.reigned = local.reigned.max(Some(view));
                        self.again = true;
                    }
                    Some(_) => {}
                }
            }
            for (entry, drops) in [(removing, false), (dropping, true)] {
                let Some(mut entry) = entry else { continue };
                let open = self.poll_entry(ctx, &mut entry).is_none();
                let local = self.volumes.get_mut(&volume).expect("it is open");
                let place = if drops { &mut local.dropping } else { &mut local.removing };
                *place = open.then_some(entry);
            }
        }
    }

    /// Every fifth of a second.
    pub fn tend(&mut self, ctx: &mut Ctx<'_>) {
        if !self.has_lease(ctx.mistake) {
            return;
        }
        let volumes: Vec<VolumeId> = self.volumes.keys().copied().collect();
        for volume in volumes {
            self.remove_files(volume);
            self.see_to_copies(ctx, volume);
        }
    }

    /// Removes the backing files on this appliance's list, then strikes them off.
    fn remove_files(&mut self, volume: VolumeId) {
        let local = self.volumes.get_mut(&volume).expect("it is open");
        let objects = local.catalog.removals(self.me, 16).expect("memory does not fail");
        if objects.is_empty() || local.removing.is_some() {
            return;
        }
        for object in &objects {
            self.disk.files.remove(&(volume, *object));
            self.receivings.remove(&(volume, *object));
        }
        let command = Command::RemovedBy { appliance: self.me, objects };
        let entry = Entry::volume(volume, self.deciding(Default::default()), command);
        self.volumes.get_mut(&volume).expect("it is open").removing = Some(entry);
    }

    /// Has as many copies of the files owned here as there shall be, all of them alike.
    fn see_to_copies(&mut self, ctx: &mut Ctx<'_>, volume: VolumeId) {
        let local = &self.volumes[&volume];
        let copies = local.catalog.copies_of(self.me, ObjectId::ROOT, 64).expect("memory");
        for (object, record) in copies.found {
            let key = (volume, object);
            let reign = match self.standing_of(ctx, volume, &record, Claim::Client) {
                Standing::Execute { reign } => reign,
                Standing::EnterReignFirst => {
                    self.reign_in(volume);
                    continue;
                }
                _ => continue,
            };
            // Copies that differ are found here, though nobody changes the file.
            self.join(ctx, key, &record, reign);
            if !self.transfers.contains_key(&key) {
                self.see_to_file(ctx, key, &record);
            }
        }
    }

    fn see_to_file(&mut self, ctx: &mut Ctx<'_>, key: Key, record: &ObjectRecord) {
        let members = self.fleet_now.volume_members(key.0).to_vec();
        let reachable = |a: &ApplianceId| self.fleet_now.is_up(*a) && members.contains(a);
        let stale = record.stale.iter().copied().find(reachable);
        let new = members.iter().copied().find(|a| reachable(a) && !record.replicas.contains(a));
        let wanted = self.wanted(ctx, key.0);
        let alive = record.replicas.iter().filter(|a| reachable(a)).count();
        let surplus = record.replicas.len().saturating_sub(wanted);
        let may_go = |a: &&ApplianceId| **a != self.me && **a != record.owner;
        let not_good = record.stale.iter().find(may_go);
        let last = record.replicas.iter().rev().find(may_go);
        let gives_up = match not_good.or(last).copied() {
            Some(appliance) => Some(Command::DropReplica { object: key.1, appliance }),
            // Its owner is none any more: so it is whoever stands in for that.
            None if record.owner != self.me && record.stale.contains(&record.owner) => {
                Some(Command::Promote { object: key.1, to: self.me })
            }
            None => None,
        };
        // A scrub comes by now and then.
        if self.is_rotten(key) && ctx.chance.per_mille(50) {
            self.give_up_copy(key);
        }
        if surplus > 0 && ctx.drops_copies {
            let rests = self.volumes[&key.0].dropping.is_some() || ctx.chance.per_mille(800);
            if let Some(command) = gives_up.filter(|_| !rests) {
                let entry = Entry::volume(key.0, self.deciding(record.epoch), command);
                self.volumes.get_mut(&key.0).expect("it is open").dropping = Some(entry);
            }
        } else if ctx.replicas == 1 {
            // What was left behind by a hand-over is not made whole again.
        } else if let Some(to) = stale {
            self.begin_transfer(ctx, key, to, Purpose::Copy);
        } else if alive < wanted
            && let Some(to) = new
        {
            self.begin_transfer(ctx, key, to, Purpose::Copy);
        }
    }

    /// Takes over what the owner of a file that comes here has answered.
    pub fn take_answers(
        &mut self,
        from: ApplianceId,
        key: Key,
        (answers, anew): (Vec<(RequestKey, Answered)>, bool),
    ) -> Reply {
        let is_up = |appliance| self.fleet_now.is_up(appliance);
        let owner = self.record(key).and_then(|record| effective_owner(&record, is_up));
        let Some(local) = self.volumes.get_mut(&key.0).filter(|_| owner == Some(from)) else {
            return Reply::No;
        };
        if anew {
            local.answered.retain(|_, answered| answered.object != key.1);
        }
        for (request, answered) in answers {
            local.answered.entry(request).or_insert(answered);
        }
        self.witnessed.insert(key);
        Reply::Done
    }
}
