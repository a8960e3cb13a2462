//! What the range searches know of a tensor: extremes and a histogram of each side of 0.
use super::histogram::Histogram;
use super::{MinMax, Observer};
use crate::Range;

/// The minimum of SiLU is -0.27846: what is never below has a lower end that is cheap to keep whole.
const SILU_MIN: f32 = -0.2785;

/// Extremes, number of finite values, and magnitudes on both sides of 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile {
    pub(super) min_max: MinMax,
    pub(super) count: u64,
    positive: Histogram,
    negative: Histogram,
}

impl Profile {
    pub(super) fn observe(&mut self, values: &[f32]) {
        let mut batch = MinMax::default();
        batch.add_values(values);
        self.count += values.len() as u64 - batch.rejected();
        self.min_max.add(&batch);
        let Some(seen) = batch.seen() else { return };
        let (positive, per_unit) = self.positive.ready_for(seen.max.max(0.0));
        if batch.rejected() == 0 && seen.min >= 0.0 {
            for x in values {
                positive[(x * per_unit) as i32 as usize] += 1;
            }
            return;
        }
        let (negative, per_negative_unit) = self.negative.ready_for((-seen.min).max(0.0));
        for x in values.iter().filter(|x| x.is_finite()) {
            if *x >= 0.0 {
                positive[(x * per_unit) as i32 as usize] += 1;
            } else {
                negative[(-x * per_negative_unit) as i32 as usize] += 1;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.min_max.add(&other.min_max);
        self.count += other.count;
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
    }

    /// The whole range, 0 included.
    pub(super) fn whole(&self) -> Option<Range> {
        self.min_max.seen().map(Range::with_zero)
    }

    /// Whether only the upper end is worth searching: the lower is at most SiLU's.
    pub(super) fn is_one_sided(&self) -> bool {
        self.min_max.seen().is_none_or(|r| r.min >= SILU_MIN)
    }

    /// The range without the rarest values: at both ends, or at the upper one only where the lower is SiLU's.
    ///
    /// An end beyond 0 becomes 0, so a side whose values are all dropped has length 0.
    pub(super) fn percentile(&self, percentile: f64) -> Option<Range> {
        let seen = self.min_max.seen()?;
        let one_sided = self.is_one_sided();
        let ends = if one_sided { 1.0 } else { 2.0 };
        let share = (100.0 - percentile.clamp(0.0, 100.0)) / 100.0 / ends;
        let dropped = ((self.count as f64 * share) as u64).min(self.count.saturating_sub(1));
        let upper = self.positive.upper_edge(dropped).unwrap_or(0.0);
        let lower = if one_sided {
            seen.min
        } else {
            -self.negative.upper_edge(dropped).unwrap_or(0.0)
        };
        Some(Range::new(lower.max(seen.min), upper.min(seen.max)).with_zero())
    }

    /// Middles of the bins that hold something, with their counts, ascending.
    pub(super) fn bins(&self) -> Vec<(f64, u64)> {
        let mut bins: Vec<(f64, u64)> = self.negative.bins().map(|(x, n)| (-x, n)).collect();
        bins.reverse();
        bins.extend(self.positive.bins());
        bins
    }
}
