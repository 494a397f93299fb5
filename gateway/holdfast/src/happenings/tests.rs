use model::ObjectId;

use super::*;

const BOB: ApplianceId = ApplianceId::new(2);
const MEDIA: VolumeId = VolumeId::new(1);
const FILM: ObjectId = ObjectId::new(7);

fn said(happening: Happening) -> Notice {
    notice(&Fleet::default(), "ada", happening)
}

fn end(unreadable: u64, put_off: u64) -> Finished {
    let counts = scrub::Counts { unreadable, put_off, ..scrub::Counts::default() };
    Finished { at: model::Timestamp::default(), scope: None, counts }
}

fn all() -> Vec<Happening> {
    let of_appliance = [
        OfAppliance::Down,
        OfAppliance::Up,
        OfAppliance::Drained,
        OfAppliance::InUse,
        OfAppliance::Left("bob".to_owned()),
    ];
    let ends = [(0, 0), (1, 0), (1, 1)].map(|(bad, put_off)| Here::Scrubbed(end(bad, put_off)));
    let here = [
        Here::CutOff,
        Here::BackInFleet,
        Here::DiskFull,
        Here::DiskHasRoom,
        Here::Rebalanced,
        Here::RebalanceStuck,
    ];
    let of_volume = [
        OfVolume::Unavailable,
        OfVolume::Available,
        OfVolume::FilesUnavailable(1),
        OfVolume::FilesAvailable,
        OfVolume::Degraded(1),
        OfVolume::Whole,
    ];
    let of_copy = [
        OfCopy::Failed(extents::CopyFault::Fsync),
        OfCopy::Unreadable,
        OfCopy::Repaired,
        OfCopy::OnlyUnreadable,
        OfCopy::LeftBehind(BOB),
        OfCopy::NotMoved(BOB),
        OfCopy::UnreadableThere(BOB),
        OfCopy::Differs(BOB),
    ];
    let of_appliance = of_appliance.map(|what| Happening::Appliance(BOB, what));
    let of_volume = of_volume.map(|what| Happening::Volume(MEDIA, what));
    let of_copy = of_copy.map(|what| Happening::Copy(MEDIA, FILM, what));
    let mut all = Vec::from(of_appliance);
    all.extend(here.into_iter().chain(ends).map(Happening::Here));
    let path = "media/film".to_owned();
    all.push(Happening::Damaged { volume: MEDIA, object: FILM, path, offset: 9 });
    all.extend(of_volume);
    all.extend(of_copy);
    all
}

#[test]
fn every_notice_is_a_sentence_that_names_what_it_is_about_and_what_to_do() {
    for happening in all() {
        let notice = said(happening.clone());
        let name = notice.subject.split_once(' ').unwrap().1.to_owned();
        assert!(notice.message.contains(&name), "{happening:?}: {}", notice.message);
        assert!(notice.message.ends_with('.') && notice.message.contains([':', ',']));
        let lull = notice.message.contains("nothing to do");
        assert!(notice.status != Status::Good || lull, "{happening:?}: {}", notice.message);
        assert_eq!(notice.clone().bounded(), notice, "{happening:?} is within the limits");
    }
}

#[test]
fn what_ends_something_bad_has_its_subject_and_job() {
    for (bad, good) in [
        (Happening::Appliance(BOB, OfAppliance::Down), Happening::Appliance(BOB, OfAppliance::Up)),
        (Happening::Here(Here::CutOff), Happening::Here(Here::BackInFleet)),
        (Happening::Here(Here::DiskFull), Happening::Here(Here::DiskHasRoom)),
        (Happening::Here(Here::RebalanceStuck), Happening::Here(Here::Rebalanced)),
        (
            Happening::Volume(MEDIA, OfVolume::Unavailable),
            Happening::Volume(MEDIA, OfVolume::Available),
        ),
        (
            Happening::Volume(MEDIA, OfVolume::FilesUnavailable(3)),
            Happening::Volume(MEDIA, OfVolume::FilesAvailable),
        ),
        (
            Happening::Volume(MEDIA, OfVolume::Degraded(3)),
            Happening::Volume(MEDIA, OfVolume::Whole),
        ),
    ] {
        let (bad, good) = (said(bad), said(good));
        assert_eq!((&bad.subject, &bad.job), (&good.subject, &good.job));
        assert!(bad.status >= Status::Warning && good.status == Status::Good, "{bad:?}");
    }
}

#[test]
fn counts_are_details_so_that_the_same_is_told_once() {
    let few = said(Happening::Volume(MEDIA, OfVolume::Degraded(3)));
    let many = said(Happening::Volume(MEDIA, OfVolume::Degraded(4000)));
    assert_eq!((&few.message, &few.details["files"]), (&many.message, &"3".to_owned()));
    assert_eq!(many.details["files"], "4000");
}

#[test]
fn a_scrub_that_left_something_bad_is_told_loudly_and_with_its_numbers() {
    let said = |bad, put_off| said(Happening::Here(Here::Scrubbed(end(bad, put_off))));
    let statuses = [said(0, 0), said(3, 0), said(3, 1)].map(|notice| notice.status);
    assert_eq!(statuses, [Status::Good, Status::Warning, Status::Error]);
    let notice = said(3, 1);
    assert_eq!((&*notice.details["unreadable"], &*notice.details["put_off"]), ("3", "1"));
    assert_eq!(notice.job, "scrub");
}
