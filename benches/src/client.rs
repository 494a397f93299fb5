//! A fast NFS client for one connection: as many calls on their way as wanted, no copy of payload.
//!
//! Invariant: exactly one task works on a connection, sending and receiving by turns as the socket
//! allows, so neither side can starve the other. A call that fails ends the run: a rate of
//! refusals would be no rate.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use nfs_wire::message::Body;
use nfs_wire::nfs3::{Args, FileHandle, Path, Reply};
use nfs_wire::rpc::{Answer, AuthSys, CallHeader, Gids, call};
use nfs_wire::{Credential, Encoded, Framing, RecordReader, Xid, mount, nfs3};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sample::Latencies;

/// What a connection is to ask, and what becomes of the answers.
pub trait Source {
    /// The next call; `None` ends the connection's work once all calls are answered.
    fn next(&mut self) -> Option<Args>;

    /// The `number`th call, counted from 0, was answered, and not with a failure.
    fn answered(&mut self, number: u64, reply: Reply) {
        let _ = (number, reply);
    }
}

/// A source that gives calls until a moment has come.
pub struct Until<F> {
    deadline: Instant,
    number: u64,
    make: F,
}

impl<F: FnMut(u64) -> Args> Until<F> {
    /// `make` gives the call of each number.
    pub fn new(deadline: Instant, make: F) -> Self {
        Self { deadline, number: 0, make }
    }
}

impl<F: FnMut(u64) -> Args> Source for Until<F> {
    fn next(&mut self) -> Option<Args> {
        if Instant::now() >= self.deadline {
            return None;
        }
        self.number += 1;
        Some((self.make)(self.number - 1))
    }
}

/// A source of a fixed number of calls.
pub struct Times<F> {
    left: u64,
    number: u64,
    make: F,
}

impl<F: FnMut(u64) -> Args> Times<F> {
    /// `make` gives the call of each number below `times`.
    pub fn new(times: u64, make: F) -> Self {
        Self { left: times, number: 0, make }
    }
}

impl<F: FnMut(u64) -> Args> Source for Times<F> {
    fn next(&mut self) -> Option<Args> {
        self.left = self.left.checked_sub(1)?;
        self.number += 1;
        Some((self.make)(self.number - 1))
    }
}

/// One TCP connection to an NFS server.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    records: RecordReader,
    scratch: BytesMut,
    credential: Credential,
    slots: Vec<Option<Waiting>>,
    free: Vec<usize>,
    /// Counts the calls, so that a late reply can't be taken for another call's.
    calls: u32,
    outbox: VecDeque<Encoded>,
    /// The server has closed it: what waits is sent again on another one, as a kernel's client
    /// does.
    closed: bool,
}

/// A call on its way.
#[derive(Debug)]
struct Waiting {
    xid: u32,
    number: u64,
    args: Args,
    since: Instant,
}

impl Connection {
    /// Connects, as root with AUTH_SYS.
    pub async fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        stream.set_nodelay(true).expect("a socket takes the option");
        let machine = Bytes::from_static(b"benches");
        let gids = Gids::new(&[]).expect("no groups are few enough");
        Self {
            address,
            stream,
            records: RecordReader::new(REPLY_BYTES_MAX),
            scratch: BytesMut::new(),
            credential: Credential::Sys(AuthSys { stamp: 0, machine, uid: 0, gid: 0, gids }),
            slots: Vec::new(),
            free: Vec::new(),
            // Far from where other connections began: a call of theirs with the same xid and the
            // same arguments would be this call, sent again.
            calls: CONNECTIONS.fetch_add(1, Ordering::Relaxed).wrapping_mul(XID_STRIDE),
            outbox: VecDeque::new(),
            closed: false,
        }
    }

    async fn dial_again(&mut self) {
        let address = self.address;
        let fresh = Self::dial(address).await;
        (self.stream, self.records, self.closed) = (fresh.stream, fresh.records, false);
        self.outbox.clear();
        let waiting: Vec<(u32, Args)> = self
            .slots
            .iter()
            .flatten()
            .map(|waiting| (waiting.xid, waiting.args.clone()))
            .collect();
        for (xid, args) in waiting {
            let procedure = args.procedure().code();
            self.encode(xid, (nfs3::PROGRAM, nfs3::VERSION, procedure), &args);
        }
    }

    /// One call and its answer, which must be no failure.
    pub async fn ask(&mut self, args: Args) -> Reply {
        struct One(Option<Args>, Option<Reply>);
        impl Source for One {
            fn next(&mut self) -> Option<Args> {
                self.0.take()
            }
            fn answered(&mut self, _number: u64, reply: Reply) {
                self.1 = Some(reply);
            }
        }
        let mut one = One(Some(args), None);
        self.drive(1, &mut one).await;
        one.1.expect("one call has one answer")
    }

    /// Makes the calls of `source`, `depth` at once, until it has no more and all are answered.
    pub async fn drive(&mut self, depth: usize, source: &mut impl Source) -> Latencies {
        let mut latencies = Latencies::default();
        let mut number = 0;
        let mut more = true;
        self.slots.clear();
        self.slots.resize_with(depth, || None);
        self.free = (0..depth).collect();
        loop {
            while more && !self.free.is_empty() {
                match source.next() {
                    Some(args) => {
                        self.queue(number, &args);
                        number += 1;
                    }
                    None => more = false,
                }
            }
            if !more && self.free.len() == depth {
                return latencies;
            }
            if self.closed {
                self.dial_again().await;
            }
            self.send();
            if self.receive(source, &mut latencies) {
                tokio::task::consume_budget().await;
            } else {
                self.wait().await;
            }
        }
    }

    fn queue(&mut self, number: u64, args: &Args) {
        let slot = self.free.pop().expect("there is a free slot");
        self.calls = self.calls.wrapping_add(1);
        let slots = u32::try_from(self.slots.len()).expect("depths are small");
        let xid = (self.calls % (u32::MAX / slots)) * slots
            + u32::try_from(slot).expect("depths are small");
        self.encode(xid, (nfs3::PROGRAM, nfs3::VERSION, args.procedure().code()), args);
        let args = args.clone();
        self.slots[slot] = Some(Waiting { xid, number, args, since: Instant::now() });
    }

    fn encode(&mut self, xid: u32, procedure: (u32, u32, u32), args: &impl Body) {
        let (program, version, procedure) = procedure;
        let credential = &self.credential;
        let header = CallHeader { xid: Xid(xid), program, version, procedure, credential };
        self.outbox.push_back(call(&header, Framing::Record, args, &mut self.scratch));
    }

    /// Writes what the socket takes.
    fn send(&mut self) {
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut filled = 0;
            for message in &self.outbox {
                filled += message.chunks_vectored(&mut slices[filled..]);
                if filled == SLICES_MAX {
                    break;
                }
            }
            match self.stream.try_write_vectored(&slices[..filled]) {
                Ok(written) => self.take_written(written),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if is_end(e.kind()) => return self.closed = true,
                Err(e) => panic!("the server does not take calls any more: {e}"),
            }
        }
    }

    fn take_written(&mut self, mut written: usize) {
        while let Some(first) = self.outbox.front_mut() {
            let remaining = first.remaining();
            if written < remaining {
                first.advance(written);
                return;
            }
            written -= remaining;
            self.outbox.pop_front();
        }
    }

    /// Reads once, and takes the replies that are there; false if nothing could be read.
    fn receive(&mut self, source: &mut impl Source, latencies: &mut Latencies) -> bool {
        match self.stream.try_read_buf(&mut self.records.spare()) {
            Ok(0) => self.closed = true,
            Ok(_) => {}
            Err(e) if is_end(e.kind()) => self.closed = true,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
            Err(e) => panic!("the server answers no more: {e}"),
        }
        while let Some(record) = self.records.next().expect("replies are within the limit") {
            let answer = Answer::parse(&record).expect("a reply is well-formed");
            let slot = answer.xid.0 as usize % self.slots.len();
            let waiting = self.slots[slot].take().expect("a reply answers a call");
            assert_eq!(waiting.xid, answer.xid.0, "a reply answers a call");
            let procedure = waiting.args.procedure();
            let results =
                answer.outcome.unwrap_or_else(|refusal| panic!("{procedure:?}: {refusal}"));
            let reply = Reply::decode(procedure, &results)
                .unwrap_or_else(|e| panic!("{procedure:?}: malformed results: {e}"));
            latencies.push(waiting.since.elapsed());
            if let Some(status) = reply.failure() {
                let server = self.stream.peer_addr();
                panic!("{procedure:?} at {server:?} failed: {status:?}");
            }
            self.free.push(slot);
            source.answered(waiting.number, reply);
        }
        true
    }

    async fn wait(&mut self) {
        if self.closed {
            return;
        }
        let interest = if self.outbox.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let ready = timeout(ANSWER_MAX, self.stream.ready(interest)).await;
        ready.expect("the server answers in time").expect("the socket can be waited for");
    }

    /// The handle of an export's root, by MOUNT.
    pub async fn mount(&mut self, export: &str) -> FileHandle {
        let args = mount::Args::Mnt(Path(Bytes::copy_from_slice(export.as_bytes())));
        self.encode(1, (mount::PROGRAM, mount::VERSION, args.procedure().code()), &args);
        loop {
            self.send();
            if let Some(record) = self.records.next().expect("replies are within the limit") {
                let answer = Answer::parse(&record).expect("a reply is well-formed");
                let results = answer.outcome.expect("MNT is executed");
                let reply = mount::Reply::decode(args.procedure(), &results);
                let mount::Reply::Mnt(mounted) = reply.expect("results are well-formed") else {
                    panic!("MNT was answered with something else");
                };
                let mounted = mounted.unwrap_or_else(|e| panic!("MNT of {export}: {e:?}"));
                return mounted.handle;
            }
            self.wait().await;
            match self.stream.try_read_buf(&mut self.records.spare()) {
                Ok(0) => panic!("the server closed the connection"),
                Err(e) if e.kind() != ErrorKind::WouldBlock => panic!("no answer to MNT: {e}"),
                _ => {}
            }
        }
    }
}

/// Whether the other end has ended the connection.
fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// What several connections did together.
#[derive(Debug)]
pub struct Ran {
    /// From the first call to the last reply.
    pub elapsed: Duration,
    /// Of all calls.
    pub latencies: Latencies,
}

/// Runs one task per connection, all at once, and gives back what each returned.
pub async fn together<T, F, R>(items: Vec<T>, run: impl Fn(T) -> F) -> (Vec<R>, Ran)
where
    F: Future<Output = (R, Latencies)> + Send + 'static,
    R: Send + 'static,
{
    let started = Instant::now();
    let tasks: Vec<_> = items.into_iter().map(|item| tokio::spawn(run(item))).collect();
    let mut returned = Vec::new();
    let mut latencies = Latencies::default();
    for task in tasks {
        let (value, some) = task.await.expect("a connection's task ends well");
        returned.push(value);
        latencies.append(some);
    }
    (returned, Ran { elapsed: started.elapsed(), latencies })
}

/// How many connections there were.
static CONNECTIONS: AtomicU32 = AtomicU32::new(1);

/// 2^32 over the golden ratio: its multiples lie far apart.
const XID_STRIDE: u32 = 0x9e37_79b1;

/// A reply of a READ of a mebibyte, and what is around it.
const REPLY_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// Twenty calls of three slices, and well below the system's 1024.
const SLICES_MAX: usize = 64;

/// A COMMIT of a gibibyte on a slow disk takes a while; nothing takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
