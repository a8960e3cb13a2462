//! ConvTranspose: it is the gradient of a convolution, so that convolution is its gradient.
use super::Gradient;
use super::conv::channel_sum;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Conv, ConvTranspose, ConvWeightGradient};

impl Gradient for ConvTranspose {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        if self.output_padding != [0, 0] {
            return Err(node.unsupported("output padding"));
        }
        let conv = Conv {
            kernel_shape: self.kernel_shape,
            strides: self.strides,
            dilations: self.dilations,
            pads: self.pads,
            group: self.group,
        };
        let dy = node.output_gradient(0);
        let dx = node.wants(0).then(|| node.apply(conv.clone(), &[dy, node.input(1)]));
        let dw =
            node.wants(1).then(|| node.apply(ConvWeightGradient { conv }, &[dy, node.input(0)]));
        let db = node.wants(2).then(|| channel_sum(node, dy, 2));
        Ok(vec![dx, dw, db])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let doubling = ConvTranspose {
            kernel_shape: [2, 2],
            strides: [2, 2],
            dilations: [1, 1],
            pads: [0; 4],
            output_padding: [0, 0],
            group: 1,
        };
        let grouped = ConvTranspose {
            kernel_shape: [3, 4],
            pads: [1, 1, 0, 2],
            group: 2,
            ..doubling.clone()
        };
        vec![
            Case::new(doubling, &[&[1, 2, 3, 2], &[2, 3, 2, 2], &[3]]),
            Case::new(grouped, &[&[1, 4, 3, 3], &[4, 1, 3, 4], &[2]]),
        ]
    }
}
