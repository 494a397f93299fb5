use proptest::prelude::*;

use super::*;

fn key() -> HandleKey {
    HandleKey::from_secret(&[7; 32])
}

#[test]
fn a_handle_keeps_its_bytes_for_ever() {
    let handle = Handle { volume: VolumeId::new(3), object: ObjectId::new(0x0102_0304) };
    let hex: String = handle.seal(&key()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, include_str!("golden.hex").trim());
}

#[test]
fn a_handle_of_another_fleet_is_refused() {
    let handle = Handle { volume: VolumeId::new(1), object: ObjectId::ROOT };
    let foreign = handle.seal(&HandleKey::from_secret(&[8; 32]));
    assert_eq!(Handle::parse(&foreign, &key()), Err(BadHandle));
}

proptest! {
    #[test]
    fn a_sealed_handle_reads_back_and_no_changed_bit_goes_unnoticed(
        volume: u64, object: u64, bit in 0..HANDLE_BYTES * 8,
    ) {
        let handle = Handle { volume: VolumeId::new(volume), object: ObjectId::new(object) };
        let mut bytes = handle.seal(&key());
        prop_assert_eq!(Handle::parse(&bytes, &key()), Ok(handle));
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Handle::parse(&bytes, &key()), Err(BadHandle));
    }

    #[test]
    fn random_bytes_are_no_handle(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
        prop_assert_eq!(Handle::parse(&bytes, &key()), Err(BadHandle));
    }
}
