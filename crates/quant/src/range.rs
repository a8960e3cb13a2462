//! Ranges of real numbers and the activation parameters made of them.
use ir::{DataType, OpError, QuantParams};
use serde::{Deserialize, Serialize};

/// Smallest and largest real number a tensor is to represent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Lower end.
    pub min: f32,
    /// Upper end.
    pub max: f32,
}

impl Range {
    /// A range from its ends.
    pub fn new(min: f32, max: f32) -> Self {
        Self { min, max }
    }

    /// Whether both ends are finite and in order.
    pub fn is_valid(self) -> bool {
        self.min.is_finite() && self.max.is_finite() && self.min <= self.max
    }

    /// The smallest range that holds both.
    pub fn union(self, other: Self) -> Self {
        Self::new(self.min.min(other.min), self.max.max(other.max))
    }

    /// The range widened to hold 0, so that 0 has a code of its own.
    pub fn with_zero(self) -> Self {
        Self::new(self.min.min(0.0), self.max.max(0.0))
    }

    /// Length of the range once it holds 0; f64, as f32 could overflow.
    pub(crate) fn width(self) -> f64 {
        let r = self.with_zero();
        f64::from(r.max) - f64::from(r.min)
    }

    /// Asymmetric per-tensor U8 parameters in which 0 is a code.
    ///
    /// # Errors
    /// `BadScale` when the range is not finite.
    pub fn u8_params(self) -> Result<QuantParams, OpError> {
        let step = (self.width() / 255.0) as f32;
        // A tensor that is 0 everywhere has no width; any scale represents it.
        let scale = if step < f32::MIN_POSITIVE {
            1.0 / 255.0
        } else {
            step
        };
        let zero = (-f64::from(self.with_zero().min) / f64::from(scale)).round_ties_even();
        QuantParams::per_tensor(scale, zero.clamp(0.0, 255.0) as i32, DataType::U8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u8_params_of_any_range_represent_zero_exactly() {
        for (min, max) in [
            (-0.2785, 7.3),
            (0.5, 2.0),
            (-4.0, -1.0),
            (0.0, 0.0),
            (-1e30, 1e30),
            (0.0, 1e-40),
        ] {
            let p = Range::new(min, max).u8_params().unwrap();
            assert_eq!(p.dequantize(0, p.quantize(0, 0.0)), 0.0, "[{min}, {max}]");
            for x in [min, max] {
                let back = p.dequantize(0, p.quantize(0, x));
                assert!((back - x).abs() <= p.scale()[0] * 0.75, "{x} became {back}");
            }
        }
    }

    #[test]
    fn u8_params_of_an_infinite_range_are_an_error() {
        assert!(matches!(
            Range::new(0.0, f32::INFINITY).u8_params(),
            Err(OpError::BadScale { .. })
        ));
    }
}
