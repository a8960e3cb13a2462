use crate::elementwise::{gather, scatter};
use crate::nest::Nest;
use crate::pointwise::exp;
use crate::simd::{Kernel, Simd, Vector};
use crate::{Context, KernelError, View};
use std::ops::Range;

/// `exp(x - max) / sum(exp(x - max))` along one axis.
///
/// # Shapes
/// `x` has `y`'s shape, in any layout; it may be `y` itself.
///
/// # Errors
/// `Shape`, `Index` when there is no such axis, `OutOfBounds`, `SelfOverlap`, `Overlap`.
///
/// Source: ONNX Softmax, opset 13.
pub fn softmax(ctx: &mut Context<'_>, x: &View, y: &View, axis: usize) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check(y, &[("x", x)], true)?;
    let Some(&len) = y.shape.get(axis) else {
        return Err(KernelError::Index {
            operand: "axis",
            index: axis,
            len: y.shape.len(),
        });
    };
    if y.elements() == 0 {
        return Ok(());
    }
    // The loops over the other axes; the innermost is taken a vector at a time unless the axis itself is contiguous.
    let nest = Nest::new(&y.shape.with(axis, 1), [y, x]);
    let steps = [y.strides[axis], x.strides[axis]];
    let job = Job {
        nest: &nest,
        base: ctx.arena.as_mut_ptr(),
        starts: [y.offset, x.offset],
        len,
        steps,
    };
    let (job, isa) = (&job, ctx.isa);
    nest.split(ctx, len, &|outer, inner| {
        isa.run(Block { job, outer, inner })
    });
    Ok(())
}

struct Job<'a> {
    nest: &'a Nest<2>,
    base: *mut f32,
    starts: [usize; 2],
    /// Length of the axis and its steps in `y` and `x`.
    len: usize,
    steps: [usize; 2],
}

// SAFETY: `softmax` has checked the views; tasks write disjoint rows and read none that another task writes.
unsafe impl Sync for Job<'_> {}

struct Block<'a> {
    job: &'a Job<'a>,
    outer: Range<usize>,
    inner: Range<usize>,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let job = self.job;
        let [y_step, x_step] = job.nest.inner().1;
        let along_axis = job.steps == [1, 1] || self.inner.len() == 1;
        let mut cursor = job.nest.cursor(self.outer.start);
        for _ in self.outer {
            let step = if along_axis { 1 } else { S::LANES };
            for at in self.inner.clone().step_by(step) {
                // SAFETY: `softmax` has checked both views; these are their elements.
                unsafe {
                    let y = job
                        .base
                        .add(job.starts[0] + cursor.offsets[0] + at * y_step);
                    let x = job
                        .base
                        .add(job.starts[1] + cursor.offsets[1] + at * x_step);
                    if along_axis {
                        job.row(s, x, y);
                    } else {
                        job.rows(
                            s,
                            (x, x_step),
                            (y, y_step),
                            S::LANES.min(self.inner.end - at),
                        );
                    }
                }
            }
            job.nest.advance(&mut cursor);
        }
    }
}

impl Job<'_> {
    /// `lanes` rows at once, one in each lane.
    ///
    /// # Safety
    /// The rows are inside the checked views.
    #[inline(always)]
    unsafe fn rows<S: Simd>(
        &self,
        s: S,
        (x, x_step): (*const f32, usize),
        (y, y_step): (*mut f32, usize),
        lanes: usize,
    ) {
        let [y_next, x_next] = self.steps;
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let mut greatest = s.splat(f32::NEG_INFINITY);
            for i in 0..self.len {
                greatest = greatest.max(gather(s, x.add(i * x_next), x_step, lanes));
            }
            let mut sum = s.splat(0.0);
            for i in 0..self.len {
                let e = exp(s, gather(s, x.add(i * x_next), x_step, lanes).sub(greatest));
                sum = sum.add(e);
                scatter::<S>(e, y.add(i * y_next), y_step, lanes);
            }
            for i in 0..self.len {
                let e = gather(s, y.add(i * y_next), y_step, lanes);
                scatter::<S>(e.div(sum), y.add(i * y_next), y_step, lanes);
            }
        }
    }

    /// One row, a vector of its elements at a time.
    ///
    /// # Safety
    /// The row is inside the checked views.
    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, x: *const f32, y: *mut f32) {
        let [y_step, x_step] = self.steps;
        // SAFETY: the caller vouches for the row.
        unsafe {
            let mut greatest = f32::NEG_INFINITY;
            for at in (0..self.len).step_by(S::LANES) {
                let lanes = S::LANES.min(self.len - at);
                let values = to_array(s, gather(s, x.add(at * x_step), x_step, lanes));
                greatest = values[..lanes].iter().fold(greatest, |a, &b| a.max(b));
            }
            let mut sums = s.splat(0.0);
            for at in (0..self.len).step_by(S::LANES) {
                let lanes = S::LANES.min(self.len - at);
                let e = exp(
                    s,
                    gather(s, x.add(at * x_step), x_step, lanes).sub(s.splat(greatest)),
                );
                scatter::<S>(e, y.add(at * y_step), y_step, lanes);
                sums = sums.add(gather(s, y.add(at * y_step), y_step, lanes));
            }
            let sum = pairwise_sum(to_array(s, sums));
            for at in (0..self.len).step_by(S::LANES) {
                let lanes = S::LANES.min(self.len - at);
                let e = gather(s, y.add(at * y_step), y_step, lanes);
                scatter::<S>(e.div(s.splat(sum)), y.add(at * y_step), y_step, lanes);
            }
        }
    }
}

#[inline(always)]
fn to_array<S: Simd>(_: S, v: S::V) -> [f32; 16] {
    let mut lanes = [0.0; 16];
    // SAFETY: no instruction set has more than 16 lanes.
    unsafe { v.store(lanes.as_mut_ptr()) };
    lanes
}

/// The sum in halves, which the compiler keeps in vectors.
#[inline(always)]
fn pairwise_sum(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}
