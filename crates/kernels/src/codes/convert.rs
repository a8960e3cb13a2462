//! Between real values and codes.

use super::CodeParams;
use crate::arena::each_coordinate;
use crate::{Context, KernelError, View};

fn at(view: &View, index: &[usize]) -> usize {
    let steps = index.iter().zip(view.strides.iter());
    view.offset + steps.map(|(i, s)| i * s).sum::<usize>()
}

/// The codes of real values, whatever the layouts.
///
/// # Shapes
/// `x` in the arena of floats, `y` of the same shape in the arena of codes.
///
/// # Errors
/// `Scale`, `Shape`, `OutOfBounds`, `SelfOverlap`.
pub fn quantize(
    ctx: &mut Context,
    x: &View,
    y: &View,
    params: CodeParams,
) -> Result<(), KernelError> {
    params.check("y")?;
    x.check_shape("x", &y.shape)?;
    x.check_bounds("x", ctx.arena.len())?;
    ctx.check_codes(y, &[], false)?;
    each_coordinate(y, |index, to| {
        let value = ctx.arena.as_slice()[at(x, index)];
        ctx.codes.as_mut_slice()[to] = params.code(value);
    });
    Ok(())
}

/// The real values of codes, whatever the layouts.
///
/// # Shapes
/// `x` in the arena of codes, `y` of the same shape in the arena of floats.
///
/// # Errors
/// As [`quantize`].
pub fn dequantize(
    ctx: &mut Context,
    x: &View,
    params: CodeParams,
    y: &View,
) -> Result<(), KernelError> {
    params.check("x")?;
    x.check_shape("x", &y.shape)?;
    x.check_bounds("x", ctx.codes.len())?;
    ctx.check(y, &[], false)?;
    each_coordinate(y, |index, to| {
        let code = ctx.codes.as_slice()[at(x, index)];
        ctx.arena.as_mut_slice()[to] = params.real(code);
    });
    Ok(())
}

/// The codes of real values that lie row-major (`[N, C, H, W]`: plane after plane), such as a model's input.
///
/// # Errors
/// `Length` when the number of values is not the view's, `Scale`, `OutOfBounds`, `SelfOverlap`.
pub fn quantize_planes(
    ctx: &mut Context,
    values: &[f32],
    y: &View,
    params: CodeParams,
) -> Result<(), KernelError> {
    params.check("y")?;
    ctx.check_codes(y, &[], false)?;
    check_length(y, values.len())?;
    let mut next = values.iter();
    each_coordinate(y, |_, to| {
        if let Some(&value) = next.next() {
            ctx.codes.as_mut_slice()[to] = params.code(value);
        }
    });
    Ok(())
}

/// Stores pixels (`[N, H, W, C]`, row-major bytes) whose bytes are their own codes.
///
/// # Shapes
/// `y: [N, C, H, W]`, an NHWC view.
///
/// # Errors
/// `Length` when the number of bytes is not the view's, `Rank`, `Stride`, `OutOfBounds`, `SelfOverlap`.
pub fn write_pixels(ctx: &mut Context, pixels: &[u8], y: &View) -> Result<(), KernelError> {
    y.check_nhwc("y")?;
    ctx.check_codes(y, &[], false)?;
    check_length(y, pixels.len())?;
    let rows = y.permute(&[0, 2, 3, 1])?;
    let mut next = pixels.iter();
    each_coordinate(&rows, |_, to| {
        if let Some(&code) = next.next() {
            ctx.codes.as_mut_slice()[to] = code;
        }
    });
    Ok(())
}

fn check_length(y: &View, found: usize) -> Result<(), KernelError> {
    let expected = y.elements();
    if found == expected {
        return Ok(());
    }
    Err(KernelError::Length {
        operand: "values",
        expected,
        found,
    })
}
