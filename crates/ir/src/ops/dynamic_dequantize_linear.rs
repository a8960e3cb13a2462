//! DequantizeLinear whose scale and zero_point are computed from the model's input: the way back from
//! DynamicQuantizeLinear.
//! Spec: onnx.ai/onnx/operators/onnx__DequantizeLinear.html, opset 10 to 21; one scale for the tensor.
use crate::{
    Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// `x = (q - zero_point) * scale` of values `q: u8` and a scale `f32` and zero_point `u8` of one element each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicDequantizeLinear;

impl DynamicDequantizeLinear {
    /// Whether the node takes all three inputs with types that fit.
    pub(super) fn fits(spec: &NodeSpec<'_>) -> bool {
        let ty = |i: usize| spec.input(i).and_then(|i| i.ty);
        let types: Option<Vec<&TensorType>> = (0..3).map(ty).collect();
        types.is_some_and(|types| Self.infer(&types).is_ok())
    }
}

impl Operator for DynamicDequantizeLinear {
    // DequantizeLinear reads it.
    const OP_TYPES: &'static [&'static str] = &[];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Ok(Parsed::first(Self, 3))
    }

    fn op_type(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 3..=3, "3")?;
        for (input, expected) in inputs.iter().zip([DataType::U8, DataType::F32, DataType::U8]) {
            if input.dtype != expected {
                return Err(OpError::DType { expected, found: input.dtype });
            }
        }
        if let Some(input) = (1..3).find(|&i| inputs[i].elements() != 1) {
            return Err(OpError::ElementCount {
                shape: inputs[input].shape.clone(),
                expected: 1,
                found: inputs[input].elements(),
            });
        }
        Ok(vec![TensorType::new(DataType::F32, inputs[0].shape.clone())])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let (quantized, scale, zero) = (
            inputs[0].as_slice::<u8>()?,
            inputs[1].as_slice::<f32>()?[0],
            inputs[2].as_slice::<u8>()?[0],
        );
        let real: Vec<f32> =
            quantized.iter().map(|&q| (i32::from(q) - i32::from(zero)) as f32 * scale).collect();
        Ok(vec![Tensor::new(out.shape, real)?])
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

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple("DequantizeLinear", inputs, vec![])]
    }
}
