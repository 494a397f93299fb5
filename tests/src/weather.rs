//! Bad weather between appliances: packets that are late, and packets that are lost.
//!
//! Not every kernel that tests run on has `netem`, so the packets of a pair with bad weather take
//! another way: a TUN device in each namespace, and a thread here that passes packets on, late or
//! never. Pairs with fair weather go through the kernel's bridge and pay nothing.
//!
//! Invariant: packets of one pair that are not lost keep their order. The devices belong to open
//! files of this process and vanish with it. Absent on purpose: rates, reordering, doubles.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use crate::Random;
use crate::process::must;

/// What befalls packets from and to one appliance, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    /// How late they are.
    pub delay: Duration,
    /// How many of a thousand are lost.
    pub loss_permille: u16,
}

/// The other way between appliances, and the thread that passes packets on.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    weather: Mutex<BTreeMap<Ipv4Addr, Weather>>,
    ends: AtomicBool,
    lost: AtomicU64,
    passed: AtomicU64,
}

impl Relay {
    /// Makes a device [`DEVICE`] in each of the namespaces; `places` names them and tells the
    /// mesh address of the appliance there. Nothing is sent that way until a route says so.
    #[must_use]
    pub fn new(places: &[(String, Ipv4Addr)]) -> Self {
        let ends: Vec<End> = places
            .iter()
            .map(|(namespace, address)| {
                let name = format!("w.{namespace}");
                let end = End { address: *address, file: open_tun(&name) };
                must(&format!("ip link set {name} netns {namespace} name {DEVICE}"));
                must(&format!("ip -n {namespace} link set {DEVICE} up"));
                end
            })
            .collect();
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || pass_on(&ends, &shared))
        };
        Self { shared, thread: Some(thread) }
    }

    /// Sets the weather of the appliance with the mesh address `at`.
    pub fn set(&self, at: Ipv4Addr, weather: Weather) {
        self.shared.weather.lock().expect("nobody panics with it").insert(at, weather);
    }

    /// How many packets were passed on and how many were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.shared.passed), count(&self.shared.lost))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the relay panicked");
        }
    }
}

/// One device's end.
struct End {
    address: Ipv4Addr,
    file: File,
}

fn pass_on(ends: &[End], shared: &Shared) {
    let mut random = Random::new(SEED);
    // By the time they are due; the count keeps those of one moment in order.
    let mut waiting: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
    let mut count = 0;
    let mut room = vec![0; PACKET_BYTES_MAX];
    while !shared.ends.load(Ordering::Relaxed) {
        let now = Instant::now();
        while let Some(first) = waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, packet) = first.remove();
            // A device whose queue is full loses packets, as any network does.
            let _ = (&ends[to].file).write(&packet);
            shared.passed.fetch_add(1, Ordering::Relaxed);
        }
        let due = waiting.keys().next().map_or(LOOK_UP_EVERY, |(due, _)| *due - now);
        await_packets(ends, due.min(LOOK_UP_EVERY));
        for end in ends {
            while let Some(len) = read_packet(&end.file, &mut room) {
                let Some((to, weather)) = way(ends, shared, &room[..len]) else { continue };
                if random.below(1000) < usize::from(weather.loss_permille) {
                    shared.lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                count += 1;
                let due = Instant::now() + weather.delay;
                waiting.insert((due, count), (to, room[..len].to_vec()));
            }
        }
    }
}

fn await_packets(ends: &[End], limit: Duration) {
    let mut fds: Vec<_> = ends.iter().map(|end| PollFd::new(&end.file, PollFlags::IN)).collect();
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    match poll(&mut fds, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => panic!("poll: {e}"),
    }
}

fn read_packet(mut file: &File, room: &mut [u8]) -> Option<usize> {
    match file.read(room) {
        Ok(len) => Some(len),
        Err(e) if e.kind() == ErrorKind::WouldBlock => None,
        Err(e) => panic!("a TUN device can't be read: {e}"),
    }
}

/// To which end a packet goes, and through what weather: that of both its ends.
fn way(ends: &[End], shared: &Shared, packet: &[u8]) -> Option<(usize, Weather)> {
    let field = |at: usize| {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    // RFC 791 section 3.1: the source is at byte 12, the destination at 16.
    let (from, to) = (field(12)?, field(16)?);
    let end = ends.iter().position(|end| end.address == to)?;
    let weather = shared.weather.lock().expect("nobody panics with it");
    let of = |at: &Ipv4Addr| weather.get(at).copied().unwrap_or_default();
    let (a, b) = (of(&from), of(&to));
    let loss_permille = (a.loss_permille + b.loss_permille).min(1000);
    Some((end, Weather { delay: a.delay + b.delay, loss_permille }))
}

/// A new TUN device, here, under `name`.
fn open_tun(name: &str) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open("/dev/net/tun")
        .expect("root may make TUN devices");
    assert!(name.len() < 16, "{name} is too long for a device");
    let mut request = [0_u8; IFREQ_BYTES];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&(IFF_TUN | IFF_NO_PI).to_ne_bytes());
    // SAFETY: the kernel reads and writes one ifreq of 40 bytes, which `request` is.
    let made = unsafe {
        let set = Setter::<TUNSETIFF, [u8; IFREQ_BYTES]>::new(request);
        ioctl(&file, set)
    };
    made.unwrap_or_else(|e| panic!("TUN device {name}: {e}"));
    file
}

/// The device of the other way, in each namespace.
pub const DEVICE: &str = "weather";

/// The same packets are lost in every run that sends the same packets.
const SEED: u64 = 7;

/// How soon a relay that is dropped ends.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

const PACKET_BYTES_MAX: usize = 65_536;
const O_NONBLOCK: i32 = 0o4000;
// <linux/if_tun.h> and <linux/if.h>
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TUN: i16 = 1;
const IFF_NO_PI: i16 = 0x1000;
const IFREQ_BYTES: usize = 40;
