//! Attributes of objects, for replies about names.
//!
//! Invariant: a file's attributes come from its owner or not at all. What is asked of others is a
//! gift to the client: it is asked once, in one request an owner, and never waited for long. Absent
//! on purpose: GETATTR, which is a request to the owner.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use futures_util::future::join_all;
use model::{
    ApplianceId, Attributes, DataFacts, Inode, InodeKind, Mark, ObjectId, Refusal, VolumeId,
};

use crate::answering::LISTED_MAX;
use crate::data::CONFLICTS_MAX;
use crate::local::Local;
use crate::router::Router;
use crate::wire::{Reply, Request};

/// Files that others own, and for which entry of a listing their attributes are wanted.
#[derive(Default)]
pub(crate) struct Elsewhere(HashMap<ApplianceId, Vec<(ObjectId, usize)>>);

impl Elsewhere {
    /// The entry at `index` is a file whose attributes can't be had here.
    pub(crate) fn wants(&mut self, index: usize, object: ObjectId, inode: &Inode) {
        if let Some(record) = inode.record() {
            self.0.entry(record.owner).or_default().push((object, index));
        }
    }
}

impl<S: Imaging> Router<S> {
    /// The attributes of an object that was just looked at, whatever kind it is of.
    ///
    /// # Errors
    /// `Fenced` if its owner is another one, `Busy` if a copy elsewhere may not have yet what they
    /// show.
    pub(crate) async fn attributes_of(
        &self,
        local: &Local<S>,
        object: ObjectId,
        inode: &Inode,
    ) -> Result<Attributes, Refusal> {
        let (attributes, seen) = self.attributes_here(local, object, inode).await?;
        match seen.is_none_or(|seen| self.is_everywhere(local, object, inode, seen)) {
            true => Ok(attributes),
            false => Err(Refusal::Busy),
        }
    }

    /// The same as things stand here, and the newest change of data that they show.
    pub(crate) async fn attributes_here(
        &self,
        local: &Local<S>,
        object: ObjectId,
        inode: &Inode,
    ) -> Result<(Attributes, Option<Mark>), Refusal> {
        let InodeKind::File { has_data, record, .. } = &inode.kind else {
            return Ok((inode.attributes(object, DataFacts::default()), None));
        };
        if !self.owns(local, record) {
            return Err(Refusal::Fenced);
        }
        let has_data = *has_data;
        let facts = local.objects.facts(object, has_data).await?;
        // Without a stamp all times are the inode's, and so of its moment.
        if facts.stamp.is_none() {
            return Ok((inode.attributes(object, facts), None));
        }
        let (inode, facts) = self.file_now(local, object).await?;
        Ok((inode.attributes(object, facts), facts.stamp.map(|stamp| stamp.mark)))
    }

    /// A file's inode and the facts of its data, of one moment: a ctime of the one must not hide a
    /// change of the other.
    pub(crate) async fn file_now(
        &self,
        local: &Local<S>,
        object: ObjectId,
    ) -> Result<(Arc<Inode>, DataFacts), Refusal> {
        let mut inode = local.inode(object)?;
        for _ in 0..CONFLICTS_MAX {
            let InodeKind::File { has_data, .. } = inode.kind else { return Err(Refusal::Stale) };
            let facts = local.objects.facts(object, has_data).await?;
            let again = local.inode(object)?;
            if again.change == inode.change {
                return Ok((inode, facts));
            }
            inode = again;
        }
        Err(Refusal::Busy)
    }

    /// The attributes of an object that was just looked at: its owner's word, if that comes soon.
    pub(crate) async fn attributes_of_any(
        &self,
        local: &Local<S>,
        object: ObjectId,
        inode: &Inode,
    ) -> Option<Attributes> {
        if let Ok(attributes) = self.attributes_of(local, object, inode).await {
            return Some(attributes);
        }
        let mut elsewhere = Elsewhere::default();
        elsewhere.wants(0, object, inode);
        self.fetch(local, elsewhere).await.pop().map(|(_, attributes)| attributes)
    }

    /// Asks each owner once for all that is wanted of it, and takes what comes soon.
    pub(crate) async fn fetch(
        &self,
        local: &Local<S>,
        elsewhere: Elsewhere,
    ) -> Vec<(usize, Attributes)> {
        let fleet = self.fleet_now();
        let others = |owner: &ApplianceId| *owner != self.parts.appliance && fleet.is_up(*owner);
        let wanted = elsewhere.0.into_iter().filter(|(owner, _)| others(owner));
        let asked = wanted.map(|(owner, wanted)| self.fetch_from(owner, local.id, wanted));
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn fetch_from(
        &self,
        owner: ApplianceId,
        volume: VolumeId,
        wanted: Vec<(ObjectId, usize)>,
    ) -> Vec<(usize, Attributes)> {
        let objects = wanted.iter().map(|(object, _)| *object).collect();
        let request = Request::Attributes { volume, objects };
        let reply = self.ask_peer(owner, &request, Bytes::new(), GIFT_WAIT).await;
        let Ok((Reply::Attributes(told), _)) = reply else { return Vec::new() };
        let told: HashMap<ObjectId, Attributes> =
            told.into_iter().map(|attributes| (attributes.object, attributes)).collect();
        let index_of = |(object, index): &(ObjectId, usize)| Some((*index, *told.get(object)?));
        wanted.iter().filter_map(index_of).collect()
    }

    /// What another appliance wants to know of files that are owned here.
    pub(crate) async fn attributes_for(&self, volume: VolumeId, objects: Vec<ObjectId>) -> Reply {
        let Ok(local) = self.local(volume) else { return Reply::Attributes(Vec::new()) };
        let mut found = Vec::new();
        for object in objects.into_iter().take(LISTED_MAX) {
            let _pass = local.gates.pass(object).await;
            if let Ok(inode) = local.inode(object)
                && let Ok(attributes) = self.attributes_of(&local, object, &inode).await
            {
                found.push(attributes);
            }
        }
        match self.has_lease() {
            true => Reply::Attributes(found),
            false => Reply::Attributes(Vec::new()),
        }
    }
}

/// Whoever lists names does not wait for attributes: a client asks again for what is missing.
const GIFT_WAIT: Duration = Duration::from_millis(5);
