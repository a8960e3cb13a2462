//! The gradient of 3x3 filters: transformed patches times transformed gradients, summed over tiles before the way back.

use super::transforms::{self, PATCH, POSITIONS, TILE, square};
use super::{Grid, Patches, Transformed, padded};
use crate::conv::geometry::ConvGeometry;
use crate::conv::gradient_tiles::{Block, Part, Task, blocks};
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Context, KernelError, View};
use std::ops::Range;

/// What a chunk of tiles may take of the second-level cache, patches and gradients.
const CHUNK_BYTES: usize = 1408 << 10;
/// What the sums of the output channels that are finished together may take.
const SUMS_BYTES: usize = 640 << 10;

/// As [`conv_weight_gradient`](crate::conv_weight_gradient), of checked views.
///
/// # Errors
/// `Memory` when there is none to compute in.
pub(in crate::conv) fn run(
    ctx: &mut Context,
    geometry: &ConvGeometry,
    window: &View,
    dy: &View,
    dw: &View,
) -> Result<(), KernelError> {
    let (inputs, outputs) = (geometry.in_channels_per_group, geometry.out_channels);
    let tile_bytes = POSITIONS * (padded(inputs) + padded(outputs)) * size_of::<f32>();
    let grid = &Grid::new(dy, |tiles| tiles.div_ceil((CHUNK_BYTES / tile_bytes).max(1)));
    let blocks = &blocks(geometry);
    let room = Room {
        gradients: Transformed::elements(inputs, grid.block),
        sums: Transformed::elements(inputs, grid.block)
            + Transformed::elements(outputs, grid.block),
        sums_step: outputs * padded(inputs) + 16,
    };
    let len = room.sums + POSITIONS * room.sums_step;
    let (base, isa) = (Base(ctx.f32_arena.as_mut_ptr()), ctx.isa);
    // Each task transforms all patches for all of its blocks.
    let tasks = ctx.pool.threads().min(blocks.len());
    ctx.pool.run_with_scratch(tasks, len, &|task, scratch| {
        let mut blocks =
            blocks[task * blocks.len() / tasks..(task + 1) * blocks.len() / tasks].to_vec();
        let first = blocks[0].start;
        let end = blocks[blocks.len() - 1].start + blocks[blocks.len() - 1].channels;
        blocks.iter_mut().for_each(|block| block.start -= first);
        let geometry =
            ConvGeometry { out_channels: end - first, kernel: [1, 1], pads: [0; 4], ..*geometry };
        let scratch = Base(scratch);
        let part = Channels {
            base,
            scratch,
            geometry,
            grid,
            window,
            dy,
            dw,
            room,
            first,
            blocks: &blocks,
        };
        // SAFETY: the views were checked, the scratch has room, and no two tasks share elements of `dw`.
        unsafe { isa.run_f32(&part) };
    })
}

/// How the scratch is divided: patches first.
#[derive(Clone, Copy)]
struct Room {
    gradients: usize,
    sums: usize,
    sums_step: usize,
}

/// Some output channels of the gradient.
struct Channels<'a> {
    base: Base,
    scratch: Base,
    /// Of the products of one position.
    geometry: ConvGeometry,
    grid: &'a Grid,
    window: &'a View,
    dy: &'a View,
    dw: &'a View,
    room: Room,
    /// The first output channel, from which the blocks are counted.
    first: usize,
    blocks: &'a [Block],
}

impl F32Body for Patches<'_, TILE> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        // SAFETY: the caller's.
        unsafe {
            self.each::<V>(
                #[inline(always)]
                |tile| transforms::output_gradient(tile),
            );
        }
    }
}

impl F32Body for Channels<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        // Where all tiles are one chunk, sums need not be kept.
        let per_group = if self.grid.blocks > 1 { self.blocks.len() } else { self.group() };
        for chunk in 0..self.grid.blocks {
            let tiles = self.grid.block(chunk);
            // SAFETY: the caller's.
            unsafe {
                let (patches, gradients) = self.transform::<V>(&tiles);
                for blocks in self.blocks.chunks(per_group) {
                    for position in 0..POSITIONS {
                        self.multiply::<V>(position, [&patches, &gradients], blocks, chunk > 0);
                    }
                    if chunk + 1 == self.grid.blocks {
                        blocks.iter().for_each(|block| self.finish::<V>(block));
                    }
                }
            }
        }
    }
}

impl Channels<'_> {
    /// Blocks whose sums stay in the cache.
    fn group(&self) -> usize {
        let channel_bytes = POSITIONS * padded(self.geometry.in_channels_per_group) * 4;
        let widest = self.blocks.iter().map(|block| block.channels).max().unwrap_or(1);
        (SUMS_BYTES / (channel_bytes * widest)).max(1)
    }

    #[inline(always)]
    unsafe fn transform<V: F32Vector>(&self, tiles: &Range<usize>) -> (Transformed, Transformed) {
        let (base, grid) = (self.base, self.grid);
        let inputs = self.geometry.in_channels_per_group;
        let (count, tiles) = (tiles.len(), tiles.clone());
        let patches = Transformed { at: self.scratch.at(0), channels: inputs, tiles: count };
        let at = self.scratch.at(self.room.gradients);
        let gradients = Transformed { at, channels: self.geometry.out_channels, tiles: count };
        // SAFETY: the caller's.
        unsafe {
            V::run(&Patches::<PATCH> {
                base,
                image: self.window,
                grid,
                tiles: tiles.clone(),
                channel: 0,
                to: patches,
            });
            let (image, channel) = (self.dy, self.first);
            V::run(&Patches::<TILE> { base, image, grid, tiles, channel, to: gradients });
        }
        (patches, gradients)
    }

    /// Adds the products of one position to the sums: the gradient of a 1x1 convolution, whose pixels are the tiles.
    #[inline(always)]
    unsafe fn multiply<V: F32Vector>(
        &self,
        position: usize,
        [patches, gradients]: [&Transformed; 2],
        blocks: &[Block],
        goes_on: bool,
    ) {
        let image = |of: &Transformed, offset: usize| View {
            offset: offset + position * of.position_step(),
            shape: [1, of.channels, 1, of.tiles].into(),
            strides: [0, 1, 0, padded(of.channels)].into(),
        };
        let (inputs, outputs) = (patches.channels, gradients.channels);
        let (window, dy) = (image(patches, 0), image(gradients, self.room.gradients));
        let dw = View {
            offset: self.room.sums + position * self.room.sums_step,
            shape: [outputs, inputs, 1, 1].into(),
            strides: [padded(inputs), 1, 0, 0].into(),
        };
        let task = Task {
            geometry: &self.geometry,
            base: self.scratch,
            window: &window,
            dy: &dy,
            dw: &dw,
            blocks,
            runs_on: false,
            is_padded: true,
        };
        // SAFETY: the caller's; tiles of one position already lie side by side.
        unsafe { task.tap::<V>(&Part { tap: [0, 0], rows: 0..1, goes_on }, None) };
    }

    /// Stores the filters' gradients of a block.
    #[inline(always)]
    unsafe fn finish<V: F32Vector>(&self, block: &Block) {
        let (dw, inputs) = (self.dw, self.geometry.in_channels_per_group);
        for channel in block.start + block.skip..block.start + block.channels {
            for c in (0..inputs).step_by(V::LANES) {
                let from = self.room.sums + channel * padded(inputs) + c;
                let to = dw.offset + (self.first + channel) * dw.strides[0] + c;
                // SAFETY: the caller's.
                unsafe {
                    let mut values = [[V::splat(0.0); PATCH]; PATCH];
                    for (position, value) in values.as_flattened_mut().iter_mut().enumerate() {
                        let from = from + position * self.room.sums_step;
                        *value = load_part(self.scratch.at(from), inputs - c);
                    }
                    let taps = square(
                        V::splat(0.0),
                        &values,
                        #[inline(always)]
                        |row| transforms::filter_gradient(row),
                    );
                    for (row, taps) in taps.iter().enumerate() {
                        for (column, &tap) in taps.iter().enumerate() {
                            let at = to + row * dw.strides[2] + column * dw.strides[3];
                            store_part(tap, self.base.at(at), inputs - c);
                        }
                    }
                }
            }
        }
    }
}
