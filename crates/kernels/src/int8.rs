//! Kernels on quantized values: `q: u8` stands for the real value `scale * (q - zero_point)`.

mod activation;
mod binary;
pub(crate) mod conv;
mod convert;
mod matmul;
mod moves;

pub use activation::QActivation;
pub use binary::q_binary;
pub use conv::{PackedQConv, QConvSpec, QEpilogue, QOut, qconv2d};
pub use convert::{dequantize, quantize, quantize_nchw, write_pixels};
pub use matmul::q_matmul;
pub use moves::{q_copy, q_fill_halo, q_max_pool, q_resize_nearest};

use crate::{KernelError, View};

/// What the values `q: u8` of a tensor mean: the real values `scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct U8Params {
    /// Real value of one step.
    pub scale: f32,
    /// The quantized value that stands for 0.
    pub zero_point: u8,
}

impl U8Params {
    pub(crate) fn check(&self, operand: &'static str) -> Result<(), KernelError> {
        // A subnormal scale's reciprocal is infinite.
        if self.scale.is_finite() && self.scale >= f32::MIN_POSITIVE {
            Ok(())
        } else {
            Err(KernelError::Scale { operand, found: self.scale })
        }
    }

    /// The quantized value's real value.
    #[inline(always)]
    pub(crate) fn dequantize(&self, q: u8) -> f32 {
        (i32::from(q) - i32::from(self.zero_point)) as f32 * self.scale
    }

    /// The quantized value of a real value: `clamp(round(value * (1 / scale)) + zero_point, 0, 255)`, ties to even.
    #[inline(always)]
    pub(crate) fn quantize(&self, value: f32) -> u8 {
        let steps = value * (1.0 / self.scale);
        // As the vector conversions: what no i32 holds, downwards or NaN, is the smallest i32.
        let steps = if steps < STEPS_MAX { steps } else { STEPS_MAX };
        let steps = steps.round_ties_even() as i32;
        steps.saturating_add(i32::from(self.zero_point)).clamp(0, 255) as u8
    }
}

/// A quantized tensor: where its values lie in the u8 arena, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct U8View {
    /// The values.
    pub view: View,
    /// Their real values.
    pub params: U8Params,
}

impl U8View {
    /// The view's values, which mean what `params` says.
    pub fn new(view: &View, params: U8Params) -> U8View {
        U8View { view: *view, params }
    }
}

/// Larger numbers of steps than this are clamped to it before they become integers.
pub(crate) const STEPS_MAX: f32 = 1e9;

/// A function from u8 to u8, as a table: what its arguments mean, and its results.
#[derive(Clone, Debug, PartialEq)]
pub struct U8Table {
    /// What the arguments mean.
    pub x: U8Params,
    /// The result of each quantized value.
    pub map: [u8; 256],
    /// Parameters of the results.
    pub y: U8Params,
}
