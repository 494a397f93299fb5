use super::*;

fn wire(words: &[u32]) -> Bytes {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn a_claimed_length_beyond_the_message_is_refused() {
    for claimed in [1, 5, 0x7fff_ffff, u32::MAX - 2, u32::MAX] {
        let message = wire(&[claimed]);
        assert_eq!(Reader::new(&message).opaque(usize::MAX), Err(Malformed::Short));
    }
}

#[test]
fn a_length_over_the_limit_is_refused_even_if_the_bytes_are_there() {
    let message = Bytes::from([&wire(&[8])[..], &[7; 8]].concat());
    let refused = Reader::new(&message).opaque(7);
    assert_eq!(refused, Err(Malformed::TooLong { claimed: 8, limit: 7 }));
    assert_eq!(Reader::new(&message).opaque(8), Ok(Bytes::from_static(&[7; 8])));
}

#[test]
fn padding_must_be_there_but_may_be_anything() {
    let message = Bytes::from_static(&[0, 0, 0, 1, b'a', 1, 2, 3]);
    assert_eq!(Reader::new(&message).opaque(9), Ok(Bytes::from_static(b"a")));
    let cut = message.slice(..7);
    assert_eq!(Reader::new(&cut).opaque(9), Err(Malformed::Short));
}

#[test]
fn opaque_data_shares_the_memory_of_its_message() {
    let message = Bytes::from(vec![0, 0, 0, 4, 1, 2, 3, 4]);
    let data = Reader::new(&message).opaque(4).unwrap();
    assert_eq!(data.as_ptr(), message[4..].as_ptr());
}

#[test]
fn a_boolean_is_0_or_1() {
    let message = wire(&[0, 1, 2]);
    let mut reader = Reader::new(&message);
    assert_eq!(reader.boolean(), Ok(false));
    assert_eq!(reader.boolean(), Ok(true));
    assert_eq!(reader.boolean(), Err(Malformed::NoSuchValue { of: "bool", value: 2 }));
}

#[test]
fn an_array_of_more_items_than_there_are_bytes_is_refused() {
    let message = wire(&[3, 0, 0]);
    assert_eq!(Reader::new(&message).array_items(16, 4), Err(Malformed::Short));
    assert_eq!(Reader::new(&message).array_items(16, 2), Ok(3));
    let refused = Reader::new(&message).array_items(2, 4);
    assert_eq!(refused, Err(Malformed::TooLong { claimed: 3, limit: 2 }));
    let message = wire(&[u32::MAX]);
    let refused = Reader::new(&message).array_items(usize::MAX, usize::MAX);
    assert_eq!(refused, Err(Malformed::Short));
}

#[test]
fn what_is_put_has_the_size_that_is_counted() {
    for length in 0..10 {
        let mut out = BytesMut::new();
        put_opaque(&mut out, &vec![1; length]);
        assert_eq!(out.len(), opaque_bytes(length));
        assert!(out[4 + length..].iter().all(|byte| *byte == 0));
    }
}
