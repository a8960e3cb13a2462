//! Element-wise operations after each other on one tensor, in one pass over memory.

use crate::nest::{Base, Row};
use crate::vector::{F32Body, F32Vector};
use crate::{BinaryOp, Context, KernelError, UnaryOp, View};

/// One operation of a chain; the running value is its operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// `x = op(x)`.
    Unary(UnaryOp),
    /// `x = op(x, constant)`.
    With(BinaryOp, View),
    /// `x = op(constant, x)`.
    After(BinaryOp, View),
}

impl Link {
    fn constant(&self) -> Option<&View> {
        match self {
            Link::Unary(_) => None,
            Link::With(_, view) | Link::After(_, view) => Some(view),
        }
    }
}

/// Elements that go through the chain together.
const BLOCK: usize = 256;
const TASK_ELEMENTS: usize = 16384;

/// `y` is what the links make of `x`, one after the other; `y` may be `x`.
///
/// # Shapes
/// `x`, `y` and every constant of one shape, broadcasting expressed by strides of 0; all in the f32 arena.
///
/// # Errors
/// `Shape`, `Overlap` when a constant shares elements with `y`, and what every kernel checks.
pub fn chain(ctx: &mut Context, x: &View, y: &View, links: &[Link]) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check_f32(y, &[("x", x)], true)?;
    for constant in links.iter().filter_map(Link::constant) {
        constant.check_shape("constant", &y.shape)?;
        ctx.check_f32(y, &[("constant", constant)], false)?;
    }
    if y.shape.contains(&0) {
        return Ok(());
    }
    // Rows of a few channels are better taken along the pixels.
    let longest = y.shape.iter().max().copied().unwrap_or(1);
    let inner = y.shape.iter().rposition(|&len| len == longest);
    let row = longest.max(1);
    let blocks = row.div_ceil(BLOCK);
    let job = Job {
        base: Base(ctx.f32_arena.as_mut_ptr()),
        x,
        y,
        links,
        inner,
        row,
        blocks,
        units: y.elements() / row * blocks,
        per_task: TASK_ELEMENTS.div_ceil(row.min(BLOCK)),
    };
    let isa = ctx.isa;
    ctx.pool.run(job.units.div_ceil(job.per_task), &|task| {
        // SAFETY: the views and the instruction set are checked above.
        unsafe { isa.run_f32(&Part { job: &job, task }) };
    });
    Ok(())
}

struct Job<'a> {
    base: Base,
    x: &'a View,
    y: &'a View,
    links: &'a [Link],
    /// The axis that rows run along; a tensor without axes is one row of one element.
    inner: Option<usize>,
    row: usize,
    blocks: usize,
    units: usize,
    per_task: usize,
}

impl Job<'_> {
    /// A view's element at a position of the outer axes and a start within the row, and its stride along the row.
    fn at(&self, view: &View, mut outer: usize, start: usize) -> (*mut f32, usize) {
        let mut at = view.offset;
        for axis in (0..view.shape.len()).rev() {
            if Some(axis) != self.inner {
                at += outer % view.shape[axis] * view.strides[axis];
                outer /= view.shape[axis];
            }
        }
        let stride = self.inner.map_or(1, |axis| view.strides[axis]);
        (self.base.at(at + start * stride), stride)
    }
}

struct Part<'a> {
    job: &'a Job<'a>,
    task: usize,
}

impl F32Body for Part<'_> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let job = self.job;
        let mut values = [0.0f32; BLOCK];
        let value = values.as_mut_ptr();
        let first = self.task * job.per_task;
        for unit in first..(first + job.per_task).min(job.units) {
            let (outer, start) = (unit / job.blocks, unit % job.blocks * BLOCK);
            let n = BLOCK.min(job.row - start);
            let (x, x_step) = job.at(job.x, outer, start);
            let (y, y_step) = job.at(job.y, outer, start);
            // SAFETY: the indices lie inside the checked views, and `values` holds a block.
            unsafe {
                UnaryOp::Identity.row::<V>([value, x], [1, x_step], n);
                for link in job.links {
                    let constant = link.constant().map(|view| job.at(view, outer, start));
                    match (link, constant) {
                        (Link::With(op, _), Some((c, step))) => {
                            op.row::<V>([value, value, c], [1, 1, step], n);
                        }
                        (Link::After(op, _), Some((c, step))) => {
                            op.row::<V>([value, c, value], [1, step, 1], n);
                        }
                        (Link::Unary(op), _) => op.row::<V>([value, value], [1, 1], n),
                        _ => {}
                    }
                }
                UnaryOp::Identity.row::<V>([y, value], [y_step, 1], n);
            }
        }
    }
}
