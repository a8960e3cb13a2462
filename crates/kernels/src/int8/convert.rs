//! Quantization and dequantization, and pixels as they come.

use super::U8Params;
use super::conv::steps;
use crate::checks::check_length;
use crate::nest::{self, Base, Bases, I32Row, Nest};
use crate::vector::{F32Vector, I32Body, I32Vector, Pixels, from_u8_part, load_part, store_part};
use crate::{Context, KernelError, View};

/// Four vectors at most.
const RUN: usize = 64;

/// Quantizes `n` contiguous values.
///
/// # Safety
/// Needs `V`'s instruction set; `n` valid values at both.
#[inline(always)]
unsafe fn quantize_run<V: I32Vector>(x: *const f32, y: *mut u8, n: usize, params: &U8Params) {
    let inv_scale = 1.0 / params.scale;
    let mut at = 0;
    while at < n {
        let to = Pixels {
            // SAFETY: the caller's.
            to: unsafe { y.add(at) },
            step: 0,
            channels: n - at,
        };
        // SAFETY: the caller's.
        unsafe {
            if n - at >= 4 * V::F::LANES {
                let mut quantized = [V::splat(0); 4];
                for (i, quantized) in quantized.iter_mut().enumerate() {
                    *quantized = steps(V::F::load(x.add(at + i * V::F::LANES)), inv_scale);
                }
                V::store_u8::<4, 4>(quantized, params.zero_point, to);
                at += 4 * V::F::LANES;
            } else {
                let quantized = steps(load_part(x.add(at), n - at), inv_scale);
                V::store_u8::<1, 1>([quantized], params.zero_point, to);
                at += V::F::LANES;
            }
        }
    }
}

struct Quantize(U8Params);

impl I32Row<2> for Quantize {
    #[inline(always)]
    unsafe fn row<V: I32Vector>(
        &self,
        bases: Bases,
        [y, x]: [usize; 2],
        [y_step, x_step]: [usize; 2],
        n: usize,
    ) {
        let (y, x) = (bases.u8s.at(y), bases.f32s.at(x));
        // SAFETY: the caller's.
        unsafe {
            if y_step == 1 && x_step == 1 {
                quantize_run::<V>(x, y, n, &self.0);
            } else {
                for i in 0..n {
                    *y.add(i * y_step) = self.0.quantize(*x.add(i * x_step));
                }
            }
        }
    }
}

/// `y = quantize(x)`, whatever the layouts.
///
/// # Shapes
/// `x` in the f32 arena, `y` of the same shape in the u8 arena.
///
/// # Errors
/// `Scale`, `Shape`, `OutOfBounds`, `SelfOverlap`.
pub fn quantize(
    ctx: &mut Context,
    x: &View,
    y: &View,
    params: U8Params,
) -> Result<(), KernelError> {
    params.check("y")?;
    x.check_shape("x", &y.shape)?;
    x.check_bounds("x", ctx.f32_arena.len())?;
    ctx.check_u8(y, &[], false)?;
    nest::run_i32(ctx, [y, x], &Quantize(params));
    Ok(())
}

struct Dequantize(U8Params);

impl I32Row<2> for Dequantize {
    #[inline(always)]
    unsafe fn row<V: I32Vector>(
        &self,
        bases: Bases,
        [y, x]: [usize; 2],
        [y_step, x_step]: [usize; 2],
        n: usize,
    ) {
        let (y, x) = (bases.f32s.at(y), bases.u8s.at(x));
        // SAFETY: the caller's.
        unsafe {
            if y_step == 1 && x_step == 1 {
                for at in (0..n).step_by(V::F::LANES) {
                    let values: V = from_u8_part(x.add(at), n - at);
                    store_part(dequantize_lanes::<V>(values, &self.0), y.add(at), n - at);
                }
            } else {
                for i in 0..n {
                    *y.add(i * y_step) = self.0.dequantize(*x.add(i * x_step));
                }
            }
        }
    }
}

/// The real values of a vector.
///
/// # Safety
/// Needs `V`'s instruction set.
#[inline(always)]
pub(super) unsafe fn dequantize_lanes<V: I32Vector>(quantized: V, params: &U8Params) -> V::F {
    // SAFETY: the caller's.
    unsafe {
        let steps = quantized.add(V::splat(-i32::from(params.zero_point)));
        steps.to_f32().mul(V::F::splat(params.scale))
    }
}

/// `y = dequantize(x)`, whatever the layouts.
///
/// # Shapes
/// `x` in the u8 arena, `y` of the same shape in the f32 arena.
///
/// # Errors
/// As [`quantize`].
pub fn dequantize(
    ctx: &mut Context,
    x: &View,
    params: U8Params,
    y: &View,
) -> Result<(), KernelError> {
    params.check("x")?;
    x.check_shape("x", &y.shape)?;
    x.check_bounds("x", ctx.u8_arena.len())?;
    ctx.check_f32(y, &[], false)?;
    nest::run_i32(ctx, [y, x], &Dequantize(params));
    Ok(())
}

struct NchwRow<'a> {
    values: &'a [f32],
    u8s: Base<u8>,
    y: &'a View,
    params: U8Params,
    row: usize,
}

impl I32Body for NchwRow<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let [_, channels, height, width] = std::array::from_fn(|i| self.y.shape[i]);
        let (image, h) = (self.row / height, self.row % height);
        let y = self.y.offset + image * self.y.strides[0] + h * self.y.strides[2];
        let channel =
            |c: usize| &self.values[((image * channels + c) * height + h) * width..][..width];
        let step = self.y.strides[3];
        let mut runs = [[0u8; RUN]; 3];
        for first in (0..width).step_by(RUN) {
            let n = RUN.min(width - first);
            for c in 0..channels {
                let to = &mut runs[c % 3];
                let to_y = self.u8s.at(y + first * step + c * self.y.strides[1]);
                // SAFETY: the caller's; columns and channels lie inside the checked view.
                unsafe {
                    quantize_run::<V>(
                        channel(c)[first..].as_ptr(),
                        to.as_mut_ptr(),
                        n,
                        &self.params,
                    );
                    if channels == 3 && step == 3 {
                        continue;
                    }
                    for (i, &q) in to[..n].iter().enumerate() {
                        *to_y.wrapping_add(i * step) = q;
                    }
                }
            }
            if channels == 3 && step == 3 {
                // SAFETY: the caller's; the pixels lie side by side inside the checked view.
                unsafe { interleave::<V>(&runs, self.u8s.at(y + first * 3), n) };
            }
        }
    }
}

#[inline(always)]
unsafe fn interleave<V: I32Vector>(runs: &[[u8; RUN]; 3], to: *mut u8, n: usize) {
    let mut pixels = [0u8; 3 * RUN];
    let [a, b, c] = runs;
    for at in (0..n).step_by(16) {
        let channels = [a[at..].as_ptr(), b[at..].as_ptr(), c[at..].as_ptr()];
        // SAFETY: the caller's; both scratches are whole sixteens.
        unsafe { V::interleave(channels, pixels[3 * at..].as_mut_ptr()) };
    }
    // SAFETY: the caller's: `n` valid pixels.
    unsafe { std::ptr::copy_nonoverlapping(pixels.as_ptr(), to, 3 * n) };
}

/// Quantizes values that lie row-major (`[N, C, H, W]`: channel after channel), such as a model's input.
///
/// # Shapes
/// `y: [N, C, H, W]`, an NHWC view.
///
/// # Errors
/// `Length` when the number of values is not the view's, `Rank`, `Stride`, `Scale`, `OutOfBounds`, `SelfOverlap`.
pub fn quantize_nchw(
    ctx: &mut Context,
    values: &[f32],
    y: &View,
    params: U8Params,
) -> Result<(), KernelError> {
    params.check("y")?;
    y.check_nhwc("y")?;
    ctx.check_u8(y, &[], false)?;
    check_length("values", y.elements(), values.len())?;
    let (u8s, isa) = (Base(ctx.u8_arena.as_mut_ptr()), ctx.isa);
    let rows = if values.is_empty() { 0 } else { y.shape[0] * y.shape[2] };
    ctx.pool.run(rows, &|row| {
        let body = NchwRow { values, u8s, y, params, row };
        // SAFETY: the view and the instruction set are checked; rows are disjoint.
        unsafe { isa.run_i32(&body) };
    });
    Ok(())
}

/// Stores pixels (`[N, H, W, C]`, row-major bytes) whose bytes are quantized values already.
///
/// # Shapes
/// `y: [N, C, H, W]`, an NHWC view.
///
/// # Errors
/// `Length` when the number of bytes is not the view's, `Rank`, `Stride`, `OutOfBounds`, `SelfOverlap`.
pub fn write_pixels(ctx: &mut Context, pixels: &[u8], y: &View) -> Result<(), KernelError> {
    y.check_nhwc("y")?;
    ctx.check_u8(y, &[], false)?;
    check_length("values", y.elements(), pixels.len())?;
    let row = y.shape[3] * y.shape[1];
    let from =
        View { offset: 0, shape: y.shape, strides: [row * y.shape[2], 1, row, y.shape[1]].into() };
    let Some(nest) = &Nest::new([y, &from]) else {
        return Ok(());
    };
    let u8s = Base(ctx.u8_arena.as_mut_ptr());
    let [y_step, from_step] = nest.strides();
    ctx.pool.run(nest.tasks(), &|task| {
        nest.rows(task, |[to, from], n| {
            let pixels = pixels[from..].iter().step_by(from_step.max(1)).take(n);
            for (i, &q) in pixels.enumerate() {
                // SAFETY: rows lie inside the checked view, and tasks write disjoint rows.
                unsafe { *u8s.at(to + i * y_step) = q };
            }
        });
    });
    Ok(())
}
