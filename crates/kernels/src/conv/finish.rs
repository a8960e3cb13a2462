//! From a tile's sums to stored pixels.

use super::beside::Beside;
use crate::conv::Epilogue;
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Activation, FakeQuantize, View};

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
    pub(crate) beside: Beside<Pixels>,
}

/// Pixels so many elements apart; null where there are none.
#[derive(Clone, Copy)]
pub(crate) struct Pixels {
    pub(crate) at: *mut f32,
    pub(crate) step: usize,
}

impl Pixels {
    /// Those of a view, if there is one.
    pub(crate) fn new(view: Option<&View>, at: impl Fn(&View) -> *mut f32) -> Pixels {
        view.map_or(Pixels { at: std::ptr::null_mut(), step: 0 }, |view| Pixels {
            at: at(view),
            step: view.strides[3],
        })
    }
}

impl F32Body for Out<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        // SAFETY: the caller's. One loop per activation, so that its constants stay in registers.
        unsafe {
            if !self.beside.slope.at.is_null() {
                return match self.finish.activation {
                    Activation::Silu => self.each(
                        #[inline(always)]
                        |v: V| Activation::Silu.with_slope(v),
                    ),
                    other => self.each(
                        #[inline(always)]
                        |v: V| other.with_slope(v),
                    ),
                };
            }
            match self.finish.activation {
                Activation::Identity => self.each(
                    #[inline(always)]
                    |v: V| [v],
                ),
                Activation::Silu => self.each(
                    #[inline(always)]
                    |v: V| [Activation::Silu.apply(v)],
                ),
                Activation::Relu => self.each(
                    #[inline(always)]
                    |v: V| [Activation::Relu.apply(v)],
                ),
                Activation::Sigmoid => self.each(
                    #[inline(always)]
                    |v: V| [Activation::Sigmoid.apply(v)],
                ),
                other => self.each(
                    #[inline(always)]
                    |v: V| [other.apply(v)],
                ),
            }
        }
    }
}

impl Out<'_> {
    /// Stores what `f` makes of each sum: the result, before what is beside it, and perhaps the slope.
    #[inline(always)]
    unsafe fn each<V: F32Vector, const N: usize>(&self, f: impl Fn(V) -> [V; N]) {
        let Beside { residual, factor, slope } = self.beside;
        // SAFETY: the caller's: sums, outputs and what is beside them are valid for these pixels and channels.
        unsafe {
            for pixel in 0..self.pixels {
                let (sums, y) =
                    (self.sums.add(pixel * self.width), self.y.add(pixel * self.y_step));
                let mut c = 0;
                while c < self.channels {
                    let left = self.channels - c;
                    let values = f(V::load(sums.add(c)));
                    let mut value = values[0];
                    if N == 2 {
                        store_part(values[N - 1], slope.at.add(pixel * slope.step + c), left);
                    }
                    if !residual.at.is_null() {
                        let from = residual.at.add(pixel * residual.step + c);
                        value = value.add(load_part(from, left));
                    }
                    if !factor.at.is_null() {
                        value = value.mul(load_part(factor.at.add(pixel * factor.step + c), left));
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
