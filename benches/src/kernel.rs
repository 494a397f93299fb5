//! The same servers under the real Linux client: fio on a mount, in a User Mode Linux guest.
//!
//! The guest has one processor and pays dearly for every system call, so these figures say how a
//! mount feels there, and less about the server than those of our generator. Invariant: every turn
//! has a mount of its own, and no turn finds its file in the guest's cache.

use std::time::Duration;

use serde_json::Value;
use tests::{APPLIANCE_ADDRESS, Guest};

use crate::sample::Sample;
use crate::servers::Server;

/// What fio is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Writes 1 MiB a call through the page cache, with an fsync at the end.
    WriteSequentially,
    /// Reads 1 MiB a call through the page cache.
    ReadSequentially,
    /// Writes 4 KiB at random places, 32 at once, past the page cache.
    WriteRandomly,
    /// Reads 4 KiB at random places, 32 at once, past the page cache.
    ReadRandomly,
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Size of the file.
    pub file_mib: u64,
    /// How long a random job goes on.
    pub duration: Duration,
}

impl Job {
    /// All of them, the writers of the file first.
    pub const ALL: [Self; 4] =
        [Self::WriteSequentially, Self::ReadSequentially, Self::WriteRandomly, Self::ReadRandomly];

    /// As the table calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteSequentially => "fio on a mount: write 1 MiB sequentially, fsync",
            Self::ReadSequentially => "fio on a mount: read 1 MiB sequentially",
            Self::WriteRandomly => "fio on a mount: write 4 KiB randomly, depth 32",
            Self::ReadRandomly => "fio on a mount: read 4 KiB randomly, depth 32",
        }
    }

    /// Whether its rate counts calls; otherwise MiB.
    #[must_use]
    pub fn is_random(self) -> bool {
        match self {
            Self::WriteRandomly | Self::ReadRandomly => true,
            Self::WriteSequentially | Self::ReadSequentially => false,
        }
    }

    fn side(self) -> &'static str {
        match self {
            Self::WriteSequentially | Self::WriteRandomly => "write",
            Self::ReadSequentially | Self::ReadRandomly => "read",
        }
    }

    fn options(self, extent: Extent) -> String {
        let seconds = extent.duration.as_secs().max(1);
        let random = |how: &str| {
            format!(
                "--rw={how} --bs=4k --ioengine=libaio --direct=1 --iodepth=32 \
                 --time_based --runtime={seconds}"
            )
        };
        match self {
            Self::WriteSequentially => {
                "--rw=write --bs=1M --ioengine=psync --end_fsync=1".to_owned()
            }
            Self::ReadSequentially => "--rw=read --bs=1M --ioengine=psync".to_owned(),
            Self::WriteRandomly => random("randwrite"),
            Self::ReadRandomly => random("randread"),
        }
    }
}

/// One turn of `job`. The sequential write makes the file that the others use.
#[must_use]
pub fn turn(guest: &Guest, server: &Server, job: Job, extent: Extent) -> Sample {
    let Extent { file_mib, .. } = extent;
    let make = if job == Job::WriteSequentially {
        "rm -f fio.file".to_owned()
    } else {
        format!(
            "[ \"$(stat -c %s fio.file 2>/dev/null)\" = $(({file_mib} << 20)) ] ||
             dd if=/dev/urandom of=fio.file bs=1M count={file_mib} conv=fsync status=none"
        )
    };
    let script = format!(
        "set -e; cd /
         mount -t nfs -o {} {APPLIANCE_ADDRESS}:{} /mnt/nfs
         cd /mnt/nfs
         {make}
         echo 3 >/proc/sys/vm/drop_caches
         fio --output-format=json --name=job --filename=fio.file --size={file_mib}M \
             --fallocate=none --thread {}
         cd /
         umount /mnt/nfs",
        mount_options(server),
        server.export,
        job.options(extent),
    );
    let text = guest.sh_within(TURN_MAX, &script);
    // Warnings may come in front of it.
    let json = text.find('{').map(|start| &text[start..]);
    let report: Value = json
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_else(|| panic!("fio reports in JSON, not:\n{text}"));
    sample(&report["jobs"][0][job.side()], job)
}

fn mount_options(server: &Server) -> String {
    // No lock manager: not all have one, and nothing here locks.
    format!(
        "vers=3,proto=tcp,mountproto=tcp,port={},mountport={},nolock",
        server.nfs.port(),
        server.mount.port()
    )
}

fn sample(side: &Value, job: Job) -> Sample {
    let figure = |name: &str| side[name].as_f64().unwrap_or_else(|| panic!("fio tells {name}"));
    let percentile = |percent: &str| {
        let nanos = side["clat_ns"]["percentile"][percent].as_f64();
        nanos.unwrap_or_default() / 1000.0
    };
    let calls = side["total_ios"].as_u64().expect("fio counts its calls");
    let bytes = figure("io_bytes");
    let work = if job.is_random() { crate::sample::count(calls) } else { bytes / MIB };
    Sample {
        work,
        calls,
        // The fsync at the end is no part of fio's run time, but of its rate.
        elapsed: Duration::from_secs_f64(bytes / figure("bw_bytes").max(1.0)),
        p50_micros: percentile("50.000000"),
        p99_micros: percentile("99.000000"),
        processor: None,
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// Far longer than any turn.
const TURN_MAX: Duration = Duration::from_secs(120);
