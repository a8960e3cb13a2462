//! DequantizeLinear: quantized values to f32.
//! Spec: onnx.ai/onnx/operators/onnx__DequantizeLinear.html, opset 10 to 21; block-wise scales are not supported.
use super::DynamicDequantizeLinear;
use super::quantize_linear::{channel_of, check_axis, keep_params, lower_params, read_params};
use crate::{
    Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    QuantParams, Shapes, Tensor, TensorType,
};

/// `x = (q - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct DequantizeLinear {
    /// Scale, zero_point, axis and integer type.
    pub params: QuantParams,
}

impl Operator for DequantizeLinear {
    const OP_TYPES: &'static [&'static str] = &["DequantizeLinear"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let is_computed = |i: usize| spec.input(i).is_some_and(|input| input.constant.is_none());
        if is_computed(1) && DynamicDequantizeLinear::fits(spec) {
            spec.attributes.ignore(&["axis"]);
            return DynamicDequantizeLinear::parse(spec);
        }
        let dtype = spec.ty(0)?.dtype;
        let params = read_params(spec, dtype)?;
        Ok(Parsed::first(Self { params }, 1))
    }

    fn op_type(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        if inputs[0].dtype != self.params.dtype() {
            return Err(OpError::DType { expected: self.params.dtype(), found: inputs[0].dtype });
        }
        check_axis(&self.params, inputs[0])?;
        Ok(vec![TensorType::new(DataType::F32, inputs[0].shape.clone())])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let ty = inputs[0].ty();
        self.infer(&[&ty])?;
        let channel = channel_of(&self.params, &ty.shape);
        let real: Vec<f32> = inputs[0]
            .to_i64()?
            .iter()
            .enumerate()
            .map(|(i, &q)| self.params.dequantize(channel(i), q as i32))
            .collect();
        Ok(vec![Tensor::new(ty.shape, real)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::pass_through(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        Self { params: keep_params(&self.params, kept) }
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Boundary
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        lower_params("DequantizeLinear", &self.params)
    }
}
