//! The inner loop: a tile of pixels by channels held in registers, from its taps to stored results.

use super::finish::{Finish, Out};
use super::weights::Tail;
use crate::Isa;
use crate::conv::tile_table::{MOST_PIXELS, tile_table};
use crate::isa::I32Visitor;
use crate::vector::{F32Vector, I32Body, I32Vector};
use std::marker::PhantomData;

/// Most accumulators of any tile, in elements: the scratch that a tile's sums need.
const TILE_SUMS: usize = 24 * 16;

/// Neighbouring tiles: where their values and weights lie, and where their results go.
pub(crate) struct QTiles<'a> {
    pub(crate) count: usize,
    /// First pixel's first tap.
    pub(crate) x: *const u8,
    /// Values between neighbouring pixels of a tile.
    pub(crate) x_step: usize,
    /// `[taps_h][taps_w][blocks of four and tail][vectors]` weights of all lanes; where there are offsets, weights of
    /// blocks in their order: `[vectors][2]` of pairs, `[vectors]` of others.
    pub(crate) weight: *const i8,
    /// Initial sums, and what makes real values of sums: `vectors * LANES` each.
    pub(crate) start: *const i32,
    pub(crate) multiplier: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) taps_h: usize,
    pub(crate) taps_w: usize,
    /// Values between kernel rows, and between the taps of a row.
    pub(crate) tap_steps: [usize; 2],
    /// Contiguous values per tap.
    pub(crate) run: usize,
    pub(crate) tail: Tail,
    /// Values between the first pixel's first tap and each block of four, where these have an order of their own.
    pub(crate) offsets: *const usize,
    /// Blocks that have offsets: pairs summed in i16, blocks summed in i16 alone, blocks summed in i32.
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

mod sorted;

/// Computes tiles and stores their results.
///
/// # Safety
/// Every tap of the tiles' pixels, the weights of their vectors, and the outputs are valid.
pub(crate) type QTilesFn = unsafe fn(&QTiles);

/// The function for tiles of so many vectors and pixels, which must be among the instruction set's
/// [`tiles`](I32Vector::TILES); `sorted` where blocks have offsets, which needs [`I32Vector::SUMS_I16`].
pub(crate) fn tiles_fn(isa: Isa, vectors: usize, pixels: usize, sorted: bool) -> QTilesFn {
    struct Find {
        vectors: usize,
        pixels: usize,
        sorted: bool,
    }
    impl I32Visitor for Find {
        type Output = QTilesFn;
        unsafe fn visit<V: I32Vector>(self) -> QTilesFn {
            let table = if self.sorted {
                Table::<V, sorted::Sorted>::TILES
            } else {
                Table::<V, Taps>::TILES
            };
            table[self.vectors - 1][self.pixels - 1]
        }
    }
    isa.visit_i32(Find { vectors, pixels, sorted })
}

struct Table<V, S>(PhantomData<(V, S)>);

impl<V: I32Vector, S: Sums> Table<V, S> {
    /// `[vectors - 1][pixels - 1]`.
    const TILES: &'static [[QTilesFn; MOST_PIXELS]; 4] = tile_table!(run, V, S);
}

/// The body of tiles of `MR` pixels by `NV` vectors, whose sums are made as `S` says.
struct Body<'a, S, const MR: usize, const NV: usize>(&'a QTiles<'a>, PhantomData<S>);

/// # Safety
/// As [`QTilesFn`], and the processor executes `V`'s instruction set.
unsafe fn run<V: I32Vector, S: Sums, const MR: usize, const NV: usize>(args: &QTiles) {
    // Nothing is compiled for tiles that the registers do not hold.
    if const { NV <= V::TILES.len() && MR <= V::TILES[NV - 1] && (V::SUMS_I16 || !S::IN_I16) } {
        // SAFETY: the caller's.
        unsafe { V::run(&Body::<S, MR, NV>(args, PhantomData)) }
    } else {
        unreachable!("the instruction set has no tile of {MR} pixels by {NV} vectors")
    }
}

/// A tile's sums: `MR` pixels of `NV` vectors.
type Acc<V, const MR: usize, const NV: usize> = [[V; NV]; MR];

/// How a tile's sums are made.
trait Sums {
    /// Whether products are summed in i16 first.
    const IN_I16: bool;
    /// Adds all products of the tile whose first pixel's first tap is `first`.
    ///
    /// # Safety
    /// As [`QTilesFn`], and the processor executes `V`'s instruction set.
    unsafe fn sums<V: I32Vector, const MR: usize, const NV: usize>(
        acc: Acc<V, MR, NV>,
        args: &QTiles,
        first: *const u8,
    ) -> Acc<V, MR, NV>;
}

/// Tiles that are finished together.
const TILES: usize = 4;

/// Scratch for their sums.
#[repr(align(64))]
struct Scratch(
    #[expect(dead_code, reason = "filled through its pointer")] [i32; TILES * TILE_SUMS],
);

impl<S: Sums, const MR: usize, const NV: usize> I32Body for Body<'_, S, MR, NV> {
    /// Sums stay in the first-level cache until a few tiles are finished together.
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let args = self.0;
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
        for index in 0..args.count {
            let x = args.x.wrapping_add(index * MR * args.x_step);
            // SAFETY: the caller's; the scratch holds the sums of so many of the largest tile.
            unsafe {
                let start = std::array::from_fn(|n| V::load(args.start.add(n * V::F::LANES)));
                let sums = S::sums::<V, MR, NV>([start; MR], args, x);
                let to = scratch.add(out.pixels * out.width);
                each_pixel!(
                    m < MR,
                    for (n, sum) in sums[m].iter().enumerate() {
                        sum.store(to.add((m * NV + n) * V::F::LANES));
                    }
                );
                out.pixels += MR;
                if index + 1 == args.count || (index + 1) % TILES == 0 {
                    V::run(&out);
                    out.y = out.y.wrapping_add(out.pixels * args.y_step * args.y_bytes);
                    out.residual = out.residual.wrapping_add(out.pixels * args.residual_step);
                    out.pixels = 0;
                }
            }
        }
    }
}

/// Block of four after block of four, tap after tap.
struct Taps;

impl Sums for Taps {
    const IN_I16: bool = false;

    #[inline(always)]
    unsafe fn sums<V: I32Vector, const MR: usize, const NV: usize>(
        mut acc: Acc<V, MR, NV>,
        args: &QTiles,
        first: *const u8,
    ) -> Acc<V, MR, NV> {
        // SAFETY: the caller's.
        unsafe {
            let mut weight = args.weight;
            let step = V::WEIGHT_BYTES;
            for tap_h in 0..args.taps_h {
                for tap_w in 0..args.taps_w {
                    let from = tap_h * args.tap_steps[0] + tap_w * args.tap_steps[1];
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
                            add::<V, NV>(&mut acc[m], V::block4_from(short_run(run, args.run)), w)
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
fn add<V: I32Vector, const NV: usize>(
    acc: &mut [V; NV],
    values: V::Block4,
    weights: [V::Weights; NV],
) {
    for (sum, w) in acc.iter_mut().zip(weights) {
        *sum = sum.dot(values, w);
    }
}

/// One to three values as a block of four: others in it are values of the run again, whose weights are zero.
///
/// # Safety
/// `run` valid values.
#[inline(always)]
unsafe fn short_run(x: *const u8, run: usize) -> u32 {
    // SAFETY: the caller's.
    unsafe {
        let (a, b, c) = (*x, *x.add(usize::from(run > 1)), *x.add(run - 1));
        u32::from_le_bytes([a, b, c, 0])
    }
}
