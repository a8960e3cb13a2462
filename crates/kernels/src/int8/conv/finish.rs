//! From a tile's sums to stored results, u8 or f32.

use super::pack::PackedQConv;
use super::{QEpilogue, QOut};
use crate::int8::activation::StepActivation;
use crate::int8::{STEPS_MAX, U8Params, U8Table};
use crate::vector::{F32Vector, I32Body, I32Vector, Pixels, from_u8_part, store_part};

/// What the epilogue does, free of views. Values are counted in steps of y's scale (1 where y is f32), before a
/// table in those of the table's.
pub(crate) struct Finish<'a> {
    activation: StepActivation,
    /// Steps of a unit.
    inv_scale: f32,
    /// The table, and the steps of y in one of its results'.
    table: Option<(&'a U8Table, f32)>,
    /// Steps of y in one of the residual's.
    residual: U8Params,
    quantized: bool,
    zero_point: u8,
    /// Whether steps may be more than an i32 holds.
    clamps: bool,
}

impl Finish<'_> {
    pub(crate) fn new<'a>(conv: &PackedQConv, y: &QOut, epilogue: &QEpilogue<'a>) -> Finish<'a> {
        let one = U8Params { scale: 1.0, zero_point: 0 };
        let (quantized, params) = match y {
            QOut::U8 { params, .. } => (true, *params),
            QOut::F32 { .. } => (false, one),
        };
        let inv_y = 1.0 / params.scale;
        let scale = epilogue.table.map_or(params.scale, |table| table.x.scale);
        let inv_scale = 1.0 / scale;
        let residual = epilogue.residual.map_or(one, |residual| U8Params {
            scale: residual.params.scale * inv_y,
            ..residual.params
        });
        // No activation's magnitude but Sigmoid's is above its argument's.
        let largest = conv.largest * inv_scale + inv_scale + 255.0 * residual.scale;
        Finish {
            activation: StepActivation::new(epilogue.activation, scale),
            inv_scale,
            table: epilogue.table.map(|table| (table, table.y.scale * inv_y)),
            residual,
            quantized,
            zero_point: params.zero_point,
            clamps: epilogue.table.is_some() || largest.is_nan() || largest >= STEPS_MAX,
        }
    }
}

/// One tile's sums, `[pixels][width]`, and where they go.
pub(crate) struct Out<'a> {
    pub(crate) finish: &'a Finish<'a>,
    pub(crate) sums: *const i32,
    pub(crate) multiplier: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) width: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    pub(crate) y: *mut u8,
    pub(crate) y_step: usize,
    pub(crate) residual: *const u8,
    pub(crate) residual_step: usize,
}

impl I32Body for Out<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        // SAFETY: the caller's. As many vectors at a time as the registers hold.
        unsafe {
            let vectors = self.width / V::F::LANES;
            if V::F::LANES == 16 {
                match vectors {
                    1 => self.pixels::<V, 8, 4, 1>(),
                    2 => self.pixels::<V, 8, 4, 2>(),
                    3 => self.pixels::<V, 6, 3, 3>(),
                    _ => self.pixels::<V, 8, 4, 4>(),
                }
            } else {
                match vectors {
                    1 => self.pixels::<V, 4, 4, 1>(),
                    3 => self.pixels::<V, 3, 3, 3>(),
                    4 => self.pixels::<V, 4, 4, 4>(),
                    _ => self.pixels::<V, 4, 4, 2>(),
                }
            }
        }
    }
}

impl Out<'_> {
    /// Groups of `N` vectors, `S` of them stored together, `NV` a pixel.
    #[inline(always)]
    unsafe fn pixels<V: I32Vector, const N: usize, const S: usize, const NV: usize>(&self) {
        let mut pixel = 0;
        // SAFETY: the caller's: multipliers and bias are valid for all vectors.
        let lines = unsafe {
            let inv_scale = V::F::splat(self.finish.inv_scale);
            let mut lines = [[inv_scale; 2]; NV];
            for (n, [multiplier, bias]) in lines.iter_mut().enumerate() {
                let at = n * V::F::LANES;
                *multiplier = V::F::load(self.multiplier.add(at)).mul(inv_scale);
                *bias = V::F::load(self.bias.add(at)).mul(inv_scale);
            }
            lines
        };
        while pixel < self.pixels {
            // SAFETY: the caller's.
            unsafe {
                if pixel + N / NV <= self.pixels {
                    self.group::<V, N, S, NV>(pixel, &lines);
                    pixel += N / NV;
                } else {
                    self.group::<V, NV, NV, NV>(pixel, &lines);
                    pixel += 1;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn group<V: I32Vector, const N: usize, const S: usize, const NV: usize>(
        &self,
        pixel: usize,
        lines: &[[V::F; 2]; NV],
    ) {
        let finish = self.finish;
        // SAFETY: the caller's: sums, outputs and residual are valid for these pixels and channels.
        unsafe {
            let mut values = [V::F::splat(0.0); N];
            let sums = self.sums.add(pixel * NV * V::F::LANES);
            for i in 0..N {
                let sum = V::load(sums.add(i * V::F::LANES));
                let [multiplier, bias] = lines[i % NV];
                values[i] = V::fused(sum.to_f32(), multiplier, bias);
            }
            values = finish.activation.apply::<V, N>(values);
            if let Some((table, scale)) = finish.table {
                look_up::<V, N>(table, scale, &mut values);
            }
            if !self.residual.is_null() {
                let zero_point = V::splat(-i32::from(finish.residual.zero_point));
                let scale = V::F::splat(finish.residual.scale);
                for (i, value) in values.iter_mut().enumerate() {
                    let (pixel, c) = (pixel + i / NV, i % NV * V::F::LANES);
                    // Of the last vectors there may be no channel.
                    let from = self.residual.wrapping_add(pixel * self.residual_step + c);
                    let quantized: V = from_u8_part(from, self.channels.saturating_sub(c));
                    *value = V::fused(quantized.add(zero_point).to_f32(), scale, *value);
                }
            }
            if !finish.quantized {
                for (i, value) in values.into_iter().enumerate() {
                    let (pixel, c) = (pixel + i / NV, i % NV * V::F::LANES);
                    let y = self.y.cast::<f32>();
                    let to = y.wrapping_add(pixel * self.y_step + c);
                    store_part(value, to, self.channels.saturating_sub(c));
                }
                return;
            }
            if finish.clamps {
                for value in &mut values {
                    *value = value.min(V::F::splat(STEPS_MAX));
                }
            }
            for first in (0..N).step_by(S) {
                let mut steps = [V::splat(0); S];
                for i in 0..S {
                    steps[i] = V::round(values[first + i]);
                }
                let to = Pixels {
                    to: self.y.add((pixel + first / NV) * self.y_step),
                    step: self.y_step,
                    channels: self.channels,
                };
                V::store_u8::<S, NV>(steps, finish.zero_point, to);
            }
        }
    }
}

/// Reals as integral numbers of steps.
///
/// # Safety
/// Needs `V`'s instruction set.
#[inline(always)]
pub(crate) unsafe fn steps<V: I32Vector>(value: V::F, inv_scale: f32) -> V {
    // SAFETY: the caller's.
    unsafe {
        let steps = value.mul(V::F::splat(inv_scale));
        V::round(steps.min(V::F::splat(STEPS_MAX)))
    }
}

/// Steps of the table's argument to steps of y.
#[inline(always)]
unsafe fn look_up<V: I32Vector, const N: usize>(
    table: &U8Table,
    scale: f32,
    values: &mut [V::F; N],
) {
    let mut quantized = [0u8; 8 * 16];
    // SAFETY: the caller's; the array holds eight of the widest vectors.
    unsafe {
        for (i, value) in values.iter().enumerate() {
            let steps = V::round(value.min(V::F::splat(STEPS_MAX)));
            let to = Pixels {
                to: quantized.as_mut_ptr().add(i * V::F::LANES),
                step: 0,
                channels: V::F::LANES,
            };
            V::store_u8::<1, 1>([steps], table.x.zero_point, to);
        }
        let to = quantized.as_mut_ptr();
        V::map(&table.map, to.cast_const(), to, N * V::F::LANES);
        let zero_point = V::splat(-i32::from(table.y.zero_point));
        for (i, value) in values.iter_mut().enumerate() {
            let steps = V::from_u8(to.add(i * V::F::LANES)).add(zero_point);
            *value = steps.to_f32().mul(V::F::splat(scale));
        }
    }
}
