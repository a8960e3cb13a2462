//! Kernels that move u8 values or pick among them; what they mean stays the same.

use crate::nest::{self, Base, Bases, I32Row};
use crate::spatial::{Pool, check_pool, check_resize, fill_views, halo_borders, pick_pixels, taps};
use crate::vector::{I32Body, I32Vector};
use crate::{Context, KernelError, View};

struct Copy<'a>(Option<&'a [u8; 256]>);

impl I32Row<2> for Copy<'_> {
    #[inline(always)]
    unsafe fn row<V: I32Vector>(
        &self,
        bases: Bases,
        [y, x]: [usize; 2],
        [y_step, x_step]: [usize; 2],
        n: usize,
    ) {
        let (y, x) = (bases.u8s.at(y), bases.u8s.at(x));
        // SAFETY: the caller's; y may be x.
        unsafe {
            if y_step == 1 && x_step == 1 {
                match self.0 {
                    Some(table) => V::map(table, x, y, n),
                    None => std::ptr::copy(x, y, n),
                }
            } else {
                for i in 0..n {
                    let value = *x.add(i * x_step);
                    let mapped = self.0.map(|table| table[usize::from(value)]);
                    *y.add(i * y_step) = mapped.unwrap_or(value);
                }
            }
        }
    }
}

/// `y = x`, or `y = table[x]`, whatever the layouts; `y` may be `x`.
///
/// # Shapes
/// `x` and `y`: of one shape, u8, any layouts.
///
/// # Errors
/// `Shape`, and what every kernel checks.
pub fn q_copy(
    ctx: &mut Context,
    x: &View,
    y: &View,
    table: Option<&[u8; 256]>,
) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check_u8(y, &[("x", x)], true)?;
    nest::run_i32(ctx, [y, x], &Copy(table));
    Ok(())
}

/// Quantized values of one pixel that are compared at once.
const BYTES: usize = 64;
/// Widest window whose columns' maxima are kept.
const COLUMNS: usize = 16;

struct PoolRow<'a> {
    pool: &'a Pool,
    u8s: Base<u8>,
    x: &'a View,
    y: &'a View,
    row: usize,
}

impl I32Body for PoolRow<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let pool = self.pool;
        let (image, oh) = (self.row / self.y.shape[2], self.row % self.y.shape[2]);
        let start = (oh * pool.strides[0]) as isize - pool.pads[0] as isize;
        let (first, end) = taps(start, pool.kernel[0], pool.dilations[0], self.x.shape[2]);
        let top = (start + (first * pool.dilations[0]) as isize) as usize;
        let slides = pool.strides[1] == 1 && pool.dilations[1] == 1 && pool.kernel[1] <= COLUMNS;
        let mut c = 0;
        while c < self.y.shape[1] {
            let n = (self.y.shape[1] - c).min(BYTES);
            let x = self.x.offset + image * self.x.strides[0] + c + top * self.x.strides[2];
            let y = self.y.offset + image * self.y.strides[0] + oh * self.y.strides[2] + c;
            // SAFETY: the caller's; taps are clamped to the checked image, channels to the view.
            unsafe {
                if slides {
                    self.slide(x, y, end - first, n);
                } else {
                    self.each(x, y, end - first, n);
                }
            }
            c += BYTES;
        }
    }
}

impl PoolRow<'_> {
    /// Windows that share columns: the largest quantized value of each column is found once.
    #[inline(always)]
    unsafe fn slide(&self, x: usize, y: usize, rows: usize, n: usize) {
        let (pool, width) = (self.pool, self.x.shape[3]);
        let mut columns = [[0u8; BYTES]; COLUMNS];
        let mut known = 0;
        for ow in 0..self.y.shape[3] {
            let (first, end) = taps(ow as isize - pool.pads[1] as isize, pool.kernel[1], 1, width);
            let start = (ow + first).saturating_sub(pool.pads[1]);
            let end = start + end - first;
            // SAFETY: the caller's.
            unsafe {
                while known < end {
                    columns[known % COLUMNS] = self.column(x + known * self.x.strides[3], rows, n);
                    known += 1;
                }
                let mut top = [0u8; BYTES];
                for column in start..end {
                    raise(&mut top, &columns[column % COLUMNS]);
                }
                self.store(&top, y + ow * self.y.strides[3], n);
            }
        }
    }

    #[inline(always)]
    unsafe fn each(&self, x: usize, y: usize, rows: usize, n: usize) {
        let pool = self.pool;
        for ow in 0..self.y.shape[3] {
            let start = (ow * pool.strides[1]) as isize - pool.pads[1] as isize;
            let (first, end) = taps(start, pool.kernel[1], pool.dilations[1], self.x.shape[3]);
            let mut top = [0u8; BYTES];
            for tap in first..end {
                let column = (start + (tap * pool.dilations[1]) as isize) as usize;
                // SAFETY: the caller's.
                let column = unsafe { self.column(x + column * self.x.strides[3], rows, n) };
                raise(&mut top, &column);
            }
            // SAFETY: the caller's.
            unsafe { self.store(&top, y + ow * self.y.strides[3], n) };
        }
    }

    /// The largest values of a column of the window.
    #[inline(always)]
    unsafe fn column(&self, x: usize, rows: usize, n: usize) -> [u8; BYTES] {
        let mut top = [0u8; BYTES];
        for row in 0..rows {
            let from = self.u8s.at(x + row * self.pool.dilations[0] * self.x.strides[2]);
            let mut quantized = [0u8; BYTES];
            // SAFETY: the caller's: `n` valid values; whole vectors need no call.
            unsafe {
                if n == BYTES {
                    quantized = from.cast::<[u8; BYTES]>().read_unaligned();
                } else {
                    std::ptr::copy_nonoverlapping(from, quantized.as_mut_ptr(), n);
                }
            }
            raise(&mut top, &quantized);
        }
        top
    }

    #[inline(always)]
    unsafe fn store(&self, quantized: &[u8; BYTES], y: usize, n: usize) {
        let to = self.u8s.at(y);
        // SAFETY: the caller's: `n` valid values.
        unsafe {
            if n == BYTES {
                to.cast::<[u8; BYTES]>().write_unaligned(*quantized);
            } else {
                std::ptr::copy_nonoverlapping(quantized.as_ptr(), to, n);
            }
        }
    }
}

#[inline(always)]
fn raise(top: &mut [u8; BYTES], quantized: &[u8; BYTES]) {
    for (top, q) in top.iter_mut().zip(quantized) {
        *top = (*top).max(*q);
    }
}

/// Largest quantized value of each window; taps outside the image are left out.
///
/// # Shapes
/// As [`max_pool`](crate::max_pool), of u8.
///
/// # Errors
/// As [`max_pool`](crate::max_pool).
pub fn q_max_pool(ctx: &mut Context, x: &View, y: &View, pool: &Pool) -> Result<(), KernelError> {
    check_pool(x, y, pool)?;
    ctx.check_u8(y, &[("x", x)], false)?;
    if y.elements() == 0 {
        return Ok(());
    }
    let (u8s, isa) = (Base(ctx.u8_arena.as_mut_ptr()), ctx.isa);
    ctx.pool.run(y.shape[0] * y.shape[2], &|row| {
        let row = PoolRow { pool, u8s, x, y, row };
        // SAFETY: views and instruction set are checked; rows are disjoint.
        unsafe { isa.run_i32(&row) };
    });
    Ok(())
}

/// `y[n, c, i, j] = x[n, c, map_h[i], map_w[j]]`.
///
/// # Shapes
/// As [`resize_nearest`](crate::resize_nearest), of u8.
///
/// # Errors
/// As [`resize_nearest`](crate::resize_nearest).
pub fn q_resize_nearest(
    ctx: &mut Context,
    x: &View,
    y: &View,
    map_h: &[usize],
    map_w: &[usize],
) -> Result<(), KernelError> {
    check_resize(x, y, map_h, map_w)?;
    ctx.check_u8(y, &[("x", x)], false)?;
    let base = Base(ctx.u8_arena.as_mut_ptr());
    pick_pixels(ctx.pool, base, x, y, [map_h, map_w]);
    Ok(())
}

/// Writes `value` into the `[top, left, bottom, right]` pixels around an NHWC view, all channels of the view.
///
/// # Shapes
/// As [`fill_halo`](crate::fill_halo), of u8.
///
/// # Errors
/// As [`fill_halo`](crate::fill_halo).
pub fn q_fill_halo(
    ctx: &mut Context,
    x: &View,
    halo: [usize; 4],
    value: u8,
) -> Result<(), KernelError> {
    let borders = halo_borders(x, halo, ctx.u8_arena.len())?;
    fill_views(Base(ctx.u8_arena.as_mut_ptr()), &borders, value);
    Ok(())
}
