//! Decides how an appliance scrubs the files it owns: in which order, how fast, what a comparison
//! of copies means, and what is kept so that it goes on after a restart.
//!
//! Invariant: a copy is called bad only by what was seen twice, and never given up for the sake of
//! one that is not known to be whole. Absent on purpose: IO, clocks, and the other appliances;
//! whoever drives it reads, asks and acts.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod course;
mod judge;
mod kept;
mod pace;

pub use course::{Course, Done, Next, Settings, Started, Which};
pub use judge::{Digest, Finding, Look, Part, Trial, Verdict, compare, judge, own_part};
pub use kept::{
    BadKept, Counts, DAMAGED_MAX, Damage, Finished, Kept, LATE_MAX, MENDING_MAX, Mending, Pass,
    Place, Stage, State,
};
pub use pace::Pace;
