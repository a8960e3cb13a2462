//! MatMul: matrix products, broadcast over the leading axes.
//! Spec: onnx.ai/onnx/operators/onnx__MatMul.html, opset 1 to 13.
use super::binary::{broadcast, broadcast_indices};
use crate::Port::{Input, Output};
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// `y[.., m, n] = sum over k of a[.., m, k] * b[.., k, n]`; an operand of one axis is a row (`a`) or a column (`b`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatMul {
    /// Whether `b` is a learned matrix `[K, N]`; otherwise both operands are computed, as in attention.
    pub is_weighted: bool,
}

/// Shapes with two axes at least, and the output's with the axes that one-axis operands lack.
struct Product {
    a: Vec<usize>,
    b: Vec<usize>,
    /// Common shape of the leading axes.
    batch: Vec<usize>,
    out: Vec<usize>,
}

impl Product {
    fn new(a: &[usize], b: &[usize]) -> Result<Self, OpError> {
        if let Some((input, found)) = [a, b].into_iter().enumerate().find(|(_, s)| s.is_empty()) {
            return Err(OpError::Rank { input, expected: "1 or more", found: found.to_vec() });
        }
        let wide_a = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
        let wide_b = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
        let (ra, rb) = (wide_a.len(), wide_b.len());
        if wide_a[ra - 1] != wide_b[rb - 2] {
            return Err(OpError::AxisLength {
                input: 1,
                axis: b.len().saturating_sub(2),
                expected: wide_a[ra - 1],
                found: wide_b[rb - 2],
            });
        }
        let batch = broadcast(&wide_a[..ra - 2], &wide_b[..rb - 2])?;
        let mut out = batch.clone();
        out.extend((a.len() > 1).then_some(wide_a[ra - 2]));
        out.extend((b.len() > 1).then_some(wide_b[rb - 1]));
        crate::elements(&out)?;
        Ok(Self { a: wide_a, b: wide_b, batch, out })
    }

    /// Rows, columns and the length of the sum.
    fn sizes(&self) -> (usize, usize, usize) {
        let (ra, rb) = (self.a.len(), self.b.len());
        (self.a[ra - 2], self.b[rb - 1], self.a[ra - 1])
    }

    /// The product, with `add(sum, x, y)` giving `sum + x * y`.
    fn compute<T: Copy>(&self, a: &[T], b: &[T], zero: T, add: impl Fn(T, T, T) -> T) -> Vec<T> {
        let (m, n, k) = self.sizes();
        let (ra, rb) = (self.a.len(), self.b.len());
        let pairs = broadcast_indices(&self.a[..ra - 2], &self.batch)
            .into_iter()
            .zip(broadcast_indices(&self.b[..rb - 2], &self.batch));
        let mut y = vec![zero; self.out.iter().product()];
        if m * n == 0 {
            return y;
        }
        for ((i, j), plane) in pairs.zip(y.chunks_exact_mut(m * n)) {
            let (a, b) = (&a[i * m * k..(i + 1) * m * k], &b[j * k * n..(j + 1) * k * n]);
            for (r, row) in plane.chunks_exact_mut(n).enumerate() {
                for (c, &x) in a[r * k..(r + 1) * k].iter().enumerate() {
                    row.iter_mut()
                        .zip(&b[c * n..(c + 1) * n])
                        .for_each(|(sum, &z)| *sum = add(*sum, x, z));
                }
            }
        }
        y
    }
}

impl Operator for MatMul {
    const OP_TYPES: &'static [&'static str] = &["MatMul"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let is_weight = |i: crate::InputSpec<'_>| i.constant.is_some_and(|t| t.shape().len() == 2);
        let is_weighted = spec.ty(0)?.rank() > 1 && spec.input(1).is_some_and(is_weight);
        Ok(Parsed::first(Self { is_weighted }, 2))
    }

    fn op_type(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        if inputs[0].dtype != inputs[1].dtype {
            return Err(OpError::DType { expected: inputs[0].dtype, found: inputs[1].dtype });
        }
        Ok(vec![TensorType::new(
            inputs[0].dtype,
            Product::new(&inputs[0].shape, &inputs[1].shape)?.out,
        )])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (a, b) = (inputs[0], inputs[1]);
        let out = self.infer(&[&a.ty(), &b.ty()])?.remove(0);
        let product = Product::new(a.shape(), b.shape())?;
        let y = if out.dtype.is_float() {
            let y = product.compute(&a.to_f64()?, &b.to_f64()?, 0.0, |sum, x, z| sum + x * z);
            Tensor::from_f64(out.dtype, out.shape, &y)?
        } else {
            let y = product.compute(
                &super::integers(a)?,
                &super::integers(b)?,
                0,
                |sum: i128, x, z| sum.wrapping_add(x.wrapping_mul(z)),
            );
            super::from_integers(out.dtype, out.shape, &y)?
        };
        Ok(vec![y])
    }

    /// A learned matrix ends one list of channels and starts another; between computed operands every axis is frozen,
    /// because nothing in the weights could make up for a missing term of the sum.
    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let (a, y) = (shapes.inputs[0].rank(), shapes.outputs[0].rank());
        let [k, n] = shapes.inputs[1].shape[..] else {
            return Channels::none();
        };
        if !self.is_weighted || a < 2 {
            return Channels::none();
        }
        let channels = Channels::none().link(Input(0).axis(a - 1), Input(1).axis(0), k).link(
            Input(1).axis(1),
            Output(0).axis(y - 1),
            n,
        );
        (0..a - 1).fold(channels, |c, axis| {
            c.link(Input(0).axis(axis), Output(0).axis(axis), shapes.inputs[0].shape[axis])
        })
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        if self.is_weighted {
            QuantFacts::Weighted { weight: 1, axis: 1, bias: 2 }
        } else {
            QuantFacts::Float
        }
    }

    fn macs(&self, shapes: &Shapes<'_>) -> u64 {
        let terms = shapes.inputs[0].shape.last().copied().unwrap_or(1);
        shapes.outputs[0].elements() as u64 * terms as u64
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple("MatMul", 2, vec![])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataType;

    #[test]
    fn mat_mul_integers_stay_exact_and_batches_broadcast() {
        let big = (1i64 << 60) + 1;
        let a = Tensor::new([2, 1, 2], vec![big, 1, 2, 3]).unwrap();
        let b = Tensor::new([2, 2], vec![1i64, 0, 0, 1]).unwrap();
        let y = MatMul::default().forward(&[&a, &b]).unwrap().remove(0);
        assert_eq!(y, Tensor::new([2, 1, 2], vec![big, 1, 2, 3]).unwrap());
    }

    #[test]
    fn mat_mul_operands_of_one_axis_lose_it() {
        let row = Tensor::vector(vec![1.0f32, 2.0]);
        let b = Tensor::new([2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let product =
            |a: &Tensor, b: &Tensor| MatMul::default().forward(&[a, b]).unwrap().remove(0);
        assert_eq!(product(&row, &b), Tensor::vector(vec![9.0f32, 12.0, 15.0]));
        assert_eq!(product(&row, &row), Tensor::scalar(5.0f32));
        assert!(MatMul::default().infer(&[&b.ty(), &b.ty()]).is_err());
        assert!(MatMul::default().infer(&[&Tensor::scalar(1.0f32).ty(), &b.ty()]).is_err());
    }

    #[test]
    fn mat_mul_of_computed_operands_freezes_every_axis() {
        let (a, b, y) = ([1, 2, 3, 4], [4, 5], [1, 2, 3, 5]);
        let [a, b, y] = [&a[..], &b, &y].map(|s| TensorType::new(DataType::F32, s));
        let shapes = Shapes { inputs: vec![&a, &b], outputs: vec![&y] };
        assert!(MatMul::default().channel_links(&shapes).links.is_empty());
        let links = MatMul { is_weighted: true }.channel_links(&shapes).links;
        let ends: Vec<_> = links.iter().map(|l| (l.a.port, l.a.axis, l.b.port, l.b.axis)).collect();
        assert_eq!(ends[..2], [(Input(0), 3, Input(1), 0), (Input(1), 1, Output(0), 3)]);
    }
}
