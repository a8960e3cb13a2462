//! From a tile's sums to stored pixels.

use crate::conv::Epilogue;
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Activation, FakeQuantize};

/// What the epilogue does, free of views.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    pub(crate) activation: Activation,
    pub(crate) fake_quantize: Option<FakeQuantize>,
}

impl Finish {
    pub(crate) fn new(epilogue: &Epilogue) -> Finish {
        Finish { activation: epilogue.activation, fake_quantize: epilogue.fake_quantize }
    }
}

/// One tile's sums, `[pixels][vectors * LANES]`, and where they go.
pub(crate) struct Out<'a> {
    pub(crate) finish: &'a Finish,
    pub(crate) sums: *const f32,
    /// Elements of `sums` per pixel.
    pub(crate) width: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    pub(crate) y: *mut f32,
    pub(crate) y_step: usize,
    /// Null where there is none.
    pub(crate) residual: *const f32,
    pub(crate) residual_step: usize,
}

impl F32Body for Out<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        // SAFETY: the caller's. One loop per activation, so that its constants stay in registers.
        unsafe {
            match self.finish.activation {
                Activation::Identity => self.each(
                    #[inline(always)]
                    |v: V| v,
                ),
                Activation::Silu => self.each(
                    #[inline(always)]
                    |v: V| Activation::Silu.apply(v),
                ),
                Activation::Relu => self.each(
                    #[inline(always)]
                    |v: V| Activation::Relu.apply(v),
                ),
                Activation::Sigmoid => self.each(
                    #[inline(always)]
                    |v: V| Activation::Sigmoid.apply(v),
                ),
                other => self.each(
                    #[inline(always)]
                    |v: V| other.apply(v),
                ),
            }
        }
    }
}

impl Out<'_> {
    #[inline(always)]
    unsafe fn each<V: F32Vector>(&self, f: impl Fn(V) -> V) {
        // SAFETY: the caller's: sums, outputs and residual are valid for these pixels and channels.
        unsafe {
            for pixel in 0..self.pixels {
                let (sums, y) =
                    (self.sums.add(pixel * self.width), self.y.add(pixel * self.y_step));
                let mut c = 0;
                while c < self.channels {
                    let left = self.channels - c;
                    let mut value = f(V::load(sums.add(c)));
                    if !self.residual.is_null() {
                        let from = self.residual.add(pixel * self.residual_step + c);
                        value = value.add(load_part(from, left));
                    }
                    if let Some(q) = &self.finish.fake_quantize {
                        value = q.apply(value);
                    }
                    store_part(value, y.add(c), left);
                    c += V::LANES;
                }
            }
        }
    }
}
