//! The gradient of an element-wise function of one tensor. Made by differentiating a graph; no file holds it.
use super::UnaryKind;
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// `dy * f'(x)` for every element of two tensors of one shape, `x` and `dy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnaryGradient {
    /// `f`.
    pub kind: UnaryKind,
}

impl Operator for UnaryGradient {
    const OP_TYPES: &'static [&'static str] = &[];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Err(super::gradient_in_a_file())
    }

    fn op_type(&self) -> &'static str {
        "UnaryGradient"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        super::expect_shape(1, &inputs[0].shape, &inputs[1].shape)?;
        Ok(vec![inputs[0].clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let out = self.infer(&[&inputs[0].ty(), &inputs[1].ty()])?.remove(0);
        let (x, dy) = (inputs[0].to_f64()?, inputs[1].to_f64()?);
        let slopes = x.iter().map(|&x| self.kind.derivative(x));
        let dx: Vec<f64> = slopes.zip(dy).map(|(slope, dy)| slope * dy).collect();
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &dx)?])
    }

    fn channel_links(&self, _shapes: &Shapes<'_>) -> Channels {
        Channels::none()
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
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
