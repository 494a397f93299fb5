use model::Timestamp;
use parking_lot::Mutex;

use super::*;

/// Time since boot, as it is set.
struct HandClock(Mutex<Duration>);

impl Clock for HandClock {
    fn wall(&self) -> Timestamp {
        Timestamp::default()
    }

    fn since_boot(&self) -> Duration {
        *self.0.lock()
    }
}

impl HandClock {
    fn pass(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

fn new() -> (Arc<HandClock>, WritesHere) {
    let clock = Arc::new(HandClock(Mutex::new(Duration::from_secs(1))));
    (clock.clone(), WritesHere::new(clock))
}

fn is_here(place: &Place<'_>) -> bool {
    matches!(place, Place::Here(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_held_up_sends_the_next_ones_to_the_pool_for_a_while() {
    let (clock, writes) = new();
    for (took, next_is_here) in [(HELD_UP, true), (HELD_UP * 2, false)] {
        let Place::Here(watch) = writes.place(Stability::Unstable, 4096) else { panic!() };
        clock.pass(took);
        watch.end();
        assert_eq!(is_here(&writes.place(Stability::Unstable, 4096)), next_is_here);
    }
    clock.pass(PAUSE - Duration::from_nanos(1));
    assert!(!is_here(&writes.place(Stability::Unstable, 4096)));
    clock.pass(Duration::from_nanos(1));
    assert!(is_here(&writes.place(Stability::Unstable, 4096)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_large_is_done_by_a_relieved_thread_and_what_must_be_durable_in_the_pool() {
    let (_, writes) = new();
    let large = writes.place(Stability::Unstable, HERE_BYTES_MAX + 1);
    assert!(matches!(large, Place::Relieved));
    for len in [1, 1 << 20] {
        assert!(matches!(writes.place(Stability::FileSync, len), Place::Pool));
    }
}

#[tokio::test]
async fn a_runtime_of_one_thread_is_never_held_up() {
    let (_, writes) = new();
    for len in [1, 1 << 20] {
        assert!(matches!(writes.place(Stability::Unstable, len), Place::Pool));
    }
}
