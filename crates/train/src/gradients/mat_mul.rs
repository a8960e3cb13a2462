//! MatMul: each operand receives the gradient times the other one's transpose.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{MatMul, Transpose};

impl Gradient for MatMul {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let (a, b) = (node.input_shape(0), node.input_shape(1));
        // An operand of one axis is a row or a column.
        let wide_a = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
        let wide_b = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
        let (rows, columns) = (wide_a[wide_a.len() - 2], wide_b[wide_b.len() - 1]);
        let y = node.output_shape(0);
        let batch = &y[..y.len() - usize::from(a.len() > 1) - usize::from(b.len() > 1)];
        let with_batch = |rows, columns| [batch, &[rows, columns]].concat();
        let terms = wide_a[wide_a.len() - 1];
        let dy = node.output_gradient(0);
        let dy = node.reshape(dy, &with_batch(rows, columns));
        let da = node.wants(0).then(|| {
            let right = matrix(node, 1, &wide_b);
            let right = transpose(node, right, wide_b.len());
            let da = node.apply(MatMul::default(), &[dy, right]);
            let da = node.sum_to(da, &with_batch(rows, terms), &wide_a);
            node.reshape(da, a)
        });
        let db = node.wants(1).then(|| {
            let left = matrix(node, 0, &wide_a);
            let left = transpose(node, left, wide_a.len());
            let db = node.apply(MatMul::default(), &[left, dy]);
            let db = node.sum_to(db, &with_batch(terms, columns), &wide_b);
            node.reshape(db, b)
        });
        Ok(vec![da, db])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let shapes: [[&[usize]; 2]; 5] = [
            [&[3, 4], &[4, 2]],
            [&[2, 3, 4], &[4, 2]],
            [&[2, 1, 3, 4], &[3, 4, 2]],
            [&[4], &[2, 4, 3]],
            [&[2, 4], &[4]],
        ];
        shapes.map(|shapes| Case::new(MatMul::default(), &shapes)).into()
    }
}

/// An operand with two axes at least.
fn matrix(node: &mut Backward<'_>, input: usize, shape: &[usize]) -> ValueId {
    match node.input_shape(input).len() {
        1 => node.reshape(node.input(input), shape),
        _ => node.input(input),
    }
}

/// A value with its last two axes exchanged.
fn transpose(node: &mut Backward<'_>, value: ValueId, rank: usize) -> ValueId {
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    node.apply(Transpose { perm }, &[value])
}
