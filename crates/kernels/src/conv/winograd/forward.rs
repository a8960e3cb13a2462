//! Patches to products to outputs.

use super::transforms::{self, PATCH, POSITIONS, TILE, square};
use super::{Grid, LEAST_TILES, PANEL_CHANNELS, Patches, Transformed, block_limits, padded};
use crate::conv::Epilogue;
use crate::conv::beside::Beside;
use crate::conv::finish::{Finish, Out, Pixels};
use crate::conv::pack::PackedConv;
use crate::conv::panels::Panel;
use crate::conv::tile::{Tile, tile_fn};
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector};
use crate::{Context, KernelError, View};
use std::ops::Range;

/// The convolution over all that its windows read.
///
/// # Errors
/// `Memory` when there is none for the blocks.
pub(in crate::conv) fn run(
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
