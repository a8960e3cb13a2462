//! Conv: its input receives a transposed convolution with the same weight, its weight a product of input and gradient, its
//! bias a sum.
//! Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (arXiv:1603.07285), section 4.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Conv, ConvTranspose, ConvWeightGradient};

impl Gradient for Conv {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let dy = node.output_gradient(0);
        let dx = node.wants(0).then(|| {
            let back = transposed(self, node.input_shape(0), node.output_shape(0));
            node.apply(back, &[dy, node.input(1)])
        });
        let dw = node.wants(1).then(|| {
            let conv = self.clone();
            node.apply(ConvWeightGradient { conv }, &[node.input(0), dy])
        });
        let db = node.wants(2).then(|| channel_sum(node, dy, 2));
        Ok(vec![dx, dw, db])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        let plain = Conv {
            kernel_shape: [3, 3],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [1, 1, 1, 1],
            group: 1,
        };
        let strided = Conv { strides: [2, 2], ..plain.clone() };
        let odd = Conv {
            kernel_shape: [3, 2],
            strides: [2, 3],
            dilations: [2, 1],
            pads: [1, 0, 2, 1],
            group: 1,
        };
        let depthwise = Conv { group: 3, ..strided.clone() };
        let grouped = Conv { group: 2, ..plain.clone() };
        let pointwise = Conv { kernel_shape: [1, 1], pads: [0; 4], ..plain.clone() };
        vec![
            Case::new(plain, &[&[2, 2, 4, 5], &[3, 2, 3, 3], &[3]]),
            Case::new(strided, &[&[1, 2, 6, 5], &[2, 2, 3, 3], &[2]]),
            Case::new(odd, &[&[1, 2, 8, 7], &[2, 2, 3, 2]]),
            Case::new(depthwise, &[&[1, 3, 5, 4], &[3, 1, 3, 3], &[3]]),
            Case::new(grouped, &[&[1, 4, 3, 3], &[6, 2, 3, 3], &[6]]),
            Case::new(pointwise, &[&[2, 3, 2, 2], &[4, 3, 1, 1], &[4]]),
        ]
    }
}

/// The sum of a gradient `[N, C, H, W]` over all but its channels, in the shape of the bias that is input `bias`.
pub(super) fn channel_sum(node: &mut Backward<'_>, dy: ValueId, bias: usize) -> ValueId {
    let sum = node.sum(dy, vec![0, 2, 3]);
    let shape = node.input_shape(bias);
    node.reshape(sum, shape)
}

/// The transposed convolution that leads from the shape of a convolution's output back to that of its input: rows and
/// columns that no window reached are padding of its output.
fn transposed(conv: &Conv, x: &[usize], y: &[usize]) -> ConvTranspose {
    let unreached = |axis: usize| {
        let reach = (conv.kernel_shape[axis] - 1) * conv.dilations[axis] + 1;
        let padded = x[axis + 2] + conv.pads[axis] + conv.pads[axis + 2];
        padded - ((y[axis + 2] - 1) * conv.strides[axis] + reach)
    };
    ConvTranspose {
        kernel_shape: conv.kernel_shape,
        strides: conv.strides,
        dilations: conv.dilations,
        pads: conv.pads,
        output_padding: [unreached(0), unreached(1)],
        group: conv.group,
    }
}
