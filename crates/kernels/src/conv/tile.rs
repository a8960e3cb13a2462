//! The inner loop: a tile of pixels by vectors of output channels, held in registers while the products stream by.

use crate::Isa;
use crate::isa::with_simd;
use crate::simd::{Kernel, Simd, TileShape, Vector};

/// Most elements a register tile has on any instruction set.
pub(super) const TILE_MAX: usize = 448;

/// Where one tile reads and writes.
///
/// The products of one output are `rows` (kernel rows) of `taps` (kernel columns) of `run` adjacent inputs.
pub(crate) struct TileArgs {
    /// First input of the first pixel.
    pub(crate) x: *const f32,
    /// Between neighbouring pixels of the tile.
    pub(crate) pixel_step: usize,
    pub(crate) rows: usize,
    pub(crate) row_step: usize,
    pub(crate) taps: usize,
    pub(crate) tap_step: usize,
    pub(crate) run: usize,
    /// First vector's weights.
    pub(crate) weights: *const f32,
    /// Between the weights of neighbouring vectors.
    pub(crate) vector_step: usize,
    pub(crate) bias: *const f32,
    /// Receives `[MR, NV, LANES]`.
    pub(crate) out: *mut f32,
}

/// Computes one tile.
///
/// # Safety
/// Every input, weight, bias and output that the arguments describe for the tile's size is inside live memory that
/// nobody else writes.
pub(crate) type TileFn<S> = unsafe fn(S, &TileArgs);

struct Tile<'a, const MR: usize, const NV: usize>(&'a TileArgs);

/// One instance of the inner loop.
///
/// # Safety
/// As [`TileFn`].
pub(crate) unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(s: S, args: &TileArgs) {
    s.enter(Tile::<MR, NV>(args));
}

impl<const MR: usize, const NV: usize> Kernel for Tile<'_, MR, NV> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let args = self.0;
        // SAFETY: `tile`'s caller vouches for all memory that the arguments describe.
        unsafe {
            let mut acc = [[s.splat(0.0); NV]; MR];
            for v in 0..NV {
                let bias = s.load(args.bias.add(v * S::LANES));
                for row in &mut acc {
                    row[v] = bias;
                }
            }
            let step = args.pixel_step;
            let mut w = args.weights;
            for row in 0..args.rows {
                for tap in 0..args.taps {
                    let mut x = args.x.add(row * args.row_step + tap * args.tap_step);
                    for _ in 0..args.run {
                        let mut weights = [s.splat(0.0); NV];
                        for (v, weight) in weights.iter_mut().enumerate() {
                            *weight = s.load(w.add(v * args.vector_step));
                        }
                        for m in 0..MR {
                            let input = s.splat(*x.add(m * step));
                            for v in 0..NV {
                                acc[m][v] = input.mul_add(weights[v], acc[m][v]);
                            }
                        }
                        x = x.add(1);
                        w = w.add(S::LANES);
                    }
                }
            }
            for m in 0..MR {
                for v in 0..NV {
                    acc[m][v].store(args.out.add((m * NV + v) * S::LANES));
                }
            }
        }
    }
}

/// The register tile of a convolution and what spoke for it.
#[derive(Clone, Debug, PartialEq)]
pub struct TileChoice {
    /// Pixels.
    pub mr: usize,
    /// Output channels.
    pub nr: usize,
    /// Expected share of the processor's peak.
    pub score: f32,
    /// Name of the kernel.
    pub name: String,
    pub(super) nv: usize,
}

/// Expected cost of one product of a tile in units of one vector multiply-add: the multiply-adds, never fewer than the
/// pipeline needs to hide their latency, and a share of the loads that feed them.
fn cost(mr: f32, nv: f32) -> f32 {
    (mr * nv).max(8.0) + 0.25 * nv + 0.05 * mr
}

/// Expected share of the peak when `width` pixels by `vectors` vectors are cut into even tiles of this shape.
fn score(shape: &TileShape, width: usize, vectors: usize) -> f32 {
    let tiles = width.div_ceil(shape.mr_max);
    let panels = vectors.div_ceil(shape.nv);
    let (mr, nv) = (width as f32 / tiles as f32, vectors as f32 / panels as f32);
    mr * nv / cost(mr, nv)
}

/// The best tile for rows of `width` pixels and `vectors` vectors of output channels.
pub(crate) fn choose(isa: Isa, width: usize, vectors: usize) -> TileChoice {
    fn best<S: Simd>(_: S, width: usize, vectors: usize) -> (TileShape, f32, usize) {
        let mut best = (S::TILES[0], 0.0, S::LANES);
        for shape in S::TILES {
            let score = score(shape, width, vectors);
            if score > best.1 {
                best = (*shape, score, S::LANES);
            }
        }
        best
    }
    let (shape, score, lanes) = with_simd!(isa, simd => best(simd, width.max(1), vectors.max(1)));
    let mr = width.div_ceil(width.div_ceil(shape.mr_max).max(1)).max(1);
    let nr = shape.nv * lanes;
    TileChoice {
        mr,
        nr,
        score,
        name: format!("conv_f32_{mr}x{nr}_{isa}"),
        nv: shape.nv,
    }
}
