//! What an INT8 convolution is, before it is packed.

use crate::KernelError;
use crate::conv::geometry::ConvGeometry;

/// A 2-D convolution's attributes, INT8 weights and what makes real values of its sums.
#[derive(Clone, Debug, PartialEq)]
pub struct QConvSpec {
    /// Sizes and attributes.
    pub geometry: ConvGeometry,
    /// `[M, C / group, kH, kW] i8`, row-major; symmetric around 0.
    pub weight: Vec<i8>,
    /// The quantized value of x that stands for 0.
    pub x_zero_point: u8,
    /// `[M] f32`.
    pub bias: Vec<f32>,
    /// `[M] f32`: `x_scale * w_scale[m]`, the real value of one step of a sum.
    pub multiplier: Vec<f32>,
}

impl QConvSpec {
    /// Largest magnitude of a sum's real value.
    pub(super) fn largest(&self) -> f32 {
        let magnitude = |values: &[f32]| values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        // No sum's magnitude is above 2^31.
        2_147_483_648.0 * magnitude(&self.multiplier) + magnitude(&self.bias)
    }

    /// # Errors
    /// `Zero`, `Groups`, `Length`, `NotFinite`: see [`PackedQConv::new`](super::PackedQConv::new).
    pub(super) fn check(&self) -> Result<(), KernelError> {
        self.geometry.check()?;
        self.geometry.check_weights(self.weight.len())?;
        for (operand, values) in [("bias", &self.bias), ("multiplier", &self.multiplier)] {
            self.geometry.check_per_channel(operand, values.len())?;
            if let Some(&found) = values.iter().find(|value| !value.is_finite()) {
                return Err(KernelError::NotFinite { operand, found });
            }
        }
        Ok(())
    }
}
