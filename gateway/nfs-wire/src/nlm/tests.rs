use super::*;

/// LOCK of Linux 6.1: cookie, block, exclusive, and the lock that follows.
fn lock_args() -> Bytes {
    let mut wire = BytesMut::new();
    put_opaque(&mut wire, b"\x01\x02\x03\x04");
    wire.extend_from_slice(&[
        0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 6, b'g', b'u', b'e', b's', b't', b'0',
    ]);
    wire.freeze()
}

#[test]
fn a_lock_is_denied_with_the_callers_cookie_whatever_follows_it() {
    let reply = Args::decode(2, &lock_args()).unwrap().without_locks();
    assert_eq!(reply.to_bytes(), &[0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 2][..]);
}

#[test]
fn to_give_back_or_to_cancel_is_granted() {
    for procedure in [3, 4] {
        let reply = Args::decode(procedure, &lock_args()).unwrap().without_locks();
        assert_eq!(reply.to_bytes(), &[0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0][..]);
    }
}

#[test]
fn null_needs_nothing_and_says_nothing() {
    let reply = Args::decode(0, &Bytes::new()).unwrap().without_locks();
    assert!(reply.to_bytes().is_empty());
}

#[test]
fn procedures_that_answer_elsewhere_are_not_offered() {
    for procedure in (5..=16).chain([20, 21, 22, 23, u32::MAX]) {
        assert_eq!(Args::decode(procedure, &lock_args()), Err(BadArgs::UnknownProcedure));
    }
}

#[test]
fn a_cookie_that_is_longer_than_it_may_be_or_than_its_bytes_is_garbage() {
    for wire in [&[0, 0, 4, 1][..], &[0, 0, 0, 8, 1, 2, 3, 4], &[0, 0]] {
        let refused = Args::decode(1, &Bytes::copy_from_slice(wire));
        assert!(matches!(refused, Err(BadArgs::Garbage(_))), "{refused:?}");
    }
}
