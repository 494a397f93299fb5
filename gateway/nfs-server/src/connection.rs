//! The sending half of a connection: replies queue up here and leave with vectored writes.
//!
//! Whoever finishes a reply sends it, if nobody is sending yet; what comes in meanwhile leaves
//! with the next write, several replies at once. Only when the socket is full does a task start
//! that waits for it. So a reply normally costs one system call and no switch of tasks.
//!
//! What has come and is not answered yet is counted here, and known: the same call is not begun
//! twice.
//!
//! Invariants: at most one sender; a reply's charge is given back when the reply was written or
//! the connection is closed, not before; the lock is held for a push or a swap, never across IO.
//!
//! Absent on purpose: an order of replies other than the order in which they came here.

use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, IoSlice, Result as IoResult};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use model::RequestKey;
use nfs_wire::Encoded;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::{debug, warn};
use volume::{Line, Ports};

use crate::budget::Budget;
use crate::metric::Cause;
use crate::server::Shared;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// IPv4 as such, also when it came in over a socket of IPv6.
    pub(crate) ip: IpAddr,
    /// Below 1024.
    pub(crate) privileged_port: bool,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip().to_canonical(), privileged_port: address.port() < 1024 }
    }
}

/// One connection, alive until its last reply is written or given up.
pub(crate) struct Connection<P> {
    pub(crate) shared: Arc<Shared<P>>,
    pub(crate) peer: Peer,
    /// The address that the client came to.
    pub(crate) address: IpAddr,
    /// For whoever executes what came over it.
    pub(crate) line: Line,
    /// The calls that may change something and are not answered yet: their keys' digests.
    unanswered: Mutex<HashSet<u128>>,
    requests: Budget,
    bytes: Budget,
    socket: OwnedWriteHalf,
    outbox: Mutex<Outbox<P>>,
    /// Counts against `connections_max`.
    _place: OwnedSemaphorePermit,
}

struct Outbox<P> {
    queue: VecDeque<Reply<P>>,
    queued_bytes: usize,
    /// Somebody sends, or waits until the socket takes more.
    sending: bool,
    closed: bool,
    /// The capacity of the batch before.
    spare: VecDeque<Reply<P>>,
}

/// A reply, and what it holds of the budgets until it is written.
pub(crate) struct Reply<P> {
    pub(crate) message: Encoded,
    pub(crate) charge: Charge<P>,
}

/// One request's part of the budgets; given back when dropped.
pub(crate) struct Charge<P> {
    connection: Arc<Connection<P>>,
    bytes: usize,
    /// Its key's digest, if it may change something.
    digest: Option<u128>,
}

impl<P> Charge<P> {
    /// It is for the call that [`Connection::begins`] has let in.
    pub(crate) fn is_for(&mut self, key: Option<RequestKey>) {
        self.digest = key.map(|key| key.digest);
    }

    /// The call may begin again: whoever has executed it knows the answer.
    fn answered(&mut self) {
        if let Some(digest) = self.digest.take() {
            self.connection.unanswered.lock().remove(&digest);
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection<P>> {
        &self.connection
    }

    /// Raises the charge to `bytes` if there is room at once.
    pub(crate) fn try_raise(&mut self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.bytes);
        if missing == 0 {
            return true;
        }
        let of_connection = &self.connection.bytes;
        if !of_connection.try_take(missing) {
            return false;
        }
        if !self.connection.shared.bytes.try_take(missing) {
            of_connection.give_back(missing);
            return false;
        }
        self.bytes = bytes;
        true
    }

    /// Raises the charge to `bytes`, waiting for room. It lets go of what it has first: if many
    /// held a part and waited for the rest, none of them would ever get it.
    pub(crate) async fn raise(&mut self, bytes: usize) {
        let bytes = bytes.max(self.bytes);
        self.lower_to_nothing();
        self.connection.bytes.take(bytes).await;
        let of_connection = TakenBytes { budget: &self.connection.bytes, amount: bytes };
        self.connection.shared.bytes.take(bytes).await;
        std::mem::forget(of_connection);
        self.bytes = bytes;
    }

    fn lower_to_nothing(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.connection.shared.bytes.give_back(bytes);
            self.connection.bytes.give_back(bytes);
        }
    }
}

impl<P> Drop for Charge<P> {
    fn drop(&mut self) {
        self.lower_to_nothing();
        self.answered();
        self.connection.requests.give_back(1);
    }
}

/// Gives back what was taken from the first of two budgets if the wait for the second is dropped.
struct TakenBytes<'a> {
    budget: &'a Budget,
    amount: usize,
}

impl Drop for TakenBytes<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.amount);
    }
}

impl<P> Connection<P> {
    pub(crate) fn new(
        shared: Arc<Shared<P>>,
        (peer, address): (Peer, IpAddr),
        socket: OwnedWriteHalf,
        place: OwnedSemaphorePermit,
    ) -> Self {
        shared.metrics.connections.increment(1);
        Self {
            requests: Budget::new(shared.settings.requests_per_connection_max),
            bytes: Budget::new(shared.settings.in_flight_bytes_per_connection_max),
            shared,
            peer,
            address,
            line: Line::open(),
            unanswered: Mutex::default(),
            socket,
            outbox: Mutex::new(Outbox {
                queue: VecDeque::new(),
                queued_bytes: 0,
                sending: false,
                closed: false,
                spare: VecDeque::new(),
            }),
            _place: place,
        }
    }

    /// Room for one more request, if there is any, charged with nothing yet.
    pub(crate) fn try_charge(self: &Arc<Self>) -> Option<Charge<P>> {
        self.requests.try_take(1).then(|| self.empty_charge())
    }

    /// Room for one more request, charged with nothing yet, as soon as there is any.
    pub(crate) async fn charge(self: &Arc<Self>) -> Charge<P> {
        self.requests.take(1).await;
        self.empty_charge()
    }

    fn empty_charge(self: &Arc<Self>) -> Charge<P> {
        Charge { connection: Arc::clone(self), bytes: 0, digest: None }
    }

    /// Whether a call is to be begun: not if it is the same as one that came over this connection
    /// and is not answered yet. That one's answer is its answer; begun by itself it could be
    /// carried out long after that.
    pub(crate) fn begins(&self, key: Option<RequestKey>) -> bool {
        key.is_none_or(|key| self.unanswered.lock().insert(key.digest))
    }

    /// Closes the connection now: replies not yet sent are dropped, nothing that came over it is
    /// begun any more, and its reader wakes up. Whether it was open.
    pub(crate) fn close(&self) -> bool {
        self.line.close();
        let (dropped, was_open) = {
            let mut outbox = self.outbox.lock();
            let was_open = !std::mem::replace(&mut outbox.closed, true);
            outbox.queued_bytes = 0;
            (std::mem::take(&mut outbox.queue), was_open)
        };
        // Each gives back its charge, so not under the lock.
        drop(dropped);
        if let Err(fault) = SockRef::from(self.socket.as_ref()).shutdown(Shutdown::Both) {
            debug!(peer = %self.peer.ip, %fault, "the connection was gone before it was closed");
        }
        was_open
    }

    /// Queues a reply without sending it; the caller flushes soon. Gives the bytes queued.
    pub(crate) fn push(&self, mut reply: Reply<P>) -> usize {
        reply.charge.answered();
        let mut outbox = self.outbox.lock();
        if outbox.closed {
            drop(outbox);
            return 0;
        }
        outbox.queued_bytes += reply.message.remaining();
        outbox.queue.push_back(reply);
        outbox.queued_bytes
    }

    /// Frees what a burst of replies has left behind.
    pub(crate) fn release_idle(&self) {
        let mut outbox = self.outbox.lock();
        outbox.spare = VecDeque::new();
        outbox.queue.shrink_to_fit();
    }

    /// What was queued, for the one who sends it; `None` if there is nothing or somebody sends.
    fn start_sending(&self) -> Option<VecDeque<Reply<P>>> {
        let mut outbox = self.outbox.lock();
        if outbox.sending || outbox.queue.is_empty() {
            return None;
        }
        outbox.sending = true;
        outbox.queued_bytes = 0;
        let spare = std::mem::take(&mut outbox.spare);
        Some(std::mem::replace(&mut outbox.queue, spare))
    }

    /// The same for one who has sent all of `sent`: goes on with what came in meanwhile, or ends.
    fn go_on_sending(&self, sent: VecDeque<Reply<P>>) -> Option<VecDeque<Reply<P>>> {
        assert!(sent.is_empty(), "a batch is swapped when all of it is sent");
        let mut outbox = self.outbox.lock();
        outbox.queued_bytes = 0;
        if outbox.queue.is_empty() {
            outbox.sending = false;
            outbox.spare = sent;
            return None;
        }
        Some(std::mem::replace(&mut outbox.queue, sent))
    }

    /// Sends until nothing is queued, or the socket takes no more: then what is left.
    fn send_now(&self, mut batch: VecDeque<Reply<P>>) -> Option<VecDeque<Reply<P>>> {
        loop {
            match write_batch(&self.socket, &mut batch) {
                Ok(()) => batch = self.go_on_sending(batch)?,
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Some(batch),
                Err(fault) => {
                    debug!(peer = %self.peer.ip, %fault, "could not send a reply");
                    self.close();
                    return None;
                }
            }
        }
    }
}

impl<P: Ports> Connection<P> {
    /// Sends a reply, with whatever else is queued.
    pub(crate) fn send(self: &Arc<Self>, reply: Reply<P>) {
        self.push(reply);
        self.flush();
    }

    /// Sends what is queued, unless somebody does already.
    pub(crate) fn flush(self: &Arc<Self>) {
        let Some(batch) = self.start_sending() else { return };
        if let Some(left) = self.send_now(batch) {
            tokio::spawn(Arc::clone(self).send_when_possible(left));
        }
    }

    async fn send_when_possible(self: Arc<Self>, mut left: VecDeque<Reply<P>>) {
        let mut waited = Duration::ZERO;
        loop {
            match timeout(REPLY_WAIT_STEP, self.socket.writable()).await {
                Ok(Ok(())) => waited = Duration::ZERO,
                Ok(Err(_)) => {
                    self.close();
                    return;
                }
                Err(_) => {
                    waited += REPLY_WAIT_STEP;
                    // What this client does not take must not be what others wait for.
                    let in_the_way = self.shared.bytes.is_short();
                    let wait_max = if in_the_way { REPLY_WAIT_SHORT_MAX } else { REPLY_WAIT_MAX };
                    if waited < wait_max {
                        continue;
                    }
                    self.shared.metrics.closed(Cause::ReplyTimeout);
                    warn!(client = %self.peer.ip, "closed: the client does not take its replies");
                    self.close();
                    return;
                }
            }
            match self.send_now(left) {
                Some(still_left) => left = still_left,
                None => return,
            }
        }
    }
}

impl<P> Drop for Connection<P> {
    fn drop(&mut self) {
        self.shared.metrics.connections.decrement(1);
    }
}

/// Writes the whole batch, or fails; what was written is gone from it in either case.
fn write_batch<P>(socket: &OwnedWriteHalf, batch: &mut VecDeque<Reply<P>>) -> IoResult<()> {
    while !batch.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut filled = 0;
        for reply in batch.iter() {
            filled += reply.message.chunks_vectored(&mut slices[filled..]);
            if filled == SLICES_MAX {
                break;
            }
        }
        match socket.try_write_vectored(&slices[..filled]) {
            Ok(written) => take_written(batch, written),
            Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn take_written<P>(batch: &mut VecDeque<Reply<P>>, mut written: usize) {
    while let Some(first) = batch.front_mut() {
        let remaining = first.message.remaining();
        if written < remaining {
            first.message.advance(written);
            return;
        }
        written -= remaining;
        batch.pop_front();
    }
}

/// The slices of one write: some twenty small replies, and well below the system's 1024.
const SLICES_MAX: usize = 64;

/// How long a client may leave its replies in our queue without taking a single byte. As long as
/// Linux waits for an answer before it sends a call again.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(60);

/// The same while others wait for the room that its replies take: a client that is alive takes
/// some bytes in that time, and one that is cut off sends its calls again later.
const REPLY_WAIT_SHORT_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether others wait.
const REPLY_WAIT_STEP: Duration = Duration::from_secs(1);
