//! How much memory the machine has left.
use std::fs;

/// Bytes that can still be taken: what the system says is available, or what the control group of the process may still
/// take where that is less. `None` where the system tells neither (other than Linux).
pub fn available_bytes() -> Option<usize> {
    [system(), control_group()].into_iter().flatten().min()
}

fn system() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A limit of version 2 or 1; the latter states a huge number where there is none.
fn control_group() -> Option<usize> {
    let number =
        |path: &str| -> Option<usize> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let left = |limit: &str, used: &str| Some(number(limit)?.saturating_sub(number(used)?));
    left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current").or_else(|| {
        left(
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        )
    })
}
