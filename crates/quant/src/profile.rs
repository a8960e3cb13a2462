//! What is kept of a tensor's values over many images, in memory that does not depend on their number.
use crate::Range;

mod extremes;
mod histogram;

#[cfg(test)]
pub(crate) use histogram::BINS;

use extremes::Extremes;
use histogram::Histogram;

/// The minimum of SiLU is -0.27846: what is never below has a lower end that is cheap to keep whole.
const SILU_MIN: f32 = -0.2785;

/// Extremes, number of finite values, and histograms of the magnitudes on both sides of 0.
///
/// It depends on the set of values alone, not on their order or on how streams were merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    extremes: Extremes,
    count: u64,
    positive: Histogram,
    negative: Histogram,
}

impl Profile {
    /// Adds values; NaN and infinities are counted and otherwise left out.
    pub fn observe(&mut self, values: &[f32]) {
        let mut batch = Extremes::default();
        batch.add(values);
        self.count += values.len() as u64 - batch.non_finite;
        self.extremes.merge(&batch);
        let Some(seen) = batch.range else { return };
        let (positive, per_unit) = self.positive.ready_for(seen.max.max(0.0));
        if batch.non_finite == 0 && seen.min >= 0.0 {
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

    /// Adds what another stream held.
    pub fn merge(&mut self, other: &Self) {
        self.extremes.merge(&other.extremes);
        self.count += other.count;
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
    }

    /// Smallest and largest finite value.
    pub fn extremes(&self) -> Option<Range> {
        self.extremes.range
    }

    /// Number of NaN and infinities.
    pub fn non_finite(&self) -> u64 {
        self.extremes.non_finite
    }

    /// The whole range, 0 included.
    pub(crate) fn whole(&self) -> Option<Range> {
        self.extremes.range.map(Range::with_zero)
    }

    /// Whether only the upper end is worth searching: the lower is at most SiLU's.
    pub(crate) fn is_one_sided(&self) -> bool {
        self.extremes.range.is_none_or(|r| r.min >= SILU_MIN)
    }

    /// The range without the rarest values: at both ends, or at the upper one only where the lower is SiLU's.
    ///
    /// An end beyond 0 becomes 0, so a side whose values are all dropped has length 0.
    pub(crate) fn percentile(&self, percentile: f64) -> Option<Range> {
        let seen = self.extremes.range?;
        let one_sided = self.is_one_sided();
        let ends = if one_sided { 1.0 } else { 2.0 };
        let share = (100.0 - percentile.clamp(0.0, 100.0)) / 100.0 / ends;
        let dropped = ((self.count as f64 * share) as u64).min(self.count.saturating_sub(1));
        let upper = self.positive.upper_edge(dropped).unwrap_or(0.0);
        let lower =
            if one_sided { seen.min } else { -self.negative.upper_edge(dropped).unwrap_or(0.0) };
        Some(Range::new(lower.max(seen.min), upper.min(seen.max)).with_zero())
    }

    /// Middles of the bins that hold something, with their counts, ascending.
    pub(crate) fn bins(&self) -> Vec<(f64, u64)> {
        let mut bins: Vec<(f64, u64)> = self.negative.bins().map(|(x, n)| (-x, n)).collect();
        bins.reverse();
        bins.extend(self.positive.bins());
        bins
    }
}
