//! What the codec costs a call: a record taken apart as the appliance does, and a reply put
//! together. No payload is copied on either way, so 1 MiB should cost no more than 4 KiB.

#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nfs_wire::nfs3::{
    Args, Fattr3, FileHandle, Ftype3, GetattrArgs, Nfstime3, PROGRAM, ReadArgs, ReadOk, Reply,
    Specdata3, StableHow, VERSION, WccData, WriteArgs, WriteOk, Writeverf3,
};
use nfs_wire::rpc::{AuthSys, CallHeader, Gids, accept, call};
use nfs_wire::{Call, Credential, Framing, Xid};

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("take a call apart");
    let file = handle();
    for (name, args) in [
        ("GETATTR", Args::Getattr(GetattrArgs { object: file })),
        ("READ", Args::Read(ReadArgs { file, offset: 1 << 20, count: 1 << 20 })),
        ("WRITE of 4 KiB", write(4 << 10)),
        ("WRITE of 1 MiB", write(1 << 20)),
    ] {
        let record = record(&args);
        group.bench_with_input(BenchmarkId::from_parameter(name), &record, |bencher, record| {
            bencher.iter(|| {
                let call = Call::parse(black_box(record)).expect("our own call");
                Args::decode(call.procedure, &call.args).expect("our own arguments")
            });
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("put a reply together");
    let attributes = attributes();
    let file_wcc = WccData { before: None, after: Some(attributes) };
    let (committed, verf) = (StableHow::Unstable, Writeverf3([7; 8]));
    for (name, reply) in [
        ("GETATTR", Reply::Getattr(Ok(attributes))),
        ("WRITE", Reply::Write(Ok(WriteOk { file_wcc, count: 4096, committed, verf }))),
        ("READ of 4 KiB", read(4 << 10)),
        ("READ of 1 MiB", read(1 << 20)),
    ] {
        let mut scratch = BytesMut::new();
        group.bench_with_input(BenchmarkId::from_parameter(name), &reply, |bencher, reply| {
            bencher.iter(|| accept(Xid(1), Framing::Record, black_box(reply), &mut scratch));
        });
    }
    group.finish();
}

/// A call as it comes out of the record reader.
fn record(args: &Args) -> Bytes {
    let machine = Bytes::from_static(b"client.example");
    let gids = Gids::new(&[4, 24, 27, 100]).expect("few groups");
    let credential = Credential::Sys(AuthSys { stamp: 1, machine, uid: 1000, gid: 1000, gids });
    let header = CallHeader {
        xid: Xid(1),
        program: PROGRAM,
        version: VERSION,
        procedure: args.procedure().code(),
        credential: &credential,
    };
    call(&header, Framing::Datagram, args, &mut BytesMut::new()).to_bytes()
}

fn write(bytes: usize) -> Args {
    let data = Bytes::from(vec![0x5a; bytes]);
    Args::Write(WriteArgs { file: handle(), offset: 0, stable: StableHow::Unstable, data })
}

fn read(bytes: usize) -> Reply {
    let data = Bytes::from(vec![0x5a; bytes]);
    Reply::Read(Ok(ReadOk { file_attributes: Some(attributes()), eof: false, data }))
}

fn handle() -> FileHandle {
    FileHandle::new(&[0x42; 40]).expect("a handle's length")
}

fn attributes() -> Fattr3 {
    let time = Nfstime3 { seconds: 1_700_000_000, nseconds: 1 };
    Fattr3 {
        kind: Ftype3::Reg,
        mode: 0o644,
        nlink: 1,
        uid: 1000,
        gid: 1000,
        size: 1 << 30,
        used: 1 << 30,
        rdev: Specdata3 { major: 0, minor: 0 },
        fsid: 1,
        fileid: 42,
        atime: time,
        mtime: time,
        ctime: time,
    }
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
