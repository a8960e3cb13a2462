//! Between real values and quantized values.

use super::U8Params;
use super::conv::steps;
use crate::nest::{Base, Nest};
use crate::vector::{F32Vector, I32Body, I32Vector, Pixels, from_u8_part, load_part, store_part};
use crate::{Context, KernelError, View};

/// Four vectors at most.
const RUN: usize = 64;

/// The quantized values of `n` contiguous values.
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

struct Quantize<'a> {
    nest: &'a Nest<2>,
    f32s: Base<f32>,
    u8s: Base<u8>,
    params: U8Params,
    task: usize,
}

impl I32Body for Quantize<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let [y_step, x_step] = self.nest.strides();
        self.nest.rows(
            self.task,
            #[inline(always)]
            |[y, x], n| {
                let (y, x) = (self.u8s.at(y), self.f32s.at(x));
                // SAFETY: the caller's; rows lie inside the checked views.
                unsafe {
                    if y_step == 1 && x_step == 1 {
                        quantize_run::<V>(x, y, n, &self.params);
                    } else {
                        for i in 0..n {
                            *y.add(i * y_step) = self.params.quantize(*x.add(i * x_step));
                        }
                    }
                }
            },
        );
    }
}

/// The quantized values of real values, whatever the layouts.
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
    let Some(nest) = &Nest::new([y, x]) else {
        return Ok(());
    };
    let (f32s, u8s) = (
        Base(ctx.f32_arena.as_mut_ptr()),
        Base(ctx.u8_arena.as_mut_ptr()),
    );
    let isa = ctx.isa;
    ctx.pool.run(nest.tasks(), &|task| {
        let body = Quantize {
            nest,
            f32s,
            u8s,
            params,
            task,
        };
        // SAFETY: views and instruction set are checked; tasks write disjoint rows.
        unsafe { isa.run_i32(&body) };
    });
    Ok(())
}

struct Dequantize<'a> {
    nest: &'a Nest<2>,
    f32s: Base<f32>,
    u8s: Base<u8>,
    params: U8Params,
    task: usize,
}

impl I32Body for Dequantize<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let [y_step, x_step] = self.nest.strides();
        self.nest.rows(
            self.task,
            #[inline(always)]
            |[y, x], n| {
                let (y, x) = (self.f32s.at(y), self.u8s.at(x));
                // SAFETY: the caller's; rows lie inside the checked views.
                unsafe {
                    if y_step == 1 && x_step == 1 {
                        let mut at = 0;
                        while at < n {
                            let quantized: V = from_u8_part(x.add(at), n - at);
                            let value = dequantize_lanes::<V>(quantized, &self.params);
                            store_part(value, y.add(at), n - at);
                            at += V::F::LANES;
                        }
                    } else {
                        for i in 0..n {
                            *y.add(i * y_step) = self.params.dequantize(*x.add(i * x_step));
                        }
                    }
                }
            },
        );
    }
}

/// The real values of quantized values.
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

/// The real values of quantized values, whatever the layouts.
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
    let Some(nest) = &Nest::new([y, x]) else {
        return Ok(());
    };
    let (f32s, u8s) = (
        Base(ctx.f32_arena.as_mut_ptr()),
        Base(ctx.u8_arena.as_mut_ptr()),
    );
    let isa = ctx.isa;
    ctx.pool.run(nest.tasks(), &|task| {
        let body = Dequantize {
            nest,
            f32s,
            u8s,
            params,
            task,
        };
        // SAFETY: views and instruction set are checked; tasks write disjoint rows.
        unsafe { isa.run_i32(&body) };
    });
    Ok(())
}

struct PlanesRow<'a> {
    values: &'a [f32],
    u8s: Base<u8>,
    y: &'a View,
    params: U8Params,
    row: usize,
}

impl I32Body for PlanesRow<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let [_, channels, height, width] = std::array::from_fn(|i| self.y.shape[i]);
        let (image, h) = (self.row / height, self.row % height);
        let y = self.y.offset + image * self.y.strides[0] + h * self.y.strides[2];
        let plane =
            |c: usize| &self.values[((image * channels + c) * height + h) * width..][..width];
        let step = self.y.strides[3];
        let mut planes = [[0u8; RUN]; 3];
        for first in (0..width).step_by(RUN) {
            let n = RUN.min(width - first);
            for c in 0..channels {
                let to = &mut planes[c % 3];
                let to_y = self.u8s.at(y + first * step + c * self.y.strides[1]);
                // SAFETY: the caller's; columns and channels lie inside the checked view.
                unsafe {
                    quantize_run::<V>(plane(c)[first..].as_ptr(), to.as_mut_ptr(), n, &self.params);
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
                unsafe { interleave::<V>(&planes, self.u8s.at(y + first * 3), n) };
            }
        }
    }
}

#[inline(always)]
unsafe fn interleave<V: I32Vector>(planes: &[[u8; RUN]; 3], to: *mut u8, n: usize) {
    let mut pixels = [0u8; 3 * RUN];
    let [a, b, c] = planes;
    for at in (0..n).step_by(16) {
        let planes = [a[at..].as_ptr(), b[at..].as_ptr(), c[at..].as_ptr()];
        // SAFETY: the caller's; both scratches are whole sixteens.
        unsafe { V::interleave(planes, pixels[3 * at..].as_mut_ptr()) };
    }
    // SAFETY: the caller's: `n` valid pixels.
    unsafe { std::ptr::copy_nonoverlapping(pixels.as_ptr(), to, 3 * n) };
}

/// The quantized values of real values that lie row-major (`[N, C, H, W]`: plane after plane), such as a model's input.
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
    check_length(y, values.len())?;
    let (u8s, isa) = (Base(ctx.u8_arena.as_mut_ptr()), ctx.isa);
    let rows = if values.is_empty() {
        0
    } else {
        y.shape[0] * y.shape[2]
    };
    ctx.pool.run(rows, &|row| {
        let body = PlanesRow {
            values,
            u8s,
            y,
            params,
            row,
        };
        // SAFETY: the view and the instruction set are checked; rows are disjoint.
        unsafe { isa.run_i32(&body) };
    });
    Ok(())
}

/// Stores pixels (`[N, H, W, C]`, row-major bytes) whose bytes are their own quantized values.
///
/// # Shapes
/// `y: [N, C, H, W]`, an NHWC view.
///
/// # Errors
/// `Length` when the number of bytes is not the view's, `Rank`, `Stride`, `OutOfBounds`, `SelfOverlap`.
pub fn write_pixels(ctx: &mut Context, pixels: &[u8], y: &View) -> Result<(), KernelError> {
    y.check_nhwc("y")?;
    ctx.check_u8(y, &[], false)?;
    check_length(y, pixels.len())?;
    let row = y.shape[3] * y.shape[1];
    let from = View {
        offset: 0,
        shape: y.shape,
        strides: [row * y.shape[2], 1, row, y.shape[1]].into(),
    };
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
