//! Element-wise arithmetic of two tensors; what was broadcast receives the sum over its copies.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::BinaryKind::{Add, Div, Mul, Pow, Sub};
use ir::ops::{Binary, Unary, UnaryKind};

impl Gradient for Binary {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let (a, b, y) = (node.input(0), node.input(1), node.output(0));
        let dy = node.output_gradient(0);
        let da = node.wants(0).then(|| match self.kind {
            Add | Sub => dy,
            Mul => node.binary(Mul, dy, b),
            Div => node.binary(Div, dy, b),
            Pow => {
                let one = node.constant(&[], &[1.0]);
                let exponent = node.binary(Sub, b, one);
                let power = node.binary(Pow, a, exponent);
                let slope = node.binary(Mul, b, power);
                node.binary(Mul, dy, slope)
            }
        });
        let db = node.wants(1).then(|| match self.kind {
            Add => dy,
            Sub => node.scale(dy, -1.0),
            Mul => node.binary(Mul, dy, a),
            Div => {
                let slope = node.binary(Div, y, b);
                let product = node.binary(Mul, dy, slope);
                node.scale(product, -1.0)
            }
            Pow => {
                let kind = UnaryKind::Log;
                let log = node.apply(Unary { kind }, &[a]);
                let slope = node.binary(Mul, y, log);
                node.binary(Mul, dy, slope)
            }
        });
        let shape = node.output_shape(0);
        let mut fit = |gradient: Option<ValueId>, input: usize| {
            gradient.map(|g| node.sum_to(g, shape, node.input_shape(input)))
        };
        Ok(vec![fit(da, 0), fit(db, 1)])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let kinds = [Add, Sub, Mul, Div, Pow];
        let shapes: [[&[usize]; 2]; 4] =
            [[&[2, 3], &[2, 3]], [&[2, 3, 2], &[3, 1]], [&[1], &[2, 2]], [&[2, 1, 2], &[1, 3, 1]]];
        let cases = kinds
            .into_iter()
            .flat_map(|kind| shapes.map(|shapes| Case::new(Binary { kind }, &shapes).positive()));
        cases.collect()
    }
}
