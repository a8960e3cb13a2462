//! Reductions over axes, GlobalAveragePool and GlobalMaxPool among them.
//! Spec: onnx.ai/onnx/operators (ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceProd, ReduceL2), opset 1 to 20;
//! GlobalAveragePool and GlobalMaxPool, opset 1 to 22, are written as ReduceMean and ReduceMax.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec,
    OpError, Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};
use std::ops::RangeInclusive;

/// How elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ReduceKind {
    Mean,
    Sum,
    Max,
    Min,
    Prod,
    L2,
}

/// One number for all elements along some axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// How.
    pub kind: ReduceKind,
    /// Axes that are reduced, ascending.
    pub axes: Vec<usize>,
    /// Whether they stay with length 1.
    pub keepdims: bool,
}

impl ReduceKind {
    /// What no elements give.
    fn start(self) -> f64 {
        match self {
            ReduceKind::Mean | ReduceKind::Sum | ReduceKind::L2 => 0.0,
            ReduceKind::Max => f64::NEG_INFINITY,
            ReduceKind::Min => f64::INFINITY,
            ReduceKind::Prod => 1.0,
        }
    }

    /// What one element more gives.
    fn step(self, y: f64, x: f64) -> f64 {
        match self {
            ReduceKind::Mean | ReduceKind::Sum => y + x,
            ReduceKind::L2 => y + x * x,
            ReduceKind::Max => {
                if x > y || x.is_nan() {
                    x
                } else {
                    y
                }
            }
            ReduceKind::Min => {
                if x < y || x.is_nan() {
                    x
                } else {
                    y
                }
            }
            ReduceKind::Prod => y * x,
        }
    }

    /// What `n` elements come to.
    fn end(self, y: f64, n: usize) -> f64 {
        match self {
            ReduceKind::Mean => y / n as f64,
            ReduceKind::L2 => y.sqrt(),
            _ => y,
        }
    }

    /// `None` for the mean of no integers; their maximum is the least value of the type, their minimum the greatest.
    fn integer(
        self,
        v: &mut dyn Iterator<Item = i128>,
        n: usize,
        type_bounds: &RangeInclusive<i128>,
    ) -> Option<i128> {
        Some(match self {
            ReduceKind::Mean => v.sum::<i128>().checked_div(n as i128)?,
            ReduceKind::Sum => v.sum(),
            ReduceKind::Max => v.max().unwrap_or(*type_bounds.start()),
            ReduceKind::Min => v.min().unwrap_or(*type_bounds.end()),
            ReduceKind::Prod => v.fold(1, i128::wrapping_mul),
            ReduceKind::L2 => (v.map(|x| (x * x) as f64).sum::<f64>().sqrt()) as i128,
        })
    }
}

/// Least and greatest value of an integer type.
fn bounds(dtype: DataType) -> RangeInclusive<i128> {
    let bits = 8 * dtype.size_bytes().unwrap_or(1) as u32;
    match dtype {
        DataType::Bool => 0..=1,
        DataType::I8 | DataType::I16 | DataType::I32 | DataType::I64 => {
            -(1 << (bits - 1))..=(1 << (bits - 1)) - 1
        }
        _ => 0..=(1 << bits) - 1,
    }
}

/// Axes as the node gives them; `None` when it gives none.
fn given_axes(spec: &mut NodeSpec<'_>) -> Result<Option<Vec<i64>>, OpError> {
    let from_input = spec.opset >= if spec.op_type == "ReduceSum" { 13 } else { 18 };
    let axes = if from_input { spec.integers(1)? } else { spec.attributes.ints("axes")? };
    Ok(axes.filter(|a| !a.is_empty()))
}

impl Reduce {
    /// For every input axis, the output axis that it stays as.
    fn target(&self, rank: usize) -> Vec<Option<usize>> {
        let mut next = 0;
        let mut stays = |axis: usize| {
            let reduced = self.axes.contains(&axis);
            let at = next;
            next += usize::from(!reduced || self.keepdims);
            (!reduced).then_some(at)
        };
        (0..rank).map(&mut stays).collect()
    }
}

impl Reduce {
    /// Elements before, along and after the axes, where these are neighbours and the tensor is not empty.
    fn blocks(&self, shape: &[usize]) -> Option<[usize; 3]> {
        let (&first, &last) = (self.axes.first()?, self.axes.last()?);
        let neighbours = last - first + 1 == self.axes.len() && !shape.contains(&0);
        let product = |s: &[usize]| s.iter().product();
        neighbours.then(|| {
            [product(&shape[..first]), product(&shape[first..=last]), product(&shape[last + 1..])]
        })
    }

    /// The reduction of `[outer, n, inner]`, in the order of memory.
    fn runs(&self, v: &[f32], [outer, n, inner]: [usize; 3]) -> Vec<f32> {
        let mut y = Vec::with_capacity(outer * inner);
        for block in v.chunks_exact(n * inner) {
            if inner == 1 {
                let sum =
                    block.iter().fold(self.kind.start(), |y, &x| self.kind.step(y, f64::from(x)));
                y.push(self.kind.end(sum, n) as f32);
                continue;
            }
            let mut sums = vec![self.kind.start(); inner];
            for row in block.chunks_exact(inner) {
                sums.iter_mut().zip(row).for_each(|(y, &x)| *y = self.kind.step(*y, f64::from(x)));
            }
            y.extend(sums.iter().map(|&sum| self.kind.end(sum, n) as f32));
        }
        y
    }
}

impl Operator for Reduce {
    const OP_TYPES: &'static [&'static str] = &[
        "ReduceMean",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL2",
        "GlobalAveragePool",
        "GlobalMaxPool",
    ];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let rank = spec.ty(0)?.rank();
        let kind = match spec.op_type {
            "ReduceMean" | "GlobalAveragePool" => ReduceKind::Mean,
            "ReduceSum" => ReduceKind::Sum,
            "ReduceMax" | "GlobalMaxPool" => ReduceKind::Max,
            "ReduceMin" => ReduceKind::Min,
            "ReduceProd" => ReduceKind::Prod,
            _ => ReduceKind::L2,
        };
        if spec.op_type.starts_with("Global") {
            if rank < 3 {
                return Err(OpError::Rank {
                    input: 0,
                    expected: "3 or more",
                    found: spec.ty(0)?.shape.clone(),
                });
            }
            return Ok(Parsed::first(Self { kind, axes: (2..rank).collect(), keepdims: true }, 1));
        }
        let given = given_axes(spec)?;
        let keepdims = spec.attributes.flag("keepdims")?.unwrap_or(true);
        let noop = spec.attributes.flag("noop_with_empty_axes")?.unwrap_or(false);
        let mut axes = match given {
            None if noop => vec![],
            None => (0..rank).collect(),
            Some(axes) => {
                axes.iter().map(|&a| super::axis(a, rank)).collect::<Result<Vec<_>, _>>()?
            }
        };
        axes.sort_unstable();
        axes.dedup();
        Ok(Parsed::first(Self { kind, axes, keepdims }, 1))
    }

    fn op_type(&self) -> &'static str {
        match self.kind {
            ReduceKind::Mean => "ReduceMean",
            ReduceKind::Sum => "ReduceSum",
            ReduceKind::Max => "ReduceMax",
            ReduceKind::Min => "ReduceMin",
            ReduceKind::Prod => "ReduceProd",
            ReduceKind::L2 => "ReduceL2",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        if let Some(&axis) = self.axes.iter().find(|&&a| a >= x.rank()) {
            return Err(OpError::Axis { axis: axis as i64, rank: x.rank() });
        }
        crate::elements(&x.shape)?;
        let length = |(a, &d): (usize, &usize)| {
            if self.axes.contains(&a) { self.keepdims.then_some(1) } else { Some(d) }
        };
        let shape: Vec<usize> = x.shape.iter().enumerate().filter_map(length).collect();
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let out = self.infer(&[&x.ty()])?.remove(0);
        if let (Ok(v), Some(blocks)) = (x.as_slice::<f32>(), self.blocks(x.shape())) {
            return Ok(vec![Tensor::new(out.shape, self.runs(v, blocks))?]);
        }
        let strides = super::strides(x.shape());
        let outer: Vec<usize> = (0..x.shape().len()).filter(|a| !self.axes.contains(a)).collect();
        let starts = super::offsets(x.shape(), &strides, &outer);
        let steps = super::offsets(x.shape(), &strides, &self.axes);
        let y = if x.dtype().is_float() {
            let v = x.to_f64()?;
            let all = |s: &usize| {
                steps.iter().fold(self.kind.start(), |y, t| self.kind.step(y, v[s + t]))
            };
            let y: Vec<f64> = starts.iter().map(|s| self.kind.end(all(s), steps.len())).collect();
            Tensor::from_f64(out.dtype, out.shape, &y)?
        } else {
            let (v, limits) = (super::integers(x)?, bounds(x.dtype()));
            let y = starts.iter().map(|s| {
                self.kind.integer(&mut steps.iter().map(|t| v[s + t]), steps.len(), &limits)
            });
            let y = y
                .collect::<Option<Vec<i128>>>()
                .ok_or(OpError::Unsupported { feature: "the mean of no integers" })?;
            super::from_integers(out.dtype, out.shape, &y)?
        };
        Ok(vec![y])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let shape = &shapes.inputs[0].shape;
        let targets = self.target(shape.len()).into_iter().enumerate();
        targets.filter_map(|(a, to)| Some((a, to?))).fold(Channels::none(), |c, (a, to)| {
            c.link(Input(0).axis(a), Output(0).axis(to), shape[a])
        })
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Float
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let axes: Vec<i64> = self.axes.iter().map(|&a| a as i64).collect();
        let mut attributes = vec![("keepdims", Attribute::Int(i64::from(self.keepdims)))];
        if axes.is_empty() {
            // No axis to reduce: x + 0 would lose -0, so the empty list is said to mean nothing.
            let constant = LoweredInput::Constant("axes", Tensor::vector(Vec::<i64>::new()));
            let has_noop = opset >= 18 || self.kind == ReduceKind::Sum;
            if !has_noop {
                return vec![LoweredNode::simple("Identity", 1, vec![])];
            }
            attributes.push(("noop_with_empty_axes", Attribute::Int(1)));
            let inputs = vec![LoweredInput::Input(0), constant];
            return vec![LoweredNode {
                op_type: self.op_type(),
                inputs,
                outputs: vec![LoweredOutput::Output(0)],
                attributes,
            }];
        }
        if opset < 18 && self.kind != ReduceKind::Sum {
            attributes.insert(0, ("axes", Attribute::Ints(axes)));
            return vec![LoweredNode::simple(self.op_type(), 1, attributes)];
        }
        let inputs =
            vec![LoweredInput::Input(0), LoweredInput::Constant("axes", Tensor::vector(axes))];
        vec![LoweredNode {
            op_type: self.op_type(),
            inputs,
            outputs: vec![LoweredOutput::Output(0)],
            attributes,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduce_outer_axes_of_large_integers_is_exact() {
        let big = (1i64 << 60) + 1;
        let x = Tensor::new([2, 2], vec![big, 1, -1, 3]).unwrap();
        let cases = [
            (ReduceKind::Max, [big, 3]),
            (ReduceKind::Sum, [big - 1, 4]),
            (ReduceKind::Min, [-1, 1]),
        ];
        for (kind, y) in cases {
            let op = Reduce { kind, axes: vec![0], keepdims: false };
            assert_eq!(op.forward(&[&x]).unwrap(), [Tensor::vector(y.to_vec())], "{kind:?}");
        }
    }

    #[test]
    fn reduce_links_what_stays_at_its_new_place() {
        let (x, y) = ([1, 8, 4, 5], [1, 8, 5]);
        let [x, y] = [&x[..], &y].map(|s| TensorType::new(DataType::F32, s));
        let op = Reduce { kind: ReduceKind::Max, axes: vec![2], keepdims: false };
        assert_eq!(op.infer(&[&x]).unwrap(), std::slice::from_ref(&y));
        let links = op.channel_links(&Shapes { inputs: vec![&x], outputs: vec![&y] }).links;
        assert_eq!(
            links.iter().map(|l| (l.a.axis, l.b.axis)).collect::<Vec<_>>(),
            [(0, 0), (1, 1), (3, 2)]
        );
    }
}
