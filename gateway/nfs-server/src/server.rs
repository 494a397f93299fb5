//! Starts and stops the door: sockets, the tasks that accept, and what all of them share.
//!
//! Invariant: when [`Server::start`] returns, every socket is bound and clients are answered.

use std::future::poll_fn;
use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use volume::{Ports, Service};

use crate::budget::Budget;
use crate::connection::{Connection, Peer};
use crate::held::Held;
use crate::listen::{BACKLOG_MAX, Listening, listen, tune};
use crate::metric::{Cause, Metrics};
use crate::mounts::Mounts;
use crate::pulse::{BEAT, Pulse, unless_stopped};
use crate::rpcbind::Rpcbind;
use crate::settings::Settings;
use crate::{datagram, session};

/// A running NFS door. Dropping it stops it at once; [`Server::shutdown`] does so politely.
pub struct Server {
    addresses: Vec<SocketAddr>,
    rpcbind: Rpcbind,
    pulse: watch::Sender<Pulse>,
    tasks: JoinSet<()>,
    /// One permit for each connection there may be.
    places: Arc<Semaphore>,
    connections_max: u32,
    closer: Closer,
}

/// Closes the connections of a door.
#[derive(Clone)]
pub struct Closer(Arc<dyn Close>);

impl Closer {
    /// Closes every connection, also those that the system holds for us, unread requests and all;
    /// what is under way gets no answer, and what has not begun never does. Clients connect again
    /// and ask again.
    pub fn close_all(&self) {
        self.0.close_all();
    }

    /// The same for the connections to an address that is this machine's no longer.
    pub fn close_at(&self, address: IpAddr) {
        self.0.close_at(address.to_canonical());
    }
}

/// What every connection uses.
pub(crate) struct Shared<P> {
    pub(crate) settings: Settings,
    pub(crate) service: Arc<Service<P>>,
    pub(crate) metrics: Metrics,
    pub(crate) mounts: Mounts,
    /// The budget of all connections together.
    pub(crate) bytes: Budget,
    /// The beat at which somebody's broken stream was last told of.
    pub(crate) broken_told: AtomicU32,
    open: Mutex<Open<P>>,
}

/// What there is to close.
struct Open<P> {
    listeners: Vec<Arc<TcpListener>>,
    /// Those that are open, and some that were.
    connections: Vec<Weak<Connection<P>>>,
}

impl<P> Open<P> {
    fn opened(&mut self, connection: &Arc<Connection<P>>) {
        let connections = &mut self.connections;
        if connections.len() == connections.capacity() {
            connections.retain(|connection| connection.strong_count() > 0);
        }
        connections.push(Arc::downgrade(connection));
    }
}

trait Close: Send + Sync {
    fn close_all(&self);
    fn close_at(&self, address: IpAddr);
}

impl<P: Ports> Close for Shared<P> {
    fn close_all(&self) {
        let mut open = self.open.lock();
        for listener in &open.listeners {
            // Dropped at once. Who connects all the time meanwhile is served after that.
            let waiting = (0..BACKLOG_MAX).map(|_| SockRef::from(&**listener).accept());
            waiting.take_while(IoResult::is_ok).for_each(drop);
        }
        for connection in std::mem::take(&mut open.connections) {
            if let Some(connection) = connection.upgrade() {
                connection.close();
            }
        }
    }

    fn close_at(&self, address: IpAddr) {
        for connection in self.open.lock().connections.iter().filter_map(Weak::upgrade) {
            if connection.address == address {
                connection.close();
            }
        }
    }
}

impl Server {
    /// Binds all sockets and starts to answer, within the current tokio runtime. A recorder of
    /// metrics must be installed before.
    ///
    /// # Errors
    /// Settings that contradict one another ([`ErrorKind::InvalidInput`]); an address that can't
    /// be bound, named with the remedy.
    pub async fn start<P: Ports>(settings: Settings, service: Arc<Service<P>>) -> IoResult<Self> {
        Self::start_on(&Held::default(), settings, service).await
    }

    /// [`Self::start`] with sockets that are bound already, as far as they are among these.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on<P: Ports>(
        held: &Held,
        settings: Settings,
        service: Arc<Service<P>>,
    ) -> IoResult<Self> {
        settings.check().map_err(|bad| IoError::new(ErrorKind::InvalidInput, bad))?;
        let connections_max = settings.connections_max.min(Semaphore::MAX_PERMITS);
        let connections_max = u32::try_from(connections_max).unwrap_or(u32::MAX);
        let listening = settings.listen.iter().map(|address| listen(held, *address));
        let listening = listening.collect::<IoResult<Vec<_>>>()?;
        let addresses: Vec<_> = listening.iter().map(|socket| socket.address).collect();

        let (pulse, _) = watch::channel(Pulse::default());
        let mut tasks = JoinSet::new();
        let rpcbind = Rpcbind::start((&settings, held), &addresses, &pulse, &mut tasks)?;
        let shared = Arc::new(Shared {
            bytes: Budget::new(settings.in_flight_bytes_max),
            settings,
            service,
            metrics: Metrics::new(),
            mounts: Mounts::default(),
            broken_told: AtomicU32::new(u32::MAX),
            open: Mutex::new(Open { listeners: Vec::new(), connections: Vec::new() }),
        });
        let closing = Arc::clone(&shared);
        let places = Arc::new(Semaphore::new(connections_max as usize));
        for Listening { tcp, udp, address } in listening {
            let acceptor = Acceptor {
                shared: Arc::clone(&shared),
                places: Arc::clone(&places),
                pulse: pulse.clone(),
            };
            let tcp = Arc::new(tcp);
            shared.open.lock().listeners.push(tcp.clone());
            tasks.spawn(acceptor.accept(tcp));
            tasks.spawn(datagram::serve(Arc::clone(&shared), udp, pulse.subscribe()));
            info!(%address, "NFS v3 and MOUNT v3 are served");
        }
        tasks.spawn(beat_regularly(shared, pulse.clone()));
        let closer = Closer(closing);
        Ok(Self { addresses, rpcbind, pulse, tasks, places, connections_max, closer })
    }

    /// Where NFS and MOUNT listen, in the order of [`Settings::listen`].
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where our own rpcbind listens; nowhere if another one runs or none is wanted.
    pub fn rpcbind_addrs(&self) -> &[SocketAddr] {
        self.rpcbind.addresses()
    }

    /// What closes all connections, for others to use.
    pub fn closer(&self) -> Closer {
        self.closer.clone()
    }

    /// Stops accepting and reading, finishes the requests under way (those that are done within a
    /// few seconds), and closes.
    pub async fn shutdown(mut self) {
        self.pulse.send_modify(|pulse| pulse.stopping = true);
        self.rpcbind.unregister().await;
        while self.tasks.join_next().await.is_some() {}
        let all_closed = self.places.acquire_many(self.connections_max);
        if timeout(SHUTDOWN_MAX, all_closed).await.is_err() {
            warn!("stopped before all requests under way were answered");
        }
    }
}

struct Acceptor<P> {
    shared: Arc<Shared<P>>,
    places: Arc<Semaphore>,
    pulse: watch::Sender<Pulse>,
}

impl<P: Ports> Acceptor<P> {
    async fn accept(self, listener: Arc<TcpListener>) {
        let mut pulse = self.pulse.subscribe();
        loop {
            let accepting = poll_fn(|context| self.poll_accept(&listener, context));
            match unless_stopped(&mut pulse, accepting).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => {
                    // Out of descriptors or memory: others will be closed, so it passes.
                    warn!(%fault, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
                Err(_) => return,
            }
        }
    }

    /// Takes a connection over from the system in one step, so that it is always one of those that
    /// [`Closer::close_all`] finds.
    fn poll_accept(&self, listener: &TcpListener, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        let mut open = self.shared.open.lock();
        let (stream, from) = ready!(listener.poll_accept(context))?;
        self.take(&mut open, stream, from);
        Poll::Ready(Ok(()))
    }

    fn take(&self, open: &mut Open<P>, stream: TcpStream, from: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.shared.metrics.closed(Cause::TooMany);
            debug!(client = %from, "closed: there are as many connections as there may be");
            return;
        };
        if let Err(fault) = tune(&stream) {
            debug!(client = %from, %fault, "lost before it was served");
            return;
        }
        // One that was ended together with its address may still have unread calls.
        let ended = stream.take_error().and_then(|ended| ended.map_or(Ok(()), Err));
        let address = match ended.and_then(|()| stream.local_addr()) {
            Ok(address) => address.ip().to_canonical(),
            Err(fault) => {
                debug!(client = %from, %fault, "lost before it was served");
                return;
            }
        };
        let (reader, writer) = stream.into_split();
        let ends = (Peer::from(from), address);
        let connection = Connection::new(Arc::clone(&self.shared), ends, writer, place);
        let connection = Arc::new(connection);
        open.opened(&connection);
        tokio::spawn(session::run(connection, reader, self.pulse.subscribe()));
    }
}

async fn beat_regularly<P: Ports>(shared: Arc<Shared<P>>, pulse: watch::Sender<Pulse>) {
    let mut stop = pulse.subscribe();
    loop {
        let stopped = stop.wait_for(|pulse| pulse.stopping);
        if timeout(BEAT, stopped).await.is_ok() {
            return;
        }
        shared.metrics.in_flight_bytes.set(shared.bytes.used() as f64);
        pulse.send_modify(|pulse| pulse.beats = pulse.beats.wrapping_add(1));
    }
}

/// How long [`Server::shutdown`] waits for requests under way.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// How long not to accept after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
