//! Convolution of 3x3 filters by F(4x4, 3x3): tiles of 4x4 outputs take 36 products for each pair of channels instead of 144.
//!
//! Patches of 6x6 inputs, filters and products are transformed; between them lie 36 products of matrices, one for each position of a
//! transformed patch. Blocks of tiles are taken through all of it by one thread, so that what lies between stays in its cache.
//!
//! Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308).

mod forward;
mod pack;
mod transforms;
mod weight_gradient;

pub(super) use forward::run;
pub(super) use pack::pack;
pub(super) use transforms::POSITIONS;
pub(super) use weight_gradient::run as weight_gradient;

use super::geometry::ConvGeometry;
use crate::View;
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector, load_part};
use std::ops::Range;
use transforms::{PATCH, TILE, square};

/// What the patches and products of a block of tiles may take of the second-level cache.
const BLOCK_BYTES: usize = 768 << 10;
/// Channels of the widest panel.
const PANEL_CHANNELS: usize = 64;
/// Blocks of fewer tiles do not pay for the filters that they read.
const LEAST_TILES: usize = 12;

/// Whether it is the faster way for images of so many output pixels.
pub(super) fn serves(geometry: &ConvGeometry, pixels: usize) -> bool {
    geometry.kernel == [3, 3]
        && geometry.strides == [1, 1]
        && geometry.dilations == [1, 1]
        && geometry.group == 1
        && geometry.in_channels_per_group >= 16
        && geometry.out_channels >= 16
        && pixels >= 64
}

/// Tiles of a block at most, and what each of them takes.
fn block_limits(geometry: &ConvGeometry) -> [usize; 2] {
    let channels = padded(geometry.in_channels_per_group) + PANEL_CHANNELS;
    let tile_bytes = POSITIONS * channels * size_of::<f32>();
    [(BLOCK_BYTES / tile_bytes).max(LEAST_TILES), tile_bytes]
}

/// What [`run`] takes on each thread, at most.
pub(super) fn scratch_bytes(geometry: &ConvGeometry) -> usize {
    let [most, tile_bytes] = block_limits(geometry);
    most.max(2 * LEAST_TILES) * tile_bytes
}

/// Channels of a transformed pixel, which is stored in whole vectors.
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// The tiles that cover images, and the blocks of them that are computed together.
#[derive(Clone, Copy)]
struct Grid {
    rows: usize,
    columns: usize,
    /// Of all images.
    tiles: usize,
    /// Of a block; the last may have fewer.
    block: usize,
    blocks: usize,
}

/// A tile's image, and its first pixel.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    row: usize,
    column: usize,
}

impl Grid {
    /// Of outputs `[N, M, OH, OW]`; `blocks` says into how many so many tiles are cut.
    fn new(y: &View, blocks: impl Fn(usize) -> usize) -> Grid {
        let (rows, columns) = (y.shape[2].div_ceil(TILE), y.shape[3].div_ceil(TILE));
        let tiles = y.shape[0] * rows * columns;
        let block = tiles.div_ceil(blocks(tiles));
        Grid { rows, columns, tiles, block, blocks: tiles.div_ceil(block) }
    }

    fn block(&self, index: usize) -> Range<usize> {
        index * self.block..((index + 1) * self.block).min(self.tiles)
    }

    fn place(&self, tile: usize) -> Place {
        let (row, column) = (tile / self.columns, tile % self.columns);
        Place { image: row / self.rows, row: row % self.rows * TILE, column: column * TILE }
    }
}

/// Transformed patches `[36][tiles][padded channels]`. Positions lie apart by no multiple of a page, or they would push each other
/// out of the first cache.
#[derive(Clone, Copy)]
struct Transformed {
    at: *mut f32,
    channels: usize,
    tiles: usize,
}

impl Transformed {
    fn position_step(&self) -> usize {
        Transformed::step(self.channels, self.tiles)
    }

    fn step(channels: usize, tiles: usize) -> usize {
        tiles * padded(channels) + 16
    }

    fn elements(channels: usize, tiles: usize) -> usize {
        POSITIONS * Transformed::step(channels, tiles)
    }

    fn position(&self, position: usize) -> *mut f32 {
        self.at.wrapping_add(position * self.position_step())
    }
}

/// Squares of `N` x `N` pixels of an image, which are transformed and stored. Pixels beyond the image are zeros.
struct Patches<'a, const N: usize> {
    base: Base,
    image: &'a View,
    grid: &'a Grid,
    tiles: Range<usize>,
    /// The first that is transformed; as many as the target has.
    channel: usize,
    to: Transformed,
}

impl<const N: usize> Patches<'_, N> {
    /// # Safety
    /// `V`'s instruction set; the image was checked, and the target has room.
    #[inline(always)]
    unsafe fn each<V: F32Vector>(&self, transform: impl Fn([V; N]) -> [V; PATCH] + Copy) {
        let (image, to) = (self.image, &self.to);
        let row = padded(to.channels);
        for (index, tile) in self.tiles.clone().enumerate() {
            let place = self.grid.place(tile);
            let first = image.offset
                + place.image * image.strides[0]
                + place.row * image.strides[2]
                + place.column * image.strides[3]
                + self.channel;
            let seen = [image.shape[2] - place.row, image.shape[3] - place.column];
            for c in (0..to.channels).step_by(V::LANES) {
                let left = to.channels - c;
                // SAFETY: the caller's; pixels beyond the image are not read.
                unsafe {
                    let mut patch = [[V::splat(0.0); N]; N];
                    if seen[0] >= N && seen[1] >= N && left >= V::LANES {
                        for (i, pixels) in patch.iter_mut().enumerate() {
                            let line = self.base.at(first + i * image.strides[2] + c);
                            for (j, pixel) in pixels.iter_mut().enumerate() {
                                *pixel = V::load(line.add(j * image.strides[3]));
                            }
                        }
                    } else {
                        for (i, pixels) in patch.iter_mut().enumerate().take(seen[0]) {
                            let line = first + i * image.strides[2] + c;
                            for (j, pixel) in pixels.iter_mut().enumerate().take(seen[1]) {
                                let from = self.base.at(line + j * image.strides[3]);
                                *pixel = load_part(from, left);
                            }
                        }
                    }
                    let values = square(V::splat(0.0), &patch, transform);
                    let to = to.at.add(index * row + c);
                    for (position, value) in values.as_flattened().iter().enumerate() {
                        value.store(to.add(position * self.to.position_step()));
                    }
                }
            }
        }
    }
}

impl F32Body for Patches<'_, PATCH> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        // SAFETY: the caller's.
        unsafe {
            self.each::<V>(
                #[inline(always)]
                |patch| transforms::input(patch),
            );
        }
    }
}
