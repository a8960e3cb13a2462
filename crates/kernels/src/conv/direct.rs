//! Dense and grouped convolution, and every other sum of products of that form.

use super::epilogue::Target;
use super::split::{Extents, Split, part};
use super::tile::{TILE_MAX, TileArgs, TileChoice};
use super::{ConvSpec, Epilogue, PackedConv, Packing, choose};
use crate::pointwise::{Map, WithMap};
use crate::simd::{Kernel, Simd};
use crate::{Context, View};
use std::ops::Range;

/// Tiles in a row of pixels that has no natural end.
const TILES_PER_ROW: usize = 6;

/// Steps from one image, row and pixel to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Steps {
    pub(crate) image: usize,
    pub(crate) row: usize,
    pub(crate) pixel: usize,
}

/// Rows of pixels times a matrix of weights, cut into tiles, panels and tasks.
///
/// The pointers are to the first pixel of the first row; an output's inputs lie at `x` plus kernel row, tap and run.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<'a> {
    pub(crate) x: *const f32,
    pub(crate) x_steps: Steps,
    pub(crate) y: *mut f32,
    pub(crate) y_steps: Steps,
    /// Null when nothing is added.
    pub(crate) residual: *const f32,
    pub(crate) residual_steps: Steps,
    /// Rows of all images, rows of one image, pixels of a row, pixels of the very last row.
    pub(crate) rows: usize,
    pub(crate) rows_per_image: usize,
    pub(crate) width: usize,
    pub(crate) last_width: usize,
    pub(crate) kernel_rows: usize,
    pub(crate) row_step: usize,
    pub(crate) taps: usize,
    pub(crate) tap_step: usize,
    pub(crate) run: usize,
    pub(crate) weights: *const f32,
    pub(crate) bias: *const f32,
    /// Groups of channels, each `channels` wide in `y` and `run` wide in `x`.
    pub(crate) groups: usize,
    pub(crate) channels: usize,
    pub(crate) epilogue: &'a Epilogue,
}

// SAFETY: the checked views vouch for the memory; tasks write disjoint rows and channels of `y` and only read the rest.
unsafe impl Sync for Gemm<'_> {}

impl Gemm<'_> {
    fn depth(&self) -> usize {
        self.kernel_rows * self.taps * self.run
    }

    /// Computes everything, on all threads.
    ///
    /// # Safety
    /// All memory that the fields describe is live, `y` is written by nobody else and read by nobody, except that
    /// `residual` may equal `y`.
    pub(crate) unsafe fn run(&self, ctx: &Context<'_>, tile: &TileChoice) {
        let lanes = ctx.isa.lanes();
        let vectors = self.channels.div_ceil(lanes);
        let panels = vectors.div_ceil(tile.nv);
        let split = Split::of(&Extents {
            rows: self.rows,
            panels,
            x_bytes: self.rows * self.x_steps.row.max(self.width) * size_of::<f32>(),
            weight_bytes: self.channels * self.depth() * size_of::<f32>(),
            macs: self.rows * self.width * self.channels * self.depth(),
        });
        let per_group = split.row_blocks * split.panel_blocks;
        ctx.pool.run(self.groups * per_group, &|task| {
            let (group, task) = (task / per_group, task % per_group);
            let (panel_block, row_block) = (task / split.row_blocks, task % split.row_blocks);
            ctx.isa.run(Block {
                gemm: self,
                group,
                vectors,
                panel_count: panels,
                panels: part(panels, split.panel_blocks, panel_block),
                rows: part(self.rows, split.row_blocks, row_block),
            });
        });
    }
}

/// One task.
struct Block<'a> {
    gemm: &'a Gemm<'a>,
    group: usize,
    vectors: usize,
    panel_count: usize,
    panels: Range<usize>,
    rows: Range<usize>,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.gemm.epilogue.activation.visit(s, self);
    }
}

#[repr(align(64))]
struct TileBuffer([f32; TILE_MAX]);

impl<S: Simd> WithMap<S> for Block<'_> {
    #[inline(always)]
    fn run<M: Map>(self, s: S, map: M) {
        let gemm = self.gemm;
        let mut buffer = TileBuffer([0.0; TILE_MAX]);
        for panel in self.panels.clone() {
            let vectors = part(self.vectors, self.panel_count, panel);
            let (first, nv) = (vectors.start, vectors.len());
            let packed = self.group * self.vectors + first;
            let mr_max = S::TILES
                .iter()
                .find(|shape| shape.nv == nv)
                .map_or(1, |shape| shape.mr_max);
            let channels = (gemm.channels - first * S::LANES).min(nv * S::LANES);
            for row in self.rows.clone() {
                let (image, at) = (row / gemm.rows_per_image, row % gemm.rows_per_image);
                let width = if row + 1 == gemm.rows {
                    gemm.last_width
                } else {
                    gemm.width
                };
                let tiles = width.div_ceil(mr_max);
                // SAFETY: `Gemm::run`'s caller vouches for all memory; tiles and panels stay within the row's pixels and
                // the group's channels, and the buffer holds the largest tile.
                unsafe {
                    let offset = |steps: &Steps| image * steps.image + at * steps.row;
                    let x = gemm.x.add(offset(&gemm.x_steps) + self.group * gemm.run);
                    let channel = self.group * gemm.channels + first * S::LANES;
                    let y = gemm.y.add(offset(&gemm.y_steps) + channel);
                    for index in 0..tiles {
                        let pixels = part(width, tiles, index);
                        let args = TileArgs {
                            x: x.add(pixels.start * gemm.x_steps.pixel),
                            pixel_step: gemm.x_steps.pixel,
                            rows: gemm.kernel_rows,
                            row_step: gemm.row_step,
                            taps: gemm.taps,
                            tap_step: gemm.tap_step,
                            run: gemm.run,
                            weights: gemm.weights.add(packed * gemm.depth() * S::LANES),
                            vector_step: gemm.depth() * S::LANES,
                            bias: gemm.bias.add(packed * S::LANES),
                            out: buffer.0.as_mut_ptr(),
                        };
                        s.tile(nv, pixels.len())(s, &args);
                        let residual = if gemm.residual.is_null() {
                            gemm.residual
                        } else {
                            let start = pixels.start * gemm.residual_steps.pixel;
                            gemm.residual
                                .add(offset(&gemm.residual_steps) + channel + start)
                        };
                        let target = Target {
                            y: y.add(pixels.start * gemm.y_steps.pixel),
                            y_step: gemm.y_steps.pixel,
                            residual,
                            residual_step: gemm.residual_steps.pixel,
                            channels,
                            fake_quantize: gemm.epilogue.fake_quantize,
                        };
                        target.store(s, map, buffer.0.as_ptr(), (pixels.len(), nv));
                    }
                }
            }
        }
    }
}

/// Steps of an NHWC view.
pub(super) fn steps(view: &View) -> Steps {
    Steps {
        image: view.strides[0],
        row: view.strides[2],
        pixel: view.strides[3],
    }
}

/// Whether pixels follow at a constant step through all rows and images.
fn is_flat(view: &View) -> bool {
    let [n, _, h, w] = [0, 1, 2, 3].map(|axis| view.shape[axis]);
    let row = view.strides[3].saturating_mul(w);
    (h == 1 || view.strides[2] == row) && (n == 1 || view.strides[0] == row.saturating_mul(h))
}

/// Pixels that tiles are cut from: the image row, or all pixels where no halo interrupts them.
pub(super) fn row_width(spec: &ConvSpec, views: &[&View]) -> usize {
    let y = views[0];
    let pointwise = spec.kernel_shape == [1, 1] && spec.strides == [1, 1] && spec.pads == [0; 4];
    if pointwise && views.iter().all(|view| is_flat(view)) {
        y.shape[0] * y.shape[2] * y.shape[3]
    } else {
        y.shape[3]
    }
}

pub(super) fn run(
    ctx: &mut Context<'_>,
    packed: &PackedConv,
    x: &View,
    y: &View,
    epilogue: &Epilogue,
) {
    let spec = &packed.spec;
    let packing = Packing::of(spec, ctx.isa.lanes());
    let residual = epilogue.residual;
    let mut pixels = row_width(spec, &[y, x, &residual.unwrap_or(*y)]);
    let flat = pixels != y.shape[3] || y.shape[0] * y.shape[2] == 1;
    let tile = choose(ctx.isa, pixels, packing.vectors);
    let (mut rows, mut rows_per_image) = (y.shape[0] * y.shape[2], y.shape[2]);
    let mut last_width = y.shape[3];
    let [mut x_steps, mut y_steps, mut residual_steps] =
        [*x, *y, residual.unwrap_or(*y)].map(|view| steps(&view));
    x_steps.row *= spec.strides[0];
    x_steps.pixel *= spec.strides[1];
    if flat {
        let total = pixels;
        rows = total.div_ceil(tile.mr * TILES_PER_ROW);
        pixels = total.div_ceil(rows);
        rows = total.div_ceil(pixels);
        rows_per_image = rows;
        last_width = total - (rows - 1) * pixels;
        for steps in [&mut x_steps, &mut y_steps, &mut residual_steps] {
            steps.row = steps.pixel * pixels;
        }
    }
    let [kh, kw] = spec.kernel_shape;
    let inputs = spec.in_channels / spec.group;
    let tap_step = spec.dilations[1] * x.strides[3];
    // Taps without a gap are one long run.
    let (taps, run) = if kw > 1 && spec.group == 1 && tap_step == inputs {
        (1, kw * inputs)
    } else {
        (kw, inputs)
    };
    let base = ctx.arena.as_mut_ptr();
    // SAFETY: the views' offsets are inside the arena, the halo's first pixel too.
    let (x_first, y_first, residual_first) = unsafe {
        let lead = spec.pads[0] * x.strides[2] + spec.pads[1] * x.strides[3];
        let residual = residual.map_or(std::ptr::null(), |view| base.add(view.offset).cast_const());
        (
            base.add(x.offset - lead).cast_const(),
            base.add(y.offset),
            residual,
        )
    };
    let gemm = Gemm {
        x: x_first,
        x_steps,
        y: y_first,
        y_steps,
        residual: residual_first,
        residual_steps,
        rows,
        rows_per_image,
        width: pixels,
        last_width,
        kernel_rows: kh,
        row_step: spec.dilations[0] * x.strides[2],
        taps,
        tap_step,
        run,
        weights: packed.weights.as_ptr(),
        bias: packed.bias.as_ptr(),
        groups: spec.group,
        channels: spec.out_channels / spec.group,
        epilogue,
    };
    // SAFETY: `conv2d` has checked that all pixels, the halo's included, are inside the arena and that `y` is disjoint
    // from what is read, or equal to `residual`.
    unsafe { gemm.run(ctx, &tile) }
}
