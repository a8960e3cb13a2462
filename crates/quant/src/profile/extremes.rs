//! Smallest and largest value of a stream.
use crate::Range;

/// Values looked at side by side.
const LANES: usize = 16;

/// Smallest and largest finite value, and how many values are not finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Extremes {
    pub(super) range: Option<Range>,
    pub(super) non_finite: u64,
}

impl Extremes {
    fn widen(&mut self, range: Range) {
        self.range = Some(self.range.map_or(range, |r| r.union(range)));
    }

    /// Adds values.
    pub(super) fn add(&mut self, values: &[f32]) {
        let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let mut rejected = [0u32; LANES];
        // Lanes of their own let the compiler use vectors; NaN and infinities fail the comparison with MAX.
        for chunk in values.chunks(LANES) {
            for (lane, &x) in chunk.iter().enumerate() {
                let finite = x.abs() <= f32::MAX;
                rejected[lane] += u32::from(!finite);
                low[lane] = if finite && x < low[lane] { x } else { low[lane] };
                high[lane] = if finite && x > high[lane] { x } else { high[lane] };
            }
        }
        let rejected = rejected.iter().map(|&n| u64::from(n)).sum::<u64>();
        self.non_finite += rejected;
        if rejected < values.len() as u64 {
            let low = low.into_iter().fold(f32::INFINITY, f32::min);
            self.widen(Range::new(low, high.into_iter().fold(f32::NEG_INFINITY, f32::max)));
        }
    }

    /// Adds what another stream held.
    pub(super) fn merge(&mut self, other: &Self) {
        if let Some(range) = other.range {
            self.widen(range);
        }
        self.non_finite += other.non_finite;
    }
}
