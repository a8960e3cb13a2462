//! The gradient of a convolution's weights: for each tap, products of the output's gradient with the input under it.

use super::gradient_tiles::{Block, Part, Task, blocks};
use super::{ConvGeometry, winograd};
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector};
use crate::{Context, KernelError, View};

/// Pixels that are gone over for all taps and channels before the next: the first-level cache holds so many of a tile's input
/// channels.
const CHUNK_PIXELS: usize = 192;

/// `dw[o, c, ky, kx] = sum of dy[n, o, oy, ox] * x[n, c, oy * stride + ky * dilation, ..]` over images and pixels.
///
/// # Shapes
/// `x: [N, C, H, W]` and `dy: [N, M, OH, OW]` as for [`conv2d`](crate::conv2d), `dw: [M, C / group, kH, kW]`; NHWC views. The memory
/// around `x` must hold at least `pads` pixels of zeros.
///
/// # Errors
/// As [`conv2d`](crate::conv2d).
pub fn conv_weight_gradient(
    ctx: &mut Context,
    geometry: &ConvGeometry,
    x: &View,
    dy: &View,
    dw: &View,
) -> Result<(), KernelError> {
    geometry.check()?;
    let inner = geometry.in_channels_per_group;
    let [rows, columns] = geometry.kernel;
    dw.check_shape("dw", &[geometry.out_channels, inner, rows, columns])?;
    dw.check_nhwc("dw")?;
    let Some(window) = geometry.window(x, dy, ctx.f32_arena.len())? else {
        return ctx.f32_arena.fill(dw, 0.0);
    };
    ctx.check_f32(dw, &[("x", &window), ("dy", dy)], false)?;
    if winograd::serves(geometry, dy.shape[0] * dy.shape[2] * dy.shape[3]) {
        return winograd::weight_gradient(ctx, geometry, &window, dy, dw);
    }
    let (base, isa) = (Base(ctx.f32_arena.as_mut_ptr()), ctx.isa);
    let blocks = if geometry.is_depthwise() {
        // A vector of groups each.
        let first = (0..geometry.out_channels).step_by(isa.f32().lanes);
        first.map(|group| Block { group, start: 0, channels: 1, skip: 0 }).collect()
    } else {
        blocks(geometry)
    };
    let runs_on = geometry.group == 1
        && geometry.dilations[1] == 1
        && window.strides[3] == inner
        && [dw.strides[1], dw.strides[3]] == [1, inner];
    // Each task goes over the images once for all of its blocks, so that they find the images in the cache.
    let tasks = ctx.pool.threads().min(blocks.len());
    let len = CHUNK_PIXELS.max(dy.shape[3]) * 2 * isa.f32().lanes;
    ctx.pool.run_with_scratch(tasks, len, &|task, scratch| {
        let blocks = &blocks[task * blocks.len() / tasks..(task + 1) * blocks.len() / tasks];
        let window = &window;
        let task = Task { geometry, base, window, dy, dw, blocks, runs_on, is_padded: false };
        // SAFETY: the views were checked, the scratch holds the pixels of a chunk, and no two blocks share elements of `dw`.
        unsafe { isa.run_f32(&Chunks { task, scratch: Base(scratch) }) };
    })
}

/// A task of its own, over all pixels.
struct Chunks<'a> {
    task: Task<'a>,
    /// For copies of the input, [`CHUNK_PIXELS`] or a row of two vectors each.
    scratch: Base,
}

impl F32Body for Chunks<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let (geometry, dy) = (self.task.geometry, self.task.dy);
        let rows = dy.shape[0] * dy.shape[2];
        let chunk = (CHUNK_PIXELS / dy.shape[3]).max(1);
        let columns = if self.task.runs_on { 1 } else { geometry.kernel[1] };
        for first in (0..rows).step_by(chunk) {
            for tap in 0..geometry.kernel[0] * columns {
                let part = Part {
                    tap: [tap / columns, tap % columns],
                    rows: first..(first + chunk).min(rows),
                    goes_on: first > 0,
                };
                // SAFETY: the caller's.
                unsafe { self.task.tap::<V>(&part, Some(self.scratch)) };
            }
        }
    }
}
