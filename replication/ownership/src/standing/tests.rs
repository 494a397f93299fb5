use super::*;

const ADA: ApplianceId = ApplianceId::new(1);
const BOB: ApplianceId = ApplianceId::new(2);
const CYD: ApplianceId = ApplianceId::new(3);
const NOW: Duration = Duration::from_secs(100);

/// Ada, up since view 4, now in view 7, with a live lease; her Reign is of view 4.
fn here() -> Here {
    Here {
        appliance: ADA,
        view: View::new(7),
        up_since: View::new(4),
        reigned: Some(View::new(4)),
        heard: View::new(7),
        up_for: SILENCE_MAX,
        lease: Holding::Until(NOW + Duration::from_millis(1)),
    }
}

/// Owned by `owner` in epoch 3; Ada, Bob and Cyd have copies, in this order.
fn record(owner: ApplianceId, stale: &[ApplianceId]) -> ObjectRecord {
    let replicas = Box::new([ADA, BOB, CYD]);
    ObjectRecord { owner, epoch: Epoch::new(3), replicas, stale: stale.into() }
}

fn ask(here: Here, record: &ObjectRecord, down: &[ApplianceId], claim: Claim) -> Standing {
    let is_up = |appliance: ApplianceId| !down.contains(&appliance);
    standing(NOW, here, record, is_up, Motion::Settled, claim)
}

fn forwarded(view: u64, epoch: u64) -> Claim {
    Claim::Forwarded { view: View::new(view), epoch: Epoch::new(epoch) }
}

fn executes(view: u64) -> Standing {
    Standing::Execute { reign: Reign { epoch: Epoch::new(3), view: View::new(view) } }
}

#[test]
fn the_recorded_owner_acts_under_the_reign_of_its_start() {
    assert_eq!(ask(here(), &record(ADA, &[]), &[], Claim::Client), executes(4));
    let alone = Here { lease: Holding::ForEver, ..here() };
    assert_eq!(ask(alone, &record(ADA, &[]), &[], Claim::Client), executes(4));
}

#[test]
fn nothing_is_done_without_a_live_lease_whoever_asks() {
    for lease in [Holding::Nothing, Holding::Until(NOW)] {
        let here = Here { lease, ..here() };
        for claim in [Claim::Client, forwarded(7, 3), forwarded(6, 3), forwarded(8, 3)] {
            for owner in [ADA, BOB] {
                let standing = ask(here, &record(owner, &[]), &[], claim);
                assert_eq!(standing, Standing::Wait(WaitFor::Lease));
            }
        }
    }
}

#[test]
fn what_another_owns_is_forwarded_or_its_asker_told_where() {
    let to_bob = Standing::Forward { to: BOB, epoch: Epoch::new(3) };
    assert_eq!(ask(here(), &record(BOB, &[]), &[], Claim::Client), to_bob);
    assert_eq!(ask(here(), &record(BOB, &[]), &[], forwarded(7, 3)), to_bob);
    let to_cyd = Standing::Forward { to: CYD, epoch: Epoch::new(3) };
    assert_eq!(ask(here(), &record(BOB, &[ADA]), &[BOB], Claim::Client), to_cyd);
}

#[test]
fn a_request_of_a_newer_view_or_epoch_waits_until_this_appliance_has_caught_up() {
    for owner in [ADA, BOB] {
        let ours = record(owner, &[]);
        assert_eq!(ask(here(), &ours, &[], forwarded(8, 3)), Standing::Wait(WaitFor::View));
        assert_eq!(ask(here(), &ours, &[], forwarded(8, 2)), Standing::Wait(WaitFor::View));
        assert_eq!(ask(here(), &ours, &[], forwarded(7, 4)), Standing::Wait(WaitFor::Epoch));
        assert_eq!(ask(here(), &ours, &[], forwarded(6, 4)), Standing::Wait(WaitFor::Epoch));
    }
}

#[test]
fn a_forwarded_request_of_an_older_view_or_epoch_is_never_executed() {
    let behind = Standing::Behind { view: View::new(7), epoch: Epoch::new(3) };
    for claim in [forwarded(6, 3), forwarded(7, 2), forwarded(0, 0)] {
        assert_eq!(ask(here(), &record(ADA, &[]), &[], claim), behind);
    }
    assert_eq!(ask(here(), &record(ADA, &[]), &[], forwarded(7, 3)), executes(4));
}

#[test]
fn while_a_hand_over_is_open_its_owner_acknowledges_nothing() {
    let ask = |owner| {
        let record = record(owner, &[]);
        standing(NOW, here(), &record, |_| true, Motion::Open, Claim::Client)
    };
    assert_eq!(ask(ADA), Standing::Wait(WaitFor::HandOver));
    assert!(matches!(ask(BOB), Standing::Forward { .. }), "once it is applied, it is another's");
}

#[test]
fn after_its_own_start_an_appliance_reigns_before_it_acts() {
    for reigned in [None, Some(View::new(3))] {
        let here = Here { reigned, ..here() };
        assert_eq!(ask(here, &record(ADA, &[]), &[], Claim::Client), Standing::EnterReignFirst);
    }
}

#[test]
fn what_a_view_or_a_stale_copy_gave_is_acted_on_under_a_reign_of_the_present_view() {
    let gained = [(record(BOB, &[]), vec![BOB]), (record(BOB, &[BOB]), vec![])];
    for (record, down) in gained {
        for view in [4, 6] {
            let here = Here { reigned: Some(View::new(view)), ..here() };
            assert_eq!(ask(here, &record, &down, Claim::Client), Standing::EnterReignFirst);
        }
        let here = Here { reigned: Some(View::new(7)), ..here() };
        assert_eq!(ask(here, &record, &down, Claim::Client), executes(7));
    }
}

#[test]
fn where_no_copy_qualifies_nobody_acts() {
    let only_stale = ask(here(), &record(BOB, &[ADA, CYD]), &[BOB], Claim::Client);
    assert_eq!(only_stale, Standing::Nobody);
    let all_down = ask(here(), &record(BOB, &[]), &[ADA, BOB, CYD], Claim::Client);
    assert_eq!(all_down, Standing::Nobody);
}

/// All records, views, reigns and claims that differ: two appliances with live leases and the same
/// view and record never both execute, and no request is executed under a reign of no one's.
#[test]
fn of_two_appliances_that_know_the_same_one_executes_at_most() {
    let all = [ADA, BOB, CYD];
    let subsets =
        || (0..8_u32).map(|bits| all.into_iter().filter(move |a| (bits >> (a.get() - 1)) & 1 == 1));
    let mut executed = 0;
    for owner in all {
        for stale in subsets() {
            let record = record(owner, &stale.collect::<Vec<_>>());
            for down in subsets() {
                let down: Vec<_> = down.collect();
                for (since, reigned) in
                    [(4, None), (4, Some(4)), (4, Some(7)), (7, Some(4)), (7, Some(7))]
                {
                    let up_since = View::new(since);
                    let reigned = reigned.map(View::new);
                    let acts = |appliance: ApplianceId| {
                        let here = Here { appliance, up_since, reigned, ..here() };
                        match ask(here, &record, &down, Claim::Client) {
                            Standing::Execute { reign } => {
                                assert_eq!(Some(reign.view), reigned);
                                assert!(reign.view >= up_since, "an older run's reign");
                                assert!(!down.contains(&appliance));
                                assert!(!record.stale.contains(&appliance));
                                true
                            }
                            _ => false,
                        }
                    };
                    let acting = all.into_iter().filter(|appliance| acts(*appliance)).count();
                    assert!(acting <= 1, "{record:?} {down:?}");
                    executed += acting;
                }
            }
        }
    }
    assert!(executed > 100, "only {executed} of all cases execute");
}

#[test]
fn nothing_is_done_under_a_view_older_than_one_that_was_heard_of() {
    let here = Here { heard: View::new(8), ..here() };
    assert_eq!(ask(here, &record(ADA, &[]), &[], Claim::Client), Standing::Wait(WaitFor::View));
}

#[test]
fn who_has_just_come_up_waits_until_no_stand_in_can_act_any_more() {
    let fresh = Here { up_for: SILENCE_MAX - Duration::from_millis(1), ..here() };
    let waits = Standing::Wait(WaitFor::StandIn);
    assert_eq!(ask(fresh, &record(ADA, &[]), &[], Claim::Client), waits);
    assert_eq!(ask(fresh, &record(ADA, &[BOB]), &[], Claim::Client), waits, "Cyd may");
    assert_eq!(ask(fresh, &record(ADA, &[BOB, CYD]), &[], Claim::Client), executes(4));
    assert_eq!(ask(fresh, &record(ADA, &[BOB]), &[CYD], Claim::Client), executes(4));
}
