use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::nfs3::ReadOk;

const HEADER: &[u8] = b"head";

fn encode(framing: Framing, body: &impl Body, scratch: &mut BytesMut) -> Encoded {
    Encoded::new(framing, |out| out.put_slice(HEADER), body, scratch)
}

fn read_ok(data: Bytes) -> ReadOk {
    ReadOk { file_attributes: None, eof: true, data }
}

#[test]
fn a_payload_is_sent_from_where_it_lies() {
    let data = Bytes::from(vec![9; 1001]);
    let encoded = encode(Framing::Record, &read_ok(data.clone()), &mut BytesMut::new());
    let [_, payload, padding] = encoded.parts();
    assert_eq!(payload.as_ptr(), data.as_ptr());
    assert_eq!(padding, [0; 3]);
}

#[test]
fn a_datagram_has_no_record_mark() {
    let body = Verbatim(Bytes::from_static(b"body"));
    let encoded = encode(Framing::Datagram, &body, &mut BytesMut::new());
    assert_eq!(encoded.to_bytes(), Bytes::from_static(b"headbody"));
}

#[test]
fn a_body_in_one_piece_is_what_is_sent() {
    let body = read_ok(Bytes::from_static(b"seven b"));
    let encoded = encode(Framing::Datagram, &body, &mut BytesMut::new());
    assert_eq!(encoded.to_bytes().slice(HEADER.len()..), body.to_bytes());
    let again = encode(Framing::Datagram, &Verbatim(body.to_bytes()), &mut BytesMut::new());
    assert_eq!(again.to_bytes(), encoded.to_bytes());
}

#[test]
fn scratch_is_reused_once_messages_are_sent() {
    let scratch = &mut BytesMut::with_capacity(4096);
    let start = scratch.as_ptr().addr();
    for _ in 0..10_000 {
        let encoded = encode(Framing::Record, &77_u32, scratch);
        assert!(encoded.parts()[0].as_ptr().addr().abs_diff(start) < 4096);
        assert!(scratch.is_empty());
    }
}

proptest! {
    #[test]
    fn a_message_survives_short_writes(
        data in vec(any::<u8>(), 0..300),
        writes in vec(1..50_usize, 1..20),
    ) {
        let mut encoded = encode(Framing::Record, &read_ok(data.into()), &mut BytesMut::new());
        let whole = encoded.to_bytes();
        prop_assert_eq!(encoded.remaining(), whole.len());
        prop_assert_eq!(whole.len() % 4, 0);
        let mark = u32::from_be_bytes(*whole.first_chunk().unwrap());
        prop_assert_eq!(usize::try_from(mark & !LAST_FRAGMENT).unwrap(), whole.len() - 4);

        let mut sent = Vec::new();
        for write in writes.into_iter().cycle() {
            let mut slices = [IoSlice::new(&[]); 2];
            let filled = encoded.chunks_vectored(&mut slices);
            let offered: Vec<u8> =
                slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            prop_assert!(offered.starts_with(encoded.chunk()));
            let taken = write.min(offered.len());
            sent.extend_from_slice(&offered[..taken]);
            encoded.advance(taken);
            if !encoded.has_remaining() {
                break;
            }
        }
        prop_assert_eq!(sent, whole);
    }
}

#[test]
fn a_message_without_bytes_left_offers_none() {
    let mut encoded = encode(Framing::Record, &(), &mut BytesMut::new());
    encoded.advance(encoded.remaining());
    assert_eq!(encoded.chunk(), b"");
    assert_eq!(encoded.chunks_vectored(&mut [IoSlice::new(&[])]), 0);
}
