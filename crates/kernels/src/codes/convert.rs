//! Between real values and codes.

use super::CodeParams;
use super::conv::steps;
use super::vector::{CodeBody, CodeVector, Pixels, dispatch_codes, widen_part};
use crate::nest::{Base, Nest};
use crate::vector::{Vector, load_part, store_part};
use crate::{Context, KernelError, View};

/// Four vectors at most.
const RUN: usize = 64;

/// The codes of `n` contiguous values.
///
/// # Safety
/// Needs `V`'s instruction set; `n` valid values and codes.
#[inline(always)]
unsafe fn quantize_run<V: CodeVector>(x: *const f32, y: *mut u8, n: usize, params: &CodeParams) {
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
                let mut codes = [V::splat(0); 4];
                for (i, codes) in codes.iter_mut().enumerate() {
                    *codes = steps(V::F::load(x.add(at + i * V::F::LANES)), inv_scale);
                }
                V::store_codes::<4, 4>(codes, params.zero_point, to);
                at += 4 * V::F::LANES;
            } else {
                let codes = steps(load_part(x.add(at), n - at), inv_scale);
                V::store_codes::<1, 1>([codes], params.zero_point, to);
                at += V::F::LANES;
            }
        }
    }
}

struct Quantize<'a> {
    nest: &'a Nest<2>,
    reals: Base<f32>,
    codes: Base<u8>,
    params: CodeParams,
    task: usize,
}

impl CodeBody for Quantize<'_> {
    #[inline(always)]
    unsafe fn run<V: CodeVector>(&self) {
        let [y_step, x_step] = self.nest.strides();
        self.nest.rows(
            self.task,
            #[inline(always)]
            |[y, x], n| {
                let (y, x) = (self.codes.at(y), self.reals.at(x));
                // SAFETY: the caller's; rows lie inside the checked views.
                unsafe {
                    if y_step == 1 && x_step == 1 {
                        quantize_run::<V>(x, y, n, &self.params);
                    } else {
                        for i in 0..n {
                            *y.add(i * y_step) = self.params.code(*x.add(i * x_step));
                        }
                    }
                }
            },
        );
    }
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
    let Some(nest) = &Nest::new([y, x]) else {
        return Ok(());
    };
    let (reals, codes) = (Base(ctx.arena.as_mut_ptr()), Base(ctx.codes.as_mut_ptr()));
    let isa = ctx.isa;
    ctx.pool.run(nest.tasks(), &|task| {
        let body = Quantize {
            nest,
            reals,
            codes,
            params,
            task,
        };
        // SAFETY: views and instruction set are checked; tasks write disjoint rows.
        unsafe { dispatch_codes(isa, &body) };
    });
    Ok(())
}

struct Dequantize<'a> {
    nest: &'a Nest<2>,
    reals: Base<f32>,
    codes: Base<u8>,
    params: CodeParams,
    task: usize,
}

impl CodeBody for Dequantize<'_> {
    #[inline(always)]
    unsafe fn run<V: CodeVector>(&self) {
        let [y_step, x_step] = self.nest.strides();
        self.nest.rows(
            self.task,
            #[inline(always)]
            |[y, x], n| {
                let (y, x) = (self.reals.at(y), self.codes.at(x));
                // SAFETY: the caller's; rows lie inside the checked views.
                unsafe {
                    if y_step == 1 && x_step == 1 {
                        let mut at = 0;
                        while at < n {
                            let codes: V = widen_part(x.add(at), n - at);
                            let value = reals::<V>(codes, &self.params);
                            store_part(value, y.add(at), n - at);
                            at += V::F::LANES;
                        }
                    } else {
                        for i in 0..n {
                            *y.add(i * y_step) = self.params.real(*x.add(i * x_step));
                        }
                    }
                }
            },
        );
    }
}

/// The real values of codes.
///
/// # Safety
/// Needs `V`'s instruction set.
#[inline(always)]
pub(super) unsafe fn reals<V: CodeVector>(codes: V, params: &CodeParams) -> V::F {
    // SAFETY: the caller's.
    unsafe {
        let steps = codes.add(V::splat(-i32::from(params.zero_point)));
        steps.real().mul(V::F::splat(params.scale))
    }
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
    let Some(nest) = &Nest::new([y, x]) else {
        return Ok(());
    };
    let (reals, codes) = (Base(ctx.arena.as_mut_ptr()), Base(ctx.codes.as_mut_ptr()));
    let isa = ctx.isa;
    ctx.pool.run(nest.tasks(), &|task| {
        let body = Dequantize {
            nest,
            reals,
            codes,
            params,
            task,
        };
        // SAFETY: views and instruction set are checked; tasks write disjoint rows.
        unsafe { dispatch_codes(isa, &body) };
    });
    Ok(())
}

struct PlanesRow<'a> {
    values: &'a [f32],
    codes: Base<u8>,
    y: &'a View,
    params: CodeParams,
    row: usize,
}

impl CodeBody for PlanesRow<'_> {
    #[inline(always)]
    unsafe fn run<V: CodeVector>(&self) {
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
                let to_y = self.codes.at(y + first * step + c * self.y.strides[1]);
                // SAFETY: the caller's; columns and channels lie inside the checked view.
                unsafe {
                    quantize_run::<V>(plane(c)[first..].as_ptr(), to.as_mut_ptr(), n, &self.params);
                    if channels == 3 && step == 3 {
                        continue;
                    }
                    for (i, &code) in to[..n].iter().enumerate() {
                        *to_y.wrapping_add(i * step) = code;
                    }
                }
            }
            if channels == 3 && step == 3 {
                // SAFETY: the caller's; the pixels lie side by side inside the checked view.
                unsafe { interleave::<V>(&planes, self.codes.at(y + first * 3), n) };
            }
        }
    }
}

#[inline(always)]
unsafe fn interleave<V: CodeVector>(planes: &[[u8; RUN]; 3], to: *mut u8, n: usize) {
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

/// The codes of real values that lie row-major (`[N, C, H, W]`: plane after plane), such as a model's input.
///
/// # Shapes
/// `y: [N, C, H, W]`, an NHWC view.
///
/// # Errors
/// `Length` when the number of values is not the view's, `Rank`, `Stride`, `Scale`, `OutOfBounds`, `SelfOverlap`.
pub fn quantize_planes(
    ctx: &mut Context,
    values: &[f32],
    y: &View,
    params: CodeParams,
) -> Result<(), KernelError> {
    params.check("y")?;
    y.check_nhwc("y")?;
    ctx.check_codes(y, &[], false)?;
    check_length(y, values.len())?;
    let (codes, isa) = (Base(ctx.codes.as_mut_ptr()), ctx.isa);
    let rows = if values.is_empty() {
        0
    } else {
        y.shape[0] * y.shape[2]
    };
    ctx.pool.run(rows, &|row| {
        let body = PlanesRow {
            values,
            codes,
            y,
            params,
            row,
        };
        // SAFETY: the view and the instruction set are checked; rows are disjoint.
        unsafe { dispatch_codes(isa, &body) };
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
    let row = y.shape[3] * y.shape[1];
    let from = View {
        offset: 0,
        shape: y.shape,
        strides: [row * y.shape[2], 1, row, y.shape[1]].into(),
    };
    let Some(nest) = &Nest::new([y, &from]) else {
        return Ok(());
    };
    let codes = Base(ctx.codes.as_mut_ptr());
    let [y_step, from_step] = nest.strides();
    ctx.pool.run(nest.tasks(), &|task| {
        nest.rows(task, |[to, from], n| {
            let pixels = pixels[from..].iter().step_by(from_step.max(1)).take(n);
            for (i, &code) in pixels.enumerate() {
                // SAFETY: rows lie inside the checked view, and tasks write disjoint rows.
                unsafe { *codes.at(to + i * y_step) = code };
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
