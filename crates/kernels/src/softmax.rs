//! Softmax along one axis.

use crate::checks::check_length;
use crate::elementwise::fetch;
use crate::nest::Base;
use crate::pointwise::exp;
use crate::vector::{F32Body, F32Vector, load_part, store_part};
use crate::{Context, KernelError, View};

/// Lanes along an axis that is contiguous in both views, each its own softmax; without such an axis, one lane.
struct Lanes {
    base: Base,
    x: usize,
    y: usize,
    lanes: usize,
    len: usize,
    x_step: usize,
    y_step: usize,
}

impl F32Body for Lanes {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let mut lane = 0;
        while lane < self.lanes {
            let left = self.lanes - lane;
            let x = |i: usize| self.base.at(self.x + lane + i * self.x_step);
            let y = |i: usize| self.base.at(self.y + lane + i * self.y_step);
            // SAFETY: indices lie inside the checked views; an in-place element is read before it is written.
            unsafe {
                let mut top = V::splat(f32::NEG_INFINITY);
                for i in 0..self.len {
                    top = top.max(load_part(x(i), left));
                }
                let mut sum = V::splat(0.0);
                for i in 0..self.len {
                    let e = exp(load_part::<V>(x(i), left).sub(top));
                    sum = sum.add(e);
                    store_part(e, y(i), left);
                }
                for i in 0..self.len {
                    store_part(load_part::<V>(y(i), left).div(sum), y(i), left);
                }
            }
            lane += V::LANES;
        }
    }
}

/// `y = exp(x - max) / sum(exp(x - max))` along an axis; `y` may be `x`.
///
/// # Shapes
/// `x` and `y`: of one shape, f32, any layouts.
///
/// # Errors
/// `Index` for an axis beyond the rank, `Shape`, and what every kernel checks.
pub fn softmax(ctx: &mut Context, x: &View, y: &View, axis: usize) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    if axis >= y.shape.len() {
        return Err(KernelError::Index { operand: "axis", index: axis, len: y.shape.len() });
    }
    ctx.check_f32(y, &[("x", x)], true)?;
    if y.elements() == 0 {
        return Ok(());
    }
    let rank = y.shape.len();
    let across =
        (0..rank).find(|&i| i != axis && y.shape[i] > 1 && x.strides[i] == 1 && y.strides[i] == 1);
    let base = Base(ctx.f32_arena.as_mut_ptr());
    let lanes = across.map_or(1, |i| y.shape[i]);
    let outer = || (0..rank).filter(move |&i| i != axis && Some(i) != across);
    // Chunks of lanes and of outer positions, of about 16k elements.
    let lane_chunk = (16384 / y.shape[axis]).max(16).next_multiple_of(16).min(lanes);
    let chunks = lanes.div_ceil(lane_chunk);
    let positions: usize = outer().map(|i| y.shape[i]).product();
    let per_task = (16384 / (lane_chunk * y.shape[axis])).max(1);
    let isa = ctx.isa;
    ctx.pool.run((positions * chunks).div_ceil(per_task), &|task| {
        for unit in task * per_task..((task + 1) * per_task).min(positions * chunks) {
            let (mut position, first) = (unit / chunks, unit % chunks * lane_chunk);
            let (mut from, mut to) = (x.offset + first, y.offset + first);
            for i in outer().rev() {
                let index = position % y.shape[i];
                position /= y.shape[i];
                from += index * x.strides[i];
                to += index * y.strides[i];
            }
            let body = Lanes {
                base,
                x: from,
                y: to,
                lanes: lane_chunk.min(lanes - first),
                len: y.shape[axis],
                x_step: x.strides[axis],
                y_step: y.strides[axis],
            };
            // SAFETY: views and instruction set are checked; units are disjoint.
            unsafe { isa.run_f32(&body) };
        }
    });
    Ok(())
}

/// Rows that are held in registers' reach while their maximum, their sum and their mean are taken.
const HELD: usize = 32;

/// Neighbouring positions, each the mean of the weights under its own softmax.
struct Means<'a> {
    base: Base,
    x: usize,
    y: usize,
    lanes: usize,
    x_lane: usize,
    y_lane: usize,
    x_step: usize,
    weights: &'a [f32],
}

impl F32Body for Means<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let mut held = [[0.0f32; 16]; HELD];
        let mut lane = 0;
        while lane < self.lanes {
            let left = self.lanes - lane;
            let x = |i: usize| self.base.at(self.x + lane * self.x_lane + i * self.x_step);
            // SAFETY: indices lie inside the checked views; a row of `held` holds a vector.
            unsafe {
                let mut top = V::splat(f32::NEG_INFINITY);
                let blocks = if self.x_step == 1 && left >= V::LANES {
                    self.weights.len().min(HELD) / V::LANES * V::LANES
                } else {
                    0
                };
                let mut columns = [top; 16];
                for first in (0..blocks).step_by(V::LANES) {
                    V::columns(x(first), self.x_lane, &mut columns);
                    for (i, &value) in columns.iter().enumerate().take(V::LANES) {
                        top = top.max(value);
                        value.store(held[first + i].as_mut_ptr());
                    }
                }
                for i in blocks..self.weights.len() {
                    let value: V = fetch(x(i), self.x_lane, left);
                    top = top.max(value);
                    if let Some(held) = held.get_mut(i) {
                        value.store(held.as_mut_ptr());
                    }
                }
                let (mut sum, mut mean) = (V::splat(0.0), V::splat(0.0));
                for (i, &weight) in self.weights.iter().enumerate() {
                    let value: V = match held.get(i) {
                        Some(value) => V::load(value.as_ptr()),
                        None => fetch(x(i), self.x_lane, left),
                    };
                    let e = exp(value.sub(top));
                    sum = sum.add(e);
                    mean = e.fma(V::splat(weight), mean);
                }
                let mut means = [0.0f32; 16];
                mean.div(sum).store(means.as_mut_ptr());
                let y = self.y + lane * self.y_lane;
                for (i, mean) in means.iter().enumerate().take(left.min(V::LANES)) {
                    *self.base.at(y + i * self.y_lane) = *mean;
                }
            }
            lane += V::LANES;
        }
    }
}

/// `y = sum over i of weights[i] * softmax(x)[i]` along an axis: the mean of a distribution, as YOLOv8's box edges.
///
/// # Shapes
/// `x` with `weights.len()` along the axis, `y` with 1.
///
/// # Errors
/// As [`softmax`], `Length` when the weights are not as many as the axis is long, `Overlap`.
pub fn softmax_mean(
    ctx: &mut Context,
    x: &View,
    y: &View,
    axis: usize,
    weights: &[f32],
) -> Result<(), KernelError> {
    let rank = y.shape.len();
    if axis >= rank || axis >= x.shape.len() {
        return Err(KernelError::Index { operand: "axis", index: axis, len: rank });
    }
    x.check_shape("x", &y.shape.with(axis, x.shape[axis]))?;
    y.check_shape("y", &y.shape.with(axis, 1))?;
    check_length("weights", x.shape[axis], weights.len())?;
    ctx.check_f32(y, &[("x", x)], false)?;
    if x.elements() == 0 {
        return Ok(());
    }
    let across = (0..rank).filter(|&i| i != axis).max_by_key(|&i| y.shape[i]);
    let lanes = across.map_or(1, |i| y.shape[i]);
    let stride = |view: &View| across.map_or(1, |i| view.strides[i]);
    let lane_chunk = (16384 / weights.len()).max(16).min(lanes);
    let chunks = lanes.div_ceil(lane_chunk);
    let (base, isa) = (Base(ctx.f32_arena.as_mut_ptr()), ctx.isa);
    ctx.pool.run(y.elements() / lanes * chunks, &|unit| {
        let (mut position, first) = (unit / chunks, unit % chunks * lane_chunk);
        let mut from = x.offset + first * stride(x);
        let mut to = y.offset + first * stride(y);
        for i in (0..rank).rev().filter(|&i| i != axis && Some(i) != across) {
            let index = position % y.shape[i];
            position /= y.shape[i];
            from += index * x.strides[i];
            to += index * y.strides[i];
        }
        let body = Means {
            base,
            x: from,
            y: to,
            lanes: lane_chunk.min(lanes - first),
            x_lane: stride(x),
            y_lane: stride(y),
            x_step: x.strides[axis],
            weights,
        };
        // SAFETY: views and instruction set are checked; units are disjoint.
        unsafe { isa.run_f32(&body) };
    });
    Ok(())
}
