//! The reading half of a connection: one task that turns bytes into requests.
//!
//! A request is polled once, right here; most are answered by that, without a task or an
//! allocation of their own, and the replies of all calls that came in together leave with one
//! write. A request that has to wait becomes a task.
//!
//! Invariants: nothing is read that is not admitted: a record's bytes and the largest reply it
//! may get are charged against this connection's budget and everybody's before it runs, and at a
//! limit the socket is simply not read. An idle connection holds no buffers.
//!
//! Absent on purpose: what a call means.

use std::future::{Future, poll_fn};
use std::io::Error as IoError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use nfs_wire::record::LARGE_RECORD_BYTES;
use nfs_wire::{BadRecord, Encoded, Framing, RecordReader};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tracing::{debug, trace, warn};
use volume::Ports;

use crate::connection::{Charge, Connection, Reply};
use crate::dispatch::{self, FateUnknown, Prepared, Request};
use crate::metric::Cause;
use crate::pulse::{Pulse, Stopping, beat, unless_stopped};
use crate::settings::REPLY_HEAD_BYTES_MAX;

/// Why a connection is not read any more.
#[derive(Debug)]
enum End {
    /// The client closed it, between records or in the middle of one.
    Closed,
    /// The network did.
    Lost(IoError),
    /// The stream makes no sense (any more).
    Broken(BadRecord),
    /// A record was begun and not finished in time.
    RecordTimeout,
    /// The server stops.
    Stopping,
}

impl From<Stopping> for End {
    fn from(_: Stopping) -> Self {
        Self::Stopping
    }
}

struct Session<P> {
    connection: Arc<Connection<P>>,
    socket: OwnedReadHalf,
    records: RecordReader,
    /// Of the large record under way: taken before its memory is.
    large: Option<Charge<P>>,
    /// Beats since the record under way began.
    record_beats: u32,
    pulse: watch::Receiver<Pulse>,
}

/// Serves a connection until it ends. Requests that are being executed go on, and are answered if
/// they can be; what has not begun by then never does, unless it is the server that stops.
pub(crate) async fn run<P: Ports>(
    connection: Arc<Connection<P>>,
    socket: OwnedReadHalf,
    pulse: watch::Receiver<Pulse>,
) {
    let records = RecordReader::new(connection.shared.settings.record_bytes_max);
    let session = Session { connection, socket, records, large: None, record_beats: 0, pulse };
    session.serve().await;
}

impl<P: Ports> Session<P> {
    async fn serve(mut self) {
        let end = self.read_records(Slot::new(run_request)).await;
        self.connection.flush();
        let client = self.connection.peer.ip;
        let metrics = &self.connection.shared.metrics;
        match end {
            End::Closed => {
                trace!(%client, "closed by the client");
                self.connection.line.close();
            }
            End::Stopping => trace!(%client, "not read any more: stopping"),
            End::Lost(fault) => {
                debug!(%client, %fault, "connection lost");
                self.connection.close();
            }
            End::Broken(bad) => {
                metrics.closed(Cause::BadRecord);
                // All are counted; whoever sends a thousand a second does not fill the log.
                let beat = self.pulse.borrow().beats;
                if self.connection.shared.broken_told.swap(beat, Ordering::Relaxed) != beat {
                    warn!(%client, %bad, "closed: the stream is no NFS, or a record is too large");
                }
                self.connection.close();
            }
            End::RecordTimeout => {
                metrics.closed(Cause::RecordTimeout);
                debug!(%client, "closed: a record was not finished in time");
                self.connection.close();
            }
        }
    }

    async fn read_records<S, F>(&mut self, mut slot: Slot<S, F>) -> End
    where
        S: Fn(Charge<P>, Request) -> F,
        F: Future<Output = Reply<P>> + Send + 'static,
    {
        loop {
            match self.read_on(&mut slot).await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    /// Runs all requests that have arrived, sends the replies, and reads once.
    async fn read_on<S, F>(&mut self, slot: &mut Slot<S, F>) -> Result<(), End>
    where
        S: Fn(Charge<P>, Request) -> F,
        F: Future<Output = Reply<P>> + Send + 'static,
    {
        while let Some(record) = self.records.next().map_err(End::Broken)? {
            self.record_beats = 0;
            self.start(slot, record).await?;
            tokio::task::consume_budget().await;
        }
        self.connection.flush();
        let pending_bytes = self.records.pending_bytes();
        if pending_bytes > LARGE_RECORD_BYTES {
            let charge = self.admitted(pending_bytes + REPLY_HEAD_BYTES_MAX).await?;
            self.large = Some(charge);
        }
        self.read(slot).await
    }

    async fn start<S, F>(&mut self, slot: &mut Slot<S, F>, record: Bytes) -> Result<(), End>
    where
        S: Fn(Charge<P>, Request) -> F,
        F: Future<Output = Reply<P>> + Send + 'static,
    {
        let connection = &self.connection;
        let reply = match dispatch::prepare(
            &connection.shared,
            (connection.peer, &connection.line),
            Framing::Record,
            &record,
        ) {
            Prepared::Drop => {
                self.large = None;
                return Ok(());
            }
            Prepared::Reply(message) => {
                let charge = self.admitted(record.len() + REPLY_HEAD_BYTES_MAX).await?;
                Some(Reply { message, charge })
            }
            Prepared::Run(request) => {
                let key = request.key();
                if !connection.begins(key) {
                    trace!(client = %connection.peer.ip, "sent again before it was answered");
                    self.large = None;
                    return Ok(());
                }
                let bytes = record.len() + request.reply_bytes_max();
                drop(record);
                let mut charge = self.admitted(bytes).await?;
                charge.is_for(key);
                slot.run(charge, request)
            }
        };
        if let Some(reply) = reply
            && self.connection.push(reply) >= FLUSH_BYTES
        {
            self.connection.flush();
        }
        Ok(())
    }

    /// A charge of at least `bytes`, as soon as there is room for it. Replies that are ready are
    /// sent before any wait, since they may be what takes the room.
    async fn admitted(&mut self, bytes: usize) -> Result<Charge<P>, End> {
        let begun = self.large.take().or_else(|| self.connection.try_charge());
        let mut charge = match begun {
            Some(charge) => charge,
            None => {
                self.connection.flush();
                unless_stopped(&mut self.pulse, self.connection.charge()).await?
            }
        };
        if !charge.try_raise(bytes) {
            self.connection.flush();
            unless_stopped(&mut self.pulse, charge.raise(bytes)).await?;
        }
        Ok(charge)
    }

    /// Waits for bytes and takes them. Beats that pass meanwhile end what takes too long, and free
    /// the memory of what is idle.
    async fn read<S, F>(&mut self, slot: &mut Slot<S, F>) -> Result<(), End> {
        let mut beats = 0;
        while beats < IDLE_BEATS {
            let mut spare = self.records.spare();
            tokio::select! {
                biased;
                read = self.socket.read_buf(&mut spare) => return match read {
                    Ok(0) => Err(End::Closed),
                    Ok(_) => Ok(()),
                    Err(fault) => Err(End::Lost(fault)),
                },
                beat = beat(&mut self.pulse) => beat?,
            }
            if self.records.is_between_records() {
                beats += 1;
            } else {
                self.record_beats += 1;
                if self.record_beats > RECORD_BEATS_MAX {
                    return Err(End::RecordTimeout);
                }
            }
        }
        self.records.release_idle();
        self.connection.release_idle();
        slot.release();
        // Only when there is something to read is a buffer taken again.
        unless_stopped(&mut self.pulse, self.socket.readable()).await?.map_err(End::Lost)
    }
}

async fn run_request<P: Ports>(charge: Charge<P>, request: Request) -> Reply<P> {
    let connection = charge.connection();
    let message = match dispatch::answer(&connection.shared, request).await {
        Ok(message) => message,
        Err(FateUnknown) => {
            if connection.close() {
                connection.shared.metrics.closed(Cause::FateUnknown);
            }
            // Goes nowhere any more.
            Encoded::default()
        }
    };
    Reply { message, charge }
}

/// Where a request runs: in memory that is used for one after the other, until one of them has to
/// wait and takes the memory along into a task of its own.
struct Slot<S, F> {
    start: S,
    memory: Option<Pin<Box<Option<F>>>>,
}

impl<S, F> Slot<S, F> {
    fn new<P>(start: S) -> Self
    where
        S: Fn(Charge<P>, Request) -> F,
    {
        Self { start, memory: None }
    }

    fn release(&mut self) {
        self.memory = None;
    }

    /// Runs a request as far as it goes without waiting. `None`: it will send its reply itself.
    fn run<P: Ports>(&mut self, charge: Charge<P>, request: Request) -> Option<Reply<P>>
    where
        S: Fn(Charge<P>, Request) -> F,
        F: Future<Output = Reply<P>> + Send + 'static,
    {
        let mut memory = self.memory.take().unwrap_or_else(|| Box::pin(None));
        memory.as_mut().set(Some((self.start)(charge, request)));
        // Nobody is woken by this poll: a task polls again before it waits.
        match poll_in(memory.as_mut(), &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(reply) => {
                memory.as_mut().set(None);
                self.memory = Some(memory);
                Some(reply)
            }
            Poll::Pending => {
                tokio::spawn(async move {
                    let reply = poll_fn(|context| poll_in(memory.as_mut(), context)).await;
                    // The memory goes first: the reply may have to wait for its client.
                    drop(memory);
                    let connection = Arc::clone(reply.charge.connection());
                    connection.send(reply);
                });
                None
            }
        }
    }
}

fn poll_in<F: Future>(memory: Pin<&mut Option<F>>, context: &mut Context<'_>) -> Poll<F::Output> {
    memory.as_pin_mut().expect("a request is polled only where one was put").poll(context)
}

/// Replies of calls that came in together wait for one another until they are this many bytes:
/// beyond it a larger write saves nothing.
const FLUSH_BYTES: usize = 256 << 10;

/// After so many beats without a byte a connection is idle.
const IDLE_BEATS: u32 = 2;

/// A record that takes longer than so many beats (a minute) is not worth the memory it holds.
const RECORD_BEATS_MAX: u32 = 12;

#[cfg(test)]
mod tests;
