//! The ports that doors use: each request goes to whoever answers it, here or elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use catalog::Imaging;
use model::{
    Attributes, Change, ObjectId, Refusal, SetAttributes, Span, Timestamp, VolumeInfo, Wcc,
};
use volume::{
    Ask, Committed, Done, Found, Listing, LookUpName, Page, Ports, ReadData, Refused, SpaceReport,
    WriteRequest, Wrote,
};

use crate::local::Local;
use crate::router::Router;
use crate::routing::{PARK_MAX, Patience};
use crate::standing::About;
use crate::wire::{Call, End, Returned, WireName};

impl<S: Imaging> Ports for Router<S> {
    fn volumes(&self) -> Arc<Vec<VolumeInfo>> {
        self.parts.machines.table.read().clone()
    }

    async fn attributes(&self, ask: &Ask, object: ObjectId) -> Result<Attributes, Refused> {
        let here =
            |local: Arc<Local<S>>, _| async move { self.serve_attributes(&local, object).await };
        let call = || (Call::Attributes { object }, Bytes::new());
        let take = |returned, _| match returned {
            Returned::Attributes(attributes) => Some(attributes),
            _ => None,
        };
        self.routed(ask, About::Object(object), here, call, take).await
    }

    async fn look_up(
        &self,
        ask: &Ask,
        dir: ObjectId,
        name: LookUpName<'_>,
    ) -> Result<Found, Refused> {
        let here = |local: Arc<Local<S>>, _| async move {
            self.look_up_name(ask, &local, dir, name).await
        };
        let call = || (Call::LookUp { dir, name: WireName::from(name) }, Bytes::new());
        let take = |returned, _| match returned {
            Returned::Found(found) => Some(found),
            _ => None,
        };
        self.routed(ask, About::Names, here, call, take).await
    }

    async fn read_link(&self, ask: &Ask, object: ObjectId) -> Result<(Bytes, Attributes), Refused> {
        let here = |local: Arc<Local<S>>, _| async move { self.read_link_of(&local, object).await };
        let call = || (Call::ReadLink { object }, Bytes::new());
        let take = |returned, _| match returned {
            Returned::Link(target, attributes) => Some((target, attributes)),
            _ => None,
        };
        self.routed(ask, About::Names, here, call, take).await
    }

    async fn list(&self, ask: &Ask, dir: ObjectId, page: Page) -> Result<Listing, Refused> {
        let here =
            |local: Arc<Local<S>>, _| async move { self.list_names(ask, &local, dir, page).await };
        let call = || (Call::List { dir, page }, Bytes::new());
        let take = |returned, _| match returned {
            Returned::Listing(listing) => Some(listing),
            _ => None,
        };
        self.routed(ask, About::Names, here, call, take).await
    }

    async fn change(&self, ask: &Ask, mut change: Change) -> Result<Done, Refused> {
        if let Change::Create { owner, .. } = &mut change {
            // A new object is owned where its client is, if that holds the volume.
            *owner = self.home_of_new(ask.volume);
        }
        let change = &change;
        let here = |local: Arc<Local<S>>, view| async move {
            let done = self.change_names(&ask.in_view(view), &local, change.clone()).await?;
            Ok((done, local.catalog.applied_index()))
        };
        let call = || (Call::Change(change.clone()), Bytes::new());
        let take = |returned, _| match returned {
            Returned::Done(done, index) => Some((done, index)),
            _ => None,
        };
        let (done, index) = self.routed(ask, About::Names, here, call, take).await?;
        // Who made it may own it: it must be known here before the client comes with data.
        let patience = Patience::new(self.parts.clock.since_boot(), PARK_MAX);
        while let Ok(local) = self.local(ask.volume) {
            match self.wait_applied(&local, index, patience).await {
                // It is let go of, to be opened anew.
                Err(Refusal::Fenced) => {}
                // It is done, and there is no telling the client to come back with another call.
                waited => {
                    waited.map_err(|_| Refusal::Unknown)?;
                    break;
                }
            }
        }
        Ok(done)
    }

    async fn set_attributes(
        &self,
        ask: &Ask,
        object: ObjectId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Wcc, Refused> {
        let here = |local: Arc<Local<S>>, view| async move {
            self.serve_set(&ask.in_view(view), &local, object, set, guard).await
        };
        let call = || (Call::SetAttributes { object, set, guard }, Bytes::new());
        self.routed(ask, About::Object(object), here, call, taken_set).await
    }

    async fn read(&self, ask: &Ask, object: ObjectId, span: Span) -> Result<ReadData, Refused> {
        let here = |local: Arc<Local<S>>, _| async move {
            self.used(&local, object, self.parts.appliance);
            self.serve_read(ask, &local, object, span).await
        };
        let len = u32::try_from(span.len()).map_err(|_| Refusal::Invalid)?;
        let call = || (Call::Read { object, offset: span.offset(), len }, Bytes::new());
        let take = |returned, bytes| match returned {
            Returned::Read { eof, attributes } => {
                Some(ReadData { bytes, eof: eof == End::Reached, attributes })
            }
            _ => None,
        };
        self.routed(ask, About::Object(object), here, call, take).await
    }

    async fn write(&self, ask: &Ask, request: WriteRequest) -> Result<Wrote, Refused> {
        let request = &request;
        let WriteRequest { object, span, stability, .. } = *request;
        let here = |local: Arc<Local<S>>, view| async move {
            self.used(&local, object, self.parts.appliance);
            self.serve_write(&ask.in_view(view), &local, request.clone()).await
        };
        let call = || {
            let call = Call::Write { object, offset: span.offset(), stability };
            (call, request.payload.clone())
        };
        let take = |returned, _| match returned {
            Returned::Wrote(wrote) => Some(wrote),
            _ => None,
        };
        self.routed(ask, About::Object(object), here, call, take).await
    }

    async fn commit(&self, ask: &Ask, object: ObjectId) -> Result<Committed, Refused> {
        let here =
            |local: Arc<Local<S>>, _| async move { self.serve_commit(ask, &local, object).await };
        let call = || (Call::Commit { object }, Bytes::new());
        let take = |returned, _| match returned {
            Returned::Committed(committed) => Some(committed),
            _ => None,
        };
        self.routed(ask, About::Object(object), here, call, take).await
    }

    async fn space(&self, ask: &Ask, object: ObjectId) -> Result<SpaceReport, Refused> {
        let here = |local: Arc<Local<S>>, _| async move { self.serve_space(&local, object).await };
        let call = || (Call::Space { object }, Bytes::new());
        let take = |returned, _| match returned {
            Returned::Space(report) => Some(report),
            _ => None,
        };
        self.routed(ask, About::Object(object), here, call, take).await
    }
}

/// What a SETATTR returned.
pub(crate) fn taken_set(returned: Returned, _: Bytes) -> Option<Wcc> {
    match returned {
        Returned::Set(wcc) => Some(wcc),
        _ => None,
    }
}
