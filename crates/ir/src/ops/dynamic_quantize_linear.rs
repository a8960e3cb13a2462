//! DynamicQuantizeLinear: f32 to `u8` over the range that they turn out to have.
//! Spec: onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html, opset 11.
use crate::{
    Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError,
    Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// `u8` values of the shape of `x`, their scale `f32` and their zero_point `u8`, both without axes: 0 is exact, and the
/// smallest and largest element become 0 and 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicQuantizeLinear;

/// Largest quantized value.
const TOP: f32 = 255.0;

impl Operator for DynamicQuantizeLinear {
    const OP_TYPES: &'static [&'static str] = &["DynamicQuantizeLinear"];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Ok(Parsed::first(Self, 1))
    }

    fn op_type(&self) -> &'static str {
        "DynamicQuantizeLinear"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        if inputs[0].dtype != DataType::F32 {
            return Err(OpError::DType { expected: DataType::F32, found: inputs[0].dtype });
        }
        let values = TensorType::new(DataType::U8, inputs[0].shape.clone());
        Ok(vec![values, TensorType::new(DataType::F32, []), TensorType::new(DataType::U8, [])])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0].as_slice::<f32>()?;
        let (low, high) = x.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
        // What ONNX leaves open, a tensor of zeros, is as in ONNX Runtime.
        let scale = if low == high { 1.0 } else { (high - low) / TOP };
        let zero = (-low / scale).round_ties_even().clamp(0.0, TOP);
        let values =
            x.iter().map(|&x| ((x / scale).round_ties_even() + zero).clamp(0.0, TOP) as u8);
        let values = Tensor::new(inputs[0].shape().to_vec(), values.collect::<Vec<u8>>())?;
        Ok(vec![values, Tensor::scalar(scale), Tensor::scalar(zero as u8)])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::pass_through(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Boundary
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, outputs: usize) -> Vec<LoweredNode> {
        let outputs = (0..outputs).map(LoweredOutput::Output).collect();
        vec![LoweredNode {
            op_type: "DynamicQuantizeLinear",
            inputs: vec![LoweredInput::Input(0)],
            outputs,
            attributes: vec![],
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the ONNX specification, "dynamicquantizelinear", "_max_adjusted" and "_min_adjusted".
    #[test]
    fn dynamic_quantize_linear_of_the_specifications_examples_gives_their_codes() {
        let quantized = |x: Vec<f32>| DynamicQuantizeLinear.forward(&[&Tensor::vector(x)]).unwrap();
        let found = quantized(vec![0.0, 2.0, -3.0, -2.5, 1.34, 0.5]);
        assert_eq!(found[0], Tensor::vector(vec![153u8, 255, 0, 26, 221, 179]));
        assert_eq!(found[2], Tensor::scalar(153u8));
        let found = quantized(vec![-1.0, -2.1, -1.3, -2.5, -3.34, -4.0]);
        assert_eq!(found[0], Tensor::vector(vec![191u8, 121, 172, 96, 42, 0]));
        assert_eq!(quantized(vec![0.0; 2])[1], Tensor::scalar(1f32));
    }
}
