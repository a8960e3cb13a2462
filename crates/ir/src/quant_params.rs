//! Quantization parameters: the contract between `quant` and `runtime`.
use crate::{DataType, OpError};
use serde::{Deserialize, Serialize};

/// Affine quantization of a tensor: `real = scale * (q - zero_point)`.
///
/// One scale for the tensor, or one for each index of `axis` (per_channel).
/// Source: ONNX QuantizeLinear, opset 13.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantParams {
    scale: Vec<f32>,
    zero_point: Vec<i32>,
    axis: Option<usize>,
    dtype: DataType,
}

impl QuantParams {
    /// One scale and zero_point for the whole tensor.
    ///
    /// # Errors
    /// `BadScale` if the scale is not finite and positive, `BadZeroPoint` if it does not fit the type,
    /// `UnsupportedDType` if the type is not an integer type of at most 32 bits.
    pub fn per_tensor(scale: f32, zero_point: i32, dtype: DataType) -> Result<Self, OpError> {
        Self::checked(vec![scale], vec![zero_point], None, dtype)
    }

    /// One scale and zero_point for each index of `axis`.
    ///
    /// # Errors
    /// As [`QuantParams::per_tensor`], and `AxisLength` if the counts differ.
    pub fn per_channel(
        axis: usize,
        scale: Vec<f32>,
        zero_point: Vec<i32>,
        dtype: DataType,
    ) -> Result<Self, OpError> {
        if scale.len() != zero_point.len() {
            return Err(OpError::AxisLength {
                input: 2,
                axis: 0,
                expected: scale.len(),
                found: zero_point.len(),
            });
        }
        Self::checked(scale, zero_point, Some(axis), dtype)
    }

    fn checked(
        scale: Vec<f32>,
        zero_point: Vec<i32>,
        axis: Option<usize>,
        dtype: DataType,
    ) -> Result<Self, OpError> {
        let (lo, hi) = integer_range(dtype).ok_or(OpError::UnsupportedDType { found: dtype })?;
        if let Some(channel) = scale.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(OpError::BadScale { channel, found: scale[channel] });
        }
        if let Some(channel) =
            zero_point.iter().position(|&z| i64::from(z) < lo || i64::from(z) > hi)
        {
            return Err(OpError::BadZeroPoint { channel, found: zero_point[channel], dtype });
        }
        Ok(Self { scale, zero_point, axis, dtype })
    }

    /// Scales, one or one a channel.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// Zero points, as many as scales.
    pub fn zero_point(&self) -> &[i32] {
        &self.zero_point
    }

    /// The axis of per_channel parameters.
    pub fn axis(&self) -> Option<usize> {
        self.axis
    }

    /// Type of the quantized values.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Smallest and largest quantized value.
    pub fn range(&self) -> (i64, i64) {
        integer_range(self.dtype).expect("the constructor admits integer types only")
    }

    /// The parameters of the surviving channels.
    pub fn take(&self, kept: &[usize]) -> Self {
        let pick = |i: &usize| (self.scale[*i], self.zero_point[*i]);
        let (scale, zero_point) = kept.iter().map(pick).unzip();
        Self { scale, zero_point, axis: self.axis, dtype: self.dtype }
    }

    /// A number, quantized: ties to even, saturated.
    pub fn quantize(&self, channel: usize, x: f32) -> i32 {
        let (lo, hi) = self.range();
        let q = (x / self.scale[channel]).round_ties_even() as f64
            + f64::from(self.zero_point[channel]);
        q.clamp(lo as f64, hi as f64) as i32
    }

    /// The number that a quantized value stands for.
    pub fn dequantize(&self, channel: usize, q: i32) -> f32 {
        (q.wrapping_sub(self.zero_point[channel])) as f32 * self.scale[channel]
    }
}

fn integer_range(dtype: DataType) -> Option<(i64, i64)> {
    Some(match dtype {
        DataType::I8 => (-128, 127),
        DataType::U8 => (0, 255),
        DataType::I16 => (-32768, 32767),
        DataType::U16 => (0, 65535),
        DataType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => return None,
    })
}
