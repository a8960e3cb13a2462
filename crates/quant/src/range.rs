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

    /// The range widened to hold 0, so that 0 is exact.
    pub fn with_zero(self) -> Self {
        Self::new(self.min.min(0.0), self.max.max(0.0))
    }

    /// Length of the range once it holds 0; f64, as f32 could overflow.
    pub(crate) fn width(self) -> f64 {
        let r = self.with_zero();
        f64::from(r.max) - f64::from(r.min)
    }

    /// The part of it that SiLU does not map to within half a step of 0.
    ///
    /// Further down the steps before SiLU are spent on what its output cannot show.
    pub(crate) fn before_silu(self) -> Self {
        let half_step = f64::from(self.max.max(0.0)) / 510.0;
        let silu = |x: f64| x / (1.0 + (-x).exp());
        // Below its minimum, at -1.2785, SiLU rises to 0 towards -inf.
        let (mut far, mut near) = (-40.0, -1.2785);
        for _ in 0..50 {
            let middle = 0.5 * (far + near);
            if silu(middle) > -half_step {
                far = middle;
            } else {
                near = middle;
            }
        }
        Self::new(self.min.max(far as f32), self.max)
    }

    /// The part of it that Sigmoid does not map to within half a step of 0 or 1.
    pub(crate) fn before_sigmoid(self) -> Self {
        let end = 509f32.ln();
        Self::new(self.min.max(-end), self.max.min(end))
    }

    /// Asymmetric per-tensor U8 parameters in which 0 is exact.
    ///
    /// # Errors
    /// `BadScale` when the range is not finite.
    pub fn u8_params(self) -> Result<QuantParams, OpError> {
        let step = (self.width() / 255.0) as f32;
        // A tensor that is 0 everywhere has no width; any scale represents it.
        let scale = if step < f32::MIN_POSITIVE { 1.0 / 255.0 } else { step };
        let zero = (-f64::from(self.with_zero().min) / f64::from(scale)).round_ties_even();
        QuantParams::per_tensor(scale, zero.clamp(0.0, 255.0) as i32, DataType::U8)
    }

    /// Symmetric per-tensor I8 parameters, zero_point 0: the larger end becomes 127.
    ///
    /// # Errors
    /// `BadScale` when the range is not finite.
    pub fn i8_params(self) -> Result<QuantParams, OpError> {
        let step = self.min.abs().max(self.max.abs()) / 127.0;
        let scale = if step < f32::MIN_POSITIVE { 1.0 / 127.0 } else { step };
        QuantParams::per_tensor(scale, 0, DataType::I8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u8_params_of_any_range_represent_zero_exactly() {
        for (min, max) in
            [(-0.2785, 7.3), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0), (-1e30, 1e30), (0.0, 1e-40)]
        {
            let p = Range::new(min, max).u8_params().unwrap();
            assert_eq!(p.dequantize(0, p.quantize(0, 0.0)), 0.0, "[{min}, {max}]");
            for x in [min, max] {
                let back = p.dequantize(0, p.quantize(0, x));
                assert!((back - x).abs() <= p.scale()[0] * 0.75, "{x} became {back}");
            }
        }
    }

    #[test]
    fn i8_params_of_any_range_are_symmetric_and_hold_both_ends() {
        for (min, max) in [(-0.2785, 7.3), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0), (-1e30, 1e30)] {
            let p = Range::new(min, max).i8_params().unwrap();
            assert_eq!((p.zero_point(), p.dtype()), (&[0][..], DataType::I8));
            for x in [min, max] {
                let q = p.quantize(0, x);
                assert!((-127..=127).contains(&q), "{x} became {q}");
                assert!((p.dequantize(0, q) - x).abs() <= p.scale()[0] * 0.501, "{x}");
            }
        }
    }

    #[test]
    fn before_silu_and_sigmoid_cut_only_what_half_a_step_hides() {
        let silu = |x: f32| x / (1.0 + (-x).exp());
        for max in [0.0f32, 0.5, 6.0, 70.0, 400.0] {
            let cut = Range::new(-100.0, max).before_silu();
            assert!(cut.min <= -1.278 && cut.max == max, "{cut:?}");
            let changed = (silu(cut.min) - silu(-100.0)).abs();
            assert!(changed <= max / 510.0 + 1e-6, "{max}: {changed}");
        }
        let kept = Range::new(-1.0, 6.0);
        assert_eq!(kept.before_silu(), kept);
        let cut = Range::new(-100.0, 3.0).before_sigmoid();
        assert!(cut.min < -6.2 && cut.min > -6.3 && cut.max == 3.0);
    }

    #[test]
    fn u8_params_of_an_infinite_range_are_an_error() {
        assert!(matches!(
            Range::new(0.0, f32::INFINITY).u8_params(),
            Err(OpError::BadScale { .. })
        ));
    }
}
