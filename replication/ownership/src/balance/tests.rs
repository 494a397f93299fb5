use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ADA: ApplianceId = ApplianceId::new(1);
const BOB: ApplianceId = ApplianceId::new(2);
const CYD: ApplianceId = ApplianceId::new(3);
const MEDIA: VolumeId = VolumeId::new(1);
const MIB: u64 = 1 << 20;

fn disk(appliance: ApplianceId, total: u64, free: u64) -> Disk {
    Disk { appliance, total, free, going: 0, up: true, draining: false }
}

fn lot(owner: ApplianceId, holders: &[ApplianceId], files: u64, each: u64) -> Lot {
    let (volume, class) = (MEDIA, class_of(each));
    let holders = holders.to_vec();
    Lot { volume, owner, holders, pinned: false, class, files, bytes: files * each, smallest: each }
}

fn facts(wanted: usize, disks: &[Disk], lots: &[Lot]) -> Facts {
    let members = disks.iter().map(|disk| disk.appliance).collect();
    let volumes = vec![Spread { volume: MEDIA, members, wanted }];
    Facts { disks: disks.to_vec(), volumes, lots: lots.to_vec() }
}

/// Three disks of 1000 MiB, of which the first has all files: 30 of 10 MiB.
fn lopsided() -> Facts {
    let disks = [
        disk(ADA, 1000 * MIB, 700 * MIB),
        disk(BOB, 1000 * MIB, 1000 * MIB),
        disk(CYD, 1000 * MIB, 1000 * MIB),
    ];
    facts(1, &disks, &[lot(ADA, &[ADA], 30, 10 * MIB)])
}

fn planned(facts: &Facts) -> Plan {
    plan(facts, BalanceSettings::default())
}

fn shares(facts: &Facts) -> Vec<u64> {
    facts.disks.iter().map(Disk::share).collect()
}

/// What a plan must not do, by the flows alone and the facts before and after it; a sentence if it
/// does.
fn wrong(before: &Facts, plan: &Plan) -> Option<String> {
    let find = |facts: &Facts, a| facts.disks.iter().find(|disk| disk.appliance == a).copied();
    for flow in &plan.flows {
        let spread = before.volumes.iter().find(|spread| spread.volume == flow.volume)?;
        let (from, to) = (find(before, flow.from)?, find(before, flow.to)?);
        if !to.takes() || !from.takes() {
            return Some(format!("{flow:?} is from or to one that is down or draining"));
        }
        if !spread.members.contains(&flow.to) {
            return Some(format!("{flow:?} is to no member"));
        }
        if flow.bytes == 0 || flow.files == 0 {
            return Some(format!("{flow:?} is nothing"));
        }
    }
    for disk in &before.disks {
        let went = |pick: fn(&Flow) -> ApplianceId| {
            let of = plan.flows.iter().filter(|flow| pick(flow) == disk.appliance);
            of.map(|flow| flow.bytes).sum::<u64>()
        };
        let (gave, got) = (went(|flow| flow.from), went(|flow| flow.to));
        let now = find(&plan.after, disk.appliance)?;
        if got > 0 && now.free < disk.total / TAKER_RESERVE_FRACTION {
            return Some(format!("{now:?} is overfilled"));
        }
        if (disk.free + gave).min(disk.total + got) != now.free + got {
            return Some(format!("{disk:?} gave {gave}, got {got}, and is {now:?}"));
        }
    }
    let copies = |facts: &Facts| {
        let of = facts.lots.iter().map(|lot| (lot.holders.len() as u64 * lot.files, lot.bytes));
        of.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    };
    if copies(before) != copies(&plan.after) {
        return Some("there are more or fewer copies".to_owned());
    }
    let pinned = |facts: &Facts| -> Vec<Lot> {
        facts.lots.iter().filter(|lot| lot.pinned).cloned().collect()
    };
    (pinned(before) != pinned(&plan.after)).then(|| "a pinned file went".to_owned())
}

#[test]
fn what_lies_on_one_disk_is_spread_over_three_straight_away() {
    let plan = planned(&lopsided());
    assert_eq!(wrong(&lopsided(), &plan), None);
    assert_eq!(plan.flows.len(), 2, "nothing goes by way of another: {:?}", plan.flows);
    assert!(plan.flows.iter().all(|flow| (flow.by, flow.from) == (ADA, ADA)));
    let shares = shares(&plan.after);
    assert!(shares.iter().all(|share| (900..=1100).contains(share)), "{shares:?}");
    assert_eq!(planned(&plan.after).flows, [], "once it is done there is nothing to do");
}

#[test]
fn disks_of_different_sizes_become_equally_full() {
    let mut facts = lopsided();
    facts.disks[1] = disk(BOB, 4000 * MIB, 4000 * MIB);
    let shares = shares(&planned(&facts).after);
    let spread = shares.iter().max().unwrap() - shares.iter().min().unwrap();
    assert!(spread <= 200, "{shares:?}");
}

#[test]
fn a_little_difference_is_left_alone() {
    let mut facts = lopsided();
    (facts.disks[1].free, facts.disks[2].free) = (740 * MIB, 745 * MIB);
    assert_eq!(planned(&facts).flows, []);
    facts.disks[1].free = 760 * MIB;
    assert_ne!(planned(&facts).flows, []);
}

#[test]
fn who_is_down_or_draining_neither_gives_nor_takes() {
    for spoil in [|disk: &mut Disk| disk.up = false, |disk: &mut Disk| disk.draining = true] {
        let mut facts = lopsided();
        spoil(&mut facts.disks[1]);
        let plan = planned(&facts);
        assert!(plan.flows.iter().all(|flow| flow.to == CYD) && !plan.flows.is_empty());
        let mut facts = lopsided();
        spoil(&mut facts.disks[0]);
        assert_eq!(planned(&facts).flows, []);
    }
}

#[test]
fn pinned_files_and_files_of_others_volumes_stay() {
    let mut facts = lopsided();
    facts.lots[0].pinned = true;
    assert_eq!(planned(&facts).flows, []);
    let mut facts = lopsided();
    facts.volumes[0].members = vec![ADA, CYD];
    assert!(planned(&facts).flows.iter().all(|flow| flow.to == CYD));
}

#[test]
fn one_large_file_goes_only_if_that_evens_out() {
    let one = |bytes: u64| {
        let disks = [disk(ADA, 1000 * MIB, 1000 * MIB - bytes), disk(BOB, 1000 * MIB, 1000 * MIB)];
        planned(&facts(1, &disks, &[lot(ADA, &[ADA], 1, bytes)])).flows
    };
    assert_eq!(one(600 * MIB), [], "the other one would be as full");
    let disks = [disk(ADA, 1000 * MIB, 300 * MIB), disk(BOB, 1000 * MIB, 1000 * MIB)];
    let lots = [lot(ADA, &[ADA], 1, 600 * MIB), lot(ADA, &[ADA], 1, 100 * MIB)];
    let flows = planned(&facts(1, &disks, &lots)).flows;
    assert_eq!((flows.len(), flows[0].bytes), (1, 100 * MIB), "the one that fits");
}

#[test]
fn with_copies_one_of_them_goes_where_there_is_none() {
    let disks = [
        disk(ADA, 1000 * MIB, 600 * MIB),
        disk(BOB, 1000 * MIB, 600 * MIB),
        disk(CYD, 1000 * MIB, 1000 * MIB),
    ];
    let before = facts(2, &disks, &[lot(ADA, &[ADA, BOB], 40, 10 * MIB)]);
    let plan = planned(&before);
    assert_eq!(wrong(&before, &plan), None);
    assert!(plan.flows.iter().all(|flow| flow.to == CYD), "{:?}", plan.flows);
    for lot in &plan.after.lots {
        assert!(lot.holders.len() == 2 && lot.holders.contains(&lot.owner), "{lot:?}");
    }
    let shares = shares(&plan.after);
    assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 200, "{shares:?}");
    let mut degraded = before;
    degraded.lots[0].holders = vec![ADA];
    assert_eq!(planned(&degraded).flows, [], "what misses a copy gets that first");
}

#[test]
fn what_goes_by_itself_counts_as_gone() {
    let mut facts = lopsided();
    facts.disks[0].going = 300 * MIB;
    facts.lots[0].owner = BOB;
    facts.lots[0].holders = vec![BOB];
    (facts.disks[1].free, facts.disks[1].going) = (700 * MIB, 200 * MIB);
    let moved: u64 = planned(&facts).flows.iter().map(|flow| flow.bytes).sum();
    assert!(moved < 100 * MIB, "{moved}");
}

#[test]
fn nobody_is_filled_up() {
    let disks = [disk(ADA, 1000 * MIB, 0), disk(BOB, 1000 * MIB, 70 * MIB)];
    let before = facts(1, &disks, &[lot(ADA, &[ADA], 900, MIB)]);
    let plan = planned(&before);
    assert_eq!(wrong(&before, &plan), None);
    assert!(plan.flows[0].bytes <= 20 * MIB, "{:?}", plan.flows);
}

#[test]
fn the_checks_of_these_tests_find_each_wrong() {
    let (before, good) = (lopsided(), planned(&lopsided()));
    let spoilt = |spoil: &dyn Fn(&mut Facts, &mut Plan)| {
        let (mut before, mut plan) = (before.clone(), good.clone());
        spoil(&mut before, &mut plan);
        wrong(&before, &plan)
    };
    assert_eq!(spoilt(&|_, _| {}), None);
    assert!(spoilt(&|before, _| before.disks[1].up = false).is_some());
    assert!(spoilt(&|before, _| before.disks[0].draining = true).is_some());
    assert!(spoilt(&|before, _| before.volumes[0].members = vec![ADA]).is_some());
    assert!(spoilt(&|_, plan| plan.flows[0].bytes += 1).is_some());
    assert!(spoilt(&|_, plan| plan.flows[0].bytes = 0).is_some());
    assert!(spoilt(&|_, plan| plan.after.disks[1].free = 0).is_some());
    assert!(spoilt(&|_, plan| drop(plan.after.lots.pop())).is_some());
    assert!(spoilt(&|_, plan| plan.after.lots[0].pinned = true).is_some());
}

/// A fleet of up to five appliances with up to three volumes.
fn any_facts() -> impl Strategy<Value = Facts> {
    let disk = (200_u64..4000, 0_u64..=100, 0_u8..10);
    let volume = (vec(any::<bool>(), 5), 1_usize..=3);
    let lot = (0_usize..3, vec(any::<bool>(), 5), 1_u64..200, 0_u64..40_000, 0_u8..8);
    (vec(disk, 1..=5), vec(volume, 1..=3), vec(lot, 0..12)).prop_map(|(disks, volumes, lots)| {
        let disks: Vec<Disk> = (1..)
            .zip(disks)
            .map(|(id, (total, free, luck))| Disk {
                appliance: ApplianceId::new(id),
                total: total * MIB,
                free: total * MIB / 100 * free,
                going: 0,
                up: luck != 0,
                draining: luck == 1,
            })
            .collect();
        let ids: Vec<ApplianceId> = disks.iter().map(|disk| disk.appliance).collect();
        let pick = |picked: &[bool]| -> Vec<ApplianceId> {
            ids.iter().zip(picked).filter(|(_, picked)| **picked).map(|(id, _)| *id).collect()
        };
        let volumes: Vec<Spread> = (1..)
            .zip(volumes)
            .map(|(id, (picked, wanted))| {
                let members = pick(&picked);
                let wanted = wanted.min(members.len()).max(1);
                Spread { volume: VolumeId::new(id), members, wanted }
            })
            .collect();
        let lots = lots.into_iter().filter_map(|(volume, picked, files, kib, luck)| {
            let spread = volumes.get(volume)?;
            let picked = pick(&picked).into_iter().filter(|a| spread.members.contains(a));
            let holders: Vec<ApplianceId> = picked.take(spread.wanted).collect();
            let each = kib << 10;
            Some(Lot {
                volume: spread.volume,
                owner: *holders.first()?,
                holders,
                pinned: luck == 0,
                class: class_of(each),
                files,
                bytes: files * each,
                smallest: each,
            })
        });
        let lots = lots.collect();
        Facts { disks, volumes, lots }
    })
}

proptest! {
    #[test]
    fn whatever_the_facts_a_plan_does_no_wrong_and_leaves_nothing_to_do(facts in any_facts()) {
        let first = planned(&facts);
        prop_assert_eq!(wrong(&facts, &first), None);
        prop_assert!(first.flows.len() <= FLOWS_MAX);
        prop_assert_eq!(&first, &planned(&facts), "equal facts, equal plans");
        let takers = |facts: &Facts| -> (u64, u64) {
            let shares = || facts.disks.iter().filter(|disk| disk.takes()).map(Disk::share);
            (shares().min().unwrap_or(0), shares().max().unwrap_or(0))
        };
        let (before, after) = (takers(&facts), takers(&first.after));
        prop_assert!(after.1 <= before.1 && after.0 >= before.0, "{:?} {:?}", before, after);
        let mut last = first;
        for _ in 0..8 {
            if !last.truncated {
                break;
            }
            last = planned(&last.after);
        }
        prop_assert!(!last.truncated, "plans come to an end");
        prop_assert_eq!(planned(&last.after).flows, vec![]);
    }

    #[test]
    fn with_many_small_files_and_one_volume_for_all_the_disks_become_even(
        totals in vec(500_u64..4000, 2..6),
        used in vec(0_u64..80, 6),
    ) {
        let disks: Vec<Disk> = (1..).zip(&totals).zip(&used).map(|((id, total), used)| {
            disk(ApplianceId::new(id), total * MIB, total * MIB / 100 * (100 - used))
        }).collect();
        let lots: Vec<Lot> = disks.iter().map(|disk| {
            lot(disk.appliance, &[disk.appliance], disk.used() / MIB, MIB)
        }).filter(|lot| lot.files > 0).collect();
        let plan = planned(&facts(1, &disks, &lots));
        let after = shares(&plan.after);
        let apart = after.iter().max().unwrap() - after.iter().min().unwrap();
        prop_assert!(plan.truncated || apart <= 500, "{:?}", after);
    }
}

fn departure(members: &[ApplianceId], replicas: usize) -> [Departure; 1] {
    [Departure { volume: MEDIA, members: members.to_vec(), replicas }]
}

#[test]
fn a_drain_hands_over_what_is_owned_and_says_how_much() {
    let leave = leave(&lopsided(), ADA, &departure(&[BOB, CYD], 1));
    assert_eq!(leave.hindrances, []);
    assert_eq!((leave.parts.len(), leave.sum()), (1, (30, 300 * MIB)));
    assert_eq!((leave.parts[0].to, leave.parts[0].handed_files), (BOB, 30));
}

#[test]
fn a_drain_copies_what_would_have_too_few_copies_and_promotes_who_has_one() {
    let mut facts = lopsided();
    facts.volumes[0].wanted = 2;
    facts.lots = vec![lot(ADA, &[ADA, BOB], 3, MIB), lot(BOB, &[ADA, BOB], 4, MIB)];
    let leave = leave(&facts, ADA, &departure(&[BOB, CYD], 2));
    let part = |to| leave.parts.iter().find(|part| part.to == to).unwrap();
    assert_eq!((part(BOB).handed_files, part(BOB).handed_bytes), (3, 0));
    assert_eq!((part(CYD).copied_files, part(CYD).copied_bytes), (7, 7 * MIB));
}

#[test]
fn what_stands_in_the_way_of_a_drain_is_said() {
    let said = |facts: &Facts, members: &[ApplianceId], replicas| {
        leave(facts, ADA, &departure(members, replicas)).hindrances
    };
    let facts = lopsided();
    assert_eq!(said(&facts, &[ADA], 1), [Hindrance::NobodyElse(MEDIA)]);
    let fewer = Hindrance::FewerCopies { volume: MEDIA, wanted: 2, left: 1 };
    assert_eq!(said(&facts, &[BOB], 2), [fewer]);
    let mut full = facts.clone();
    full.disks[1].free = 200 * MIB;
    let no_room = Hindrance::NoRoom { to: BOB, needs: 300 * MIB, has: 150 * MIB };
    assert_eq!(said(&full, &[BOB, CYD], 1), [no_room]);
    let mut down = facts.clone();
    down.disks[2].up = false;
    let said_then = said(&down, &[BOB, CYD], 1);
    assert_eq!(said_then, [Hindrance::NoQuorum(MEDIA), Hindrance::Unheard(CYD)]);
    down.disks[0].up = false;
    assert_eq!(said(&down, &[BOB, CYD], 1)[0], Hindrance::Down);
    down.disks[1].up = false;
    assert!(said(&down, &[BOB, CYD], 1).contains(&Hindrance::NobodyElse(MEDIA)));
}
