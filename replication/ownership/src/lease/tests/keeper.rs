use super::*;

const ADA: ApplianceId = ApplianceId::new(1);
const BOB: ApplianceId = ApplianceId::new(2);
const RUN: Incarnation = Incarnation::new(4);

fn ms(millis: u64) -> Duration {
    Duration::from_secs(1000) + Duration::from_millis(millis)
}

fn present(appliance: ApplianceId) -> Present {
    Present { appliance, incarnation: RUN, up: true }
}

fn applied(roll: &[Present]) -> KeeperEvent {
    KeeperEvent::Applied { view: View::new(5), roll: roll.to_vec() }
}

/// Leads a fleet of Ada and Bob since 0.
fn leading() -> LeaseKeeper {
    let mut keeper = LeaseKeeper::new();
    keeper.step(ms(0), applied(&[present(ADA), present(BOB)]));
    assert_eq!(keeper.step(ms(0), KeeperEvent::Led), []);
    keeper
}

fn beat(number: u64) -> KeeperEvent {
    KeeperEvent::Beat(Beat { appliance: BOB, incarnation: RUN, number })
}

fn answered(number: u64, verdict: Verdict) -> KeeperEffect {
    let answer = BeatAnswer { incarnation: RUN, number, verdict };
    KeeperEffect::Answer { to: BOB, answer }
}

fn granted(number: u64) -> KeeperEffect {
    answered(number, Verdict::Granted { view: View::new(5) })
}

/// Ticks through a time and gives what was done and when.
fn ticks(keeper: &mut LeaseKeeper, times: std::ops::Range<u64>) -> Vec<(u64, KeeperEffect)> {
    let mut done = Vec::new();
    for at in times.step_by(10) {
        let effects = keeper.step(ms(at), KeeperEvent::Tick);
        done.extend(effects.into_iter().map(|effect| (at, effect)));
    }
    done
}

fn downs(done: &[(u64, KeeperEffect)]) -> Vec<(u64, ApplianceId)> {
    let down = |(at, effect): &(u64, KeeperEffect)| match effect {
        KeeperEffect::ProposeDown { appliance, .. } => Some((*at, *appliance)),
        _ => None,
    };
    done.iter().filter_map(down).collect()
}

#[test]
fn a_beat_is_answered_by_a_round_begun_after_it_arrived() {
    let mut keeper = leading();
    assert_eq!(keeper.step(ms(1), beat(1)), [KeeperEffect::StartRound(Round(1))]);
    assert_eq!(keeper.step(ms(2), beat(2)), [], "one round at a time");
    let effects = keeper.step(ms(3), KeeperEvent::RoundDone(Round(1)));
    assert_eq!(effects, [granted(1), KeeperEffect::StartRound(Round(2))]);
    assert_eq!(keeper.step(ms(4), KeeperEvent::RoundDone(Round(1))), [], "that one is over");
    assert_eq!(keeper.step(ms(5), KeeperEvent::RoundDone(Round(2))), [granted(2)]);
}

#[test]
fn all_beats_that_wait_share_a_round() {
    let mut keeper = leading();
    keeper.step(ms(1), beat(1));
    keeper.step(ms(2), beat(2));
    keeper.step(ms(2), beat(3));
    let ada = Beat { appliance: ADA, incarnation: RUN, number: 1 };
    keeper.step(ms(2), KeeperEvent::Beat(ada));
    keeper.step(ms(3), KeeperEvent::RoundDone(Round(1)));
    let answers = keeper.step(ms(4), KeeperEvent::RoundDone(Round(2)));
    assert_eq!(answers.len(), 2, "the newest of each: {answers:?}");
}

#[test]
fn a_round_that_fails_or_takes_too_long_leaves_its_beats_to_the_next() {
    let mut keeper = leading();
    keeper.step(ms(1), beat(1));
    let effects = keeper.step(ms(2), KeeperEvent::RoundFailed(Round(1)));
    assert_eq!(effects, [], "at once it would fail again");
    let done = ticks(&mut keeper, 10..700);
    let again = |number| KeeperEffect::StartRound(Round(number));
    assert_eq!(done, [(60, again(2)), (660, again(3))]);
    assert_eq!(keeper.step(ms(701), KeeperEvent::RoundDone(Round(3))), [granted(1)]);
}

#[test]
fn who_is_silent_for_a_lease_and_drift_is_called_down_once() {
    let mut keeper = leading();
    ticks(&mut keeper, 0..300);
    keeper.step(ms(300), beat(1));
    keeper.step(ms(301), KeeperEvent::RoundDone(Round(1)));
    let done = downs(&ticks(&mut keeper, 310..3000));
    assert_eq!(done, [(1200, ADA), (1900, BOB)], "of Ada nothing was ever heard");
}

#[test]
fn a_new_leader_waits_as_long_as_the_last_one_may_have_granted() {
    let mut keeper = leading();
    let done = downs(&ticks(&mut keeper, 0..3000));
    assert_eq!(done, [(1200, ADA), (1200, BOB)]);
    assert_eq!(NEW_LEADER_WAIT, Duration::from_millis(1200));
}

#[test]
fn one_that_was_accused_is_not_answered_until_the_fate_of_its_down_is_known() {
    let mut keeper = leading();
    ticks(&mut keeper, 0..1210);
    assert_eq!(keeper.step(ms(1220), beat(1)), [], "its lease may be another's by now");
    let refused = KeeperEvent::DownRefused { appliance: BOB, incarnation: RUN };
    keeper.step(ms(1230), refused);
    assert_eq!(downs(&ticks(&mut keeper, 1240..1300)), []);
    keeper.step(ms(1300), beat(2));
    assert_eq!(keeper.step(ms(1301), KeeperEvent::RoundDone(Round(1))), [granted(2)]);
}

#[test]
fn a_run_that_is_over_is_told_so() {
    let mut keeper = leading();
    keeper.step(ms(1), beat(1));
    let down = Present { up: false, ..present(BOB) };
    keeper.step(ms(2), applied(&[present(ADA), down]));
    let called_down = Verdict::CalledDown { view: View::new(5) };
    let effects = keeper.step(ms(3), KeeperEvent::RoundDone(Round(1)));
    assert_eq!(effects, [answered(1, called_down)]);
    let next = Present { incarnation: RUN.next(), ..present(BOB) };
    keeper.step(ms(4), applied(&[present(ADA), next]));
    keeper.step(ms(5), beat(2));
    let effects = keeper.step(ms(6), KeeperEvent::RoundDone(Round(2)));
    assert_eq!(effects, [answered(2, called_down)], "a newer run has begun");
}

#[test]
fn a_beat_of_a_run_not_heard_of_here_is_not_answered_before_it_is() {
    let mut keeper = leading();
    let (incarnation, number) = (RUN.next(), 1);
    keeper.step(ms(1), KeeperEvent::Beat(Beat { appliance: BOB, incarnation, number }));
    assert_eq!(keeper.step(ms(2), KeeperEvent::RoundDone(Round(1))), []);
}

#[test]
fn an_old_beat_that_arrives_late_is_no_sign_of_life() {
    let mut keeper = leading();
    keeper.step(ms(10), beat(5));
    keeper.step(ms(11), KeeperEvent::RoundDone(Round(1)));
    ticks(&mut keeper, 20..1000);
    keeper.step(ms(1000), beat(3));
    keeper.step(ms(1000), beat(5));
    let done = downs(&ticks(&mut keeper, 1010..2000));
    assert_eq!(done, [(1200, ADA), (1610, BOB)]);
}

#[test]
fn who_does_not_lead_says_who_does_and_calls_nobody_down() {
    let mut keeper = leading();
    keeper.step(ms(1), beat(1));
    let ask = Verdict::AskLeader(Some(ADA));
    let effects = keeper.step(ms(2), KeeperEvent::NotLed { leader: Some(ADA) });
    assert_eq!(effects, [answered(1, ask)]);
    assert_eq!(keeper.step(ms(3), beat(2)), [answered(2, ask)]);
    assert_eq!(keeper.step(ms(4), KeeperEvent::RoundDone(Round(1))), []);
    assert_eq!(ticks(&mut keeper, 10..9000), []);
}

#[test]
fn after_its_own_pause_a_keeper_listens_before_it_calls_anybody_down() {
    let mut keeper = leading();
    ticks(&mut keeper, 0..500);
    assert_eq!(keeper.step(ms(9000), KeeperEvent::Tick), []);
    keeper.step(ms(9001), beat(1));
    let done = downs(&ticks(&mut keeper, 9010..10_600));
    assert_eq!(done, [(9710, ADA)], "what was left of its time when the pause began");
}

#[test]
fn a_fleet_of_one_calls_nobody_down_and_a_second_member_starts_the_clock() {
    let mut keeper = LeaseKeeper::new();
    keeper.step(ms(0), applied(&[present(ADA)]));
    keeper.step(ms(0), KeeperEvent::Led);
    assert_eq!(ticks(&mut keeper, 0..9000), []);
    let joined = Present { up: false, incarnation: Incarnation::default(), appliance: BOB };
    keeper.step(ms(9000), applied(&[present(ADA), joined]));
    assert_eq!(downs(&ticks(&mut keeper, 9010..11_000)), [(10_600, ADA)]);
}
