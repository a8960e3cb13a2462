//! Moving elements: between layouts, to repeated pixels, from bytes, into halos.

use crate::nest::Nest;
use crate::simd::{Kernel, Simd};
use crate::{Context, KernelError, View};
use std::ops::Range;

/// Side of the square that is transposed in registers.
const BLOCK: usize = 8;

/// Copies `x` to `y`, whatever their layouts.
///
/// # Shapes
/// Equal. A transpose is a copy from [`View::permute`], a concat a copy into [`View::slice`].
///
/// # Errors
/// `Shape`, `OutOfBounds`, `SelfOverlap`, `Overlap`.
pub fn copy(ctx: &mut Context<'_>, x: &View, y: &View) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check(y, &[("x", x)], true)?;
    if y.elements() == 0 || x == y {
        return Ok(());
    }
    let mut nest = Nest::new(&y.shape, [y, x]);
    let (_, [y_step, x_step]) = nest.inner();
    let across = if y_step == 1 && x_step > 1 {
        nest.take_contiguous(1)
    } else {
        None
    };
    let base = ctx.arena.as_mut_ptr();
    let job = Copy {
        nest: &nest,
        base,
        starts: [y.offset, x.offset],
        across,
    };
    let (job, isa) = (&job, ctx.isa);
    nest.split(ctx, across.map_or(1, |(rows, _)| rows), &|outer, inner| {
        isa.run(CopyBlock { job, outer, inner })
    });
    Ok(())
}

struct Copy<'a> {
    nest: &'a Nest<2>,
    base: *mut f32,
    starts: [usize; 2],
    /// Length and steps of the loop along which `x` is contiguous, where that is not the innermost.
    across: Option<(usize, [usize; 2])>,
}

// SAFETY: `copy` has checked the views; tasks write disjoint elements and read none that another task writes.
unsafe impl Sync for Copy<'_> {}

struct CopyBlock<'a> {
    job: &'a Copy<'a>,
    outer: Range<usize>,
    inner: Range<usize>,
}

impl Kernel for CopyBlock<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let [y_step, x_step] = job.nest.inner().1;
        let len = self.inner.len();
        let mut cursor = job.nest.cursor(self.outer.start);
        for _ in self.outer {
            // SAFETY: `copy` has checked both views; these are their elements.
            unsafe {
                let y = job
                    .base
                    .add(job.starts[0] + cursor.offsets[0] + self.inner.start * y_step);
                let x = job
                    .base
                    .add(job.starts[1] + cursor.offsets[1] + self.inner.start * x_step);
                match job.across {
                    Some((rows, [y_row, _])) => transpose(s, (x, x_step), (y, y_row), (rows, len)),
                    None if y_step == 1 && x_step == 1 => y.copy_from_nonoverlapping(x, len),
                    None => {
                        for i in 0..len {
                            *y.add(i * y_step) = *x.add(i * x_step);
                        }
                    }
                }
            }
            job.nest.advance(&mut cursor);
        }
    }
}

/// `y[r, i] = x[i, r]` for `rows` by `columns` elements; rows of `x` and `y` lie `x_step` and `y_step` apart.
///
/// # Safety
/// All those elements are readable and writable, and the two do not overlap.
#[inline(always)]
unsafe fn transpose<S: Simd>(
    s: S,
    (x, x_step): (*const f32, usize),
    (y, y_step): (*mut f32, usize),
    (rows, columns): (usize, usize),
) {
    for row in (0..rows).step_by(BLOCK) {
        for column in (0..columns).step_by(BLOCK) {
            // SAFETY: the caller vouches for the elements; the block is inside.
            unsafe {
                let from = x.add(column * x_step + row);
                let to = y.add(row * y_step + column);
                if row + BLOCK <= rows && column + BLOCK <= columns {
                    s.transpose_8x8(from, x_step, to, y_step);
                    continue;
                }
                for r in 0..BLOCK.min(rows - row) {
                    for c in 0..BLOCK.min(columns - column) {
                        *to.add(r * y_step + c) = *from.add(c * x_step + r);
                    }
                }
            }
        }
    }
}

/// Repeats pixels: `y[n, c, i, j] = x[n, c, map_h[i], map_w[j]]`.
///
/// # Shapes
/// `x: [N, C, H, W]`, `y: [N, C, map_h.len(), map_w.len()]`.
///
/// # Errors
/// `Rank`, `Shape`, `Index` for a map that leaves the image, `OutOfBounds`, `SelfOverlap`, `Overlap`.
///
/// Source: ONNX Resize with `mode = nearest`, opset 10 to 19; the caller computes the maps.
pub fn resize_nearest(
    ctx: &mut Context<'_>,
    x: &View,
    y: &View,
    map_h: &[usize],
    map_w: &[usize],
) -> Result<(), KernelError> {
    x.check_rank("x", 4)?;
    y.check_shape("y", &[x.shape[0], x.shape[1], map_h.len(), map_w.len()])?;
    for (operand, map, len) in [("map_h", map_h, x.shape[2]), ("map_w", map_w, x.shape[3])] {
        if let Some(&index) = map.iter().find(|&&index| index >= len) {
            return Err(KernelError::Index {
                operand,
                index,
                len,
            });
        }
    }
    ctx.check(y, &[("x", x)], false)?;
    if y.elements() == 0 {
        return Ok(());
    }
    let job = Resize {
        x,
        y,
        map_h,
        map_w,
        base: ctx.arena.as_mut_ptr(),
    };
    let job = &job;
    ctx.pool.run(y.shape[0] * y.shape[2], &|row| job.row(row));
    Ok(())
}

struct Resize<'a> {
    x: &'a View,
    y: &'a View,
    map_h: &'a [usize],
    map_w: &'a [usize],
    base: *mut f32,
}

// SAFETY: `resize_nearest` has checked the views and maps; tasks write disjoint rows.
unsafe impl Sync for Resize<'_> {}

impl Resize<'_> {
    fn row(&self, row: usize) {
        let (image, i) = (row / self.map_h.len(), row % self.map_h.len());
        let (x, y, channels) = (self.x.strides, self.y.strides, self.y.shape[1]);
        let dense = channels == 1 || (x[1] == 1 && y[1] == 1);
        for (j, &source) in self.map_w.iter().enumerate() {
            // SAFETY: `resize_nearest` has checked views and maps; these are elements of `x` and `y`, which are disjoint.
            unsafe {
                let from = self
                    .base
                    .add(self.x.offset + image * x[0] + self.map_h[i] * x[2] + source * x[3]);
                let to = self
                    .base
                    .add(self.y.offset + image * y[0] + i * y[2] + j * y[3]);
                if dense {
                    to.copy_from_nonoverlapping(from, channels);
                } else {
                    for c in 0..channels {
                        *to.add(c * y[1]) = *from.add(c * x[1]);
                    }
                }
            }
        }
    }
}

/// Stores `value` in the pixels around an NHWC view, `halo` (top, left, bottom, right) wide.
///
/// # Errors
/// `Rank`, `Stride`, `OutOfBounds`; `Halo` when the gaps between rows or images are narrower.
pub fn fill_halo(
    ctx: &mut Context<'_>,
    view: &View,
    halo: [usize; 4],
    value: f32,
) -> Result<(), KernelError> {
    view.check_nhwc("view")?;
    let wide = view.with_halo("view", halo, ctx.arena.elements())?;
    let [top, left, _, right] = halo;
    let [n, c, h, w] = [0, 1, 2, 3].map(|axis| view.shape[axis]);
    if n * c * h * w == 0 {
        return Ok(());
    }
    let base = ctx.arena.as_mut_ptr();
    let fill = |image: usize, row: usize, columns: Range<usize>| {
        for column in columns {
            let at = wide.offset
                + image * wide.strides[0]
                + row * wide.strides[2]
                + column * wide.strides[3];
            // SAFETY: `with_halo` has checked that every channel of every pixel of `wide` is inside the arena.
            unsafe { std::slice::from_raw_parts_mut(base.add(at), c) }.fill(value);
        }
    };
    let width = left + w + right;
    for image in 0..n {
        for row in 0..wide.shape[2] {
            if row < top || row >= top + h {
                fill(image, row, 0..width);
            } else {
                fill(image, row, 0..left);
                fill(image, row, left + w..width);
            }
        }
    }
    Ok(())
}

/// Stores an 8-bit image as `scale * byte`.
///
/// # Shapes
/// `pixels: [H, W, 3] u8`, `y: [1, 3, H, W] f32` in any layout; `swap_rb` exchanges the first and last channel.
///
/// # Errors
/// `Rank`, `Shape`, `Length`, `OutOfBounds`, `SelfOverlap`.
pub fn normalize_u8(
    ctx: &mut Context<'_>,
    pixels: &[u8],
    y: &View,
    scale: f32,
    swap_rb: bool,
) -> Result<(), KernelError> {
    y.check_rank("y", 4)?;
    let [h, w] = [y.shape[2], y.shape[3]];
    y.check_shape("y", &[1, 3, h, w])?;
    ctx.check(y, &[], false)?;
    if pixels.len() != y.elements() {
        return Err(KernelError::Length {
            operand: "pixels",
            expected: y.elements(),
            found: pixels.len(),
        });
    }
    let order = if swap_rb { [2, 1, 0] } else { [0, 1, 2] };
    let job = Normalize {
        pixels,
        y,
        scale,
        order,
        base: ctx.arena.as_mut_ptr(),
    };
    let job = &job;
    ctx.pool.run(h, &|row| job.row(row));
    Ok(())
}

struct Normalize<'a> {
    pixels: &'a [u8],
    y: &'a View,
    scale: f32,
    order: [usize; 3],
    base: *mut f32,
}

// SAFETY: `normalize_u8` has checked the view; tasks write disjoint rows.
unsafe impl Sync for Normalize<'_> {}

impl Normalize<'_> {
    fn row(&self, row: usize) {
        let strides = self.y.strides;
        let w = self.y.shape[3];
        for (column, pixel) in self.pixels[row * w * 3..][..w * 3]
            .chunks_exact(3)
            .enumerate()
        {
            let at = self.y.offset + row * strides[2] + column * strides[3];
            for (channel, &from) in self.order.iter().enumerate() {
                // SAFETY: `normalize_u8` has checked that every element of `y` is inside the arena.
                unsafe {
                    *self.base.add(at + channel * strides[1]) = f32::from(pixel[from]) * self.scale
                };
            }
        }
    }
}
