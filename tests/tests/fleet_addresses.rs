//! A floating address: clients that mounted it go on whatever happens to the appliance that holds
//! it, and afterwards one appliance has it.
//!
//! Invariant: the client of this test connects again only when its connection is reset, or after
//! half a minute; so an outage is short only if the new holder makes clients notice it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[path = "kernel/exerciser.rs"]
mod exerciser;

use std::net::{IpAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nfs3_client::nfs3_types::nfs3::{
    CREATE3args, Nfs3Result, READ3args, createhow3, diropargs3, nfs_fh3, nfsstat3, sattr3,
};
use tests::rpc;
use tests::storm::{Storm, Writers};
use tests::{
    Connection, Fleet, FleetWorld, Random, Sandbox, Setup, Who, eventually_within, mount_at, sized,
};

/// What happens to the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// It and its supervisor are killed.
    Killed,
    /// It stands still; its system goes on.
    Frozen,
    /// It can't reach the others; clients reach it.
    CutOff,
    /// Nobody reaches it.
    Isolated,
    /// The operator moves the address.
    Moved,
    /// The operator stops it.
    Stopped,
}

impl Event {
    fn strike(self, fleet: &mut Fleet, number: usize) {
        match self {
            Self::Killed => fleet.nth_mut(number).kill9(),
            Self::Frozen => fleet.nth(number).freeze(),
            Self::CutOff => fleet.partition(number),
            Self::Isolated => fleet.isolate(number),
            Self::Moved => {
                let to = fleet.nth((number + 1) % fleet.count()).name().to_owned();
                fleet.first().cli_ok(&["fleet", "move-address", FLOATING, &to]);
            }
            Self::Stopped => fleet.nth_mut(number).stop(),
        }
    }

    fn end(self, fleet: &mut Fleet, number: usize) {
        match self {
            Self::Killed | Self::Stopped => fleet.nth_mut(number).restart(),
            Self::Frozen => fleet.nth(number).thaw(),
            Self::CutOff | Self::Isolated => fleet.heal(number),
            Self::Moved => {}
        }
    }
}

/// Writes numbers into a file, each durable before the next, and notes when each was acknowledged.
struct Load {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn begin() -> Self {
        let file = create(&mut mount_at(floating(), "demo", ROOT).unwrap());
        let (acknowledged, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (notes, until) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let thread = Some(std::thread::spawn(move || write_numbers(&file, &notes, &until)));
        let load = Self { acknowledged, stop, thread };
        load.await_more(4);
        load
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    fn await_more(&self, more: usize) {
        let before = self.count();
        eventually_within(GOES_ON_WITHIN, "the client to go on", || {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the client ended");
            (self.count() >= before + more).then_some(())
        });
    }

    /// The longest time without an acknowledgement that ended after `since`.
    fn outage_since(&self, since: Instant) -> Duration {
        let all = self.acknowledged.lock().unwrap();
        let gaps = all.windows(2).filter(|pair| pair[1] >= since).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }

    /// How many numbers were acknowledged in all.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.count() as u64
    }
}

fn write_numbers(file: &nfs_fh3, notes: &Mutex<Vec<Instant>>, stop: &AtomicBool) {
    let mut stream = connect();
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        loop {
            match write(&mut stream, file, number) {
                Some(NFS3_OK) => break,
                // To be asked again: not acknowledged.
                Some(JUKEBOX) => std::thread::sleep(CONNECT_PAUSE),
                Some(status) => panic!("number {number}: {status}"),
                None => stream = connect(),
            }
        }
        notes.lock().unwrap().push(Instant::now());
        std::thread::sleep(PACE);
    }
}

/// Connects to the floating address, however often that takes.
fn connect() -> TcpStream {
    loop {
        let stream = TcpStream::connect_timeout(&(floating(), 2049).into(), CONNECT_MAX);
        if let Ok(stream) = stream {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
            return stream;
        }
        std::thread::sleep(CONNECT_PAUSE);
    }
}

/// Writes one number (RFC 1813 section 3.3.7) and gives the status; None if the connection is gone,
/// or silent for half a minute.
fn write(stream: &mut TcpStream, file: &nfs_fh3, number: u64) -> Option<u32> {
    let (xid, bytes) = (u32::try_from(number).unwrap(), number.to_be_bytes());
    let call = rpc::write_call(xid, &file.data, number * 8, &bytes, rpc::FILE_SYNC);
    let reply = rpc::exchange(stream, &call).ok()?;
    let results = rpc::results(&reply);
    let word = |at: usize| u32::from_be_bytes(results[at..at + 4].try_into().unwrap());
    if word(0) == NFS3_OK {
        // What stands before its verifier: how much, and how durable.
        let end = results.len();
        assert_eq!((word(end - 16), word(end - 12)), (8, rpc::FILE_SYNC), "number {number}");
    }
    Some(word(0))
}

/// The file of numbers, made if it is not there.
fn create(connection: &mut Connection) -> nfs_fh3 {
    eventually_within(GOES_ON_WITHIN, "the file of numbers", || {
        let (dir, name) = (connection.root(), NUMBERS.as_bytes().into());
        let how = createhow3::UNCHECKED(sattr3::default());
        let args = CREATE3args { where_: diropargs3 { dir, name }, how };
        match connection.call(async |nfs| nfs.create(&args).await).unwrap() {
            Nfs3Result::Ok(made) => Some(made.obj.unwrap()),
            Nfs3Result::Err((nfsstat3::NFS3ERR_JUKEBOX, _)) => None,
            Nfs3Result::Err((status, _)) => panic!("{status:?}"),
        }
    })
}

/// All numbers up to `last` are in the file, as the appliance at `address` reads it.
fn verify(address: IpAddr, last: u64) {
    let mut connection = mount_at(address, "demo", ROOT).unwrap();
    let file = create(&mut connection);
    let mut offset = 8;
    while offset <= last * 8 {
        let args = READ3args { file: file.clone(), offset, count: READ_BYTES };
        let read = eventually_within(GOES_ON_WITHIN, "the numbers", || {
            match connection.call(async |nfs| nfs.read(&args).await).unwrap() {
                Nfs3Result::Ok(read) => Some(read),
                // One that was away copies the catalog first.
                Nfs3Result::Err((nfsstat3::NFS3ERR_JUKEBOX, _)) => None,
                Nfs3Result::Err((status, _)) => panic!("{status:?}"),
            }
        });
        let bytes = read.data.0.as_ref();
        assert!(bytes.len() >= 8, "number {} of {last} is missing", offset / 8);
        for chunk in bytes.chunks_exact(8) {
            let number = u64::from_be_bytes(chunk.try_into().unwrap());
            assert_eq!(number, offset / 8, "at {address}");
            offset += 8;
        }
    }
}

/// Waits until one appliance has the address, the one that the fleet names, and gives its number.
fn await_one_holder(fleet: &Fleet) -> usize {
    eventually_within(Duration::from_secs(15), "one appliance to have the address", || {
        let [one] = fleet.holders_of(floating())[..] else { return None };
        let all = fleet.nth(one).cli_json(&["fleet", "addresses"]);
        (all[0]["holder"] == fleet.nth(one).name()).then_some(one)
    })
}

#[test]
fn clients_of_a_floating_address_go_on_whatever_happens_to_its_holder_and_nothing_is_lost() {
    let sandbox = Sandbox::new();
    let extra = format!("[floating]\ninterface = \"clients\"\naddresses = [\"{FLOATING}/24\"]\n");
    let setup = Setup { supervised: true, extra, ..Setup::default() };
    let fleet = Fleet::form_as(&sandbox, 3, DISK_MIB, &setup);
    let mut world = FleetWorld::with(sandbox, fleet, 3, 2);
    world.fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    let mut random = Random::from_environment(61);
    let FleetWorld { guests, fleet, .. } = &mut world;
    await_one_holder(fleet);
    let load = Load::begin();
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let writers = [Writers { guest: guests.nth(0), address: floating(), count: 2 }];
    let checker = (guests.nth(1), fleet.client_address(0));
    let storm = Storm::begin(guests, program, &writers, checker, &mut random);
    let fsx = exerciser::Endless::begin(guests, 0, random.draw());
    fleet.await_whole("demo");
    let events = [
        Event::Killed,
        Event::Frozen,
        Event::CutOff,
        Event::Isolated,
        Event::Moved,
        Event::Stopped,
    ];
    let mut outages = Vec::new();
    for round in 0..sized(6, 60) {
        let event = events[usize::try_from(round).unwrap() % events.len()];
        let holder = await_one_holder(fleet);
        storm.await_progress(300);
        load.await_more(4);
        let struck = Instant::now();
        event.strike(fleet, holder);
        // What was on its way when it struck does not count as going on.
        let _ = storm.await_everybody();
        storm.await_progress(100);
        let kernel = struck.elapsed();
        load.await_more(4);
        let own = load.outage_since(struck);
        let name = fleet.nth(holder).name().to_owned();
        println!(
            "round {round}: {name} is {event:?}: own client {own:?}, kernel client {kernel:?}"
        );
        outages.push((event, own, kernel));
        let others: Vec<usize> = (0..3).filter(|number| *number != holder).collect();
        let door = fleet.client_address(others[0]);
        storm.check_at(&format!("without {round}"), &[door]);
        event.end(fleet, holder);
        fleet.await_standing(3);
        fleet.await_whole("demo");
        let now = await_one_holder(fleet);
        assert_ne!(now, holder, "it is not moved back");
        verify(fleet.client_address(holder), load.count() as u64);
    }
    for (event, own, kernel) in outages {
        assert!(own <= OUTAGE_MAX, "{event:?}: {own:?}");
        assert!(kernel <= OUTAGE_MAX, "{event:?}: the kernel client waited {kernel:?}");
    }
    let metrics: String = (0..3).map(|number| fleet.nth(number).metrics()).collect();
    assert!(metrics.contains("holdfast_floating_takeovers_total"), "{metrics}");
    let last = load.end();
    println!("{} operations of fsx", fsx.end());
    println!("{last} numbers acknowledged, {} steps settled", storm.end());
    (0..3).for_each(|number| verify(fleet.client_address(number), last));
    drop(storm);
    guests.nth(0).unmount();
    world.end_well(3);
}

fn floating() -> IpAddr {
    FLOATING.parse().unwrap()
}

/// On the clients' bridge, and nobody's own.
const FLOATING: &str = "10.99.0.200";
const NUMBERS: &str = "numbers";
const ROOT: Who<'_> = Who { uid: 0, gid: 0, gids: &[] };
const NFS3_OK: u32 = 0;
const JUKEBOX: u32 = 10008;
const READ_BYTES: u32 = 64 << 10;
const DISK_MIB: u64 = 6144;

/// A lease ends, a view is made, the new holder takes and announces the address, an owner enters
/// its reign. The goal is four; two busy processors are allowed two more.
const OUTAGE_MAX: Duration = Duration::from_secs(6);
const GOES_ON_WITHIN: Duration = Duration::from_secs(90);
/// Between numbers; fewer in ten seconds than move a file to where it is used: hand-overs have
/// tests of their own.
const PACE: Duration = Duration::from_millis(220);
/// So long a client waits that hears nothing: far longer than any outage may be.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const CONNECT_MAX: Duration = Duration::from_secs(1);
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
