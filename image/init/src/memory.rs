//! How much of the machine's memory is used.

use std::fs;

/// In MiB, files' caches not counted; none if the kernel does not say. `MemAvailable` would count what
/// the kernel keeps in reserve as used.
pub fn used_mib() -> Option<u64> {
    used(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// From the text of proc_meminfo(5).
fn used(meminfo: &str) -> Option<u64> {
    let kib = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let free = ["MemFree:", "Active(file):", "Inactive(file):", "SReclaimable:"];
    let free: u64 = free.into_iter().map(kib).sum::<Option<u64>>()?;
    Some(kib("MemTotal:")?.checked_sub(free)? >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_what_is_neither_free_nor_a_cache() {
        let caches = "Active(file): 100 kB\nInactive(file): 100 kB\nSReclaimable: 200 kB\n";
        let text = |free| format!("MemTotal:   1000000 kB\nMemFree:  {free} kB\n{caches}");
        assert_eq!(used(&text(794_800)), Some(200));
        assert_eq!(used("MemTotal: 5 kB\n"), None);
        assert_eq!(used(&text(1_000_001)), None);
    }
}
