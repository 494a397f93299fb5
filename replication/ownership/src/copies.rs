//! Who must have what an owner changes before anybody is told of it, and whose changes an appliance
//! takes into its copy.
//!
//! Invariant: a copy takes changes only from the object's owner in the newest view that is known
//! here. Absent on purpose: the changes themselves, and what is durable.

use model::{ApplianceId, Epoch, ObjectRecord, View};

use crate::fence::effective_owner;

/// The copies besides the owner's that count as good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// They get every change, and each is acknowledged once all of them have it.
    pub follow: Vec<ApplianceId>,
    /// They miss the next change: they are down, or there are more than are wanted. Before it is
    /// made the log must know that they are stale.
    pub leave: Vec<ApplianceId>,
}

/// What becomes of the copies of an object that `owner` changes, of which `wanted` are to be kept,
/// the owner's among them.
pub fn copies(
    record: &ObjectRecord,
    owner: ApplianceId,
    wanted: usize,
    is_up: impl Fn(ApplianceId) -> bool,
) -> Copies {
    let good = |a: &ApplianceId| *a != owner && !record.stale.contains(a);
    let mut copies = Copies::default();
    for appliance in record.replicas.iter().copied().filter(good) {
        let follows = is_up(appliance) && copies.follow.len() + 1 < wanted;
        if follows { &mut copies.follow } else { &mut copies.leave }.push(appliance);
    }
    copies
}

/// Under what an owner sends its changes to another copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Who.
    pub appliance: ApplianceId,
    /// The view it acts under.
    pub view: View,
    /// The object's epoch as it knows it.
    pub epoch: Epoch,
}

/// Whether a copy takes what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// It does.
    Take,
    /// First this appliance catches up: the sender knows a newer view or epoch.
    Wait,
    /// The sender's view or epoch is over: it catches up, and asks again if it is the owner then.
    Behind,
    /// The sender does not own the object, or the copy here is none that counts.
    Not,
}

/// Whether the copy of an appliance that has applied `view` takes what `sender` sends.
pub fn following(
    appliance: ApplianceId,
    view: View,
    record: &ObjectRecord,
    is_up: impl Fn(ApplianceId) -> bool,
    sender: Sender,
) -> Following {
    if sender.view > view || sender.epoch > record.epoch {
        return Following::Wait;
    }
    if sender.view < view || sender.epoch < record.epoch {
        return Following::Behind;
    }
    let counts = record.replicas.contains(&appliance) && !record.stale.contains(&appliance);
    let owns = effective_owner(record, is_up) == Some(sender.appliance);
    if counts && owns && sender.appliance != appliance { Following::Take } else { Following::Not }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: ApplianceId = ApplianceId::new(1);
    const BOB: ApplianceId = ApplianceId::new(2);
    const CYD: ApplianceId = ApplianceId::new(3);

    fn record(stale: &[ApplianceId]) -> ObjectRecord {
        let (owner, epoch) = (ADA, Epoch::new(3));
        ObjectRecord { owner, epoch, replicas: Box::new([ADA, BOB, CYD]), stale: stale.into() }
    }

    #[test]
    fn as_many_follow_as_are_wanted_and_up_and_the_log_hears_of_all_others() {
        let of = |stale: &[_], wanted, down| copies(&record(stale), ADA, wanted, |a| a != down);
        let nobody = ApplianceId::new(9);
        let all = of(&[], 3, nobody);
        assert_eq!((&*all.follow, &*all.leave), (&[BOB, CYD][..], &[][..]));
        let two = of(&[], 2, nobody);
        assert_eq!((&*two.follow, &*two.leave), (&[BOB][..], &[CYD][..]));
        let down = of(&[], 2, BOB);
        assert_eq!((&*down.follow, &*down.leave), (&[CYD][..], &[BOB][..]));
        let stale = of(&[BOB], 3, nobody);
        assert_eq!((&*stale.follow, &*stale.leave), (&[CYD][..], &[][..]));
        let alone = of(&[], 1, nobody);
        assert_eq!((&*alone.follow, &*alone.leave), (&[][..], &[BOB, CYD][..]));
    }

    #[test]
    fn a_copy_takes_changes_from_the_owner_of_its_own_view_and_epoch() {
        let ask = |stale: &[_], from, view, epoch| {
            let sender =
                Sender { appliance: from, view: View::new(view), epoch: Epoch::new(epoch) };
            following(CYD, View::new(7), &record(stale), |a| a != ADA, sender)
        };
        assert_eq!(ask(&[], BOB, 7, 3), Following::Take, "it stands in for the one that is down");
        assert_eq!(ask(&[], ADA, 7, 3), Following::Not, "the view has it down");
        assert_eq!(ask(&[], BOB, 8, 3), Following::Wait);
        assert_eq!(ask(&[], BOB, 7, 4), Following::Wait);
        assert_eq!(ask(&[], ADA, 6, 3), Following::Behind);
        assert_eq!(ask(&[], BOB, 7, 2), Following::Behind);
        assert_eq!(ask(&[CYD], BOB, 7, 3), Following::Not, "a stale copy is made whole first");
    }
}
