//! Kernels that move codes, or pick among them, and keep their parameters.

use crate::arena::each_coordinate;
use crate::spatial::{Pool, check_pool, check_resize, halo_borders, taps};
use crate::{Context, KernelError, View};

fn at(view: &View, index: &[usize]) -> usize {
    let steps = index.iter().zip(view.strides.iter());
    view.offset + steps.map(|(i, s)| i * s).sum::<usize>()
}

/// `y = x`, or `y = table[x]`, whatever the layouts; `y` may be `x`.
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
    ctx.check_codes(y, &[("x", x)], true)?;
    each_coordinate(y, |index, to| {
        let codes = ctx.codes.as_mut_slice();
        let code = codes[at(x, index)];
        codes[to] = table.map_or(code, |table| table[usize::from(code)]);
    });
    Ok(())
}

/// Largest code of each window; taps outside the image are left out.
///
/// # Errors
/// As [`max_pool`](crate::max_pool).
pub fn q_max_pool(ctx: &mut Context, x: &View, y: &View, pool: &Pool) -> Result<(), KernelError> {
    check_pool(x, y, pool)?;
    ctx.check_codes(y, &[("x", x)], false)?;
    each_coordinate(y, |index, to| {
        let range = |axis: usize| {
            let start = (index[axis + 2] * pool.strides[axis]) as isize - pool.pads[axis] as isize;
            let (first, end) = taps(
                start,
                pool.kernel[axis],
                pool.dilations[axis],
                x.shape[axis + 2],
            );
            let dilation = pool.dilations[axis] as isize;
            (first..end).map(move |k| (start + k as isize * dilation) as usize)
        };
        let codes = ctx.codes.as_mut_slice();
        let mut top = 0;
        for h in range(0) {
            for w in range(1) {
                top = top.max(codes[at(x, &[index[0], index[1], h, w])]);
            }
        }
        codes[to] = top;
    });
    Ok(())
}

/// `y[n, c, i, j] = x[n, c, map_h[i], map_w[j]]`.
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
    ctx.check_codes(y, &[("x", x)], false)?;
    each_coordinate(y, |index, to| {
        let from = at(x, &[index[0], index[1], map_h[index[2]], map_w[index[3]]]);
        let codes = ctx.codes.as_mut_slice();
        codes[to] = codes[from];
    });
    Ok(())
}

/// Writes `code` into the `[top, left, bottom, right]` pixels around an NHWC view, all channels of the view.
///
/// # Errors
/// As [`fill_halo`](crate::fill_halo).
pub fn q_fill_halo(
    ctx: &mut Context,
    x: &View,
    halo: [usize; 4],
    code: u8,
) -> Result<(), KernelError> {
    ctx.isa.check()?;
    for border in halo_borders(x, halo, ctx.codes.len())? {
        ctx.codes.fill(&border, code)?;
    }
    Ok(())
}
