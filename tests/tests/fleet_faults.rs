//! Appliances that die, that can't reach the others, or hardly: clients wait, and nothing that was
//! acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

use std::io::Write;
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use nfs3_client::nfs3_types::nfs3::{
    CREATE3args, READ3args, createhow3, diropargs3, nfs_fh3, sattr3,
};

use tests::storm::{Storm, Writers};
use tests::{Fleet, FleetWorld, Random, Weather, Who, mount_at, rpc, sized};

#[test]
fn nothing_acknowledged_is_lost_over_a_lossy_network_and_a_leader_cut_off_for_ten_seconds() {
    let world = FleetWorld::new(3, 3, 3);
    let mut random = Random::from_environment(21);
    let addresses = addresses(&world);
    let weather = Weather { delay: Duration::from_millis(10), loss_permille: 10 };
    // Each pair has the weather of both its ends: 20 ms each way, and 2 % lost.
    (0..3).for_each(|number| world.fleet.trouble(number, weather));
    let storm = begin(&world, &mut random);
    storm.await_progress(2000);
    println!("{:?} packets arrived and were lost", world.fleet.packets());
    // A check takes thousands of round trips; here one appliance is enough.
    storm.check_at("a lossy network", &addresses[..1]);

    for round in 0..sized(1, 10) {
        let leader = world.fleet.leader();
        println!("{} leads and is cut off", world.fleet.nth(leader).name());
        world.fleet.partition(leader);
        std::thread::sleep(Duration::from_secs(10));
        storm.assert_no_error();
        (0..3).for_each(|number| world.fleet.heal(number));
        storm.check_at(&format!("a partition {round}"), &addresses);
        storm.await_progress(1000);
        (0..3).for_each(|number| world.fleet.trouble(number, weather));
    }
    (0..3).for_each(|number| world.fleet.heal(number));
    println!("{} steps settled", storm.end());
    world.guests.nth(0).unmount();
    world.guests.nth(1).unmount();
    world.end_well(3);
}

#[test]
fn nothing_acknowledged_is_lost_when_each_appliance_is_killed_in_turn() {
    let mut world = FleetWorld::new(3, 3, 3);
    let mut random = Random::from_environment(22);
    let addresses = addresses(&world);
    // The storm borrows the guests, the kills the fleet.
    let FleetWorld { guests, fleet, .. } = &mut world;
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let writers =
        [0, 1].map(|n| Writers { guest: guests.nth(n), address: addresses[n], count: WORKERS });
    let storm = Storm::begin(guests, program, &writers, (guests.nth(2), addresses[2]), &mut random);
    for round in 0..sized(6, 60) {
        let number = usize::try_from(round).unwrap() % 3;
        std::thread::sleep(Duration::from_millis(500 + random.draw() % 1500));
        fleet.nth_mut(number).kill9();
        // The others find out, and clients have to wait.
        std::thread::sleep(Duration::from_millis(random.draw() % 4000));
        storm.assert_no_error();
        fleet.nth_mut(number).restart();
        storm.check_at(&format!("kill {round}"), &addresses);
        storm.await_progress(500);
        fleet.await_standing(3);
    }
    println!("{} steps settled", storm.end());
    drop(storm);
    guests.nth(0).unmount();
    guests.nth(1).unmount();
    world.end_well(3);
}

#[test]
fn an_appliance_frozen_longer_than_its_lease_serves_nothing_old_when_it_goes_on() {
    let world = FleetWorld::new(3, 3, 3);
    let mut random = Random::from_environment(23);
    let addresses = addresses(&world);
    let storm = begin(&world, &mut random);
    for number in [0, 1, 2] {
        world.fleet.nth(number).freeze();
        std::thread::sleep(Duration::from_secs(4));
        storm.assert_no_error();
        world.fleet.nth(number).thaw();
        storm.check_at(&format!("frozen {number}"), &addresses);
        storm.await_progress(500);
    }
    println!("{} steps settled", storm.end());
    world.guests.nth(0).unmount();
    world.guests.nth(1).unmount();
    world.end_well(3);
}

/// Workers on the first two appliances, a checker on the third guest.
fn begin<'a>(world: &'a FleetWorld, random: &mut Random) -> Storm<'a> {
    let program = env!("CARGO_BIN_EXE_crash-writer").as_ref();
    let guests = &world.guests;
    let at = |n: usize| world.fleet.client_address(n);
    let writers = [0, 1].map(|n| Writers { guest: guests.nth(n), address: at(n), count: WORKERS });
    Storm::begin(guests, program, &writers, (guests.nth(2), at(2)), random)
}

/// What a client may send elsewhere while one appliance is away.
#[derive(Clone, Copy, Debug)]
enum Away {
    CutOff,
    Frozen,
}

#[test]
fn a_call_that_its_client_has_had_done_elsewhere_is_never_done_again() {
    let world = FleetWorld::new(3, 3, 0);
    for (round, away) in [Away::CutOff, Away::Frozen].into_iter().enumerate() {
        overtaken(&world.fleet, away, &format!("late.{round}"));
    }
    world.end_well(3);
}

/// A call waits at an appliance that is away; its client has it done by another, and then so much
/// more that nobody remembers the call; then the first appliance is back.
fn overtaken(fleet: &Fleet, away: Away, name: &str) {
    let (here, there) = (fleet.client_address(0), fleet.client_address(2));
    let file = create(here, name);
    let write = |xid, bytes: &[u8]| rpc::write_call(xid, &file.data, 0, bytes, rpc::UNSTABLE);
    let (mut near, mut far) = (dial(here), dial(there));
    match away {
        Away::CutOff => fleet.partition(2),
        Away::Frozen => fleet.nth(2).freeze(),
    }
    let sent = Instant::now();
    far.write_all(&rpc::record(&write(1, b"old"))).unwrap();
    for xid in 1..MORE_THAN_IS_REMEMBERED {
        let bytes = if xid == 1 { b"old" } else { b"new" };
        let reply = rpc::exchange(&mut near, &write(xid, bytes)).unwrap();
        assert_eq!(rpc::results(&reply)[..4], [0; 4], "{away:?}: write {xid}");
    }
    println!("{away:?}: {MORE_THAN_IS_REMEMBERED} writes in {:?}", sent.elapsed());
    std::thread::sleep(LAPSED_BY.saturating_sub(sent.elapsed()));
    match away {
        Away::CutOff => fleet.heal(2),
        Away::Frozen => fleet.nth(2).thaw(),
    }
    assert!(sent.elapsed() < WAITS_AT_MOST, "{away:?}: the call is not waiting any more");
    fleet.await_standing(3);
    assert!(rpc::receive(&mut far).is_err(), "{away:?}: it is not answered, either");
    std::thread::sleep((2 * WAITS_AT_MOST).saturating_sub(sent.elapsed()));
    assert_eq!(read(here, &file), b"new", "{away:?}");
}

fn create(address: IpAddr, name: &str) -> nfs_fh3 {
    let mut connection = mount_at(address, "demo", ROOT).unwrap();
    let where_ = diropargs3 { dir: connection.root(), name: name.as_bytes().into() };
    let args = CREATE3args { where_, how: createhow3::UNCHECKED(sattr3::default()) };
    let made = connection.call(async |nfs| nfs.create(&args).await).unwrap().unwrap();
    made.obj.unwrap()
}

fn read(address: IpAddr, file: &nfs_fh3) -> Vec<u8> {
    let mut connection = mount_at(address, "demo", ROOT).unwrap();
    let args = READ3args { file: file.clone(), offset: 0, count: 100 };
    let read = connection.call(async |nfs| nfs.read(&args).await).unwrap().unwrap();
    read.data.0.to_vec()
}

fn dial(address: IpAddr) -> TcpStream {
    let stream = TcpStream::connect((address, 2049)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(2 * WAITS_AT_MOST)).unwrap();
    stream
}

const ROOT: Who<'_> = Who { uid: 0, gid: 0, gids: &[] };
/// An owner remembers what it answered to the last 1024 changes of each client.
const MORE_THAN_IS_REMEMBERED: u32 = 1100;
/// Longer than a lease, and the time in which others notice.
const LAPSED_BY: Duration = Duration::from_secs(4);
/// For so long a call waits for somebody who answers it.
const WAITS_AT_MOST: Duration = Duration::from_secs(10);

fn addresses(world: &FleetWorld) -> Vec<IpAddr> {
    (0..world.fleet.count()).map(|number| world.fleet.client_address(number)).collect()
}

/// Per guest; the checks after each fault take longer the more there are.
const WORKERS: usize = 2;
