//! Functions of one or two values over whole views.

use crate::nest::{Nest, broadcast};
use crate::pointwise::{Map, WithMap, each_lane};
use crate::simd::{Kernel, Simd, Vector};
use crate::{Context, KernelError, UnaryOp, View};
use std::ops::Range;

/// A function of two values.
///
/// Source: ONNX operators of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
}

/// `y = op(x)`, element by element.
///
/// # Shapes
/// `x` has `y`'s shape, in any layout; it may be `y` itself.
///
/// # Errors
/// `Shape`, `OutOfBounds`, `SelfOverlap`, `Overlap`.
pub fn unary(ctx: &mut Context<'_>, op: UnaryOp, x: &View, y: &View) -> Result<(), KernelError> {
    x.check_shape("x", &y.shape)?;
    ctx.check(y, &[("x", x)], true)?;
    if y.elements() == 0 {
        return Ok(());
    }
    let nest = Nest::new(&y.shape, [y, x]);
    let job = Unary {
        op,
        nest: &nest,
        base: ctx.arena.as_mut_ptr(),
        starts: [y.offset, x.offset],
    };
    let (job, isa) = (&job, ctx.isa);
    nest.split(ctx, 1, &|outer, inner| {
        isa.run(UnaryBlock { job, outer, inner })
    });
    Ok(())
}

/// `y = op(a, b)`, element by element, operands repeated as in numpy.
///
/// # Shapes
/// `a` and `b` broadcast to `y`'s shape; each may be `y` itself. Axes of `a` and `b` align with `y`'s last ones.
///
/// # Errors
/// `Shape`, `OutOfBounds`, `SelfOverlap`, `Overlap`.
pub fn binary(
    ctx: &mut Context<'_>,
    op: BinaryOp,
    a: &View,
    b: &View,
    y: &View,
) -> Result<(), KernelError> {
    ctx.check(y, &[("a", a), ("b", b)], true)?;
    let (a, b) = (broadcast("a", a, &y.shape)?, broadcast("b", b, &y.shape)?);
    if y.elements() == 0 {
        return Ok(());
    }
    let nest = Nest::new(&y.shape, [y, &a, &b]);
    let base = ctx.arena.as_mut_ptr();
    // A square is by far the commonest power (YOLOv5's box sizes), and exact as a product.
    // SAFETY: a checked view that is not empty starts inside the arena.
    let squares = op == BinaryOp::Pow
        && b.strides
            .iter()
            .zip(b.shape.iter())
            .all(|(&stride, &dim)| stride == 0 || dim == 1)
        && unsafe { *base.add(b.offset) } == 2.0;
    let job = Binary {
        op,
        squares,
        nest: &nest,
        base,
        starts: [y.offset, a.offset, b.offset],
    };
    let (job, isa) = (&job, ctx.isa);
    nest.split(ctx, 1, &|outer, inner| {
        isa.run(BinaryBlock { job, outer, inner })
    });
    Ok(())
}

struct Unary<'a> {
    op: UnaryOp,
    nest: &'a Nest<2>,
    base: *mut f32,
    starts: [usize; 2],
}

// SAFETY: `unary` has checked the views; tasks write disjoint elements and read none that another task writes.
unsafe impl Sync for Unary<'_> {}

struct UnaryBlock<'a> {
    job: &'a Unary<'a>,
    outer: Range<usize>,
    inner: Range<usize>,
}

impl Kernel for UnaryBlock<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.job.op.visit(s, self);
    }
}

impl<S: Simd> WithMap<S> for UnaryBlock<'_> {
    #[inline(always)]
    fn run<M: Map>(self, s: S, map: M) {
        let job = self.job;
        let [y_step, x_step] = job.nest.inner().1;
        let mut cursor = job.nest.cursor(self.outer.start);
        for _ in self.outer {
            let [y_at, x_at] = [0, 1].map(|i| job.starts[i] + cursor.offsets[i]);
            for at in self.inner.clone().step_by(S::LANES) {
                let lanes = S::LANES.min(self.inner.end - at);
                // SAFETY: `unary` has checked both views; these are their elements.
                unsafe {
                    let x = gather(s, job.base.add(x_at + at * x_step), x_step, lanes);
                    scatter::<S>(
                        map.map(s, x),
                        job.base.add(y_at + at * y_step),
                        y_step,
                        lanes,
                    );
                }
            }
            job.nest.advance(&mut cursor);
        }
    }
}

struct Binary<'a> {
    op: BinaryOp,
    squares: bool,
    nest: &'a Nest<3>,
    base: *mut f32,
    starts: [usize; 3],
}

// SAFETY: `binary` has checked the views; tasks write disjoint elements and read none that another task writes.
unsafe impl Sync for Binary<'_> {}

struct BinaryBlock<'a> {
    job: &'a Binary<'a>,
    outer: Range<usize>,
    inner: Range<usize>,
}

impl Kernel for BinaryBlock<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.job.op {
            BinaryOp::Add => self.zip(s, |_, a, b| a.add(b)),
            BinaryOp::Sub => self.zip(s, |_, a, b| a.sub(b)),
            BinaryOp::Mul => self.zip(s, |_, a, b| a.mul(b)),
            BinaryOp::Div => self.zip(s, |_, a, b| a.div(b)),
            BinaryOp::Pow if self.job.squares => self.zip(s, |_, a, _| a.mul(a)),
            BinaryOp::Pow => self.zip(s, power),
            BinaryOp::Min => self.zip(s, |_, a, b| a.min(b)),
            BinaryOp::Max => self.zip(s, |_, a, b| a.max(b)),
        }
    }
}

#[inline(always)]
fn power<S: Simd>(s: S, a: S::V, b: S::V) -> S::V {
    let mut exponents = [0.0f32; 16];
    // SAFETY: no instruction set has more than 16 lanes.
    unsafe { b.store(exponents.as_mut_ptr()) };
    let lane = std::cell::Cell::new(0);
    each_lane(s, a, |a| {
        let i = lane.replace(lane.get() + 1);
        a.powf(exponents[i])
    })
}

impl BinaryBlock<'_> {
    #[inline(always)]
    fn zip<S: Simd>(self, s: S, f: impl Fn(S, S::V, S::V) -> S::V) {
        let job = self.job;
        let [y_step, a_step, b_step] = job.nest.inner().1;
        let mut cursor = job.nest.cursor(self.outer.start);
        for _ in self.outer {
            let [y_at, a_at, b_at] = [0, 1, 2].map(|i| job.starts[i] + cursor.offsets[i]);
            for at in self.inner.clone().step_by(S::LANES) {
                let lanes = S::LANES.min(self.inner.end - at);
                // SAFETY: `binary` has checked the views; these are their elements.
                unsafe {
                    let a = gather(s, job.base.add(a_at + at * a_step), a_step, lanes);
                    let b = gather(s, job.base.add(b_at + at * b_step), b_step, lanes);
                    scatter::<S>(f(s, a, b), job.base.add(y_at + at * y_step), y_step, lanes);
                }
            }
            job.nest.advance(&mut cursor);
        }
    }
}

/// `lanes` elements from `p` on, `step` apart.
///
/// # Safety
/// They are readable.
#[inline(always)]
pub(crate) unsafe fn gather<S: Simd>(s: S, p: *const f32, step: usize, lanes: usize) -> S::V {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        match step {
            1 if lanes == S::LANES => s.load(p),
            1 => s.load_first(p, lanes),
            0 => s.splat(*p),
            _ => {
                let mut values = [0.0f32; 16];
                for (i, value) in values.iter_mut().enumerate().take(lanes) {
                    *value = *p.add(i * step);
                }
                s.load(values.as_ptr())
            }
        }
    }
}

/// Stores the first `lanes` lanes from `p` on, `step` apart.
///
/// # Safety
/// Those elements are writable.
#[inline(always)]
pub(crate) unsafe fn scatter<S: Simd>(v: S::V, p: *mut f32, step: usize, lanes: usize) {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        match step {
            1 if lanes == S::LANES => v.store(p),
            1 => v.store_first(p, lanes),
            _ => {
                let mut values = [0.0f32; 16];
                v.store(values.as_mut_ptr());
                for (i, value) in values.iter().enumerate().take(lanes) {
                    *p.add(i * step) = *value;
                }
            }
        }
    }
}
