use admin::MemberView;

use super::*;

fn member(appliance: &str, up: bool) -> MemberView {
    MemberView {
        name: appliance.to_owned(),
        appliance: appliance.to_owned(),
        addresses: vec![],
        labels: Default::default(),
        kind: "full".to_owned(),
        up,
        draining: false,
        votes: true,
        volumes: vec![],
    }
}

#[test]
fn an_appliance_has_joined_once_it_is_up_beside_others() {
    let fleet = |members: &[(&str, bool)]| FleetView {
        view: 1,
        tolerates: String::new(),
        leader: None,
        members: members.iter().map(|(id, up)| member(id, *up)).collect(),
    };
    assert!(!is_of(&fleet(&[("b", true)]), "b"), "still the fleet of one that it was");
    assert!(!is_of(&fleet(&[("a", true), ("b", false)]), "b"), "admitted, and not up yet");
    assert!(is_of(&fleet(&[("a", true), ("b", true)]), "b"));
}

#[test]
fn a_label_has_a_key_and_a_value() {
    assert_eq!(label("site=attic=2"), Ok(("site".to_owned(), "attic=2".to_owned())));
    assert_eq!(label("site="), Ok(("site".to_owned(), String::new())));
    assert!(label("attic").is_err() && label("=attic").is_err());
}
