use model::Timestamp;

use super::*;
use crate::simulated::SimulatedDisk;

#[derive(Default)]
struct HandClock(Mutex<Duration>);

impl HandClock {
    fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for HandClock {
    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }

    fn since_boot(&self) -> Duration {
        *self.0.lock()
    }
}

struct World {
    disk: SimulatedDisk,
    clock: Arc<HandClock>,
    space: Space,
}

fn world(capacity: u64, ballast: Ballast) -> World {
    let disk = SimulatedDisk::new(capacity);
    let clock = Arc::new(HandClock::default());
    let space = Space::new(PathBuf::from("/"), Arc::new(disk.clone()), clock.clone(), ballast);
    World { disk, clock, space }
}

const MIB: u64 = 1 << 20;

fn fill(disk: &SimulatedDisk, bytes: u64) {
    let file = disk.open(Path::new("/filler"), Open::OrCreate).unwrap();
    let payload = vec![1; bytes as usize];
    file.write(&payload, 0).unwrap();
}

fn has_ballast(disk: &SimulatedDisk) -> bool {
    disk.open(Path::new("/ballast"), Open::Existing).is_ok()
}

#[test]
fn the_reserve_is_two_percent_within_bounds() {
    assert_eq!(reserve_bytes(1 << 30), 64 * MIB);
    assert_eq!(reserve_bytes(50 << 30), 1 << 30);
    assert_eq!(reserve_bytes(1 << 50), 2 << 30);
}

#[test]
fn data_is_not_let_into_the_reserve() {
    let world = world(100 * MIB, Ballast::None);
    assert_eq!(world.space.admit(36 * MIB + 1), Err(Refusal::NoSpace));
    assert_eq!(world.space.admit(36 * MIB), Ok(()));
}

#[test]
fn what_was_let_in_counts_before_the_disk_is_asked_again() {
    let world = world(100 * MIB, Ballast::None);
    assert_eq!(world.space.admit(30 * MIB), Ok(()));
    assert_eq!(world.space.admit(30 * MIB), Err(Refusal::NoSpace));
    assert_eq!(world.space.totals().unwrap().available, 6 * MIB);
}

#[test]
fn the_disk_is_asked_again_after_a_while() {
    let world = world(100 * MIB, Ballast::None);
    assert_eq!(world.space.admit(30 * MIB), Ok(()));
    fill(&world.disk, 20 * MIB);
    world.clock.advance(Duration::from_millis(200));
    assert_eq!(world.space.totals().unwrap().available, 16 * MIB);
}

#[test]
fn clients_do_not_see_the_reserve_as_free() {
    let world = world(100 * MIB, Ballast::None);
    let totals = world.space.totals().unwrap();
    let found = (totals.total, totals.free, totals.available);
    assert_eq!(found, (100 * MIB, 36 * MIB, 36 * MIB));
}

#[test]
fn the_ballast_goes_when_the_disk_is_full_and_comes_back() {
    let world = world(300 * MIB, Ballast::Kept);
    world.space.tend().unwrap();
    assert!(has_ballast(&world.disk));
    fill(&world.disk, 300 * MIB - BALLAST_BYTES - MIB);
    world.space.tend().unwrap();
    assert!(!has_ballast(&world.disk));
    world.space.tend().unwrap();
    assert!(!has_ballast(&world.disk));
    world.disk.unlink(Path::new("/filler")).unwrap();
    world.space.tend().unwrap();
    assert!(has_ballast(&world.disk));
}

#[test]
fn a_ballast_that_was_never_finished_is_finished() {
    let world = world(300 * MIB, Ballast::Kept);
    let half = world.disk.open(Path::new("/ballast"), Open::OrCreate);
    half.unwrap().write(&[0; 100], 0).unwrap();
    world.space.tend().unwrap();
    let whole = world.disk.open(Path::new("/ballast"), Open::Existing);
    assert_eq!(whole.unwrap().facts().unwrap().used, BALLAST_BYTES);
}
