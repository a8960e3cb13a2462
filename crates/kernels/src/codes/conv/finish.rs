//! From a tile's sums to codes or reals.

use super::{QEpilogue, QOut};
use crate::QActivation;
use crate::codes::convert::reals;
use crate::codes::vector::{CodeBody, CodeVector, Pixels, widen_part};
use crate::codes::{CodeParams, CodeTable, STEPS_MAX};
use crate::vector::{Vector, store_part};

/// What the epilogue does, free of views.
pub(crate) struct Finish<'a> {
    activation: QActivation,
    table: Option<&'a CodeTable>,
    residual: CodeParams,
    /// Codes, or reals.
    codes: bool,
    pub(crate) inv_scale: f32,
    pub(crate) zero_point: u8,
}

impl Finish<'_> {
    pub(crate) fn new<'a>(y: &QOut, epilogue: &QEpilogue<'a>) -> Finish<'a> {
        let one = CodeParams {
            scale: 1.0,
            zero_point: 0,
        };
        let (codes, params) = match y {
            QOut::Codes { params, .. } => (true, *params),
            QOut::Float { .. } => (false, one),
        };
        Finish {
            activation: epilogue.activation,
            table: epilogue.table,
            residual: epilogue.residual.map_or(one, |(_, params)| params),
            codes,
            inv_scale: 1.0 / params.scale,
            zero_point: params.zero_point,
        }
    }

    /// # Safety
    /// Needs `V`'s instruction set.
    #[inline(always)]
    pub(crate) unsafe fn add_residual<V: CodeVector>(&self, value: V::F, codes: V) -> V::F {
        // SAFETY: the caller's.
        unsafe {
            let steps = codes.add(V::splat(-i32::from(self.residual.zero_point)));
            V::fused(steps.real(), V::F::splat(self.residual.scale), value)
        }
    }
}

/// One tile's sums, `[pixels][width]`, and where they go.
pub(crate) struct Out<'a> {
    pub(crate) finish: &'a Finish<'a>,
    pub(crate) sums: *const i32,
    pub(crate) multiplier: *const f32,
    pub(crate) width: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    pub(crate) y: *mut u8,
    pub(crate) y_step: usize,
    pub(crate) residual: *const u8,
    pub(crate) residual_step: usize,
}

impl CodeBody for Out<'_> {
    #[inline(always)]
    unsafe fn run<V: CodeVector>(&self) {
        // SAFETY: the caller's.
        unsafe {
            match self.width / V::F::LANES {
                1 => self.pixels::<V, 4, 1>(),
                2 => self.pixels::<V, 4, 2>(),
                3 => self.pixels::<V, 3, 3>(),
                _ => self.pixels::<V, 4, 4>(),
            }
        }
    }
}

impl Out<'_> {
    /// Groups of `N` vectors, `NV` a pixel, whose operations do not wait for each other.
    #[inline(always)]
    unsafe fn pixels<V: CodeVector, const N: usize, const NV: usize>(&self) {
        let mut pixel = 0;
        while pixel < self.pixels {
            // SAFETY: the caller's.
            unsafe {
                if pixel + N / NV <= self.pixels {
                    self.group::<V, N, NV>(pixel);
                    pixel += N / NV;
                } else {
                    self.group::<V, NV, NV>(pixel);
                    pixel += 1;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn group<V: CodeVector, const N: usize, const NV: usize>(&self, pixel: usize) {
        let finish = self.finish;
        // SAFETY: the caller's: sums, outputs and residual are valid for these pixels and channels.
        unsafe {
            let mut values = [V::F::splat(0.0); N];
            for (i, value) in values.iter_mut().enumerate() {
                let (pixel, c) = (pixel + i / NV, i % NV * V::F::LANES);
                let sum = V::load(self.sums.add(pixel * self.width + c));
                *value = sum.real().mul(V::F::load(self.multiplier.add(c)));
            }
            values = finish.activation.apply_all::<V, N>(values);
            if let Some(table) = finish.table {
                look_up::<V, N>(table, &mut values);
            }
            if !self.residual.is_null() {
                for (i, value) in values.iter_mut().enumerate() {
                    let (pixel, c) = (pixel + i / NV, i % NV * V::F::LANES);
                    let from = self.residual.add(pixel * self.residual_step + c);
                    // The last vector of a panel has at least one channel.
                    *value = finish.add_residual::<V>(*value, widen_part(from, self.channels - c));
                }
            }
            if finish.codes {
                let mut codes = [V::splat(0); N];
                for (codes, value) in codes.iter_mut().zip(values) {
                    *codes = steps(value, finish.inv_scale);
                }
                let to = self.y.add(pixel * self.y_step);
                let to = Pixels {
                    to,
                    step: self.y_step,
                    channels: self.channels,
                };
                V::store_codes::<N, NV>(codes, finish.zero_point, to);
            } else {
                for (i, value) in values.into_iter().enumerate() {
                    let (pixel, c) = (pixel + i / NV, i % NV * V::F::LANES);
                    let to = self.y.cast::<f32>().add(pixel * self.y_step + c);
                    store_part(value, to, self.channels - c);
                }
            }
        }
    }
}

/// Reals as integral numbers of steps.
///
/// # Safety
/// Needs `V`'s instruction set.
#[inline(always)]
pub(crate) unsafe fn steps<V: CodeVector>(value: V::F, inv_scale: f32) -> V {
    // SAFETY: the caller's.
    unsafe {
        let steps = value.mul(V::F::splat(inv_scale));
        V::round(steps.min(V::F::splat(STEPS_MAX)))
    }
}

#[inline(always)]
unsafe fn look_up<V: CodeVector, const N: usize>(table: &CodeTable, values: &mut [V::F; N]) {
    let mut codes = [0u8; 64];
    // SAFETY: the caller's; the array holds four of the widest vectors.
    unsafe {
        let mut looked_up = [V::splat(0); N];
        for (steps_of, value) in looked_up.iter_mut().zip(&*values) {
            *steps_of = steps(*value, 1.0 / table.x.scale);
        }
        let to = Pixels {
            to: codes.as_mut_ptr(),
            step: 0,
            channels: N * V::F::LANES,
        };
        V::store_codes::<N, N>(looked_up, table.x.zero_point, to);
        V::map(&table.map, codes.as_ptr(), to.to, to.channels);
        for (i, value) in values.iter_mut().enumerate() {
            *value = reals(V::widen(to.to.add(i * V::F::LANES)), &table.y);
        }
    }
}
