use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "22".into()]];
    assert_eq!(table(&["X", "Y"], rows), "X     Y\na     1\nlong  22\n");
}

#[test]
fn sizes_and_times_are_told_in_units_that_fit() {
    assert_eq!(bytes(1023), "1023 B");
    assert_eq!(bytes(3 << 30), "3.0 GiB");
    assert_eq!(duration(59), "59 s");
    assert_eq!(duration(3_700), "1 h 1 min");
    assert_eq!(duration(90_000), "1 d 1 h");
}

#[test]
fn an_invitation_names_every_address_that_it_can_be_used_at() {
    let said = invitation(&admin::InvitationView {
        token: "TOKEN".into(),
        addresses: vec!["10.0.0.5:2050".into(), "[fd00::5]:2050".into()],
        good_for_seconds: 86_400,
        id: "0123".into(),
    });
    for wanted in ["join TOKEN 10.0.0.5:2050\n", "join TOKEN [fd00::5]:2050\n", "revoke 0123"] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn what_a_dead_appliance_alone_had_is_said_with_examples_and_what_is_not_known_too() {
    let volume = admin::HeldView {
        volume: "media".into(),
        id: 1,
        held: "member".into(),
        others: vec!["ada".into()],
        files: Some(5),
        files_alone: Some(2),
        examples: vec!["/a/film".into()],
        note: None,
    };
    let mut view = admin::RemovalView {
        name: "bob".into(),
        appliance: "2".into(),
        up: false,
        volumes: vec![volume],
        files_alone: 2,
        unknown: vec!["films".into()],
    };
    let said = removal(&view);
    for wanted in ["bob alone has 2 files", "media/a/film", "of films can't be found out"] {
        assert!(said.contains(wanted), "{said}");
    }
    (view.files_alone, view.unknown) = (0, vec![]);
    assert!(removal(&view).contains("nothing that nobody else has"));
}

#[test]
fn a_deleted_volume_says_how_it_is_brought_back_and_until_when() {
    let said = volume_deleted(&DeletedVolumeView {
        name: "media".into(),
        id: 3,
        at: "2026-01-01T00:00:00Z".into(),
        kept_until: "2026-01-08T00:00:00Z".into(),
        kept_seconds: 604_800,
    });
    for wanted in ["2026-01-08T00:00:00Z (7 d 0 h)", "volume undelete 3", "volume purge 3 --yes"] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn a_state_that_somebody_should_look_at_is_loud() {
    let said = ["in_sync", "resyncing", "degraded", "unavailable", "unknown"].map(state);
    assert_eq!(said, ["in sync", "resyncing", "DEGRADED", "UNAVAILABLE", "unknown"]);
}

#[test]
fn events_are_a_line_each_and_bad_ones_loud() {
    let event = |status: &str| admin::EventView {
        number: 7,
        time: "2026-01-01T00:00:00Z".into(),
        status: status.into(),
        subject: "appliance bob".into(),
        job: "fleet".into(),
        message: "Appliance bob is down.".into(),
        details: Default::default(),
        repeated: 0,
    };
    let table = events(&[event("error"), event("info")]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("TIME ") && lines.len() == 3, "{table}");
    assert!(lines[1].contains("  ERROR   appliance bob  Appliance bob is down."), "{table}");
    assert!(lines[2].contains("  info    appliance bob"), "{table}");
    assert_eq!(
        super::event(&event("error")),
        "2026-01-01T00:00:00Z  ERROR    appliance bob: Appliance bob is down."
    );
    assert!(tried(&[]).contains("[[notify.webhook]]"), "who has no target is told how to add one");
}
