use std::{sync::Arc, time::Duration};

use model::{ApplianceId, GroupId, Index, Membership, Refusal};

use super::Groups;
use crate::{
    APPLY_BYTES_MAX, Applied, BATCH_BYTES_MAX, Committed, Durability, Effect, Event, HardState,
    LogBatch, LogFault, LogPoint, LogStore, MemoryLog, Origin, PROPOSAL_BYTES_MAX, Role,
    SyncOutcome, Ticket,
    testing::{Seeded, entry, group, index, term},
};

const ME: ApplianceId = ApplianceId::new(7);

fn groups(log: &Arc<MemoryLog>) -> Groups<MemoryLog> {
    Groups::new(ME, Arc::clone(log), Arc::new(Seeded::new(1)))
}

fn step(groups: &mut Groups<MemoryLog>, events: Vec<Event>) -> Vec<Effect> {
    groups.step(Duration::ZERO, events).unwrap()
}

/// Steps until there is nothing left to do.
fn settle(groups: &mut Groups<MemoryLog>, events: Vec<Event>) -> Vec<Effect> {
    let mut effects = step(groups, events);
    while groups.has_work() {
        effects.extend(step(groups, Vec::new()));
    }
    effects
}

fn open(number: u64) -> Event {
    open_at(number, 0, 0)
}

fn open_at(number: u64, at: u64, in_term: u64) -> Event {
    let applied =
        Applied { index: index(at), term: term(in_term), membership: Membership::of_voters([ME]) };
    Event::Open { group: group(number), applied, origin: Origin::Log }
}

fn propose(number: u64, ticket: u64, data: &str) -> Event {
    Event::Propose {
        group: group(number),
        ticket: Ticket::new(ticket),
        data: data.as_bytes().to_vec(),
    }
}

fn checkpointed(number: u64, at: u64) -> Event {
    Event::Checkpointed { group: group(number), index: index(at) }
}

fn applied(effects: &[Effect]) -> Vec<(GroupId, Committed)> {
    let mut all = Vec::new();
    for effect in effects {
        if let Effect::Apply { group, entries } = effect {
            all.extend(entries.iter().map(|entry| (*group, entry.clone())));
        }
    }
    all
}

/// What was applied of one group, without the entries that terms begin with.
fn data(effects: &[Effect], number: u64) -> Vec<String> {
    applied(effects)
        .into_iter()
        .filter(|(of, entry)| *of == group(number) && !entry.data.is_empty())
        .map(|(_, entry)| String::from_utf8(entry.data.to_vec()).unwrap())
        .collect()
}

fn tickets(effects: &[Effect]) -> Vec<u64> {
    applied(effects).iter().filter_map(|(_, entry)| Some(entry.ticket?.get())).collect()
}

fn refusals(effects: &[Effect]) -> Vec<(u64, Refusal)> {
    let refused = |effect: &Effect| match effect {
        Effect::Refused { ticket, refusal } => Some((ticket.get(), *refusal)),
        _ => None,
    };
    effects.iter().filter_map(refused).collect()
}

fn lost(effects: &[Effect]) -> Vec<Index> {
    let missing = |effect: &Effect| match effect {
        Effect::Lost { missing, .. } => Some(*missing),
        _ => None,
    };
    effects.iter().filter_map(missing).collect()
}

#[test]
fn a_new_group_of_one_leads_at_once_and_tells_its_machine_that_a_term_began() {
    let log = Arc::new(MemoryLog::new());
    let effects = step(&mut groups(&log), vec![open(3)]);
    assert_eq!(effects[0], Effect::Opened { group: group(3), last: index(1) });
    let begun = Committed { index: index(1), term: term(1), ..Committed::default() };
    assert_eq!(effects[1], Effect::Apply { group: group(3), entries: vec![begun] });
    let role = Role { leader: Some(ME), term: term(1), leads: true };
    assert_eq!(effects[2], Effect::RoleChanged { group: group(3), role });
    assert_eq!(effects.len(), 3);
}

#[test]
fn a_proposal_is_applied_in_its_own_step_with_its_ticket() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    let effects = step(&mut groups, vec![open(3), propose(3, 11, "a"), propose(3, 12, "b")]);
    assert_eq!(data(&effects, 3), ["a", "b"]);
    assert_eq!(tickets(&effects), [11, 12]);
    assert_eq!(log.unsynced(), 0);
    assert!(!groups.has_work());
}

#[test]
fn all_groups_of_a_step_share_one_sync() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, (0..100).map(open).collect());
    assert_eq!(log.syncs(), 1);
    let proposals = (0..1000).map(|ticket| propose(ticket % 100, ticket, "x")).collect();
    let effects = step(&mut groups, proposals);
    assert_eq!(tickets(&effects).len(), 1000);
    assert_eq!(log.syncs(), 2);
}

#[test]
fn a_step_without_events_writes_nothing_and_lone_groups_never_tick() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, (0..100).map(open).collect());
    assert_eq!(step(&mut groups, vec![Event::Tick]), []);
    assert_eq!((log.syncs(), groups.has_work(), groups.next_tick()), (1, false, None));
}

#[test]
fn an_entry_is_not_applied_before_it_is_durable() {
    let log = Arc::new(MemoryLog::with_syncs(|number| match number {
        2 => SyncOutcome::Fails,
        _ => SyncOutcome::Durable,
    }));
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3)]);
    let failed = groups.step(Duration::ZERO, vec![propose(3, 11, "a")]);
    assert!(matches!(failed, Err(LogFault::Unwritten { .. })));
}

#[test]
fn after_a_fault_every_step_faults() {
    let log = Arc::new(MemoryLog::with_syncs(|number| match number {
        1 => SyncOutcome::Fails,
        _ => SyncOutcome::Durable,
    }));
    let mut groups = groups(&log);
    assert!(groups.step(Duration::ZERO, vec![open(3)]).is_err());
    let later = groups.step(Duration::ZERO, vec![propose(3, 11, "a")]);
    assert!(matches!(later, Err(LogFault::Ended)));
}

#[test]
fn what_cannot_be_taken_is_refused_with_what_to_do() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    let large = "x".repeat(PROPOSAL_BYTES_MAX + 1);
    let events = vec![
        open(3),
        propose(4, 1, "group 4 is not open"),
        propose(3, 2, ""),
        propose(3, 3, &large),
        propose(3, 4, &large[1..]),
    ];
    let effects = step(&mut groups, events);
    let expected = [(1, Refusal::Busy), (2, Refusal::Invalid), (3, Refusal::Invalid)];
    assert_eq!(refusals(&effects), expected);
    assert_eq!(tickets(&effects), [4]);
}

#[test]
fn a_lone_voter_takes_a_whole_step_of_the_largest_proposals() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3)]);
    let large = "x".repeat(PROPOSAL_BYTES_MAX);
    let count = (BATCH_BYTES_MAX / PROPOSAL_BYTES_MAX) as u64 + 1;
    let events = (0..count).map(|ticket| propose(3, ticket, &large)).collect();
    let effects = settle(&mut groups, events);
    assert_eq!(refusals(&effects), []);
    assert_eq!(tickets(&effects), (0..count).collect::<Vec<_>>());
}

#[test]
fn a_reopened_group_gets_what_its_machine_has_not_applied() {
    let log = Arc::new(MemoryLog::new());
    let proposals = vec![open(3), propose(3, 1, "a"), propose(3, 2, "b"), propose(3, 3, "c")];
    step(&mut groups(&log), proposals);
    let effects = settle(&mut groups(&log), vec![open_at(3, 2, 1)]);
    assert_eq!(data(&effects, 3), ["b", "c"]);
    assert_eq!(tickets(&effects), [] as [u64; 0]);
    assert_eq!(effects[0], Effect::Opened { group: group(3), last: index(5) });
    let all = applied(&effects);
    assert_eq!(all.last().unwrap().1.index, index(5));
    assert_eq!(all.last().unwrap().1.term, term(2));
}

#[test]
fn an_open_group_stays_as_it_is_when_opened_again() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3), propose(3, 1, "a")]);
    let again = step(&mut groups, vec![open(3)]);
    assert_eq!(again, [Effect::Opened { group: group(3), last: index(2) }]);
}

#[test]
fn a_long_log_is_replayed_in_pieces() {
    let log = Arc::new(MemoryLog::new());
    let mut first = groups(&log);
    step(&mut first, vec![open(3)]);
    let large = "x".repeat(PROPOSAL_BYTES_MAX);
    for ticket in 0..100 {
        step(&mut first, vec![propose(3, ticket, &large)]);
    }
    let mut second = groups(&log);
    let mut events = vec![open(3), propose(3, 1, "the last")];
    let mut pieces = 0;
    let mut all = Vec::new();
    while !events.is_empty() || second.has_work() {
        let effects = step(&mut second, std::mem::take(&mut events));
        let bytes: usize = data(&effects, 3).iter().map(String::len).sum();
        assert!(bytes <= 2 * APPLY_BYTES_MAX as usize);
        pieces += 1;
        all.extend(data(&effects, 3));
    }
    assert_eq!((all.len(), all[100].as_str()), (101, "the last"));
    assert!(pieces > 2, "{pieces}");
}

#[test]
fn a_log_cut_at_a_checkpoint_opens_there_and_goes_on() {
    let log = Arc::new(MemoryLog::new());
    let mut first = groups(&log);
    step(&mut first, vec![open(3), propose(3, 1, "a"), propose(3, 2, "b"), propose(3, 3, "c")]);
    let effects = step(&mut first, vec![checkpointed(3, 3)]);
    assert_eq!(effects, [Effect::Cut { group: group(3), index: index(3) }]);
    step(&mut first, vec![propose(3, 4, "d")]);
    let state = log.state(group(3)).unwrap();
    assert_eq!((state.cut.index, state.last), (index(3), index(5)));
    log.power_cut(0);
    let effects = settle(&mut groups(&log), vec![open_at(3, 3, 1), propose(3, 5, "e")]);
    assert_eq!(data(&effects, 3), ["c", "d", "e"]);
}

#[test]
fn a_log_cut_whole_opens_and_goes_on() {
    let log = Arc::new(MemoryLog::new());
    let mut first = groups(&log);
    step(&mut first, vec![open(3), propose(3, 1, "a")]);
    step(&mut first, vec![checkpointed(3, 2)]);
    assert_eq!(data(&step(&mut first, vec![propose(3, 2, "b")]), 3), ["b"]);
    step(&mut first, vec![checkpointed(3, 3)]);
    let effects = settle(&mut groups(&log), vec![open_at(3, 3, 1), propose(3, 3, "c")]);
    assert_eq!(data(&effects, 3), ["c"]);
}

#[test]
fn a_cut_needs_no_sync() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3), propose(3, 1, "a")]);
    step(&mut groups, vec![checkpointed(3, 2)]);
    assert_eq!(log.syncs(), 1);
}

#[test]
fn a_checkpoint_of_what_was_never_handed_out_cuts_nothing() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3)]);
    let applied = Event::Applied { group: group(3), index: index(9) };
    assert_eq!(step(&mut groups, vec![applied, checkpointed(3, 2), checkpointed(4, 1)]), []);
    assert_eq!(log.state(group(3)).unwrap().cut, LogPoint::default());
}

#[test]
fn more_applied_than_the_log_has_is_lost_and_says_from_where() {
    let log = Arc::new(MemoryLog::new());
    step(&mut groups(&log), vec![open(3), propose(3, 1, "a")]);
    let mut groups = groups(&log);
    assert_eq!(lost(&step(&mut groups, vec![open_at(3, 9, 1)])), [index(3)]);
    let refused = refusals(&step(&mut groups, vec![propose(3, 2, "b")]));
    assert_eq!(refused, [(2, Refusal::Busy)]);
}

#[test]
fn another_entry_than_the_one_applied_is_lost() {
    let log = Arc::new(MemoryLog::new());
    step(&mut groups(&log), vec![open(3), propose(3, 1, "a")]);
    assert_eq!(lost(&step(&mut groups(&log), vec![open_at(3, 2, 5)])), [index(2)]);
}

#[test]
fn a_machine_older_than_the_cut_is_lost() {
    let log = Arc::new(MemoryLog::new());
    let mut first = groups(&log);
    step(&mut first, vec![open(3), propose(3, 1, "a"), propose(3, 2, "b")]);
    step(&mut first, vec![checkpointed(3, 3)]);
    assert_eq!(lost(&step(&mut groups(&log), vec![open_at(3, 1, 1)])), [index(2)]);
}

#[test]
fn a_commit_index_beyond_the_log_is_lost_not_a_panic() {
    let log = Arc::new(MemoryLog::new());
    let mut batch = LogBatch::default();
    let state = HardState { term: 1, commit: 5, ..HardState::default() };
    batch.set_hard_state(group(3), state);
    batch.append(group(3), vec![entry(1, 1, ""), entry(2, 1, "a")]);
    log.write(&batch, Durability::Synced).unwrap();
    assert_eq!(lost(&step(&mut groups(&log), vec![open(3)])), [index(3)]);
}

#[test]
fn a_committed_change_that_makes_no_sense_is_a_fault_not_a_wrong_step() {
    let log = Arc::new(MemoryLog::new());
    let mut change = entry(1, 1, "no change");
    change.set_entry_type(raft::eraftpb::EntryType::EntryConfChangeV2);
    let mut batch = LogBatch::default();
    batch.append(group(3), vec![change]);
    log.write(&batch, Durability::Synced).unwrap();
    let fault = groups(&log).step(Duration::ZERO, vec![open(3)]);
    assert!(matches!(fault, Err(LogFault::UnknownEntry { index: at, .. }) if at == index(1)));
}

#[test]
fn a_closed_group_keeps_its_log_and_a_removed_one_does_not() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3), open(4), propose(3, 1, "a"), propose(4, 2, "a")]);
    let close = Event::Close { group: group(3) };
    let remove = Event::Remove { group: group(4) };
    step(&mut groups, vec![checkpointed(4, 1), close, remove]);
    assert_eq!(log.groups(), [group(3)]);
    let effects = settle(&mut groups, vec![open(3), open(4)]);
    assert_eq!(data(&effects, 3), ["a"]);
    assert_eq!(data(&effects, 4), [] as [&str; 0]);
}

#[test]
fn a_group_closed_in_the_step_of_a_proposal_refuses_it() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3)]);
    let effects = step(&mut groups, vec![propose(3, 1, "a"), Event::Close { group: group(3) }]);
    assert_eq!(refusals(&effects), [(1, Refusal::Busy)]);
    assert_eq!(tickets(&effects), [] as [u64; 0]);
}

#[test]
fn a_group_reopened_in_the_step_that_cuts_it_goes_on() {
    let log = Arc::new(MemoryLog::new());
    let mut groups = groups(&log);
    step(&mut groups, vec![open(3), propose(3, 1, "a")]);
    let close = Event::Close { group: group(3) };
    let events = vec![checkpointed(3, 2), close, open_at(3, 2, 1), propose(3, 2, "b")];
    assert_eq!(data(&settle(&mut groups, events), 3), ["b"]);
    assert_eq!(log.state(group(3)).unwrap().cut.index, index(2));
}
