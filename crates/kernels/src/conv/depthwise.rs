//! Depthwise convolution: vectors of channels, several pixels at a time so that a weight serves all of them.

use super::direct::steps;
use super::epilogue::Target;
use super::split::{Extents, Split, part};
use super::tile::TileChoice;
use super::{Epilogue, PackedConv};
use crate::isa::with_simd;
use crate::pointwise::{Map, WithMap};
use crate::simd::{Kernel, Simd, Vector};
use crate::{Context, Isa, View};
use std::ops::Range;

/// Pixels of one vector of channels that are summed together.
const PIXELS: usize = 8;

pub(super) fn tile_for(isa: Isa, width: usize, channels: usize) -> TileChoice {
    fn lanes<S: Simd>(_: S) -> usize {
        S::LANES
    }
    let nr = with_simd!(isa, simd => lanes(simd));
    let fill = |len: usize, tile: usize| len as f32 / (len.div_ceil(tile) * tile).max(1) as f32;
    TileChoice {
        mr: PIXELS,
        nr,
        score: fill(width, PIXELS) * fill(channels, nr),
        name: format!("depthwise_f32_{PIXELS}x{nr}_{isa}"),
        nv: 1,
    }
}

struct Depthwise<'a> {
    packed: &'a PackedConv,
    x: *const f32,
    y: *mut f32,
    residual: *const f32,
    x_view: &'a View,
    y_view: &'a View,
    epilogue: &'a Epilogue,
}

// SAFETY: `conv2d` has checked the memory; tasks write disjoint rows of `y` and only read the rest.
unsafe impl Sync for Depthwise<'_> {}

struct Block<'a> {
    layer: &'a Depthwise<'a>,
    rows: Range<usize>,
}

pub(super) fn run(
    ctx: &mut Context<'_>,
    packed: &PackedConv,
    x: &View,
    y: &View,
    epilogue: &Epilogue,
) {
    let [kh, kw] = packed.spec.kernel_shape;
    let base = ctx.arena.as_mut_ptr();
    let lead = packed.spec.pads[0] * x.strides[2] + packed.spec.pads[1] * x.strides[3];
    // SAFETY: the views' offsets are inside the arena, the halo's first pixel too.
    let layer = unsafe {
        Depthwise {
            packed,
            x: base.add(x.offset - lead),
            y: base.add(y.offset),
            residual: epilogue
                .residual
                .map_or(std::ptr::null(), |view| base.add(view.offset).cast_const()),
            x_view: x,
            y_view: y,
            epilogue,
        }
    };
    let rows = y.shape[0] * y.shape[2];
    let macs = y.elements() * kh * kw;
    // One multiply-add of a depthwise convolution costs about four of a dense one: each loads its input.
    let extents = Extents {
        rows,
        panels: 1,
        x_bytes: x.elements() * 4,
        weight_bytes: 0,
        macs: macs * 4,
    };
    let blocks = Split::of(&extents).row_blocks;
    let isa = ctx.isa;
    ctx.pool.run(blocks, &|task| {
        isa.run(Block {
            layer: &layer,
            rows: part(rows, blocks, task),
        })
    });
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.layer.epilogue.activation.visit(s, self);
    }
}

impl<S: Simd> WithMap<S> for Block<'_> {
    #[inline(always)]
    fn run<M: Map>(self, s: S, map: M) {
        let layer = self.layer;
        let (height, width) = (layer.y_view.shape[2], layer.y_view.shape[3]);
        for row in self.rows.clone() {
            let (image, oy) = (row / height, row % height);
            for ox in (0..width).step_by(PIXELS) {
                let pixels = PIXELS.min(width - ox);
                // SAFETY: `conv2d` has checked that these pixels, the halo's included, are inside the arena.
                unsafe {
                    if pixels == PIXELS {
                        layer.pixels::<S, M, PIXELS>(s, map, [image, oy, ox]);
                    } else {
                        for px in ox..ox + pixels {
                            layer.pixels::<S, M, 1>(s, map, [image, oy, px]);
                        }
                    }
                }
            }
        }
    }
}

impl Depthwise<'_> {
    /// All channels of `P` neighbouring pixels.
    ///
    /// # Safety
    /// The pixels are inside the output.
    #[inline(always)]
    unsafe fn pixels<S: Simd, M: Map, const P: usize>(
        &self,
        s: S,
        map: M,
        [image, oy, ox]: [usize; 3],
    ) {
        let spec = &self.packed.spec;
        let [kh, kw] = spec.kernel_shape;
        let (x_steps, y_steps) = (steps(self.x_view), steps(self.y_view));
        let pixel_step = spec.strides[1] * x_steps.pixel;
        // SAFETY: `conv2d` has checked that all taps of these pixels are inside the arena; loads and stores of a partial
        // vector touch its channels only.
        unsafe {
            let at = image * x_steps.image + oy * spec.strides[0] * x_steps.row + ox * pixel_step;
            let residual = match &self.epilogue.residual {
                Some(view) => {
                    let r = steps(view);
                    (
                        self.residual
                            .add(image * r.image + oy * r.row + ox * r.pixel),
                        r.pixel,
                    )
                }
                None => (std::ptr::null(), 0),
            };
            let target = Target {
                y: self
                    .y
                    .add(image * y_steps.image + oy * y_steps.row + ox * y_steps.pixel),
                y_step: y_steps.pixel,
                residual: residual.0,
                residual_step: residual.1,
                channels: spec.out_channels,
                fake_quantize: self.epilogue.fake_quantize,
            };
            let mut weights = self.packed.weights.as_ptr();
            for channel in (0..spec.out_channels).step_by(S::LANES) {
                let lanes = S::LANES.min(spec.out_channels - channel);
                let mut acc = [s.load(self.packed.bias.as_ptr().add(channel)); P];
                for ky in 0..kh {
                    for kx in 0..kw {
                        let w = s.load(weights);
                        weights = weights.add(S::LANES);
                        let tap = ky * spec.dilations[0] * x_steps.row
                            + kx * spec.dilations[1] * x_steps.pixel;
                        let x = self.x.add(at + tap + channel);
                        for (p, sum) in acc.iter_mut().enumerate() {
                            let input = x.add(p * pixel_step);
                            let input = if lanes == S::LANES {
                                s.load(input)
                            } else {
                                s.load_first(input, lanes)
                            };
                            *sum = input.mul_add(w, *sum);
                        }
                    }
                }
                for (p, &sum) in acc.iter().enumerate() {
                    target.store_vector(s, map, sum, (p, channel, lanes));
                }
            }
        }
    }
}
