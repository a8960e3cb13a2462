//! The inner loop: a tile of pixels by channels held in registers.

use crate::vector::F32Vector;

/// Most accumulators of any tile, in elements: the scratch a tile's result needs.
pub(crate) const TILE_ELEMENTS: usize = 28 * 16;

/// One tile: where its pixels and weights lie.
pub(crate) struct Tile {
    /// First pixel's first tap.
    pub(crate) x: *const f32,
    /// Elements between neighbouring pixels of the tile.
    pub(crate) x_step: usize,
    /// Weights `[taps_h][taps_w][run][nr]`.
    pub(crate) weight: *const f32,
    /// Initial value of each channel.
    pub(crate) bias: *const f32,
    pub(crate) taps_h: usize,
    pub(crate) taps_w: usize,
    /// Contiguous values per tap.
    pub(crate) run: usize,
    /// Elements between kernel rows and kernel columns.
    pub(crate) tap_h_step: usize,
    pub(crate) tap_w_step: usize,
}

/// Stores `[mr][nr]` sums.
pub(crate) type TileFn = unsafe fn(&Tile, *mut f32);

/// # Safety
/// `V`'s instruction set; every tap of `MR` pixels, the weights, the bias and `MR * NV * LANES` outputs are valid.
#[inline(always)]
pub(crate) unsafe fn tile<V: F32Vector, const MR: usize, const NV: usize>(
    args: &Tile,
    out: *mut f32,
) {
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
                let x = args
                    .x
                    .add(tap_h * args.tap_h_step + tap_w * args.tap_w_step);
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
                sum.store(out.add((m * NV + n) * V::LANES));
            }
        }
    }
}
