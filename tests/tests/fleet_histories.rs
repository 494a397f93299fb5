//! Clients at different appliances write and read registers, in files and by names, while
//! appliances die, stand still and are cut off and files move; what they saw must be one story.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nfs3_client::nfs3_types::nfs3::*;
use tests::registers::{INITIAL, Kind, Operation, check};
use tests::{Connection, Fleet, FleetWorld, Random, Who, eventually_within, mount_at, sized};

#[test]
fn what_clients_of_all_appliances_saw_while_some_failed_is_one_story() {
    let mut world = FleetWorld::supervised(4, 3, 0);
    world.fleet.first().cli_ok(&["volume", "policy", "demo", "--replicas", "2"]);
    let mut random = Random::from_environment(61);
    let addresses = [0, 1, 2, 3].map(|number| world.fleet.client_address(number));
    let story = Story::new();
    let handles = make_registers(addresses[3]);
    let seeds: Vec<u64> = (0..CLIENTS).map(|_| random.draw()).collect();
    std::thread::scope(|scope| {
        for (number, seed) in seeds.into_iter().enumerate() {
            let client = Client { number, addresses, handles: &handles, story: &story };
            scope.spawn(move || client.run(Random::new(seed)));
        }
        // Whatever happens, the clients are told to stop: the scope waits for them.
        let _stop = StopAtEnd(&story.stop);
        let began = Instant::now();
        let time = Duration::from_secs(sized(60, 300));
        let mut faults = 0;
        while began.elapsed() < time {
            disturb(&mut world.fleet, &mut random, &story);
            faults += 1;
        }
        world.fleet.await_standing(4);
        let calm = story.answered_to_each();
        eventually_within(Duration::from_secs(30), "the clients to go on", || {
            let now = story.answered_to_each();
            now.iter().zip(&calm).all(|(now, then)| *now > then + 50).then_some(())
        });
        println!("{faults} disturbances");
    });
    let history = story.history.into_inner().unwrap();
    let unknown = history.iter().filter(|seen| seen.answered.is_none()).count();
    let writes = history.iter().filter(|seen| seen.kind == Kind::Write).count();
    println!("{} operations, {writes} writes, {unknown} of unknown fate", history.len());
    let waits = history.iter().filter_map(|seen| Some(seen.answered? - seen.called));
    println!("the longest wait for an answer: {:?}", waits.max().unwrap_or_default());
    assert!(history.len() > 2_000, "clients did something");
    if let Err(found) = check(&history) {
        panic!("{}: {:#?}", found.why, found.seen);
    }
    world.end_well(3);
}

/// One disturbance, and its end.
fn disturb(fleet: &mut Fleet, random: &mut Random, story: &Story) {
    let number = random.below(3);
    let time = Duration::from_millis(500 + random.draw() % 3_000);
    match random.below(5) {
        0 => fleet.nth(number).crash(),
        1 => {
            fleet.nth(number).freeze();
            std::thread::sleep(time);
            fleet.nth(number).thaw();
        }
        2 => {
            fleet.partition(number);
            std::thread::sleep(time);
            fleet.heal(number);
        }
        3 => {
            fleet.nth_mut(number).kill9();
            std::thread::sleep(time);
            fleet.nth_mut(number).spawn();
        }
        _ => {
            let path = format!("demo/file.{}", random.below(FILES));
            let to = fleet.nth(number).name().to_owned();
            // Somebody may be away: then it stays where it is.
            let _ = fleet.nth(3).cli(&["object", "transfer", &path, &to]);
        }
    }
    // Two at a time would be more than two copies bear: what is back has to have caught up, and no
    // call of before may still be on its way, since appliances remember calls as long as they run.
    let before = story.answered_to_each();
    eventually_within(Duration::from_secs(60), "the fleet to be whole", || {
        let whole = (0..3).all(|number| {
            let shown = fleet.nth(number).cli(&["--json", "volume", "show", "demo"]);
            let shown: Option<serde_json::Value> = serde_json::from_str(&shown.stdout).ok();
            shown.is_some_and(|shown| shown["degraded"] == 0)
        });
        let goes_on = story.answered_to_each().iter().zip(&before).all(|(now, then)| now > then);
        (whole && goes_on && fleet.stands(4)).then_some(())
    });
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What all clients saw.
struct Story {
    began: Instant,
    history: Mutex<Vec<Operation>>,
    /// How many calls of each client.
    answered: [AtomicU64; CLIENTS],
    /// Every write writes another value.
    values: AtomicU64,
    stop: AtomicBool,
}

impl Story {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            history: Mutex::default(),
            answered: Default::default(),
            values: AtomicU64::new(INITIAL + 1),
            stop: AtomicBool::new(false),
        }
    }

    fn tell(&self, client: usize, operation: Operation) {
        self.history.lock().unwrap().push(operation);
        let answered = u64::from(operation.answered.is_some());
        self.answered[client].fetch_add(answered, Ordering::Relaxed);
    }

    fn answered_to_each(&self) -> [u64; CLIENTS] {
        self.answered.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// Files of several registers each, and the root, in which names are registers.
struct Handles {
    files: Vec<nfs_fh3>,
}

fn make_registers(address: IpAddr) -> Handles {
    let mut connection = mount_at(address, "demo", ROOT).unwrap();
    let mut make = |name: String| {
        let made = create(&mut connection, &name).unwrap().unwrap();
        let zeros = vec![0; REGISTERS_A_FILE * 8];
        write(&mut connection, &made, 0, &zeros).unwrap().unwrap();
        made
    };
    let files = (0..FILES).map(|number| make(format!("file.{number}"))).collect();
    Handles { files }
}

/// One client, with one call at a time.
struct Client<'a> {
    number: usize,
    addresses: [IpAddr; 4],
    handles: &'a Handles,
    story: &'a Story,
}

/// What became of a call.
enum Fate<T> {
    Done(T),
    /// It was certainly not executed.
    Not,
    /// The connection broke, or there was no answer in time.
    Unknown,
}

impl Client<'_> {
    fn run(&self, mut random: Random) {
        let mut made = 0;
        while !self.story.stop.load(Ordering::Relaxed) {
            let address = self.addresses[random.below(4)];
            // It may be away just now.
            let Ok(mut connection) = mount_at(address, "demo", ROOT) else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            while !self.story.stop.load(Ordering::Relaxed) {
                let goes_on = match random.below(4) {
                    0 => self.write_register(&mut connection, &mut random),
                    1 => self.read_register(&mut connection, &mut random),
                    2 => {
                        made += 1;
                        self.write_name(&mut connection, &mut random, made)
                    }
                    _ => self.read_name(&mut connection, &mut random),
                };
                if !goes_on {
                    break;
                }
            }
        }
    }

    fn write_register(&self, connection: &mut Connection, random: &mut Random) -> bool {
        let (file, slot) = (random.below(FILES), random.below(REGISTERS_A_FILE));
        let value = self.story.values.fetch_add(1, Ordering::Relaxed);
        let (offset, bytes) = (slot as u64 * 8, value.to_le_bytes());
        let called = self.story.began.elapsed();
        let fate = fate(write(connection, &self.handles.files[file], offset, &bytes));
        let register = file * REGISTERS_A_FILE + slot;
        self.tell(register, Kind::Write, called, fate.map(|()| value), Some(value))
    }

    fn read_register(&self, connection: &mut Connection, random: &mut Random) -> bool {
        let (file, slot) = (random.below(FILES), random.below(REGISTERS_A_FILE));
        let called = self.story.began.elapsed();
        let bytes = fate(read(connection, &self.handles.files[file], slot as u64 * 8));
        let value = bytes.map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        let register = file * REGISTERS_A_FILE + slot;
        self.tell(register, Kind::Read, called, value, None)
    }

    /// A name is a register of which file it leads to; a new one takes its place by RENAME.
    fn write_name(&self, connection: &mut Connection, random: &mut Random, made: u64) -> bool {
        let source = format!("new.{}.{made}", self.number);
        let created = match fate(create(connection, &source)) {
            Fate::Done(created) => created,
            Fate::Not => return true,
            // Its name is not used again.
            Fate::Unknown => return false,
        };
        let value = number_of(&created);
        let name = random.below(NAMES);
        let called = self.story.began.elapsed();
        let fate = fate(rename(connection, &source, &format!("name.{name}")));
        let register = FILES * REGISTERS_A_FILE + name;
        self.tell(register, Kind::Write, called, fate.map(|()| value), Some(value))
    }

    fn read_name(&self, connection: &mut Connection, random: &mut Random) -> bool {
        let name = random.below(NAMES);
        let called = self.story.began.elapsed();
        let found = fate(look_up(connection, &format!("name.{name}")));
        let register = FILES * REGISTERS_A_FILE + name;
        self.tell(register, Kind::Read, called, found, None)
    }

    /// Whether the connection is good for another call.
    fn tell(
        &self,
        register: usize,
        kind: Kind,
        called: Duration,
        fate: Fate<u64>,
        wanted: Option<u64>,
    ) -> bool {
        let now = self.story.began.elapsed();
        let (value, answered, goes_on) = match fate {
            Fate::Done(value) => (value, Some(now), true),
            Fate::Not => return true,
            Fate::Unknown => match wanted {
                Some(value) => (value, None, false),
                None => return false,
            },
        };
        self.story.tell(self.number, Operation { register, kind, value, called, answered });
        goes_on
    }
}

impl<T> Fate<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Fate<U> {
        match self {
            Self::Done(value) => Fate::Done(change(value)),
            Self::Not => Fate::Not,
            Self::Unknown => Fate::Unknown,
        }
    }
}

/// A call's results, unless the connection broke.
type Called<T> = Option<Result<T, nfsstat3>>;

fn fate<T>(called: Called<T>) -> Fate<T> {
    match called {
        Some(Ok(value)) => Fate::Done(value),
        Some(Err(nfsstat3::NFS3ERR_JUKEBOX)) => Fate::Not,
        Some(Err(status)) => panic!("a call failed: {status:?}"),
        None => Fate::Unknown,
    }
}

/// Makes a call, and gives its results if there are any in time.
macro_rules! called {
    ($connection:expr, $call:ident, $args:expr) => {{
        let args = $args;
        let call = $connection
            .call(async |nfs| tokio::time::timeout(CALL_MAX, nfs.$call(&args)).await.ok()?.ok());
        call.map(|results| match results {
            Nfs3Result::Ok(done) => Ok(done),
            Nfs3Result::Err((status, _)) => Err(status),
        })
    }};
}

fn place<'a>(connection: &Connection, name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: connection.root(), name: filename3::from(name.as_bytes()) }
}

fn create(connection: &mut Connection, name: &str) -> Called<nfs_fh3> {
    let how = createhow3::UNCHECKED(sattr3::default());
    let made = called!(connection, create, CREATE3args { where_: place(connection, name), how });
    made.map(|made| made.map(|made| made.obj.unwrap()))
}

/// Stands for a file: handles are the same everywhere and for ever.
fn number_of(file: &nfs_fh3) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&file.data);
    hasher.finish()
}

fn rename(connection: &mut Connection, from: &str, to: &str) -> Called<()> {
    let args = RENAME3args { from: place(connection, from), to: place(connection, to) };
    called!(connection, rename, args).map(|renamed| renamed.map(drop))
}

/// The file that a name leads to; [`INITIAL`] if there is none.
fn look_up(connection: &mut Connection, name: &str) -> Called<u64> {
    match called!(connection, lookup, LOOKUP3args { what: place(connection, name) })? {
        Ok(found) => Some(Ok(number_of(&found.object))),
        Err(nfsstat3::NFS3ERR_NOENT) => Some(Ok(INITIAL)),
        Err(status) => Some(Err(status)),
    }
}

fn write(connection: &mut Connection, file: &nfs_fh3, offset: u64, data: &[u8]) -> Called<()> {
    let args = WRITE3args {
        file: file.clone(),
        offset,
        count: u32::try_from(data.len()).unwrap(),
        stable: stable_how::FILE_SYNC,
        data: data.to_vec().into(),
    };
    called!(connection, write, args).map(|written| written.map(drop))
}

fn read(connection: &mut Connection, file: &nfs_fh3, offset: u64) -> Called<Vec<u8>> {
    let args = READ3args { file: file.clone(), offset, count: 8 };
    called!(connection, read, args).map(|read| read.map(|read| read.data.to_vec()))
}

const ROOT: Who<'static> = Who { uid: 0, gid: 0, gids: &[] };
const CLIENTS: usize = 6;
const FILES: usize = 4;
const REGISTERS_A_FILE: usize = 2;
const NAMES: usize = 3;
/// Longer than any wait that ends well: a client that gives up sooner learns less.
const CALL_MAX: Duration = Duration::from_secs(15);
