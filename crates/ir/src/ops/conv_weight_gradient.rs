//! The gradient of a convolution's weight. Made by differentiating a graph; no file holds it.
use super::conv::{Conv, taps};
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// What the weight `[O, C / group, kH, kW]` of a convolution of `x: [N, C, H, W]` receives from the gradient
/// `dy: [N, O, oH, oW]` of its output: the sum of `dy * x` over all places where a tap of the window lay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvWeightGradient {
    /// The convolution.
    pub conv: Conv,
}

impl Operator for ConvWeightGradient {
    const OP_TYPES: &'static [&'static str] = &[];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Err(super::gradient_in_a_file())
    }

    fn op_type(&self) -> &'static str {
        "ConvWeightGradient"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (x, dy) = (inputs[0], inputs[1]);
        if let Some(input) = (0..2).find(|&i| inputs[i].rank() != 4) {
            let found = inputs[input].shape.clone();
            return Err(OpError::Rank { input, expected: "4", found });
        }
        let [rows, columns] = self.conv.kernel_shape;
        let shape = [dy.shape[1], x.shape[1] / self.conv.group, rows, columns];
        let weight = TensorType::new(x.dtype, shape);
        let y = self.conv.infer(&[x, &weight])?.remove(0);
        super::expect_shape(1, &y.shape, &dy.shape)?;
        Ok(vec![weight])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let out = self.infer(&[&inputs[0].ty(), &inputs[1].ty()])?.remove(0);
        let (x, dy) = (inputs[0].to_f64()?, inputs[1].to_f64()?);
        let (xs, ys, ws) = (inputs[0].shape(), inputs[1].shape(), &out.shape);
        let Conv { strides, dilations, pads, group, .. } = self.conv;
        let window = self.conv.window();
        let per_group = ws[0] / group;
        let mut dw = vec![0.0; out.elements()];
        for (i, &dy) in dy.iter().enumerate() {
            let (ox, oy) = (i % ys[3], i / ys[3] % ys[2]);
            let (o, n) = (i / (ys[3] * ys[2]) % ys[1], i / (ys[3] * ys[2] * ys[1]));
            for c in 0..ws[1] {
                let plane = (n * xs[1] + o / per_group * ws[1] + c) * xs[2];
                for ky in taps(&window, 0, oy, xs[2]) {
                    let row = (plane + oy * strides[0] + ky * dilations[0] - pads[0]) * xs[3];
                    for kx in taps(&window, 1, ox, xs[3]) {
                        let column = ox * strides[1] + kx * dilations[1] - pads[1];
                        dw[((o * ws[1] + c) * ws[2] + ky) * ws[3] + kx] += dy * x[row + column];
                    }
                }
            }
        }
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &dw)?])
    }

    fn channel_links(&self, _shapes: &Shapes<'_>) -> Channels {
        Channels::none()
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Float
    }

    fn macs(&self, shapes: &Shapes<'_>) -> u64 {
        let w = &shapes.outputs[0].shape;
        shapes.inputs[1].elements() as u64 * (w[1] * w[2] * w[3]) as u64
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![]
    }
}
