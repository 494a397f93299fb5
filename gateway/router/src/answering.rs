//! What other appliances ask of this one.
//!
//! Invariant: a forwarded call is executed only where it belongs, after catching up with what its
//! sender knew, and one that changes anything only in its sender's view. Bytes that make no sense
//! are answered so, and nothing is done. Absent on purpose: sending a call on; who sent it is told
//! where.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use mesh::{BulkStream, Handler, Message, Topic};
use model::{ApplianceId, Change, GroupId, Index, Refusal, Span, VolumeId};
use volume::{Refused, WriteRequest};

use crate::local::Local;
use crate::outbox;
use crate::pulse::PulseEvent;
use crate::router::Router;
use crate::routing::{PARK_MAX, Patience, Settled, is_over};
use crate::serving::NOBODY;
use crate::standing::About;
use crate::wire::{self, Call, End, Forwarded, Heartbeat, Reply, Request, Returned};

/// The router, as other appliances see it.
pub struct Answering<S>(pub Arc<Router<S>>);

impl<S: Imaging> Handler for Answering<S> {
    fn admits(&self, peer: ApplianceId) -> bool {
        let fleet = self.0.fleet_now();
        // Who has just joined knows nobody yet; the certificate is what it has.
        let new_here = fleet.member(self.0.parts.appliance).is_none();
        !fleet.removed().contains(&peer) && (new_here || fleet.member(peer).is_some())
    }

    async fn asked(&self, from: ApplianceId, request: Message) -> Message {
        let (header, payload) = wire::split(request.kind, request.header, request.payload);
        let (reply, payload) = match wire::decode(&header) {
            Ok(request) => self.0.answer(from, request, payload).await,
            Err(bad) => {
                tracing::warn!(%from, %bad, "a question can't be read");
                (Reply::Unknown, Bytes::new())
            }
        };
        let (kind, header, payload) = wire::join(wire::encode(&reply), payload);
        Message { kind, header, payload }
    }

    fn told(&self, from: ApplianceId, topic: Topic, bytes: Bytes) {
        match topic {
            Topic::BEATS => match wire::decode::<Heartbeat>(&bytes) {
                Ok(heartbeat) => self.0.pulse.tell(PulseEvent::Heard(from, heartbeat)),
                Err(bad) => tracing::debug!(%from, %bad, "a beat can't be read"),
            },
            Topic::RAFT => {
                let messages = outbox::decode(&bytes);
                self.0.parts.log.receive(from, messages);
            }
            _ => tracing::debug!(%from, "told of an unknown topic"),
        }
    }

    async fn streamed(&self, from: ApplianceId, opening: Bytes, stream: BulkStream) {
        self.0.serve_stream(from, opening, stream).await;
    }

    async fn join(&self, from: SocketAddr, request: Bytes) -> Bytes {
        self.0.serve_join(from, &request).await
    }
}

impl<S: Imaging> Router<S> {
    async fn answer(
        self: &Arc<Self>,
        from: ApplianceId,
        request: Request,
        payload: Bytes,
    ) -> (Reply, Bytes) {
        let alone = |reply| (reply, Bytes::new());
        match request {
            Request::Forward(forwarded) => self.execute(from, *forwarded, payload).await,
            Request::Propose { group, data } => alone(self.propose_for(group, data).await),
            Request::AppliedUpTo { group, index } => alone(self.applied_up_to(group, index).await),
            Request::InView { view } => {
                let patience = Patience::new(self.parts.clock.since_boot(), APPLIED_WAIT);
                match self.wait_for_view(view, patience).await {
                    Ok(()) => alone(Reply::At(Index::default())),
                    Err(refusal) => alone(Reply::Not(refusal)),
                }
            }
            Request::Attributes { volume, objects } => {
                alone(self.attributes_for(volume, objects).await)
            }
            Request::Transfer { volume, object, to, cause } => {
                alone(self.transfer_for(volume, object, to, cause))
            }
            Request::TransferStatus { transfer } => alone(self.transfer_status(transfer)),
            Request::CancelTransfer { transfer } => alone(self.cancel_transfer(transfer)),
            Request::Answers { volume, object, answers, anew } => {
                alone(self.take_answers(from, (volume, object), (answers, anew)))
            }
            Request::Record { volume, object } => alone(match self.record_here(volume, object) {
                Ok((record, pin)) => Reply::Record { record, pin },
                Err(refusal) => Reply::Not(refusal),
            }),
            Request::Copy(ask) => alone(Reply::Copied(self.copy_asked(from, *ask, payload).await)),
            Request::Jobs => alone(Reply::Jobs(self.jobs_here())),
            Request::Pin { volume, object, to } => alone(self.pin_here(volume, object, to).await),
            Request::Explain { volume, object } => alone(self.explain_here(volume, object)),
            Request::Copies { volume, appliance } => {
                alone(self.copies_here(volume, appliance).await)
            }
            Request::Ledger(question) => alone(Reply::Ledger(self.ledger_here(question))),
            Request::Address(ask) => alone(Reply::Address(self.asked_about_address(from, *ask))),
            Request::Scrub(ask) => alone(Reply::Scrub(Box::new(self.scrub_here(ask).await))),
            Request::Balance(ask) => {
                alone(Reply::Balance(Box::new(self.asked_about_balance(*ask).await)))
            }
            Request::Room => alone(match self.parts.space.totals() {
                Ok(disk) => Reply::Room(disk.available),
                Err(refusal) => Reply::Not(refusal),
            }),
            Request::FleetImage => {
                let image = Bytes::from(self.parts.machines.fleet.image());
                (Reply::At(Index::default()), image)
            }
        }
    }

    /// Executes another appliance's call, if it belongs here.
    async fn execute(
        self: &Arc<Self>,
        from: ApplianceId,
        forwarded: Forwarded,
        payload: Bytes,
    ) -> (Reply, Bytes) {
        let alone = |reply| (reply, Bytes::new());
        let moved = |to| alone(Reply::Moved { to, view: self.fleet_now().view() });
        let wait = Duration::from_millis(forwarded.patience_ms.into()).min(PARK_MAX);
        let patience = Patience::new(self.parts.clock.since_boot(), wait);
        if self.wait_for_view(forwarded.view, patience).await.is_err() {
            return moved(None);
        }
        if let Ok(local) = self.local(forwarded.volume)
            && self.wait_applied(&local, forwarded.index, patience).await.is_err()
        {
            return moved(None);
        }
        let about = about(&forwarded.call);
        let (mut may_be_done, mut tries) = (false, 0);
        let not_here = |to, may_be_done| match may_be_done && forwarded.call.changes() {
            true => alone(Reply::Unknown),
            false => moved(to),
        };
        loop {
            let (local, led) = match self.settle(forwarded.volume, about, patience).await {
                Ok(Settled::Here(local) | Settled::Confirmed(local)) => (local, false),
                Ok(Settled::Led(local)) => (local, true),
                Ok(Settled::There(to)) => return not_here(Some(to), may_be_done),
                Err(Refusal::Busy) => return not_here(None, may_be_done),
                Err(refusal) => return alone(Reply::Refused(Box::new(refusal.into()))),
            };
            if forwarded.call.changes() && self.view_now() != forwarded.view {
                return not_here(None, may_be_done);
            }
            let result = self.perform(from, &forwarded, &local, payload.clone()).await;
            let over = is_over(&result);
            if over || !self.has_lease() || led && !self.leads_by_lease(&local) {
                may_be_done |= !over;
                if self.pause_before(&mut tries, patience).await.is_err() {
                    // Also if it was over: a change may have been made before that was seen.
                    return not_here(None, true);
                }
                continue;
            }
            return match result {
                Ok((returned, payload)) => (Reply::Returned(Box::new(returned)), payload),
                Err(refused) => alone(Reply::Refused(Box::new(refused))),
            };
        }
    }

    async fn perform(
        &self,
        from: ApplianceId,
        forwarded: &Forwarded,
        local: &Arc<Local<S>>,
        payload: Bytes,
    ) -> Result<(Returned, Bytes), Refused> {
        let ask = forwarded.ask();
        let returned = match &forwarded.call {
            Call::Attributes { object } => {
                Returned::Attributes(self.serve_attributes(local, *object).await?)
            }
            Call::LookUp { dir, name } => {
                Returned::Found(self.look_up_name(&ask, local, *dir, name.as_look_up()).await?)
            }
            Call::ReadLink { object } => {
                let (target, attributes) = self.read_link_of(local, *object).await?;
                Returned::Link(target, attributes)
            }
            Call::List { dir, page } => {
                let page = volume::Page { entries_max: page.entries_max.min(LISTED_MAX), ..*page };
                Returned::Listing(self.list_names(&ask, local, *dir, page).await?)
            }
            Call::Change(change) => {
                let mut change = change.clone();
                if let Change::Create { owner, .. } = &mut change
                    && *owner != from
                {
                    // It holds nothing of the volume, or says so of somebody else.
                    *owner = NOBODY;
                }
                let done = self.change_names(&ask, local, change).await?;
                Returned::Done(done, local.catalog.applied_index())
            }
            Call::SetAttributes { object, set, guard } => {
                Returned::Set(self.serve_set(&ask, local, *object, *set, *guard).await?)
            }
            Call::SizeCreated { object, set, made } => {
                self.join_copies(local, *object).await?;
                let _pass = local.gates.pass(*object).await;
                Returned::Set(self.size_here(&ask, local, *object, *set, *made).await?)
            }
            Call::Read { object, offset, len } => {
                let span = Span::new(*offset, u64::from(*len)).ok_or(Refusal::Invalid)?;
                let data = self.serve_read(&ask, local, *object, span).await?;
                let eof = if data.eof { End::Reached } else { End::Beyond };
                self.used(local, *object, from);
                return Ok((Returned::Read { eof, attributes: data.attributes }, data.bytes));
            }
            Call::Write { object, offset, stability } => {
                let (object, stability) = (*object, *stability);
                let span = Span::new(*offset, payload.len() as u64).ok_or(Refusal::FileTooBig)?;
                let request = WriteRequest { object, span, payload, stability };
                self.used(local, object, from);
                Returned::Wrote(self.serve_write(&ask, local, request).await?)
            }
            Call::Commit { object } => {
                Returned::Committed(self.serve_commit(&ask, local, *object).await?)
            }
            Call::Space { object } => Returned::Space(self.serve_space(local, *object).await?),
        };
        Ok((returned, Bytes::new()))
    }

    async fn applied_up_to(&self, group: GroupId, index: Index) -> Reply {
        let patience = Patience::new(self.parts.clock.since_boot(), APPLIED_WAIT);
        let waited = match self.local(VolumeId::new(group.get())) {
            Ok(local) => self.wait_applied(&local, index, patience).await,
            Err(_) => Err(Refusal::Fenced),
        };
        match waited {
            // Without the volume it holds nothing that it could be behind with; it enters a Reign
            // before it answers from it again.
            Ok(()) | Err(Refusal::Fenced) => Reply::At(index),
            Err(refusal) => Reply::Not(refusal),
        }
    }
}

fn about(call: &Call) -> About {
    match call {
        Call::LookUp { .. } | Call::ReadLink { .. } | Call::List { .. } | Call::Change(_) => {
            About::Names
        }
        Call::Attributes { object }
        | Call::SetAttributes { object, .. }
        | Call::SizeCreated { object, .. }
        | Call::Read { object, .. }
        | Call::Write { object, .. }
        | Call::Commit { object }
        | Call::Space { object } => About::Object(*object),
    }
}

/// More than any door asks for at once.
pub(crate) const LISTED_MAX: usize = 8192;
/// Whoever waits for this asks again.
const APPLIED_WAIT: Duration = Duration::from_secs(2);
