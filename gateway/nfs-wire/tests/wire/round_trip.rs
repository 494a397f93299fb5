//! What is encoded decodes to itself, and no strict prefix of it decodes to anything.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use nfs_wire::nfs3::{self, Procedure};
use nfs_wire::rpc::{self, Answer, CallHeader};
use nfs_wire::{Body, Call, Framing, Verbatim, Xid, mount, rpcbind};
use proptest::prelude::*;

use crate::reply_strategies::{mount_reply, nfs3_reply, refusal, rpcbind_reply};
use crate::strategies::{bytes, credential, mount_args, nfs3_args, rpcbind_args};

fn comes_back<T: Debug + PartialEq, E: Debug>(
    value: &T,
    wire: &Bytes,
    decode: impl Fn(&Bytes) -> Result<T, E>,
) {
    assert_eq!(&decode(wire).unwrap(), value);
    no_prefix_decodes(wire, decode);
}

fn no_prefix_decodes<T, E>(whole: &Bytes, decode: impl Fn(&Bytes) -> Result<T, E>) {
    for length in 0..whole.len() {
        assert!(decode(&whole.slice(..length)).is_err(), "{length} of {} bytes", whole.len());
    }
}

fn call_record(call: &Call, framing: Framing) -> Bytes {
    let header = CallHeader {
        xid: call.xid,
        program: call.program,
        version: call.version,
        procedure: call.procedure,
        credential: &call.credential,
    };
    let args = Verbatim(call.args.clone());
    rpc::call(&header, framing, &args, &mut BytesMut::new()).to_bytes()
}

proptest! {
    #[test]
    fn nfs3_args_come_back(args in nfs3_args()) {
        let decode = |wire: &Bytes| nfs3::Args::decode(args.procedure().code(), wire);
        let wire = args.to_bytes();
        comes_back(&args, &wire, decode);
    }

    #[test]
    fn nfs3_replies_come_back(reply in nfs3_reply()) {
        let decode = |wire: &Bytes| nfs3::Reply::decode(reply.procedure(), wire);
        let wire = reply.to_bytes();
        comes_back(&reply, &wire, decode);
    }

    #[test]
    fn mount_args_come_back(args in mount_args()) {
        let decode = |wire: &Bytes| mount::Args::decode(args.procedure().code(), wire);
        let wire = args.to_bytes();
        comes_back(&args, &wire, decode);
    }

    #[test]
    fn mount_replies_come_back(reply in mount_reply()) {
        let decode = |wire: &Bytes| mount::Reply::decode(reply.procedure(), wire);
        let wire = reply.to_bytes();
        comes_back(&reply, &wire, decode);
    }

    #[test]
    fn rpcbind_args_come_back((version, args) in rpcbind_args()) {
        let decode = |wire: &Bytes| rpcbind::Args::decode(version, args.procedure(), wire);
        let wire = args.to_bytes();
        comes_back(&args, &wire, decode);
    }

    #[test]
    fn rpcbind_replies_come_back((args, reply) in rpcbind_reply()) {
        let decode = |wire: &Bytes| rpcbind::Reply::decode(&args, wire);
        let wire = reply.to_bytes();
        comes_back(&reply, &wire, decode);
    }

    #[test]
    fn calls_come_back(
        (xid, program, version, procedure) in any::<(u32, u32, u32, u32)>(),
        credential in credential(),
        args in bytes(50),
    ) {
        // Arguments are a multiple of four bytes, or `Verbatim` would pad them.
        let args = args.slice(..args.len() & !3);
        let call = Call { xid: Xid(xid), program, version, procedure, credential, args };
        let wire = call_record(&call, Framing::Datagram);
        prop_assert_eq!(Call::parse(&wire), Ok(call.clone()));
        no_prefix_decodes(&wire.slice(..wire.len() - call.args.len()), Call::parse);
    }

    #[test]
    fn refusals_come_back(xid in any::<u32>(), refusal in refusal()) {
        let scratch = &mut BytesMut::new();
        let wire = rpc::refuse(Xid(xid), Framing::Datagram, refusal, scratch).to_bytes();
        let answer = Answer { xid: Xid(xid), outcome: Err(refusal) };
        prop_assert_eq!(Answer::parse(&wire), Ok(answer));
        no_prefix_decodes(&wire, Answer::parse);
    }

    #[test]
    fn accepted_replies_come_back(xid in any::<u32>(), reply in nfs3_reply()) {
        let scratch = &mut BytesMut::new();
        let wire = rpc::accept(Xid(xid), Framing::Datagram, &reply, scratch).to_bytes();
        let answer = Answer::parse(&wire).unwrap();
        prop_assert_eq!(answer.xid, Xid(xid));
        let results = answer.outcome.unwrap();
        prop_assert_eq!(nfs3::Reply::decode(reply.procedure(), &results), Ok(reply));
    }

    #[test]
    fn bytes_behind_the_last_argument_are_ignored(args in nfs3_args(), more in bytes(20)) {
        let wire = Bytes::from([args.to_bytes(), more].concat());
        prop_assert_eq!(nfs3::Args::decode(args.procedure().code(), &wire), Ok(args));
    }

    #[test]
    fn random_bytes_are_never_a_panic(wire in bytes(400), word in any::<u32>()) {
        for procedure in 0..24 {
            let _ = nfs3::Args::decode(procedure, &wire);
            let _ = mount::Args::decode(procedure, &wire);
            for version in rpcbind::Version::ALL {
                let _ = rpcbind::Args::decode(*version, procedure, &wire);
            }
        }
        for procedure in Procedure::ALL {
            let _ = nfs3::Reply::decode(*procedure, &wire);
        }
        let _ = (Call::parse(&wire), Answer::parse(&wire), nfs3::Args::decode(word, &wire));
    }
}
