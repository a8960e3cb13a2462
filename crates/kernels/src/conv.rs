//! Convolution: direct, on NHWC images that hold their padding. What is not about f32 serves INT8 too.

mod depthwise;
mod direct;
mod finish;
pub(crate) mod geometry;
pub(crate) mod job;
mod pack;
pub(crate) mod panels;
pub(crate) mod tile;
pub(crate) mod tile_table;
mod weight_gradient;
mod winograd;

use finish::{Finish, Out};
pub use geometry::ConvGeometry;
pub use pack::{ConvSpec, FilterOrder, PackedConv};
pub use weight_gradient::conv_weight_gradient;

use crate::{Activation, Context, FakeQuantize, KernelError, View};

/// What follows the sums: `y = fake_quantize(activation(conv(x) + bias) + residual)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue {
    /// Applied to the sum.
    pub activation: Activation,
    /// Added after the activation; shape of `y`, channels side by side.
    pub residual: Option<View>,
    /// Applied last.
    pub fake_quantize: Option<FakeQuantize>,
}

impl Default for Epilogue {
    fn default() -> Epilogue {
        Epilogue { activation: Activation::Identity, residual: None, fake_quantize: None }
    }
}

/// `y = fake_quantize(activation(conv(x) + bias) + residual)`.
///
/// # Shapes
/// `x: [N, C, H, W]` and `y: [N, M, OH, OW]`, NHWC views. The memory around `x` must hold at least `pads` pixels of
/// zeros; they are read like pixels. `residual` may be `y` itself.
///
/// # Errors
/// `Reach` when dilations or pads are too large to count with, `Shape` when `y` is not what the attributes make of
/// `x`, `Stride` when channels are not side by side, `OutOfBounds` when a view or the halo leaves the arena,
/// `HaloStride` when rows or images leave no room for the halo, `Overlap` when `y` shares elements with `x` or its halo,
/// `Memory` when there is none to compute in.
pub fn conv2d(
    ctx: &mut Context,
    conv: &PackedConv,
    x: &View,
    y: &View,
    epilogue: &Epilogue,
) -> Result<(), KernelError> {
    let Some(window) = conv.geometry.window(x, y, ctx.f32_arena.len())? else {
        return Ok(());
    };
    ctx.check_f32(y, &[("x", &window)], false)?;
    if let Some(residual) = &epilogue.residual {
        residual.check_nhwc("residual")?;
        residual.check_shape("residual", &y.shape)?;
        ctx.check_f32(y, &[("residual", residual)], true)?;
    }
    if conv.is_winograd {
        return winograd::run(ctx, conv, &window, y, epilogue);
    }
    if conv.geometry.is_depthwise() {
        depthwise::run(ctx, conv, &window, y, epilogue);
    } else {
        direct::run(ctx, conv, &window, y, epilogue);
    }
    Ok(())
}
