use super::*;

#[test]
fn an_fsid_is_never_zero_and_differs_per_volume() {
    assert_ne!(fsid(VolumeId::new(0)), 0);
    assert_ne!(fsid(VolumeId::new(1)), fsid(VolumeId::new(2)));
}

#[test]
fn a_size_beyond_what_a_file_can_have_is_too_big() {
    let size = |size| Sattr3 { size: Some(size), ..Sattr3::default() };
    assert!(set_attributes(&size(i64::MAX as u64)).is_ok());
    assert_eq!(set_attributes(&size(1 << 63)), Err(Refusal::FileTooBig));
}

#[test]
fn type_bits_in_a_mode_are_ignored() {
    let asked = Sattr3 { mode: Some(0o100_644), ..Sattr3::default() };
    assert_eq!(set_attributes(&asked).unwrap().mode, Some(0o644));
}

#[test]
fn times_survive_the_way_in_and_out() {
    let time = Nfstime3 { seconds: u32::MAX, nseconds: 999_999_999 };
    assert_eq!(nfstime(timestamp(time)), time);
}
