//! Connections: calls in any pieces and any number, and clients that others must not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nfs3_client::nfs3_types::nfs3::*;
use tests::rpc::{NFS, Xdr, dial, receive, record, results};

use crate::client::{Call, Client, Credential, message, unpacked, with_mode, write_args};
use crate::world::World;

/// Long beside a call on an idle machine, short beside a client's patience.
const UNNOTICED_MAX: Duration = Duration::from_secs(5);

fn getattr(object: &nfs_fh3) -> Call {
    Call::new(NFS_PROGRAM::NFSPROC3_GETATTR, &GETATTR3args { object: object.clone() })
}

/// A message in fragments of `size` bytes.
fn fragments(message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = message.len().div_ceil(size);
    for (number, part) in message.chunks(size).enumerate() {
        let last = if number + 1 == count { 0x8000_0000 } else { 0 };
        let mark = last | u32::try_from(part.len()).unwrap();
        bytes.extend_from_slice(&mark.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[test]
fn a_call_may_be_cut_into_fragments_and_segments_anywhere() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let args = write_args(&file, 0, b"cut into pieces", stable_how::UNSTABLE);
    for size in 1..64 {
        let call = Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args);
        let bytes = fragments(&call.message(nfs.who), size);
        nfs.stream.write_all(&bytes).unwrap();
        let reply = receive(&mut nfs.stream).unwrap();
        unpacked::<WRITE3res>(results(&reply)).unwrap();
    }
    let bytes = record(&getattr(&file).message(nfs.who));
    for cut in (1..bytes.len()).step_by(3) {
        nfs.stream.write_all(&bytes[..cut]).unwrap();
        // The segment is on its way before the next one is written.
        std::thread::sleep(Duration::from_micros(300));
        nfs.stream.write_all(&bytes[cut..]).unwrap();
        let reply = receive(&mut nfs.stream).unwrap();
        unpacked::<GETATTR3res>(results(&reply)).unwrap();
    }
    // Fragments without bytes are odd, and no error.
    let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(fragments(&getattr(&file).message(nfs.who), 10));
    nfs.stream.write_all(&bytes).unwrap();
    receive(&mut nfs.stream).unwrap();
}

#[test]
fn many_calls_in_one_segment_are_each_answered_in_any_order() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, &[7; 5000]);
    let calls: Vec<Call> = (0..1000_u64)
        .map(|n| match n % 3 {
            0 => getattr(&file),
            1 => {
                let args = READ3args { file: file.clone(), offset: n, count: 10 };
                Call::new(NFS_PROGRAM::NFSPROC3_READ, &args)
            }
            _ => {
                let args = write_args(&file, n, &[7; 10], stable_how::FILE_SYNC);
                Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args)
            }
        })
        .collect();
    // The window of calls and replies is smaller than what both sockets hold.
    for window in calls.chunks(100) {
        let bytes: Vec<u8> =
            window.iter().flat_map(|call| record(&call.message(nfs.who))).collect();
        nfs.stream.write_all(&bytes).unwrap();
        let mut open: Vec<u32> = window.iter().map(|call| call.xid).collect();
        for _ in window {
            let reply = receive(&mut nfs.stream).unwrap();
            let xid = u32::from_be_bytes(reply[..4].try_into().unwrap());
            let at = open.iter().position(|open| *open == xid).expect("answered once");
            open.swap_remove(at);
            assert_eq!(results(&reply)[..4], [0; 4]);
        }
    }
}

#[test]
fn a_slow_call_does_not_hold_up_the_quick_ones_behind_it() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let data = vec![1; 1 << 20];
    let mut slow: Vec<Call> = Vec::new();
    for number in 0..8_u64 {
        let args = write_args(&file, number << 20, &data, stable_how::FILE_SYNC);
        slow.push(Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args));
    }
    let quick = getattr(&dir);
    let mut sender = nfs.stream.try_clone().unwrap();
    let who = nfs.who;
    let order = std::thread::scope(|scope| {
        scope.spawn(|| {
            for call in slow.iter().chain([&quick]) {
                sender.write_all(&record(&call.message(who))).unwrap();
            }
        });
        let mut order = Vec::new();
        for _ in 0..=slow.len() {
            let reply = receive(&mut nfs.stream).unwrap();
            order.push(u32::from_be_bytes(reply[..4].try_into().unwrap()));
        }
        order
    });
    assert_ne!(order.last(), Some(&quick.xid), "the fsyncs came later than the question");
}

#[test]
fn a_thousand_idle_connections_are_not_noticed() {
    let (_world, mut nfs, dir) = World::folder();
    let mut idle: Vec<TcpStream> = (0..1000).map(|_| dial()).collect();
    let started = Instant::now();
    let file = nfs.create(&dir, "file");
    for round in 0..100_u64 {
        nfs.put(&file, round, b"x");
    }
    let mut newcomer = Client::new(Credential::ROOT);
    newcomer.getattr(&file);
    assert!(started.elapsed() < UNNOTICED_MAX, "{:?}", started.elapsed());
    for stream in idle.iter_mut().step_by(97) {
        let null = message(1, NFS, 0, Credential::ROOT, &[]);
        stream.write_all(&record(&null)).unwrap();
        receive(stream).unwrap();
    }
}

#[test]
fn a_client_that_never_reads_its_replies_is_not_noticed() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, &vec![1; 1 << 20]);
    let args = READ3args { file: file.clone(), offset: 0, count: 1 << 20 };
    let mut deaf: Vec<TcpStream> = Vec::new();
    for _ in 0..8 {
        let mut stream = dial();
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        for _ in 0..2000 {
            let call = Call::new(NFS_PROGRAM::NFSPROC3_READ, &args);
            // At some point nothing more is taken from it: so it should be.
            if stream.write_all(&record(&call.message(Credential::ROOT))).is_err() {
                break;
            }
        }
        deaf.push(stream);
    }
    let started = Instant::now();
    for round in 0..50_u64 {
        nfs.put(&file, round, b"x");
        nfs.getattr(&dir);
    }
    assert!(started.elapsed() < UNNOTICED_MAX, "{:?}", started.elapsed());
    drop(deaf);
    assert_eq!(nfs.read(&file, 0, 1 << 20).unwrap().count, 1 << 20);
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_record_changes_nothing() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let data = vec![b'x'; 100_000];
    let args = write_args(&file, 0, &data, stable_how::UNSTABLE);
    let whole = record(&Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args).message(nfs.who));
    for cut in [1, 3, 4, 5, 40, 200, 4096, whole.len() - 1] {
        let mut stream = dial();
        stream.write_all(&whole[..cut]).unwrap();
        drop(stream);
    }
    let mut stuck: Vec<TcpStream> = (0..20).map(|_| dial()).collect();
    for stream in &mut stuck {
        stream.write_all(&whole[..whole.len() - 1]).unwrap();
    }
    let started = Instant::now();
    nfs.try_mkdir(&dir, "sub").unwrap();
    assert_eq!(nfs.getattr(&file).size, 0, "half a call is no call");
    assert!(started.elapsed() < UNNOTICED_MAX);
}

#[test]
fn a_client_that_goes_away_before_the_answer_has_its_call_done_once() {
    let (_world, mut nfs, dir) = World::folder();
    for number in 0..100 {
        let how = createhow3::GUARDED(with_mode(0o600));
        let where_ = crate::client::place(&dir, format!("{number}"));
        let call = Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &CREATE3args { where_, how });
        let mut leaving = dial();
        leaving.write_all(&record(&call.message(Credential::ROOT))).unwrap();
        drop(leaving);
        unpacked::<CREATE3res>(&nfs.send(&call)).unwrap();
    }
    assert_eq!(nfs.names(&dir).len(), 100);
}

#[test]
fn what_is_no_call_gets_the_refusal_of_rpc_or_the_door() {
    let (_world, mut nfs, dir) = World::folder();
    let mut reply_to = |message: &[u8]| {
        nfs.stream.write_all(&record(message)).unwrap();
        let reply = receive(&mut nfs.stream).unwrap();
        let words = reply.chunks_exact(4).map(|w| u32::from_be_bytes(w.try_into().unwrap()));
        words.collect::<Vec<u32>>()
    };
    let root = Credential::ROOT;
    let null = |program: (u32, u32), procedure: u32| message(9, program, procedure, root, &[]);
    assert_eq!(reply_to(&null((100_003, 3), 0))[2..], [0, 0, 0, 0], "NULL");
    let mismatch = reply_to(&null((100_003, 4), 0));
    assert_eq!(mismatch[2..], [0, 0, 0, 2, 3, 3], "PROG_MISMATCH, so that mount tries v3 at once");
    assert_eq!(reply_to(&null((100_227, 3), 0))[5], 1, "NFSACL: PROG_UNAVAIL");
    assert_eq!(
        reply_to(&null((100_021, 4), 0))[2..],
        [0, 0, 0, 0],
        "NLM, which says that there are no locks"
    );
    assert_eq!(reply_to(&null((100_003, 3), 22))[5], 3, "PROC_UNAVAIL");
    assert_eq!(reply_to(&null((100_003, 3), 1))[5], 4, "GARBAGE_ARGS");
    let mut old = null((100_003, 3), 0);
    old[11] = 1;
    assert_eq!(reply_to(&old)[2..], [1, 0, 2, 2], "RPC_MISMATCH");
    nfs.getattr(&dir);

    let mut babbling = dial();
    let absurd = Xdr::default().u32(0xffff_ffff).u32(0);
    babbling.write_all(&absurd.0).unwrap();
    let mut rest = Vec::new();
    let closed = babbling.read_to_end(&mut rest);
    assert!(rest.is_empty() && closed.map_or(true, |count| count == 0), "closed without a word");
    nfs.getattr(&dir);
}
