//! The Network Lock Manager, version 4 (Open Group, Protocols for Interworking: XNFS, C702,
//! chapter 14): as much of it as it takes to say that there are no locks here.
//!
//! A program that is absent does not say so: Linux's lockd asks rpcbind for it again and again,
//! and treats an RPC refusal as a server that may come back, so that `flock` hangs for ever. Only
//! the protocol's own word, NLM4_DENIED_NOLOCKS, gives the caller ENOLCK at once.
//!
//! Absent on purpose: owners, ranges and all that a lock would need.

use bytes::{Bytes, BytesMut};

use crate::message::Body;
use crate::rpc::BadArgs;
use crate::xdr::{Encode, Malformed, Reader, put_opaque, wire_enum};

#[cfg(test)]
mod tests;

/// The RPC program number of NLM.
pub const PROGRAM: u32 = 100_021;

/// The version that goes with NFS v3.
pub const VERSION: u32 = 4;

wire_enum! {
    /// The procedures that answer their caller.
    pub enum Procedure as "NLM v4 procedure" {
        Null = 0, "NULL";
        Test = 1, "TEST";
        Lock = 2, "LOCK";
        Cancel = 3, "CANCEL";
        Unlock = 4, "UNLOCK";
    }
}

wire_enum! {
    /// What became of a request (`nlm4_stats`).
    pub enum Nlm4Stat as "nlm4_stats" {
        Granted = 0, "NLM4_GRANTED";
        DeniedNoLocks = 2, "NLM4_DENIED_NOLOCKS";
    }
}

/// A call: which procedure, and the caller's word to know the answer by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// What is asked for.
    pub procedure: Procedure,
    /// Comes back in the reply; empty for NULL.
    pub cookie: Bytes,
}

impl Args {
    /// Decodes the cookie of procedure number `procedure`; of the rest nothing is needed.
    ///
    /// # Errors
    /// A procedure that is not offered, or no cookie of at most [`COOKIE_BYTES_MAX`] bytes.
    pub fn decode(procedure: u32, args: &Bytes) -> Result<Self, BadArgs> {
        let procedure = Procedure::from_code(procedure).ok_or(BadArgs::UnknownProcedure)?;
        let cookie = match procedure {
            Procedure::Null => Bytes::new(),
            _ => Reader::new(args).opaque(COOKIE_BYTES_MAX)?,
        };
        Ok(Self { procedure, cookie })
    }

    /// The reply of a server without locks. Giving one back, or waiting no longer, is granted:
    /// there is nothing that could still be held.
    #[must_use]
    pub fn without_locks(self) -> Reply {
        let stat = match self.procedure {
            Procedure::Null => return Reply::Null,
            Procedure::Test | Procedure::Lock => Nlm4Stat::DeniedNoLocks,
            Procedure::Cancel | Procedure::Unlock => Nlm4Stat::Granted,
        };
        Reply::Stat { cookie: self.cookie, stat }
    }
}

impl Body for Args {
    fn put_head(&self, out: &mut BytesMut) {
        if self.procedure != Procedure::Null {
            put_opaque(out, &self.cookie);
        }
    }
}

/// The results of a call: `nlm4_res`, which is also `nlm4_testres` where no holder is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Null,
    /// What became of it.
    Stat {
        /// The one of the call.
        cookie: Bytes,
        /// The word.
        stat: Nlm4Stat,
    },
}

impl Reply {
    /// Decodes the results of `procedure`.
    ///
    /// # Errors
    /// Bytes that no reply of ours has.
    pub fn decode(procedure: Procedure, results: &Bytes) -> Result<Self, Malformed> {
        if procedure == Procedure::Null {
            return Ok(Self::Null);
        }
        let results = &mut Reader::new(results);
        let cookie = results.opaque(COOKIE_BYTES_MAX)?;
        let value = results.u32()?;
        let stat =
            Nlm4Stat::from_code(value).ok_or(Malformed::NoSuchValue { of: "nlm4_stats", value })?;
        Ok(Self::Stat { cookie, stat })
    }
}

impl Body for Reply {
    fn put_head(&self, out: &mut BytesMut) {
        if let Self::Stat { cookie, stat } = self {
            put_opaque(out, cookie);
            stat.put(out);
        }
    }
}

/// The longest cookie (`LM_MAXSTRLEN`); Linux sends 4 bytes.
pub const COOKIE_BYTES_MAX: usize = 1024;
