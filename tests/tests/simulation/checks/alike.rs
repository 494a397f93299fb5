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
        if record.replicas.len() != wanted || !record.stale.is_empty() {
            return Err(format!("{what} should have {wanted} good copies: {record:?}"));
        }
        same(world, *key, &record).map_err(|differs| format!("{what}: {differs}"))?;
    }
    Ok(())
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
