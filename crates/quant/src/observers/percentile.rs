//! The range without its rarest values.
use super::profile::Profile;
use super::{Observer, mismatch};
use crate::{QuantError, Range};
use std::any::Any;

/// Leaves out the rarest values at both ends, or at the upper end only where the lower end is SiLU's.
///
/// Upper-end-only clipping: Q-YOLO's unilateral histogram (arXiv 2307.04816).
#[derive(Clone, Debug, PartialEq)]
pub struct Percentile {
    percentile: f64,
    profile: Profile,
}

impl Default for Percentile {
    fn default() -> Self {
        Self::new(99.99)
    }
}

impl Percentile {
    /// An observer that keeps `percentile` percent of the values, clamped to 0..=100.
    pub fn new(percentile: f64) -> Self {
        Self {
            percentile: percentile.clamp(0.0, 100.0),
            profile: Profile::default(),
        }
    }
}

impl Observer for Percentile {
    fn name(&self) -> &'static str {
        "percentile"
    }

    fn observe(&mut self, values: &[f32]) {
        self.profile.observe(values);
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), QuantError> {
        let same = other.as_any().downcast_ref::<Self>();
        self.profile
            .merge(&same.ok_or_else(|| mismatch(self, other))?.profile);
        Ok(())
    }

    fn range(&self) -> Option<Range> {
        self.profile.percentile(self.percentile)
    }

    fn seen(&self) -> Option<Range> {
        self.profile.min_max.seen()
    }

    fn non_finite(&self) -> u64 {
        self.profile.min_max.rejected()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
