//! ONC RPC, version 2 (RFC 5531): calls, their credentials, and replies.
//!
//! A record becomes a [`Call`] or a [`BadCall`], which tells what the caller is due. A [`Body`]
//! becomes a reply with [`accept`], a [`Refusal`] one with [`refuse`]; a load generator makes
//! calls with [`call`] and reads replies with [`Answer::parse`].
//!
//! Absent on purpose: which programs exist, who may call them, and matching replies to calls.

use bytes::{Bytes, BytesMut};

use crate::message::{Body, Encoded, Framing};
use crate::xdr::{Malformed, Reader, put_words};

mod auth;
mod reply;
#[cfg(test)]
mod tests;

pub use auth::{AUTH_BODY_BYTES_MAX, GIDS_MAX, MACHINE_BYTES_MAX};
pub use auth::{AuthFlavor, AuthStat, AuthSys, Credential, Gids};
pub use reply::{Answer, Refusal, accept, refuse};

/// Names a call among those of its client; its reply carries the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Xid(pub u32);

/// A call as it came in, its arguments not yet decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// To be sent back.
    pub xid: Xid,
    /// Which protocol, such as [`nfs3::PROGRAM`](crate::nfs3::PROGRAM).
    pub program: u32,
    /// Which version of it.
    pub version: u32,
    /// Which of its procedures.
    pub procedure: u32,
    /// On whose behalf.
    pub credential: Credential,
    /// The rest of the record.
    pub args: Bytes,
}

/// A record that is no call we can go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// There is nobody to answer: it is no call, or ends within its header. Drop it; on a stream
    /// the records after it are still good.
    #[error("a record that is no RPC call")]
    Unanswerable,
    /// A call, to be answered with this.
    #[error("a call to be refused: {refusal}")]
    Refused {
        /// Of the call.
        xid: Xid,
        /// What to answer.
        refusal: Refusal,
    },
}

impl From<Malformed> for BadCall {
    fn from(_: Malformed) -> Self {
        Self::Unanswerable
    }
}

/// Arguments that no procedure can be run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadArgs {
    /// The program has no such procedure, or we don't offer it: PROC_UNAVAIL.
    #[error("no such procedure")]
    UnknownProcedure,
    /// They don't decode: GARBAGE_ARGS.
    #[error("garbage arguments: {0}")]
    Garbage(#[from] Malformed),
}

impl BadArgs {
    /// What to answer.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::UnknownProcedure => Refusal::ProcUnavail,
            Self::Garbage(_) => Refusal::GarbageArgs,
        }
    }
}

impl Call {
    /// Parses a record. A malformed credential or a verifier that does not go with it is refused
    /// here; whether a flavor is enough is for the program to say.
    pub fn parse(record: &Bytes) -> Result<Self, BadCall> {
        let reader = &mut Reader::new(record);
        let xid = Xid(reader.u32()?);
        if reader.u32()? != MESSAGE_CALL {
            return Err(BadCall::Unanswerable);
        }
        let refused = |refusal| BadCall::Refused { xid, refusal };
        if reader.u32()? != RPC_VERSION {
            let refusal = Refusal::RpcMismatch { low: RPC_VERSION, high: RPC_VERSION };
            return Err(refused(refusal));
        }
        let program = reader.u32()?;
        let version = reader.u32()?;
        let procedure = reader.u32()?;
        let credential = match auth::take_credential(reader)? {
            Ok(credential) => credential,
            Err(stat) => return Err(refused(Refusal::AuthError(stat))),
        };
        if let Err(stat) = auth::take_verifier(reader, &credential)? {
            return Err(refused(Refusal::AuthError(stat)));
        }
        Ok(Self { xid, program, version, procedure, credential, args: reader.rest() })
    }
}

/// The header of a call that we make.
#[derive(Debug, Clone, Copy)]
pub struct CallHeader<'a> {
    /// Comes back in the reply.
    pub xid: Xid,
    /// Which protocol.
    pub program: u32,
    /// Which version of it.
    pub version: u32,
    /// Which of its procedures.
    pub procedure: u32,
    /// On whose behalf.
    pub credential: &'a Credential,
}

/// Encodes a call. `scratch` is empty spare capacity, for one call after the other.
///
/// # Panics
/// If `scratch` is not empty.
pub fn call(
    header: &CallHeader<'_>,
    framing: Framing,
    args: &(impl Body + ?Sized),
    scratch: &mut BytesMut,
) -> Encoded {
    let put_header = |out: &mut BytesMut| {
        let CallHeader { xid, program, version, procedure, .. } = *header;
        put_words(out, [xid.0, MESSAGE_CALL, RPC_VERSION, program, version, procedure]);
        auth::put_credential(out, header.credential);
        put_words(out, auth::EMPTY_VERIFIER);
    };
    Encoded::new(framing, put_header, args, scratch)
}

/// The version of ONC RPC itself.
pub const RPC_VERSION: u32 = 2;

/// The largest header a call can have: six words, then credential and verifier, each with a
/// flavor, a length and a body.
pub const CALL_HEADER_BYTES_MAX: usize = 6 * 4 + 2 * (2 * 4 + AUTH_BODY_BYTES_MAX);

const MESSAGE_CALL: u32 = 0;
const MESSAGE_REPLY: u32 = 1;
