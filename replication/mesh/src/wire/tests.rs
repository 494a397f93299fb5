use proptest::prelude::*;

use super::*;

const ALL: &[Tag] = &[
    Tag::Hello,
    Tag::Request,
    Tag::Reply,
    Tag::Open,
    Tag::Chunk,
    Tag::Tell,
    Tag::Join,
    Tag::Joined,
];

fn hello() -> Hello {
    Hello {
        versions: FrameVersions { min: 1, max: 3 },
        fleet: Fingerprint::new([7; 32]),
        run: [9; 16],
        program: "0.1.0".to_owned(),
    }
}

#[test]
fn a_prefix_reads_back() {
    for tag in ALL {
        let (header, payload) = tag.limits();
        let prefix = Prefix { tag: *tag, kind: 0, header, payload };
        assert_eq!(Prefix::parse(prefix.bytes(), ALL), Ok(prefix));
    }
}

#[test]
fn a_frame_over_its_limit_is_malformed_before_any_of_it_is_read() {
    for tag in ALL {
        let (header, payload) = tag.limits();
        let good = Prefix { tag: *tag, kind: 0, header, payload }.bytes();
        for (at, one_more) in [(4, header as u32 + 1), (8, payload as u32 + 1)] {
            let mut bad = good;
            bad[at..at + 4].copy_from_slice(&one_more.to_be_bytes());
            assert!(matches!(Prefix::parse(bad, ALL), Err(Malformed::Size(..))), "{tag:?}");
        }
    }
}

#[test]
fn a_frame_in_the_wrong_place_is_malformed() {
    let reply = Prefix { tag: Tag::Reply, kind: 1, header: 0, payload: 0 }.bytes();
    assert_eq!(Prefix::parse(reply, &[Tag::Request, Tag::Open]), Err(Malformed::Tag(3)));
    let topic = Prefix { tag: Tag::Tell, kind: TOPICS_MAX as u16, header: 0, payload: 0 }.bytes();
    assert_eq!(Prefix::parse(topic, ALL), Err(Malformed::Field));
}

#[test]
fn the_first_frame_of_version_1_is_these_bytes() {
    let [head, ..] =
        frame(Tag::Request, 0x0102, Bytes::from_static(b"head"), Bytes::from_static(b"body"));
    assert_eq!(head.as_ref(), b"\x02\0\x01\x02\0\0\0\x04\0\0\0\x04headbody");
}

#[test]
fn large_parts_are_not_copied() {
    let large = |len| Bytes::from(vec![1; len]);
    let (header, payload) = (large(4000), large(5000));
    let [_, h, p] = frame(Tag::Request, 0, header.clone(), payload.clone());
    assert_eq!((h.as_ptr(), p.as_ptr()), (header.as_ptr(), payload.as_ptr()));
    let [head, p, rest] = frame(Tag::Request, 0, large(10), payload.clone());
    assert_eq!((head.len(), p.as_ptr(), rest.len()), (22, payload.as_ptr(), 0));
}

#[test]
fn the_newest_common_version_is_spoken() {
    let versions = |min, max| FrameVersions { min, max };
    assert_eq!(versions(1, 2).common(versions(2, 5)), Some(2));
    assert_eq!(versions(1, 9).common(versions(2, 5)), Some(5));
    assert_eq!(versions(1, 2).common(versions(3, 4)), None);
}

#[test]
fn a_hello_reads_back_and_a_later_release_may_append() {
    let bytes = hello().to_bytes();
    assert_eq!(Hello::parse(&bytes), Ok(hello()));
    assert_eq!(Hello::parse(&[bytes.as_ref(), b"more"].concat()), Ok(hello()));
    for len in 0..bytes.len() {
        assert_eq!(Hello::parse(&bytes[..len]), Err(Malformed::Hello), "{len}");
    }
}

#[test]
fn a_program_name_can_not_forge_a_line_of_log() {
    let mut rude = hello();
    rude.program = "a\nb \u{1b}[1m".to_owned();
    assert_eq!(Hello::parse(&rude.to_bytes()).unwrap().program, "a?b??[1m");
}

proptest! {
    #[test]
    fn no_prefix_passes_a_limit(bytes: [u8; PREFIX_BYTES], tag in 1_u8..9) {
        let mut bytes = bytes;
        bytes[0] = tag;
        bytes[1] = 0;
        bytes[4] = 0;
        bytes[8] = 0;
        if let Ok(prefix) = Prefix::parse(bytes, ALL) {
            let (header, payload) = prefix.tag.limits();
            prop_assert!(prefix.header <= header && prefix.payload <= payload);
            prop_assert_eq!(prefix.bytes(), bytes);
        }
    }

    #[test]
    fn no_hello_makes_it_panic(bytes: Vec<u8>) {
        let _ = Hello::parse(&bytes);
        let _ = Hello::parse(&[HELLO_MAGIC.as_slice(), &bytes].concat());
    }
}
