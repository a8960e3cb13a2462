//! Pooling, resizing and halos of NHWC views.

use crate::checks::check_length;
use crate::nest::{Base, Nest};
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Context, Element, KernelError, ThreadPool, View};

/// A pooling window; its taps outside the image are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Pixels between windows.
    pub strides: [usize; 2],
    /// Pixels between taps.
    pub dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Whether an average counts padding as zeros.
    pub count_include_pad: bool,
}

struct PoolRow<'a> {
    pool: &'a Pool,
    base: Base,
    x: &'a View,
    y: &'a View,
    row: usize,
    average: bool,
}

/// Taps `first..end` of a window that starts at `start` and lie in `0..len`.
pub(crate) fn taps(start: isize, kernel: usize, dilation: usize, len: usize) -> (usize, usize) {
    let d = dilation as isize;
    let first = if start < 0 { (-start + d - 1) / d } else { 0 };
    let end = (len as isize - start + d - 1).div_euclid(d).clamp(0, kernel as isize);
    (first.min(end) as usize, end as usize)
}

impl F32Body for PoolRow<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let (pool, x, y) = (self.pool, self.x, self.y);
        let (image, oh) = (self.row / y.shape[2], self.row % y.shape[2]);
        let h0 = (oh * pool.strides[0]) as isize - pool.pads[0] as isize;
        let (h_first, h_end) = taps(h0, pool.kernel[0], pool.dilations[0], x.shape[2]);
        let (padded_h, padded_w) = (x.shape[2] + pool.pads[2], x.shape[3] + pool.pads[3]);
        for ow in 0..y.shape[3] {
            let w0 = (ow * pool.strides[1]) as isize - pool.pads[1] as isize;
            let (w_first, w_end) = taps(w0, pool.kernel[1], pool.dilations[1], x.shape[3]);
            let count = if pool.count_include_pad {
                // Taps before the image count as well, those beyond the far padding (ceil_mode) do not.
                let eh = taps(h0, pool.kernel[0], pool.dilations[0], padded_h).1;
                let ew = taps(w0, pool.kernel[1], pool.dilations[1], padded_w).1;
                eh.saturating_mul(ew)
            } else {
                (h_end - h_first) * (w_end - w_first)
            };
            let to = y.offset + image * y.strides[0] + oh * y.strides[2] + ow * y.strides[3];
            let mut c = 0;
            while c < y.shape[1] {
                let left = y.shape[1] - c;
                // SAFETY: taps are clamped to the checked image, channels to the view.
                unsafe {
                    let mut sum = V::splat(if self.average { 0.0 } else { f32::MIN });
                    for kh in h_first..h_end {
                        let ih = (h0 + (kh * pool.dilations[0]) as isize) as usize;
                        for kw in w_first..w_end {
                            let iw = (w0 + (kw * pool.dilations[1]) as isize) as usize;
                            let at = x.offset
                                + image * x.strides[0]
                                + ih * x.strides[2]
                                + iw * x.strides[3]
                                + c;
                            let value = load_part::<V>(self.base.at(at), left);
                            sum = if self.average { sum.add(value) } else { sum.max(value) };
                        }
                    }
                    if self.average {
                        sum = sum.div(V::splat(count.max(1) as f32));
                    }
                    store_part(sum, self.base.at(to + c), left);
                }
                c += V::LANES;
            }
        }
    }
}

/// That every position a window can reach, and sums of two of them, fit an `isize`.
fn check_reach(x: &View, y: &View, pool: &Pool) -> Result<(), KernelError> {
    for axis in 0..2 {
        let last = y.shape[axis + 2].saturating_sub(1).saturating_mul(pool.strides[axis]);
        let reach = pool.kernel[axis]
            .saturating_mul(pool.dilations[axis])
            .saturating_add(last)
            .saturating_add(x.shape[axis + 2])
            .saturating_add(pool.pads[axis])
            .saturating_add(pool.pads[axis + 2]);
        if reach > isize::MAX as usize / 2 {
            return Err(KernelError::Reach { operand: "x", axis: axis + 2 });
        }
    }
    Ok(())
}

/// What pooling asks of its views, bounds aside.
pub(crate) fn check_pool(x: &View, y: &View, pool: &Pool) -> Result<(), KernelError> {
    x.check_nhwc("x")?;
    y.check_nhwc("y")?;
    for (parameter, values) in
        [("kernel", pool.kernel), ("strides", pool.strides), ("dilations", pool.dilations)]
    {
        if values.contains(&0) {
            return Err(KernelError::Zero { parameter });
        }
    }
    x.check_shape("x", &[y.shape[0], y.shape[1], x.shape[2], x.shape[3]])?;
    check_reach(x, y, pool)
}

fn pool(
    ctx: &mut Context,
    x: &View,
    y: &View,
    pool: &Pool,
    average: bool,
) -> Result<(), KernelError> {
    check_pool(x, y, pool)?;
    ctx.check_f32(y, &[("x", x)], false)?;
    if y.elements() == 0 {
        return Ok(());
    }
    let (base, isa) = (Base(ctx.f32_arena.as_mut_ptr()), ctx.isa);
    ctx.pool.run(y.shape[0] * y.shape[2], &|row| {
        let row = PoolRow { pool, base, x, y, row, average };
        // SAFETY: the views are checked; rows are disjoint.
        unsafe { isa.run_f32(&row) };
    });
    Ok(())
}

/// Largest value of each window.
///
/// # Shapes
/// `x: [N, C, H, W]` and `y: [N, C, OH, OW]`, NHWC views of f32; `y` says how many windows there are.
///
/// # Errors
/// `Shape`, `Stride`, `Zero`, `Reach` when the window is too large to count with, and what every kernel checks.
pub fn max_pool(ctx: &mut Context, x: &View, y: &View, window: &Pool) -> Result<(), KernelError> {
    pool(ctx, x, y, window, false)
}

/// Mean of each window.
///
/// # Shapes
/// As [`max_pool`].
///
/// # Errors
/// As [`max_pool`].
pub fn avg_pool(ctx: &mut Context, x: &View, y: &View, window: &Pool) -> Result<(), KernelError> {
    pool(ctx, x, y, window, true)
}

/// What resizing asks of its views and maps, bounds aside.
pub(crate) fn check_resize(
    x: &View,
    y: &View,
    map_h: &[usize],
    map_w: &[usize],
) -> Result<(), KernelError> {
    x.check_nhwc("x")?;
    y.check_nhwc("y")?;
    x.check_shape("x", &[y.shape[0], y.shape[1], x.shape[2], x.shape[3]])?;
    for (operand, map, axis) in [("map_h", map_h, 2), ("map_w", map_w, 3)] {
        check_length(operand, y.shape[axis], map.len())?;
        let len = x.shape[axis];
        if let Some(&index) = map.iter().find(|&&i| i >= len) {
            return Err(KernelError::Index { operand, index, len });
        }
    }
    Ok(())
}

/// `y[n, c, i, j] = x[n, c, map_h[i], map_w[j]]`.
///
/// # Shapes
/// `x: [N, C, H, W]` and `y: [N, C, OH, OW]`, NHWC views of f32; `map_h` has OH indices below H, `map_w` OW below W.
///
/// # Errors
/// `Length` or `Index` for a map that does not fit, `Shape`, `Stride`, and what every kernel checks.
pub fn resize_nearest(
    ctx: &mut Context,
    x: &View,
    y: &View,
    map_h: &[usize],
    map_w: &[usize],
) -> Result<(), KernelError> {
    check_resize(x, y, map_h, map_w)?;
    ctx.check_f32(y, &[("x", x)], false)?;
    let base = Base(ctx.f32_arena.as_mut_ptr());
    pick_pixels(ctx.pool, base, x, y, [map_h, map_w]);
    Ok(())
}

/// Copies pixels `[map_h[i], map_w[j]]` of x to pixels `[i, j]` of y; views and maps are checked.
pub(crate) fn pick_pixels<T: Element>(
    pool: &ThreadPool,
    base: Base<T>,
    x: &View,
    y: &View,
    [map_h, map_w]: [&[usize]; 2],
) {
    let height = y.shape[2];
    pool.run(y.shape[0] * height, &|row| {
        let (image, oh) = (row / height, row % height);
        let from = x.offset + image * x.strides[0] + map_h[oh] * x.strides[2];
        let to = y.offset + image * y.strides[0] + oh * y.strides[2];
        for (ow, &iw) in map_w.iter().enumerate() {
            let (from, to) = (base.at(from + iw * x.strides[3]), base.at(to + ow * y.strides[3]));
            // SAFETY: views and maps are checked, x and y are disjoint, rows are disjoint.
            unsafe { std::ptr::copy_nonoverlapping(from, to, y.shape[1]) };
        }
    });
}

/// The four borders of an NHWC view's halo, within an arena of `len` elements.
pub(crate) fn halo_borders(
    x: &View,
    halo: [usize; 4],
    len: usize,
) -> Result<[View; 4], KernelError> {
    x.check_rank("x", 4)?;
    let wide = x.with_halo("x", halo, len)?;
    let [top, left, bottom, right] = halo;
    let (height, width) = (x.shape[2], x.shape[3]);
    let part = |row: usize, column: usize, rows: usize, columns: usize| View {
        offset: wide.offset + row * x.strides[2] + column * x.strides[3],
        shape: crate::Dims::new(&[x.shape[0], x.shape[1], rows, columns]),
        strides: x.strides,
    };
    Ok([
        part(0, 0, top, wide.shape[3]),
        part(top + height, 0, bottom, wide.shape[3]),
        part(top, 0, height, left),
        part(top, left + width, height, right),
    ])
}

/// Writes `value` into the `[top, left, bottom, right]` pixels around an NHWC view, all channels of the view.
///
/// # Shapes
/// `x: [N, C, H, W]`, an NHWC view of f32 with room for the halo between its rows and images.
///
/// # Errors
/// `Rank`, `Reach` when the halo is too large to count with, `OutOfBounds` when it leaves the arena,
/// `HaloStride` when it would cover pixels of the next row or image.
pub fn fill_halo(
    ctx: &mut Context,
    x: &View,
    halo: [usize; 4],
    value: f32,
) -> Result<(), KernelError> {
    let borders = halo_borders(x, halo, ctx.f32_arena.len())?;
    fill_views(Base(ctx.f32_arena.as_mut_ptr()), &borders, value);
    Ok(())
}

/// Writes one value everywhere in checked views of memory that nobody else touches meanwhile.
pub(crate) fn fill_views<T: Element>(base: Base<T>, views: &[View], value: T) {
    for nest in views.iter().filter_map(|view| Nest::new([view])) {
        let [step] = nest.strides();
        for task in 0..nest.tasks() {
            nest.rows(task, |[at], n| {
                for i in 0..n {
                    // SAFETY: rows lie inside the checked views.
                    unsafe { *base.at(at + i * step) = value };
                }
            });
        }
    }
}
