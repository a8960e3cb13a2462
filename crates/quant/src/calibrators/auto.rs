//! All searches over one observation, to be chosen from.
use super::{Alternative, Calibrator, entropy, mse};
use crate::{Profile, Range};

/// Offers the range of every search; which one is best, the error of the model's outputs tells. By itself it gives the one
/// with the least squared error.
///
/// No percentile is among them that keeps nearly every value: rare large ones carry confidence more than rank, so such ranges
/// keep the detections' scores and lose mAP.
pub const AUTO: Calibrator =
    Calibrator { name: "auto", range: least_squared_error, alternatives: ALTERNATIVES };

const ALTERNATIVES: &[Alternative] = &[
    Alternative { name: "percentile 99.9", range: |profile| profile.percentile(99.9) },
    Alternative { name: "percentile 99.99", range: |profile| profile.percentile(99.99) },
    Alternative { name: "mse", range: mse::search },
    Alternative { name: "entropy", range: entropy::search },
];

fn least_squared_error(profile: &Profile) -> Option<Range> {
    let bins = profile.bins();
    let error = |r: &Range| mse::squared_error(&bins, *r);
    let ranges = ALTERNATIVES.iter().filter_map(|a| (a.range)(profile));
    ranges.min_by(|a, b| error(a).total_cmp(&error(b)))
}
