//! Who votes in the fleet's group: few, an odd number, spread over sites and racks, and moved only
//! for a reason. Everybody else learns.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use model::{ApplianceId, Membership};

use super::Fleet;
use super::member::Member;

/// The most voters of the fleet's group: five outlive the loss of two, and every entry waits for
/// three of them.
pub const FLEET_VOTERS_MAX: usize = 5;

/// What a fleet can lose and go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// How many appliances are of it.
    pub appliances: usize,
    /// How many vote.
    pub voters: usize,
    /// How many more voters can be lost, of those that are up.
    pub losses: usize,
    /// Whether any one site can be lost as a whole; `None` if no two voters differ in their site.
    pub any_site: Option<bool>,
}

impl Fleet {
    /// Who shall vote and who shall learn in the fleet's group, given who does `now`. Equal to
    /// `now` but for the order if nothing is to be done, or nothing can be.
    ///
    /// - An appliance votes only once it was up, so that a new one never stops a fleet.
    /// - An odd number votes, [`FLEET_VOTERS_MAX`] at most; of a fleet of two, both: neither log
    ///   alone may hold what was acknowledged.
    /// - A voter keeps its vote unless it was removed, is `long_down` (by the caller's clock) or
    ///   draining while another can take its place, or one site has a majority that it need not.
    /// - Only if a majority of those who vote now is up, and one of those wanted will be.
    pub fn wanted_fleet_membership(
        &self,
        now: &Membership,
        long_down: &[ApplianceId],
    ) -> Membership {
        let known = |id: &ApplianceId| self.member(*id);
        let current: Vec<&Member> = now.voters.iter().filter_map(known).collect();
        let up = now.voters.iter().filter(|id| self.is_up(**id)).count();
        if now.is_joint() || up < majority(now.voters.len()) {
            return now.clone();
        }
        let leaves = |member: &Member| member.draining || long_down.contains(&member.id);
        let mut voters: Vec<&Member> = current.iter().copied().filter(|m| !leaves(m)).collect();
        let votes = |voters: &[&Member], id| voters.iter().any(|voter| voter.id == id);
        let mut free: Vec<&Member> = self.members.iter().collect();
        free.retain(|m| m.up && !leaves(m) && !votes(&current, m.id));
        // Those who should leave keep their vote where nobody can take their place.
        let mut leaving: Vec<&Member> = current.iter().copied().filter(|m| leaves(m)).collect();
        leaving.sort_by_key(|member| (Reverse(member.up), member.id));
        let wanted = odd(voters.len() + free.len()).max(odd(current.len()));
        while voters.len() > wanted {
            drop_one(&mut voters);
        }
        while voters.len() < wanted {
            match take_best(&mut free, &voters) {
                Some(best) => voters.push(best),
                None if leaving.is_empty() => break,
                None => voters.push(leaving.remove(0)),
            }
        }
        spread(&mut voters, &mut free);
        let up = voters.iter().filter(|voter| voter.up).count();
        if up < majority(voters.len()) {
            return now.clone();
        }
        let mut wanted = Membership::of_voters(voters.iter().map(|voter| voter.id));
        wanted.voters.sort_unstable();
        wanted.learners = self.members.iter().map(|member| member.id).collect();
        wanted.learners.retain(|id| !wanted.voters.contains(id));
        wanted.learners.sort_unstable();
        wanted
    }

    /// What the fleet can lose with these voters; its text is for the operator.
    pub fn tolerates_loss(&self, now: &Membership) -> Tolerance {
        let voters: Vec<&Member> = now.voters.iter().filter_map(|id| self.member(*id)).collect();
        let up = voters.iter().filter(|voter| voter.up).count();
        let needed = majority(now.voters.len());
        let at_site =
            |site: &str| voters.iter().filter(|v| v.up && v.labels.site() == site).count();
        let sites: BTreeMap<&str, usize> =
            voters.iter().map(|v| (v.labels.site(), at_site(v.labels.site()))).collect();
        let any_site = sites.values().all(|lost| up.saturating_sub(*lost) >= needed);
        Tolerance {
            appliances: self.members.len(),
            voters: now.voters.len(),
            losses: up.saturating_sub(needed),
            any_site: (sites.len() > 1).then_some(any_site),
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.appliances, self.losses) {
            (0 | 1, _) => f.write_str("a fleet of one: if it is lost, so is everything on it")?,
            (2, _) => f.write_str(
                "WARNING: a fleet of two tolerates NO loss: while either is away nothing is \
                 served. Add a third; a witness will do",
            )?,
            (_, 0) => write!(
                f,
                "WARNING: tolerates NO loss: one more of the {} voters, and nothing is served",
                self.voters
            )?,
            (_, 1) => f.write_str("tolerates the loss of one voting appliance")?,
            (_, losses) => write!(f, "tolerates the loss of {losses} voting appliances")?,
        }
        match self.any_site {
            Some(true) => f.write_str(", and of any one site"),
            Some(false) if self.losses > 0 => f.write_str(", but not of every site as a whole"),
            _ => Ok(()),
        }
    }
}

/// More than half.
fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// How many of `able` vote: an even one more adds a vote that must be won and no loss that could
/// be borne. Two is the exception.
fn odd(able: usize) -> usize {
    match able.min(FLEET_VOTERS_MAX) {
        few @ 0..=2 => few,
        some => some - (some + 1) % 2,
    }
}

/// Takes the one of `free` that adds a site, else a rack; among equals the first that joined.
fn take_best<'a>(free: &mut Vec<&'a Member>, voters: &[&Member]) -> Option<&'a Member> {
    let same = |member: &Member| {
        let site = voters.iter().filter(|v| v.labels.site() == member.labels.site()).count();
        let rack = voters.iter().filter(|v| v.labels.rack() == member.labels.rack()).count();
        (site, rack)
    };
    let (at, _) = free.iter().enumerate().min_by_key(|(_, member)| same(member))?;
    Some(free.remove(at))
}

/// Drops the voter that is missed the least: a down one, else one of the most crowded site and
/// rack, the last that began to vote.
fn drop_one(voters: &mut Vec<&Member>) {
    let crowd = |member: &Member| {
        let site = voters.iter().filter(|v| v.labels.site() == member.labels.site()).count();
        let rack = voters.iter().filter(|v| v.labels.rack() == member.labels.rack()).count();
        (!member.up, site, rack)
    };
    // The last of equals is found by `max_by_key`.
    let found = voters.iter().enumerate().max_by_key(|(_, member)| crowd(member));
    if let Some((at, _)) = found {
        voters.remove(at);
    }
}

/// While one site has a majority of the votes and another could do with one more, moves one vote.
/// Each move makes the squares of the counts smaller, so it ends.
fn spread<'a>(voters: &mut Vec<&'a Member>, free: &mut Vec<&'a Member>) {
    let count = |voters: &[&Member], site: &str| {
        voters.iter().filter(|voter| voter.labels.site() == site).count()
    };
    loop {
        let crowded = voters.iter().map(|v| (count(voters, v.labels.site()), v.labels.site()));
        let Some((most, site)) = crowded.max() else { return };
        let better = |member: &&Member| count(voters, member.labels.site()) + 1 < most;
        let mut better: Vec<&Member> = free.iter().copied().filter(better).collect();
        if most < majority(voters.len()) || voters.len() < 3 {
            return;
        }
        let Some(taken) = take_best(&mut better, voters) else { return };
        let leaves = voters.iter().rposition(|voter| voter.labels.site() == site);
        voters.remove(leaves.expect("the crowded site has voters"));
        voters.push(taken);
        free.retain(|member| member.id != taken.id);
    }
}
