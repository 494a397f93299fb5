//! A second opinion on RPC headers, MOUNT, and the port mapper.

use bytes::{Bytes, BytesMut};
use nfs_wire::rpc::{self, AuthStat, CallHeader, Credential, Refusal};
use nfs_wire::{Body, Call, Framing, Verbatim, Xid, mount, rpcbind};
use nfs3_types::mount as their_mount;
use nfs3_types::portmap as their_portmap;
use nfs3_types::rpc as theirs;
use nfs3_types::xdr_codec::{List, Pack, Unpack};
use proptest::prelude::*;

use crate::reply_strategies::{mount_reply, refusal, rpcbind_reply};
use crate::second_opinion::{agree, opaque};
use crate::strategies::{auth_sys, mount_args, rpcbind_args};

proptest! {
    #[test]
    fn both_implementations_agree_on_calls(
        (xid, program, version, procedure) in any::<(u32, u32, u32, u32)>(),
        auth in auth_sys(),
    ) {
        let cred = theirs::opaque_auth::auth_unix(&theirs::auth_unix {
            stamp: auth.stamp,
            machinename: opaque(&auth.machine),
            uid: auth.uid,
            gid: auth.gid,
            gids: auth.gids.to_vec(),
        });
        let body = theirs::call_body {
            rpcvers: 2,
            prog: program,
            vers: version,
            proc: procedure,
            cred,
            verf: theirs::opaque_auth::default(),
        };
        let their_call = theirs::rpc_msg { xid, body: theirs::msg_body::CALL(body) };

        let (xid, credential) = (Xid(xid), Credential::Sys(auth));
        let header = CallHeader { xid, program, version, procedure, credential: &credential };
        let scratch = &mut BytesMut::new();
        let wire = rpc::call(&header, Framing::Datagram, &(), scratch).to_bytes();
        agree(&wire, &their_call);

        let args = Bytes::new();
        let call = Call { xid, program, version, procedure, credential, args };
        prop_assert_eq!(Call::parse(&wire), Ok(call));
    }

    #[test]
    fn both_implementations_agree_on_refusals(xid in any::<u32>(), refusal in refusal()) {
        let scratch = &mut BytesMut::new();
        let wire = rpc::refuse(Xid(xid), Framing::Datagram, refusal, scratch).to_bytes();
        if let Some(body) = their_refusal(refusal) {
            agree(&wire, &theirs::rpc_msg { xid, body: theirs::msg_body::REPLY(body) });
        }
    }

    #[test]
    fn both_implementations_agree_on_accepted_replies(xid in any::<u32>()) {
        let scratch = &mut BytesMut::new();
        let none = Verbatim(Bytes::new());
        let wire = rpc::accept(Xid(xid), Framing::Datagram, &none, scratch).to_bytes();
        let body = accepted(theirs::accept_stat_data::SUCCESS);
        agree(&wire, &theirs::rpc_msg { xid, body: theirs::msg_body::REPLY(body) });
    }

    #[test]
    fn both_implementations_agree_on_mount_args(args in mount_args()) {
        let wire = args.to_bytes();
        match &args {
            mount::Args::Mnt(path) | mount::Args::Umnt(path) => {
                agree(&wire, &their_mount::dirpath(opaque(path)));
            }
            mount::Args::Null
            | mount::Args::Dump
            | mount::Args::Umntall
            | mount::Args::Export => assert!(wire.is_empty()),
        }
    }

    #[test]
    fn both_implementations_agree_on_mount_replies(reply in mount_reply()) {
        agree_on_mount_reply(&reply.to_bytes(), &reply);
    }

    #[test]
    fn both_implementations_agree_on_portmap_args((_, args) in rpcbind_args()) {
        use rpcbind::Args;
        if let Args::SetPort(asked) | Args::UnsetPort(asked) | Args::Getport(asked) = &args {
            agree(&args.to_bytes(), &their_mapping(asked));
        }
    }

    #[test]
    fn both_implementations_agree_on_portmap_replies((_, reply) in rpcbind_reply()) {
        let wire = reply.to_bytes();
        match &reply {
            rpcbind::Reply::Done(done) => agree(&wire, done),
            rpcbind::Reply::Port(port) => agree(&wire, port),
            rpcbind::Reply::Mappings(all) => {
                agree(&wire, &List(all.iter().map(their_mapping).collect::<Vec<_>>()));
            }
            // The port mapper has no others.
            rpcbind::Reply::Null
            | rpcbind::Reply::Address(_)
            | rpcbind::Reply::Services(_)
            | rpcbind::Reply::Time(_)
            | rpcbind::Reply::Addresses(_) => {}
        }
    }
}

/// `None` for the words of authentication that theirs does not have.
fn their_refusal(refusal: Refusal) -> Option<theirs::reply_body<'static>> {
    use theirs::{accept_stat_data, rejected_reply, reply_body};
    Some(match refusal {
        Refusal::ProgUnavail => accepted(accept_stat_data::PROG_UNAVAIL),
        Refusal::ProgMismatch { low, high } => {
            accepted(accept_stat_data::PROG_MISMATCH { low, high })
        }
        Refusal::ProcUnavail => accepted(accept_stat_data::PROC_UNAVAIL),
        Refusal::GarbageArgs => accepted(accept_stat_data::GARBAGE_ARGS),
        Refusal::SystemErr => accepted(accept_stat_data::SYSTEM_ERR),
        Refusal::RpcMismatch { low, high } => {
            reply_body::MSG_DENIED(rejected_reply::rpc_mismatch(low, high))
        }
        Refusal::AuthError(stat) => {
            reply_body::MSG_DENIED(rejected_reply::auth_error(their_auth_stat(stat)?))
        }
    })
}

fn accepted(reply_data: theirs::accept_stat_data) -> theirs::reply_body<'static> {
    theirs::reply_body::MSG_ACCEPTED(theirs::accepted_reply {
        verf: theirs::opaque_auth::default(),
        reply_data,
    })
}

fn their_auth_stat(stat: AuthStat) -> Option<theirs::auth_stat> {
    use theirs::auth_stat;
    let all = [
        auth_stat::AUTH_BADCRED,
        auth_stat::AUTH_REJECTEDCRED,
        auth_stat::AUTH_BADVERF,
        auth_stat::AUTH_REJECTEDVERF,
        auth_stat::AUTH_TOOWEAK,
        auth_stat::AUTH_INVALIDRESP,
        auth_stat::AUTH_FAILED,
    ];
    all.into_iter().find(|theirs| theirs.to_string() == stat.word())
}

fn agree_on_mount_reply(wire: &Bytes, reply: &mount::Reply) {
    match reply {
        mount::Reply::Null | mount::Reply::Umnt | mount::Reply::Umntall => {
            assert!(wire.is_empty());
        }
        mount::Reply::Mnt(Ok(ok)) => {
            let fhandle = their_mount::fhandle3(opaque(ok.handle.as_bytes()));
            let auth_flavors = ok.flavors.iter().map(|flavor| flavor.0).collect();
            let ok = their_mount::mountres3_ok { fhandle, auth_flavors };
            agree(wire, &their_mount::mountres3::Ok(ok));
        }
        mount::Reply::Mnt(Err(status)) => {
            let (theirs, _) = their_mount::mountstat3::unpack(&mut &wire[..]).unwrap();
            assert_eq!(theirs.to_string(), status.word());
            agree(wire, &their_mount::mountres3::Err(theirs));
        }
        mount::Reply::Dump(entries) => {
            let entries = entries.iter().map(|entry| their_mount::mountbody {
                ml_hostname: their_mount::name(opaque(&entry.hostname)),
                ml_directory: their_mount::dirpath(opaque(&entry.directory)),
            });
            agree_on_list(wire, entries.collect());
        }
        mount::Reply::Export(entries) => {
            let entries = entries.iter().map(|entry| {
                let groups = entry.groups.iter().map(|group| their_mount::name(opaque(group)));
                their_mount::export_node {
                    ex_dir: their_mount::dirpath(opaque(&entry.directory)),
                    ex_groups: List(groups.collect()),
                }
            });
            agree_on_list(wire, entries.collect());
        }
    }
}

fn agree_on_list<T: Pack + Unpack>(wire: &Bytes, entries: Vec<T>) {
    agree(wire, &List(entries));
}

fn their_mapping(mapping: &rpcbind::Mapping) -> their_portmap::mapping {
    their_portmap::mapping {
        prog: mapping.program,
        vers: mapping.version,
        prot: mapping.protocol,
        port: mapping.port,
    }
}
