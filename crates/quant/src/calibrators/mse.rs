//! The range of the least squared error.
use super::Calibrator;
use crate::{Profile, Range};

/// Ratio of neighbouring ends that are tried.
const STEP: f32 = 0.93;
/// Number of ends tried on a side: down to 1 % of the whole.
const STEPS: i32 = 64;

/// The range whose `u8` values give the least mean squared error.
pub(super) const MSE: Calibrator = Calibrator { name: "mse", range: search, alternatives: &[] };

/// Sum of squared errors when values are rounded to the 256 steps of the range and clipped at its ends.
pub(super) fn squared_error(bins: &[(f64, u64)], range: Range) -> f64 {
    let (lo, hi) = (f64::from(range.min), f64::from(range.max));
    let step = (hi - lo) / 255.0;
    let rounding = step * step / 12.0;
    let error = |&(x, n): &(f64, u64)| {
        let beyond = (x - x.clamp(lo, hi)).abs();
        // A value within half a step of 0 is rounded to 0, which is one of the steps.
        let inside = rounding.min(x * x);
        n as f64 * if beyond > 0.0 { beyond * beyond } else { inside }
    };
    bins.iter().map(error).sum()
}

/// The best range of a profile: the upper end is searched first, then the lower one where it is not SiLU's.
pub(super) fn search(profile: &Profile) -> Option<Range> {
    let whole = profile.whole()?;
    let bins = profile.bins();
    let mut best = (squared_error(&bins, whole), whole);
    let mut attempt = |range: Range| {
        let error = squared_error(&bins, range);
        if error < best.0 {
            best = (error, range);
        }
        best.1
    };
    let mut found = whole;
    for i in 1..=STEPS {
        found = attempt(Range::new(whole.min, whole.max * STEP.powi(i)));
    }
    if !profile.is_one_sided() {
        let upper = found.max;
        for i in 1..=STEPS {
            found = attempt(Range::new(whole.min * STEP.powi(i), upper));
        }
        let lower = found.min;
        for i in 1..=STEPS {
            found = attempt(Range::new(lower, whole.max * STEP.powi(i)));
        }
    }
    Some(found)
}
