use model::{Identity, Span};

use super::*;

fn forwarded(call: Call) -> Request {
    Request::Forward(Box::new(Forwarded {
        volume: VolumeId::new(1),
        identity: Identity { uid: 1, gid: 2, gids: Box::new([3, 4]) },
        key: None,
        read_only: false,
        view: View::new(5),
        index: Index::new(6),
        patience_ms: 10_000,
        call,
    }))
}

fn requests() -> Vec<Request> {
    let object = ObjectId::new(7);
    let name = Name::parse(b"caf\xe9").unwrap();
    let span = Span::new(3, 4).unwrap();
    vec![
        forwarded(Call::LookUp { dir: object, name: WireName::Name(name) }),
        forwarded(Call::Read { object, offset: span.offset(), len: span.len() as u32 }),
        forwarded(Call::Write { object, offset: 1 << 40, stability: Stability::FileSync }),
        Request::Propose { group: GroupId::new(1), data: vec![1, 2, 3] },
        Request::AppliedUpTo { group: GroupId::FLEET, index: Index::new(9) },
        Request::FleetImage,
        Request::Explain { volume: VolumeId::new(2), object },
        Request::Copies { volume: VolumeId::new(2), appliance: ApplianceId::new(3) },
        Request::Pin { volume: VolumeId::new(2), object, to: Some(ApplianceId::new(3)) },
        Request::Jobs,
        Request::InView { view: View::new(7) },
        Request::Address(Box::new(AddressAsk::Connections {
            address: "10.0.0.9".parse().unwrap(),
            since: View::new(3),
            clients: vec![(2049, "10.0.0.7:700".parse().unwrap())],
        })),
        Request::Scrub(ScrubAsk::Start { volume: Some(VolumeId::new(2)) }),
        Request::Scrub(ScrubAsk::Status),
        Request::Copy(Box::new(CopyAsk {
            volume: VolumeId::new(2),
            object,
            view: View::new(3),
            epoch: Epoch::new(4),
            index: Index::new(5),
            what: copies::CopyWhat::Extent { extent: 6, at: Some(model::Mark::default()) },
        })),
        Request::Ledger(LedgerQuestion { volume: Some(VolumeId::new(2)), object: Some(object) }),
    ]
}

#[test]
fn what_is_asked_arrives_as_it_was() {
    for request in requests() {
        assert_eq!(decode::<Request>(&encode(&request)), Ok(request));
    }
}

#[test]
fn bytes_that_are_cut_short_or_of_another_format_are_refused() {
    for request in requests() {
        let bytes = encode(&request);
        for len in 0..bytes.len() {
            assert_eq!(decode::<Request>(&bytes[..len]), Err(BadMessage), "{request:?} at {len}");
        }
        let mut newer = bytes.to_vec();
        newer[0] = 200;
        assert_eq!(decode::<Request>(&newer), Err(BadMessage));
    }
}

#[test]
fn a_length_that_was_not_received_allocates_nothing() {
    // `Propose` of group 1 with 2^62 bytes of data, none of which are there.
    let bytes = [&[FORMAT, 1, 1][..], &[0xff; 8], &[0x3f]].concat();
    assert_eq!(decode::<Request>(&bytes), Err(BadMessage));
}

#[test]
fn what_is_told_of_scrubs_arrives_as_it_was() {
    let (at, digest) = (Some(model::Mark::default()), Some([7; 32]));
    let told = scrub::ExtentTold { at, size: 1 << 40, digest, next: u64::MAX };
    let report = ScrubReport { rate: 5, ..ScrubReport::default() };
    for reply in [Reply::Copied(CopyTold::Extent(told)), Reply::Scrub(Box::new(report))] {
        let bytes = encode(&reply);
        assert_eq!(decode::<Reply>(&bytes), Ok(reply));
        assert_eq!(decode::<Reply>(&bytes[..bytes.len() - 1]), Err(BadMessage));
    }
}
