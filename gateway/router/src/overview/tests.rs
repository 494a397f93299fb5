use model::{Epoch, Timestamp};
use ownership::Cause;

use super::*;

fn record(owner: u64, replicas: &[u64], stale: &[u64]) -> ObjectRecord {
    let ids = |list: &[u64]| list.iter().copied().map(ApplianceId::new).collect();
    ObjectRecord {
        owner: ApplianceId::new(owner),
        epoch: Epoch::default(),
        replicas: ids(replicas),
        stale: ids(stale),
    }
}

#[test]
fn a_file_is_held_alone_if_every_other_copy_is_stale() {
    let ada = ApplianceId::new(1);
    assert!(is_alone(&record(1, &[1], &[]), ada));
    assert!(is_alone(&record(1, &[1, 2], &[2]), ada));
    assert!(!is_alone(&record(1, &[1, 2, 3], &[2]), ada));
    assert!(!is_alone(&record(2, &[1, 2], &[1]), ada));
}

#[test]
fn a_question_about_a_file_includes_what_happened_to_its_whole_volume() {
    let change = |volume, object: Option<u64>| OwnerChange {
        volume: VolumeId::new(volume),
        object: object.map(ObjectId::new),
        from: None,
        to: ApplianceId::new(1),
        epoch: Epoch::default(),
        cause: Cause::Heat,
        at: Timestamp::default(),
    };
    let about = LedgerQuestion { volume: Some(VolumeId::new(1)), object: Some(ObjectId::new(7)) };
    assert!(about.includes(&change(1, Some(7))) && about.includes(&change(1, None)));
    assert!(!about.includes(&change(1, Some(8))) && !about.includes(&change(2, Some(7))));
    assert!(LedgerQuestion::default().includes(&change(2, Some(8))));
}
