//! What the door counts. Handles are resolved once, so that counting is an atomic operation and
//! never a look-up; a recorder must therefore be installed before the server starts.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use nfs_wire::nfs3::{Nfsstat3, Procedure};

/// Names of all metrics of this door; each ends in its unit.
pub mod names {
    /// Counter: NFS calls answered, by `procedure` and `status`.
    pub const OPERATIONS: &str = "holdfast_nfs_operations_total";
    /// Histogram: seconds from admission to an encoded reply, by `procedure`.
    pub const OPERATION_SECONDS: &str = "holdfast_nfs_operation_seconds";
    /// Counter: payload of READ replies, in bytes.
    pub const READ_BYTES: &str = "holdfast_nfs_read_bytes_total";
    /// Counter: payload of WRITE calls that were executed, in bytes.
    pub const WRITTEN_BYTES: &str = "holdfast_nfs_written_bytes_total";
    /// Gauge: open TCP connections.
    pub const CONNECTIONS: &str = "holdfast_nfs_connections";
    /// Gauge: charged against the budget of all connections, in bytes; taken every few seconds.
    pub const IN_FLIGHT_BYTES: &str = "holdfast_nfs_in_flight_bytes";
    /// Counter: connections that we closed or did not take, by `cause`.
    pub const CONNECTIONS_CLOSED: &str = "holdfast_nfs_connections_closed_total";
    /// Counter: calls refused by RPC, so without a status of NFS, by `cause`.
    pub const CALLS_REFUSED: &str = "holdfast_nfs_calls_refused_total";
}

/// Why a connection was closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There were too many.
    TooMany,
    /// Broken record marking, or a record over the limit.
    BadRecord,
    /// A record was begun and not finished in time.
    RecordTimeout,
    /// Replies were not taken in time.
    ReplyTimeout,
    /// What became of a call is not known.
    FateUnknown,
}

/// Why RPC refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedFor {
    /// The record is no call.
    NoCall,
    /// Program, version or procedure.
    NotOffered,
    /// Arguments that don't decode.
    Arguments,
    /// Flavor, credential or verifier.
    Credential,
}

pub(crate) struct Metrics {
    /// By procedure; registered when first counted, since most never occur.
    operations: Vec<[OnceLock<Counter>; STATUSES]>,
    seconds: Vec<Histogram>,
    pub(crate) read_bytes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) connections: Gauge,
    pub(crate) in_flight_bytes: Gauge,
    closed: [Counter; 5],
    refused: [Counter; 4],
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let closed = |cause: &'static str| counter!(names::CONNECTIONS_CLOSED, "cause" => cause);
        let refused = |cause: &'static str| counter!(names::CALLS_REFUSED, "cause" => cause);
        let procedures = || Procedure::ALL.iter().map(|procedure| procedure.word());
        Self {
            operations: procedures().map(|_| [const { OnceLock::new() }; STATUSES]).collect(),
            seconds: procedures()
                .map(|word| histogram!(names::OPERATION_SECONDS, "procedure" => word))
                .collect(),
            read_bytes: counter!(names::READ_BYTES),
            written_bytes: counter!(names::WRITTEN_BYTES),
            connections: gauge!(names::CONNECTIONS),
            in_flight_bytes: gauge!(names::IN_FLIGHT_BYTES),
            closed: CLOSED_FOR.map(closed),
            refused: ["no_call", "not_offered", "arguments", "credential"].map(refused),
        }
    }

    pub(crate) fn answered(
        &self,
        procedure: Procedure,
        failure: Option<Nfsstat3>,
        after: Duration,
    ) {
        let index = procedure.code() as usize;
        let status = match failure {
            None => 0,
            Some(failure) => 1 + Nfsstat3::ALL.iter().position(|s| *s == failure).unwrap_or(0),
        };
        let register = || {
            let word = failure.map_or("NFS3_OK", Nfsstat3::word);
            counter!(names::OPERATIONS, "procedure" => procedure.word(), "status" => word)
        };
        self.operations[index][status].get_or_init(register).increment(1);
        self.seconds[index].record(after.as_secs_f64());
    }

    pub(crate) fn closed(&self, cause: Cause) {
        self.closed[cause as usize].increment(1);
    }

    pub(crate) fn refused(&self, cause: RefusedFor) {
        self.refused[cause as usize].increment(1);
    }
}

/// The words of [`Cause`], in its order.
const CLOSED_FOR: [&str; 5] =
    ["too_many", "bad_record", "record_timeout", "reply_timeout", "fate_unknown"];

/// NFS3_OK and all failures.
const STATUSES: usize = 1 + Nfsstat3::ALL.len();
