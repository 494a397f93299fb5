//! Images of groups' state machines, for a member that is too far behind for the log.
//!
//! Invariant: what is behind is never half replaced: the image is whole and durable, with a mark,
//! before it takes the old one's place; the log is reset after that, and only then the mark goes.
//! A crash anywhere in between is finished by the next start. The leader's volume never pauses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::{Image, Imaging, Installing, PIECE_BYTES_MAX, Record};
use consensus::LogPoint;
use mesh::{BulkStream, Chunk};
use model::{ApplianceId, GroupId, Index, VolumeId};
use thiserror::Error;

use crate::local::no_data_calls;
use crate::router::{Router, StartFault, group_applied};
use crate::wire::{self, Reply, Request, StreamOpening};

/// Why an image was not installed; Raft offers another.
#[derive(Debug, Error)]
enum ImageFault {
    #[error("the other appliance can't be asked: {0}")]
    Mesh(#[from] mesh::MeshFault),
    #[error("what came is no image")]
    Bad,
    #[error("the image stands at {0}, which is not far enough")]
    Behind(Index),
    #[error(transparent)]
    Install(#[from] catalog::InstallFault),
    #[error(transparent)]
    Catalog(#[from] catalog::CatalogFault),
    #[error(transparent)]
    Start(#[from] StartFault),
    #[error("the appliance is stopping")]
    Stopping,
}

impl<S: Imaging> Router<S> {
    /// Says where this appliance's state machine stands, so that a follower can be told to fetch
    /// its image. The image itself is made when it is fetched, of that moment.
    pub(crate) async fn make_snapshot(&self, group: GroupId) {
        let applied = match group {
            GroupId::FLEET => Some(self.parts.machines.fleet.applied()),
            _ => self.local(VolumeId::new(group.get())).ok().map(|l| l.catalog.applied()),
        };
        match applied {
            Some(applied) => {
                let point = LogPoint { index: applied.index, term: applied.term };
                self.parts.log.snapshot_made(group, point, applied.membership);
            }
            None => self.parts.log.snapshot_dropped(group),
        }
    }

    /// Fetches an image of the group and puts it in the place of what is here.
    pub(crate) async fn install_snapshot(
        self: Arc<Self>,
        group: GroupId,
        from: ApplianceId,
        point: LogPoint,
    ) {
        tracing::info!(%group, %from, "too far behind: fetching an image");
        let began = self.parts.clock.since_boot();
        let installed = match group {
            GroupId::FLEET => self.install_fleet(from, point).await,
            _ => self.install_volume(VolumeId::new(group.get()), from, point).await,
        };
        match installed {
            Ok(applied) => {
                let (index, took) = (applied.index, self.parts.clock.since_boot() - began);
                tracing::info!(%group, %from, %index, ?took, "an image is in place");
                self.parts.log.snapshot_installed(group, group_applied(applied));
            }
            Err(fault) => {
                tracing::warn!(%group, %from, %fault, "an image could not be installed");
                self.parts.log.snapshot_failed(group);
            }
        }
    }

    async fn install_fleet(
        &self,
        from: ApplianceId,
        point: LogPoint,
    ) -> Result<catalog::Applied, ImageFault> {
        let (reply, image) = self.ask_peer(from, &Request::FleetImage, Bytes::new(), WAIT).await?;
        if !matches!(reply, Reply::At(_)) {
            return Err(ImageFault::Bad);
        }
        let machines = self.parts.machines.clone();
        let installed = tokio::task::spawn_blocking(move || {
            let stands = catalog::FleetCatalog::<S>::image_index(&image)?;
            if stands < point.index {
                return Err(ImageFault::Behind(stands));
            }
            machines.fleet.install(&image)?;
            machines.fleet_changed();
            Ok(machines.fleet.applied())
        });
        installed.await.map_err(|_| ImageFault::Stopping)?
    }

    async fn install_volume(
        self: &Arc<Self>,
        volume: VolumeId,
        from: ApplianceId,
        point: LogPoint,
    ) -> Result<catalog::Applied, ImageFault> {
        let _only = self.installing.begin(volume);
        let mesh = self.mesh().ok_or(ImageFault::Stopping)?;
        let opening = wire::encode(&StreamOpening::Image { volume });
        let mut stream = mesh.open_stream(from, opening).await?;
        let factory = self.parts.factory.clone();
        let fresh = tokio::task::spawn_blocking(move || factory.fresh(volume));
        let store = fresh.await.map_err(|_| ImageFault::Stopping)??;
        let mut installing = Installing::new(store);
        while let Some(chunk) = stream.receiver.receive().await? {
            let piece: Vec<Record> = wire::decode(&chunk.payload).map_err(|_| ImageFault::Bad)?;
            let taken =
                tokio::task::spawn_blocking(move || installing.take(piece).map(|()| installing));
            installing = taken.await.map_err(|_| ImageFault::Stopping)??;
        }
        let finished = tokio::task::spawn_blocking(move || installing.finish());
        let stands = finished.await.map_err(|_| ImageFault::Stopping)??;
        if stands < point.index {
            return Err(ImageFault::Behind(stands));
        }
        let held = self.local(volume).map(|local| local.data_calls.clone());
        self.let_go(volume).await;
        let calls = held.unwrap_or_else(|_| no_data_calls());
        let router = self.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let swap = |fault: std::io::Error| StartFault::Path {
                path: format!("volume {volume}").into(),
                reason: fault.to_string(),
            };
            router.parts.factory.swap(volume).map_err(swap)?;
            router.open_installed_volume(volume, calls)
        });
        Ok(opened.await.map_err(|_| ImageFault::Stopping)??)
    }

    /// Sends an image of a volume's catalog.
    pub(crate) async fn serve_image(&self, volume: VolumeId, mut stream: BulkStream) {
        let Ok(local) = self.local(volume) else { return };
        let image = local.catalog.image();
        let Ok((_, image)) = image.inspect_err(|fault| {
            tracing::error!(%volume, %fault, "no image can be made");
        }) else {
            return;
        };
        let mut image = Some(image);
        while let Some(mut from) = image.take() {
            let read = tokio::task::spawn_blocking(move || {
                let piece = from.next(PIECE_BYTES_MAX);
                (piece, from)
            });
            let Ok((Ok(piece), from)) = read.await else { return };
            if piece.is_empty() {
                // Only this end says that it is whole; without it the other side sees a fault.
                let _ = stream.sender.finish().await;
                return;
            }
            let chunk = Chunk { header: Bytes::new(), payload: wire::encode(&piece) };
            if stream.sender.send(chunk).await.is_err() {
                return;
            }
            image = Some(from);
        }
    }

    /// The group's log goes on from its image: the mark that it must goes away.
    pub(crate) fn log_was_reset(&self, group: GroupId) {
        let confirmed = match group {
            GroupId::FLEET => self.parts.machines.fleet.confirm_installed(),
            _ => match self.local(VolumeId::new(group.get())) {
                Ok(local) => local.catalog.confirm_installed(),
                Err(_) => Ok(()),
            },
        };
        if let Err(fault) = confirmed {
            tracing::error!(%group, %fault, "the mark of an image can't be taken away");
        }
    }

    pub(crate) fn is_installing(&self, volume: VolumeId) -> bool {
        self.installing.is_under_way(volume)
    }
}

/// The volumes whose catalogs are being replaced.
#[derive(Default)]
pub(crate) struct UnderWay(parking_lot::Mutex<std::collections::BTreeSet<VolumeId>>);

/// One of them, until it is dropped.
pub(crate) struct One<'a>(&'a UnderWay, VolumeId);

impl UnderWay {
    fn begin(&self, volume: VolumeId) -> One<'_> {
        self.0.lock().insert(volume);
        One(self, volume)
    }

    fn is_under_way(&self, volume: VolumeId) -> bool {
        self.0.lock().contains(&volume)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

const WAIT: Duration = Duration::from_secs(10);
