//! From a tile's sums to codes or reals, for all that the tile does not finish in registers.

use super::{QEpilogue, QOut};
use crate::QActivation;
use crate::codes::vector::{CodeBody, CodeVector, widen_part};
use crate::codes::{CodeParams, CodeTable, STEPS_MAX};
use crate::vector::{Vector, store_part};

/// What the epilogue does, free of views.
pub(crate) struct Finish<'a> {
    /// Whether the tile does all of it.
    pub(crate) in_registers: bool,
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
            in_registers: codes
                && epilogue.table.is_none()
                && epilogue.activation == QActivation::Silu,
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
        // SAFETY: the caller's. One loop per common activation, so that its constants stay in registers.
        unsafe {
            match self.finish.activation {
                QActivation::Identity => self.each::<V>(
                    #[inline(always)]
                    |v| v,
                ),
                QActivation::Relu => self.each::<V>(
                    #[inline(always)]
                    |v| QActivation::Relu.apply::<V>(v),
                ),
                other => self.each::<V>(
                    #[inline(always)]
                    |v| other.apply::<V>(v),
                ),
            }
        }
    }
}

impl Out<'_> {
    #[inline(always)]
    unsafe fn each<V: CodeVector>(&self, f: impl Fn(V::F) -> V::F) {
        // SAFETY: the caller's: sums, outputs and residual are valid for these pixels and channels.
        unsafe {
            for pixel in 0..self.pixels {
                let mut c = 0;
                while c < self.channels {
                    let left = (self.channels - c).min(V::F::LANES);
                    let sum = V::load(self.sums.add(pixel * self.width + c));
                    let mut value = f(sum.real().mul(V::F::load(self.multiplier.add(c))));
                    if let Some(table) = self.finish.table {
                        value = look_up::<V>(table, value, left);
                    }
                    if !self.residual.is_null() {
                        let from = self.residual.add(pixel * self.residual_step + c);
                        value = self.finish.add_residual::<V>(value, widen_part(from, left));
                    }
                    self.store::<V>(value, pixel * self.y_step + c, left);
                    c += V::F::LANES;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store<V: CodeVector>(&self, value: V::F, at: usize, n: usize) {
        // SAFETY: the caller's.
        unsafe {
            if self.finish.codes {
                let steps = steps::<V>(value, self.finish.inv_scale);
                V::store_codes([steps], self.finish.zero_point, self.y.add(at), n);
            } else {
                store_part(value, self.y.cast::<f32>().add(at), n);
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
unsafe fn look_up<V: CodeVector>(table: &CodeTable, value: V::F, n: usize) -> V::F {
    let mut codes = [0u8; 16];
    // SAFETY: the caller's; the array holds the widest vector.
    unsafe {
        let steps = steps::<V>(value, 1.0 / table.x.scale);
        V::store_codes([steps], table.x.zero_point, codes.as_mut_ptr(), n);
        for code in &mut codes {
            *code = table.map[usize::from(*code)];
        }
        let steps = V::widen(codes.as_ptr()).add(V::splat(-i32::from(table.y.zero_point)));
        steps.real().mul(V::F::splat(table.y.scale))
    }
}
