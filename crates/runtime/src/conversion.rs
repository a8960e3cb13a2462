//! Kernels that change how values are held: copies, other parameters of quantization, borders of padding.
use crate::layout::Halo;
use crate::step::Kernel;
use kernels::U8Params;
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
    Arc::new(std::array::from_fn(|q| quantize(dequantize(q as u8, from), to)))
}

/// f32 to f32.
pub(crate) fn copy() -> Kernel {
    Kernel::f32("Copy", |ctx, at| Ok(kernels::copy(ctx, at.x(), at.y())?))
}

/// Quantized values to the same.
pub(crate) fn copy_u8() -> Kernel {
    Kernel::int8("QCopy", |ctx, at| Ok(kernels::q_copy(ctx, at.x(), at.y(), None)?))
}

/// Quantized values to what a table says.
pub(crate) fn look_up(table: Table) -> Kernel {
    Kernel::int8("QTable", move |ctx, at| Ok(kernels::q_copy(ctx, at.x(), at.y(), Some(&table))?))
}

/// f32 to quantized values with these parameters.
pub(crate) fn to_u8(params: U8Params) -> Kernel {
    Kernel::f32("Quantize", move |ctx, at| Ok(kernels::quantize(ctx, at.x(), at.y(), params)?))
}

/// Quantized values with these parameters to f32.
pub(crate) fn to_f32(params: U8Params) -> Kernel {
    Kernel::f32("Dequantize", move |ctx, at| Ok(kernels::dequantize(ctx, at.x(), params, at.y())?))
}

/// Zeros around an image.
pub(crate) fn fill_halo(halo: Halo) -> Kernel {
    Kernel::f32("FillHalo", move |ctx, at| Ok(kernels::fill_halo(ctx, at.y(), halo, 0.0)?))
}

/// What stands for zero around an image of quantized values.
pub(crate) fn fill_halo_u8(halo: Halo, zero_point: u8) -> Kernel {
    Kernel::int8("QFillHalo", move |ctx, at| {
        Ok(kernels::q_fill_halo(ctx, at.y(), halo, zero_point)?)
    })
}
