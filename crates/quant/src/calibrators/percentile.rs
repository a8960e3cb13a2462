//! The range without its rarest values.
use super::Calibrator;

/// Leaves out the rarest values at both ends, or at the upper end only where the lower end is SiLU's.
///
/// Upper-end-only clipping: Q-YOLO's unilateral histogram (arXiv 2307.04816).
pub(super) const PERCENTILE: Calibrator = Calibrator {
    name: "percentile",
    range: |profile| profile.percentile(99.99),
    alternatives: &[],
};
