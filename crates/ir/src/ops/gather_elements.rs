//! GatherElements: one element for each index, along an axis.
//! Spec: onnx.ai/onnx/operators/onnx__GatherElements.html, opset 11 to 13.
use super::gather::{expect_indices, indices};
use super::slice::gathered;
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// `y[i.., j, k..] = x[i.., indices[i.., j, k..], k..]`, the index standing at `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherElements {
    /// Axis that is indexed.
    pub axis: usize,
}

impl Operator for GatherElements {
    const OP_TYPES: &'static [&'static str] = &["GatherElements"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let axis = super::axis(spec.attributes.int("axis")?.unwrap_or(0), spec.ty(0)?.rank())?;
        Ok(Parsed::first(Self { axis }, 2))
    }

    fn op_type(&self) -> &'static str {
        "GatherElements"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (x, i) = (inputs[0], inputs[1]);
        super::axis(self.axis as i64, x.rank())?;
        expect_indices(i)?;
        if i.rank() != x.rank() {
            return Err(OpError::Rank {
                input: 1,
                expected: "that of input 0",
                found: i.shape.clone(),
            });
        }
        let outside = |a: &usize| *a != self.axis && i.shape[*a] > x.shape[*a];
        if let Some(axis) = (0..x.rank()).find(outside) {
            return Err(OpError::AxisLength {
                input: 1,
                axis,
                expected: x.shape[axis],
                found: i.shape[axis],
            });
        }
        crate::elements(&i.shape)?;
        Ok(vec![TensorType::new(x.dtype, i.shape.clone())])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let x = inputs[0];
        let shape = self.infer(&[&x.ty(), &inputs[1].ty()])?.remove(0).shape;
        let picks = indices(inputs[1], self.axis, x.shape()[self.axis])?;
        let (from, to) = (super::strides(x.shape()), super::strides(&shape));
        let source = |i: usize| {
            let index_along = |a: usize| {
                if a == self.axis { picks[i] } else { i / to[a] % shape[a] }
            };
            (0..shape.len()).map(|a| index_along(a) * from[a]).sum()
        };
        Ok(vec![gathered(x, shape.clone(), source)?])
    }

    /// Which elements are taken is decided by data: every axis is frozen.
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
        vec![LoweredNode::simple(
            "GatherElements",
            2,
            vec![("axis", Attribute::Int(self.axis as i64))],
        )]
    }
}
