//! Where a change must be before it is acknowledged: here and at every good copy, as durable as was
//! asked.
//!
//! Invariant: whoever waits here finds out whether the file is still this appliance's before it
//! answers. Absent on purpose: how changes get to copies.

use std::sync::Arc;

use catalog::Imaging;
use model::{DataFacts, Durability, Inode, Mark, ObjectId, Refusal, Stability};
use tokio::time::timeout;
use volume::Refused;

use crate::local::{Local, OwnFile};
use crate::router::Router;
use crate::routing::PARK_MAX;

impl<S: Imaging> Router<S> {
    /// Sees to it that a change is where it must be, and as durable there as was asked, of which
    /// some is done: what was done then.
    ///
    /// # Errors
    /// `Fenced` if another appliance may own the file by now: the change was made, and whoever owns
    /// it then knows the call.
    pub(crate) async fn secure(
        &self,
        local: &Local<S>,
        object: ObjectId,
        mark: Mark,
        (done, wanted): (Stability, Stability),
    ) -> Result<Stability, Refused> {
        let wanted = if wanted == Stability::Unstable { wanted } else { Stability::FileSync };
        let file = self.owned(local, object)?;
        let alone = file.is_alone();
        if alone && done >= wanted {
            return Ok(done);
        }
        let here = async {
            match done >= wanted {
                true => Ok(()),
                false => local.objects.commit(object, file.has_data).await.map(drop),
            }
        };
        let there = self.copies_have(local, object, mark, wanted);
        let (here, there) = tokio::join!(here, there);
        local.no_fault_open().await?;
        here?;
        there?;
        if self.owned(local, object)?.epoch != file.epoch {
            return Err(Refusal::Fenced.into());
        }
        if !alone && wanted == Stability::FileSync && !file.has_data {
            local.news.first_secured(object);
        }
        Ok(wanted.max(done))
    }

    /// The name of what is here.
    pub(crate) async fn last_change(
        &self,
        local: &Local<S>,
        object: ObjectId,
    ) -> Result<Mark, Refused> {
        let file = self.owned(local, object)?;
        let facts = local.objects.facts(object, file.has_data).await?;
        Ok(facts.stamp.map(|stamp| stamp.mark).unwrap_or_default())
    }

    /// Makes everything durable that was written before the call, here and at every good copy.
    pub(crate) async fn commit_everywhere(
        &self,
        local: &Local<S>,
        object: ObjectId,
        file: &OwnFile,
    ) -> Result<Result<DataFacts, Refusal>, Refused> {
        if file.is_alone() {
            return Ok(local.objects.commit(object, file.has_data).await);
        }
        let mark = self.last_change(local, object).await?;
        let here = local.objects.commit(object, file.has_data);
        let there = self.copies_have(local, object, mark, Stability::FileSync);
        let (here, there) = tokio::join!(here, there);
        there?;
        if !file.has_data {
            local.news.first_secured(object);
        }
        Ok(here)
    }

    /// Waits until every good copy has the change `mark`; with more than `Unstable`, until it is
    /// durable at all of them.
    ///
    /// # Errors
    /// `Fenced` if another appliance may own the file by now.
    async fn copies_have(
        &self,
        local: &Local<S>,
        object: ObjectId,
        mark: Mark,
        how: Stability,
    ) -> Result<(), Refusal> {
        match self.waits_for_all(local) {
            false => Ok(()),
            true => self.everybody_has(local, object, mark, how).await,
        }
    }

    /// Whether a change is answered only when every good copy has it.
    pub(crate) fn waits_for_all(&self, local: &Local<S>) -> bool {
        self.fleet_now().policy(local.id).durability == Durability::AllInSync
    }

    /// The same, whatever the volume's policy says.
    pub(crate) async fn everybody_has(
        &self,
        local: &Local<S>,
        object: ObjectId,
        mark: Mark,
        how: Stability,
    ) -> Result<(), Refusal> {
        let others = || {
            let inode = local.inode(object).ok();
            let record = inode.as_ref().and_then(|inode| inode.record());
            record.map(|record| self.good_others(record)).unwrap_or_default()
        };
        if others().is_empty() {
            return Ok(());
        }
        let fan = local.fans.lock().get(&object).cloned().ok_or(Refusal::Fenced)?;
        let durable = how != Stability::Unstable;
        if durable {
            // If nobody takes it the status says that it is closed.
            let _ = fan.secure.send(mark);
        }
        let mut status = fan.status.clone();
        loop {
            {
                let status = status.borrow_and_update();
                if status.closed {
                    return Err(Refusal::Fenced);
                }
                let reached = if durable { status.secured } else { status.received };
                let has = reached >= Some(mark);
                if has && others().iter().all(|other| status.followers.contains(other)) {
                    return Ok(());
                }
            }
            let mut motion = self.parts.machines.motion.subscribe();
            tokio::select! {
                changed = status.changed() => changed.map_err(|_| Refusal::Fenced)?,
                _ = motion.changed() => {}
            }
            if others().is_empty() {
                return Ok(());
            }
        }
    }

    /// What somebody has seen of a file is shown to nobody before every good copy has it: whoever
    /// owns the file next must not unsee it.
    ///
    /// # Errors
    /// `Fenced`: it is to be looked at again. `Busy`: it takes too long.
    pub(crate) async fn outlives_its_owner(
        &self,
        local: &Arc<Local<S>>,
        object: ObjectId,
        seen: Mark,
    ) -> Result<(), Refusal> {
        let file = self.owned(local, object)?;
        if self.is_everywhere(local, object, &file.inode, seen) {
            return Ok(());
        }
        if local.fans.lock().contains_key(&object) {
            let has = self.everybody_has(local, object, seen, Stability::Unstable);
            return timeout(PARK_MAX, has).await.unwrap_or(Err(Refusal::Busy));
        }
        self.join_copies(local, object).await?;
        Err(Refusal::Fenced)
    }

    /// Whether the change `seen` of a file of this appliance is known to be at every good copy.
    pub(crate) fn is_everywhere(
        &self,
        local: &Local<S>,
        object: ObjectId,
        inode: &Inode,
        seen: Mark,
    ) -> bool {
        let Some(record) = inode.record().filter(|record| record.replicas.len() > 1) else {
            return true;
        };
        local.objects.settled_to(object) >= seen
            || self.good_others(record).is_empty()
            || !self.waits_for_all(local)
    }
}
