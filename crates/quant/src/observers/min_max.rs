//! The whole range seen.
use super::{Observer, mismatch};
use crate::{QuantError, Range};
use std::any::Any;

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
        let mut range = Range::new(f32::INFINITY, f32::NEG_INFINITY);
        let mut finite = 0u64;
        for &x in values.iter().filter(|x| x.is_finite()) {
            range = Range::new(range.min.min(x), range.max.max(x));
            finite += 1;
        }
        self.non_finite += values.len() as u64 - finite;
        if finite > 0 {
            self.widen(range);
        }
    }

    /// Number of NaN and infinities seen.
    pub(super) fn rejected(&self) -> u64 {
        self.non_finite
    }

    /// The range seen, 0 not included.
    pub fn seen(&self) -> Option<Range> {
        self.seen
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

    fn non_finite(&self) -> u64 {
        self.non_finite
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
