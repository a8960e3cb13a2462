//! Memory of this process, where the system tells.

/// Peak resident memory since the start or since [`forget_peak`].
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(kib * 1024)
}

/// Starts the peak anew, so that a model is not charged for the one before it (Linux: proc(5), `clear_refs`).
pub(crate) fn forget_peak() {
    // Elsewhere the peak is that of the whole process, which is true too.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
