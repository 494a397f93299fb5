//! Every fuzz target's body over 20 000 mutations of valid messages, the same ones in every run.

use bytes::BytesMut;
use nfs_wire::rpc::{self, CallHeader};
use nfs_wire::{Body, Framing, Xid, nlm};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::reply_strategies::{mount_reply, nfs3_reply, refusal};
use crate::strategies::{credential, mount_args, nfs3_args, rpcbind_args};

#[path = "../../fuzz/src/lib.rs"]
mod bodies;

const RUNS: usize = 20_000;
const SEEDS: usize = 256;

/// The generator of George Marsaglia's "Xorshift RNGs": small, and the same for ever.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// The same values in every run.
fn seeds(strategy: impl Strategy<Value = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    (0..SEEDS).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn mutate(random: &mut Xorshift, message: &mut Vec<u8>, other: &[u8]) {
    const WORDS: [u32; 8] = [0, 1, 2, 64, 255, 4096, 0x7fff_ffff, u32::MAX];
    let at = random.below(message.len());
    match random.below(7) {
        0 if !message.is_empty() => message[at] ^= 1 << random.below(8),
        1 if !message.is_empty() => message[at] = random.byte(),
        2 => {
            let word = WORDS[random.below(WORDS.len())].to_be_bytes();
            let end = message.len().min((at & !3) + 4);
            message.splice(at & !3..end, word);
        }
        3 => message.truncate(at),
        4 => message.splice(at..at, [random.byte(); 4]).for_each(drop),
        5 => {
            let from = random.below(other.len());
            message.truncate(at);
            message.extend_from_slice(&other[from.min(other.len())..]);
        }
        _ => message.drain(at..message.len().min(at + 4)).for_each(drop),
    }
}

fn run(body: fn(&[u8]), seeds: &[Vec<u8>]) {
    let random = &mut Xorshift(0x9e37_79b9_7f4a_7c15);
    for round in 0..RUNS {
        let mut message = seeds[round % seeds.len()].clone();
        let other = &seeds[random.below(seeds.len())];
        for _ in 0..random.below(4) {
            mutate(random, &mut message, other);
        }
        if std::panic::catch_unwind(|| body(&message)).is_err() {
            panic!("round {round} breaks a promise with {message:02x?}");
        }
    }
}

fn selected(selector: u32, wire: &[u8]) -> Vec<u8> {
    [&[u8::try_from(selector).unwrap()], wire].concat()
}

#[test]
fn mutated_calls_break_no_promise() {
    let calls = (any::<(u32, u32, u32, u32)>(), credential(), nfs3_args()).prop_map(
        |((xid, program, version, procedure), credential, args)| {
            let xid = Xid(xid);
            let header = CallHeader { xid, program, version, procedure, credential: &credential };
            rpc::call(&header, Framing::Datagram, &args, &mut BytesMut::new()).to_bytes().to_vec()
        },
    );
    let refusals = (any::<u32>(), refusal()).prop_map(|(xid, refusal)| {
        let scratch = &mut BytesMut::new();
        rpc::refuse(Xid(xid), Framing::Datagram, refusal, scratch).to_bytes().to_vec()
    });
    run(bodies::rpc_call, &seeds(prop_oneof![3 => calls, 1 => refusals]));
}

#[test]
fn mutated_nfs3_args_break_no_promise() {
    let args = nfs3_args().prop_map(|args| selected(args.procedure().code(), &args.to_bytes()));
    run(bodies::nfs3_args, &seeds(args));
}

#[test]
fn mutated_nfs3_replies_break_no_promise() {
    let replies =
        nfs3_reply().prop_map(|reply| selected(reply.procedure().code(), &reply.to_bytes()));
    run(bodies::nfs3_replies, &seeds(replies));
}

#[test]
fn mutated_mount_messages_break_no_promise() {
    let args = mount_args().prop_map(|args| selected(args.procedure().code(), &args.to_bytes()));
    let replies =
        mount_reply().prop_map(|reply| selected(reply.procedure().code(), &reply.to_bytes()));
    run(bodies::mount_args, &seeds(prop_oneof![args, replies]));
}

#[test]
fn mutated_nlm_messages_break_no_promise() {
    let cookies = proptest::collection::vec(any::<u8>(), 0..40);
    let args =
        (proptest::sample::select(nlm::Procedure::ALL), cookies).prop_map(|(procedure, cookie)| {
            let args = nlm::Args { procedure, cookie: cookie.into() };
            selected(procedure.code(), &args.to_bytes())
        });
    run(bodies::nlm_args, &seeds(args));
}

#[test]
fn mutated_rpcbind_messages_break_no_promise() {
    let args = rpcbind_args().prop_map(|(version, args)| {
        selected(version.code(), &selected(args.procedure(), &args.to_bytes()))
    });
    run(bodies::rpcbind_args, &seeds(args));
}

#[test]
fn mutated_streams_break_no_promise() {
    let raw = (any::<[u8; 2]>(), nfs3_args()).prop_map(|([read, limit], args)| {
        let wire = args.to_bytes();
        let (first, second) = wire.split_at(wire.len() / 3);
        let mut stream = vec![0, read, limit];
        for (part, last) in [(first, 0_u32), (second, 1 << 31), (first, 1 << 31)] {
            let mark = u32::try_from(part.len()).unwrap() | last;
            stream.extend_from_slice(&mark.to_be_bytes());
            stream.extend_from_slice(part);
        }
        stream
    });
    let instructions = proptest::collection::vec(any::<u8>(), 2..30).prop_map(|mut rest| {
        rest.splice(0..0, [1]);
        rest
    });
    run(bodies::record_reader, &seeds(prop_oneof![raw, instructions]));
}
