//! Element-wise operations of two quantized tensors.

use super::conv::steps;
use super::convert::dequantize_lanes;
use super::{U8Params, U8View};
use crate::nest::{self, Bases, I32Row};
use crate::vector::{F32Vector, I32Vector, Pixels, from_u8_part};
use crate::{BinaryOp, Context, KernelError};

struct Binary {
    op: BinaryOp,
    a: U8Params,
    b: U8Params,
    y: U8Params,
}

impl I32Row<3> for Binary {
    #[inline(always)]
    unsafe fn row<V: I32Vector>(
        &self,
        bases: Bases,
        [y, a, b]: [usize; 3],
        [y_step, a_step, b_step]: [usize; 3],
        n: usize,
    ) {
        let (y, a, b) = (bases.u8s.at(y), bases.u8s.at(a), bases.u8s.at(b));
        let vectors = y_step == 1 && a_step <= 1 && b_step <= 1;
        let mut i = 0;
        while i < n {
            // SAFETY: the caller's.
            unsafe {
                let (y, a, b) = (y.add(i * y_step), a.add(i * a_step), b.add(i * b_step));
                if vectors {
                    let a = dequantize_lanes(fetch::<V>(a, a_step, n - i), &self.a);
                    let b = dequantize_lanes(fetch::<V>(b, b_step, n - i), &self.b);
                    let steps = steps(self.op.apply_lanes(a, b), 1.0 / self.y.scale);
                    let to = Pixels { to: y, step: 0, channels: n - i };
                    V::store_u8::<1, 1>([steps], self.y.zero_point, to);
                    i += V::F::LANES;
                } else {
                    let (a, b) = (self.a.dequantize(*a), self.b.dequantize(*b));
                    *y = self.y.quantize(self.op.apply(a, b));
                    i += 1;
                }
            }
        }
    }
}

/// Quantized values side by side, or one repeated.
#[inline(always)]
unsafe fn fetch<V: I32Vector>(from: *const u8, step: usize, n: usize) -> V {
    // SAFETY: the caller's: `n` valid values at the step.
    unsafe { if step == 0 { V::splat(i32::from(*from)) } else { from_u8_part(from, n) } }
}

/// `y = op(a, b)` on real values, broadcasting expressed by strides of 0; `y` may be `a` or `b`.
///
/// # Shapes
/// `a`, `b` and `y`: of one shape, u8, any layouts.
///
/// # Errors
/// `Scale`, `Shape`, and what every kernel checks.
pub fn q_binary(
    ctx: &mut Context,
    op: BinaryOp,
    a: &U8View,
    b: &U8View,
    y: &U8View,
) -> Result<(), KernelError> {
    for (operand, tensor) in [("a", a), ("b", b), ("y", y)] {
        tensor.params.check(operand)?;
        tensor.view.check_shape(operand, &y.view.shape)?;
    }
    ctx.check_u8(&y.view, &[("a", &a.view), ("b", &b.view)], true)?;
    let body = Binary { op, a: a.params, b: b.params, y: y.params };
    nest::run_i32(ctx, [&y.view, &a.view, &b.view], &body);
    Ok(())
}
