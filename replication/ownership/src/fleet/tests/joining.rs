use super::*;

const SECRET: InvitationDigest = InvitationDigest([3; 32]);

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn invite(now: u64, expires: u64) -> FleetCommand {
    let (expires, now) = (at(expires), at(now));
    FleetCommand::Invite { digest: SECRET, expires, kind: MemberKind::Full, now }
}

fn join(appliance: ApplianceId, now: u64) -> FleetCommand {
    FleetCommand::Admit {
        digest: SECRET,
        appliance,
        name: "bob".into(),
        addresses: vec!["10.0.0.2:2050".parse().unwrap()],
        labels: Labels([("site".to_owned(), "attic".to_owned())].into()),
        kind: MemberKind::Full,
        now: at(now),
    }
}

#[test]
fn an_invitation_lets_one_appliance_in_once() {
    let mut fleet = fleet_of(1);
    fleet.apply(invite(1, 10)).unwrap();
    fleet.apply(join(BOB, 2)).unwrap();
    assert_eq!(fleet.member(BOB).unwrap().labels.site(), "attic");
    assert!(!fleet.is_up(BOB), "it was admitted, it has not started");
    assert_eq!(refused(&mut fleet, join(BOB, 3)), FleetRefusal::AlreadyMember(BOB));
    assert_eq!(refused(&mut fleet, join(CYD, 3)), FleetRefusal::InvitationUsed(BOB));
}

#[test]
fn an_unknown_revoked_or_expired_invitation_lets_nobody_in() {
    let mut fleet = fleet_of(1);
    assert_eq!(refused(&mut fleet, join(BOB, 1)), FleetRefusal::UnknownInvitation);
    assert_eq!(refused(&mut fleet, invite(10, 10)), FleetRefusal::InvitationInThePast);
    fleet.apply(invite(1, 10)).unwrap();
    assert_eq!(refused(&mut fleet, invite(1, 10)), FleetRefusal::InvitationExists);
    assert_eq!(refused(&mut fleet, join(BOB, 10)), FleetRefusal::InvitationExpired);
    fleet.apply(FleetCommand::RevokeInvitation { digest: SECRET }).unwrap();
    assert_eq!(refused(&mut fleet, join(BOB, 2)), FleetRefusal::UnknownInvitation);
    let revoke = FleetCommand::RevokeInvitation { digest: SECRET };
    assert_eq!(refused(&mut fleet, revoke), FleetRefusal::UnknownInvitation);
}

#[test]
fn an_invitation_for_a_witness_admits_no_holder_of_data() {
    let mut fleet = fleet_of(1);
    let (expires, now, kind) = (at(9), at(1), MemberKind::Witness);
    fleet.apply(FleetCommand::Invite { digest: SECRET, expires, kind, now }).unwrap();
    assert_eq!(refused(&mut fleet, join(BOB, 2)), FleetRefusal::InvitationKind);
}

#[test]
fn what_an_appliance_says_of_itself_has_limits() {
    let mut fleet = fleet_of(1);
    fleet.apply(invite(1, 10)).unwrap();
    let with = |change: &dyn Fn(&mut String, &mut Vec<_>, &mut Labels)| {
        let mut command = join(BOB, 2);
        let FleetCommand::Admit { name, addresses, labels, .. } = &mut command else {
            unreachable!()
        };
        change(name, addresses, labels);
        command
    };
    for name in ["", "ada", &"x".repeat(APPLIANCE_NAME_BYTES_MAX + 1)] {
        let command = with(&|n, _, _| *n = name.to_owned());
        assert_eq!(refused(&mut fleet, command), FleetRefusal::BadApplianceName(name.to_owned()));
    }
    let many = with(&|_, addresses, _| *addresses = vec![addresses[0]; ADDRESSES_MAX + 1]);
    assert_eq!(refused(&mut fleet, many), FleetRefusal::TooManyAddresses);
    let long = "y".repeat(LABEL_BYTES_MAX + 1);
    for (name, value) in [("site", long.as_str()), ("", "x"), (&long, "x")] {
        let command = with(&|_, _, labels| {
            labels.0.insert(name.to_owned(), value.to_owned());
        });
        assert_eq!(refused(&mut fleet, command), FleetRefusal::BadLabels);
    }
    let crowd = with(&|_, _, labels| {
        labels.0 = (0..=LABELS_MAX).map(|n| (n.to_string(), String::new())).collect();
    });
    assert_eq!(refused(&mut fleet, crowd), FleetRefusal::BadLabels);
}

#[test]
fn sixty_four_open_invitations_are_enough_and_old_ones_make_room() {
    let mut fleet = fleet_of(1);
    let invite = |n: u8, now, expires| FleetCommand::Invite {
        digest: InvitationDigest([n; 32]),
        expires: at(expires),
        kind: MemberKind::Full,
        now: at(now),
    };
    for n in 0..INVITATIONS_MAX as u8 {
        fleet.apply(invite(n, 1, 10 + u64::from(n))).unwrap();
    }
    assert_eq!(refused(&mut fleet, invite(99, 1, 99)), FleetRefusal::TooManyInvitations);
    fleet.apply(invite(99, 10, 99)).unwrap();
    assert_eq!(fleet.invitations().len(), INVITATIONS_MAX, "the expired one made room");
}

#[test]
fn a_used_invitation_makes_room_for_an_open_one() {
    let mut fleet = fleet_of(1);
    fleet.apply(invite(1, 99)).unwrap();
    fleet.apply(join(BOB, 2)).unwrap();
    for n in 100..100 + INVITATIONS_MAX as u8 {
        let (digest, kind) = (InvitationDigest([n; 32]), MemberKind::Full);
        let invite = FleetCommand::Invite { digest, expires: at(99), kind, now: at(3) };
        fleet.apply(invite).unwrap();
    }
    assert_eq!(fleet.invitations().len(), INVITATIONS_MAX);
}

#[test]
fn a_fleet_has_sixty_four_appliances_at_most() {
    let mut fleet = fleet_of(MEMBERS_MAX as u64);
    let one_more = admit(&mut fleet, ApplianceId::new(200), MemberKind::Full);
    assert_eq!(one_more, Err(FleetRefusal::TooManyMembers));
}

#[test]
fn the_authority_is_set_once_and_never_printed() {
    let mut fleet = fleet_of(1);
    let set = |bytes: Vec<u8>| FleetCommand::SetAuthority { authority: Authority(bytes) };
    assert_eq!(refused(&mut fleet, set(vec![])), FleetRefusal::BadAuthority);
    let long = vec![0; AUTHORITY_BYTES_MAX + 1];
    assert_eq!(refused(&mut fleet, set(long)), FleetRefusal::BadAuthority);
    fleet.apply(set(vec![250, 251])).unwrap();
    assert_eq!(refused(&mut fleet, set(vec![1])), FleetRefusal::AuthoritySet);
    for printed in [format!("{:?}", set(vec![250, 251])), format!("{fleet:?}")] {
        assert!(!printed.contains("250"), "{printed}");
    }
}

#[test]
fn only_the_current_run_is_called_down_and_once() {
    let mut fleet = fleet_of(2);
    let first = fleet.member(BOB).unwrap().incarnation;
    start(&mut fleet, BOB, true);
    let of_first = FleetCommand::Down { appliance: BOB, incarnation: first };
    let over = FleetRefusal::RunOver { appliance: BOB, incarnation: first };
    assert_eq!(refused(&mut fleet, of_first), over, "the entry came too late");
    let view = fleet.view();
    down(&mut fleet, BOB);
    assert!(!fleet.is_up(BOB));
    assert!(fleet.view() > view);
    let incarnation = fleet.member(BOB).unwrap().incarnation;
    let again = FleetCommand::Down { appliance: BOB, incarnation };
    assert!(matches!(refused(&mut fleet, again), FleetRefusal::RunOver { .. }));
}

#[test]
fn a_fleet_of_one_is_never_called_down_nor_removed() {
    let mut fleet = fleet_of(1);
    let incarnation = fleet.member(ADA).unwrap().incarnation;
    let down = FleetCommand::Down { appliance: ADA, incarnation };
    assert_eq!(refused(&mut fleet, down), FleetRefusal::LastAppliance(ADA));
    let remove = FleetCommand::Remove { appliance: ADA, how: RemoveHow::Dead };
    assert_eq!(refused(&mut fleet, remove), FleetRefusal::LastAppliance(ADA));
}

#[test]
fn a_removed_appliance_never_comes_back() {
    let mut fleet = fleet_of(3);
    let remove = FleetCommand::Remove { appliance: BOB, how: RemoveHow::Planned };
    assert_eq!(refused(&mut fleet, remove.clone()), FleetRefusal::StillUp("a8".into()));
    down(&mut fleet, BOB);
    let view = fleet.view();
    fleet.apply(remove.clone()).unwrap();
    assert!(fleet.view() > view);
    assert_eq!(refused(&mut fleet, remove), FleetRefusal::UnknownAppliance(BOB));
    assert_eq!(admit(&mut fleet, BOB, MemberKind::Full), Err(FleetRefusal::Removed(BOB)));
    let up = FleetCommand::Up { appliance: BOB, name: "bob".into(), clean: true };
    assert_eq!(refused(&mut fleet, up), FleetRefusal::Removed(BOB));
}

#[test]
fn labels_and_draining_are_set_on_members_alone() {
    let mut fleet = fleet_of(2);
    let labels = Labels([("rack".to_owned(), "r1".to_owned())].into());
    fleet.apply(FleetCommand::SetLabels { appliance: BOB, labels: labels.clone() }).unwrap();
    assert_eq!(fleet.member(BOB).unwrap().labels.rack(), ("", "r1"));
    fleet.apply(FleetCommand::SetDraining { appliance: BOB, drain: Drain::Start }).unwrap();
    assert!(fleet.member(BOB).unwrap().draining);
    fleet.apply(FleetCommand::SetDraining { appliance: BOB, drain: Drain::Stop }).unwrap();
    assert!(!fleet.member(BOB).unwrap().draining);
    let unknown = FleetRefusal::UnknownAppliance(CYD);
    let set = FleetCommand::SetLabels { appliance: CYD, labels };
    assert_eq!(refused(&mut fleet, set), unknown);
    let drain = FleetCommand::SetDraining { appliance: CYD, drain: Drain::Start };
    assert_eq!(refused(&mut fleet, drain), unknown);
}

#[test]
fn an_appliance_that_takes_anothers_name_at_its_start_is_told_so() {
    let mut fleet = fleet_of(2);
    let (addresses, labels) = (vec![], Labels::default());
    let name = "ada".to_owned();
    let up = FleetCommand::UpAt { appliance: BOB, name, addresses, labels, clean: true };
    assert_eq!(refused(&mut fleet, up), FleetRefusal::BadApplianceName("ada".into()));
}
