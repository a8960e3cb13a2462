//! Gemm: each matrix receives the gradient times the other one's transpose, the added one the sum over its copies.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::Gemm;

impl Gradient for Gemm {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let (a, b) = (node.input(0), node.input(1));
        let dy = node.output_gradient(0);
        let product = |trans_a, trans_b| Gemm {
            alpha: self.alpha,
            beta: 1.0,
            trans_a,
            trans_b,
            is_weighted: false,
        };
        let da = node.wants(0).then(|| {
            if self.trans_a {
                node.apply(product(self.trans_b, true), &[b, dy])
            } else {
                node.apply(product(false, !self.trans_b), &[dy, b])
            }
        });
        let db = node.wants(1).then(|| {
            if self.trans_b {
                node.apply(product(true, self.trans_a), &[dy, a])
            } else {
                node.apply(product(!self.trans_a, false), &[a, dy])
            }
        });
        let dc = node.wants(2).then(|| {
            let scaled = node.scale(dy, f64::from(self.beta));
            node.sum_to(scaled, node.output_shape(0), node.input_shape(2))
        });
        Ok(vec![da, db, dc])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let case = |trans_a: bool, trans_b: bool, c: &[usize]| {
            let op = Gemm { alpha: 0.5, beta: 2.0, trans_a, trans_b, is_weighted: true };
            let a: &[usize] = if trans_a { &[4, 3] } else { &[3, 4] };
            let b: &[usize] = if trans_b { &[2, 4] } else { &[4, 2] };
            Case::new(op, &[a, b, c])
        };
        vec![
            case(false, false, &[2]),
            case(true, false, &[3, 1]),
            case(false, true, &[3, 2]),
            case(true, true, &[]),
        ]
    }
}
