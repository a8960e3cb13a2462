//! The gradient of a convolution's weights: for each tap, products of the output's gradient with the input under it.

use super::ConvGeometry;
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Context, KernelError, View};
use std::ops::Range;

/// Elements of input and gradient that are gone over for all taps and channels before the next: what the second-level cache
/// holds.
const CHUNK_ELEMENTS: usize = 48 << 10;

/// Output channels of a tile, largest first; the last one fits what is left.
const TILE_CHANNELS: [usize; 4] = [12, 6, 3, 1];

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
    let (base, isa) = (Base(ctx.f32_arena.as_mut_ptr()), ctx.isa);
    let blocks = if geometry.is_depthwise() {
        geometry.out_channels.div_ceil(isa.f32().lanes)
    } else {
        let per_group = geometry.out_channels / geometry.group;
        geometry.group * per_group.div_ceil(TILE_CHANNELS[0])
    };
    let runs_on = geometry.group == 1
        && geometry.dilations[1] == 1
        && window.strides[3] == inner
        && [dw.strides[1], dw.strides[3]] == [1, inner];
    // Each task goes over the images once for all of its blocks, so that they find the images in the cache.
    let tasks = ctx.pool.threads().min(blocks);
    ctx.pool.run(tasks, &|task| {
        let blocks = task * blocks / tasks..(task + 1) * blocks / tasks;
        let task = Task { geometry, base, window: &window, dy, dw, blocks, runs_on };
        // SAFETY: the views were checked, and no two blocks share elements of `dw`.
        unsafe { isa.run_f32(&task) };
    });
    Ok(())
}

/// Some output channels of the gradient.
struct Task<'a> {
    geometry: &'a ConvGeometry,
    base: Base,
    window: &'a View,
    dy: &'a View,
    dw: &'a View,
    /// Which blocks of output channels.
    blocks: Range<usize>,
    /// Whether one pixel's channels follow on another's, in the image and in `dw`: then a row of taps is one tap of all their
    /// channels.
    runs_on: bool,
}

/// A block of output channels at one tap, over some rows of an image.
struct Part {
    block: usize,
    tap: [usize; 2],
    image: usize,
    rows: Range<usize>,
    /// Whether sums go on from what is stored.
    goes_on: bool,
}

/// One tile: a few output channels by one or two vectors of input channels, at one tap.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// First output channel that is computed, and how many of these another tile stores.
    out: usize,
    skip: usize,
    /// First input channel, counted from the image's first.
    channel: usize,
    /// First input channel of the group's, and how many from there on.
    inner: usize,
    left: usize,
    part: &'a Part,
}

impl F32Body for Task<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let (geometry, dy) = (self.geometry, self.dy);
        let row_elements = dy.shape[3] * (dy.shape[1] + self.window.shape[1] * geometry.strides[0]);
        let chunk = (CHUNK_ELEMENTS / row_elements.max(1)).clamp(1, dy.shape[2]);
        for image in 0..dy.shape[0] {
            for first in (0..dy.shape[2]).step_by(chunk) {
                let rows = first..(first + chunk).min(dy.shape[2]);
                let goes_on = image > 0 || first > 0;
                let columns = if self.runs_on { 1 } else { geometry.kernel[1] };
                for block in self.blocks.clone() {
                    for tap in 0..geometry.kernel[0] * columns {
                        let part = Part {
                            block,
                            tap: [tap / columns, tap % columns],
                            image,
                            rows: rows.clone(),
                            goes_on,
                        };
                        // SAFETY: the caller's.
                        unsafe { self.tap::<V>(&part) };
                    }
                }
            }
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn tap<V: F32Vector>(&self, part: &Part) {
        let geometry = self.geometry;
        let tile = |out, skip, channel, inner, left| Tile { out, skip, channel, inner, left, part };
        // SAFETY: the caller's.
        unsafe {
            if geometry.is_depthwise() {
                let channel = part.block * V::LANES;
                let left = geometry.out_channels - channel;
                return self.depthwise::<V>(&tile(channel, 0, channel, 0, left));
            }
            let per_group = geometry.out_channels / geometry.group;
            let blocks = per_group.div_ceil(TILE_CHANNELS[0]);
            let (group, block) = (part.block / blocks, part.block % blocks);
            let taps = if self.runs_on { geometry.kernel[1] } else { 1 };
            let channels = taps * geometry.in_channels_per_group;
            let mut done = block * TILE_CHANNELS[0];
            let end = (done + TILE_CHANNELS[0]).min(per_group);
            while done < end {
                // A tile that would be too large for what is left starts earlier, where the group has room.
                let fits = |size: &&usize| **size <= per_group && **size < 2 * (end - done).max(1);
                let size = *TILE_CHANNELS.iter().find(fits).unwrap_or(&1);
                let start = done.min(per_group - size);
                let skip = done - start;
                let mut inner = 0;
                while inner < channels {
                    let left = channels - inner;
                    let out = group * per_group + start;
                    let tile = tile(out, skip, group * channels + inner, inner, left);
                    self.sized::<V>(size, tile);
                    inner += 2 * V::LANES;
                }
                done = start + size;
            }
        }
    }

    /// A tile of so many output channels, which are among [`TILE_CHANNELS`], and at most two vectors of input channels.
    #[inline(always)]
    unsafe fn sized<V: F32Vector>(&self, size: usize, tile: Tile<'_>) {
        // SAFETY: the caller's.
        unsafe {
            match (size, tile.left > V::LANES) {
                (12, true) if V::TILES[1] >= 12 => self.tile::<V, 12, 2>(&tile),
                (12, true) => {
                    // The registers hold half of it.
                    let second =
                        Tile { out: tile.out + 6, skip: tile.skip.saturating_sub(6), ..tile };
                    self.tile::<V, 6, 2>(&tile);
                    self.tile::<V, 6, 2>(&second);
                }
                (12, false) => self.tile::<V, 12, 1>(&tile),
                (6, true) => self.tile::<V, 6, 2>(&tile),
                (6, false) => self.tile::<V, 6, 1>(&tile),
                (3, true) => self.tile::<V, 3, 2>(&tile),
                (3, false) => self.tile::<V, 3, 1>(&tile),
                (_, true) => self.tile::<V, 1, 2>(&tile),
                (_, false) => self.tile::<V, 1, 1>(&tile),
            }
        }
    }

    /// The first elements of a row of `dy` and of what the tap sees of `x`.
    #[inline(always)]
    fn row(&self, tile: &Tile<'_>, row: usize) -> [usize; 2] {
        let (geometry, window, dy) = (self.geometry, self.window, self.dy);
        let down = row * geometry.strides[0] + tile.part.tap[0] * geometry.dilations[0];
        let across = tile.part.tap[1] * geometry.dilations[1];
        [
            dy.offset + tile.part.image * dy.strides[0] + row * dy.strides[2] + tile.out,
            window.offset
                + tile.part.image * window.strides[0]
                + down * window.strides[2]
                + across * window.strides[3]
                + tile.channel,
        ]
    }

    /// Where the sums of an output channel and the tile's first input channel are stored.
    #[inline(always)]
    fn stored(&self, tile: &Tile<'_>, out: usize) -> *mut f32 {
        let dw = self.dw;
        let tap = tile.part.tap[0] * dw.strides[2] + tile.part.tap[1] * dw.strides[3];
        self.base.at(dw.offset + out * dw.strides[0] + tap + tile.inner)
    }

    #[inline(always)]
    unsafe fn tile<V: F32Vector, const MR: usize, const NV: usize>(&self, tile: &Tile<'_>) {
        let [x_step, dy_step] =
            [self.geometry.strides[1].wrapping_mul(self.window.strides[3]), self.dy.strides[3]];
        // SAFETY: the caller's; taps lie in the window, and channels beyond the last are neither read nor stored.
        unsafe {
            let mut acc = [[V::splat(0.0); NV]; MR];
            if tile.part.goes_on {
                for (m, sums) in acc.iter_mut().enumerate().skip(tile.skip) {
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let from = self.stored(tile, tile.out + m).add(n * V::LANES);
                        *sum = load_part(from, tile.left - n * V::LANES);
                    }
                }
            }
            for row in tile.part.rows.clone() {
                let [dy, x] = self.row(tile, row).map(|at| self.base.at(at).cast_const());
                for pixel in 0..self.dy.shape[3] {
                    let (dy, x) = (dy.add(pixel * dy_step), x.add(pixel * x_step));
                    let mut values = [V::splat(0.0); NV];
                    for (n, value) in values.iter_mut().enumerate() {
                        *value = load_part(x.add(n * V::LANES), tile.left - n * V::LANES);
                    }
                    for (m, sums) in acc.iter_mut().enumerate() {
                        let gradient = V::splat(*dy.add(m));
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = gradient.fma(value, *sum);
                        }
                    }
                }
            }
            for (m, sums) in acc.iter().enumerate().skip(tile.skip) {
                let to = self.stored(tile, tile.out + m);
                for (n, sum) in sums.iter().enumerate() {
                    store_part(*sum, to.add(n * V::LANES), tile.left - n * V::LANES);
                }
            }
        }
    }

    /// Of channels that are convolved by themselves: a vector of them.
    #[inline(always)]
    unsafe fn depthwise<V: F32Vector>(&self, tile: &Tile<'_>) {
        let x_step = self.geometry.strides[1].wrapping_mul(self.window.strides[3]);
        let mut lanes = [0.0f32; 16];
        let channels = tile.left.min(V::LANES);
        // SAFETY: the caller's; taps lie in the window, and channels beyond the last are neither read nor stored.
        unsafe {
            if tile.part.goes_on {
                for (lane, value) in lanes.iter_mut().enumerate().take(channels) {
                    *value = *self.stored(tile, tile.out + lane);
                }
            }
            let mut sum = V::load(lanes.as_ptr());
            for row in tile.part.rows.clone() {
                let [dy, x] = self.row(tile, row);
                for pixel in 0..self.dy.shape[3] {
                    let gradient: V =
                        load_part(self.base.at(dy + pixel * self.dy.strides[3]), tile.left);
                    let value = load_part(self.base.at(x + pixel * x_step), tile.left);
                    sum = gradient.fma(value, sum);
                }
            }
            sum.store(lanes.as_mut_ptr());
            for (lane, value) in lanes.iter().enumerate().take(channels) {
                *self.stored(tile, tile.out + lane) = *value;
            }
        }
    }
}
