//! Every limit of this crate, and how they bear on one another.

use std::time::Duration;

/// Largest proposal. A change carries names and attributes, never file data; the largest (a symlink
/// with a full identity) stays below 8 KiB. What is left is room for batched entries.
pub const PROPOSAL_BYTES_MAX: usize = 128 << 10;

/// Most bytes of proposals taken into one step, and so into one sync: at 200 MB/s it takes 20 ms.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// Most proposals taken into one step.
pub const BATCH_PROPOSALS_MAX: usize = 4096;

/// Longest wait, after a step has answered several askers, for them to ask again before the next
/// sync: about what applying and one round trip take, and a fraction of a sync. Measured with syncs
/// of 1 ms: 2 to 8 askers get 1.6 times the answers in half the time.
pub const LINGER_MAX: Duration = Duration::from_micros(200);

/// With this many proposals a sync is shared well enough, and waiting for more costs more than it
/// gains: their syncs would stand still meanwhile (measured: at 64, 32 askers lose an eighth and
/// 256 a fifth).
pub const LINGER_PROPOSALS_MAX: usize = 8;

/// Most proposals waiting for a step; over it the asker is told to ask again.
pub const QUEUE_PROPOSALS_MAX: usize = 8192;

/// Most bytes of proposals waiting for a step; over it the asker is told to ask again.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;

/// Most bytes of one group's entries handed out by one step: bounds the memory of a long replay.
pub const APPLY_BYTES_MAX: u64 = 4 << 20;

/// Most entries merged into one call of a state machine.
pub const APPLY_ENTRIES_MAX: usize = 4096;

/// Most steps whose entries wait for the state machines; then the next step waits.
pub const APPLY_STEPS_MAX: usize = 4;

/// Most bytes one leader holds that no quorum has yet; over it the asker is told to ask again.
pub const UNCOMMITTED_BYTES_MAX: u64 = 16 << 20;

/// Most bytes of entries in one message to another appliance.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 1 << 20;

/// Longest message from another appliance: entries up to [`MESSAGE_BYTES_MAX`], or one that is
/// longer, and what surrounds them.
pub const PEER_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Most entries in one message; the smallest that we write takes 20 bytes of the limit in bytes.
pub(crate) const MESSAGE_ENTRIES_MAX: usize = 64 << 10;

/// Longest context of a message: what raft-rs calls a transfer, or the number of a round.
pub(crate) const CONTEXT_BYTES_MAX: usize = 64;

/// Largest term or index that is believed: raft-rs adds to what it is told.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// Most appliances in one list of a group's membership.
pub const MEMBERS_MAX: usize = 64;

/// Most messages from other appliances waiting for a step; over it they are dropped.
pub const INBOX_MESSAGES_MAX: usize = 16 << 10;

/// Most bytes of messages from other appliances waiting for a step; over it they are dropped.
pub const INBOX_BYTES_MAX: usize = 32 << 20;

/// Most reads, and most changes of a membership, that wait in one group; over it the asker is told
/// to ask again.
pub(crate) const READS_MAX: usize = 16 << 10;

/// Rounds of beats whose answers still count: many more than fit between two elections.
pub(crate) const ROUNDS_MAX: usize = 64;

/// Most messages with entries on their way to one appliance.
pub(crate) const MESSAGES_IN_FLIGHT_MAX: usize = 256;

/// Entries kept below a checkpoint in a group of several voters, so that one who was away a moment
/// catches up from the log. A lone voter keeps none.
pub const TAIL_ENTRIES: u64 = 1024;

/// The log goes on in a new file when one is this long. Old files are given up whole.
pub const LOG_FILE_BYTES: u64 = 32 << 20;

/// The log gives up old files when it is longer than this.
pub const LOG_PURGE_BYTES: u64 = 128 << 20;

/// One tick of a group with several voters.
pub const TICK: Duration = Duration::from_millis(50);

/// Ticks between a leader's beats: 150 ms.
pub(crate) const BEAT_TICKS: usize = 3;

/// Least ticks before an election: 400 ms.
pub(crate) const ELECTION_TICKS_MIN: usize = 8;

/// Most ticks before an election: 600 ms, so that it never outlasts a lease.
pub(crate) const ELECTION_TICKS_MAX: usize = 12;

/// Ticks without a proposal or a read after which a group with all in agreement sleeps: 1 s.
pub(crate) const SLEEP_TICKS: usize = 20;

/// Ticks after which a leader tells a member again that it needs a snapshot: the first word may
/// have been lost. 2 s; a member that is busy installing one takes no notice.
pub(crate) const SNAPSHOT_RETRY_TICKS: u32 = 40;

/// Most entries that a snapshot keeps from being cut. A member that takes longer than they last
/// needs a newer snapshot.
pub(crate) const SNAPSHOT_TAIL_ENTRIES_MAX: u64 = 256 << 10;

/// How long after the sending of beats that a quorum answered nobody can be elected: followers
/// refuse their vote for [`ELECTION_TICKS_MIN`] ticks, the first of which may come at once; a tenth
/// less, for clocks that run apart.
pub(crate) const READ_LEASE: Duration =
    Duration::from_millis(TICK.as_millis() as u64 * (ELECTION_TICKS_MIN as u64 - 1) * 9 / 10);

const _: () = assert!(
    READ_LEASE.as_millis() > TICK.as_millis() * (BEAT_TICKS as u128 + 1),
    "each round of beats must prolong the lease"
);
const _: () = assert!(
    PEER_MESSAGE_BYTES_MAX as u64 > 2 * (MESSAGE_BYTES_MAX + PROPOSAL_BYTES_MAX as u64),
    "every message we send must be taken"
);
const _: () = assert!(PROPOSAL_BYTES_MAX <= BATCH_BYTES_MAX, "a proposal must fit in a step");
const _: () = assert!(BATCH_BYTES_MAX <= QUEUE_BYTES_MAX, "a step must fit in the queue");
const _: () = assert!(
    BATCH_BYTES_MAX as u64 + (PROPOSAL_BYTES_MAX as u64) < UNCOMMITTED_BYTES_MAX,
    "a lone voter must be able to take a whole step"
);
const _: () = assert!(LOG_PURGE_BYTES > 2 * LOG_FILE_BYTES, "only whole old files are given up");
const _: () = assert!(ELECTION_TICKS_MIN > BEAT_TICKS, "one lost beat must not cause an election");
