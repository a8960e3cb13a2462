//! Softmax: `dx = y * (dy - sum(dy * y))`.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{BinaryKind, Softmax};

impl Gradient for Softmax {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let last = match self.coerced.len() {
            0 => self.axis + 1,
            joined => self.axis + joined,
        };
        let y = node.output(0);
        let dy = node.output_gradient(0);
        let product = node.binary(BinaryKind::Mul, dy, y);
        let mean = node.sum(product, (self.axis..last).collect());
        let centred = node.binary(BinaryKind::Sub, dy, mean);
        Ok(vec![Some(node.binary(BinaryKind::Mul, y, centred))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let case = |axis, coerced: &[usize]| {
            let coerced = coerced.to_vec();
            Case::new(Softmax { axis, coerced }, &[&[2, 3, 2]])
        };
        vec![case(1, &[]), case(2, &[]), case(1, &[3, 2])]
    }
}
