//! Gather: slices along an axis, by index.
//! Spec: onnx.ai/onnx/operators/onnx__Gather.html, opset 1 to 13.
use super::slice::gathered;
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// Takes the slices of the first input along `axis` that the second input names; its shape replaces the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Axis that is indexed.
    pub axis: usize,
}

/// Possibly negative indices into an axis.
pub(super) fn indices(t: &Tensor, axis: usize, length: usize) -> Result<Vec<usize>, OpError> {
    let index = |&i: &i64| {
        let wrapped = if i < 0 { i.saturating_add(length as i64) } else { i };
        usize::try_from(wrapped).ok().filter(|&w| w < length).ok_or(OpError::Index {
            axis,
            index: i,
            length,
        })
    };
    t.to_i64()?.iter().map(index).collect()
}

/// Checks that indices are integers.
pub(super) fn expect_indices(t: &TensorType) -> Result<(), OpError> {
    use crate::DataType::{I32, I64};
    if matches!(t.dtype, I32 | I64) {
        Ok(())
    } else {
        Err(OpError::UnsupportedDType { found: t.dtype })
    }
}

impl Operator for Gather {
    const OP_TYPES: &'static [&'static str] = &["Gather"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let axis = super::axis(spec.attributes.int("axis")?.unwrap_or(0), spec.ty(0)?.rank())?;
        Ok(Parsed::first(Self { axis }, 2))
    }

    fn op_type(&self) -> &'static str {
        "Gather"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (x, i) = (inputs[0], inputs[1]);
        super::axis(self.axis as i64, x.rank())?;
        expect_indices(i)?;
        let shape = [&x.shape[..self.axis], &i.shape, &x.shape[self.axis + 1..]].concat();
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let x = inputs[0];
        let shape = self.infer(&[&x.ty(), &inputs[1].ty()])?.remove(0).shape;
        let len = x.shape()[self.axis];
        let picks = indices(inputs[1], self.axis, len)?;
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let source = |i: usize| {
            let (slice, rest) = (i / inner, i % inner);
            (slice / picks.len() * len + picks[slice % picks.len()]) * inner + rest
        };
        Ok(vec![gathered(x, shape, source)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let (x, added) = (&shapes.inputs[0].shape, shapes.inputs[1].rank());
        let to = |a: usize| if a > self.axis { a + added - 1 } else { a };
        let channels = (0..x.len())
            .filter(|&a| a != self.axis)
            .fold(Channels::none(), |c, a| c.link(Input(0).axis(a), Output(0).axis(to(a)), x[a]));
        let indices = shapes.inputs[1].shape.iter().enumerate();
        indices.fold(channels, |c, (a, &len)| {
            c.link(Input(1).axis(a), Output(0).axis(a + self.axis), len)
        })
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::SharesInput
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple("Gather", 2, vec![("axis", Attribute::Int(self.axis as i64))])]
    }
}
