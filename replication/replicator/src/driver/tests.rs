//! Both ends on simulated disks: clients write while an object moves, channels break, disks fail.

mod faults;
mod storm;
mod world;

use self::world::*;
