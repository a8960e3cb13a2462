//! ArgMax and ArgMin: where the largest or smallest element along an axis is.
//! Spec: onnx.ai/onnx/operators (ArgMax, ArgMin), opset 1 to 13.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed,
    QuantFacts, Shapes, Tensor, TensorType,
};
use std::cmp::Ordering;

/// Index of the largest or smallest element along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgExtremum {
    /// Whether the largest is looked for.
    pub largest: bool,
    /// Axis that is searched.
    pub axis: usize,
    /// Whether it stays with length 1.
    pub keepdims: bool,
    /// Whether the last of equal elements counts.
    pub select_last_index: bool,
}

impl ArgExtremum {
    fn best<T: PartialOrd>(&self, v: impl Iterator<Item = T>) -> usize {
        let mut best: Option<(usize, T)> = None;
        for (i, x) in v.enumerate() {
            let wins = best.as_ref().is_none_or(|(_, b)| match x.partial_cmp(b) {
                Some(Ordering::Greater) => self.largest,
                Some(Ordering::Less) => !self.largest,
                Some(Ordering::Equal) => self.select_last_index,
                None => false,
            });
            if wins {
                best = Some((i, x));
            }
        }
        best.map_or(0, |(i, _)| i)
    }
}

impl Operator for ArgExtremum {
    const OP_TYPES: &'static [&'static str] = &["ArgMax", "ArgMin"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let rank = spec.ty(0)?.rank();
        let a = &mut spec.attributes;
        let op = Self {
            largest: spec.op_type == "ArgMax",
            axis: super::axis(a.int("axis")?.unwrap_or(0), rank)?,
            keepdims: a.flag("keepdims")?.unwrap_or(true),
            select_last_index: a.flag("select_last_index")?.unwrap_or(false),
        };
        Ok(Parsed::first(op, 1))
    }

    fn op_type(&self) -> &'static str {
        if self.largest { "ArgMax" } else { "ArgMin" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        super::axis(self.axis as i64, x.rank())?;
        crate::elements(&x.shape)?;
        if x.shape[self.axis] == 0 {
            return Err(OpError::AxisLength { input: 0, axis: self.axis, expected: 1, found: 0 });
        }
        let mut shape = x.shape.clone();
        if self.keepdims {
            shape[self.axis] = 1;
        } else {
            shape.remove(self.axis);
        }
        Ok(vec![TensorType::new(DataType::I64, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let out = self.infer(&[&x.ty()])?.remove(0);
        let (len, inner) =
            (x.shape()[self.axis], x.shape()[self.axis + 1..].iter().product::<usize>());
        let index = |i: usize, k: usize| (i / inner * len + k) * inner + i % inner;
        let n = out.elements();
        let y: Vec<i64> = if x.dtype().is_float() {
            let v = x.to_f64()?;
            (0..n).map(|i| self.best((0..len).map(|k| v[index(i, k)])) as i64).collect()
        } else {
            let v = super::integers(x)?;
            (0..n).map(|i| self.best((0..len).map(|k| v[index(i, k)])) as i64).collect()
        };
        Ok(vec![Tensor::new(out.shape, y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let shape = &shapes.inputs[0].shape;
        let to = |a: usize| {
            if a > self.axis && !self.keepdims { a - 1 } else { a }
        };
        (0..shape.len()).filter(|&a| a != self.axis).fold(Channels::none(), |c, a| {
            c.link(Input(0).axis(a), Output(0).axis(to(a)), shape[a])
        })
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
        let attributes = vec![
            ("axis", Attribute::Int(self.axis as i64)),
            ("keepdims", Attribute::Int(i64::from(self.keepdims))),
            ("select_last_index", Attribute::Int(i64::from(self.select_last_index))),
        ];
        vec![LoweredNode::simple(self.op_type(), 1, attributes)]
    }
}
