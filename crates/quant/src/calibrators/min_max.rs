//! The whole range observed.
use super::Calibrator;

/// Smallest and largest value.
pub(super) const MIN_MAX: Calibrator =
    Calibrator { name: "minmax", range: |profile| profile.whole(), alternatives: &[] };
