//! Exactly once: no change of data is carried out after its call was answered, none twice in one
//! view, and none that was told to be certainly not done; unless the file is gone, where its owner
//! may be the last to hear of that. (Names: see `names`, by the log.)

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Execution, History};
use crate::words::{Call, Outcome};

pub fn check(history: &History) -> Result<(), String> {
    let mut answered = BTreeMap::new();
    for op in &history.ops {
        if let (Call::Write { .. }, Some((at, outcome))) = (&op.request.call, &op.answered) {
            answered.insert(op.request.key, (*at, outcome));
        }
    }
    let mut carried_out = BTreeSet::new();
    for Execution { at, request: key, view, .. } in &history.executions {
        // The answer is in memory, and goes along when the file moves; only a start forgets it.
        if !carried_out.insert((*key, *view)) {
            return Err(format!(
                "{key:?} was done twice in view {view}, the second time at {at} µs"
            ));
        }
        match answered.get(key) {
            Some((_, Outcome::Busy)) => {
                return Err(format!("{key:?} was told not to be done and was, at {at} µs"));
            }
            Some((_, outcome)) if History::is_stale(outcome) => {}
            Some((by, _)) if at > by => {
                return Err(format!("{key:?} was answered by {by} µs and done again at {at} µs"));
            }
            _ => {}
        }
    }
    Ok(())
}
