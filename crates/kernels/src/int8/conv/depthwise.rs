//! INT8 convolution of every channel by itself.

use super::channel_weights::ChannelWeights;
use super::finish::{Finish, Out};
use super::pack::PackedQConv;
use super::{QEpilogue, QOut};
use crate::nest::Base;
use crate::vector::{F32Vector, I32Body, I32Vector};
use crate::{Context, View};

/// Pixels whose sums are finished together.
const PIXELS: usize = 16;

struct Row<'a> {
    conv: &'a PackedQConv,
    weights: &'a ChannelWeights,
    u8s: Base<u8>,
    y_base: Base<u8>,
    y_bytes: usize,
    window: &'a View,
    y: &'a View,
    residual: Option<View>,
    finish: &'a Finish<'a>,
    row: usize,
}

/// The convolution over all that its windows read.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedQConv,
    weights: &ChannelWeights,
    window: &View,
    y: &QOut,
    epilogue: &QEpilogue,
) {
    let u8s = Base(ctx.u8_arena.as_mut_ptr());
    let (y_base, y_bytes) = y.base(ctx);
    let finish = &Finish::new(conv, y, epilogue);
    let y = y.view();
    let residual = epilogue.residual.map(|residual| residual.view);
    ctx.pool.run(y.shape[0] * y.shape[2], &|row| {
        let row = Row { conv, weights, u8s, y_base, y_bytes, window, y, residual, finish, row };
        // SAFETY: the views are checked; rows are disjoint.
        unsafe { conv.isa.run_i32(&row) };
    });
}

impl I32Body for Row<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        // SAFETY: the caller's.
        unsafe {
            match self.weights.outputs {
                4 => self.blocks::<V, 4>(),
                2 => self.blocks::<V, 2>(),
                _ => self.blocks::<V, 1>(),
            }
        }
    }
}

impl Row<'_> {
    fn at(&self, view: &View, h: usize, w: usize) -> usize {
        let image = self.row / self.y.shape[2];
        view.offset + image * view.strides[0] + h * view.strides[2] + w * view.strides[3]
    }

    #[inline(always)]
    unsafe fn blocks<V: I32Vector, const P: usize>(&self) {
        let (y, block) = (self.y, 4 * V::F::LANES);
        let oh = self.row % y.shape[2];
        let mut sums = [0i32; PIXELS * 64];
        for c in (0..y.shape[1]).step_by(block) {
            let channels = (y.shape[1] - c).min(block);
            for first in (0..y.shape[3]).step_by(PIXELS) {
                let pixels = (y.shape[3] - first).min(PIXELS);
                // SAFETY: the caller's; channels and pixels lie inside the checked views.
                unsafe {
                    for pixel in (0..pixels).step_by(P) {
                        let to = sums.as_mut_ptr().add(pixel * block);
                        self.sums::<V, P>([oh, first + pixel, c], channels, to);
                    }
                    let residual = self.residual.as_ref();
                    Out {
                        finish: self.finish,
                        sums: sums.as_ptr(),
                        multiplier: self.conv.multiplier.as_ptr().add(c),
                        bias: self.conv.bias.as_ptr().add(c),
                        width: block,
                        pixels,
                        channels,
                        y: self.y_base.at((self.at(y, oh, first) + c) * self.y_bytes),
                        y_step: y.strides[3],
                        residual: residual.map_or(std::ptr::null(), |v| {
                            self.u8s.at(self.at(v, oh, first) + c).cast_const()
                        }),
                        residual_step: residual.map_or(0, |v| v.strides[3]),
                    }
                    .run::<V>();
                }
            }
        }
    }

    /// Sums of `P` neighbouring outputs; those beyond the row are of no use, nor read beyond it.
    #[inline(always)]
    unsafe fn sums<V: I32Vector, const P: usize>(
        &self,
        [oh, ow, c]: [usize; 3],
        channels: usize,
        to: *mut i32,
    ) {
        let (size, window, weights) = (&self.conv.geometry, self.window, self.weights);
        let column = size.dilations[1].wrapping_mul(window.strides[3]);
        let first = self.at(window, oh * size.strides[0], ow * size.strides[1]) + c;
        let last = if size.dilations[1] == 1 {
            (self.y.shape[3] - 1 - ow) * size.strides[1] + size.kernel[1] - 1
        } else {
            size.kernel[1] - 1
        };
        let bytes = V::WEIGHT_BYTES;
        let block = c / (4 * V::F::LANES);
        let per_row = weights.blocks4 * P * 4 * bytes;
        let mut weight = weights.data[block * size.kernel[0] * per_row..].as_ptr();
        // SAFETY: the caller's; columns end with the window, weights of others are zero.
        unsafe {
            let mut acc = [[V::splat(0); 4]; P];
            for kh in 0..size.kernel[0] {
                let row = first + kh * size.dilations[0] * window.strides[2];
                for q in 0..weights.blocks4 {
                    let mut pixels = [std::ptr::null::<u8>(); 4];
                    for (i, pixel) in pixels.iter_mut().enumerate() {
                        *pixel = self.u8s.at(row + (4 * q + i).min(last) * column);
                    }
                    let blocks4 = V::channel_blocks4(pixels, channels);
                    for acc in &mut acc {
                        for (sum, block4) in acc.iter_mut().zip(blocks4) {
                            *sum = sum.dot(block4, V::weights(weight));
                            weight = weight.add(bytes);
                        }
                    }
                }
            }
            let start = self.conv.start.as_ptr().add(c);
            for (pixel, acc) in acc.into_iter().enumerate() {
                for (v, sum) in V::in_order(acc).into_iter().enumerate() {
                    let at = v * V::F::LANES;
                    let to = to.add(pixel * 4 * V::F::LANES + at);
                    sum.add(V::load(start.add(at))).store(to);
                }
            }
        }
    }
}
