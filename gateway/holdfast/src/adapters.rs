//! Time, chance and the machine's user database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh::{CREDENTIALS_LIFETIME, FleetAuthority};
use model::{ApplianceId, Clock, Entropy, Timestamp};
use parking_lot::Mutex;
use router::Certifier;
use rustix::time::{ClockId, clock_gettime};
use volume::{Groups, GroupsFound};

/// The machine's clocks. The wall clock never goes back and never stands still: two changes never
/// get the same time.
#[derive(Debug, Default)]
pub struct SystemClock {
    last_nanos: AtomicU64,
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Realtime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
        let next = |last: u64| Some(nanos.max(last + 1));
        let last = self.last_nanos.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Timestamp::from_nanos(last.map_or(nanos, |last| nanos.max(last + 1)))
    }

    fn since_boot(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(
            u64::try_from(now.tv_sec).unwrap_or(0),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    }
}

/// The kernel's random source.
#[derive(Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => panic!("the kernel has no random bytes for us: {errno}"),
            }
        }
    }
}

/// Issues certificates with the fleet's authority.
pub struct MeshCertifier {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

impl Certifier for MeshCertifier {
    fn issue(&self, authority: &[u8], appliance: ApplianceId) -> Result<Vec<u8>, String> {
        let authority = FleetAuthority::from_bytes(authority).map_err(|e| e.to_string())?;
        let now = self.clock.wall();
        let entropy = self.entropy.as_ref();
        let credentials = authority.issue(appliance, entropy, now, CREDENTIALS_LIFETIME);
        Ok(credentials.to_bytes())
    }
}

/// Groups from the machine's user database (`/etc/group`, or whatever NSS asks), kept for a while.
pub struct SystemGroups {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<u32, Known>>,
}

struct Known {
    groups: Arc<[u32]>,
    at: Duration,
}

impl SystemGroups {
    /// Nothing looked up yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, known: Mutex::default() }
    }
}

impl Groups for SystemGroups {
    fn groups_of(&self, uid: u32) -> GroupsFound<'_> {
        Box::pin(async move {
            let now = self.clock.since_boot();
            if let Some(known) = self.known.lock().get(&uid)
                && now.saturating_sub(known.at) < GROUPS_KEPT
            {
                return Some(known.groups.clone());
            }
            let found = tokio::task::spawn_blocking(move || look_up(uid)).await.ok()??;
            let mut known = self.known.lock();
            if known.len() >= GROUPS_KNOWN_MAX {
                known.clear();
            }
            known.insert(uid, Known { groups: found.clone(), at: now });
            Some(found)
        })
    }
}

/// Asks the user database; `None` is "not known or failed", and never remembered.
fn look_up(uid: u32) -> Option<Arc<[u32]>> {
    let user = uzers::get_user_by_uid(uid)?;
    let groups = uzers::get_user_groups(user.name(), user.primary_group_id())?;
    Some(groups.iter().map(uzers::Group::gid).collect())
}

/// As long as Linux' own `rpc.mountd` keeps them.
const GROUPS_KEPT: Duration = Duration::from_secs(30 * 60);
const GROUPS_KNOWN_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_never_stands_still() {
        let clock = SystemClock::default();
        let times: Vec<_> = (0..1000).map(|_| clock.wall()).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[tokio::test]
    async fn groups_of_root_are_known_and_of_nobody_real_are_not() {
        let groups = SystemGroups::new(Arc::new(SystemClock::default()));
        assert!(groups.groups_of(0).await.unwrap().contains(&0));
        assert_eq!(groups.groups_of(3_999_999_999).await, None);
    }
}
