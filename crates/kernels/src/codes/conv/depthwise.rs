//! Convolution of every channel of codes by itself.

use super::finish::{Finish, Out};
use super::pack::PackedQConv;
use super::{QEpilogue, QOut};
use crate::codes::vector::{CodeBody, CodeVector, dispatch_codes, widen_part};
use crate::nest::Base;
use crate::vector::Vector;
use crate::{Context, View};

/// Pixels that share a load of the weights.
const PIXELS: usize = 4;

struct Row<'a> {
    conv: &'a PackedQConv,
    codes: Base<u8>,
    y_base: Base<u8>,
    y_bytes: usize,
    window: &'a View,
    y: &'a View,
    residual: Option<View>,
    finish: &'a Finish<'a>,
    row: usize,
}

/// The convolution over the widened view.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedQConv,
    window: &View,
    y: &QOut,
    epilogue: &QEpilogue,
) {
    let codes = Base(ctx.codes.as_mut_ptr());
    let (y_base, y_bytes) = match y {
        QOut::Codes { .. } => (codes, 1),
        QOut::Float { .. } => (Base(ctx.arena.as_mut_ptr().cast::<u8>()), 4),
    };
    let finish = &Finish::new(conv, y, epilogue);
    let y = y.view();
    let residual = epilogue.residual.map(|(view, _)| view);
    ctx.pool.run(y.shape[0] * y.shape[2], &|row| {
        let row = Row {
            conv,
            codes,
            y_base,
            y_bytes,
            window,
            y,
            residual,
            finish,
            row,
        };
        // SAFETY: views and instruction set are checked; rows are disjoint.
        unsafe { dispatch_codes(conv.isa, &row) };
    });
}

impl CodeBody for Row<'_> {
    #[inline(always)]
    unsafe fn run<V: CodeVector>(&self) {
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
    unsafe fn pixels<V: CodeVector, const MR: usize>(&self, pixel: usize) {
        let (conv, y, window) = (self.conv, self.y, self.window);
        let size = &conv.window;
        let (image, oh) = (self.row / y.shape[2], self.row % y.shape[2]);
        let at = |v: &View, h: usize, w: usize| {
            v.offset + image * v.strides[0] + h * v.strides[2] + w * v.strides[3]
        };
        let x = at(window, oh * size.strides[0], pixel * size.strides[1]);
        let x_step = size.strides[1].wrapping_mul(window.strides[3]);
        let padded = conv.bias.len();
        let mut c = 0;
        while c < y.shape[1] {
            let left = y.shape[1] - c;
            // SAFETY: the caller's; the window covers every tap and channels stay in the view.
            unsafe {
                let mut acc = [V::load(conv.bias.as_ptr().add(c)); MR];
                for kh in 0..size.kernel[0] {
                    for kw in 0..size.kernel[1] {
                        let tap = kh * size.kernel[1] + kw;
                        let w = V::load(conv.depthwise.as_ptr().add(tap * padded + c));
                        let from = x
                            + kh * size.dilations[0] * window.strides[2]
                            + kw * size.dilations[1] * window.strides[3]
                            + c;
                        for (m, sum) in acc.iter_mut().enumerate() {
                            let codes: V = widen_part(self.codes.at(from + m * x_step), left);
                            *sum = sum.add(codes.mul(w));
                        }
                    }
                }
                let mut sums = [0i32; PIXELS * 16];
                for (m, sum) in acc.iter().enumerate() {
                    sum.store(sums.as_mut_ptr().add(m * V::F::LANES));
                }
                let residual = self.residual.as_ref();
                Out {
                    finish: self.finish,
                    sums: sums.as_ptr(),
                    multiplier: conv.multiplier.as_ptr().add(c),
                    width: V::F::LANES,
                    pixels: MR,
                    channels: left.min(V::F::LANES),
                    y: self.y_base.at((at(y, oh, pixel) + c) * self.y_bytes),
                    y_step: y.strides[3],
                    residual: residual.map_or(std::ptr::null(), |v| {
                        self.codes.at(at(v, oh, pixel) + c).cast_const()
                    }),
                    residual_step: residual.map_or(0, |v| v.strides[3]),
                }
                .run::<V>();
            }
            c += V::F::LANES;
        }
    }
}
