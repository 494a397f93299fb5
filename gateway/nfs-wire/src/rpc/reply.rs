//! Replies: results, or one of the refusals that RPC has for every program.
//!
//! Invariant: a reply of ours has an AUTH_NONE verifier, which is what goes with AUTH_NONE and
//! AUTH_SYS; from others any verifier within its limit is skipped.

use bytes::{Bytes, BytesMut};

use super::auth::{AUTH_BODY_BYTES_MAX, AuthStat, EMPTY_VERIFIER};
use super::{MESSAGE_REPLY, Xid};
use crate::message::{Body, Encoded, Framing};
use crate::xdr::{Decode, Encode, Malformed, Reader, put_words};

/// Why a call was not executed. It had no effect, whichever it is, save for `SystemErr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The program is not offered here.
    #[error("PROG_UNAVAIL")]
    ProgUnavail,
    /// The program is offered in these versions only.
    #[error("PROG_MISMATCH, {low} to {high}")]
    ProgMismatch {
        /// The lowest version offered.
        low: u32,
        /// The highest version offered.
        high: u32,
    },
    /// The version of the program has no such procedure.
    #[error("PROC_UNAVAIL")]
    ProcUnavail,
    /// The arguments don't decode.
    #[error("GARBAGE_ARGS")]
    GarbageArgs,
    /// Something is broken here; RFC 5531 names a lack of memory.
    #[error("SYSTEM_ERR")]
    SystemErr,
    /// RPC itself is spoken in these versions only.
    #[error("RPC_MISMATCH, {low} to {high}")]
    RpcMismatch {
        /// The lowest version spoken.
        low: u32,
        /// The highest version spoken.
        high: u32,
    },
    /// The credential or the verifier won't do.
    #[error("{0}")]
    AuthError(AuthStat),
}

/// Encodes the reply of a call that was executed. `scratch` is empty spare capacity, for one
/// reply after the other.
///
/// # Panics
/// If `scratch` is not empty.
pub fn accept(
    xid: Xid,
    framing: Framing,
    results: &(impl Body + ?Sized),
    scratch: &mut BytesMut,
) -> Encoded {
    Encoded::new(framing, |out| put_accepted(out, xid, SUCCESS), results, scratch)
}

/// Encodes the reply of a call that was refused. `scratch` is as for [`accept`].
///
/// # Panics
/// If `scratch` is not empty.
pub fn refuse(xid: Xid, framing: Framing, refusal: Refusal, scratch: &mut BytesMut) -> Encoded {
    Encoded::new(framing, |out| put_refusal(out, xid, refusal), &(), scratch)
}

/// A reply, from the caller's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the call that it answers.
    pub xid: Xid,
    /// The results, not yet decoded, or why there are none.
    pub outcome: Result<Bytes, Refusal>,
}

impl Answer {
    /// Parses a record.
    pub fn parse(record: &Bytes) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(record);
        let xid = Xid(reader.u32()?);
        let kind = reader.u32()?;
        if kind != MESSAGE_REPLY {
            return Err(Malformed::NoSuchValue { of: "reply", value: kind });
        }
        let outcome = match reader.u32()? {
            MESSAGE_ACCEPTED => take_accepted(reader)?,
            MESSAGE_DENIED => Err(take_denied(reader)?),
            value => return Err(Malformed::NoSuchValue { of: "reply_stat", value }),
        };
        Ok(Self { xid, outcome })
    }
}

fn take_accepted(reader: &mut Reader<'_>) -> Result<Result<Bytes, Refusal>, Malformed> {
    let _flavor = reader.u32()?;
    let _verifier = reader.opaque_slice(AUTH_BODY_BYTES_MAX)?;
    Ok(match reader.u32()? {
        SUCCESS => Ok(reader.rest()),
        PROG_UNAVAIL => Err(Refusal::ProgUnavail),
        PROG_MISMATCH => Err(Refusal::ProgMismatch { low: reader.u32()?, high: reader.u32()? }),
        PROC_UNAVAIL => Err(Refusal::ProcUnavail),
        GARBAGE_ARGS => Err(Refusal::GarbageArgs),
        SYSTEM_ERR => Err(Refusal::SystemErr),
        value => return Err(Malformed::NoSuchValue { of: "accept_stat", value }),
    })
}

fn take_denied(reader: &mut Reader<'_>) -> Result<Refusal, Malformed> {
    match reader.u32()? {
        RPC_MISMATCH => Ok(Refusal::RpcMismatch { low: reader.u32()?, high: reader.u32()? }),
        AUTH_ERROR => AuthStat::take(reader).map(Refusal::AuthError),
        value => Err(Malformed::NoSuchValue { of: "reject_stat", value }),
    }
}

fn put_refusal(out: &mut BytesMut, xid: Xid, refusal: Refusal) {
    match refusal {
        Refusal::ProgUnavail => put_accepted(out, xid, PROG_UNAVAIL),
        Refusal::ProgMismatch { low, high } => {
            put_accepted(out, xid, PROG_MISMATCH);
            low.put(out);
            high.put(out);
        }
        Refusal::ProcUnavail => put_accepted(out, xid, PROC_UNAVAIL),
        Refusal::GarbageArgs => put_accepted(out, xid, GARBAGE_ARGS),
        Refusal::SystemErr => put_accepted(out, xid, SYSTEM_ERR),
        Refusal::RpcMismatch { low, high } => {
            put_denied(out, xid, RPC_MISMATCH);
            low.put(out);
            high.put(out);
        }
        Refusal::AuthError(stat) => {
            put_denied(out, xid, AUTH_ERROR);
            stat.put(out);
        }
    }
}

fn put_accepted(out: &mut BytesMut, xid: Xid, accept_stat: u32) {
    let [flavor, length] = EMPTY_VERIFIER;
    put_words(out, [xid.0, MESSAGE_REPLY, MESSAGE_ACCEPTED, flavor, length, accept_stat]);
}

fn put_denied(out: &mut BytesMut, xid: Xid, reject_stat: u32) {
    put_words(out, [xid.0, MESSAGE_REPLY, MESSAGE_DENIED, reject_stat]);
}

const MESSAGE_ACCEPTED: u32 = 0;
const MESSAGE_DENIED: u32 = 1;

const SUCCESS: u32 = 0;
const PROG_UNAVAIL: u32 = 1;
const PROG_MISMATCH: u32 = 2;
const PROC_UNAVAIL: u32 = 3;
const GARBAGE_ARGS: u32 = 4;
const SYSTEM_ERR: u32 = 5;

const RPC_MISMATCH: u32 = 0;
const AUTH_ERROR: u32 = 1;
