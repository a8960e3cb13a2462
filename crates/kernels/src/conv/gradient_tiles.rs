//! Tiles of weight gradients: a few output channels by one or two vectors of input channels, held in registers.

use super::geometry::ConvGeometry;
use crate::View;
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use std::ops::Range;

/// Input channels are copied side by side where so many blocks of output channels read them.
const LEAST_READERS: usize = 3;

/// Output channels of a tile, largest first.
const TILE_CHANNELS: [usize; 4] = [12, 8, 4, 1];

/// Output channels that a tile computes.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) group: usize,
    /// The first, counted from the group's first.
    pub(super) start: usize,
    /// How many, which are among [`TILE_CHANNELS`].
    pub(super) channels: usize,
    /// How many of these another block stores.
    pub(super) skip: usize,
}

/// The blocks of all groups: as few as possible, with as little computed twice as possible.
pub(super) fn blocks(geometry: &ConvGeometry) -> Vec<Block> {
    let per_group = geometry.out_channels / geometry.group;
    let mut blocks = Vec::new();
    for group in 0..geometry.group {
        let mut done = 0;
        while done < per_group {
            let left = per_group - done;
            let each = left.div_ceil(left.div_ceil(TILE_CHANNELS[0]));
            let fits = |size: &usize| *size <= per_group;
            let sizes = TILE_CHANNELS.into_iter().filter(fits);
            let channels = sizes
                .clone()
                .rev()
                .find(|&size| size >= each)
                .or(sizes.clone().next())
                .unwrap_or(1);
            // A block that would be too large for what is left starts earlier, where the group has room.
            let start = done.min(per_group - channels);
            blocks.push(Block { group, start, channels, skip: done - start });
            done = start + channels;
        }
    }
    blocks
}

/// Some output channels of the gradient.
pub(super) struct Task<'a> {
    pub(super) geometry: &'a ConvGeometry,
    pub(super) base: Base,
    pub(super) window: &'a View,
    pub(super) dy: &'a View,
    pub(super) dw: &'a View,
    pub(super) blocks: &'a [Block],
    /// Whether one pixel's channels follow on another's, in the image and in `dw`: then a row of taps is one tap of all their
    /// channels.
    pub(super) runs_on: bool,
    /// Whether pixels end with zeros that fill their last vector.
    pub(super) is_padded: bool,
}

/// One tap, over some rows.
pub(super) struct Part {
    pub(super) tap: [usize; 2],
    /// Rows of the output's gradient, counted over all images.
    pub(super) rows: Range<usize>,
    /// Whether sums go on from what is stored.
    pub(super) goes_on: bool,
}

/// Input channels of a tile: one or two vectors of them.
#[derive(Clone, Copy)]
struct Inputs {
    /// The first, counted from the image's first.
    channel: usize,
    /// The first of the group's, and how many from there on.
    inner: usize,
    left: usize,
    /// A copy of the part's pixels, side by side and filled up with zeros.
    copy: Option<Base>,
}

/// One tile: a few output channels by some input channels, at one tap.
#[derive(Clone, Copy)]
struct Tile<'a> {
    /// First output channel that is computed, and how many of these another tile stores.
    out: usize,
    skip: usize,
    inputs: Inputs,
    part: &'a Part,
}

impl Inputs {
    /// Elements of a pixel's copy.
    #[inline(always)]
    fn width<V: F32Vector>(&self) -> usize {
        if self.left > V::LANES { 2 * V::LANES } else { V::LANES }
    }
}

impl Task<'_> {
    /// The products of one tap; `scratch` has room for a copy of the part's pixels of two vectors.
    #[inline(always)]
    pub(super) unsafe fn tap<V: F32Vector>(&self, part: &Part, scratch: Option<Base>) {
        let geometry = self.geometry;
        // SAFETY: the caller's.
        unsafe {
            if geometry.is_depthwise() {
                for &Block { group, .. } in self.blocks {
                    let left = geometry.out_channels - group;
                    let inputs = Inputs { channel: group, inner: 0, left, copy: None };
                    self.depthwise::<V>(&Tile { out: group, skip: 0, inputs, part });
                }
                return;
            }
            let taps = if self.runs_on { geometry.kernel[1] } else { 1 };
            let inputs = taps * geometry.in_channels_per_group;
            for blocks in self.blocks.chunk_by(|a, b| a.group == b.group) {
                let group = blocks[0].group;
                let out = group * (geometry.out_channels / geometry.group);
                for inner in (0..inputs).step_by(2 * V::LANES) {
                    let channel = group * inputs + inner;
                    let mut inputs = Inputs { channel, inner, left: inputs - inner, copy: None };
                    if blocks.len() >= LEAST_READERS {
                        inputs.copy = scratch;
                        scratch.inspect(|&to| self.copy::<V>(part, &inputs, to));
                    }
                    for &Block { start, channels, skip, .. } in blocks {
                        self.sized::<V>(channels, Tile { out: out + start, skip, inputs, part });
                    }
                }
            }
        }
    }

    /// Copies a part's pixels of one or two vectors of input channels.
    #[inline(always)]
    unsafe fn copy<V: F32Vector>(&self, part: &Part, inputs: &Inputs, to: Base) {
        let x_step = self.geometry.strides[1].wrapping_mul(self.window.strides[3]);
        let columns = self.dy.shape[3];
        let width = inputs.width::<V>();
        for (index, row) in part.rows.clone().enumerate() {
            let mut x = self.base.at(self.x(part, inputs, row)).cast_const();
            for column in 0..columns {
                let to = to.at((index * columns + column) * width);
                // SAFETY: the caller's; channels beyond the last are not read.
                unsafe {
                    for lane in (0..width).step_by(V::LANES) {
                        load_part::<V>(x.add(lane), inputs.left - lane).store(to.add(lane));
                    }
                }
                x = x.wrapping_add(x_step);
            }
        }
    }

    /// A tile of so many output channels, which are among [`TILE_CHANNELS`], and at most two vectors of input channels.
    #[inline(always)]
    unsafe fn sized<V: F32Vector>(&self, size: usize, tile: Tile<'_>) {
        let largest = V::TILES.get(1).copied().unwrap_or(0);
        // What the registers do not hold at once.
        let half = |size: usize| {
            let out = tile.out + size / 2;
            Tile { out, skip: tile.skip.saturating_sub(size / 2), ..tile }
        };
        // SAFETY: the caller's.
        unsafe {
            match (size, tile.inputs.left > V::LANES) {
                (12, true) if largest >= 12 => self.tile::<V, 12, 2>(&tile),
                (12, true) => {
                    self.tile::<V, 6, 2>(&tile);
                    self.tile::<V, 6, 2>(&half(12));
                }
                (12, false) => self.tile::<V, 12, 1>(&tile),
                (8, true) if largest >= 8 => self.tile::<V, 8, 2>(&tile),
                (8, true) => {
                    self.tile::<V, 4, 2>(&tile);
                    self.tile::<V, 4, 2>(&half(8));
                }
                (8, false) => self.tile::<V, 8, 1>(&tile),
                (4, true) => self.tile::<V, 4, 2>(&tile),
                (4, false) => self.tile::<V, 4, 1>(&tile),
                (_, true) => self.tile::<V, 1, 2>(&tile),
                (_, false) => self.tile::<V, 1, 1>(&tile),
            }
        }
    }

    /// The first element of a row of `dy`, of a tile's output channels.
    #[inline(always)]
    fn gradient(&self, tile: &Tile<'_>, row: usize) -> usize {
        let dy = self.dy;
        let (image, row) = (row / dy.shape[2], row % dy.shape[2]);
        dy.offset + image * dy.strides[0] + row * dy.strides[2] + tile.out
    }

    /// The first element of what a tap sees of `x` for a row of `dy`.
    #[inline(always)]
    fn x(&self, part: &Part, inputs: &Inputs, row: usize) -> usize {
        let (geometry, window) = (self.geometry, self.window);
        let (image, row) = (row / self.dy.shape[2], row % self.dy.shape[2]);
        let down = row * geometry.strides[0] + part.tap[0] * geometry.dilations[0];
        let across = part.tap[1] * geometry.dilations[1];
        window.offset
            + image * window.strides[0]
            + down * window.strides[2]
            + across * window.strides[3]
            + inputs.channel
    }

    /// Where the sums of an output channel and the tile's first input channel are stored.
    #[inline(always)]
    fn stored(&self, tile: &Tile<'_>, out: usize) -> *mut f32 {
        let dw = self.dw;
        let tap = tile.part.tap[0] * dw.strides[2] + tile.part.tap[1] * dw.strides[3];
        self.base.at(dw.offset + out * dw.strides[0] + tap + tile.inputs.inner)
    }

    #[inline(never)]
    unsafe fn tile<V: F32Vector, const MR: usize, const NV: usize>(&self, tile: &Tile<'_>) {
        // SAFETY: the caller's.
        unsafe { V::run(&Sums::<MR, NV> { task: self, tile }) }
    }

    /// Of channels that are convolved by themselves: a vector of them.
    #[inline(always)]
    unsafe fn depthwise<V: F32Vector>(&self, tile: &Tile<'_>) {
        let x_step = self.geometry.strides[1].wrapping_mul(self.window.strides[3]);
        let mut lanes = [0.0f32; 16];
        let left = tile.inputs.left;
        let channels = left.min(V::LANES);
        // SAFETY: the caller's; taps lie in the window, and channels beyond the last are neither read nor stored.
        unsafe {
            if tile.part.goes_on {
                for (lane, value) in lanes.iter_mut().enumerate().take(channels) {
                    *value = *self.stored(tile, tile.out + lane);
                }
            }
            let mut sum = V::load(lanes.as_ptr());
            for row in tile.part.rows.clone() {
                let (dy, x) = (self.gradient(tile, row), self.x(tile.part, &tile.inputs, row));
                for pixel in 0..self.dy.shape[3] {
                    let gradient: V =
                        load_part(self.base.at(dy + pixel * self.dy.strides[3]), left);
                    let value = load_part(self.base.at(x + pixel * x_step), left);
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

/// The sums of one tile. Each size is a function of its own, so that its sums stay in registers.
struct Sums<'a, const MR: usize, const NV: usize> {
    task: &'a Task<'a>,
    tile: &'a Tile<'a>,
}

impl<const MR: usize, const NV: usize> F32Body for Sums<'_, MR, NV> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let Inputs { left, copy, .. } = self.tile.inputs;
        // SAFETY: the caller's; channels beyond the last are neither read, unless they are zeros, nor stored.
        unsafe {
            // The loop over pixels must not ask for each vector whether it is whole.
            if left >= NV * V::LANES || copy.is_some() || self.task.is_padded {
                self.sum::<V>(
                    #[inline(always)]
                    |from, _| V::load(from),
                );
            } else {
                self.sum::<V>(
                    #[inline(always)]
                    |from, n| load_part(from, left - n * V::LANES),
                );
            }
        }
    }
}

impl<const MR: usize, const NV: usize> Sums<'_, MR, NV> {
    /// Sums the products of all pixels; `load` gives a vector of input channels, of which it is told the number.
    #[inline(always)]
    unsafe fn sum<V: F32Vector>(&self, load: impl Fn(*const f32, usize) -> V) {
        let Sums { task, tile } = *self;
        let Inputs { left, copy, .. } = tile.inputs;
        let (columns, dy_step) = (task.dy.shape[3], task.dy.strides[3]);
        let x_step = match copy {
            Some(_) => NV * V::LANES,
            None => task.geometry.strides[1].wrapping_mul(task.window.strides[3]),
        };
        // SAFETY: the caller's; taps lie in the window.
        unsafe {
            let mut acc = [[V::splat(0.0); NV]; MR];
            for (index, row) in tile.part.rows.clone().enumerate() {
                let mut dy = task.base.at(task.gradient(tile, row)).cast_const();
                let mut x = match copy {
                    Some(copy) => copy.at(index * columns * x_step),
                    None => task.base.at(task.x(tile.part, &tile.inputs, row)),
                }
                .cast_const();
                for _ in 0..columns {
                    let mut values = [V::splat(0.0); NV];
                    for (n, value) in values.iter_mut().enumerate() {
                        *value = load(x.add(n * V::LANES), n);
                    }
                    for (m, sums) in acc.iter_mut().enumerate() {
                        let gradient = V::splat(*dy.add(m));
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = gradient.fma(value, *sum);
                        }
                    }
                    (dy, x) = (dy.wrapping_add(dy_step), x.wrapping_add(x_step));
                }
            }
            for (m, sums) in acc.into_iter().enumerate() {
                if m < tile.skip {
                    continue;
                }
                let to = task.stored(tile, tile.out + m);
                for (n, sum) in sums.into_iter().enumerate() {
                    let (to, left) = (to.add(n * V::LANES), left - n * V::LANES);
                    let sum = if tile.part.goes_on { sum.add(load_part(to, left)) } else { sum };
                    store_part(sum, to, left);
                }
            }
        }
    }
}
