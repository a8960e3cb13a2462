//! Slice: a strided range of each of some axes.
//! Spec: onnx.ai/onnx/operators/onnx__Slice.html, opset 1 to 13.
use crate::Port::{Input, Output};
use crate::{
    Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError,
    Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};

/// The end that a negative step runs to when it takes index 0: -1 would mean the last index.
const BEFORE_FIRST: i64 = i64::MIN + 1;

/// Indices `start, start + step, …`, `len` of them, along one axis; `step` is 1 where `len` is below 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceRange {
    /// Axis.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// Number of indices.
    pub len: usize,
    /// Distance between indices; negative runs backwards.
    pub step: i64,
}

/// Takes a range of indices on some axes and all of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// At most one range for each axis.
    pub ranges: Vec<SliceRange>,
}

impl SliceRange {
    /// Brings ONNX `start`, `end` and a `step` other than 0 to indices of an axis of length `dim`.
    fn new(axis: usize, dim: usize, start: i64, end: i64, step: i64) -> Self {
        let (dim, step_by) = (dim as i128, i128::from(step));
        let wrapped = |v: i64| i128::from(v) + if v < 0 { dim } else { 0 };
        let (low, high) = if step > 0 { (0, dim) } else { (-1, dim - 1) };
        let start = wrapped(start).max(if step > 0 { 0 } else { low.max(0) }).min(high);
        let end = wrapped(end).max(low).min(high);
        let reach = if step > 0 { end - start } else { start - end };
        let len = if reach <= 0 { 0 } else { (reach - 1) / step_by.abs() + 1 };
        let start = if len == 0 { 0 } else { start };
        Self {
            axis,
            start: start as usize,
            len: len as usize,
            step: if len < 2 { 1 } else { step },
        }
    }

    /// The last index taken, where there is one.
    fn last(&self) -> Option<i128> {
        let steps = self.len.checked_sub(1)?;
        Some(self.start as i128 + i128::from(self.step) * steps as i128)
    }

    fn end(&self) -> i64 {
        match self.last() {
            None => self.start as i64,
            Some(last) if self.step > 0 => last as i64 + 1,
            Some(0) => BEFORE_FIRST,
            Some(last) => last as i64 - 1,
        }
    }
}

/// Elements of `x` in a new shape: output element `i` is input element `source(i)`.
pub(super) fn gathered(
    x: &Tensor,
    shape: Vec<usize>,
    source: impl Fn(usize) -> usize,
) -> Result<Tensor, OpError> {
    if let DataType::Other(_) = x.dtype() {
        return Err(OpError::UnsupportedDType { found: x.dtype() });
    }
    let total = crate::elements(&shape)?;
    Tensor::from_data(shape, x.data().gather((0..total).map(source)))
}

type Lists = (Vec<i64>, Vec<i64>, Option<Vec<i64>>, Option<Vec<i64>>);

/// Starts, ends, axes and steps as the node gives them.
fn lists(spec: &mut NodeSpec<'_>) -> Result<Lists, OpError> {
    if spec.opset < 10 {
        let a = &mut spec.attributes;
        let starts = a.ints("starts")?.ok_or(OpError::MissingAttribute { name: "starts" })?;
        let ends = a.ints("ends")?.ok_or(OpError::MissingAttribute { name: "ends" })?;
        return Ok((starts, ends, a.ints("axes")?, None));
    }
    let required =
        |i| spec.integers(i)?.ok_or(OpError::InputCount { expected: "3 to 5", found: i });
    Ok((required(1)?, required(2)?, spec.integers(3)?, spec.integers(4)?))
}

impl Operator for Slice {
    const OP_TYPES: &'static [&'static str] = &["Slice"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let x = spec.ty(0)?;
        let (starts, ends, axes, steps) = lists(spec)?;
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        let wrong = |name: &str, expected, found: &[i64]| OpError::Attribute {
            name: name.to_owned(),
            expected,
            found: format!("{found:?}"),
        };
        for (name, list) in [("ends", &ends), ("axes", &axes), ("steps", &steps)] {
            if list.len() != starts.len() {
                return Err(wrong(name, "as many as starts", list));
            }
        }
        let mut ranges: Vec<SliceRange> = Vec::new();
        for i in 0..starts.len() {
            let axis = super::axis(axes[i], x.rank())?;
            if steps[i] == 0 {
                return Err(wrong("steps", "steps other than 0", &steps));
            }
            if ranges.iter().any(|r| r.axis == axis) {
                return Err(wrong("axes", "distinct axes", &axes));
            }
            ranges.push(SliceRange::new(axis, x.shape[axis], starts[i], ends[i], steps[i]));
        }
        Ok(Parsed::first(Self { ranges }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Slice"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let mut out = x.clone();
        for r in &self.ranges {
            super::axis(r.axis as i64, x.rank())?;
            let length = x.shape[r.axis];
            let outside = |index: i128| index < 0 || index >= length as i128;
            if let Some(last) = r.last()
                && let Some(index) = [r.start as i128, last].into_iter().find(|&i| outside(i))
            {
                return Err(OpError::Index { axis: r.axis, index: index as i64, length });
            }
            out.shape[r.axis] = r.len;
        }
        crate::elements(&out.shape)?;
        Ok(vec![out])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let shape = self.infer(&[&x.ty()])?.remove(0).shape;
        let (from, to) = (super::strides(x.shape()), super::strides(&shape));
        let mut picks = vec![(0, 1); shape.len()];
        for r in &self.ranges {
            picks[r.axis] = (r.start as i64, r.step);
        }
        let source = |i: usize| {
            let index_along = |a: usize| {
                (picks[a].0 + (i / to[a] % shape[a]) as i64 * picks[a].1) as usize * from[a]
            };
            (0..shape.len()).map(index_along).sum()
        };
        Ok(vec![gathered(x, shape.clone(), source)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let mut channels = Channels::none();
        for (a, &len) in shapes.inputs[0].shape.iter().enumerate() {
            match self.ranges.iter().find(|r| r.axis == a) {
                None => channels = channels.link(Input(0).axis(a), Output(0).axis(a), len),
                Some(r) if r.step == 1 && r.len > 0 => {
                    channels =
                        channels.link(Input(0).axis(a).from(r.start), Output(0).axis(a), r.len)
                }
                Some(_) => {}
            }
        }
        channels
    }

    fn keep(&self, _shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        let moved = |r: &SliceRange| match kept.get(Input(0), r.axis) {
            Some(indices) if r.step == 1 => {
                let below = |end: usize| indices.iter().filter(|&&i| i < end).count();
                let (start, len) = (below(r.start), below(r.start + r.len) - below(r.start));
                SliceRange { start, len, ..*r }
            }
            _ => *r,
        };
        Self { ranges: self.ranges.iter().map(moved).collect() }
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::SharesInput
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let list = |name, value: fn(&SliceRange) -> i64| {
            LoweredInput::Constant(name, Tensor::vector(self.ranges.iter().map(value).collect()))
        };
        let inputs = vec![
            LoweredInput::Input(0),
            list("starts", |r| r.start as i64),
            list("ends", SliceRange::end),
            list("axes", |r| r.axis as i64),
            list("steps", |r| r.step),
        ];
        vec![LoweredNode {
            op_type: "Slice",
            inputs,
            outputs: vec![LoweredOutput::Output(0)],
            attributes: vec![],
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_range_clamps_like_onnx() {
        // dim, start, end, step → start, len, step
        let cases = [
            (5, (1, 3, 1), (1, 2, 1)),
            (5, (-3, i64::MAX, 2), (2, 2, 2)),
            (5, (-1, i64::MIN, -1), (4, 5, -1)),
            (5, (100, 0, -2), (4, 2, -2)),
            (5, (-100, 2, 1), (0, 2, 1)),
            (5, (-100, i64::MIN, -1), (0, 1, 1)),
            (5, (3, 1, 1), (0, 0, 1)),
            (0, (-1, i64::MIN, i64::MIN), (0, 0, 1)),
        ];
        for (dim, (start, end, step), expected) in cases {
            let r = SliceRange::new(0, dim, start, end, step);
            assert_eq!((r.start, r.len, r.step), expected, "{dim} {start}:{end}:{step}");
            let again = SliceRange::new(0, dim, r.start as i64, r.end(), r.step);
            assert_eq!(again, r, "{dim} {start}:{end}:{step} written and read again");
        }
    }

    #[test]
    fn slice_keep_moves_the_range() {
        let op = Slice { ranges: vec![SliceRange { axis: 1, start: 1, len: 3, step: 1 }] };
        let kept = KeptAxes([((Input(0), 1), vec![1, 3, 4])].into());
        assert_eq!(
            op.keep(&Shapes { inputs: vec![], outputs: vec![] }, &kept).ranges[0],
            SliceRange { axis: 1, start: 0, len: 2, step: 1 }
        );
        let x = Tensor::new([2, 3], vec![1u8, 2, 3, 4, 5, 6]).unwrap();
        let back = Slice { ranges: vec![SliceRange { axis: 1, start: 2, len: 2, step: -2 }] };
        assert_eq!(back.forward(&[&x]).unwrap()[0].as_slice::<u8>().unwrap(), [3, 1, 6, 4]);
        assert!(op.infer(&[&x.ty()]).is_err());
    }
}
