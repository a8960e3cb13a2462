//! One quantized value from two.

use super::U8Params;
use super::conv::steps;
use super::convert::dequantize_lanes;
use super::vector::{I32Body, I32Vector, Pixels, dispatch_i32, from_u8_part};
use crate::nest::{Base, Nest};
use crate::vector::F32Vector;
use crate::{BinaryOp, Context, KernelError, View};

struct Binary<'a> {
    nest: &'a Nest<3>,
    u8s: Base<u8>,
    op: BinaryOp,
    a: U8Params,
    b: U8Params,
    y: U8Params,
    task: usize,
}

impl I32Body for Binary<'_> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let [y_step, a_step, b_step] = self.nest.strides();
        let vectors = y_step == 1 && a_step <= 1 && b_step <= 1 && self.op != BinaryOp::Pow;
        self.nest.rows(
            self.task,
            #[inline(always)]
            |[y, a, b], n| {
                let (y, a, b) = (self.u8s.at(y), self.u8s.at(a), self.u8s.at(b));
                let mut i = 0;
                while i < n {
                    // SAFETY: the caller's; rows lie inside the checked views.
                    unsafe {
                        let (y, a, b) = (y.add(i * y_step), a.add(i * a_step), b.add(i * b_step));
                        if vectors {
                            let a = dequantize_lanes(fetch::<V>(a, a_step, n - i), &self.a);
                            let b = dequantize_lanes(fetch::<V>(b, b_step, n - i), &self.b);
                            let quantized = steps(self.apply::<V>(a, b), 1.0 / self.y.scale);
                            let to = Pixels {
                                to: y,
                                step: 0,
                                channels: n - i,
                            };
                            V::store_u8::<1, 1>([quantized], self.y.zero_point, to);
                            i += V::F::LANES;
                        } else {
                            let (a, b) = (self.a.dequantize(*a), self.b.dequantize(*b));
                            *y = self.y.quantize(self.apply_one(a, b));
                            i += 1;
                        }
                    }
                }
            },
        );
    }
}

/// Quantized values side by side, or one repeated.
#[inline(always)]
unsafe fn fetch<V: I32Vector>(from: *const u8, step: usize, n: usize) -> V {
    // SAFETY: the caller's: `n` valid values at the step.
    unsafe {
        if step == 0 {
            V::splat(i32::from(*from))
        } else {
            from_u8_part(from, n)
        }
    }
}

impl Binary<'_> {
    #[inline(always)]
    unsafe fn apply<V: I32Vector>(&self, a: V::F, b: V::F) -> V::F {
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
    (a, a_params): (&View, U8Params),
    (b, b_params): (&View, U8Params),
    (y, y_params): (&View, U8Params),
) -> Result<(), KernelError> {
    for (operand, params) in [("a", a_params), ("b", b_params), ("y", y_params)] {
        params.check(operand)?;
    }
    a.check_shape("a", &y.shape)?;
    b.check_shape("b", &y.shape)?;
    ctx.check_u8(y, &[("a", a), ("b", b)], true)?;
    let Some(nest) = &Nest::new([y, a, b]) else {
        return Ok(());
    };
    let (u8s, isa) = (Base(ctx.u8_arena.as_mut_ptr()), ctx.isa);
    ctx.pool.run(nest.tasks(), &|task| {
        let body = Binary {
            nest,
            u8s,
            op,
            a: a_params,
            b: b_params,
            y: y_params,
            task,
        };
        // SAFETY: views and instruction set are checked; tasks write disjoint rows.
        unsafe { dispatch_i32(isa, &body) };
    });
    Ok(())
}
