//! INT8 convolution: sums in i32, the rest of a fused step in registers.

mod channel_weights;
mod depthwise;
mod direct;
mod finish;
mod pack;
mod pairing;
mod spec;
pub(crate) mod tile;
mod weights;

pub(super) use finish::steps;
pub use pack::PackedQConv;
pub use spec::QConvSpec;

use super::{QActivation, U8Params, U8Table, U8View};
use crate::nest::Base;
use crate::{Context, KernelError, View};

/// Where results go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QOut {
    /// Quantized values, into the u8 arena.
    U8 {
        /// NHWC.
        view: View,
        /// What they mean.
        params: U8Params,
    },
    /// Real values, into the f32 arena.
    F32 {
        /// NHWC.
        view: View,
    },
}

impl QOut {
    pub(crate) fn view(&self) -> &View {
        match self {
            QOut::U8 { view, .. } | QOut::F32 { view } => view,
        }
    }

    /// The memory that the results go to, and the bytes of an element.
    pub(crate) fn base(&self, ctx: &mut Context) -> (Base<u8>, usize) {
        match self {
            QOut::U8 { .. } => (Base(ctx.u8_arena.as_mut_ptr()), 1),
            QOut::F32 { .. } => (Base(ctx.f32_arena.as_mut_ptr().cast()), size_of::<f32>()),
        }
    }
}

/// What follows the sums: `y = table(activation(multiplier * sum + bias)) + residual`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QEpilogue<'a> {
    /// Applied to the sum's real value.
    pub activation: QActivation,
    /// Where the graph quantizes before its activation: the table that the quantized sums go through.
    pub table: Option<&'a U8Table>,
    /// Added to the real values; shape of `y`, channels side by side.
    pub residual: Option<U8View>,
}

impl Default for QEpilogue<'_> {
    fn default() -> Self {
        QEpilogue { activation: QActivation::Identity, table: None, residual: None }
    }
}

/// `y = table(activation(multiplier * conv(x) + bias)) + residual`, quantized where `y` is u8.
///
/// # Shapes
/// `x: [N, C, H, W]` in the u8 arena and `y: [N, M, OH, OW]`, NHWC views. The memory around `x` must hold at
/// least `pads` pixels of `x_zero_point`; they are read like pixels. `residual` may be `y` itself.
///
/// # Errors
/// As [`conv2d`](crate::conv2d), and `Scale` for a scale that is not positive.
pub fn qconv2d(
    ctx: &mut Context,
    conv: &PackedQConv,
    x: &View,
    y: &QOut,
    epilogue: &QEpilogue,
) -> Result<(), KernelError> {
    let view = y.view();
    let Some(window) = conv.geometry.window(x, view, ctx.u8_arena.len())? else {
        return Ok(());
    };
    match y {
        QOut::U8 { params, .. } => {
            params.check("y")?;
            ctx.check_u8(view, &[("x", &window)], false)?;
        }
        QOut::F32 { .. } => {
            window.check_bounds("x", ctx.u8_arena.len())?;
            ctx.check_f32(view, &[], false)?;
        }
    }
    if let Some(table) = epilogue.table {
        table.x.check("table.x")?;
        table.y.check("table.y")?;
    }
    if let Some(U8View { view: residual, params }) = &epilogue.residual {
        params.check("residual")?;
        residual.check_nhwc("residual")?;
        residual.check_shape("residual", &view.shape)?;
        match y {
            QOut::U8 { .. } => ctx.check_u8(view, &[("residual", residual)], true)?,
            QOut::F32 { .. } => residual.check_bounds("residual", ctx.u8_arena.len())?,
        }
    }
    match &conv.depthwise {
        Some(weights) => depthwise::run(ctx, conv, weights, &window, y, epilogue),
        None => direct::run(ctx, conv, &window, y, epilogue),
    }
    Ok(())
}
