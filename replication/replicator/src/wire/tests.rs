use extents::ExtentHash;
use model::{Epoch, Reign, Sequence, View};
use proptest::prelude::*;

use super::*;

fn mark(sequence: u64) -> Mark {
    let reign = Reign { epoch: Epoch::new(3), view: View::new(4) };
    Mark { reign, sequence: Sequence::new(sequence) }
}

fn base() -> Base {
    let time = Timestamp::from_nanos(1 << 60);
    let stamp = Stamp { mark: mark(4), mtime: time, ctime: time };
    Base { mark: mark(5), stamp: Some(stamp), size: 1 << 33 }
}

fn span(offset: u64, len: u64) -> Span {
    Span::new(offset, len).unwrap()
}

fn frame(change: FrameChange) -> Message {
    Message::Frame(Frame { mark: mark(6), stamp: base().stamp, key: None, secure: false, change })
}

fn all() -> Vec<Message> {
    let attempt = Attempt { transfer: TransferId::new(Epoch::new(3), 9), channel: 2 };
    let bytes = Bytes::from_static(b"abc");
    let runs = vec![span(0, 1), span(4096, 2)];
    vec![
        Message::Begin { attempt, has_data: HasData::Yes, base: base() },
        Message::Resume { attempt },
        frame(FrameChange::Nothing),
        frame(FrameChange::Write { offset: 300, bytes: bytes.clone() }),
        frame(FrameChange::Later { end: 301 }),
        frame(FrameChange::SetSize(302)),
        frame(FrameChange::Copy { span: span(0, 1 << 20), runs, bytes }),
        frame(FrameChange::Hole(span(1 << 20, 5 << 20))),
        Message::Sync { round: Round(2) },
        Message::Finish { end: base(), durable: mark(5) },
        Message::Ready { received: Some(mark(7)), older: 0 },
        Message::Ready { received: None, older: 0 },
        Message::Received { mark: mark(8) },
        Message::Durable { round: Round(2), mark: mark(8) },
        Message::Finished { mark: mark(9) },
        Message::Refused { refusal: Refusal::NoSpace },
        Message::Compare { first: 300, count: 64 },
        Message::Compared { first: 300, held: vec![Some(ExtentHash([7; 32])), None] },
    ]
}

#[test]
fn messages_keep_the_bytes_of_format_1() {
    let mut lines = String::new();
    for message in all() {
        let (header, payload) = message.clone().encode();
        for byte in &header {
            lines.push_str(&format!("{byte:02x}"));
        }
        lines.push('\n');
        assert_eq!(Message::decode(&header, payload), Ok(message));
    }
    assert_eq!(lines, include_str!("messages.hex"));
}

#[test]
fn a_payload_that_does_not_fit_is_refused() {
    for message in all() {
        let is_write =
            matches!(&message, Message::Frame(Frame { change: FrameChange::Write { .. }, .. }));
        let (header, payload) = message.encode();
        let longer = Bytes::from([&payload[..], b"x"].concat());
        let decoded = Message::decode(&header, longer);
        assert_eq!(decoded.is_ok(), is_write, "{decoded:?}");
    }
    let too_long = Bytes::from(vec![0; PAYLOAD_BYTES_MAX as usize + 1]);
    let write = frame(FrameChange::Write { offset: 0, bytes: too_long });
    let (header, payload) = write.encode();
    assert_eq!(Message::decode(&header, payload), Err(BadMessage::Payload));
}

#[test]
fn runs_out_of_order_or_outside_their_span_are_refused() {
    let bytes = Bytes::from_static(b"abcd");
    for runs in [
        vec![span(10, 2), span(0, 2)],
        vec![span(0, 2), span(1, 2)],
        vec![span(4095, 4)],
        vec![span(u64::MAX >> 1, 0), span(0, 4)],
        (0..=RUNS_PER_COPY_MAX as u64).map(|run| span(run * 2, 0)).collect(),
    ] {
        let copy = FrameChange::Copy { span: span(0, 4096), runs, bytes: bytes.clone() };
        let (header, payload) = frame(copy).encode();
        assert_eq!(Message::decode(&header, payload), Err(BadMessage::Payload));
    }
}

#[test]
fn another_format_or_more_than_a_head_is_refused() {
    let (header, payload) = all().remove(0).encode();
    let mut other = header.to_vec();
    other[0] = 2;
    assert_eq!(Message::decode(&other, payload.clone()), Err(BadMessage::Format(2)));
    let mut more = header.to_vec();
    more.push(0);
    assert_eq!(Message::decode(&more, payload.clone()), Err(BadMessage::Header));
    assert_eq!(Message::decode(&[], payload.clone()), Err(BadMessage::Header));
    let long = vec![1; HEADER_BYTES_MAX + 1];
    assert_eq!(Message::decode(&long, payload), Err(BadMessage::Length(HEADER_BYTES_MAX + 1)));
}

#[test]
fn the_longest_head_fits_into_a_header() {
    let top = model::FILE_BYTES_MAX - 4096;
    let runs = (0..RUNS_PER_COPY_MAX as u64).map(|run| span(top + run * 2, 1)).collect();
    let bytes = Bytes::from(vec![1; RUNS_PER_COPY_MAX]);
    let copy = frame(FrameChange::Copy { span: span(top, 4096), runs, bytes });
    let (header, payload) = copy.clone().encode();
    assert!(header.len() <= HEADER_BYTES_MAX);
    assert_eq!(Message::decode(&header, payload), Ok(copy));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        mut header in prop::collection::vec(any::<u8>(), 0..80),
        like in 0..16_usize,
        at in any::<prop::sample::Index>(),
        payload in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let payload = Bytes::from(payload);
        let _ = Message::decode(&header, payload.clone());
        header.insert(0, FORMAT);
        let _ = Message::decode(&header, payload.clone());
        // Nearly right ones reach further.
        let mut near = all()[like].clone().encode().0.to_vec();
        let at = at.index(near.len());
        near[at] = header[header.len() / 2];
        if let Ok(message) = Message::decode(&near, payload.clone()) {
            let (header, again) = message.clone().encode();
            prop_assert_eq!(&again, &payload);
            prop_assert_eq!(Message::decode(&header, again), Ok(message));
        }
    }
}
