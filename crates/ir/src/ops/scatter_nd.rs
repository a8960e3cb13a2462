//! ScatterND: a tensor with some slices replaced; exporters write in-place assignment this way.
//! Spec: onnx.ai/onnx/operators/onnx__ScatterND.html, opset 11 to 18; reductions are not supported.
use super::gather_nd::{check_tuples, slices};
use super::slice::gathered;
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// The first input, with the slices that the second input's tuples name replaced by those of the third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatterNd;

impl Operator for ScatterNd {
    const OP_TYPES: &'static [&'static str] = &["ScatterND"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        match spec.attributes.string("reduction")?.as_deref() {
            None | Some("none") => Ok(Parsed::first(Self, 3)),
            Some(_) => Err(OpError::Unsupported { feature: "a reduction of ScatterND" }),
        }
    }

    fn op_type(&self) -> &'static str {
        "ScatterND"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 3..=3, "3")?;
        let (x, i, updates) = (inputs[0], inputs[1], inputs[2]);
        let width = check_tuples(x, i, 0)?;
        if updates.dtype != x.dtype {
            return Err(OpError::DType { expected: x.dtype, found: updates.dtype });
        }
        let shape = [&i.shape[..i.rank() - 1], &x.shape[width..]].concat();
        if updates.shape != shape {
            return Err(OpError::Broadcast { a: shape, b: updates.shape.clone() });
        }
        crate::elements(&x.shape)?;
        Ok(vec![x.clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        self.infer(&types.iter().collect::<Vec<_>>())?;
        let (x, updates) = (inputs[0], inputs[2]);
        let (offsets, inner) = slices(inputs[1], x.shape(), 0)?;
        // Both sources end to end, so that one gather serves every element type.
        let flat = |t: &Tensor| t.reshaped([t.len()]);
        let both = super::Concat { axis: 0 }.forward(&[&flat(x)?, &flat(updates)?])?.remove(0);
        let mut source: Vec<usize> = (0..x.len()).collect();
        for (n, offset) in offsets.into_iter().enumerate() {
            (0..inner).for_each(|i| source[offset + i] = x.len() + n * inner + i);
        }
        Ok(vec![gathered(&both, x.shape().to_vec(), |i| source[i])?])
    }

    /// Which elements are replaced is decided by data: every axis is frozen.
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
        vec![LoweredNode::simple("ScatterND", 3, vec![])]
    }
}
