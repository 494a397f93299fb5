//! Files that change their owner while clients use them: nothing is lost, nobody sees an error.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests panic and wait")]

#[path = "kernel/exerciser.rs"]
mod exerciser;

use std::time::{Duration, Instant};

use tests::fleet::{NAMES, TransferReport};
use tests::{FleetWorld, Random, Weather, eventually_within, sized};

#[test]
fn files_that_move_every_second_stay_right_and_no_client_sees_an_error() {
    let world = FleetWorld::new(3, 3, 3);
    (0..3).for_each(|number| world.mount(number, number));
    exerciser::put_into(&world.guests);
    let mut random = Random::from_environment(11);
    let fsx = world.guests.nth(0).start(&exerciser::script(sized(8_000, 300_000), 11));
    let tree = world.guests.nth(1).start(&format!(
        "set -e; mkdir tree /tmp/tree
         for round in $(seq {}); do
           n=$((round * 7 % 20)); head -c $((RANDOM * 9 + 1)) /dev/urandom >/tmp/tree/f$n
           cp /tmp/tree/f$n tree/f$n; cmp /tmp/tree/f$n tree/f$n
           m=$((RANDOM % 20)); [ -e tree/f$m ] || continue
           echo $round >>/tmp/tree/f$m; echo $round >>tree/f$m; cmp /tmp/tree/f$m tree/f$m
         done
         diff -r /tmp/tree tree; sync; tar -cf $JOB/tree.tar -C /tmp/tree .",
        sized(150, 5000)
    ));

    let mut paths = vec!["demo/file".to_owned()];
    paths.extend((0..20).map(|n| format!("demo/tree/f{n}")));
    let (mut moved, mut refused) = (0, 0);
    let begun = Instant::now();
    while !(fsx.ended() && tree.ended()) {
        assert!(begun.elapsed() < LOAD_MAX, "{}\n{}", fsx.so_far(), tree.so_far());
        let second = Instant::now();
        for path in &paths {
            match world.fleet.begin_transfer(path, NAMES[random.below(3)]) {
                Ok(_) => moved += 1,
                Err(_) => refused += 1,
            }
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    println!("{moved} transfers begun, {refused} refused: there already, or not there yet");
    println!("{}", fsx.must_within(Duration::from_secs(5)));
    let _ = tree.must_within(Duration::from_secs(5));
    world.guests.nth(2).sh("set -e; mkdir /tmp/tree; tar -xf $JOB/tree.tar -C /tmp/tree
         diff -r /tmp/tree tree");
    let found = world.fleet.whereis(0, "demo/file");
    println!("the exercised file is {found:?}");
    assert!(found.epoch >= 3, "a storm of moves, not a breeze: {found:?}");
    world.end_well(3);
}

#[test]
fn a_large_file_moves_while_it_is_read_and_written_with_a_pause_below_a_second() {
    let world = FleetWorld::new(3, 3, 3);
    (0..3).for_each(|number| world.mount(number, number));
    let mib = sized(256, 1024);
    std::fs::write(world.guests.shared().join("load.py"), LOAD).unwrap();
    world.guests.nth(0).sh(&format!("dd if=/dev/zero of=big bs=1M count={mib} conv=fsync 2>&1"));
    assert_eq!(world.fleet.whereis(2, "demo/big").owner, "ada");
    let writer = world.guests.nth(0).start(&format!("python3 $JOB/load.py write big {mib}"));
    let reader = world.guests.nth(2).start(&format!("python3 $JOB/load.py read big {mib}"));
    eventually_within(Duration::from_secs(30), "both to be at work", || {
        (writer.so_far().lines().count() > 3 && reader.so_far().lines().count() > 3).then_some(())
    });

    for to in ["bob", "cyd", "ada"] {
        let begun = Instant::now();
        let job = world.fleet.transfer("demo/big", to);
        println!("to {to}: {:?}, paused {:?}, {}", begun.elapsed(), job.pause, job.outcome);
        assert!(job.succeeded, "{job:?}");
        assert!(job.pause < Duration::from_secs(1), "{job:?}");
        for asked in 0..3 {
            eventually_within(Duration::from_secs(10), "all to know the owner", || {
                (world.fleet.whereis(asked, "demo/big").owner == to).then_some(())
            });
        }
        let before = (writer.so_far().lines().count(), reader.so_far().lines().count());
        eventually_within(Duration::from_secs(30), "both to go on", || {
            let now = (writer.so_far().lines().count(), reader.so_far().lines().count());
            assert!(!writer.ended() && !reader.ended(), "{}{}", writer.so_far(), reader.so_far());
            (now.0 > before.0 && now.1 > before.1).then_some(())
        });
    }
    std::fs::write(world.guests.shared().join("stop"), "").unwrap();
    for (who, job) in [("writer", writer), ("reader", reader)] {
        let said = job.must_within(Duration::from_secs(60));
        println!("{who}: {}", said.lines().last().unwrap_or_default());
    }
    // What was acknowledged is there, byte for byte, through each of the appliances.
    for guest in [1, 2, 0] {
        world.guests.nth(guest).sh(&format!("python3 $JOB/load.py check big {mib}"));
    }
    world.end_well(3);
}

#[test]
fn a_file_moves_to_where_it_is_used_unless_it_is_pinned() {
    let mut world = FleetWorld::new(3, 3, 2);
    world.mount(0, 0);
    world.mount(1, 1);
    let (ada, path) = (world.fleet.first(), "demo/file");
    world.guests.first().sh("set -e; head -c 64K /dev/urandom >file; sync file");
    ada.cli_ok(&["object", "pin", path, "ada"]);
    let used = world.guests.second().start(
        "set -e; for n in $(seq 400); do dd if=file of=/dev/null bs=4K iflag=direct status=none
         done; until [ -e $JOB/free ]; do sleep 1; done
         for n in $(seq 400); do dd if=file of=/dev/null bs=4K iflag=direct status=none
         done; echo used",
    );
    let hot = eventually_within(Duration::from_secs(60), "the file to be hot", || {
        let said = ada.cli_json(&["object", "explain", path]);
        let forwards = said["forwards"][0]["forwards"].as_u64().unwrap_or(0);
        (forwards >= said["needed"].as_u64().unwrap()).then_some(said)
    });
    assert!(hot["outcome"].as_str().unwrap().contains("pinned to ada"), "{hot}");
    let refused = world.fleet.begin_transfer(path, "bob").unwrap_err();
    assert!(refused.stderr.contains("unpin"), "{refused:?}");
    std::thread::sleep(Duration::from_secs(3));
    let found = ada.cli_json(&["object", "whereis", path]);
    assert_eq!((&found["owner"], &found["pinned"]), (&"ada".into(), &"ada".into()));

    ada.cli_ok(&["object", "unpin", path]);
    world.guests.first().sh("touch $JOB/free");
    eventually_within(Duration::from_secs(60), "the file to go where it is used", || {
        (world.fleet.whereis(0, path).owner == "bob").then_some(())
    });
    let _ = used.must_within(Duration::from_secs(120));
    let history = ada.cli_json(&["object", "history", path]);
    assert_eq!(history["changes"][0]["cause"], "heat", "{history}");

    ada.cli_ok(&["object", "pin", path, "cyd"]);
    eventually_within(Duration::from_secs(60), "the file to go where it is wanted", || {
        (world.fleet.whereis(2, path).owner == "cyd").then_some(())
    });
    world.fleet.nth_mut(0).kill9();
    world.fleet.nth_mut(0).restart();
    world.fleet.await_standing(3);
    let remembered = world.fleet.first().cli_json(&["object", "history", path]);
    assert!(remembered.to_string().contains("heat"), "the move is not forgotten: {remembered}");
    world.end_well(3);
}

#[test]
fn a_transfer_that_is_cancelled_leaves_the_file_whole_at_its_owner() {
    let world = midway();
    let job = begin(&world);
    world.fleet.first().cli_ok(&["job", "cancel", &job.id]);
    let ended = eventually_within(Duration::from_secs(30), "the job to end", || {
        world.fleet.transfer_now(&job.id).filter(|job| job.ended)
    });
    assert!(!ended.succeeded, "{ended:?}");
    println!("{}", ended.outcome);
    is_whole(&world, &["ada"]);
    let again = world.fleet.transfer("demo/big", "bob");
    assert!(again.succeeded, "a transfer works after one was cancelled: {again:?}");
    is_whole(&world, &["bob"]);
    world.end_well(3);
}

#[test]
fn a_source_killed_in_the_middle_of_a_transfer_loses_no_byte() {
    let mut world = midway();
    begin(&world);
    world.fleet.nth_mut(0).kill9();
    std::thread::sleep(Duration::from_secs(3));
    world.fleet.nth_mut(0).restart();
    world.fleet.await_standing(3);
    is_whole(&world, &["ada", "bob"]);
    moves_on(&world);
    world.end_well(3);
}

#[test]
fn a_target_killed_in_the_middle_of_a_transfer_loses_no_byte() {
    let mut world = midway();
    let job = begin(&world);
    world.fleet.nth_mut(1).kill9();
    let ended = eventually_within(Duration::from_secs(60), "the job to end", || {
        world.fleet.transfer_now(&job.id).filter(|job| job.ended)
    });
    println!("{}", ended.outcome);
    world.fleet.nth_mut(1).restart();
    world.fleet.await_standing(3);
    is_whole(&world, &["ada", "bob"]);
    moves_on(&world);
    world.end_well(3);
}

/// A fleet whose first appliance owns a file of 128 MiB, and a guest on the third.
fn midway() -> FleetWorld {
    let world = FleetWorld::new(3, 3, 2);
    world.mount(0, 0);
    world.mount(1, 2);
    world.guests.first().sh("set -e; head -c 128M /dev/urandom >big; sync big
         sha1sum <big >$JOB/sum");
    world
}

/// Begins to move that file to `bob` and returns in the middle of it.
fn begin(world: &FleetWorld) -> TransferReport {
    // So slow that the middle lasts.
    let slow = Weather { delay: Duration::from_millis(15), loss_permille: 0 };
    world.fleet.trouble(1, slow);
    let begun = world.fleet.begin_transfer("demo/big", "bob").unwrap();
    let middle = eventually_within(Duration::from_secs(60), "the transfer to be under way", || {
        let job = world.fleet.transfer_now(&begun.id)?;
        assert!(!job.ended, "it ended before its middle was seen: {job:?}");
        (job.bytes_done > 8 << 20).then_some(job)
    });
    println!("in the middle: {middle:?}");
    world.fleet.heal(1);
    middle
}

/// The file is owned by one of `owners`, all agree by whom, and every byte of it is there.
fn is_whole(world: &FleetWorld, owners: &[&str]) {
    let owner = agreed_owner(world);
    assert!(owners.contains(&owner.as_str()), "owned by {owner}");
    world.guests.second().sh("set -e; echo 3 >/proc/sys/vm/drop_caches
         sha1sum <big | cmp - $JOB/sum");
}

/// Whom all take for the owner. A file that is read much from elsewhere moves there by itself.
fn agreed_owner(world: &FleetWorld) -> String {
    eventually_within(Duration::from_secs(10), "all to agree on the owner", || {
        let owners = [0, 1, 2].map(|asked| world.fleet.whereis(asked, "demo/big").owner);
        owners.iter().all(|owner| *owner == owners[0]).then(|| owners[0].clone())
    })
}

/// The file can be written, and moved, as if nothing had been.
fn moves_on(world: &FleetWorld) {
    world.guests.second().sh("set -e; echo more >>big; sync big; sha1sum <big >$JOB/sum");
    let owner = agreed_owner(world);
    let to = NAMES[..3].iter().find(|name| **name != owner).unwrap();
    let job = world.fleet.transfer("demo/big", to);
    assert!(job.succeeded, "{job:?}");
    is_whole(world, &[to]);
}

/// Reads or writes blocks of 1 MiB at random places, and tells of each how long it took. The writer
/// writes down what it was acknowledged, by fsync, outside the mount.
const LOAD: &str = "\
import hashlib, json, os, random, sys, time
what, name, blocks = sys.argv[1], sys.argv[2], int(sys.argv[3])
job = os.environ['JOB']
random.seed(what)
if what == 'check':
    sums = json.load(open(job + '/sums'))
    with open(name, 'rb') as file:
        for block in range(blocks):
            data = os.pread(file.fileno(), 1 << 20, block << 20)
            wanted = sums.get(str(block), hashlib.sha1(bytes(1 << 20)).hexdigest())
            assert hashlib.sha1(data).hexdigest() == wanted, (block, len(data))
    sys.exit(0)
sums, longest, count = {}, 0, 0
while not os.path.exists(job + '/stop'):
    block = random.randrange(blocks)
    began = time.monotonic()
    if what == 'write':
        data = os.urandom(4096) * 256
        with open(name, 'r+b', buffering=0) as file:
            assert os.pwrite(file.fileno(), data, block << 20) == 1 << 20
            os.fsync(file.fileno())
        sums[block] = hashlib.sha1(data).hexdigest()
    else:
        with open(name, 'rb', buffering=0) as file:
            data = os.pread(file.fileno(), 1 << 20, block << 20)
        # A block is as it was before a write, or after, or in part.
        assert len(data) == 1 << 20, len(data)
        assert all(part in (bytes(4096), data[:4096], data[-4096:])
                   for part in (data[n << 12:(n + 1) << 12] for n in range(256)))
    took = time.monotonic() - began
    longest, count = max(longest, took), count + 1
    print(count, 'took', round(took, 3), flush=True)
if what == 'write':
    json.dump(sums, open(job + '/sums', 'w'))
print(count, 'in all, the longest took', round(longest, 3), 's')
";

/// The load's own end must come before that.
const LOAD_MAX: Duration = Duration::from_secs(1200);
