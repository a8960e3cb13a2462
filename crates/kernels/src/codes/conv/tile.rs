//! The inner loop: a tile of pixels by channels held in registers, from its taps to stored codes.

use super::finish::Finish;
use crate::QActivation;
use crate::codes::STEPS_MAX;
use crate::codes::vector::{CodeVector, widen_part};
use crate::vector::Vector;

/// Most accumulators of any tile, in elements: the scratch a tile's sums need.
pub(crate) const TILE_SUMS: usize = 24 * 16;

/// What remains of a tap's run after its full quads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    None,
    /// One to three codes, read as the run's last four: weights of those already counted are zero.
    Overlap,
    /// A run of one to three codes.
    Short,
}

/// One tile: where its codes and weights lie, and where its results go.
pub(crate) struct CodeTile<'a> {
    /// First pixel's first tap.
    pub(crate) x: *const u8,
    /// Codes between neighbouring pixels of the tile.
    pub(crate) x_step: usize,
    /// `[taps_h][taps_w][quads and tail][nv]` weights of all lanes.
    pub(crate) weight: *const i8,
    /// Initial sums and their steps' real value, `nv * LANES` each.
    pub(crate) bias: *const i32,
    pub(crate) multiplier: *const f32,
    pub(crate) taps_h: usize,
    pub(crate) taps_w: usize,
    /// Codes between kernel rows and kernel columns.
    pub(crate) tap_h_step: usize,
    pub(crate) tap_w_step: usize,
    /// Contiguous codes per tap.
    pub(crate) run: usize,
    pub(crate) tail: Tail,
    pub(crate) finish: &'a Finish<'a>,
    pub(crate) channels: usize,
    /// Codes or reals, as `finish` says.
    pub(crate) y: *mut u8,
    /// Elements between pixels of y.
    pub(crate) y_step: usize,
    /// Null where there is none.
    pub(crate) residual: *const u8,
    pub(crate) residual_step: usize,
    /// Where sums go, `[mr][nv * LANES]`, unless the tile finishes them itself.
    pub(crate) sums: *mut i32,
}

/// Computes one tile.
pub(crate) type CodeTileFn = unsafe fn(&CodeTile);

/// # Safety
/// `V`'s instruction set; every tap of `MR` pixels, the weights of `NV` vectors, and the outputs are valid.
#[inline(always)]
pub(crate) unsafe fn tile<V: CodeVector, const MR: usize, const NV: usize>(args: &CodeTile) {
    // SAFETY: the caller's.
    unsafe {
        let sums = sums::<V, MR, NV>(args);
        if args.finish.in_registers {
            finish::<V, MR, NV>(args, sums);
        } else {
            for (m, row) in sums.iter().enumerate() {
                for (n, sum) in row.iter().enumerate() {
                    sum.store(args.sums.add((m * NV + n) * V::F::LANES));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn sums<V: CodeVector, const MR: usize, const NV: usize>(args: &CodeTile) -> [[V; NV]; MR] {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [[V::splat(0); NV]; MR];
        for n in 0..NV {
            let bias = V::load(args.bias.add(n * V::F::LANES));
            for row in &mut acc {
                row[n] = bias;
            }
        }
        let mut weight = args.weight;
        let step = 4 * V::F::LANES;
        for tap_h in 0..args.taps_h {
            for tap_w in 0..args.taps_w {
                let from = tap_h * args.tap_h_step + tap_w * args.tap_w_step;
                let mut x = args.x.add(from);
                for _ in 0..args.run / 4 {
                    let w: [V::Weights; NV] =
                        std::array::from_fn(|n| V::weights(weight.add(n * step)));
                    for (m, row) in acc.iter_mut().enumerate() {
                        let quad = V::quad(x.add(m * args.x_step));
                        for (sum, w) in row.iter_mut().zip(w) {
                            *sum = sum.dot(quad, w);
                        }
                    }
                    x = x.add(4);
                    weight = weight.add(NV * step);
                }
                if args.tail != Tail::None {
                    let w: [V::Weights; NV] =
                        std::array::from_fn(|n| V::weights(weight.add(n * step)));
                    let last = args.x.add(from + args.run);
                    for (m, row) in acc.iter_mut().enumerate() {
                        let at = last.add(m * args.x_step);
                        let quad = if args.tail == Tail::Overlap {
                            V::quad(at.sub(4))
                        } else {
                            V::quad_of(short_run(at.sub(args.run), args.run))
                        };
                        for (sum, w) in row.iter_mut().zip(w) {
                            *sum = sum.dot(quad, w);
                        }
                    }
                    weight = weight.add(NV * step);
                }
            }
        }
        acc
    }
}

/// A quad of one to three codes; others in it are codes of the run, whose weights are zero.
#[inline(always)]
unsafe fn short_run(x: *const u8, run: usize) -> u32 {
    // SAFETY: the caller's: `run` valid codes.
    unsafe {
        let (a, b, c) = (*x, *x.add(usize::from(run > 1)), *x.add(run - 1));
        u32::from_le_bytes([a, b, c, 0])
    }
}

/// SiLU and codes, without leaving the registers.
#[inline(always)]
unsafe fn finish<V: CodeVector, const MR: usize, const NV: usize>(
    args: &CodeTile,
    sums: [[V; NV]; MR],
) {
    // SAFETY: the caller's.
    unsafe {
        let finish = args.finish;
        let inv_scale = V::F::splat(finish.inv_scale);
        for (m, row) in sums.iter().enumerate() {
            let mut steps = *row;
            for (n, sum) in row.iter().enumerate() {
                let multiplier = V::F::load(args.multiplier.add(n * V::F::LANES));
                let mut value = QActivation::Silu.apply::<V>(sum.real().mul(multiplier));
                if !args.residual.is_null() {
                    let c = n * V::F::LANES;
                    let from = args.residual.add(m * args.residual_step + c);
                    // The last vector of a panel has at least one channel.
                    value = finish.add_residual::<V>(value, widen_part(from, args.channels - c));
                }
                steps[n] = V::round(value.mul(inv_scale).min(V::F::splat(STEPS_MAX)));
            }
            let to = args.y.add(m * args.y_step);
            V::store_codes(steps, finish.zero_point, to, args.channels);
        }
    }
}
