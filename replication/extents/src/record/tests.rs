use proptest::prelude::*;

use super::*;

fn record(state: RecordState, numbers: [u64; 5]) -> Record {
    Record {
        state,
        stamp: Stamp {
            mark: Mark {
                reign: Reign { epoch: Epoch::new(numbers[0]), view: View::new(numbers[1]) },
                sequence: Sequence::new(numbers[2]),
            },
            mtime: Timestamp::from_nanos(numbers[3]),
            ctime: Timestamp::from_nanos(numbers[4]),
        },
    }
}

#[test]
fn a_record_keeps_the_bytes_of_format_1() {
    let golden = [
        1, 1, // format, dirty
        2, 0, 0, 0, 0, 0, 0, 0, // epoch
        3, 0, 0, 0, 0, 0, 0, 0, // view
        4, 1, 0, 0, 0, 0, 0, 0, // sequence
        0, 0, 0, 0, 0, 0, 0, 0x10, // mtime
        1, 0, 0, 0, 0, 0, 0, 0x10, // ctime
    ];
    let numbers = [2, 3, 260, 1 << 60, (1 << 60) + 1];
    assert_eq!(record(RecordState::Dirty, numbers).encode(), golden);
    assert_eq!(Record::decode(&golden), Ok(record(RecordState::Dirty, numbers)));
    for (flags, state) in [(0, RecordState::Clean), (2, RecordState::InDoubt)] {
        let mut golden = golden;
        golden[1] = flags;
        assert_eq!(record(state, numbers).encode(), golden);
        assert_eq!(Record::decode(&golden), Ok(record(state, numbers)));
    }
}

#[test]
fn a_record_of_another_format_is_refused() {
    let mut bytes = record(RecordState::Clean, [0; 5]).encode();
    bytes[0] = 2;
    assert_eq!(Record::decode(&bytes), Err(BadRecord::Format(2)));
}

#[test]
fn a_record_with_unknown_flags_is_refused() {
    let mut bytes = record(RecordState::Clean, [0; 5]).encode();
    bytes[1] = 4;
    assert_eq!(Record::decode(&bytes), Err(BadRecord::Flags(4)));
}

proptest! {
    #[test]
    fn every_record_decodes_to_itself(dirty: bool, numbers: [u64; 5]) {
        let state = if dirty { RecordState::Dirty } else { RecordState::Clean };
        let record = record(state, numbers);
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(&record.encode()[..], &bytes[..]);
        }
    }
}
