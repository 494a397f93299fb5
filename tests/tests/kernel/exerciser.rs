//! The file system exerciser `fsx`, ready to run in guests.

use tests::{Guests, tool};

/// Puts the program and what it is to do where guests find them.
pub fn put_into(guests: &Guests) {
    std::fs::copy(tool("fsx"), guests.shared().join("fsx")).unwrap();
    std::fs::write(guests.shared().join("fsx.toml"), CONFIG).unwrap();
}

/// Operates on one file `count` times, following `seed`.
pub fn script(count: u64, seed: u64) -> String {
    format!("$JOB/fsx -f $JOB/fsx.toml -P /tmp -N {count} -S {seed} file")
}

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
