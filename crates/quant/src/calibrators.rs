//! Calibrators: the range of values that a tensor is to represent, from a profile of what it held.
use crate::{Profile, Range};

mod auto;
mod entropy;
mod min_max;
mod mse;
mod percentile;

pub use auto::AUTO;

/// A named way to choose a range.
#[derive(Clone, Copy, Debug)]
pub struct Calibrator {
    /// Name by which it is asked for.
    pub name: &'static str,
    /// The range to represent, 0 included; `None` where nothing finite was observed.
    pub range: fn(&Profile) -> Option<Range>,
    /// Ranges among which the error of the model's outputs may choose.
    pub alternatives: &'static [Alternative],
}

/// A range that a calibrator offers.
#[derive(Clone, Copy, Debug)]
pub struct Alternative {
    /// Name, for reports.
    pub name: &'static str,
    /// As [`Calibrator::range`].
    pub range: fn(&Profile) -> Option<Range>,
}

/// All calibrators.
pub const CALIBRATORS: &[&Calibrator] =
    &[&min_max::MIN_MAX, &percentile::PERCENTILE, &mse::MSE, &entropy::ENTROPY, &auto::AUTO];

ir::choices!(Calibrator, "calibrator", CALIBRATORS);

#[cfg(test)]
mod tests;
