use super::*;

const ADA: ApplianceId = ApplianceId::new(1);
const BOB: ApplianceId = ApplianceId::new(2);
const CYD: ApplianceId = ApplianceId::new(3);
const FILE: ObjectKey = (VolumeId::new(1), ObjectId::new(7));

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn heat() -> Heat {
    Heat::new(ADA, HeatSettings::default())
}

fn forward(heat: &mut Heat, now: Duration, from: ApplianceId, times: u32) {
    for _ in 0..times {
        heat.forwarded(now, FILE, from);
    }
}

fn decide(heat: &Heat, now: Duration) -> Option<Move> {
    heat.decide(now, FILE, Pin::Free, |_| Room::Enough)
}

fn outcome(heat: &Heat, now: Duration, pin: Pin, room: Room) -> Outcome {
    heat.explain(now, FILE, pin, |_| room).outcome
}

#[test]
fn fifty_forwards_in_ten_seconds_move_an_object() {
    let mut heat = heat();
    assert_eq!(decide(&heat, s(1000)), None);
    forward(&mut heat, s(1000), BOB, 49);
    assert_eq!(decide(&heat, s(1001)), None);
    forward(&mut heat, s(1001), BOB, 1);
    assert_eq!(decide(&heat, s(1001)), Some(Move { to: BOB }));
}

#[test]
fn forwards_of_long_ago_do_not_count() {
    let mut heat = heat();
    forward(&mut heat, s(1000), BOB, 60);
    assert_eq!(heat.explain(s(1015), FILE, Pin::Free, |_| Room::Enough).askers[0].forwards, 30);
    assert_eq!(decide(&heat, s(1015)), None);
    assert_eq!(heat.explain(s(1020), FILE, Pin::Free, |_| Room::Enough).askers[0].forwards, 0);
    // Five a second, for ever, are fifty in ten seconds at any moment.
    for tenth in 10_300..10_600 {
        let now = Duration::from_millis(tenth * 100);
        if tenth % 2 == 0 {
            heat.forwarded(now, FILE, CYD);
        }
        if tenth > 10_500 {
            let forwards = heat.explain(now, FILE, Pin::Free, |_| Room::Enough).askers[0].forwards;
            assert!((49..=51).contains(&forwards), "{forwards}");
        }
    }
}

#[test]
fn an_object_that_its_owner_uses_as_well_stays() {
    let mut heat = heat();
    forward(&mut heat, s(1000), BOB, 89);
    (0..30).for_each(|_| heat.used_here(s(1000), FILE));
    assert_eq!(decide(&heat, s(1000)), None);
    forward(&mut heat, s(1000), BOB, 1);
    assert_eq!(decide(&heat, s(1000)), Some(Move { to: BOB }));
}

#[test]
fn many_who_use_it_a_little_do_not_move_it_and_among_several_the_warmest_gets_it() {
    let mut heat = heat();
    forward(&mut heat, s(1000), BOB, 40);
    forward(&mut heat, s(1000), CYD, 40);
    assert_eq!(decide(&heat, s(1000)), None);
    forward(&mut heat, s(1000), BOB, 20);
    forward(&mut heat, s(1000), CYD, 21);
    assert_eq!(decide(&heat, s(1000)), Some(Move { to: CYD }));
}

#[test]
fn a_pin_wins_over_any_heat_and_over_rest() {
    let mut heat = heat();
    heat.gained(s(1000), FILE, BOB);
    forward(&mut heat, s(1000), BOB, 500);
    assert_eq!(outcome(&heat, s(1000), Pin::To(ADA), Room::Enough), Outcome::PinnedHere);
    let to_cyd = Outcome::Moves(Move { to: CYD });
    assert_eq!(outcome(&heat, s(1000), Pin::To(CYD), Room::Enough), to_cyd);
    let no_room = Outcome::PinnedWithoutRoom(CYD);
    assert_eq!(outcome(&heat, s(1000), Pin::To(CYD), Room::None), no_room);
}

#[test]
fn nothing_moves_where_there_is_no_room() {
    let mut heat = heat();
    forward(&mut heat, s(1000), BOB, 500);
    assert_eq!(outcome(&heat, s(1000), Pin::Free, Room::None), Outcome::NoRoom(BOB));
}

#[test]
fn one_that_was_moved_rests_for_a_minute() {
    let mut heat = heat();
    heat.gained(s(1000), FILE, BOB);
    forward(&mut heat, s(1055), BOB, 500);
    let explained = heat.explain(s(1055), FILE, Pin::Free, |_| Room::Enough);
    assert_eq!((explained.outcome, explained.rests_for), (Outcome::Rests, s(5)));
    assert_eq!(decide(&heat, s(1060)), Some(Move { to: BOB }));
}

#[test]
fn each_time_an_object_comes_back_it_rests_twice_as_long_up_to_an_hour() {
    let (mut ada, mut bob) = (heat(), Heat::new(BOB, HeatSettings::default()));
    let mut now = s(1000);
    let mut rests = Vec::new();
    for round in 0..18 {
        let (from, to) = if round % 2 == 0 { (&mut ada, &mut bob) } else { (&mut bob, &mut ada) };
        let (from_id, to_id) = if round % 2 == 0 { (ADA, BOB) } else { (BOB, ADA) };
        from.handed_over(now, FILE, to_id);
        to.gained(now, FILE, from_id);
        let rest = to.explain(now, FILE, Pin::Free, |_| Room::Enough).rests_for;
        rests.push(rest.as_secs());
        now += rest;
    }
    let expected = [60, 120, 120, 240, 240, 480, 480, 960, 960, 1920, 1920];
    assert_eq!(rests[..11], expected);
    assert_eq!(rests[11..], [3600; 7]);
}

#[test]
fn one_that_stayed_away_for_long_or_comes_from_elsewhere_starts_anew() {
    let mut heat = heat();
    let moved_back =
        |heat: &Heat, now| heat.explain(now, FILE, Pin::Free, |_| Room::None).moved_back;
    heat.handed_over(s(1000), FILE, BOB);
    heat.gained(s(1060), FILE, BOB);
    assert_eq!(moved_back(&heat, s(1060)), 1);
    heat.handed_over(s(1200), FILE, BOB);
    heat.gained(s(1300), FILE, CYD);
    assert_eq!(moved_back(&heat, s(1300)), 0);
    heat.handed_over(s(2000), FILE, CYD);
    heat.gained(s(2000 + 3601), FILE, CYD);
    assert_eq!(moved_back(&heat, s(5601)), 0);
}

#[test]
fn what_is_explained_is_what_was_decided() {
    let mut heat = heat();
    forward(&mut heat, s(1000), BOB, 90);
    forward(&mut heat, s(1000), CYD, 10);
    (0..20).for_each(|_| heat.used_here(s(1000), FILE));
    let askers =
        vec![Asker { appliance: BOB, forwards: 90 }, Asker { appliance: CYD, forwards: 10 }];
    let explained = Explained {
        own: 20,
        askers,
        needed: 60,
        rests_for: Duration::ZERO,
        moved_back: 0,
        outcome: Outcome::Moves(Move { to: BOB }),
    };
    assert_eq!(heat.explain(s(1000), FILE, Pin::Free, |_| Room::Enough), explained);
    assert_eq!(heat.warm(s(1000)).collect::<Vec<_>>(), [FILE]);
}

#[test]
fn among_too_many_objects_and_askers_the_coldest_are_forgotten() {
    let mut heat = heat();
    forward(&mut heat, s(1000), BOB, 60);
    for other in 0..2 * OBJECTS_MAX as u64 {
        heat.used_here(s(1000), (VolumeId::new(2), ObjectId::new(other)));
        assert!(heat.len() <= OBJECTS_MAX);
    }
    assert_eq!(decide(&heat, s(1000)), Some(Move { to: BOB }), "the warm one was kept");
    for asker in 10..100 {
        forward(&mut heat, s(1000), ApplianceId::new(asker), 2);
    }
    let explained = heat.explain(s(1000), FILE, Pin::Free, |_| Room::Enough);
    assert_eq!((explained.askers.len(), explained.askers[0].appliance), (ASKERS_MAX, BOB));
    for object in 0..2 * past::PASTS_MAX as u64 {
        heat.gained(s(1000 + object), (VolumeId::new(3), ObjectId::new(object)), BOB);
    }
    heat.forget(FILE);
    assert_eq!(decide(&heat, s(1000)), None);
}
