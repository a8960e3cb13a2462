//! The gradient of MaxPool. Made by differentiating a graph; no file holds it.
use super::conv::taps;
use super::max_pool::MaxPool;
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// What the input `x: [N, C, H, W]` of a MaxPool receives from the gradient `dy` of its output: each window hands its
/// element of `dy` to the first of its largest elements, as PyTorch does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPoolGradient {
    /// The pooling.
    pub pool: MaxPool,
}

impl Operator for MaxPoolGradient {
    const OP_TYPES: &'static [&'static str] = &[];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Err(super::gradient_in_a_file())
    }

    fn op_type(&self) -> &'static str {
        "MaxPoolGradient"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let y = self.pool.infer(&inputs[..1])?.remove(0);
        super::expect_shape(1, &y.shape, &inputs[1].shape)?;
        Ok(vec![inputs[0].clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let out = self.infer(&[&inputs[0].ty(), &inputs[1].ty()])?.remove(0);
        let (x, dy) = (inputs[0].to_f64()?, inputs[1].to_f64()?);
        let (xs, ys) = (inputs[0].shape(), inputs[1].shape());
        let MaxPool { strides, dilations, pads, .. } = self.pool;
        let window = self.pool.window();
        let mut dx = vec![0.0; x.len()];
        for (i, &dy) in dy.iter().enumerate() {
            let (ox, oy, plane) = (i % ys[3], i / ys[3] % ys[2], i / (ys[3] * ys[2]));
            let mut largest: Option<usize> = None;
            for ky in taps(&window, 0, oy, xs[2]) {
                let row = plane * xs[2] + oy * strides[0] + ky * dilations[0] - pads[0];
                for kx in taps(&window, 1, ox, xs[3]) {
                    let at = row * xs[3] + ox * strides[1] + kx * dilations[1] - pads[1];
                    if largest.is_none_or(|best| x[at] > x[best]) {
                        largest = Some(at);
                    }
                }
            }
            if let Some(at) = largest {
                dx[at] += dy;
            }
        }
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &dx)?])
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

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![]
    }
}
