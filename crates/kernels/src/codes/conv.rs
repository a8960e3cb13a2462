//! Convolution of codes: sums in i32, the rest of a fused step in registers.

mod depthwise;
mod direct;
mod finish;
mod pack;
mod pairing;
pub(crate) mod tile;
mod weights;

pub(super) use finish::steps;
pub use pack::{PackedQConv, QConvSpec};

use super::{CodeParams, CodeTable, QActivation};
use crate::{Context, KernelError, View};

/// Where results go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QOut {
    /// Codes, into the arena of codes.
    Codes {
        /// NHWC.
        view: View,
        /// What the codes mean.
        params: CodeParams,
    },
    /// Real values, into the arena of floats.
    Float {
        /// NHWC.
        view: View,
    },
}

impl QOut {
    pub(crate) fn view(&self) -> &View {
        match self {
            QOut::Codes { view, .. } | QOut::Float { view } => view,
        }
    }
}

/// What follows the sums: `y = table(activation(multiplier * sum + bias)) + residual`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QEpilogue<'a> {
    /// Applied to the sum's real value.
    pub activation: QActivation,
    /// Where the graph quantizes before its activation: to codes, through the table.
    pub table: Option<&'a CodeTable>,
    /// Codes that are added; shape of `y`, channels side by side.
    pub residual: Option<(View, CodeParams)>,
}

impl Default for QEpilogue<'_> {
    fn default() -> Self {
        QEpilogue {
            activation: QActivation::Identity,
            table: None,
            residual: None,
        }
    }
}

/// `y = table(activation(multiplier * conv(x) + bias)) + residual`, then to codes where `y` holds codes.
///
/// # Shapes
/// `x: [N, C, H, W]` in the arena of codes and `y: [N, M, OH, OW]`, NHWC views. The memory around `x` must hold at
/// least `pads` pixels of `x_zero_point`; they are read like pixels. `residual` may be `y` itself.
///
/// # Errors
/// As [`conv2d`](crate::conv2d), and `Scale` for parameters of codes whose scale is not positive.
pub fn qconv2d(
    ctx: &mut Context,
    conv: &PackedQConv,
    x: &View,
    y: &QOut,
    epilogue: &QEpilogue,
) -> Result<(), KernelError> {
    let view = y.view();
    x.check_nhwc("x")?;
    view.check_nhwc("y")?;
    let channels = conv.group * conv.in_channels_per_group;
    x.check_shape("x", &[x.shape[0], channels, x.shape[2], x.shape[3]])?;
    let size = &conv.window;
    let (height, width) = (
        size.output_len(0, x.shape[2])?,
        size.output_len(1, x.shape[3])?,
    );
    view.check_shape("y", &[x.shape[0], conv.out_channels, height, width])?;
    if view.elements() == 0 {
        return Ok(());
    }
    let window = x.with_halo("x", size.pads, ctx.codes.len())?;
    match y {
        QOut::Codes { params, .. } => {
            params.check("y")?;
            ctx.check_codes(view, &[("x", &window)], false)?;
        }
        QOut::Float { .. } => {
            window.check_bounds("x", ctx.codes.len())?;
            ctx.check(view, &[], false)?;
        }
    }
    if let Some(table) = epilogue.table {
        table.x.check("table.x")?;
        table.y.check("table.y")?;
    }
    if let Some((residual, params)) = &epilogue.residual {
        params.check("residual")?;
        residual.check_nhwc("residual")?;
        residual.check_shape("residual", &view.shape)?;
        match y {
            QOut::Codes { .. } => ctx.check_codes(view, &[("residual", residual)], true)?,
            QOut::Float { .. } => residual.check_bounds("residual", ctx.codes.len())?,
        }
    }
    conv.isa.check()?;
    match &conv.depthwise {
        Some(weights) => depthwise::run(ctx, conv, weights, &window, (y, epilogue)),
        None => direct::run(ctx, conv, &window, y, epilogue),
    }
    Ok(())
}
