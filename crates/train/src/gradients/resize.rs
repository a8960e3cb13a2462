//! Resize: a product with one matrix along rows and one along columns, so its gradient is a product with their transposes.
use super::Gradient;
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::ValueId;
use ir::ops::{Conv, MatMul, Resize};

impl Gradient for Resize {
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError> {
        let (x, y) = (node.input_shape(0), node.output_shape(0));
        let weights = [0, 1].map(|axis| {
            let mut weights = Weights::zeros(y[axis + 2], x[axis + 2]);
            for (out, sources) in self.sources(axis, [x[2], x[3]]).into_iter().enumerate() {
                for (source, weight) in sources {
                    weights.add(out, source, weight);
                }
            }
            weights
        });
        let dy = node.output_gradient(0);
        let factors = [weights[0].copies(), weights[1].copies()];
        let dx = match factors {
            [Some(rows), Some(columns)] => block_sum(node, dy, [rows, columns]),
            _ => transposed_product(node, dy, weights),
        };
        Ok(vec![Some(dx)])
    }

    #[cfg(test)]
    fn cases() -> Vec<Case> {
        use ir::ops::{CoordinateMode, Extent, NearestMode, ResizeMode};
        let doubled = Resize {
            mode: ResizeMode::Nearest(NearestMode::Floor),
            coordinate_mode: CoordinateMode::Asymmetric,
            extent: Extent::Scales([2.0, 3.0]),
        };
        let uneven = Resize { extent: Extent::Sizes([2, 2, 5, 2]), ..doubled.clone() };
        let linear = Resize {
            mode: ResizeMode::Linear,
            coordinate_mode: CoordinateMode::HalfPixel,
            extent: Extent::Scales([2.0, 1.5]),
        };
        [doubled, uneven, linear].map(|op| Case::new(op, &[&[2, 2, 3, 4]])).into()
    }
}

/// How output elements along one axis are made of input elements: a matrix `[outputs, inputs]`.
pub(super) struct Weights {
    outputs: usize,
    inputs: usize,
    elements: Vec<f64>,
}

impl Weights {
    pub(super) fn zeros(outputs: usize, inputs: usize) -> Self {
        let elements = vec![0.0; outputs * inputs];
        Self { outputs, inputs, elements }
    }

    pub(super) fn add(&mut self, output: usize, input: usize, weight: f64) {
        self.elements[output * self.inputs + input] += weight;
    }

    fn transposed(&self) -> Vec<f64> {
        let column = |i| (0..self.outputs).map(move |o| self.elements[o * self.inputs + i]);
        (0..self.inputs).flat_map(column).collect()
    }

    /// The number of copies that each input becomes, where the outputs are just these copies in the order of the inputs.
    fn copies(&self) -> Option<usize> {
        let copies = self.outputs / self.inputs;
        let expected = |at: usize| {
            let (output, input) = (at / self.inputs, at % self.inputs);
            f64::from(u8::from(output / copies.max(1) == input))
        };
        let is_expected = |(at, &weight): (usize, &f64)| weight == expected(at);
        let all = self.elements.iter().enumerate().all(is_expected);
        (copies * self.inputs == self.outputs && all).then_some(copies)
    }
}

/// The gradient of the input of what makes `y = rows * x * columns^T` of each plane: `rows^T * dy * columns`.
pub(super) fn transposed_product(
    node: &mut Backward<'_>,
    dy: ValueId,
    [rows, columns]: [Weights; 2],
) -> ValueId {
    let right = node.constant(&[columns.outputs, columns.inputs], &columns.elements);
    let left = node.constant(&[rows.inputs, rows.outputs], &rows.transposed());
    let narrow = node.apply(MatMul::default(), &[dy, right]);
    node.apply(MatMul::default(), &[left, narrow])
}

/// The sum over blocks of so many rows and columns: a depthwise convolution with ones.
fn block_sum(node: &mut Backward<'_>, dy: ValueId, block: [usize; 2]) -> ValueId {
    let channels = node.output_shape(0)[1];
    let ones = vec![1.0; channels * block[0] * block[1]];
    let ones = node.constant(&[channels, 1, block[0], block[1]], &ones);
    let sum = Conv {
        kernel_shape: block,
        strides: block,
        dilations: [1, 1],
        pads: [0; 4],
        group: channels,
    };
    node.apply(sum, &[dy, ones])
}
