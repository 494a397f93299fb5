//! From a record to a reply.
//!
//! [`prepare`] is the part that can't wait: it parses, refuses what RPC refuses, decodes the
//! arguments, and tells how large the reply may get, so that a session can charge for it before
//! anything runs. [`answer`] is the rest.
//!
//! Invariant: after `prepare` only the payload of a WRITE, names and paths still share the
//! record's memory. Absent on purpose: sockets and budgets.

use std::cell::RefCell;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use model::RequestKey;
use nfs_wire::nfs3::{self, Args, Fail, Nfsstat3, Outcome, Procedure, WccData, WriteOk};
use nfs_wire::rpc::{self, AuthStat, BadArgs};
use nfs_wire::{
    BadCall, Body, Call, Credential, Encoded, Framing, Malformed, Refusal, Xid, mount, nlm,
};
use volume::{Caller, Line, Ports, UnixCredential};

use crate::connection::Peer;
use crate::door::{Answer, Door, Stop};
use crate::metric::RefusedFor;
use crate::request_key::{needs_key, request_key};
use crate::server::Shared;
use crate::settings::{LISTING_BYTES_MAX, READ_BYTES_MAX, REPLY_HEAD_BYTES_MAX};

/// What is to be done about a record.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each call")]
pub(crate) enum Prepared {
    /// Nothing: nobody could be answered.
    Drop,
    /// It is answered already.
    Reply(Encoded),
    /// It is to be run.
    Run(Request),
}

/// A call that can be run.
pub(crate) struct Request {
    xid: Xid,
    framing: Framing,
    caller: Caller,
    work: Work,
}

enum Work {
    /// NULL of either program.
    Null,
    Nfs(Args),
    Mount(mount::Args),
    Nlm(nlm::Args),
    /// A WRITE whose two lengths differ: no garbage to RFC 1813, but INVAL.
    ContradictoryWrite,
}

impl Request {
    /// How it is known again; none if it changes nothing.
    pub(crate) fn key(&self) -> Option<RequestKey> {
        self.caller.key
    }

    /// The most bytes its reply may have, for admission.
    pub(crate) fn reply_bytes_max(&self) -> usize {
        let payload = match &self.work {
            Work::Nfs(Args::Read(args)) => args.count.min(READ_BYTES_MAX) as usize,
            Work::Nfs(Args::Readdir(args)) => args.count.min(LISTING_BYTES_MAX) as usize,
            Work::Nfs(Args::Readdirplus(args)) => args.maxcount.min(LISTING_BYTES_MAX) as usize,
            Work::Nfs(Args::Readlink(_)) => nfs3::PATH_DECODE_BYTES_MAX,
            Work::Mount(_) => MOUNT_REPLY_BYTES_USUAL,
            Work::Nfs(_) | Work::Nlm(_) | Work::Null | Work::ContradictoryWrite => 0,
        };
        REPLY_HEAD_BYTES_MAX + payload
    }
}

/// Parses a record that came from `peer` over `line`, and refuses what needs no more than a look.
pub(crate) fn prepare<P>(
    shared: &Shared<P>,
    (peer, line): (Peer, &Line),
    framing: Framing,
    record: &Bytes,
) -> Prepared {
    let refuse = |xid, refusal| {
        shared.metrics.refused(cause(refusal));
        Prepared::Reply(encode(|scratch| rpc::refuse(xid, framing, refusal, scratch)))
    };
    let call = match Call::parse(record) {
        Ok(call) => call,
        Err(BadCall::Unanswerable) => {
            shared.metrics.refused(RefusedFor::NoCall);
            return Prepared::Drop;
        }
        Err(BadCall::Refused { xid, refusal }) => return refuse(xid, refusal),
    };
    match decode(&call, framing).and_then(|work| Ok((work, caller(peer, line, &call)?))) {
        Ok((work, caller)) => Prepared::Run(Request { xid: call.xid, framing, caller, work }),
        Err(refusal) => refuse(call.xid, refusal),
    }
}

fn decode(call: &Call, framing: Framing) -> Result<Work, Refusal> {
    match (call.program, framing) {
        (nfs3::PROGRAM, Framing::Record) => {
            offered(call.version, nfs3::VERSION)?;
            match Args::decode(call.procedure, &call.args) {
                Ok(Args::Null) => Ok(Work::Null),
                Ok(args) => Ok(Work::Nfs(args)),
                Err(BadArgs::Garbage(Malformed::CountDiffers { .. })) => {
                    Ok(Work::ContradictoryWrite)
                }
                Err(bad) => Err(bad.refusal()),
            }
        }
        (mount::PROGRAM, _) => {
            offered(call.version, mount::VERSION)?;
            match mount::Args::decode(call.procedure, &call.args) {
                Ok(mount::Args::Null) => Ok(Work::Null),
                Ok(args) => Ok(Work::Mount(args)),
                Err(bad) => Err(bad.refusal()),
            }
        }
        (nlm::PROGRAM, Framing::Record) => {
            offered(call.version, nlm::VERSION)?;
            nlm::Args::decode(call.procedure, &call.args)
                .map(Work::Nlm)
                .map_err(|bad| bad.refusal())
        }
        // Among them NFSACL, which clients ask for and do without if told so at once, and NFS over
        // UDP.
        _ => Err(Refusal::ProgUnavail),
    }
}

fn offered(asked: u32, offered: u32) -> Result<(), Refusal> {
    match asked == offered {
        true => Ok(()),
        false => Err(Refusal::ProgMismatch { low: offered, high: offered }),
    }
}

fn caller(peer: Peer, line: &Line, call: &Call) -> Result<Caller, Refusal> {
    let credential = match &call.credential {
        Credential::None => None,
        Credential::Sys(sys) => {
            Some(UnixCredential { uid: sys.uid, gid: sys.gid, gids: Box::from(&sys.gids[..]) })
        }
        // The word that makes clients fall back to AUTH_SYS, or give up, without trying again.
        Credential::Unsupported(_) => return Err(Refusal::AuthError(AuthStat::TooWeak)),
    };
    let keyed = call.program == nfs3::PROGRAM
        && Procedure::from_code(call.procedure).is_some_and(needs_key);
    Ok(Caller {
        client: peer.ip,
        privileged_port: peer.privileged_port,
        credential,
        key: keyed.then(|| request_key(peer.ip, call)),
        line: line.clone(),
    })
}

fn cause(refusal: Refusal) -> RefusedFor {
    match refusal {
        Refusal::ProgUnavail
        | Refusal::ProgMismatch { .. }
        | Refusal::ProcUnavail
        | Refusal::RpcMismatch { .. } => RefusedFor::NotOffered,
        Refusal::GarbageArgs | Refusal::SystemErr => RefusedFor::Arguments,
        Refusal::AuthError(_) => RefusedFor::Credential,
    }
}

/// Runs a request and encodes its reply.
///
/// # Errors
/// Nobody knows what became of the call, or will become of an earlier sending of it: the connection
/// must be closed, so that the client sends it again as it was. JUKEBOX would make it a new call.
pub(crate) async fn answer<P: Ports>(
    shared: &Shared<P>,
    request: Request,
) -> Result<Encoded, FateUnknown> {
    let Request { xid, framing, caller, work } = request;
    let door = Door { service: &shared.service, caller: &caller };
    let reply = Replying { shared, xid, framing, started: now() };
    match work {
        Work::Null => Ok(accept(xid, framing, &())),
        Work::Nfs(args) => nfs(&door, &reply, args).await,
        // No locks yet, and nothing of the program but the word for that.
        Work::Nlm(args) => Ok(accept(xid, framing, &args.without_locks())),
        Work::Mount(args) => Ok(accept(xid, framing, &door.mount_call(&shared.mounts, args).await)),
        Work::ContradictoryWrite => {
            let invalid: Answer<WriteOk, WccData> = Err(Stop::Fail(Fail::from(Nfsstat3::Inval)));
            reply.to(Procedure::Write, invalid)
        }
    }
}

async fn nfs<P: Ports>(
    door: &Door<'_, P>,
    reply: &Replying<'_, P>,
    args: Args,
) -> Result<Encoded, FateUnknown> {
    let procedure = args.procedure();
    match args {
        Args::Null => Ok(accept(reply.xid, reply.framing, &())),
        Args::Getattr(args) => reply.to(procedure, door.getattr(args).await),
        Args::Setattr(args) => reply.to(procedure, door.setattr(args).await),
        Args::Lookup(args) => reply.to(procedure, door.lookup(args).await),
        Args::Access(args) => reply.to(procedure, door.access(args).await),
        Args::Readlink(args) => reply.to(procedure, door.readlink(args).await),
        Args::Read(args) => {
            let answer = door.read(args).await;
            if let Ok(read) = &answer {
                reply.shared.metrics.read_bytes.increment(read.data.len() as u64);
            }
            reply.to(procedure, answer)
        }
        Args::Write(args) => {
            let answer = door.write(args).await;
            if let Ok(wrote) = &answer {
                reply.shared.metrics.written_bytes.increment(u64::from(wrote.count));
            }
            reply.to(procedure, answer)
        }
        Args::Create(args) => reply.to(procedure, door.create(args).await),
        Args::Mkdir(args) => reply.to(procedure, door.mkdir(args).await),
        Args::Symlink(args) => reply.to(procedure, door.symlink(args).await),
        Args::Mknod(args) => reply.to(procedure, door.mknod(args).await),
        Args::Remove(args) => reply.to(procedure, door.remove(args).await),
        Args::Rmdir(args) => reply.to(procedure, door.rmdir(args).await),
        Args::Rename(args) => reply.to(procedure, door.rename(args).await),
        Args::Link(args) => reply.to(procedure, door.link(args).await),
        Args::Readdir(args) => reply.to(procedure, door.readdir(args).await),
        Args::Readdirplus(args) => reply.to(procedure, door.readdirplus(args).await),
        Args::Fsstat(args) => reply.to(procedure, door.fsstat(args).await),
        Args::Fsinfo(args) => reply.to(procedure, door.fsinfo(args).await),
        Args::Pathconf(args) => reply.to(procedure, door.pathconf(args).await),
        Args::Commit(args) => reply.to(procedure, door.commit(args).await),
    }
}

/// What became of a call is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FateUnknown;

/// What a reply needs besides its results.
struct Replying<'a, P> {
    shared: &'a Shared<P>,
    xid: Xid,
    framing: Framing,
    started: Instant,
}

impl<P> Replying<'_, P> {
    fn to<T: Body, A: nfs_wire::xdr::Encode>(
        &self,
        procedure: Procedure,
        answer: Answer<T, A>,
    ) -> Result<Encoded, FateUnknown> {
        let result = match answer {
            Ok(results) => Ok(results),
            // It may have been sent before, on another connection or to another appliance, and what
            // was begun then may still be done.
            Err(Stop::Fail(fail)) if fail.status == Nfsstat3::Jukebox && needs_key(procedure) => {
                return Err(FateUnknown);
            }
            Err(Stop::Fail(fail)) => Err(fail),
            Err(Stop::FateUnknown) => return Err(FateUnknown),
            Err(Stop::TooWeak) => {
                self.shared.metrics.refused(RefusedFor::Credential);
                let refusal = Refusal::AuthError(AuthStat::TooWeak);
                let refused =
                    |scratch: &mut BytesMut| rpc::refuse(self.xid, self.framing, refusal, scratch);
                return Ok(encode(refused));
            }
        };
        let message = accept(self.xid, self.framing, &result);
        self.shared.metrics.answered(procedure, result.failure(), self.started.elapsed());
        Ok(message)
    }
}

fn accept(xid: Xid, framing: Framing, results: &impl Body) -> Encoded {
    encode(|scratch| rpc::accept(xid, framing, results, scratch))
}

#[expect(clippy::disallowed_methods, reason = "an adapter's own measurement, no decision")]
fn now() -> Instant {
    Instant::now()
}

/// Encodes with this thread's spare capacity: an allocation for each page of replies.
fn encode(message: impl FnOnce(&mut BytesMut) -> Encoded) -> Encoded {
    thread_local! {
        static SCRATCH: RefCell<BytesMut> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(|scratch| {
        // Takes the memory of replies that were sent, if all of them were.
        if scratch.capacity() < REPLY_HEAD_BYTES_MAX && !scratch.try_reclaim(SCRATCH_BYTES) {
            *scratch = BytesMut::with_capacity(SCRATCH_BYTES);
        }
        message(scratch)
    })
}

/// Some forty heads of replies. A reply that a client does not take keeps this much alive.
const SCRATCH_BYTES: usize = 8 << 10;

/// What is charged for any call of MOUNT. Its lists can be longer, but are asked for by people.
const MOUNT_REPLY_BYTES_USUAL: usize = 64 << 10;
