//! Two appliances with a disk each, and what is asked of them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use extents::{
    Ballast, Base, CopyFault, Disk, Objects, Settings, Sink, Space, Stamping,
    simulated::SimulatedDisk,
};
use model::{Clock, DataFacts, Epoch, ObjectId, Refusal, Reign, Span, Stability, Timestamp, View};
use parking_lot::Mutex;

use crate::{
    Channel, Progress, Receiving, ReceivingEnd, SendSettings, Sending, SendingParts, TransferFault,
    TransferId,
    driver::simulated::{Cut, SimulatedChannel, channel},
};

pub(super) const A: ObjectId = ObjectId::new(0x1234);

pub(super) struct HandClock(Mutex<u64>);

impl Clock for HandClock {
    fn wall(&self) -> Timestamp {
        let mut nanos = self.0.lock();
        *nanos += 1000;
        Timestamp::from_nanos(*nanos)
    }

    fn since_boot(&self) -> Duration {
        Duration::from_nanos(*self.0.lock())
    }
}

struct Deaf;

impl Sink for Deaf {
    fn copy_failed(&self, _: ObjectId, _: CopyFault) {}
    fn first_durable_data(&self, _: ObjectId) {}
}

pub(super) struct Appliance {
    pub(super) disk: SimulatedDisk,
    pub(super) objects: Objects,
    clock: Arc<HandClock>,
}

impl Appliance {
    pub(super) fn new() -> Self {
        let disk = SimulatedDisk::new(4 << 30);
        disk.make_dir(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let clock = Arc::new(HandClock(Mutex::new(1_000_000)));
        Self { objects: open(&disk, &clock), disk, clock }
    }

    /// As after a power cut: nothing that was not synced, nothing in memory.
    pub(super) fn cut_power(&mut self) {
        self.disk.cut_power();
        self.objects = open(&self.disk, &self.clock);
    }

    pub(super) fn stamping(&self) -> Stamping {
        Stamping {
            now: self.clock.wall(),
            reign: reign(),
            ctime_floor: Timestamp::default(),
            key: None,
            secure: false,
        }
    }

    pub(super) async fn write(&self, offset: u64, payload: Bytes) -> Result<u32, Refusal> {
        let stability = Stability::Unstable;
        let done =
            self.objects.write(A, false, offset, payload, stability, self.stamping()).await?;
        Ok(done.count)
    }

    pub(super) async fn fill(&self, byte: u8, bytes: u64) {
        for offset in (0..bytes).step_by(1 << 20) {
            let len = (bytes - offset).min(1 << 20) as usize;
            self.write(offset, Bytes::from(vec![byte; len])).await.unwrap();
        }
    }

    pub(super) async fn set_size(&self, size: u64) -> Result<(), Refusal> {
        self.objects.set_size(A, false, size, self.stamping()).await.map(drop)
    }

    pub(super) async fn facts(&self) -> DataFacts {
        self.objects.facts(A, false).await.unwrap()
    }

    pub(super) async fn read(&self, offset: u64, len: u64) -> Bytes {
        self.objects.read(A, false, Span::new(offset, len).unwrap()).await.unwrap().bytes
    }
}

fn open(disk: &SimulatedDisk, clock: &Arc<HandClock>) -> Objects {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let space = Space::new(PathBuf::from("/"), disk.clone(), clock.clone(), Ballast::None);
    let dir = PathBuf::from("/data");
    let settings = Settings { dir, open_files_max: 100, known_objects_max: 100 };
    Objects::open(settings, disk, Arc::new(space), Arc::new(Deaf), clock.clone()).unwrap()
}

pub(super) fn reign() -> Reign {
    Reign { epoch: Epoch::new(0), view: View::new(1) }
}

pub(super) fn parts(source: &Appliance, settings: SendSettings) -> SendingParts {
    SendingParts {
        objects: source.objects.clone(),
        object: A,
        has_data: false,
        reign: reign(),
        transfer: TransferId::new(Epoch::new(1), 1),
        settings,
        progress: Arc::new(Progress::new(Timestamp::default())),
    }
}

/// Small enough that everything that has a limit meets it.
pub(super) fn tight() -> SendSettings {
    SendSettings {
        rate_bytes_per_second: None,
        window_bytes: 1 << 20,
        queue_bytes: 12 << 20,
        copies_at_a_time: 3,
        sync_every_bytes: 2 << 20,
        close_bytes: 1 << 20,
    }
}

/// The receiver's appliance at work: serves one channel after the other, as a router would.
pub(super) struct Target {
    pub(super) outcome: tokio::task::JoinHandle<(Receiving, Result<Base, ReceivingEnd>)>,
}

pub(super) fn serve(mut receiving: Receiving, channel: Arc<SimulatedChannel>) -> Target {
    let outcome = tokio::spawn(async move {
        let Ok((header, _)) = channel.receive().await else {
            return (receiving, Err(ReceivingEnd::Broken));
        };
        let outcome = receiving.run(&header, channel).await;
        (receiving, outcome)
    });
    Target { outcome }
}

/// A whole transfer over channels that are cut as told, while `meanwhile` runs.
pub(super) async fn transfer(
    source: &Appliance,
    target: &Appliance,
    settings: SendSettings,
    mut cuts: Vec<u32>,
    meanwhile: impl Future<Output = ()>,
) -> Result<(Sending, Base), TransferFault> {
    let mut link = |serving: Option<Receiving>| {
        let (ours, theirs, cut) = channel();
        if let Some(after) = cuts.pop() {
            cut.after(after);
        }
        let receiving = serving.unwrap_or_else(|| Receiving::new(target.objects.clone(), A));
        (ours, serve(receiving, theirs), cut)
    };
    let (ours, mut serving, mut cut): (_, _, Cut) = link(None);
    let mut sending = Sending::begin(parts(source, settings), ours).await.unwrap();
    let mut meanwhile = std::pin::pin!(meanwhile);
    let (mut parked, mut written) = (false, false);
    let mut breaks = 0_u32;
    loop {
        let outcome = if parked {
            sending.finish().await.map(Some)
        } else {
            let closing = async {
                sending.until_close().await?;
                Ok(None)
            };
            let mut closing = std::pin::pin!(closing);
            let closed = tokio::select! {
                () = &mut meanwhile, if !written => {
                    written = true;
                    closing.await
                }
                closed = &mut closing => closed,
            };
            if closed.is_ok() {
                // Nothing is parked before the writers are done.
                if !written {
                    meanwhile.as_mut().await;
                    written = true;
                }
                parked = true;
            }
            closed
        };
        match outcome {
            Ok(Some(end)) => {
                let (_, received) = serving.outcome.await.unwrap();
                assert_eq!(received, Ok(end));
                return Ok((sending, end));
            }
            Ok(None) => {}
            Err(TransferFault::Broken) => {
                cut.now();
                let (receiving, _) = serving.outcome.await.unwrap();
                // The changes of this time wait in the queue, or find no room in it.
                tokio::time::sleep(Duration::from_millis(u64::from(breaks % 3) * 20)).await;
                breaks += 1;
                let (ours, next, next_cut) = link(Some(receiving));
                (serving, cut) = (next, next_cut);
                sending.resume(ours).await?;
                // Whoever was parked does not wait for another channel.
                parked = false;
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// Bytes, size, stamp: what clients see, and the first difference.
pub(super) async fn difference(source: &Appliance, target: &Appliance) -> Option<String> {
    let (ours, theirs) = (source.facts().await, target.facts().await);
    if (ours.size, ours.stamp) != (theirs.size, theirs.stamp) {
        return Some(format!("{ours:?} became {theirs:?}"));
    }
    for offset in (0..ours.size).step_by(1 << 20) {
        let (our, their) = (source.read(offset, 1 << 20).await, target.read(offset, 1 << 20).await);
        if let Some(at) = our.iter().zip(&their).position(|(a, b)| a != b) {
            return Some(format!("byte {}: {} became {}", offset + at as u64, our[at], their[at]));
        }
    }
    None
}
