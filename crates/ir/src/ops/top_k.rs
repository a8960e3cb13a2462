//! TopK: the largest or smallest elements along an axis, with their indices.
//! Spec: onnx.ai/onnx/operators/onnx__TopK.html, opset 1 to 11.
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec,
    OpError, Operator, Parsed, QuantFacts, Shapes, Tensor, TensorType,
};
use std::cmp::Ordering;

/// The first `k` elements along an axis in falling (or rising) order; of equal elements the one that comes first.
///
/// # Shapes
/// Two outputs, values and I64 indices, both with `k` in the axis's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// How many.
    pub k: usize,
    /// Axis that is searched.
    pub axis: usize,
    /// Whether the largest come first.
    pub largest: bool,
    /// Whether the result is sorted; it always is, the flag is kept for writing.
    pub sorted: bool,
}

impl TopK {
    /// Indices of the first `k` of `v`; NaN counts as larger than any number.
    fn first<T: Copy>(&self, v: &[T], compare: impl Fn(&T, &T) -> Ordering) -> Vec<usize> {
        let mut order: Vec<usize> = (0..v.len()).collect();
        let ranking = |&i: &usize, &j: &usize| {
            let rising = compare(&v[i], &v[j]);
            (if self.largest { rising.reverse() } else { rising }).then(i.cmp(&j))
        };
        if self.k < order.len() && self.k > 0 {
            order.select_nth_unstable_by(self.k - 1, ranking);
        }
        order.truncate(self.k);
        order.sort_unstable_by(ranking);
        order
    }
}

impl Operator for TopK {
    const OP_TYPES: &'static [&'static str] = &["TopK"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let rank = spec.ty(0)?.rank();
        let given = if spec.opset < 10 {
            spec.attributes.int("k")?
        } else {
            spec.integers(1)?.and_then(|k| k.first().copied())
        };
        let k = given.ok_or(OpError::MissingAttribute { name: "k" })?;
        let k = usize::try_from(k).map_err(|_| OpError::Attribute {
            name: "k".into(),
            expected: "a non-negative integer",
            found: k.to_string(),
        })?;
        let a = &mut spec.attributes;
        let op = Self {
            k,
            axis: super::axis(a.int("axis")?.unwrap_or(-1), rank)?,
            largest: a.flag("largest")?.unwrap_or(true),
            sorted: a.flag("sorted")?.unwrap_or(true),
        };
        Ok(Parsed::first(op, 1))
    }

    fn op_type(&self) -> &'static str {
        "TopK"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        super::axis(self.axis as i64, x.rank())?;
        crate::elements(&x.shape)?;
        if self.k > x.shape[self.axis] {
            return Err(OpError::AxisLength {
                input: 0,
                axis: self.axis,
                expected: self.k,
                found: x.shape[self.axis],
            });
        }
        let mut shape = x.shape.clone();
        shape[self.axis] = self.k;
        Ok(vec![TensorType::new(x.dtype, shape.clone()), TensorType::new(DataType::I64, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        let shape = self.infer(&[&x.ty()])?.remove(0).shape;
        let (len, inner) =
            (x.shape()[self.axis], x.shape()[self.axis + 1..].iter().product::<usize>());
        let rows = shape.iter().product::<usize>().checked_div(self.k).unwrap_or(0);
        let row = |r: usize| (0..len).map(move |i| (r / inner * len + i) * inner + r % inner);
        let (mut picks, mut indices) = (vec![0; rows * self.k], vec![0i64; rows * self.k]);
        let (mut floats, mut integers) = (vec![], vec![]);
        if x.dtype().is_float() {
            floats = x.to_f64()?;
        } else {
            integers = super::integers(x)?;
        }
        // NaN of either sign sorts last among rising numbers; -0 equals 0.
        let compare =
            |a: &f64, b: &f64| a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
        for r in 0..rows {
            let first = if x.dtype().is_float() {
                self.first(&row(r).map(|i| floats[i]).collect::<Vec<_>>(), compare)
            } else {
                self.first(&row(r).map(|i| integers[i]).collect::<Vec<_>>(), i128::cmp)
            };
            for (k, i) in first.into_iter().enumerate() {
                let at = (r / inner * self.k + k) * inner + r % inner;
                picks[at] = (r / inner * len + i) * inner + r % inner;
                indices[at] = i as i64;
            }
        }
        let values = super::slice::gathered(x, shape.clone(), |i| picks[i])?;
        Ok(vec![values, Tensor::new(shape, indices)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let shape = &shapes.inputs[0].shape;
        let free = (0..shape.len()).filter(|&a| a != self.axis);
        free.fold(Channels::none(), |c, a| {
            c.link(Input(0).axis(a), Output(0).axis(a), shape[a]).link(
                Input(0).axis(a),
                Output(1).axis(a),
                shape[a],
            )
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

    fn lower(&self, _opset: i64, _inputs: usize, outputs: usize) -> Vec<LoweredNode> {
        let k = LoweredInput::Constant("k", Tensor::vector(vec![self.k as i64]));
        vec![LoweredNode {
            op_type: "TopK",
            inputs: vec![LoweredInput::Input(0), k],
            outputs: (0..outputs).map(LoweredOutput::Output).collect(),
            attributes: vec![
                ("axis", Attribute::Int(self.axis as i64)),
                ("largest", Attribute::Int(i64::from(self.largest))),
                ("sorted", Attribute::Int(i64::from(self.sorted))),
            ],
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_k_of_equal_elements_takes_the_first_and_integers_are_exact() {
        let big = (1i64 << 60) + 1;
        let op = TopK { k: 2, axis: 0, largest: true, sorted: true };
        let x = Tensor::new([3, 2], vec![big - 1, 7, big, 7, 0, 7]).unwrap();
        let y = op.forward(&[&x]).unwrap();
        assert_eq!(y[0].as_slice::<i64>().unwrap(), [big, 7, big - 1, 7]);
        assert_eq!(y[1].as_slice::<i64>().unwrap(), [1, 0, 0, 1]);
        assert!(TopK { k: 4, ..op }.infer(&[&x.ty()]).is_err());
    }
}
