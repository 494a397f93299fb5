//! The ports that doors use: each leads to the part that does it.

use std::sync::Arc;

use bytes::Bytes;
use catalog::Store;
use model::{Attributes, Change, ObjectId, SetAttributes, Span, Timestamp, VolumeInfo, Wcc};
use volume::{
    Ask, Committed, Done, Found, Listing, LookUpName, Page, Ports, ReadData, Refused, SpaceReport,
    WriteRequest, Wrote,
};

use crate::router::Router;

impl<S: Store> Ports for Router<S> {
    fn volumes(&self) -> Arc<Vec<VolumeInfo>> {
        self.parts.machines.table.read().clone()
    }

    async fn attributes(&self, ask: &Ask, object: ObjectId) -> Result<Attributes, Refused> {
        let local = self.local(ask.volume)?;
        let inode = local.inode(object)?;
        Ok(self.attributes_of(&local, object, &inode).await?)
    }

    async fn look_up(
        &self,
        ask: &Ask,
        dir: ObjectId,
        name: LookUpName<'_>,
    ) -> Result<Found, Refused> {
        self.look_up_name(ask, dir, name).await
    }

    async fn read_link(&self, ask: &Ask, object: ObjectId) -> Result<(Bytes, Attributes), Refused> {
        self.read_link_of(ask, object).await
    }

    async fn list(&self, ask: &Ask, dir: ObjectId, page: Page) -> Result<Listing, Refused> {
        self.list_names(ask, dir, page).await
    }

    async fn change(&self, ask: &Ask, change: Change) -> Result<Done, Refused> {
        self.change_names(ask, change).await
    }

    async fn set_attributes(
        &self,
        ask: &Ask,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Wcc, Refused> {
        self.set_attributes_of(ask, object, set, guard).await
    }

    async fn read(&self, ask: &Ask, object: ObjectId, span: Span) -> Result<ReadData, Refused> {
        self.read_file(ask, object, span).await
    }

    async fn write(&self, ask: &Ask, request: WriteRequest) -> Result<Wrote, Refused> {
        self.write_file(ask, request).await
    }

    async fn commit(&self, ask: &Ask, object: ObjectId) -> Result<Committed, Refused> {
        self.commit_file(ask, object).await
    }

    async fn space(&self, ask: &Ask, object: ObjectId) -> Result<SpaceReport, Refused> {
        let local = self.local(ask.volume)?;
        let inode = local.inode(object)?;
        let attributes = self.attributes_of(&local, object, &inode).await?;
        let disk = self.parts.space.totals()?;
        // Not `free`: BTRFS counts there what its metadata has taken and file data never gets.
        let objects_free = disk.available / BYTES_PER_OBJECT;
        Ok(SpaceReport {
            bytes_total: disk.total,
            bytes_free: disk.available,
            objects_total: local.catalog.objects().saturating_add(objects_free),
            objects_free,
            attributes,
        })
    }
}

/// What one more object is taken to cost: BTRFS has no table of them, and `df -i` wants a number.
const BYTES_PER_OBJECT: u64 = 4096;
