use super::{for_each_field, is_flat_change};

fn passes(bytes: &[u8]) -> bool {
    for_each_field(bytes, &mut |_, _| Some(())).is_some()
}

#[test]
fn every_kind_of_field_is_stepped_over() {
    let bytes =
        [&[8, 0x96, 1][..], &[17, 1, 2, 3, 4, 5, 6, 7, 8], &[26, 2, 7, 7], &[37, 1, 2, 3, 4]];
    let mut seen = Vec::new();
    let all = for_each_field(&bytes.concat(), &mut |field, body| {
        seen.push((field, body.to_vec()));
        Some(())
    });
    assert_eq!((all, seen), (Some(()), vec![(3, vec![7, 7])]));
}

#[test]
fn lengths_beyond_the_end_cut_fields_and_groups_are_refused() {
    assert!(passes(&[]));
    for bad in [&[8][..], &[8, 0x80], &[17, 1], &[26, 2, 7], &[26, 0xff, 0xff, 3], &[37, 1]] {
        assert!(!passes(bad), "{bad:?}");
    }
    assert!(!passes(&[0x80; 11]), "a number that never ends");
    for group in [11, 12] {
        assert!(!passes(&[group]));
    }
}

#[test]
fn a_group_inside_a_change_is_refused_however_deep() {
    assert!(is_flat_change(&[18, 2, 16, 5]));
    assert!(!is_flat_change(&[11; 100_000]));
    assert!(!is_flat_change(&[18, 2, 11, 11]));
}
