//! Where an object is used, and when it moves there. The owner counts its own use and what each
//! other appliance forwards; an object that is used mostly from elsewhere is handed over.
//!
//! Invariant: bounded memory whatever is used; equal events give equal decisions; an object that
//! was moved rests, longer each time it is moved back. Absent on purpose: the hand-over itself.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ApplianceId, ObjectId, VolumeId};
use serde::{Deserialize, Serialize};

mod past;
mod recent;

use past::Pasts;
use recent::Recent;

/// One object of the fleet.
pub type ObjectKey = (VolumeId, ObjectId);

/// When an object moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeatSettings {
    /// Over how long use is counted.
    pub window: Duration,
    /// So many forwards from one appliance in a window, at least.
    pub forwards_min: u32,
    /// So many times the owner's own use, at least.
    pub times_own_min: u32,
    /// How long an object rests after it was moved; doubled each time it is moved back.
    pub cool_down: Duration,
    /// The longest it rests.
    pub cool_down_max: Duration,
}

impl Default for HeatSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            forwards_min: 50,
            times_own_min: 3,
            cool_down: Duration::from_secs(60),
            cool_down_max: Duration::from_secs(3600),
        }
    }
}

/// What the operator has said of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Nothing: it moves to where it is used.
    Free,
    /// It belongs there.
    To(ApplianceId),
}

/// Whether an appliance can take an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It is a member of the volume, up, not draining, and has room.
    Enough,
    /// It is not, or has not.
    None,
}

/// One object is to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// To whom.
    pub to: ApplianceId,
}

/// The use of an object from one appliance in the last window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Which.
    pub appliance: ApplianceId,
    /// How many requests it forwarded.
    pub forwards: u32,
}

/// The arithmetic behind a decision, for `holdfast object explain PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The owner's own use in the last window.
    pub own: u32,
    /// Everybody else's, the most first; at most [`ASKERS_MAX`].
    pub askers: Vec<Asker>,
    /// So many forwards from one appliance would do: the larger of the least number and so many
    /// times the own use.
    pub needed: u32,
    /// How long it still rests.
    pub rests_for: Duration,
    /// How often in a row it was moved back to where it came from.
    pub moved_back: u32,
    /// What comes of it.
    pub outcome: Outcome,
}

/// What comes of the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is handed over.
    Moves(Move),
    /// Nobody uses it enough.
    NotUsedEnoughElsewhere,
    /// It was moved not long ago.
    Rests,
    /// The operator wants it here.
    PinnedHere,
    /// The operator wants it there, but that appliance can't take it.
    PinnedWithoutRoom(ApplianceId),
    /// Whoever uses it most can't take it.
    NoRoom(ApplianceId),
}

/// The heat of the objects that this appliance owns.
#[derive(Clone, Debug)]
pub struct Heat {
    /// The owner.
    here: ApplianceId,
    settings: HeatSettings,
    objects: BTreeMap<ObjectKey, Uses>,
    pasts: Pasts,
}

#[derive(Clone, Debug, Default)]
struct Uses {
    own: Recent,
    askers: Vec<(ApplianceId, Recent)>,
}

impl Uses {
    /// From wherever.
    fn total(&self, now: Duration, window: Duration) -> u32 {
        let forwards = self.askers.iter().map(|(_, recent)| recent.value(now, window));
        forwards.fold(self.own.value(now, window), u32::saturating_add)
    }
}

impl Heat {
    /// Nothing was used yet.
    pub fn new(here: ApplianceId, settings: HeatSettings) -> Self {
        Self { here, settings, objects: BTreeMap::new(), pasts: Pasts::default() }
    }

    /// The object was used by a client of the owner.
    pub fn used_here(&mut self, now: Duration, object: ObjectKey) {
        let window = self.settings.window;
        self.uses(now, object).own.count(now, window);
    }

    /// A request for the object was forwarded by another appliance.
    pub fn forwarded(&mut self, now: Duration, object: ObjectKey, from: ApplianceId) {
        let window = self.settings.window;
        let askers = &mut self.uses(now, object).askers;
        if let Some((_, recent)) = askers.iter_mut().find(|(asker, _)| *asker == from) {
            return recent.count(now, window);
        }
        if askers.len() == ASKERS_MAX {
            let use_of = |at: &usize| (askers[*at].1.value(now, window), askers[*at].0);
            let coldest = (0..askers.len()).min_by_key(use_of);
            askers.swap_remove(coldest.expect("there are askers"));
        }
        let mut recent = Recent::default();
        recent.count(now, window);
        askers.push((from, recent));
    }

    /// This appliance has handed the object over.
    pub fn handed_over(&mut self, now: Duration, object: ObjectKey, to: ApplianceId) {
        self.objects.remove(&object);
        self.pasts.left(now, object, to);
    }

    /// This appliance was handed the object.
    pub fn gained(&mut self, now: Duration, object: ObjectKey, from: ApplianceId) {
        self.objects.remove(&object);
        self.pasts.came(now, object, from, &self.settings);
    }

    /// The object is gone.
    pub fn forget(&mut self, object: ObjectKey) {
        self.objects.remove(&object);
        self.pasts.forget(object);
    }

    /// Whether the object is to be handed over now, and to whom.
    pub fn decide(
        &self,
        now: Duration,
        object: ObjectKey,
        pin: Pin,
        room: impl Fn(ApplianceId) -> Room,
    ) -> Option<Move> {
        match self.explain(now, object, pin, room).outcome {
            Outcome::Moves(to) => Some(to),
            Outcome::NotUsedEnoughElsewhere
            | Outcome::Rests
            | Outcome::PinnedHere
            | Outcome::PinnedWithoutRoom(_)
            | Outcome::NoRoom(_) => None,
        }
    }

    /// The arithmetic behind [`Heat::decide`].
    pub fn explain(
        &self,
        now: Duration,
        object: ObjectKey,
        pin: Pin,
        room: impl Fn(ApplianceId) -> Room,
    ) -> Explained {
        let HeatSettings { window, forwards_min, times_own_min, .. } = self.settings;
        let uses = self.objects.get(&object);
        let own = uses.map_or(0, |uses| uses.own.value(now, window));
        let asker = |(appliance, recent): &(ApplianceId, Recent)| Asker {
            appliance: *appliance,
            forwards: recent.value(now, window),
        };
        let mut askers: Vec<Asker> =
            uses.map_or(Vec::new(), |uses| uses.askers.iter().map(asker).collect());
        askers.sort_by_key(|asker| (std::cmp::Reverse(asker.forwards), asker.appliance));
        let needed = forwards_min.max(own.saturating_mul(times_own_min));
        let rests_for = self.pasts.rests_for(now, object, &self.settings);
        let moved_back = self.pasts.moved_back(object);
        let outcome = match (pin, askers.first()) {
            (Pin::To(there), _) if there == self.here => Outcome::PinnedHere,
            // What the operator says is not weighed, and does not rest.
            (Pin::To(to), _) if room(to) == Room::Enough => Outcome::Moves(Move { to }),
            (Pin::To(to), _) => Outcome::PinnedWithoutRoom(to),
            (Pin::Free, None) => Outcome::NotUsedEnoughElsewhere,
            (Pin::Free, Some(most)) => {
                if most.forwards < needed {
                    Outcome::NotUsedEnoughElsewhere
                } else if rests_for > Duration::ZERO {
                    Outcome::Rests
                } else if room(most.appliance) == Room::None {
                    Outcome::NoRoom(most.appliance)
                } else {
                    Outcome::Moves(Move { to: most.appliance })
                }
            }
        };
        Explained { own, askers, needed, rests_for, moved_back, outcome }
    }

    /// How often the object was used in the last window, from wherever.
    pub fn uses_of(&self, now: Duration, object: ObjectKey) -> u32 {
        let window = self.settings.window;
        self.objects.get(&object).map_or(0, |uses| uses.total(now, window))
    }

    /// Objects with forwards enough to be looked at, in order of their numbers.
    pub fn warm(&self, now: Duration) -> impl Iterator<Item = ObjectKey> + use<'_> {
        let HeatSettings { window, forwards_min, .. } = self.settings;
        let enough = move |uses: &Uses| {
            uses.askers.iter().any(|(_, recent)| recent.value(now, window) >= forwards_min)
        };
        self.objects.iter().filter(move |(_, uses)| enough(uses)).map(|(object, _)| *object)
    }

    /// How many objects are counted.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    fn uses(&mut self, now: Duration, object: ObjectKey) -> &mut Uses {
        if self.objects.len() >= OBJECTS_MAX && !self.objects.contains_key(&object) {
            self.evict(now);
        }
        self.objects.entry(object).or_default()
    }

    /// Forgets the coldest quarter: rarely, so that a use costs little even among too many.
    fn evict(&mut self, now: Duration) {
        let window = self.settings.window;
        let mut by_use: Vec<(u32, ObjectKey)> =
            self.objects.iter().map(|(object, uses)| (uses.total(now, window), *object)).collect();
        by_use.sort_unstable();
        for (_, object) in &by_use[..OBJECTS_MAX / 4] {
            self.objects.remove(object);
        }
    }
}

/// Some 100 bytes each, the askers counted: a few megabytes.
pub const OBJECTS_MAX: usize = 16_384;
/// Only the warmest of them can ever be handed the object.
pub const ASKERS_MAX: usize = 8;

#[cfg(test)]
mod tests;
