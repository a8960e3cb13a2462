//! Where: one of two tensors' elements, by a condition.
//! Spec: onnx.ai/onnx/operators/onnx__Where.html, opset 9 to 16.
use super::binary::{broadcast, broadcast_indices};
use super::slice::gathered;
use crate::{
    Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// Elements of the second input where the first is true, else of the third; all broadcast. ONNX calls it Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select;

impl Operator for Select {
    const OP_TYPES: &'static [&'static str] = &["Where"];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Ok(Parsed::first(Self, 3))
    }

    fn op_type(&self) -> &'static str {
        "Where"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 3..=3, "3")?;
        for (i, expected) in [(0, DataType::Bool), (2, inputs[1].dtype)] {
            if inputs[i].dtype != expected {
                return Err(OpError::DType { expected, found: inputs[i].dtype });
            }
        }
        let shape = broadcast(&broadcast(&inputs[0].shape, &inputs[1].shape)?, &inputs[2].shape)?;
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(inputs[1].dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let shape = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0).shape;
        let condition = inputs[0].as_slice::<bool>()?;
        // Both sources end to end, so that one gather serves every element type.
        let flat = |t: &Tensor| t.reshaped([t.len()]);
        let both =
            super::Concat { axis: 0 }.forward(&[&flat(inputs[1])?, &flat(inputs[2])?])?.remove(0);
        let [c, x, y] = [0, 1, 2].map(|i| broadcast_indices(inputs[i].shape(), &shape));
        let second = inputs[1].len();
        Ok(vec![gathered(&both, shape, |i| if condition[c[i]] { x[i] } else { second + y[i] })?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::link_broadcast(shapes)
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
        vec![LoweredNode::simple("Where", 3, vec![])]
    }
}
