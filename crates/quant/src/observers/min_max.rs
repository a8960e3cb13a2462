//! The whole range seen.
use super::{Observer, mismatch};
use crate::{QuantError, Range};
use std::any::Any;

/// Values looked at side by side.
const LANES: usize = 16;

/// Smallest and largest value seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MinMax {
    seen: Option<Range>,
    non_finite: u64,
}

impl MinMax {
    fn widen(&mut self, range: Range) {
        self.seen = Some(self.seen.map_or(range, |r| r.union(range)));
    }

    /// Takes in values.
    pub(super) fn add_values(&mut self, values: &[f32]) {
        let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let mut rejected = [0u32; LANES];
        // Lanes of their own let the compiler use vectors; NaN and infinities fail the comparison with MAX.
        for chunk in values.chunks(LANES) {
            for (lane, &x) in chunk.iter().enumerate() {
                let finite = x.abs() <= f32::MAX;
                rejected[lane] += u32::from(!finite);
                low[lane] = if finite && x < low[lane] {
                    x
                } else {
                    low[lane]
                };
                high[lane] = if finite && x > high[lane] {
                    x
                } else {
                    high[lane]
                };
            }
        }
        let rejected = rejected.iter().map(|&n| u64::from(n)).sum::<u64>();
        self.non_finite += rejected;
        if rejected < values.len() as u64 {
            let low = low.into_iter().fold(f32::INFINITY, f32::min);
            self.widen(Range::new(
                low,
                high.into_iter().fold(f32::NEG_INFINITY, f32::max),
            ));
        }
    }

    /// Number of NaN and infinities seen.
    pub(super) fn rejected(&self) -> u64 {
        self.non_finite
    }

    /// Takes in another one's range and counts.
    pub(super) fn add(&mut self, other: &Self) {
        if let Some(range) = other.seen {
            self.widen(range);
        }
        self.non_finite += other.non_finite;
    }
}

impl Observer for MinMax {
    fn name(&self) -> &'static str {
        "minmax"
    }

    fn observe(&mut self, values: &[f32]) {
        self.add_values(values);
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), QuantError> {
        let same = other.as_any().downcast_ref::<Self>();
        self.add(same.ok_or_else(|| mismatch(self, other))?);
        Ok(())
    }

    fn range(&self) -> Option<Range> {
        self.seen.map(Range::with_zero)
    }

    fn seen(&self) -> Option<Range> {
        self.seen
    }

    fn non_finite(&self) -> u64 {
        self.non_finite
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
