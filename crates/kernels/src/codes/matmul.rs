//! Batched matrix product of codes.

use super::{CodeParams, QOut};
use crate::arena::each_coordinate;
use crate::{Context, Dims, KernelError, View};

/// `y = a b` over the last two axes: sums in i32 of `(a - zero_point) * (b - zero_point)`, times both scales.
///
/// # Shapes
/// `a: [.., M, K]`, `b: [.., K, N]`, `y: [.., M, N]` with equal leading axes; broadcasting is expressed by strides of 0.
///
/// # Errors
/// `Rank`, `Shape`, `Scale`, and what every kernel checks.
pub fn q_matmul(
    ctx: &mut Context,
    (a, a_params): (&View, CodeParams),
    (b, b_params): (&View, CodeParams),
    y: &QOut,
) -> Result<(), KernelError> {
    let view = y.view();
    let rank = view.shape.len();
    if rank < 2 {
        return Err(KernelError::Rank {
            operand: "y",
            expected: 2,
            found: rank,
        });
    }
    a.check_rank("a", rank)?;
    b.check_rank("b", rank)?;
    a_params.check("a")?;
    b_params.check("b")?;
    let depth = a.shape[rank - 1];
    let expect = |m: usize, n: usize| -> Dims { view.shape.with(rank - 2, m).with(rank - 1, n) };
    a.check_shape("a", &expect(view.shape[rank - 2], depth))?;
    b.check_shape("b", &expect(depth, view.shape[rank - 1]))?;
    match y {
        QOut::Codes { params, .. } => {
            params.check("y")?;
            ctx.check_codes(view, &[("a", a), ("b", b)], false)?;
        }
        QOut::Float { .. } => {
            a.check_bounds("a", ctx.codes.len())?;
            b.check_bounds("b", ctx.codes.len())?;
            ctx.check(view, &[], false)?;
        }
    }
    let multiplier = a_params.scale * b_params.scale;
    let batch = |v: &View, index: &[usize]| {
        let steps = index[..rank - 2].iter().zip(v.strides.iter());
        v.offset + steps.map(|(i, s)| i * s).sum::<usize>()
    };
    each_coordinate(view, |index, to| {
        let (m, n) = (index[rank - 2], index[rank - 1]);
        let codes = ctx.codes.as_slice();
        let a_row = batch(a, index) + m * a.strides[rank - 2];
        let b_column = batch(b, index) + n * b.strides[rank - 1];
        let mut sum = 0i32;
        for k in 0..depth {
            let a = i32::from(codes[a_row + k * a.strides[rank - 1]]);
            let b = i32::from(codes[b_column + k * b.strides[rank - 2]]);
            let product =
                (a - i32::from(a_params.zero_point)) * (b - i32::from(b_params.zero_point));
            sum = sum.wrapping_add(product);
        }
        let value = sum as f32 * multiplier;
        match y {
            QOut::Codes { params, .. } => ctx.codes.as_mut_slice()[to] = params.code(value),
            QOut::Float { .. } => ctx.arena.as_mut_slice()[to] = value,
        }
    });
    Ok(())
}
