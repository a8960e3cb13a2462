//! AveragePool: a mean along rows and one along columns, so its gradient is a product with the transpose of each.
use super::Gradient;
use super::resize::{Weights, transposed_product};
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::AveragePool;

impl Gradient for AveragePool {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let (x, y) = (node.input_shape(0), node.output_shape(0));
        let weights = [0, 1].map(|axis| {
            let mut weights = Weights::zeros(y[axis + 2], x[axis + 2]);
            for out in 0..y[axis + 2] {
                let (inside, padded) = self.taps(axis, out, x[axis + 2]);
                let count = if self.count_include_pad { padded } else { inside.len() };
                for tap in inside {
                    weights.add(out, tap, 1.0 / count as f64);
                }
            }
            weights
        });
        let dy = node.output_gradient(0);
        Ok(vec![Some(transposed_product(node, dy, weights))])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let plain = AveragePool {
            kernel_shape: [2, 2],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0; 4],
            ceil_mode: false,
            count_include_pad: true,
        };
        let padded = AveragePool {
            kernel_shape: [3, 3],
            strides: [2, 2],
            pads: [1, 1, 0, 1],
            ceil_mode: true,
            ..plain.clone()
        };
        let without = AveragePool { count_include_pad: false, ..padded.clone() };
        [plain, padded, without].map(|op| Case::new(op, &[&[2, 2, 5, 4]])).into()
    }
}
