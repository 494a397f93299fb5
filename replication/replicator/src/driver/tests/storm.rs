//! Seeded storms: writers, truncations, cancellations, delays and cut channels all at once. After
//! each the receiver's object must be the owner's, also after a power cut.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use extents::{
    Frame, FrameChange,
    simulated::{Failing, Operation, SimulatedDisk},
};
use parking_lot::Mutex;

use super::*;
use crate::{
    Broken, Channel, Message, Receiving, SendSettings, Sending,
    driver::simulated::{SimulatedChannel, channel},
};

/// Xorshift: the same numbers for the same seed.
struct Draw(u64);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

const SPREAD: u64 = 6 << 20;

/// One client that does everything to the object at once.
async fn client(source: Arc<Appliance>, seed: u64, steps: u64) {
    let mut draw = Draw::new(seed);
    let mut running = Vec::new();
    for step in 0..steps {
        let offset = draw.below(SPREAD);
        let len = match draw.below(3) {
            0 => draw.below(100) + 1,
            1 => draw.below(20_000) + 1,
            _ => draw.below(400_000) + 1,
        };
        let payload = Bytes::from(vec![(seed + step) as u8 | 1; len as usize]);
        let what = draw.below(20);
        let source = Arc::clone(&source);
        let task = tokio::spawn(async move {
            // Refusals are part of it: the answer is not what is looked at here.
            match what {
                0 => source.set_size(offset / 2).await.unwrap_or_default(),
                1 => source.set_size(offset + 2 * len).await.unwrap_or_default(),
                2 => drop(source.objects.commit(A, false).await),
                3 => drop(source.objects.take_mark(A, false, reign()).await),
                4 => {
                    source.disk.fail(Operation::Write, libc::ENOSPC, Failing::Once);
                    let _ = source.write(offset, payload).await;
                }
                _ => {
                    let _ = source.write(offset, payload).await;
                }
            }
        });
        match draw.below(10) {
            0 => task.abort(),
            1..6 => running.push(task),
            _ => drop(task.await),
        }
        if draw.below(4) == 0 {
            tokio::time::sleep(Duration::from_micros(draw.below(1500))).await;
        }
    }
    for task in running {
        let _ = task.await;
    }
}

/// The disk takes its time now and then.
async fn slow(disk: SimulatedDisk, seed: u64) {
    let mut draw = Draw::new(seed ^ 0xd15c);
    let operations = [Operation::Write, Operation::Read, Operation::SetSize, Operation::Sync];
    for _ in 0..6 {
        let operation = operations[draw.below(4) as usize];
        disk.stall(operation);
        tokio::time::sleep(Duration::from_micros(draw.below(3000))).await;
        disk.resume(operation);
        tokio::time::sleep(Duration::from_micros(draw.below(3000))).await;
    }
}

/// Whether the owner's disk stops now and then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DiskPace {
    Jerky,
    /// With many threads clients write on those of the runtime: were all of them stopped, nobody
    /// could let the disk go on.
    Even,
}

async fn storm(seed: u64, disk: DiskPace) -> Option<String> {
    let mut draw = Draw::new(seed);
    let (source, mut target) = (Arc::new(Appliance::new()), Appliance::new());
    source.fill(1, draw.below(SPREAD)).await;
    let clients = draw.below(3) + 1;
    let mut tasks: Vec<_> = (0..clients)
        .map(|client| (seed << 8) + client)
        .map(|seed| tokio::spawn(client(Arc::clone(&source), seed, 40)))
        .collect();
    if disk == DiskPace::Jerky {
        tasks.push(tokio::spawn(slow(source.disk.clone(), seed)));
        tasks.push(tokio::spawn(slow(target.disk.clone(), seed + 1)));
    }
    // What was not committed need not be durable anywhere.
    let commits = draw.below(2) == 0;
    // The transfer begins in the middle of it.
    tokio::time::sleep(Duration::from_micros(draw.below(2000))).await;
    let meanwhile = async {
        for task in tasks {
            task.await.unwrap();
        }
        // Those that were given up come to their end, too.
        while source.objects.attach(A, quiet()).await.unwrap().backlog().frames > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if commits {
            source.objects.commit(A, false).await.unwrap();
        }
    };
    let cuts = (0..draw.below(4)).map(|_| draw.below(60) as u32 + 1).collect();
    // In some storms hardly anything finds room in the queue.
    let settings = match draw.below(2) {
        0 => tight(),
        _ => SendSettings { copies_at_a_time: 1, queue_bytes: 4 << 20, ..tight() },
    };
    let (sending, end) =
        transfer(&source, &target, settings, cuts, meanwhile).await.expect("nothing is broken");
    drop(sending);
    if commits {
        target.cut_power();
    }
    let found = difference(&source, &target).await;
    let (ours, theirs) = (source.facts().await, target.facts().await);
    assert_eq!((end.size, end.stamp), (ours.size, ours.stamp));
    if theirs.used > ours.used + (64 << 10) {
        return Some(format!("{} bytes of disk became {}", ours.used, theirs.used));
    }
    found
}

fn quiet() -> extents::Attach {
    extents::Attach { has_data: false, reign: reign(), limit_bytes: 8 << 20 }
}

#[tokio::test]
async fn whatever_happens_meanwhile_the_receiver_has_what_the_owner_has() {
    for seed in 0..STORMS {
        let stormed =
            tokio::time::timeout(Duration::from_secs(60), storm(seed, DiskPace::Jerky)).await;
        let found = stormed.unwrap_or_else(|_| panic!("storm({seed}) does not end"));
        assert_eq!(found, None, "storm({seed})");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn and_so_it_has_with_many_threads() {
    for seed in 1000..1000 + STORMS {
        let stormed =
            tokio::time::timeout(Duration::from_secs(60), storm(seed, DiskPace::Even)).await;
        let found = stormed.unwrap_or_else(|_| panic!("storm({seed}) does not end"));
        assert_eq!(found, None, "storm({seed})");
    }
}

/// A channel that does to the stream what a faulty owner or receiver would.
struct Faulty {
    inner: Arc<SimulatedChannel>,
    how: How,
    held: Mutex<Option<Frame>>,
    forged: tokio::sync::Notify,
    finish: Mutex<Option<Message>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// The frames as they are.
    Honest,
    /// What two neighbours do is exchanged: a copy that took no place in the queue.
    Exchanged,
    /// One of the frames does nothing.
    Forgotten,
    /// The owner hears "finished" before anything was made durable.
    Hasty,
}

impl Faulty {
    async fn pass(&self, message: Message) -> Result<(), Broken> {
        let (header, payload) = message.encode();
        self.inner.send(header, payload).await
    }
}

#[async_trait]
impl Channel for Faulty {
    async fn send(&self, header: Bytes, payload: Bytes) -> Result<(), Broken> {
        let message = Message::decode(&header, payload.clone()).unwrap();
        let held = self.held.lock().take();
        match (self.how, message, held) {
            (How::Exchanged, Message::Frame(mut frame), Some(mut first)) => {
                std::mem::swap(&mut frame.change, &mut first.change);
                self.pass(Message::Frame(first)).await?;
                self.pass(Message::Frame(frame)).await
            }
            (How::Exchanged, Message::Frame(frame), None) => {
                *self.held.lock() = Some(frame);
                Ok(())
            }
            (How::Forgotten, Message::Frame(mut frame), _)
                if matches!(frame.change, FrameChange::Write { .. }) =>
            {
                frame.change = FrameChange::Later { end: frame_end(&frame.change) };
                self.pass(Message::Frame(frame)).await
            }
            // Rounds are asked for to be forgotten, too.
            (How::Hasty, Message::Sync { .. }, _) => Ok(()),
            (How::Hasty, Message::Finish { end, .. }, _) => {
                *self.finish.lock() = Some(Message::Finished { mark: end.mark });
                self.forged.notify_one();
                Ok(())
            }
            (_, message, held) => {
                if let Some(first) = held {
                    self.pass(Message::Frame(first)).await?;
                }
                self.pass(message).await
            }
        }
    }

    async fn receive(&self) -> Result<(Bytes, Bytes), Broken> {
        tokio::select! {
            received = self.inner.receive() => received,
            () = self.forged.notified() => {
                let message = self.finish.lock().take().unwrap();
                Ok(message.encode())
            }
        }
    }
}

fn frame_end(change: &FrameChange) -> u64 {
    match change {
        FrameChange::Write { offset, bytes } => offset + bytes.len() as u64,
        _ => 0,
    }
}

/// A transfer through a faulty channel; what is wrong with the outcome.
async fn judged(how: How) -> Option<String> {
    let (source, mut target) = (Arc::new(Appliance::new()), Appliance::new());
    source.fill(1, 3 << 20).await;
    let (ours, theirs, _cut) = channel();
    let _serving = serve(Receiving::new(target.objects.clone(), A), theirs);
    let faulty = Arc::new(Faulty {
        inner: ours,
        how,
        held: Mutex::default(),
        forged: tokio::sync::Notify::new(),
        finish: Mutex::default(),
    });
    let mut sending =
        Sending::begin(parts(&source, SendSettings::default()), faulty).await.unwrap();
    // Everything is copied first: a copy would make good what happens to a frame before it.
    let copied = tokio::time::timeout(Duration::from_millis(300), sending.until_close()).await;
    assert!(copied.is_ok() || how == How::Hasty);
    for step in 0..60_u64 {
        let payload = Bytes::from(vec![step as u8 + 2; 100_000]);
        source.write(step * 70_000 % (3 << 20), payload).await.unwrap();
    }
    source.objects.commit(A, false).await.unwrap();
    let driven = sending.finish();
    if let Err(fault) = tokio::time::timeout(Duration::from_secs(60), driven).await.unwrap() {
        return Some(fault.to_string());
    }
    drop(sending);
    target.cut_power();
    difference(&source, &target).await
}

#[tokio::test]
async fn the_comparison_finds_what_faulty_ends_would_do() {
    assert_eq!(judged(How::Honest).await, None);
    for how in [How::Exchanged, How::Forgotten, How::Hasty] {
        assert!(judged(how).await.is_some(), "fault {}", how as u8);
    }
}

const STORMS: u64 = 40;
