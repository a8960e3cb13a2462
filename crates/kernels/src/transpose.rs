//! Copies whose rows lie across each other, by square blocks.

use crate::nest::Base;
use crate::vector::{F32Body, F32Vector};
use crate::{Context, View};

/// Rows of `y` that a task writes a piece of, and how long the piece is.
const PIECE: usize = 64;

/// The two axes of a transposing copy: contiguous in y, and contiguous in x.
fn axes(x: &View, y: &View) -> Option<(usize, usize)> {
    let dense = |v: &View| (0..v.shape.len()).find(|&i| v.shape[i] > 1 && v.strides[i] == 1);
    let (along, across) = (dense(y)?, dense(x)?);
    (along != across).then_some((along, across))
}

struct Job<'a> {
    base: Base,
    x: &'a View,
    y: &'a View,
    along: usize,
    across: usize,
    pieces: usize,
}

struct Part<'a> {
    job: &'a Job<'a>,
    task: usize,
}

impl F32Body for Part<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let (job, lanes) = (self.job, V::LANES);
        let (x, y) = (job.x, job.y);
        let (mut outer, first) = (self.task / job.pieces, self.task % job.pieces * PIECE);
        let (x_step, y_step) = (x.strides[job.along], y.strides[job.across]);
        let (mut from, mut to) = (x.offset + first * x_step, y.offset + first);
        for i in (0..y.shape.len()).rev() {
            if i != job.along && i != job.across {
                let index = outer % y.shape[i];
                outer /= y.shape[i];
                from += index * x.strides[i];
                to += index * y.strides[i];
            }
        }
        let (length, width) = (PIECE.min(y.shape[job.along] - first), y.shape[job.across]);
        // SAFETY: the caller's; the indices lie inside the checked views.
        unsafe {
            let mut columns = [V::splat(0.0); 16];
            for c in (0..width).step_by(lanes) {
                for p in (0..length).step_by(lanes) {
                    let (from, to) = (from + p * x_step + c, to + c * y_step + p);
                    if p + lanes <= length && c + lanes <= width {
                        V::columns(job.base.at(from), x_step, &mut columns);
                        for (i, column) in columns.iter().enumerate().take(lanes) {
                            column.store(job.base.at(to + i * y_step));
                        }
                        continue;
                    }
                    for i in 0..lanes.min(width - c) {
                        for l in 0..lanes.min(length - p) {
                            *job.base.at(to + i * y_step + l) = *job.base.at(from + l * x_step + i);
                        }
                    }
                }
            }
        }
    }
}

/// Copies where rows of `x` are columns of `y`; false where they are not, or too short. The views are checked and apart.
pub(crate) fn run(ctx: &mut Context, x: &View, y: &View) -> bool {
    let Some((along, across)) = axes(x, y) else {
        return false;
    };
    let square = ctx.isa.f32().lanes;
    if y.shape.contains(&0) || y.shape[along] < square || y.shape[across] < square {
        return false;
    }
    let pieces = y.shape[along].div_ceil(PIECE);
    let job = &Job { base: Base(ctx.f32_arena.as_mut_ptr()), x, y, along, across, pieces };
    let isa = ctx.isa;
    let outer = y.elements() / (y.shape[along] * y.shape[across]);
    ctx.pool.run(outer * pieces, &|task| {
        // SAFETY: views and instruction set are checked; tasks write pieces of their own.
        unsafe { isa.run_f32(&Part { job, task }) };
    });
    true
}
