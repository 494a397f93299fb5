//! Nothing acknowledged is lost: a read sees every write that was acknowledged before it began, or
//! a later one. Unstable data may be missing only if the verifier has changed since.
//!
//! Each cell of a file is a register. The rules are necessary for linearizability, and sound with
//! losses; they look at pairs of operations, so they are quick.

use std::collections::BTreeMap;

use model::{RequestKey, WriteVerifier};

use crate::history::{History, Op};
use crate::words::{CELLS, Call, How, Key, Outcome};

struct Write {
    value: u32,
    cell: usize,
    cells: usize,
    invoked: u64,
    answered: Option<(u64, How, WriteVerifier)>,
    /// When it was carried out again since whoever knew of it had ended, or was left behind.
    again: Vec<u64>,
}

struct Read {
    cells: [u32; CELLS],
    verifier: WriteVerifier,
    invoked: u64,
    answered: u64,
}

#[derive(Default)]
struct File {
    writes: Vec<Write>,
    reads: Vec<Read>,
    commits: Vec<(u64, u64, WriteVerifier)>,
}

pub fn check(history: &History) -> Result<(), String> {
    let mut files: BTreeMap<Key, File> = BTreeMap::new();
    let mut again: BTreeMap<RequestKey, Vec<u64>> = BTreeMap::new();
    for execution in history.executions.iter().filter(|execution| execution.forgotten) {
        again.entry(execution.request).or_default().push(execution.at);
    }
    for op in &history.ops {
        collect(&mut files, op, &again);
    }
    for ((volume, object), file) in &files {
        for cell in 0..CELLS {
            file.check(cell, &history.power_cuts).map_err(|what| {
                format!("cell {cell} of object {object} of volume {volume}: {what}")
            })?;
        }
    }
    Ok(())
}

fn collect(files: &mut BTreeMap<Key, File>, op: &Op, again: &BTreeMap<RequestKey, Vec<u64>>) {
    let key = |object| (op.request.volume, object);
    match (&op.request.call, &op.answered) {
        (Call::Write { object, cell, cells, value, .. }, answered) => {
            let answered = match answered {
                Some((at, Outcome::Wrote { how, verifier })) => Some((*at, *how, *verifier)),
                // Refused, or never answered: it may or may not be there.
                _ => None,
            };
            let (cell, cells, value) = (*cell, *cells, *value);
            let again = again.get(&op.request.key).cloned().unwrap_or_default();
            let write = Write { value, cell, cells, invoked: op.invoked, answered, again };
            files.entry(key(*object)).or_default().writes.push(write);
        }
        (Call::Read { object }, Some((at, Outcome::Read { cells, verifier }))) => {
            let (cells, verifier) = (*cells, *verifier);
            let read = Read { cells, verifier, invoked: op.invoked, answered: *at };
            files.entry(key(*object)).or_default().reads.push(read);
        }
        (Call::Commit { object }, Some((at, Outcome::Committed { verifier }))) => {
            files.entry(key(*object)).or_default().commits.push((op.invoked, *at, *verifier));
        }
        _ => {}
    }
}

impl Write {
    /// Whether it was over before `moment`.
    fn is_before(&self, moment: u64) -> bool {
        self.answered.is_some_and(|(at, ..)| at < moment)
    }
}

impl File {
    fn check(&self, cell: usize, power_cuts: &[u64]) -> Result<(), String> {
        let covers = |w: &&Write| (w.cell..w.cell + w.cells).contains(&cell);
        let writes: Vec<&Write> = self.writes.iter().filter(covers).collect();
        for read in &self.reads {
            let value = read.cells[cell];
            let seen = writes.iter().find(|write| write.value == value);
            if value != 0 && seen.is_none() {
                return Err(format!("a read saw {value}, which nobody wrote"));
            }
            if seen.is_some_and(|seen| seen.invoked > read.answered) {
                return Err(format!("a read saw {value} before it was written"));
            }
            for newer in &writes {
                let follows = seen.is_none_or(|seen| seen.is_before(newer.invoked));
                if follows && newer.is_before(read.invoked) && !self.may_be_lost(newer, read) {
                    return Err(format!(
                        "a read ({} to {} µs) saw {value} and not {}, acknowledged at {:?}",
                        read.invoked, read.answered, newer.value, newer.answered
                    ));
                }
            }
        }
        self.check_reads(cell, &writes, power_cuts)?;
        self.check_returns(cell, &writes, power_cuts)
    }

    /// What was overwritten does not come back while nothing was lost: it would have been written
    /// twice.
    fn check_returns(
        &self,
        cell: usize,
        writes: &[&Write],
        power_cuts: &[u64],
    ) -> Result<(), String> {
        let value = |read: &Read| read.cells[cell];
        for last in self.reads.iter().filter(|read| value(read) != 0) {
            let again = writes.iter().filter(|write| write.value == value(last));
            let again: Vec<u64> = again.flat_map(|write| write.again.iter().copied()).collect();
            let same_time = |read: &&Read| {
                let cut = |at: &u64| read.invoked < *at && *at < last.answered;
                read.verifier == last.verifier || !power_cuts.iter().any(cut)
            };
            let others = self.reads.iter().filter(same_time).filter(|r| value(r) != value(last));
            for between in others.filter(|read| read.answered < last.invoked) {
                if again.iter().any(|at| (between.invoked..last.answered).contains(at)) {
                    continue;
                }
                let mut alike = self.reads.iter().filter(same_time);
                if alike.any(|r| value(r) == value(last) && r.answered < between.invoked) {
                    let (gone, back) = (value(between), value(last));
                    return Err(format!("{back} came back after a read had seen {gone}"));
                }
            }
        }
        Ok(())
    }

    /// What a read saw is not missed by a later one, unless power went: what is shown is at every
    /// copy that may be shown later.
    fn check_reads(
        &self,
        cell: usize,
        writes: &[&Write],
        power_cuts: &[u64],
    ) -> Result<(), String> {
        for first in &self.reads {
            let Some(seen) = writes.iter().find(|w| w.value == first.cells[cell]) else { continue };
            for second in self.reads.iter().filter(|second| first.answered < second.invoked) {
                let value = second.cells[cell];
                let older = match writes.iter().find(|write| write.value == value) {
                    Some(other) => other.value != seen.value && other.is_before(seen.invoked),
                    None => true,
                };
                let cut = |at: &u64| seen.invoked < *at && *at < second.answered;
                let lost = second.verifier != first.verifier
                    && !self.is_secured(seen, second)
                    && power_cuts.iter().any(cut);
                if older && !lost {
                    return Err(format!("a read saw {}, a later one {value}", seen.value));
                }
            }
        }
        Ok(())
    }

    /// Whether the read may miss the write: it was unstable, no COMMIT vouches for it, and the
    /// verifier tells of a loss.
    fn may_be_lost(&self, write: &Write, read: &Read) -> bool {
        let Some((_, _, verifier)) = write.answered else { return true };
        !self.is_secured(write, read) && read.verifier != verifier
    }

    fn is_secured(&self, write: &Write, read: &Read) -> bool {
        let Some((at, how, verifier)) = write.answered else { return false };
        let vouches = |(invoked, answered, of): &(u64, u64, WriteVerifier)| {
            at < *invoked && *answered < read.invoked && *of == verifier
        };
        how == How::FileSync && at < read.invoked || self.commits.iter().any(vouches)
    }
}
