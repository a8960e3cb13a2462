//! Figures as text, as every verb shows them.
pub(crate) use report::{layer_name, percent};
use std::time::Duration;

/// A number with thin groups of three: 2 230 144 000.
pub(crate) fn grouped(v: u64) -> String {
    let digits = v.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|c| std::str::from_utf8(c).expect("digits are ASCII"))
        .collect();
    groups.join(" ")
}

/// Bytes in megabytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// What is read where this machine does not tell.
pub(crate) const NOT_AVAILABLE: &str = "not available";

/// Energy in joules.
pub(crate) fn joules(energy_j: Option<f64>) -> String {
    energy_j.map_or(NOT_AVAILABLE.to_owned(), |j| format!("{j:.3} J"))
}

/// A shape; `?` where it is not known.
pub(crate) fn shape_text(shape: &Option<Vec<usize>>) -> String {
    shape.as_ref().map_or("?".to_owned(), |s| format!("{s:?}"))
}

/// A time that is reckoned, in seconds below two minutes and in minutes from there.
pub(crate) fn about(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 120.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
