//! Once the faults have ended, every file has as many copies as it shall have, all of them good,
//! and all hold the same.

use model::{ApplianceId, ObjectRecord};

use crate::words::Key;
use crate::world::World;

/// What is not so yet.
pub fn check(world: &World) -> Result<(), String> {
    for key in &world.files {
        let Some(record) = world.newest_record(*key) else { continue };
        let wanted = world.wanted(key.0);
        let what = format!("object {} of volume {}", key.1, key.0);
        if is_gone(world, *key, &record) {
            continue;
        }
        if record.replicas.len() != wanted || !record.stale.is_empty() {
            return Err(format!("{what} should have {wanted} good copies: {record:?}"));
        }
        same(world, *key, &record).map_err(|differs| format!("{what}: {differs}"))?;
    }
    Ok(())
}

/// The one copy that rotted was the last good one by then: whoever reads it is told so.
fn is_gone(world: &World, key: Key, record: &ObjectRecord) -> bool {
    let mut good = record.replicas.iter().filter(|copy| !record.stale.contains(copy));
    good.all(|copy| {
        let process = world.machines[copy.get() as usize - 1].process.as_ref();
        process.is_some_and(|process| process.is_rotten(key))
    })
}

fn same(world: &World, key: Key, record: &ObjectRecord) -> Result<(), String> {
    let copy = |appliance: ApplianceId| {
        let process = world.machines[appliance.get() as usize - 1].process.as_ref();
        let file = process.and_then(|process| process.disk.files.get(&key));
        file.map(|file| file.now.bytes.clone()).unwrap_or_default()
    };
    let owners = copy(record.owner);
    let differs = |appliance: &&ApplianceId| copy(**appliance) != owners;
    match record.replicas.iter().find(differs) {
        Some(other) => {
            Err(format!("{} has {owners:?}, and {other} {:?}", record.owner, copy(*other)))
        }
        None => Ok(()),
    }
}
