//! Convolution: direct, on NHWC images that hold their padding. What is not about f32 serves INT8 too.

pub(crate) mod beside;
mod depthwise;
mod direct;
mod filter_order;
mod finish;
pub(crate) mod geometry;
mod gradient_tiles;
pub(crate) mod job;
mod pack;
pub(crate) mod panels;
pub(crate) mod tile;
pub(crate) mod tile_table;
mod weight_gradient;
mod winograd;

use beside::Beside;
pub use filter_order::FilterOrder;
use finish::{Finish, Out, Pixels};
pub use geometry::ConvGeometry;
pub use pack::{ConvSpec, PackedConv};
pub use weight_gradient::conv_weight_gradient;

use crate::{Activation, Context, FakeQuantize, KernelError, View};

/// What follows the sums: `y = fake_quantize((activation(conv(x) + bias) + residual) * factor)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue {
    /// Applied to the sum.
    pub activation: Activation,
    /// Added after the activation; shape of `y`, channels side by side.
    pub residual: Option<View>,
    /// What that is multiplied by; shape of `y`, channels side by side.
    pub factor: Option<View>,
    /// Applied last.
    pub fake_quantize: Option<FakeQuantize>,
    /// Where the slope of the activation at the sum is stored too; shape of `y`, channels side by side.
    pub slope: Option<View>,
}

impl Default for Epilogue {
    fn default() -> Epilogue {
        Epilogue {
            activation: Activation::Identity,
            residual: None,
            factor: None,
            fake_quantize: None,
            slope: None,
        }
    }
}

impl Epilogue {
    fn beside(&self) -> Beside<Option<View>> {
        Beside { residual: self.residual, factor: self.factor, slope: self.slope }
    }

    fn check(&self, ctx: &Context, window: &View, y: &View) -> Result<(), KernelError> {
        for (name, view) in [("residual", &self.residual), ("factor", &self.factor)] {
            if let Some(view) = view {
                view.check_nhwc(name)?;
                view.check_shape(name, &y.shape)?;
                ctx.check_f32(y, &[(name, view)], true)?;
                if let Some(slope) = &self.slope {
                    ctx.check_f32(slope, &[(name, view)], false)?;
                }
            }
        }
        if let Some(slope) = &self.slope {
            slope.check_nhwc("slope")?;
            slope.check_shape("slope", &y.shape)?;
            ctx.check_f32(slope, &[("x", window), ("y", y)], false)?;
        }
        Ok(())
    }
}

/// `y = fake_quantize((activation(conv(x) + bias) + residual) * factor)`.
///
/// # Shapes
/// `x: [N, C, H, W]` and `y: [N, M, OH, OW]`, NHWC views. The memory around `x` must hold at least `pads` pixels of
/// zeros; they are read like pixels. `residual` and `factor` may be `y` itself.
///
/// # Errors
/// `Reach` when dilations or pads are too large to count with, `Shape` when `y` is not what the attributes make of
/// `x`, `Stride` when channels are not side by side, `OutOfBounds` when a view or the halo leaves the arena,
/// `HaloStride` when rows or images leave no room for the halo, `Overlap` when `y` or `slope` shares elements with `x` or its halo,
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
    epilogue.check(ctx, &window, y)?;
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
