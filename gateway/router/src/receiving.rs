//! The other end of transfers: what another appliance's stream brings, and the channel that a
//! stream is to both ends.
//!
//! Invariant: a file is received from its owner, in its epoch, over a copy that does not count.
//! Absent on purpose: when a copy counts; the log says that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use catalog::Imaging;
use mesh::{BulkReceiver, BulkSender, BulkStream, Chunk};
use model::{ApplianceId, Epoch, ObjectId, ObjectRecord};
use ownership::effective_owner;
use replicator::{Broken, Channel, Receiving, ReceivingEnd};

use crate::local::Local;
use crate::router::Router;
use crate::wire::{self, StreamOpening};

impl<S: Imaging> Router<S> {
    /// Serves a stream that another appliance opened.
    pub(crate) async fn serve_stream(
        self: &Arc<Self>,
        from: ApplianceId,
        opening: Bytes,
        stream: BulkStream,
    ) {
        match wire::decode(&opening) {
            Ok(StreamOpening::Image { volume }) => self.serve_image(volume, stream).await,
            Ok(StreamOpening::HandOver { volume, object, epoch, index }) => {
                let Ok(local) = self.local(volume) else { return };
                let patience = crate::routing::Patience::new(
                    self.parts.clock.since_boot(),
                    crate::routing::PARK_MAX,
                );
                if self.wait_applied(&local, index, patience).await.is_err()
                    || !self.may_receive(&local, object, epoch, from)
                {
                    tracing::warn!(%from, %volume, %object, "a hand-over nobody told us of");
                    return;
                }
                self.receive(local, object, (from, epoch), stream).await;
            }
            Err(bad) => tracing::warn!(%from, %bad, "the opening of a stream can't be read"),
        }
    }

    /// Whether the file's owner sends it, in its epoch, and the copy here is none that counts.
    fn may_receive(
        &self,
        local: &Local<S>,
        object: ObjectId,
        epoch: Epoch,
        from: ApplianceId,
    ) -> bool {
        let (me, fleet) = (self.parts.appliance, self.fleet_now());
        let inode = local.inode(object).ok();
        let record = inode.as_ref().and_then(|inode| inode.record());
        record.is_some_and(|record: &ObjectRecord| {
            let owner = effective_owner(record, |appliance| fleet.is_up(appliance));
            owner == Some(from) && record.epoch == epoch && record.stale.contains(&me)
        })
    }

    async fn receive(
        self: &Arc<Self>,
        local: Arc<Local<S>>,
        object: ObjectId,
        (from, epoch): (ApplianceId, Epoch),
        stream: BulkStream,
    ) {
        let channel = Arc::new(BulkChannel::new(stream));
        let Ok((first, _)) = channel.receive().await else { return };
        let shared = {
            let mut all = self.transfers.receiving.lock();
            let new = || {
                let objects = Clone::clone(&*local.objects);
                Arc::new(tokio::sync::Mutex::new(Receiving::new(objects, object)))
            };
            all.entry((local.id, object)).or_insert_with(new).clone()
        };
        let mut receiving = shared.lock().await;
        // The log may have decided meanwhile, upon what came on a newer channel.
        if !self.may_receive(&local, object, epoch, from) {
            drop(receiving);
            drop(shared);
            self.forget_received();
            return;
        }
        let end = receiving.run(&first, channel).await;
        let newest = receiving.newest();
        drop(receiving);
        match end {
            Ok(_) => {
                // Its owner told the calls, too.
                local.witnessed.learn(object);
                self.is_alike_if_nobody_else(&local, object).await;
                self.gained(&local, object);
            }
            Err(ReceivingEnd::Broken) => {}
            Err(ReceivingEnd::Refused(refusal)) => {
                tracing::warn!(volume = %local.id, %object, %refusal, "a copy was refused");
            }
        }
        let (router, volume) = (self.clone(), local.id);
        let shared = Arc::downgrade(&shared);
        tokio::spawn(async move {
            tokio::time::sleep(RECEIVED_KEPT).await;
            if let Some(shared) = shared.upgrade() {
                let mut receiving = shared.lock().await;
                if receiving.newest() == newest {
                    receiving.rest();
                }
            }
            router.forget_received();
            // Not held all the time: that would keep the volume from being opened anew.
            if let Ok(local) = router.local(volume) {
                router.drop_surplus_copies(&local, object).await;
            }
        });
    }

    /// With no third copy, what has come here whole is known to be at every other one.
    async fn is_alike_if_nobody_else(&self, local: &Local<S>, object: ObjectId) {
        let Ok(file) = local.file(object) else { return };
        let others = file.inode.record().map_or(0, |record| record.replicas.len());
        if others <= 2
            && let Ok(facts) = local.objects.facts(object, file.has_data).await
            && let Some(stamp) = facts.stamp
        {
            local.objects.settled(object, stamp.mark);
        }
    }

    /// Somebody sends changes of a copy: if it counts by the log, it takes them from now on.
    pub(crate) fn is_followed_now(&self, local: &Local<S>, object: ObjectId) {
        if self.transfers.receiving.lock().contains_key(&(local.id, object)) {
            self.forget_received();
        }
    }

    /// If the file came here from its last owner, that is decided: this appliance owns it. Before
    /// this its copy takes no followers.
    pub(crate) async fn is_here_for_good(&self, local: &Local<S>, object: ObjectId) {
        let received = self.transfers.receiving.lock().remove(&(local.id, object));
        if let Some(received) = received {
            received.lock().await.rest();
        }
    }

    /// Forgets what came here and was decided upon. Before that a late word of a channel that the
    /// owner gave up must be known for one.
    fn forget_received(&self) {
        let me = self.parts.appliance;
        let may_come = |volume, object| {
            let inode = self.local(volume).and_then(|local| local.inode(object)).ok();
            inode.is_some_and(|inode| inode.record().is_some_and(|r| r.stale.contains(&me)))
        };
        self.transfers.receiving.lock().retain(|(volume, object), receiving| {
            Arc::strong_count(receiving) > 1 || may_come(*volume, *object)
        });
    }
}

/// A bulk stream as the replicator wants it: what was sent arrives though this end is dropped.
pub(crate) struct BulkChannel {
    /// There until it is dropped.
    sender: tokio::sync::Mutex<Option<BulkSender>>,
    receiver: tokio::sync::Mutex<BulkReceiver>,
}

impl BulkChannel {
    pub(crate) fn new(stream: BulkStream) -> Self {
        let BulkStream { sender, receiver } = stream;
        Self {
            sender: tokio::sync::Mutex::new(Some(sender)),
            receiver: tokio::sync::Mutex::new(receiver),
        }
    }
}

impl Drop for BulkChannel {
    fn drop(&mut self) {
        // A stream that is dropped without its end being declared takes back what is on its way.
        if let Some(mut sender) = self.sender.get_mut().take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { sender.finish().await });
        }
    }
}

#[async_trait]
impl Channel for BulkChannel {
    async fn send(&self, header: Bytes, payload: Bytes) -> Result<(), Broken> {
        match &mut *self.sender.lock().await {
            Some(sender) => sender.send(Chunk { header, payload }).await.map_err(|_| Broken),
            None => Err(Broken),
        }
    }

    async fn receive(&self) -> Result<(Bytes, Bytes), Broken> {
        match self.receiver.lock().await.receive().await {
            Ok(Some(Chunk { header, payload })) => Ok((header, payload)),
            Ok(None) | Err(_) => Err(Broken),
        }
    }
}

/// A transfer that goes on does so before that. The old owner's copy is kept as long.
const RECEIVED_KEPT: Duration = Duration::from_secs(30);
