//! The inner loop: a tile of pixels by channels held in registers.

use super::tile_table::{MOST_PIXELS, tile_table};
use crate::Isa;
use crate::isa::F32Visitor;
use crate::vector::{F32Body, F32Vector};
use std::marker::PhantomData;

/// Most accumulators of any tile, in elements: the scratch that a tile's sums need.
pub(crate) const TILE_ELEMENTS: usize = 28 * 16;

/// One tile: where its pixels and weights lie.
pub(crate) struct Tile {
    /// First pixel's first tap.
    pub(crate) x: *const f32,
    /// Elements between neighbouring pixels of the tile.
    pub(crate) x_step: usize,
    /// Weights `[taps_h][taps_w][run][vectors * LANES]`.
    pub(crate) weight: *const f32,
    /// Initial value of each channel.
    pub(crate) bias: *const f32,
    pub(crate) taps_h: usize,
    pub(crate) taps_w: usize,
    /// Contiguous values per tap.
    pub(crate) run: usize,
    /// Elements between kernel rows, and between the taps of a row.
    pub(crate) tap_steps: [usize; 2],
}

/// Stores a tile's sums, `[pixels][vectors * LANES]`.
///
/// # Safety
/// Every tap of the pixels, the weights, the bias and the sums are valid.
pub(crate) type TileFn = unsafe fn(&Tile, *mut f32);

/// The function for tiles of so many vectors and pixels, which must be among the instruction set's
/// [`tiles`](F32Vector::TILES).
pub(crate) fn tile_fn(isa: Isa, vectors: usize, pixels: usize) -> TileFn {
    struct Find(usize, usize);
    impl F32Visitor for Find {
        type Output = TileFn;
        unsafe fn visit<V: F32Vector>(self) -> TileFn {
            Table::<V>::TILES[self.0 - 1][self.1 - 1]
        }
    }
    isa.visit_f32(Find(vectors, pixels))
}

struct Table<V>(PhantomData<V>);

impl<V: F32Vector> Table<V> {
    /// `[vectors - 1][pixels - 1]`.
    const TILES: &'static [[TileFn; MOST_PIXELS]; 4] = tile_table!(run, V);
}

/// The body of one tile.
struct Sums<'a, const MR: usize, const NV: usize> {
    args: &'a Tile,
    sums: *mut f32,
}

/// # Safety
/// As [`TileFn`], and the processor executes `V`'s instruction set.
unsafe fn run<V: F32Vector, const MR: usize, const NV: usize>(args: &Tile, sums: *mut f32) {
    // Nothing is compiled for tiles that the registers do not hold.
    if const { NV <= V::TILES.len() && MR <= V::TILES[NV - 1] } {
        // SAFETY: the caller's.
        unsafe { V::run(&Sums::<MR, NV> { args, sums }) }
    } else {
        unreachable!("the instruction set has no tile of {MR} pixels by {NV} vectors")
    }
}

impl<const MR: usize, const NV: usize> F32Body for Sums<'_, MR, NV> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let args = self.args;
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [[V::splat(0.0); NV]; MR];
            for n in 0..NV {
                let bias = V::load(args.bias.add(n * V::LANES));
                for row in &mut acc {
                    row[n] = bias;
                }
            }
            let mut weight = args.weight;
            for tap_h in 0..args.taps_h {
                for tap_w in 0..args.taps_w {
                    let tap = tap_h * args.tap_steps[0] + tap_w * args.tap_steps[1];
                    let x = args.x.add(tap);
                    for i in 0..args.run {
                        let mut w = [V::splat(0.0); NV];
                        for (n, w) in w.iter_mut().enumerate() {
                            *w = V::load(weight.add(n * V::LANES));
                        }
                        for (m, row) in acc.iter_mut().enumerate() {
                            let value = V::splat(*x.add(m * args.x_step + i));
                            for (sum, w) in row.iter_mut().zip(w) {
                                *sum = value.fma(w, *sum);
                            }
                        }
                        weight = weight.add(NV * V::LANES);
                    }
                }
            }
            for (m, row) in acc.iter().enumerate() {
                for (n, sum) in row.iter().enumerate() {
                    sum.store(self.sums.add((m * NV + n) * V::LANES));
                }
            }
        }
    }
}
