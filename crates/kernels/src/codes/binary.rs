//! One code from two.

use super::CodeParams;
use crate::arena::each_coordinate;
use crate::{BinaryOp, Context, KernelError, View};

fn at(view: &View, index: &[usize]) -> usize {
    let steps = index.iter().zip(view.strides.iter());
    view.offset + steps.map(|(i, s)| i * s).sum::<usize>()
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
    each_coordinate(y, |index, to| {
        let codes = ctx.codes.as_mut_slice();
        let a = a_params.real(codes[at(a, index)]);
        let b = b_params.real(codes[at(b, index)]);
        let value = match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::Pow => a.powf(b),
            BinaryOp::Min => a.min(b),
            BinaryOp::Max => a.max(b),
        };
        codes[to] = y_params.code(value);
    });
    Ok(())
}
