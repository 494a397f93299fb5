//! What is kept of each other appliance: its addresses, its connections, its limits; and dialing.
//!
//! Invariant: at most one connection to a peer is used for sending, the first in its list. When
//! both sides have dialed at once, both put the one dialed by the lower appliance first, and the
//! other is closed when nothing is under way on it. A connection of an earlier run of the peer is
//! closed as soon as a later run has connected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::ApplianceId;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::link::{GreetFault, Link, close};
use super::{Shared, tls};
use crate::authority::appliance_name;
use crate::limits::{
    BACKOFF_MAX, BACKOFF_MIN, BULK_STREAMS_MAX, HANDSHAKE_TIME_MAX, LINKS_MAX, REQUESTS_BYTES_MAX,
    REQUESTS_MAX, RETIRE_TIME,
};

/// One other appliance.
pub struct PeerState {
    pub id: ApplianceId,
    addresses: Mutex<Vec<SocketAddr>>,
    /// The first is used for sending.
    links: Mutex<Vec<Arc<Link>>>,
    changed: watch::Sender<()>,
    dialing: AtomicBool,
    said: Mutex<String>,
    /// Ours to it.
    pub asking: Requests,
    /// Its to us.
    pub serving: Requests,
    /// Bytes of replies that it has not yet acknowledged.
    pub replying: Semaphore,
    pub streams_opened: Arc<Semaphore>,
    pub streams_served: Arc<Semaphore>,
}

/// How many requests may be under way, and how many bytes.
pub struct Requests {
    pub requests: Semaphore,
    pub bytes: Semaphore,
}

impl Requests {
    fn new() -> Self {
        Self { requests: Semaphore::new(REQUESTS_MAX), bytes: Semaphore::new(REQUESTS_BYTES_MAX) }
    }
}

impl PeerState {
    pub fn new(id: ApplianceId) -> Arc<Self> {
        Arc::new(Self {
            id,
            addresses: Mutex::default(),
            links: Mutex::default(),
            changed: watch::Sender::new(()),
            dialing: AtomicBool::new(false),
            said: Mutex::default(),
            asking: Requests::new(),
            serving: Requests::new(),
            replying: Semaphore::new(REQUESTS_BYTES_MAX),
            streams_opened: Arc::new(Semaphore::new(BULK_STREAMS_MAX)),
            streams_served: Arc::new(Semaphore::new(BULK_STREAMS_MAX)),
        })
    }

    /// Where to dial it from now on.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        let mut held = self.addresses.lock();
        if *held != addresses {
            *held = addresses;
            drop(held);
            self.changed.send_replace(());
        }
    }

    /// The connection to send on.
    pub fn live(&self) -> Option<Arc<Link>> {
        self.links.lock().iter().find(|link| link.is_live()).cloned()
    }

    /// Whether it has a connection, up or about to be noticed as lost.
    pub fn has_links(&self) -> bool {
        !self.links.lock().is_empty()
    }

    /// Lets go of connections that are closed already.
    pub fn forget_links(&self) {
        self.links.lock().clear();
    }

    #[cfg(test)]
    pub fn link_count(&self) -> usize {
        self.links.lock().len()
    }

    /// Closes all connections.
    pub fn close(&self, code: u32, why: &str) {
        for link in self.links.lock().iter() {
            link.close(code, why);
        }
    }

    /// Whether `text` has not just been said of this peer: what repeats is logged once.
    fn is_news(&self, text: &str) -> bool {
        let mut said = self.said.lock();
        let news = *said != text;
        text.clone_into(&mut said);
        news
    }

    /// Logs why a connection was not made, once.
    pub fn report(&self, fault: &DialFault) {
        let text = fault.to_string();
        if self.is_news(&text) {
            warn!(peer = %self.id, fault = text, "no connection");
        } else {
            debug!(peer = %self.id, fault = text, "no connection");
        }
    }
}

/// Why dialing or a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum DialFault {
    #[error("no address")]
    NoAddress,
    #[error("can't dial: {0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("no answer in time")]
    Slow,
    #[error("the certificate is another appliance's")]
    WrongName,
    #[error(transparent)]
    Greet(#[from] GreetFault),
}

impl Shared {
    /// A connection to the peer, made if there is none; waits for ever.
    pub async fn link(self: &Arc<Self>, peer: &Arc<PeerState>) -> Arc<Link> {
        let mut changed = peer.changed.subscribe();
        loop {
            if let Some(link) = peer.live() {
                return link;
            }
            self.want(peer);
            // The sender is in `peer`, which we hold.
            let _ = changed.changed().await;
        }
    }

    /// Sees to it that the peer is dialed whenever there is no connection, from now on.
    pub fn want(self: &Arc<Self>, peer: &Arc<PeerState>) {
        if peer.addresses.lock().is_empty() || peer.dialing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, peer) = (Arc::clone(self), Arc::clone(peer));
        self.runtime.spawn(async move {
            let mut closed = shared.closed.subscribe();
            tokio::select! {
                () = shared.keep_dialing(&peer) => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
            peer.dialing.store(false, Ordering::Relaxed);
        });
    }

    /// Ends when the peer has no address any more.
    async fn keep_dialing(self: &Arc<Self>, peer: &Arc<PeerState>) {
        let mut backoff = BACKOFF_MIN;
        let mut changed = peer.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(link) = peer.live() {
                // Whichever: look again.
                tokio::select! {
                    _ = link.connection.closed() => {}
                    _ = changed.changed() => continue,
                }
                if link.since.elapsed() > BACKOFF_MAX {
                    backoff = BACKOFF_MIN;
                    continue;
                }
            } else if peer.addresses.lock().is_empty() {
                return;
            } else {
                match self.dial(peer).await {
                    Ok(link) => {
                        self.register(link);
                        continue;
                    }
                    Err(fault) => peer.report(&fault),
                }
            }
            tokio::select! {
                () = sleep(backoff) => {}
                _ = changed.changed() => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Dials all addresses, one a little after the other; the first that answers wins.
    pub async fn dial(self: &Arc<Self>, peer: &Arc<PeerState>) -> Result<Arc<Link>, DialFault> {
        let mut attempts = JoinSet::new();
        let addresses = peer.addresses.lock().clone();
        for (number, address) in addresses.into_iter().enumerate() {
            let (shared, peer) = (Arc::clone(self), Arc::clone(peer));
            attempts.spawn(async move {
                sleep(STAGGER * number as u32).await;
                shared.dial_at(&peer, address).await
            });
        }
        let mut last = DialFault::NoAddress;
        while let Some(ended) = attempts.join_next().await {
            match ended {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(fault)) => last = fault,
                Err(_) => last = DialFault::Slow,
            }
        }
        Err(last)
    }

    async fn dial_at(
        &self,
        peer: &Arc<PeerState>,
        address: SocketAddr,
    ) -> Result<Arc<Link>, DialFault> {
        let config = self.client.lock().clone();
        let connecting = self.endpoint.connect_with(config, address, &appliance_name(peer.id))?;
        let connection =
            timeout(HANDSHAKE_TIME_MAX, connecting).await.map_err(|_| DialFault::Slow)??;
        // The handshake has checked the name; this is the second look.
        if tls::identity(&connection) != Some(peer.id) {
            connection.close(close::STRANGER.into(), b"not the appliance that was dialed");
            return Err(DialFault::WrongName);
        }
        Ok(Link::greet(self, connection, Arc::clone(peer), self.id).await?)
    }

    /// Puts a new connection among its peer's, and serves it until it is lost.
    pub fn register(self: &Arc<Self>, link: Arc<Link>) {
        let peer = Arc::clone(&link.peer);
        {
            let mut links = peer.links.lock();
            links.retain(|held| held.is_live());
            for earlier in links.iter().filter(|held| held.run != link.run) {
                earlier.close(close::REPLACED, "a later run has connected");
            }
            links.retain(|held| held.run == link.run);
            if links.len() >= LINKS_MAX {
                return link.close(close::BUSY, "too many connections");
            }
            links.insert(0, Arc::clone(&link));
            let preferred = self.id.min(peer.id);
            // Stable: the newest of each dialer stays before its older ones.
            links.sort_by_key(|held| held.dialed_by != preferred);
            for second in links.iter().skip(1) {
                self.runtime.spawn(retire(Arc::clone(second)));
            }
        }
        peer.said.lock().clear();
        peer.changed.send_replace(());
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let serving = tokio::spawn(Arc::clone(&link).serve(Arc::clone(&shared)));
            let why = link.connection.closed().await;
            // It ends by itself; a panic in it is the handler's, and has been printed.
            let _ = serving.await;
            link.peer.links.lock().retain(|held| !Arc::ptr_eq(held, &link));
            link.peer.changed.send_replace(());
            info!(peer = %link.peer.id, %why, "disconnected");
            shared.prune();
        });
    }
}

/// Closes a connection that is not used for sending any more, once nothing is under way on it.
async fn retire(link: Arc<Link>) {
    let give_up = Instant::now() + RETIRE_TIME * RETIRE_TRIES;
    while link.is_live() && Instant::now() < give_up {
        sleep(RETIRE_TIME).await;
        let first = link.peer.live();
        if first.is_none_or(|first| Arc::ptr_eq(&first, &link)) {
            return;
        }
        if link.is_idle() {
            break;
        }
    }
    link.close(close::REPLACED, "another connection is used");
}

/// Between the addresses of one peer: more than a round trip on any path that is worth having.
const STAGGER: Duration = Duration::from_millis(200);

/// A bulk stream on a retired connection is cut after this many times [`RETIRE_TIME`].
const RETIRE_TRIES: u32 = 120;
