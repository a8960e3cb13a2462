//! GatherND: slices by tuples of indices.
//! Spec: onnx.ai/onnx/operators/onnx__GatherND.html, opset 11 to 13.
use super::gather::expect_indices;
use super::slice::gathered;
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// Takes the slice that each tuple along the last axis of the second input names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherNd {
    /// Leading axes that both inputs share.
    pub batch_dims: usize,
}

/// Offsets of the slices that tuples of indices into `shape[skip..]` name, and the number of elements in a slice.
pub(super) fn slices(
    t: &Tensor,
    shape: &[usize],
    skip: usize,
) -> Result<(Vec<usize>, usize), OpError> {
    let width = t.shape().last().copied().unwrap_or(0);
    let strides = super::strides(shape);
    let flat = t.to_i64()?;
    let inner = shape[skip + width..].iter().product();
    let tuples = t.shape()[..t.shape().len() - 1].iter().product::<usize>();
    let per_batch = tuples / shape[..skip].iter().product::<usize>().max(1);
    let offset = |n: usize| {
        let mut offset = if skip == 0 { 0 } else { n / per_batch.max(1) * strides[skip - 1] };
        for a in 0..width {
            let (index, length) = (flat[n * width + a], shape[skip + a]);
            let wrapped = if index < 0 { index.saturating_add(length as i64) } else { index };
            let at = usize::try_from(wrapped).ok().filter(|&i| i < length);
            offset +=
                at.ok_or(OpError::Index { axis: skip + a, index, length })? * strides[skip + a];
        }
        Ok(offset)
    };
    Ok(((0..tuples).map(offset).collect::<Result<_, _>>()?, inner))
}

/// Checks that tuples of indices fit `x`.
pub(super) fn check_tuples(
    x: &TensorType,
    i: &TensorType,
    batch_dims: usize,
) -> Result<usize, OpError> {
    expect_indices(i)?;
    let wrong = |input, t: &TensorType| OpError::Rank {
        input,
        expected: "enough for batch_dims and the indices",
        found: t.shape.clone(),
    };
    let width = *i.shape.last().ok_or_else(|| wrong(1, i))?;
    if width == 0 || i.rank() <= batch_dims {
        return Err(wrong(1, i));
    }
    if batch_dims.checked_add(width).is_none_or(|n| n > x.rank()) {
        return Err(wrong(0, x));
    }
    match (0..batch_dims).find(|&a| x.shape[a] != i.shape[a]) {
        Some(axis) => Err(OpError::AxisLength {
            input: 1,
            axis,
            expected: x.shape[axis],
            found: i.shape[axis],
        }),
        None => Ok(width),
    }
}

impl Operator for GatherNd {
    const OP_TYPES: &'static [&'static str] = &["GatherND"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let given = spec.attributes.int("batch_dims")?.unwrap_or(0);
        let batch_dims = usize::try_from(given).map_err(|_| OpError::Attribute {
            name: "batch_dims".into(),
            expected: "a non-negative integer",
            found: given.to_string(),
        })?;
        Ok(Parsed::first(Self { batch_dims }, 2))
    }

    fn op_type(&self) -> &'static str {
        "GatherND"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (x, i) = (inputs[0], inputs[1]);
        let width = check_tuples(x, i, self.batch_dims)?;
        let shape = [&i.shape[..i.rank() - 1], &x.shape[self.batch_dims + width..]].concat();
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let x = inputs[0];
        let shape = self.infer(&[&x.ty(), &inputs[1].ty()])?.remove(0).shape;
        let (offsets, inner) = slices(inputs[1], x.shape(), self.batch_dims)?;
        Ok(vec![gathered(x, shape, |i| offsets[i / inner] + i % inner)?])
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
            "GatherND",
            2,
            vec![("batch_dims", Attribute::Int(self.batch_dims as i64))],
        )]
    }
}
