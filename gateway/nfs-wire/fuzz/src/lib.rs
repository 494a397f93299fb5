//! The bodies of the fuzz targets: total functions over bytes that panic when a promise of the
//! codec is broken. They are also run, over mutated messages, by the tests of the codec.
//!
//! The promises: no bytes are a panic; what decodes can be encoded, in no more bytes than it came
//! in, and decodes to itself; records don't depend on how their stream was read.

use bytes::{BufMut, Bytes, BytesMut};
use nfs_wire::nfs3::{self, Outcome, Procedure};
use nfs_wire::rpc::{self, Answer, CallHeader};
use nfs_wire::{
    BadCall, BadRecord, Body, Call, Framing, RecordReader, Verbatim, mount, nlm, record, rpcbind,
};

/// A record, taken for a call and for a reply.
pub fn rpc_call(data: &[u8]) {
    let record = Bytes::copy_from_slice(data);
    let scratch = &mut BytesMut::new();
    match Call::parse(&record) {
        Ok(call) => {
            let header = CallHeader {
                xid: call.xid,
                program: call.program,
                version: call.version,
                procedure: call.procedure,
                credential: &call.credential,
            };
            let args = Verbatim(call.args.clone());
            let wire = rpc::call(&header, Framing::Datagram, &args, scratch).to_bytes();
            let again = Call::parse(&wire).expect("our own call");
            // Arguments that are no multiple of four bytes came back padded.
            assert!(again.args.starts_with(&call.args));
            assert_eq!(Call { args: call.args.clone(), ..again }, call);
        }
        Err(BadCall::Refused { xid, refusal }) => {
            let wire = rpc::refuse(xid, Framing::Datagram, refusal, scratch).to_bytes();
            let answer = Answer { xid, outcome: Err(refusal) };
            assert_eq!(Answer::parse(&wire), Ok(answer));
        }
        Err(BadCall::Unanswerable) => {}
    }
    if let Ok(Answer { xid, outcome: Err(refusal) }) = Answer::parse(&record) {
        let wire = rpc::refuse(xid, Framing::Datagram, refusal, scratch).to_bytes();
        assert_eq!(Answer::parse(&wire), Ok(Answer { xid, outcome: Err(refusal) }));
    }
}

/// A procedure number in one byte, then its arguments.
pub fn nfs3_args(data: &[u8]) {
    let Some((procedure, wire)) = selected(data) else { return };
    let procedure = u32::from(procedure);
    if let Ok(args) = nfs3::Args::decode(procedure, &wire) {
        assert_eq!(args.procedure().code(), procedure);
        let again = args.to_bytes();
        assert!(again.len() <= wire.len());
        assert_eq!(nfs3::Args::decode(procedure, &again), Ok(args));
    }
}

/// A procedure number in one byte, then its results.
pub fn nfs3_replies(data: &[u8]) {
    let Some((procedure, wire)) = selected(data) else { return };
    let Some(procedure) = Procedure::from_code(procedure.into()) else { return };
    if let Ok(reply) = nfs3::Reply::decode(procedure, &wire) {
        assert_eq!(reply.procedure(), procedure);
        if let nfs3::Reply::Readdirplus(listed) = &reply {
            let entries = listed.as_ref().map_or(0, |ok| ok.listing.entries().count());
            assert!(listed.failure().is_none() || entries == 0);
        }
        let again = reply.to_bytes();
        assert!(again.len() <= wire.len());
        assert_eq!(nfs3::Reply::decode(procedure, &again), Ok(reply));
    }
}

/// A procedure number in one byte, then its arguments, also taken for its results.
pub fn mount_args(data: &[u8]) {
    let Some((procedure, wire)) = selected(data) else { return };
    if let Ok(args) = mount::Args::decode(procedure.into(), &wire) {
        let again = args.to_bytes();
        assert!(again.len() <= wire.len());
        assert_eq!(mount::Args::decode(procedure.into(), &again), Ok(args));
    }
    let Some(procedure) = mount::Procedure::from_code(procedure.into()) else { return };
    if let Ok(reply) = mount::Reply::decode(procedure, &wire) {
        let again = reply.to_bytes();
        assert!(again.len() <= wire.len());
        assert_eq!(mount::Reply::decode(procedure, &again), Ok(reply));
    }
}

/// A procedure number in one byte, then its arguments, also taken for its results.
pub fn nlm_args(data: &[u8]) {
    let Some((procedure, wire)) = selected(data) else { return };
    let Ok(args) = nlm::Args::decode(procedure.into(), &wire) else { return };
    let again = args.to_bytes();
    assert!(again.len() <= wire.len());
    assert_eq!(nlm::Args::decode(procedure.into(), &again).as_ref(), Ok(&args));
    if let Ok(reply) = nlm::Reply::decode(args.procedure, &wire) {
        assert_eq!(nlm::Reply::decode(args.procedure, &reply.to_bytes()), Ok(reply));
    }
    let reply = args.clone().without_locks();
    assert_eq!(nlm::Reply::decode(args.procedure, &reply.to_bytes()), Ok(reply));
}

/// Version and procedure number in one byte each, then the arguments. What decodes as arguments
/// also says which results to take the same bytes for.
pub fn rpcbind_args(data: &[u8]) {
    let Some((version, rest)) = selected(data) else { return };
    let Some((procedure, wire)) = selected(&rest) else { return };
    let Some(version) = rpcbind::Version::from_code(version.into()) else { return };
    let Ok(args) = rpcbind::Args::decode(version, procedure.into(), &wire) else { return };
    assert_eq!(args.procedure(), u32::from(procedure));
    let again = args.to_bytes();
    assert!(again.len() <= wire.len());
    assert_eq!(rpcbind::Args::decode(version, procedure.into(), &again).as_ref(), Ok(&args));

    if let Ok(reply) = rpcbind::Reply::decode(&args, &wire) {
        let again = reply.to_bytes();
        assert!(again.len() <= wire.len());
        assert_eq!(rpcbind::Reply::decode(&args, &again), Ok(reply));
    }
    if let rpcbind::Args::Set(rpcb) = &args
        && let Some(address) = rpcbind::parse_universal_address(&rpcb.address.0)
    {
        let text = rpcbind::universal_address(address);
        assert_eq!(rpcbind::parse_universal_address(text.as_bytes()), Some(address));
    }
}

/// Three bytes that say how to read, then a stream, or instructions to make a long one.
pub fn record_reader(data: &[u8]) {
    let [how, read, limit, rest @ ..] = data else { return };
    let long = how & 1 == 1;
    let stream = if long { long_stream(rest) } else { rest.to_vec() };
    let unit = if long { 1024 } else { 4 };
    let limit = usize::from(*limit) * unit;
    let read = (usize::from(*read) * unit / 4).max(unit / 4);
    let (expected, end) = cut(&stream, limit);

    let mut reader = RecordReader::new(limit);
    let (mut left, mut records) = (&stream[..], Vec::new());
    let mut refused = None;
    while !left.is_empty() && refused.is_none() {
        let mut spare = reader.spare();
        let length = read.min(left.len()).min(spare.remaining_mut());
        assert!(length > 0, "a read of no bytes would look like the end");
        spare.put_slice(&left[..length]);
        left = &left[length..];
        refused = loop {
            assert!(reader.pending_bytes() <= limit);
            match reader.next() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break None,
                Err(refused) => break Some(refused),
            }
        };
    }
    assert_eq!(records, expected);
    assert_eq!(refused, end.as_ref().err().copied());
    if let Ok(between_records) = end {
        assert_eq!(reader.is_between_records(), between_records);
    }
}

/// Two bytes make a fragment: whether it is the last, and how long it is.
fn long_stream(instructions: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (at, instruction) in instructions.chunks_exact(2).take(24).enumerate() {
        let (class, size) = (instruction[0], usize::from(instruction[1]));
        let last = if class & 1 == 1 { record::LAST_FRAGMENT } else { 0 };
        let length = if class & 2 == 2 { size * 512 } else { size };
        let mark = last | u32::try_from(length).expect("a byte times 512");
        stream.extend_from_slice(&mark.to_be_bytes());
        stream.resize(stream.len() + length, at.to_le_bytes()[0]);
    }
    stream
}

/// What record marking is, in the fewest words: all records of a stream, and then either whether
/// it ends between two, or why it is refused.
fn cut(stream: &[u8], limit: usize) -> (Vec<Vec<u8>>, Result<bool, BadRecord>) {
    let (mut records, mut record, mut empty) = (Vec::new(), Vec::new(), 0);
    let mut left = stream;
    while let Some((mark, rest)) = left.split_first_chunk() {
        let mark = u32::from_be_bytes(*mark);
        let last = mark & record::LAST_FRAGMENT != 0;
        let length = (mark & !record::LAST_FRAGMENT) as usize;
        let claimed = record.len() + length;
        if claimed > limit {
            return (records, Err(BadRecord::TooLong { claimed, limit }));
        }
        empty += usize::from(length == 0 && !last);
        if empty > record::EMPTY_FRAGMENTS_MAX {
            return (records, Err(BadRecord::TooManyEmptyFragments));
        }
        if length > rest.len() {
            return (records, Ok(false));
        }
        let (fragment, rest) = rest.split_at(length);
        record.extend_from_slice(fragment);
        left = rest;
        if last {
            records.push(std::mem::take(&mut record));
            empty = 0;
        }
    }
    (records, Ok(left.is_empty() && record.is_empty() && empty == 0))
}

fn selected(data: &[u8]) -> Option<(u8, Bytes)> {
    let (selector, rest) = data.split_first()?;
    Some((*selector, Bytes::copy_from_slice(rest)))
}
