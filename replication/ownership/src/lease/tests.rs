//! The cores alone, and a whole fleet of them in bad weather.

use model::{ApplianceId, Timestamp};

use super::*;
use crate::fleet::{Fleet, FleetCommand, InvitationDigest, Labels, MemberKind, Present, Secret};

mod holder;
mod keeper;
mod raft;
mod world;

use world::{Mistake, Weather, World};

/// An entry of the simulated log.
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    term: u64,
    command: Option<FleetCommand>,
    nonce: u64,
}

/// A fleet of these, none of them up.
fn fleet_of(ids: &[ApplianceId]) -> Fleet {
    let mut fleet = Fleet::default();
    let (appliance, secret) = (ids[0], Secret([1; 32]));
    fleet.apply(FleetCommand::Found { appliance, name: appliance.to_string(), secret }).unwrap();
    for id in &ids[1..] {
        let (digest, kind) = (InvitationDigest([id.get() as u8; 32]), MemberKind::Full);
        let (expires, now) = (Timestamp::from_nanos(2), Timestamp::from_nanos(1));
        fleet.apply(FleetCommand::Invite { digest, expires, kind, now }).unwrap();
        let (appliance, name, addresses) = (*id, id.to_string(), vec![]);
        let labels = Labels::default();
        let admit = FleetCommand::Admit { digest, appliance, name, addresses, labels, kind, now };
        fleet.apply(admit).unwrap();
    }
    fleet
}

/// Ten seconds of storm, then good weather.
fn storm(seed: u64, mistake: Mistake) -> World {
    let mut world = World::new(seed, 3 + seed % 4, mistake);
    world.run(2_000);
    world.weather = Weather {
        loss: [0, 10, 100, 300][seed as usize % 4],
        doubles: [0, 100][seed as usize / 2 % 2],
        late: [0, 5, 50][seed as usize % 3],
        trouble: [0, 20, 100, 200][seed as usize / 3 % 4],
    };
    world.run(12_000);
    world.heal();
    world.run(9_000);
    world
}

#[test]
fn no_lease_is_live_after_its_run_was_called_down() {
    let mut downs = 0;
    for seed in 0..400 {
        let world = storm(seed, Mistake::Nothing);
        assert_eq!(world.violation, None, "repro: storm({seed}, Mistake::Nothing)");
        downs += world.downs();
    }
    assert!(downs > 400, "the storms called only {downs} runs down");
}

#[test]
fn after_the_storm_everybody_serves_again() {
    for seed in 1000..1200 {
        let world = storm(seed, Mistake::Nothing);
        assert_eq!(world.not_serving(), [], "repro: storm({seed}, Mistake::Nothing)");
    }
}

#[test]
fn the_checker_finds_each_mistake() {
    use Mistake::{FromArrival, HastyLeader, NoRound, WildClocks};
    for mistake in [FromArrival, HastyLeader, WildClocks, NoRound] {
        let found = (0..1000).find(|seed| storm(*seed, mistake).violation.is_some());
        assert!(found.is_some(), "{mistake:?} was never found");
    }
}

/// The leader has lost one voter, and the other starts anew, away from the leader, just after it
/// answered the leader's round.
fn forgotten_leader(seed: u64, mistake: Mistake) -> World {
    let mut world = World::new(seed, 3, mistake);
    world.run(3_000);
    let leader = world.leader().expect("three seconds are enough for an election");
    let others = (1..=3).map(ApplianceId::new).filter(|id| *id != leader);
    let [lost, forgetful]: [ApplianceId; 2] = others.collect::<Vec<_>>().try_into().unwrap();
    world.cut(leader, lost, 9_000);
    world.run(900 + seed % 300);
    world.cut(leader, forgetful, 9_000);
    world.kill(forgetful, 1);
    world.run(4_000);
    world
}

#[test]
fn a_voter_that_has_just_started_votes_for_nobody_or_two_would_act() {
    for seed in 0..100 {
        let world = forgotten_leader(seed, Mistake::Nothing);
        assert_eq!(world.violation, None, "repro: forgotten_leader({seed}, Mistake::Nothing)");
        assert_eq!(world.downs(), 1, "seed {seed}: the old leader is called down");
    }
    let found = (0..100).find(|s| forgotten_leader(*s, Mistake::Forgetful).violation.is_some());
    assert!(found.is_some(), "the checker can't see it");
}

#[test]
fn the_same_seed_gives_the_same_digest() {
    for seed in 0..8 {
        let (one, two) = (storm(seed, Mistake::Nothing), storm(seed, Mistake::Nothing));
        assert_eq!(one.digest, two.digest);
    }
    assert_ne!(storm(1, Mistake::Nothing).digest, storm(5, Mistake::Nothing).digest);
}

#[test]
fn in_good_weather_nobody_lapses_and_nobody_is_called_down() {
    for seed in 0..20 {
        let mut world = World::new(seed, 1 + seed % 6 + 1, Mistake::Nothing);
        world.run(3_000);
        assert_eq!(world.not_serving(), [], "seed {seed}");
        world.run(30_000);
        assert_eq!((world.lapses, world.downs()), (0, 0), "seed {seed}");
    }
}

#[test]
fn when_the_leader_dies_the_others_keep_their_leases_and_call_it_down() {
    let mut lapsed = 0;
    for seed in 0..100 {
        let mut world = World::new(seed, 3 + 2 * (seed % 2), Mistake::Nothing);
        world.run(3_000);
        let leader = world.leader().expect("three seconds are enough for an election");
        world.kill(leader, 6_000);
        world.run(5_000);
        assert_eq!(world.not_serving(), [leader], "seed {seed}");
        assert_eq!(world.downs(), 1, "seed {seed}");
        lapsed += world.lapses;
        world.run(4_000);
        assert_eq!(world.not_serving(), [], "seed {seed}: it came back");
    }
    // Votes may be split more than once, and then a lease does lapse.
    assert!(lapsed <= 5, "{lapsed} leases lapsed in 100 elections");
}

#[test]
fn who_gave_its_lease_back_is_never_live_again_and_does_not_beat() {
    let (me, leader) = (ApplianceId::new(1), ApplianceId::new(2));
    let at = Duration::from_millis;
    let mut holder = LeaseHolder::new(me);
    holder.step(at(0), HolderEvent::Leader(Some(leader)));
    let beats = holder.step(at(1), HolderEvent::Up(Incarnation::new(1)));
    let [HolderEffect::Send { beat, .. }] = beats[..] else { panic!("{beats:?}") };
    let answer = |number, incarnation| BeatAnswer {
        incarnation,
        number,
        verdict: Verdict::Granted { view: View::new(1) },
    };
    holder.step(at(2), HolderEvent::Answered(answer(beat.number, beat.incarnation)));
    assert!(holder.is_live(at(3)));
    holder.step(at(4), HolderEvent::GivenBack);
    let later = [
        HolderEvent::Answered(answer(beat.number, beat.incarnation)),
        HolderEvent::Up(Incarnation::new(2)),
        HolderEvent::Down(Incarnation::new(1)),
        HolderEvent::Tick,
    ];
    for (n, event) in later.into_iter().enumerate() {
        let now = at(5 + 1_000 * n as u64);
        let effects = holder.step(now, event);
        let quiet = effects.iter().all(|effect| matches!(effect, HolderEffect::Lapsed));
        assert!(quiet && !holder.is_live(now), "{effects:?}");
    }
}

#[test]
fn a_restarted_process_serves_again_without_waiting_for_its_old_lease() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3, Mistake::Nothing);
        world.run(3_000);
        let leader = world.leader().unwrap();
        let other = (1..=3).map(ApplianceId::new).find(|id| *id != leader).unwrap();
        world.kill(other, 10);
        world.run(700);
        assert_eq!((world.not_serving(), world.downs()), (vec![], 0), "seed {seed}");
    }
}
