//! The inner loop: a tile of pixels by channels held in registers, from its taps to stored quantized values.

use super::finish::{Finish, Out};
use super::weights::Tail;
use crate::int8::vector::I32Vector;
use crate::vector::F32Vector;

/// Most accumulators of any tile, in elements: the scratch a tile's sums need.
pub(crate) const TILE_SUMS: usize = 24 * 16;

/// Neighbouring tiles: where their quantized values and weights lie, and where their results go.
pub(crate) struct QTile<'a> {
    pub(crate) tiles: usize,
    /// First pixel's first tap.
    pub(crate) x: *const u8,
    /// Quantized values between neighbouring pixels of the tile.
    pub(crate) x_step: usize,
    /// `[taps_h][taps_w][blocks of four and tail][nv]` weights of all lanes, or those of blocks of four in their sorted order:
    /// of pairs `[nv][2]` each, of others `[nv]`.
    pub(crate) weight: *const i8,
    /// Initial sums, and what makes f32 values of sums, `nv * LANES` each.
    pub(crate) start: *const i32,
    pub(crate) multiplier: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) taps_h: usize,
    pub(crate) taps_w: usize,
    /// Quantized values between kernel rows and kernel columns.
    pub(crate) tap_h_step: usize,
    pub(crate) tap_w_step: usize,
    /// Contiguous quantized values per tap.
    pub(crate) run: usize,
    pub(crate) tail: Tail,
    /// For sorted tiles: quantized values between the first pixel's first tap and each block of four; pairs, blocks of four and wide blocks of four.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "no sorted tiles")
    )]
    pub(crate) places: *const usize,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "no sorted tiles")
    )]
    pub(crate) counts: [usize; 3],
    pub(crate) finish: &'a Finish<'a>,
    pub(crate) channels: usize,
    /// u8 or f32, as `finish` says.
    pub(crate) y: *mut u8,
    /// Elements between pixels of y.
    pub(crate) y_step: usize,
    /// Bytes of an element of y.
    pub(crate) y_bytes: usize,
    /// Null where there is none.
    pub(crate) residual: *const u8,
    pub(crate) residual_step: usize,
    /// Finishes the sums.
    pub(crate) end: unsafe fn(&Out<'a>),
}

/// Repeats the body for each pixel of a tile in straight code: what a loop indexes does not stay in registers.
macro_rules! each_pixel {
    ($m:ident < $end:expr, $body:expr) => {
        each_pixel!(@ $m, $end, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23)
    };
    (@ $m:ident, $end:expr, $body:expr, $($index:literal)*) => {
        $(if $index < $end {
            let $m = $index;
            $body
        })*
    };
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod sorted;

/// Computes the tiles.
pub(crate) type QTileFn = unsafe fn(&QTile);

/// A tile's sums: `MR` pixels of `NV` vectors.
type Acc<V, const MR: usize, const NV: usize> = [[V; NV]; MR];

/// How a tile's sums are made.
pub(crate) trait Sums<V: I32Vector> {
    /// Adds all products of the tile whose first pixel's first tap is `first`.
    ///
    /// # Safety
    /// As [`tile`].
    unsafe fn sums<const MR: usize, const NV: usize>(
        acc: Acc<V, MR, NV>,
        args: &QTile,
        first: *const u8,
    ) -> Acc<V, MR, NV>;
}

/// Block of four after block of four, tap after tap.
pub(crate) struct Taps;

/// Tiles that are finished together.
const TILES: usize = 4;

/// Scratch for their sums.
#[repr(align(64))]
struct Scratch(
    #[expect(dead_code, reason = "filled through its pointer")] [i32; TILES * TILE_SUMS],
);

/// Sums stay in the first-level cache until a few tiles are finished together.
///
/// # Safety
/// `V`'s instruction set; every tap of the tiles of `MR` pixels, the weights of `NV` vectors, and the outputs are valid.
#[inline(always)]
pub(crate) unsafe fn tile<V: I32Vector, S: Sums<V>, const MR: usize, const NV: usize>(
    args: &QTile,
) {
    let mut scratch = std::mem::MaybeUninit::<Scratch>::uninit();
    let scratch = scratch.as_mut_ptr().cast::<i32>();
    let mut out = Out {
        finish: args.finish,
        sums: scratch,
        multiplier: args.multiplier,
        bias: args.bias,
        width: NV * V::F::LANES,
        pixels: 0,
        channels: args.channels,
        y: args.y,
        y_step: args.y_step,
        residual: args.residual,
        residual_step: args.residual_step,
    };
    for index in 0..args.tiles {
        let x = args.x.wrapping_add(index * MR * args.x_step);
        // SAFETY: the caller's; the scratch holds the sums of so many of the largest tile.
        unsafe {
            let start = std::array::from_fn(|n| V::load(args.start.add(n * V::F::LANES)));
            let sums = S::sums::<MR, NV>([start; MR], args, x);
            let to = scratch.add(out.pixels * out.width);
            each_pixel!(
                m < MR,
                for (n, sum) in sums[m].iter().enumerate() {
                    sum.store(to.add((m * NV + n) * V::F::LANES));
                }
            );
            out.pixels += MR;
            if index + 1 == args.tiles || (index + 1) % TILES == 0 {
                (args.end)(&out);
                out.y = out.y.wrapping_add(out.pixels * args.y_step * args.y_bytes);
                out.residual = out.residual.wrapping_add(out.pixels * args.residual_step);
                out.pixels = 0;
            }
        }
    }
}

impl<V: I32Vector> Sums<V> for Taps {
    #[inline(always)]
    unsafe fn sums<const MR: usize, const NV: usize>(
        mut acc: Acc<V, MR, NV>,
        args: &QTile,
        first: *const u8,
    ) -> Acc<V, MR, NV> {
        // SAFETY: the caller's.
        unsafe {
            let mut weight = args.weight;
            let step = V::WEIGHT_BYTES;
            for tap_h in 0..args.taps_h {
                for tap_w in 0..args.taps_w {
                    let from = tap_h * args.tap_h_step + tap_w * args.tap_w_step;
                    let mut x = first.add(from);
                    for _ in 0..args.run / 4 {
                        let w: [V::Weights; NV] =
                            std::array::from_fn(|n| V::weights(weight.add(n * step)));
                        each_pixel!(
                            m < MR,
                            add::<V, NV>(&mut acc[m], V::block4(x.add(m * args.x_step)), w)
                        );
                        x = x.add(4);
                        weight = weight.add(NV * step);
                    }
                    if args.tail == Tail::None {
                        continue;
                    }
                    let w: [V::Weights; NV] =
                        std::array::from_fn(|n| V::weights(weight.add(n * step)));
                    let last = first.add(from + args.run);
                    if args.tail == Tail::Overlap {
                        each_pixel!(
                            m < MR,
                            add::<V, NV>(
                                &mut acc[m],
                                V::block4(last.add(m * args.x_step).sub(4)),
                                w
                            )
                        );
                    } else {
                        each_pixel!(m < MR, {
                            let run = last.add(m * args.x_step).sub(args.run);
                            add::<V, NV>(&mut acc[m], V::block4_of(short_run(run, args.run)), w)
                        });
                    }
                    weight = weight.add(NV * step);
                }
            }
            acc
        }
    }
}

/// Adds the products of one pixel's block of four.
#[inline(always)]
unsafe fn add<V: I32Vector, const NV: usize>(
    acc: &mut [V; NV],
    block4: V::Block4,
    weights: [V::Weights; NV],
) {
    for (sum, w) in acc.iter_mut().zip(weights) {
        // SAFETY: the caller's.
        *sum = unsafe { sum.dot(block4, w) };
    }
}

/// A block of four of one to three quantized values; others in it are quantized values of the run, whose weights are zero.
#[inline(always)]
unsafe fn short_run(x: *const u8, run: usize) -> u32 {
    // SAFETY: the caller's: `run` valid values.
    unsafe {
        let (a, b, c) = (*x, *x.add(usize::from(run > 1)), *x.add(run - 1));
        u32::from_le_bytes([a, b, c, 0])
    }
}
