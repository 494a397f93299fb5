use super::*;

fn key(client: u8, digest: u128) -> RequestKey {
    RequestKey { client: ClientAddress::from_bytes([client; 16]), digest }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

#[test]
fn a_call_is_found_until_its_client_has_had_1024_more_answers() {
    let mut replay = Replay::default();
    assert!(replay.insert(key(1, 0), 1, at(0)).is_empty());
    for n in 1..REPLAY_PER_CLIENT_MAX as u64 {
        assert!(replay.insert(key(1, n.into()), n + 1, at(0)).is_empty());
    }
    assert_eq!(replay.find(&key(1, 0)).unwrap().index, 1);
    let evicted = replay.insert(key(1, 9999), 5000, at(0));
    assert_eq!(evicted, [Slot { client: key(1, 0).client, index: 1 }]);
    assert_eq!(replay.find(&key(1, 0)), None);
}

#[test]
fn a_busy_client_does_not_push_out_a_quiet_ones_answers() {
    let mut replay = Replay::default();
    replay.insert(key(2, 7), 1, at(0));
    for n in 0..3 * REPLAY_TOTAL_MAX as u64 {
        replay.insert(key(1, n.into()), n + 2, at(0));
    }
    assert_eq!(replay.find(&key(2, 7)).unwrap().index, 1);
    assert_eq!(replay.len(), REPLAY_PER_CLIENT_MAX + 1);
}

#[test]
fn an_answer_is_forgotten_after_ten_minutes() {
    let mut replay = Replay::default();
    replay.insert(key(1, 1), 1, at(0));
    assert!(replay.insert(key(2, 2), 2, at(600)).is_empty());
    assert_eq!(replay.insert(key(2, 3), 3, at(601)).len(), 1);
    assert_eq!(replay.find(&key(1, 1)), None);
}

#[test]
fn the_total_stays_bounded_with_any_number_of_clients() {
    let mut replay = Replay::default();
    for n in 0..2 * REPLAY_TOTAL_MAX as u128 {
        let client = ClientAddress::from_bytes(n.to_be_bytes());
        replay.insert(RequestKey { client, digest: n }, n as u64 + 1, at(0));
    }
    assert_eq!(replay.len(), REPLAY_TOTAL_MAX);
    assert_eq!(replay.clients.len(), REPLAY_TOTAL_MAX);
    assert_eq!(replay.oldest.len(), REPLAY_TOTAL_MAX);
}

#[test]
fn a_wall_clock_that_is_far_ahead_moves_the_clock_by_one_step() {
    let mut clock = ReplayClock::starting_at(at(1000));
    assert_eq!(clock.pass(at(1001)), at(1001));
    assert_eq!(clock.pass(at(90_000)), at(1011), "an appliance a day ahead");
    for second in 1002..1100 {
        assert_eq!(clock.pass(at(second)), at(1011), "the others");
        assert_eq!(clock.pass(at(90_000)), at(1011), "and that one, in turns");
    }
    assert_eq!(clock.pass(at(90_007)), at(1018), "it goes on as the one that is ahead");
}
