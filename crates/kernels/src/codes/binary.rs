//! One code from two.

use super::CodeParams;
use super::conv::steps;
use super::convert::reals;
use super::vector::{CodeBody, CodeVector, Pixels, dispatch_codes, widen_part};
use crate::nest::{Base, Nest};
use crate::vector::Vector;
use crate::{BinaryOp, Context, KernelError, View};

struct Binary<'a> {
    nest: &'a Nest<3>,
    codes: Base<u8>,
    op: BinaryOp,
    a: CodeParams,
    b: CodeParams,
    y: CodeParams,
    task: usize,
}

impl CodeBody for Binary<'_> {
    #[inline(always)]
    unsafe fn run<V: CodeVector>(&self) {
        let [y_step, a_step, b_step] = self.nest.strides();
        let vectors = y_step == 1 && a_step <= 1 && b_step <= 1 && self.op != BinaryOp::Pow;
        self.nest.rows(
            self.task,
            #[inline(always)]
            |[y, a, b], n| {
                let (y, a, b) = (self.codes.at(y), self.codes.at(a), self.codes.at(b));
                let mut i = 0;
                while i < n {
                    // SAFETY: the caller's; rows lie inside the checked views.
                    unsafe {
                        let (y, a, b) = (y.add(i * y_step), a.add(i * a_step), b.add(i * b_step));
                        if vectors {
                            let a = reals(fetch::<V>(a, a_step, n - i), &self.a);
                            let b = reals(fetch::<V>(b, b_step, n - i), &self.b);
                            let codes = steps(self.apply::<V>(a, b), 1.0 / self.y.scale);
                            let to = Pixels {
                                to: y,
                                step: 0,
                                channels: n - i,
                            };
                            V::store_codes::<1, 1>([codes], self.y.zero_point, to);
                            i += V::F::LANES;
                        } else {
                            let (a, b) = (self.a.real(*a), self.b.real(*b));
                            *y = self.y.code(self.apply_one(a, b));
                            i += 1;
                        }
                    }
                }
            },
        );
    }
}

/// Codes side by side, or one repeated.
#[inline(always)]
unsafe fn fetch<V: CodeVector>(from: *const u8, step: usize, n: usize) -> V {
    // SAFETY: the caller's: `n` valid codes at the step.
    unsafe {
        if step == 0 {
            V::splat(i32::from(*from))
        } else {
            widen_part(from, n)
        }
    }
}

impl Binary<'_> {
    #[inline(always)]
    unsafe fn apply<V: CodeVector>(&self, a: V::F, b: V::F) -> V::F {
        // SAFETY: the caller's.
        unsafe {
            match self.op {
                BinaryOp::Add => a.add(b),
                BinaryOp::Sub => a.sub(b),
                BinaryOp::Div => a.div(b),
                BinaryOp::Min => a.min(b),
                BinaryOp::Max => a.max(b),
                BinaryOp::Mul | BinaryOp::Pow => a.mul(b),
            }
        }
    }

    fn apply_one(&self, a: f32, b: f32) -> f32 {
        match self.op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::Pow => a.powf(b),
            BinaryOp::Min => a.min(b),
            BinaryOp::Max => a.max(b),
        }
    }
}

/// `y = op(a, b)` on real values, broadcasting expressed by strides of 0; `y` may be `a` or `b`.
///
/// # Errors
/// `Scale`, `Shape`, and what every kernel checks.
pub fn q_binary(
    ctx: &mut Context,
    op: BinaryOp,
    (a, a_params): (&View, CodeParams),
    (b, b_params): (&View, CodeParams),
    (y, y_params): (&View, CodeParams),
) -> Result<(), KernelError> {
    for (operand, params) in [("a", a_params), ("b", b_params), ("y", y_params)] {
        params.check(operand)?;
    }
    a.check_shape("a", &y.shape)?;
    b.check_shape("b", &y.shape)?;
    ctx.check_codes(y, &[("a", a), ("b", b)], true)?;
    let Some(nest) = &Nest::new([y, a, b]) else {
        return Ok(());
    };
    let (codes, isa) = (Base(ctx.codes.as_mut_ptr()), ctx.isa);
    ctx.pool.run(nest.tasks(), &|task| {
        let body = Binary {
            nest,
            codes,
            op,
            a: a_params,
            b: b_params,
            y: y_params,
            task,
        };
        // SAFETY: views and instruction set are checked; tasks write disjoint rows.
        unsafe { dispatch_codes(isa, &body) };
    });
    Ok(())
}
