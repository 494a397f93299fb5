use super::*;

fn roll(up: bool) -> Roll {
    let (appliance, incarnation) = (ApplianceId::new(1), model::Incarnation::new(1));
    let present = vec![Present { appliance, incarnation, up }];
    Roll { present, draining: Vec::new(), offers: Vec::new() }
}

#[test]
fn calm_begins_anew_when_somebody_comes_or_goes_and_when_another_leads() {
    let (mut calm, at) = (Calm::default(), Duration::from_secs);
    assert_eq!(calm.since(roll(true), at(10)), at(0));
    assert_eq!(calm.since(roll(true), at(70)), at(60));
    assert_eq!(calm.since(roll(false), at(71)), at(0));
    assert_eq!(calm.since(roll(false), at(81)), at(10));
    calm.forget();
    assert_eq!(calm.since(roll(false), at(200)), at(0));
}
