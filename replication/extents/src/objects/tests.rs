//! A volume's data on the simulated disk: what clients, crashes and bad disks do to it.

mod cold;
mod durability;
mod follow;
mod order;
mod restart;
mod stream;
mod upkeep;

use std::{path::Path, time::Duration};

use model::{Epoch, Span, View};
use parking_lot::Mutex;

use super::*;
use crate::{Ballast, Open, simulated::SimulatedDisk};

/// A clock that says what it is told; the wall's hands move by a microsecond with each look.
struct HandClock(Mutex<u64>);

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

#[derive(Default)]
struct Told(Mutex<Vec<(ObjectId, Option<CopyFault>)>>);

impl Sink for Told {
    fn copy_failed(&self, object: ObjectId, fault: CopyFault) {
        self.0.lock().push((object, Some(fault)));
    }

    fn first_durable_data(&self, object: ObjectId) {
        self.0.lock().push((object, None));
    }
}

struct World {
    disk: SimulatedDisk,
    clock: Arc<HandClock>,
    told: Arc<Told>,
    objects: Objects,
    view: u64,
}

const A: ObjectId = ObjectId::new(0x1234);
const B: ObjectId = ObjectId::new(0x5678);

impl World {
    fn new() -> Self {
        Self::with_limits(1000, 1000)
    }

    fn with_limits(open_files_max: usize, known_objects_max: usize) -> Self {
        let disk = SimulatedDisk::new(1 << 30);
        crate::Disk::make_dir(&disk, Path::new("/data")).unwrap();
        crate::Disk::sync_dir(&disk, Path::new("/")).unwrap();
        let clock = Arc::new(HandClock(Mutex::new(1_000_000)));
        let told = Arc::new(Told::default());
        let objects = open(&disk, &clock, &told, [open_files_max, known_objects_max]);
        Self { disk, clock, told, objects, view: 1 }
    }

    /// As after a kill: what was written is there, memory is not; a new reign begins.
    fn restart(self) -> Self {
        drop(self.objects);
        Self {
            objects: open(&self.disk, &self.clock, &self.told, [1000, 1000]),
            view: self.view + 1,
            ..self
        }
    }

    fn reign(&self) -> Reign {
        Reign { epoch: Epoch::new(0), view: View::new(self.view) }
    }

    fn stamping(&self) -> Stamping {
        Stamping {
            now: self.clock.wall(),
            reign: self.reign(),
            ctime_floor: Timestamp::default(),
            key: None,
            secure: false,
        }
    }

    async fn write(
        &self,
        object: ObjectId,
        at: (u64, &'static [u8]),
        stability: Stability,
    ) -> Result<WriteDone, Refusal> {
        let payload = Bytes::from_static(at.1);
        let stamping = self.stamping();
        self.objects.write(object, false, at.0, payload, stability, stamping).await
    }

    async fn unstable(&self, object: ObjectId, offset: u64, payload: &'static [u8]) -> WriteDone {
        let written = self.write(object, (offset, payload), Stability::Unstable);
        written.await.unwrap()
    }

    async fn file_sync(&self, object: ObjectId, offset: u64, payload: &'static [u8]) -> WriteDone {
        let written = self.write(object, (offset, payload), Stability::FileSync);
        written.await.unwrap()
    }

    async fn read(&self, object: ObjectId, offset: u64, len: u64) -> ReadDone {
        let span = Span::new(offset, len).unwrap();
        self.objects.read(object, false, span).await.unwrap()
    }

    async fn facts(&self, object: ObjectId) -> DataFacts {
        self.objects.facts(object, false).await.unwrap()
    }

    async fn mtime(&self, object: ObjectId) -> Timestamp {
        self.facts(object).await.stamp.unwrap().mtime
    }

    fn told(&self) -> Vec<(ObjectId, Option<CopyFault>)> {
        self.told.0.lock().clone()
    }

    fn file_of(&self, object: ObjectId) -> Option<Arc<dyn crate::BackingFile>> {
        let path = self.objects.shared.path(object);
        crate::Disk::open(&self.disk, &path, Open::Existing).ok()
    }
}

fn open(
    disk: &SimulatedDisk,
    clock: &Arc<HandClock>,
    told: &Arc<Told>,
    [open_files_max, known_objects_max]: [usize; 2],
) -> Objects {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let space = Space::new(PathBuf::from("/"), disk.clone(), clock.clone(), Ballast::None);
    let settings = Settings { dir: PathBuf::from("/data"), open_files_max, known_objects_max };
    Objects::open(settings, disk, Arc::new(space), told.clone(), clock.clone()).unwrap()
}

/// Waits until something done by another thread has happened.
async fn until(happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("it happens within half a minute");
}

#[tokio::test]
async fn what_is_written_is_read() {
    let world = World::new();
    let done = world.unstable(A, 2, b"bytes").await;
    assert_eq!((done.count, done.committed), (5, Stability::Unstable));
    let read = world.read(A, 0, 100).await;
    assert_eq!((&read.bytes[..], read.eof), (&b"\0\0bytes"[..], true));
}

#[tokio::test]
async fn the_end_is_told_exactly() {
    let world = World::new();
    world.unstable(A, 0, b"0123456789").await;
    assert!(!world.read(A, 0, 9).await.eof);
    assert!(world.read(A, 0, 10).await.eof);
    assert!(!world.read(A, 9, 0).await.eof);
    let beyond = world.read(A, 1 << 40, 10).await;
    assert_eq!((beyond.bytes.len(), beyond.eof), (0, true));
}

#[tokio::test]
async fn an_empty_write_changes_nothing() {
    let world = World::new();
    let done = world.file_sync(A, 7, b"").await;
    assert_eq!((done.count, done.committed), (0, Stability::FileSync));
    assert_eq!(world.facts(A).await, DataFacts::default());
    assert!(world.file_of(A).is_none());
}

#[tokio::test]
async fn a_write_beyond_the_largest_size_is_refused() {
    let world = World::new();
    let written = world.write(A, (u64::MAX - 1, b"bytes"), Stability::Unstable);
    assert_eq!(written.await, Err(Refusal::FileTooBig));
}

#[tokio::test]
async fn a_read_makes_no_backing_file() {
    let world = World::new();
    let read = world.read(A, 0, 10).await;
    assert_eq!((read.bytes.len(), read.eof), (0, true));
    assert!(world.file_of(A).is_none());
}

#[tokio::test]
async fn a_missing_backing_file_of_an_object_with_data_is_a_fault() {
    let world = World::new();
    assert_eq!(world.objects.facts(A, true).await, Err(Refusal::Fault));
    let payload = Bytes::from_static(b"bytes");
    let stamping = world.stamping();
    let written = world.objects.write(A, true, 0, payload, Stability::Unstable, stamping);
    assert_eq!(written.await, Err(Refusal::Fault));
    assert!(world.file_of(A).is_none());
}

#[tokio::test]
async fn before_and_after_belong_to_one_change() {
    let world = World::new();
    let first = world.unstable(A, 0, b"12345").await;
    let second = world.unstable(A, 5, b"678").await;
    assert_eq!(second.before, first.after);
    assert_eq!((second.before.size, second.after.size), (5, 8));
    assert!(second.after.stamp.unwrap().ctime > first.after.stamp.unwrap().ctime);
}

#[tokio::test]
async fn a_size_is_set_both_ways_and_holes_stay_holes() {
    let world = World::new();
    world.unstable(A, 0, b"0123456789").await;
    let stamping = world.stamping();
    let done = world.objects.set_size(A, false, 4, stamping).await.unwrap();
    assert_eq!((done.before.size, done.after.size), (10, 4));
    let stamping = world.stamping();
    let grown = world.objects.set_size(A, false, 1 << 30, stamping).await;
    assert_eq!(grown.unwrap().after.used, 4096);
    assert_eq!(&world.read(A, 2, 4).await.bytes[..], b"23\0\0");
}

#[tokio::test]
async fn a_taken_mark_stands_between_the_changes_around_it() {
    let world = World::new();
    let before = world.unstable(A, 0, b"a").await;
    let taken = world.objects.take_mark(A, false, world.reign()).await;
    let (mark, facts) = taken.unwrap();
    assert_eq!(facts, before.after);
    let after = world.unstable(A, 0, b"b").await;
    assert!(before.after.stamp.unwrap().mark < mark);
    assert!(mark < after.after.stamp.unwrap().mark);
}

#[tokio::test]
async fn a_write_under_an_older_reign_is_fenced() {
    let mut world = World::new();
    world.view = 5;
    world.unstable(A, 0, b"a").await;
    world.view = 4;
    let written = world.write(A, (0, b"b"), Stability::Unstable).await;
    assert_eq!(written, Err(Refusal::Fenced));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_writes_change_no_thread() {
    let world = World::new();
    world.unstable(A, 0, b"makes the file").await;
    let mut done = Box::pin(world.write(A, (0, b"small"), Stability::Unstable));
    let waker = std::task::Waker::noop();
    // Ready at the first poll: no other thread took part.
    assert!(done.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_writes_are_done_by_the_thread_that_asks() {
    let world = World::new();
    world.unstable(A, 0, &[7; 1 << 20]).await;
    assert_eq!(world.read(A, 0, 1 << 20).await.bytes, [7; 1 << 20][..]);
}
