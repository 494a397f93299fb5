use super::*;

fn kept() -> Kept {
    let (volume, object) = (VolumeId::new(1), ObjectId::new(300));
    let at = Timestamp::from_nanos;
    let counts = Counts {
        files: 1,
        bytes: 1 << 40,
        unreadable: 2,
        differing: 3,
        mended: 4,
        put_off: 0,
        damaged: 1,
        skipped: 6,
    };
    Kept {
        state: State::Running,
        since: at(5),
        pass: Pass {
            scope: Some(volume),
            began: at(6),
            stage: Stage::Late,
            at: Place { volume, object, extent: 7 },
            counts,
            files_total: Some(9),
            late: vec![(volume, object)],
            somebody_left: true,
            mending: vec![Mending { volume, object, copy: ApplianceId::new(2) }],
        },
        finished: Some(Finished { at: at(4), scope: None, counts }),
        damaged: vec![Damage { volume, object, offset: 1 << 20, path: "media/film".to_owned() }],
    }
}

/// A format is changed by a new format byte and new golden bytes, never by editing these.
#[test]
fn what_is_kept_keeps_its_bytes() {
    let hex: String = kept().encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("kept.hex").trim());
    assert_eq!(Kept::decode(&kept().encode()), Ok(kept()));
}

#[test]
fn bytes_that_are_cut_short_or_of_another_format_are_refused() {
    let bytes = kept().encode();
    for len in 0..bytes.len() {
        assert_eq!(Kept::decode(&bytes[..len]), Err(BadKept), "{len}");
    }
    let newer = [&[FORMAT + 1], &bytes[1..]].concat();
    assert_eq!(Kept::decode(&newer), Err(BadKept));
    // A length of 2^62 of which nothing is there.
    let huge = [&[FORMAT, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0xff; 8], &[0x3f]].concat();
    assert_eq!(Kept::decode(&huge), Err(BadKept));
}

#[test]
fn lists_beyond_their_limits_are_refused() {
    let mut kept = kept();
    kept.pass.late = vec![(VolumeId::new(1), ObjectId::new(2)); LATE_MAX];
    assert!(Kept::decode(&kept.encode()).is_ok());
    kept.pass.late.push((VolumeId::new(1), ObjectId::new(2)));
    assert_eq!(Kept::decode(&kept.encode()), Err(BadKept));
}

#[test]
fn what_is_put_off_and_what_is_damaged_is_unmended() {
    let of = |put_off, damaged| {
        let counts = Counts { put_off, damaged, unreadable: 9, mended: 9, ..Counts::default() };
        Finished { at: Timestamp::default(), scope: None, counts }.unmended()
    };
    assert_eq!((of(0, 0), of(2, 0), of(0, 1), of(2, 1)), (0, 2, 1, 3));
}
