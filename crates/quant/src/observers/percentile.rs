//! The range without its rarest values.
use super::histogram::Histogram;
use super::{MinMax, Observer};
use crate::{QuantError, Range};
use std::any::Any;

/// The minimum of SiLU is -0.27846: what is never below has a lower end that is cheap to keep whole.
const SILU_MIN: f32 = -0.2785;

/// Leaves out the rarest values at both ends, or at the upper end only where the lower end is SiLU's.
///
/// Upper-end-only clipping: Q-YOLO's unilateral histogram (arXiv 2307.04816).
#[derive(Clone, Debug, PartialEq)]
pub struct Percentile {
    percentile: f64,
    min_max: MinMax,
    count: u64,
    positive: Histogram,
    negative: Histogram,
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
            min_max: MinMax::default(),
            count: 0,
            positive: Histogram::default(),
            negative: Histogram::default(),
        }
    }

    fn dropped(&self, ends: f64) -> u64 {
        let share = (100.0 - self.percentile) / 100.0 / ends;
        ((self.count as f64 * share) as u64).min(self.count.saturating_sub(1))
    }
}

impl Observer for Percentile {
    fn name(&self) -> &'static str {
        "percentile"
    }

    fn observe(&mut self, values: &[f32]) {
        let mut batch = MinMax::default();
        batch.observe(values);
        self.count += values.len() as u64 - batch.non_finite();
        self.min_max.add(&batch);
        let Some(seen) = batch.seen() else { return };
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        self.positive
            .add(finite().filter(|&x| x >= 0.0), seen.max.max(0.0));
        self.negative.add(
            finite().filter(|&x| x < 0.0).map(f32::abs),
            (-seen.min).max(0.0),
        );
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), QuantError> {
        let mismatch = QuantError::ObserverMismatch {
            expected: self.name(),
            found: other.name(),
        };
        let other = other.as_any().downcast_ref::<Self>().ok_or(mismatch)?;
        self.min_max.add(&other.min_max);
        self.count += other.count;
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
        Ok(())
    }

    /// An end beyond 0 becomes 0, so a side whose values are all dropped has length 0.
    fn range(&self) -> Option<Range> {
        let seen = self.min_max.seen()?;
        let one_sided = seen.min >= SILU_MIN;
        let dropped = self.dropped(if one_sided { 1.0 } else { 2.0 });
        let upper = self.positive.upper_edge(dropped).unwrap_or(0.0);
        let lower = if one_sided {
            seen.min
        } else {
            -self.negative.upper_edge(dropped).unwrap_or(0.0)
        };
        Some(Range::new(lower.max(seen.min), upper.min(seen.max)).with_zero())
    }

    fn non_finite(&self) -> u64 {
        self.min_max.non_finite()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
