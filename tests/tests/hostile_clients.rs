//! Clients that break the protocol, on purpose or not, harm nobody but themselves.
//!
//! While they do their worst, a bystander reads and writes a volume of its own. Invariant: it sees
//! no error and no wrong byte and never waits long, the appliance neither dies nor grows, and what
//! its attackers held is given back. Every hostile connection is ended by the appliance.
//!
//! Absent on purpose: what each broken record is answered; the codec's own tests know that.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[allow(dead_code, reason = "these tests need a part of what that client can do")]
#[path = "conformance/client.rs"]
mod client;
#[path = "hostile/mutation.rs"]
mod mutation;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nfs3_client::nfs3_types::nfs3::*;
use tests::rpc::{NFS, Xdr, call, dial, receive, record, results};
use tests::{Appliance, LoopBtrfs, Random, Sandbox, Setup, eventually};

use client::{Client, Credential, with_mode};
use mutation::{Prey, mutated};

const MIB: usize = 1 << 20;

#[test]
fn ten_thousand_broken_records_disturb_nobody() {
    let (_sandbox, _disk, mut appliance) = world("");
    let prey = Prey::find("prey");
    let mut random = Random::from_environment(21);
    let bystander = Bystander::settle();
    bystander.watches(|| attack(&prey, &mut random, 1500));
    let (memory, sockets) = (appliance.resident_kib(), sockets(&appliance));

    bystander.watches(|| attack(&prey, &mut random, 10_000));

    appliance.assert_alive();
    let grown = appliance.resident_kib().saturating_sub(memory);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more than before");
    eventually("the sockets to be given back", || {
        (self::sockets(&appliance) <= sockets).then_some(())
    });
    let metrics = appliance.metrics();
    let treated = ["calls_refused", "nfs_operations_total", "connections_closed"];
    let treated: u64 = treated.iter().map(|word| counted(&metrics, word)).sum();
    println!("{treated} records were answered or closed their connection");
    for word in ["cause=\"bad_record\"", "cause=\"arguments\"", "cause=\"no_call\""] {
        assert!(counted(&metrics, word) > 100, "{word} is counted:\n{metrics}");
    }
    appliance.check("prey");
    appliance.check("demo");
    appliance.stop();
}

#[test]
fn garbage_in_datagrams_and_to_rpcbind_disturbs_nobody() {
    let (_sandbox, _disk, mut appliance) = world("");
    let prey = Prey::find("prey");
    let mut random = Random::from_environment(22);
    let bystander = Bystander::settle();
    bystander.watches(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2000 {
            let valid = prey.any_datagram(&mut random);
            let len = random.below(1400);
            let sent = match random.below(3) {
                0 => random.bytes(len),
                1 => valid[..random.below(valid.len())].to_vec(),
                _ => mutation::with_lies(valid, &mut random),
            };
            for port in [111, 2049] {
                socket.send_to(&sent, ("127.0.0.1", port)).unwrap();
            }
        }
        for _ in 0..200 {
            let mut stream = TcpStream::connect("127.0.0.1:111").unwrap();
            let call = prey.any_datagram(&mut random);
            stream.set_read_timeout(Some(ENDED_WITHIN)).unwrap();
            let _ = stream.write_all(&mutated(&call, &mut random).bytes);
            must_be_ended(stream);
        }
    });
    appliance.assert_alive();
    for (port, program) in [(111, (100_000, 2)), (2049, tests::rpc::MOUNT)] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&call(program, 0, 77, &Xdr::default()), ("127.0.0.1", port)).unwrap();
        let mut reply = [0; 100];
        let len = socket.recv(&mut reply).expect("NULL is answered");
        assert!(results(&reply[..len]).is_empty());
        assert_eq!(reply[..4], 77_u32.to_be_bytes());
    }
    appliance.stop();
}

#[test]
fn idle_deaf_and_dying_clients_cost_no_more_than_the_limits_say() {
    let (_sandbox, _disk, mut appliance) = world("");
    let prey = Prey::find("prey");
    let mut random = Random::from_environment(23);
    let bystander = Bystander::settle();
    bystander.watches(|| std::thread::sleep(Duration::from_secs(1)));
    let (memory, sockets) = (appliance.resident_kib(), sockets(&appliance));
    let read = record(&prey.read_of_a_mebibyte());
    let write = record(&prey.write_of_a_mebibyte());
    bystander.watches(|| {
        let idle: Vec<TcpStream> = (0..500).map(|_| dial()).collect();
        let deaf: Vec<TcpStream> = (0..32).map(|_| deaf_client(&read)).collect();
        let stuck: Vec<TcpStream> = (0..64)
            .map(|_| {
                let mut stream = dial();
                let cut = 1 + random.below(write.len() - 1);
                stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                // A part of it may be all that the appliance takes.
                let _ = stream.write_all(&write[..cut]);
                stream
            })
            .collect();
        std::thread::sleep(Duration::from_secs(3));
        drop((idle, deaf, stuck));
        for _ in 0..200 {
            let mut dying = dial();
            let cut = 1 + random.below(2000);
            dying.write_all(&write[..cut]).unwrap();
        }
    });
    appliance.assert_alive();
    let most = appliance.resident_most_kib();
    println!("{memory} KiB before, {most} KiB at most, {} KiB now", appliance.resident_kib());
    let grown = most.saturating_sub(memory);
    assert!(grown < IN_FLIGHT_KIB_MAX + CONNECTIONS * CONNECTION_KIB_MAX, "{grown} KiB more");
    eventually("the sockets to be given back", || {
        (self::sockets(&appliance) <= sockets).then_some(())
    });
    appliance.stop();
}

#[test]
fn connections_over_the_limit_are_refused_while_the_others_go_on() {
    let (_sandbox, _disk, mut appliance) = world("connections_max = 32");
    let bystander = Bystander::settle();
    bystander.watches(|| {
        let mut taken = Vec::new();
        let mut refused = 0;
        for _ in 0..100 {
            let mut stream = dial();
            if answers(&mut stream) {
                taken.push(stream);
            } else {
                refused += 1;
            }
        }
        assert_eq!((taken.len(), refused), (31, 69), "the bystander has one of 32");
        assert!(taken.iter_mut().all(answers), "those that were let in go on");
        drop(taken);
    });
    assert_eq!(counted(&appliance.metrics(), "cause=\"too_many\""), 69);
    eventually("places to be given back", || answers(&mut dial()).then_some(()));
    appliance.assert_alive();
    appliance.stop();
}

/// An appliance with a volume for the bystander, `demo`, and one to be attacked, `prey`.
fn world(limits: &str) -> (Sandbox, LoopBtrfs, Appliance) {
    let sandbox = Sandbox::new();
    let disk = LoopBtrfs::new(&sandbox, "disk", 2048);
    let volumes = vec!["demo".to_owned(), "prey".to_owned()];
    let setup = Setup { volumes, limits: limits.to_owned(), ..Setup::default() };
    let appliance = Appliance::start_with(&sandbox, disk.path(), setup);
    (sandbox, disk, appliance)
}

/// Sends so many broken records over several connections at once.
fn attack(prey: &Prey, random: &mut Random, records: usize) {
    std::thread::scope(|scope| {
        for _ in 0..ATTACKERS {
            let mut random = Random::new(random.draw());
            scope.spawn(move || {
                let mut sent = 0;
                while sent < records.div_ceil(ATTACKERS) {
                    sent += attack_once(prey, &mut random);
                }
            });
        }
    });
}

/// One connection with some broken records, up to the first that must end it; gives how many.
fn attack_once(prey: &Prey, random: &mut Random) -> usize {
    let mut stream = dial();
    stream.set_read_timeout(Some(ENDED_WITHIN)).unwrap();
    let mut sent = 0;
    while sent < RECORDS_PER_CONNECTION {
        let broken = mutated(&prey.any_call(random), random);
        // The appliance may have closed it already, and rightly.
        if stream.write_all(&broken.bytes).is_err() {
            break;
        }
        sent += 1;
        if broken.ends_connection {
            break;
        }
    }
    must_be_ended(stream);
    sent
}

/// Says that nothing more comes, and reads until the appliance closes the connection too.
fn must_be_ended(mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let mut replies = Vec::new();
    match stream.read_to_end(&mut replies) {
        Ok(_) => {}
        Err(fault) if fault.kind() == ErrorKind::ConnectionReset => {}
        Err(fault) => panic!("the appliance left a dead connection open: {fault}"),
    }
}

/// A client that asks for far more than it ever takes.
fn deaf_client(call: &[u8]) -> TcpStream {
    let mut stream = dial();
    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    for _ in 0..2000 {
        // At some point nothing more is taken from it: so it should be.
        if stream.write_all(call).is_err() {
            break;
        }
    }
    stream
}

/// Whether NULL is answered on this connection.
fn answers(stream: &mut TcpStream) -> bool {
    let null = call(NFS, 0, 5, &Xdr::default());
    stream.write_all(&record(&null)).is_ok() && receive(stream).is_ok()
}

/// How many sockets the appliance has open.
fn sockets(appliance: &Appliance) -> usize {
    let folder = fs::read_dir(format!("/proc/{}/fd", appliance.id())).unwrap();
    let targets = folder.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

/// The sum of all counters whose labels hold `word`.
fn counted(metrics: &str, word: &str) -> u64 {
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && line.contains(word));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// A well-behaved client that works while others are attacked.
struct Bystander {
    file: nfs_fh3,
    folder: nfs_fh3,
}

impl Bystander {
    fn settle() -> Self {
        let mut nfs = Client::new(Credential::ROOT);
        let root = nfs.root("demo");
        let folder = nfs.mkdir(&root, "bystander");
        let file = nfs.create(&root, "file");
        nfs.put(&file, 0, &vec![0; FILE_BYTES]);
        Self { file, folder }
    }

    /// Works while `others` do their worst; panics at an error, a wrong byte or a long wait.
    fn watches(&self, others: impl FnOnce()) {
        let (over, ready) = (&AtomicBool::new(false), &Barrier::new(2));
        std::thread::scope(|scope| {
            let work = scope.spawn(move || {
                let mut nfs = Client::new(Credential::ROOT);
                nfs.getattr(&self.file);
                ready.wait();
                self.work(&mut nfs, over);
            });
            ready.wait();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(others));
            over.store(true, Ordering::Relaxed);
            work.join().expect("the bystander noticed");
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn work(&self, nfs: &mut Client, over: &AtomicBool) {
        let mut random = Random::new(31);
        let mut expected = vec![0; FILE_BYTES];
        nfs.put(&self.file, 0, &expected);
        let mut rounds = 0;
        let mut longest = Duration::ZERO;
        // It stays for a look at what is left behind.
        while !over.load(Ordering::Relaxed) || rounds < ROUNDS_LEAST {
            let started = Instant::now();
            let at = random.below(FILE_BYTES - MIB / 4);
            let len = 1 + random.below(MIB / 4);
            let data = random.bytes(len);
            expected[at..at + data.len()].copy_from_slice(&data);
            nfs.put(&self.file, at as u64, &data);
            let read = nfs.read(&self.file, 0, FILE_BYTES as u32).unwrap();
            assert!(read.data.as_ref() == expected, "wrong bytes in round {rounds}");
            let name = format!("name.{rounds}");
            let guarded = createhow3::GUARDED(with_mode(0o600));
            nfs.try_create(&self.folder, &name, guarded).unwrap();
            nfs.remove(&self.folder, &name).unwrap();
            assert!(nfs.names(&self.folder).is_empty());
            longest = longest.max(started.elapsed());
            rounds += 1;
        }
        println!("the bystander did {rounds} rounds; the longest took {longest:?}");
        assert!(longest < ROUND_MAX, "{longest:?}");
    }
}

const ATTACKERS: usize = 4;

/// Most connections end before, at a record that leaves no way to find the next one.
const RECORDS_PER_CONNECTION: usize = 20;

/// A connection whose client is gone must not stay.
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// Six calls on two busy processors, while a client that takes no replies may hold up others for
/// two seconds.
const ROUND_MAX: Duration = Duration::from_secs(10);

const ROUNDS_LEAST: u64 = 20;

const FILE_BYTES: usize = MIB;

/// What a process may grow by once it is warm.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// The default of `in_flight_bytes_max`, and what the allocator keeps beside it.
const IN_FLIGHT_KIB_MAX: u64 = (96 + 32) << 10;

/// All that the test has open at once.
const CONNECTIONS: u64 = 600;

/// A buffer to receive into, until the connection has been idle for a while, and the bookkeeping.
const CONNECTION_KIB_MAX: u64 = 128;
