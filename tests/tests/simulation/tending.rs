//! What goes on beside calls: Reigns being entered, old copies given up, backing files removed.

use catalog::Command;
use model::{ApplianceId, ObjectId, RequestKey, VolumeId};
use ownership::{Claim, Standing};

use crate::entering::{Entry, Fate};
use crate::process::{Ctx, Process};
use crate::words::{Entered, Key, Outcome, Reply};

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
            if ctx.drops_copies && ctx.chance.per_mille(200) {
                self.drop_old_copies(ctx, volume);
            }
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

    /// Gives up the copies of a file owned here that are not being made.
    fn drop_old_copies(&mut self, ctx: &mut Ctx<'_>, volume: VolumeId) {
        let local = &self.volumes[&volume];
        if local.dropping.is_some() {
            return;
        }
        let copies = local.catalog.copies_of(self.me, ObjectId::ROOT, 64).expect("memory");
        for (object, record) in copies.found {
            let key = (volume, object);
            let owns = matches!(
                self.standing_of(ctx, volume, &record, Claim::Client),
                Standing::Execute { .. }
            );
            let old = record.replicas.iter().copied().find(|a| *a != self.me && *a != record.owner);
            let Some(appliance) = old.filter(|_| owns && record.owner == self.me) else { continue };
            if self.transfers.contains_key(&key) {
                continue;
            }
            let command = Command::DropReplica { object, appliance };
            let entry = Entry::volume(volume, self.deciding(record.epoch), command);
            self.volumes.get_mut(&volume).expect("it is open").dropping = Some(entry);
            return;
        }
    }

    /// Takes over what the owner of a file that comes here has answered.
    pub fn take_answers(
        &mut self,
        from: ApplianceId,
        key: Key,
        answers: Vec<(RequestKey, Outcome)>,
    ) -> Reply {
        let owner = self.record(key).map(|record| record.owner);
        let is_owner =
            owner == Some(from) || self.receivings.get(&key).is_some_and(|r| r.from == from);
        let Some(local) = self.volumes.get_mut(&key.0).filter(|_| is_owner) else {
            return Reply::No;
        };
        for (request, outcome) in answers {
            local.answered.entry(request).or_insert((key.1, outcome));
        }
        Reply::Done
    }
}
