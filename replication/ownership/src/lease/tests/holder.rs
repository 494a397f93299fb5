use super::*;

const ADA: ApplianceId = ApplianceId::new(1);
const BOB: ApplianceId = ApplianceId::new(2);
const CYD: ApplianceId = ApplianceId::new(3);
const FIRST: Incarnation = Incarnation::new(1);

fn ms(millis: u64) -> Duration {
    Duration::from_secs(1000) + Duration::from_millis(millis)
}

/// One of three, up since 0, that asks Bob.
fn beating() -> LeaseHolder {
    let mut holder = LeaseHolder::new(ADA);
    holder.step(ms(0), HolderEvent::Voters(vec![ADA, BOB, CYD]));
    holder.step(ms(0), HolderEvent::Leader(Some(BOB)));
    let effects = holder.step(ms(0), HolderEvent::Up(FIRST));
    assert_eq!(sent(&effects), [(BOB, 1)]);
    holder
}

fn sent(effects: &[HolderEffect]) -> Vec<(ApplianceId, u64)> {
    let beat = |effect: &HolderEffect| match effect {
        HolderEffect::Send { to, beat } => Some((*to, beat.number)),
        _ => None,
    };
    effects.iter().filter_map(beat).collect()
}

fn answer(number: u64, verdict: Verdict) -> HolderEvent {
    HolderEvent::Answered(BeatAnswer { incarnation: FIRST, number, verdict })
}

fn granted(number: u64) -> HolderEvent {
    answer(number, Verdict::Granted { view: View::new(1) })
}

#[test]
fn a_lease_runs_from_when_its_beat_was_sent() {
    let mut holder = beating();
    assert!(!holder.is_live(ms(0)));
    holder.step(ms(100), granted(1));
    assert_eq!(holder.holding(), Holding::Until(ms(1500)));
    assert!(holder.is_live(ms(1499)) && !holder.is_live(ms(1500)));
}

#[test]
fn answers_that_come_late_doubled_or_out_of_order_never_shorten_or_stretch_a_lease() {
    let mut holder = beating();
    holder.step(ms(150), HolderEvent::Tick);
    holder.step(ms(300), HolderEvent::Tick);
    holder.step(ms(310), granted(3));
    holder.step(ms(320), granted(1));
    holder.step(ms(330), granted(3));
    assert_eq!(holder.holding(), Holding::Until(ms(1800)));
}

#[test]
fn an_answer_to_a_beat_never_sent_or_of_another_run_grants_nothing() {
    let mut holder = beating();
    holder.step(ms(1), granted(7));
    let verdict = Verdict::Granted { view: View::new(1) };
    let incarnation = Incarnation::new(9);
    holder.step(ms(1), HolderEvent::Answered(BeatAnswer { incarnation, number: 1, verdict }));
    assert!(!holder.is_live(ms(2)));
}

#[test]
fn a_lapse_is_told_once_and_nothing_is_live_before_the_connections_are_closed() {
    let mut holder = beating();
    holder.step(ms(10), granted(1));
    holder.step(ms(1450), HolderEvent::Tick);
    // The beat of 1450 is answered late: the lease had ended, whoever looked.
    let effects = holder.step(ms(1510), granted(2));
    assert_eq!(effects.iter().filter(|e| **e == HolderEffect::Lapsed).count(), 1);
    assert!(!holder.is_live(ms(1520)), "the connections are still open");
    let effects = holder.step(ms(1530), HolderEvent::Tick);
    assert!(!effects.contains(&HolderEffect::Lapsed));
    holder.step(ms(1540), HolderEvent::Closed);
    assert!(holder.is_live(ms(1540)));
    assert_eq!(holder.holding(), Holding::Until(ms(2950)));
}

#[test]
fn one_that_never_held_a_lease_lapses_nothing() {
    let mut holder = beating();
    for at in (0..5000).step_by(50) {
        assert!(!holder.step(ms(at), HolderEvent::Tick).contains(&HolderEffect::Lapsed));
    }
}

#[test]
fn one_that_was_called_down_holds_nothing_at_once_and_rejoins_once() {
    let mut holder = beating();
    holder.step(ms(10), granted(1));
    holder.step(ms(150), HolderEvent::Tick);
    let down = answer(2, Verdict::CalledDown { view: View::new(9) });
    let effects = holder.step(ms(160), down.clone());
    let newer = HolderEffect::Newer(View::new(9));
    assert_eq!(effects, [newer, HolderEffect::Lapsed, HolderEffect::Rejoin]);
    assert_eq!(holder.step(ms(170), down), []);
    assert_eq!(holder.step(ms(170), HolderEvent::Down(FIRST)), []);
    assert_eq!(holder.step(ms(900), HolderEvent::Tick), [], "the old run beats no more");
    holder.step(ms(950), HolderEvent::Closed);
    let effects = holder.step(ms(1000), HolderEvent::Up(Incarnation::new(2)));
    assert_eq!(sent(&effects), [(BOB, 1)]);
    assert!(!holder.is_live(ms(1001)), "the old run's lease is not the new one's");
}

#[test]
fn its_own_log_tells_it_as_well_that_it_was_called_down() {
    let mut holder = beating();
    holder.step(ms(10), granted(1));
    assert_eq!(holder.step(ms(20), HolderEvent::Down(Incarnation::new(0))), []);
    let effects = holder.step(ms(20), HolderEvent::Down(FIRST));
    assert_eq!(effects, [HolderEffect::Lapsed, HolderEffect::Rejoin]);
}

#[test]
fn a_fleet_of_one_has_no_beats_and_holds_its_lease_for_ever() {
    let mut holder = LeaseHolder::new(ADA);
    holder.step(ms(0), HolderEvent::Alone);
    assert!(!holder.is_live(ms(0)), "not before its own start is entered");
    let effects = holder.step(ms(1), HolderEvent::Up(FIRST));
    assert_eq!(effects, []);
    assert!(holder.is_live(ms(1 << 40)));
    assert_eq!(holder.step(ms(9_000_000), HolderEvent::Tick), []);
}

#[test]
fn a_lone_appliance_beats_and_is_answered_before_a_second_is_entered() {
    let mut holder = LeaseHolder::new(ADA);
    holder.step(ms(0), HolderEvent::Voters(vec![ADA]));
    holder.step(ms(0), HolderEvent::Alone);
    holder.step(ms(0), HolderEvent::Up(FIRST));
    let effects = holder.step(ms(100), HolderEvent::Accompanied);
    assert_eq!(sent(&effects), [(ADA, 1)]);
    assert!(holder.is_live(ms(1599)) && !holder.is_live(ms(1600)));
    assert!(!holder.is_accompanied());
    holder.step(ms(110), granted(1));
    assert!(holder.is_accompanied());
    holder.step(ms(120), HolderEvent::Alone);
    assert!(!holder.is_accompanied() && holder.is_live(ms(99_000)), "nobody joined after all");
}

#[test]
fn the_leader_is_asked_and_without_one_the_voters_in_turn() {
    let mut holder = beating();
    let ask = answer(1, Verdict::AskLeader(Some(CYD)));
    let effects = holder.step(ms(10), ask);
    assert_eq!(sent(&effects), [], "soon, but not faster than two voters can name each other");
    assert_eq!(sent(&holder.step(ms(60), HolderEvent::Tick)), [(CYD, 2)]);
    let mut asked = Vec::new();
    for at in (100..1200).step_by(50) {
        asked.extend(sent(&holder.step(ms(at), HolderEvent::Tick)).iter().map(|(to, _)| *to));
    }
    assert_eq!(asked, [CYD, CYD, BOB, CYD, ADA, BOB, CYD]);
}
