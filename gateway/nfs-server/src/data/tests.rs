use super::*;

#[test]
fn a_read_is_cut_to_rtmax_and_to_the_largest_file() {
    assert_eq!(readable_span(0, u32::MAX).len(), u64::from(READ_BYTES_MAX));
    assert_eq!(readable_span(FILE_BYTES_MAX - 3, 10).len(), 3);
    let beyond = readable_span(u64::MAX, 10);
    assert_eq!((beyond.offset(), beyond.len()), (FILE_BYTES_MAX, 0));
}

#[test]
fn a_write_is_cut_to_wtmax() {
    let larger = Bytes::from(vec![0; WRITE_BYTES_MAX as usize + 1]);
    assert_eq!(writable_part(larger).len(), WRITE_BYTES_MAX as usize);
}
