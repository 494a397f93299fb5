//! The file system exerciser `fsx`, ready to run in guests.

#![allow(dead_code, reason = "each test uses its own part")]

use std::time::Duration;

use tests::{Guests, Job, tool};

/// Puts the program and what it is to do where guests find them.
pub fn put_into(guests: &Guests) {
    std::fs::copy(tool("fsx"), guests.shared().join("fsx")).unwrap();
    std::fs::write(guests.shared().join("fsx.toml"), CONFIG).unwrap();
}

/// Operates on one file `count` times, following `seed`.
pub fn script(count: u64, seed: u64) -> String {
    format!("$JOB/fsx -f $JOB/fsx.toml -P /tmp -N {count} -S {seed} file")
}

/// The exerciser at work on a mounted guest for as long as something else takes.
pub struct Endless<'a> {
    guests: &'a Guests,
    job: Job<'a>,
}

impl<'a> Endless<'a> {
    /// Begins on a file of its own, which is made anew after every so many operations.
    pub fn begin(guests: &'a Guests, guest: usize, seed: u64) -> Self {
        put_into(guests);
        let job = guests.nth(guest).start(&format!(
            "seed={}; ran=0
             while [ ! -e $JOB/fsx.stop ]; do
               said=$({}) || {{ echo \"$said\"; exit 1; }}
               seed=$((seed + 1)); ran=$((ran + {OPERATIONS}))
             done
             echo $ran",
            seed % (1 << 32),
            script(OPERATIONS, 0).replace("-S 0", "-S $seed"),
        ));
        Self { guests, job }
    }

    /// Ends it after what it has begun; it must have found no mismatch. How many operations it did.
    pub fn end(self) -> u64 {
        std::fs::write(self.guests.shared().join("fsx.stop"), "").unwrap();
        let said = self.job.must_within(ENDS_WITHIN);
        said.trim().parse().unwrap_or_else(|_| panic!("fsx said {said:?}"))
    }
}

const OPERATIONS: u64 = 500;
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// All that fsx knows but what NFS version 3 lacks: `posix_fallocate` and holes punched on demand.
/// The file crosses the border between two extents of 1 MiB.
const CONFIG: &str = "\
flen = 1500000
nomsyncafterwrite = true

[opsize]
max = 32768

[weights]
close_open = 1.0
invalidate = 1.0
mapread = 4.0
mapwrite = 4.0
read = 10.0
write = 10.0
truncate = 5.0
fsync = 0.5
fdatasync = 0.5
sendfile = 1.0
posix_fadvise = 1.0
copy_file_range = 2.0
";
