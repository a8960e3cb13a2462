//! Convolution of 3x3 filters by F(4x4, 3x3): tiles of 4x4 outputs take 36 products for each pair of channels instead of 144.
//!
//! Patches of 6x6 inputs, filters and products are transformed; between them lie 36 products of matrices, one for each position of a
//! transformed patch. Blocks of tiles are taken through all of it by one thread, so that what lies between stays in its cache.
//!
//! Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308).

mod pack;
mod transforms;
mod weight_gradient;

pub(super) use pack::pack;
pub(super) use transforms::POSITIONS;
pub(super) use weight_gradient::run as weight_gradient;

use super::finish::{Finish, Out};
use super::geometry::ConvGeometry;
use super::pack::PackedConv;
use super::panels::Panel;
use super::tile::{Tile, tile_fn};
use super::{Beside, Epilogue, Pixels};
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector, load_part};
use crate::{Context, KernelError, View};
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

/// The convolution over all that its windows read.
///
/// # Errors
/// `Memory` when there is none for the blocks.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedConv,
    window: &View,
    y: &View,
    epilogue: &Epilogue,
) -> Result<(), KernelError> {
    let inputs = conv.geometry.in_channels_per_group;
    let [most, _] = block_limits(&conv.geometry);
    let grid = &Grid::new(y, |tiles| {
        if tiles < 2 * LEAST_TILES {
            return 1;
        }
        // An even number, for an even number of threads.
        2 * tiles.div_ceil(2 * most)
    });
    let patches = Transformed::elements(inputs, grid.block);
    let products = POSITIONS * (grid.block * PANEL_CHANNELS + 16);
    let base = Base(ctx.f32_arena.as_mut_ptr());
    let finish = &Finish::new(epilogue);
    // A single block is divided by panels, each of which transforms the patches again.
    let shares = if grid.blocks == 1 { conv.panels.len() } else { 1 };
    ctx.pool.run_with_scratch(grid.blocks * shares, patches + products, &|task, scratch| {
        let tiles = grid.block(task / shares);
        let count = tiles.len();
        let to = Transformed { at: scratch, channels: inputs, tiles: count };
        let patches_of =
            Patches::<PATCH> { base, image: window, grid, tiles: tiles.clone(), channel: 0, to };
        // SAFETY: the views were checked, the scratch has room, and no two tasks share outputs.
        unsafe { conv.isa.run_f32(&patches_of) };
        let each = conv.panels.len() / shares;
        for panel in &conv.panels[task % shares * each..][..each] {
            let products = Products {
                at: scratch.wrapping_add(patches),
                width: panel.vectors * conv.isa.f32().lanes,
                tiles: count,
            };
            multiply(conv, panel, &to, &products);
            let beside = epilogue.beside();
            let outputs = Outputs {
                conv,
                panel,
                base,
                grid,
                tiles: tiles.clone(),
                products,
                y,
                beside,
                finish,
            };
            // SAFETY: as above.
            unsafe { conv.isa.run_f32(&outputs) };
        }
    })
}

/// Products of a block of tiles with a panel, `[36][tiles][width]`.
#[derive(Clone, Copy)]
struct Products {
    at: *mut f32,
    width: usize,
    tiles: usize,
}

impl Products {
    fn position_step(&self) -> usize {
        self.tiles * self.width + 16
    }
}

/// The 36 products of matrices.
fn multiply(conv: &PackedConv, panel: &Panel, patches: &Transformed, products: &Products) {
    let inputs = patches.channels;
    let zeros = [0.0; PANEL_CHANNELS];
    let most = conv.isa.f32().tiles[panel.vectors - 1];
    let count = patches.tiles.div_ceil(most);
    for position in 0..POSITIONS {
        let weight = &conv.weight[(panel.lane * POSITIONS + position * products.width) * inputs..];
        let mut first = 0;
        for index in 0..count {
            // Tiles of the registers differ by one row at most.
            let rows = patches.tiles / count + usize::from(index < patches.tiles % count);
            let tile = Tile {
                x: patches.position(position).wrapping_add(first * padded(inputs)),
                x_step: padded(inputs),
                weight: weight.as_ptr(),
                bias: zeros.as_ptr(),
                taps_h: 1,
                taps_w: 1,
                run: inputs,
                tap_steps: [0, 0],
            };
            let sums = products.at.wrapping_add(position * products.position_step());
            // SAFETY: patches, weights and products hold so many rows.
            unsafe {
                tile_fn(conv.isa, panel.vectors, rows)(&tile, sums.add(first * products.width));
            }
            first += rows;
        }
    }
}

/// Products, which become outputs and are stored.
struct Outputs<'a> {
    conv: &'a PackedConv,
    panel: &'a Panel,
    base: Base,
    grid: &'a Grid,
    tiles: Range<usize>,
    products: Products,
    y: &'a View,
    beside: Beside<Option<View>>,
    finish: &'a Finish,
}

impl F32Body for Outputs<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let Outputs { panel, products, y, .. } = self;
        let width = products.width;
        for (index, tile) in self.tiles.clone().enumerate() {
            let mut sums = std::mem::MaybeUninit::<[[[f32; PANEL_CHANNELS]; TILE]; TILE]>::uninit();
            let sums: *mut f32 = sums.as_mut_ptr().cast();
            let place = self.grid.place(tile);
            // SAFETY: the caller's; outputs beyond the image are not stored.
            unsafe {
                for c in (0..width).step_by(V::LANES) {
                    let from = products.at.add(index * width + c);
                    let mut values = [[V::splat(0.0); PATCH]; PATCH];
                    for (position, value) in values.as_flattened_mut().iter_mut().enumerate() {
                        *value = V::load(from.add(position * products.position_step()));
                    }
                    let outputs = square(
                        V::splat(0.0),
                        &values,
                        #[inline(always)]
                        |row| transforms::output(row),
                    );
                    let bias = V::load(self.conv.bias.as_ptr().add(panel.lane + c));
                    for (pixel, output) in outputs.as_flattened().iter().enumerate() {
                        output.add(bias).store(sums.add(pixel * width + c));
                    }
                }
                for row in 0..TILE.min(y.shape[2] - place.row) {
                    let at = |v: &View| {
                        let image = v.offset + place.image * v.strides[0] + panel.channel;
                        let first = (place.row + row) * v.strides[2] + place.column * v.strides[3];
                        self.base.at(image + first)
                    };
                    Out {
                        finish: self.finish,
                        sums: sums.add(row * TILE * width),
                        width,
                        pixels: TILE.min(y.shape[3] - place.column),
                        channels: panel.channels,
                        y: at(y),
                        y_step: y.strides[3],
                        beside: self.beside.map(|view| Pixels::new(view.as_ref(), at)),
                    }
                    .run::<V>();
                }
            }
        }
    }
}
