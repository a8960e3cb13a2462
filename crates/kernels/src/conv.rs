//! Convolution: direct, on NHWC, over a physical halo.

mod depthwise;
mod direct;
mod finish;
mod pack;
pub(crate) mod tile;
mod window;

pub(crate) use finish::{Finish, Out};
pub use pack::{ConvSpec, PackedConv};
pub(crate) use window::Window;

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
        Epilogue {
            activation: Activation::Identity,
            residual: None,
            fake_quantize: None,
        }
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
/// `HaloStride` when rows or images leave no room for the halo, `Overlap` when `y` shares elements with `x` or its halo.
pub fn conv2d(
    ctx: &mut Context,
    conv: &PackedConv,
    x: &View,
    y: &View,
    epilogue: &Epilogue,
) -> Result<(), KernelError> {
    x.check_nhwc("x")?;
    y.check_nhwc("y")?;
    let channels = conv.group * conv.in_channels_per_group;
    x.check_shape("x", &[x.shape[0], channels, x.shape[2], x.shape[3]])?;
    let (height, width) = (
        conv.window().output_len(0, x.shape[2])?,
        conv.window().output_len(1, x.shape[3])?,
    );
    y.check_shape("y", &[x.shape[0], conv.out_channels, height, width])?;
    if y.elements() == 0 {
        return Ok(());
    }
    let window = x.with_halo("x", conv.pads, ctx.f32_arena.len())?;
    ctx.check_f32(y, &[("x", &window)], false)?;
    if let Some(residual) = &epilogue.residual {
        residual.check_nhwc("residual")?;
        residual.check_shape("residual", &y.shape)?;
        ctx.check_f32(y, &[("residual", residual)], true)?;
    }
    conv.isa.check()?;
    if conv.is_depthwise() {
        depthwise::run(ctx, conv, &window, y, epilogue);
    } else {
        direct::run(ctx, conv, &window, y, epilogue);
    }
    Ok(())
}
