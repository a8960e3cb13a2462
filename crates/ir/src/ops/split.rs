//! Split: one tensor cut into several along one axis.
//! Spec: onnx.ai/onnx/operators/onnx__Split.html, opset 2 to 18.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError,
    Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// Cuts `axis` into consecutive pieces, one output each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Axis that is cut.
    pub axis: usize,
    /// Length of each piece; they fill the axis.
    pub sizes: Vec<usize>,
}

/// Lengths of `count` pieces of an axis when the node does not list them.
fn default_sizes(
    axis: usize,
    len: usize,
    count: usize,
    num_outputs: bool,
) -> Result<Vec<usize>, OpError> {
    let chunk = len.div_ceil(count.max(1));
    let wrong =
        OpError::AxisLength { input: 0, axis, expected: chunk.saturating_mul(count), found: len };
    if count == 0 || (!num_outputs && chunk * count != len) {
        return Err(wrong);
    }
    let last =
        chunk.checked_mul(count - 1).and_then(|before| len.checked_sub(before)).ok_or(wrong)?;
    let mut sizes = vec![chunk; count];
    sizes[count - 1] = last;
    Ok(sizes)
}

impl Operator for Split {
    const OP_TYPES: &'static [&'static str] = &["Split"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let x = spec.ty(0)?;
        let axis = super::axis(spec.attributes.int("axis")?.unwrap_or(0), x.rank())?;
        let given =
            if spec.opset < 13 { spec.attributes.ints("split")? } else { spec.integers(1)? };
        let num_outputs =
            if spec.opset < 18 { None } else { spec.attributes.int("num_outputs")? };
        if let (Some(n), true) = (num_outputs, given.is_some()) {
            return Err(OpError::Attribute {
                name: "num_outputs".into(),
                expected: "nothing beside the input `split`",
                found: n.to_string(),
            });
        }
        let sizes = match (given, num_outputs) {
            (Some(v), _) => v
                .iter()
                .map(|&s| {
                    usize::try_from(s).map_err(|_| OpError::Attribute {
                        name: "split".into(),
                        expected: "non-negative integers",
                        found: s.to_string(),
                    })
                })
                .collect::<Result<Vec<_>, _>>()?,
            (None, Some(n)) if usize::try_from(n) != Ok(spec.outputs) => {
                return Err(OpError::Attribute {
                    name: "num_outputs".into(),
                    expected: "the number of outputs",
                    found: n.to_string(),
                });
            }
            (None, n) => default_sizes(axis, x.shape[axis], spec.outputs, n.is_some())?,
        };
        if sizes.len() != spec.outputs {
            return Err(OpError::OutputCount { expected: sizes.len(), found: spec.outputs });
        }
        Ok(Parsed::first(Self { axis, sizes }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Split"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        super::axis(self.axis as i64, x.rank())?;
        let expected = self.sizes.iter().fold(0usize, |n, &s| n.saturating_add(s));
        if expected != x.shape[self.axis] {
            return Err(OpError::AxisLength {
                input: 0,
                axis: self.axis,
                expected,
                found: x.shape[self.axis],
            });
        }
        let piece = |&size: &usize| {
            let mut t = x.clone();
            t.shape[self.axis] = size;
            t
        };
        Ok(self.sizes.iter().map(piece).collect())
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let outputs = self.infer(&[&x.ty()])?;
        let (axis, len) = (self.axis, x.shape()[self.axis]);
        let inner: usize = x.shape()[axis + 1..].iter().product();
        let mut offset = 0;
        let cut = |out: TensorType| {
            let (start, size) = (offset, out.shape[axis]);
            offset += size;
            let run = size * inner;
            super::slice::gathered(x, out.shape, |i| (i / run * len + start) * inner + i % run)
        };
        outputs.into_iter().map(cut).collect()
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let mut channels = Channels::none();
        let mut offset = 0;
        for (i, t) in shapes.outputs.iter().enumerate() {
            for (a, &len) in t.shape.iter().enumerate() {
                let start = if a == self.axis { offset } else { 0 };
                channels = channels.link(Input(0).axis(a).from(start), Output(i).axis(a), len);
            }
            offset += t.shape[self.axis];
        }
        channels
    }

    fn keep(&self, _shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        let sizes = self
            .sizes
            .iter()
            .enumerate()
            .map(|(i, &size)| kept.len(Output(i), self.axis, size))
            .collect();
        Self { axis: self.axis, sizes }
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::SharesInput
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, outputs: usize) -> Vec<LoweredNode> {
        let sizes = Tensor::vector(self.sizes.iter().map(|&s| s as i64).collect());
        vec![LoweredNode {
            op_type: "Split",
            inputs: vec![LoweredInput::Input(0), LoweredInput::Constant("split", sizes)],
            outputs: (0..outputs).map(LoweredOutput::Output).collect(),
            attributes: vec![("axis", Attribute::Int(self.axis as i64))],
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, DataType, InputSpec, Op};

    #[test]
    fn split_num_outputs_makes_the_last_piece_smaller() {
        let ty = TensorType::new(DataType::F32, [2, 7]);
        let attributes =
            [("axis", -1), ("num_outputs", 3)].map(|(n, v)| (n.to_owned(), Attribute::Int(v)));
        let spec = NodeSpec {
            op_type: "Split",
            opset: 18,
            inputs: vec![Some(InputSpec { ty: Some(&ty), constant: None })],
            outputs: 3,
            attributes: Attributes::new(attributes),
        };
        assert_eq!(
            Op::parse(spec).unwrap().unwrap().op,
            Op::Split(Split { axis: 1, sizes: vec![3, 3, 1] })
        );
        assert!(default_sizes(0, 5, 4, true).is_err());
        assert!(default_sizes(0, 7, 3, false).is_err());
    }

    #[test]
    fn split_keep_follows_each_output() {
        let op = Split { axis: 1, sizes: vec![1, 2] };
        let x = Tensor::new([2, 3], vec![1u8, 2, 3, 4, 5, 6]).unwrap();
        let y = op.forward(&[&x]).unwrap();
        assert_eq!(y[0].as_slice::<u8>().unwrap(), [1, 4]);
        assert_eq!(y[1].as_slice::<u8>().unwrap(), [2, 3, 5, 6]);
        let kept = KeptAxes([((Output(1), 1), vec![1])].into());
        assert_eq!(op.keep(&Shapes { inputs: vec![], outputs: vec![] }, &kept).sizes, [1, 1]);
    }
}
