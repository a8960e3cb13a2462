//! f32 convolution of every channel by itself.

use super::pack::PackedConv;
use super::{Beside, Epilogue, Finish, Out, Pixels};
use crate::nest::Base;
use crate::vector::{F32Body, F32Vector, load_part};
use crate::{Context, View};

/// Pixels that share a load of the weights.
const PIXELS: usize = 4;

struct Row<'a> {
    conv: &'a PackedConv,
    base: Base,
    window: &'a View,
    y: &'a View,
    beside: Beside<Option<View>>,
    finish: &'a Finish,
    row: usize,
}

/// The convolution over all that its windows read.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedConv,
    window: &View,
    y: &View,
    epilogue: &Epilogue,
) {
    let base = Base(ctx.f32_arena.as_mut_ptr());
    let finish = &Finish::new(epilogue);
    let beside = epilogue.beside();
    ctx.pool.run(y.shape[0] * y.shape[2], &|row| {
        let row = Row { conv, base, window, y, beside, finish, row };
        // SAFETY: the views are checked; rows are disjoint.
        unsafe { conv.isa.run_f32(&row) };
    });
}

impl F32Body for Row<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let width = self.y.shape[3];
        let mut pixel = 0;
        while pixel < width {
            // SAFETY: the caller's.
            unsafe {
                if width - pixel >= PIXELS {
                    self.pixels::<V, PIXELS>(pixel);
                    pixel += PIXELS;
                } else {
                    self.pixels::<V, 1>(pixel);
                    pixel += 1;
                }
            }
        }
    }
}

impl Row<'_> {
    #[inline(always)]
    unsafe fn pixels<V: F32Vector, const MR: usize>(&self, pixel: usize) {
        let (conv, y, window) = (self.conv, self.y, self.window);
        let geometry = &conv.geometry;
        let (image, oh) = (self.row / y.shape[2], self.row % y.shape[2]);
        let at = |v: &View, h: usize, w: usize| {
            v.offset + image * v.strides[0] + h * v.strides[2] + w * v.strides[3]
        };
        let x = at(window, oh * geometry.strides[0], pixel * geometry.strides[1]);
        let x_step = geometry.strides[1].wrapping_mul(window.strides[3]);
        let padded = conv.bias.len();
        let mut c = 0;
        while c < y.shape[1] {
            let left = y.shape[1] - c;
            // SAFETY: the caller's; the window covers every tap and channels stay in the view.
            unsafe {
                let mut acc = [V::load(conv.bias.as_ptr().add(c)); MR];
                for kh in 0..geometry.kernel[0] {
                    for kw in 0..geometry.kernel[1] {
                        let tap = kh * geometry.kernel[1] + kw;
                        let w = V::load(conv.weight.as_ptr().add(tap * padded + c));
                        let from = x
                            + kh * geometry.dilations[0] * window.strides[2]
                            + kw * geometry.dilations[1] * window.strides[3]
                            + c;
                        for (m, sum) in acc.iter_mut().enumerate() {
                            *sum =
                                load_part::<V>(self.base.at(from + m * x_step), left).fma(w, *sum);
                        }
                    }
                }
                let mut sums = [0.0f32; PIXELS * 16];
                for (m, sum) in acc.iter().enumerate() {
                    sum.store(sums.as_mut_ptr().add(m * V::LANES));
                }
                Out {
                    finish: self.finish,
                    sums: sums.as_ptr(),
                    width: V::LANES,
                    pixels: MR,
                    channels: left.min(V::LANES),
                    y: self.base.at(at(y, oh, pixel) + c),
                    y_step: y.strides[3],
                    beside: self.beside.map(|view| {
                        Pixels::new(view.as_ref(), |v| self.base.at(at(v, oh, pixel) + c))
                    }),
                }
                .run::<V>();
            }
            c += V::LANES;
        }
    }
}
