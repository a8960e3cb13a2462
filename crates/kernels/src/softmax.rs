//! Softmax along one axis.

use crate::nest::Base;
use crate::pointwise::exp;
use crate::vector::{Body, Vector, dispatch, load_part, store_part};
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

impl Body for Lanes {
    #[inline(always)]
    unsafe fn run<V: Vector>(&self) {
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
/// # Errors
/// `Index` for an axis beyond the rank, `Shape`, and what every kernel checks.
pub fn softmax(ctx: &mut Context, x: &View, y: &View, axis: usize) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    if axis >= y.shape.len() {
        return Err(KernelError::Index {
            operand: "axis",
            index: axis,
            len: y.shape.len(),
        });
    }
    ctx.check(y, &[("x", x)], true)?;
    if y.elements() == 0 {
        return Ok(());
    }
    let rank = y.shape.len();
    let across =
        (0..rank).find(|&i| i != axis && y.shape[i] > 1 && x.strides[i] == 1 && y.strides[i] == 1);
    let base = Base(ctx.arena.as_mut_ptr());
    let lanes = across.map_or(1, |i| y.shape[i]);
    let outer: Vec<usize> = (0..rank)
        .filter(|&i| i != axis && Some(i) != across)
        .collect();
    // Chunks of lanes and of outer positions, of about 16k elements.
    let lane_chunk = (16384 / y.shape[axis])
        .max(16)
        .next_multiple_of(16)
        .min(lanes);
    let chunks = lanes.div_ceil(lane_chunk);
    let positions: usize = outer.iter().map(|&i| y.shape[i]).product();
    let per_task = (16384 / (lane_chunk * y.shape[axis])).max(1);
    let isa = ctx.isa;
    ctx.pool
        .run((positions * chunks).div_ceil(per_task), &|task| {
            for unit in task * per_task..((task + 1) * per_task).min(positions * chunks) {
                let (mut position, first) = (unit / chunks, unit % chunks * lane_chunk);
                let (mut from, mut to) = (x.offset + first, y.offset + first);
                for &i in outer.iter().rev() {
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
                unsafe { dispatch(isa, &body) };
            }
        });
    Ok(())
}
