//! Who knocks, as a door has seen it: before the export has had its say.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::RequestKey;

/// A client's call as far as permission is concerned.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The client's address; exports match it.
    pub client: IpAddr,
    /// Whether its source port is below 1024.
    pub privileged_port: bool,
    /// What it claims to be; `None` for AUTH_NONE.
    pub credential: Option<UnixCredential>,
    /// The replay cache's key for this call.
    pub key: Option<RequestKey>,
    /// The connection that it came over.
    pub line: Line,
}

/// The connection that a call came over, as far as it matters to whoever executes the call.
///
/// Once it is closed, the client may send the same call elsewhere, have it answered, and go on from
/// there: whoever has not begun with the call by then must never do so, for it would undo what came
/// after it.
#[derive(Clone, Debug, Default)]
pub struct Line(Option<Arc<AtomicBool>>);

impl Line {
    /// A connection that is open. The default is none at all, and so never closed.
    pub fn open() -> Self {
        Self(Some(Arc::default()))
    }

    /// It is closed, for all who have it.
    pub fn close(&self) {
        if let Some(closed) = &self.0 {
            closed.store(true, Ordering::Release);
        }
    }

    /// Whether it was closed. Whoever acts under a lease asks this after looking at the lease: a
    /// new one begins only once every connection of before is closed.
    pub fn is_closed(&self) -> bool {
        self.0.as_ref().is_some_and(|closed| closed.load(Ordering::Acquire))
    }
}

/// What AUTH_SYS carries (RFC 5531 appendix A).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixCredential {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// At most 16 supplementary groups.
    pub gids: Box<[u32]>,
}

/// All groups of a user, when the look-up is done; `None` if the user is not known or the look-up
/// failed, and then the request's own groups count.
pub type GroupsFound<'a> = Pin<Box<dyn Future<Output = Option<Arc<[u32]>>> + Send + 'a>>;

/// Looks up the groups of a user here, for exports with `manage-gids`: AUTH_SYS carries only 16.
pub trait Groups: Send + Sync {
    /// All groups of `uid`.
    fn groups_of(&self, uid: u32) -> GroupsFound<'_>;
}
