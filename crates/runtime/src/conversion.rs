//! Kernels that change how values are held: copies, other parameters of quantization, borders of padding.
use crate::layout::Halo;
use crate::step::{Kernel, KernelInfo, Operands, StepError};
use kernels::{Context, U8Params, View};
use std::sync::Arc;

/// The quantized value that each quantized value becomes.
pub(crate) type Table = Arc<[u8; 256]>;

/// The real value of a quantized value.
pub(crate) fn dequantize(value: u8, params: U8Params) -> f32 {
    (f32::from(value) - f32::from(params.zero_point)) * params.scale
}

/// The quantized value of a real value.
pub(crate) fn quantize(x: f32, params: U8Params) -> u8 {
    let q = (x / params.scale).round_ties_even() + f32::from(params.zero_point);
    q.clamp(0.0, 255.0) as u8
}

/// From quantized values to those that stand for the same with other parameters.
pub(crate) fn requantize(from: U8Params, to: U8Params) -> Table {
    Arc::new(std::array::from_fn(|q| {
        quantize(dequantize(q as u8, from), to)
    }))
}

/// f32 to f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy;

impl Kernel for Copy {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Copy")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::copy(ctx, at.x(), at.y())?)
    }
}

/// Quantized values to quantized values, looked up where there is a table.
#[derive(Clone, Debug)]
pub(crate) struct CopyU8(pub(crate) Option<Table>);

impl Kernel for CopyU8 {
    fn info(&self) -> KernelInfo {
        let kind = if self.0.is_some() { "QTable" } else { "QCopy" };
        KernelInfo::int8(kind)
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::q_copy(ctx, at.x(), at.y(), self.0.as_deref())?)
    }
}

/// f32 to quantized values with these parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToU8(pub(crate) U8Params);

impl Kernel for ToU8 {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Quantize")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::quantize(ctx, at.x(), at.y(), self.0)?)
    }
}

/// Quantized values with these parameters to f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToF32(pub(crate) U8Params);

impl Kernel for ToF32 {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("Dequantize")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::dequantize(ctx, at.x(), self.0, at.y())?)
    }
}

/// Zeros around an image in f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FillHalo(pub(crate) Halo);

impl Kernel for FillHalo {
    fn info(&self) -> KernelInfo {
        KernelInfo::f32("FillHalo")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::fill_halo(ctx, at.y(), self.0, 0.0)?)
    }
}

/// What stands for zero around an image of quantized values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FillHaloU8 {
    pub(crate) halo: Halo,
    pub(crate) zero_point: u8,
}

impl Kernel for FillHaloU8 {
    fn info(&self) -> KernelInfo {
        KernelInfo::int8("QFillHalo")
    }

    fn run(&self, ctx: &mut Context<'_>, at: &Operands<View>) -> Result<(), StepError> {
        Ok(kernels::q_fill_halo(
            ctx,
            at.y(),
            self.halo,
            self.zero_point,
        )?)
    }
}
