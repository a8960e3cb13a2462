//! Gemm: a product of two matrices with an added third.
//! Spec: onnx.ai/onnx/operators/onnx__Gemm.html, opset 7 to 13.
use super::binary::broadcast_indices;
use crate::Port::{Input, Output};
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// `alpha * a * b + beta * c`, `a` and `b` transposed where asked for; `c` broadcasts and may be left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of `c`.
    pub beta: f32,
    /// Whether `a` is `[K, M]` instead of `[M, K]`.
    pub trans_a: bool,
    /// Whether `b` is `[N, K]` instead of `[K, N]`.
    pub trans_b: bool,
    /// Whether `b` is learned; otherwise its channels are frozen.
    pub is_weighted: bool,
}

impl Gemm {
    /// Axes of `a` and `b`: rows, terms of `a`, terms of `b`, columns.
    fn axes(&self) -> [usize; 4] {
        let (rows, columns) = (usize::from(self.trans_a), usize::from(!self.trans_b));
        [rows, 1 - rows, 1 - columns, columns]
    }

    fn sizes(&self, a: &[usize], b: &[usize]) -> Result<[usize; 3], OpError> {
        if let Some((input, found)) = [a, b].into_iter().enumerate().find(|(_, s)| s.len() != 2) {
            return Err(OpError::Rank { input, expected: "2", found: found.to_vec() });
        }
        let [rows, terms, terms_b, columns] = self.axes();
        if a[terms] != b[terms_b] {
            return Err(OpError::AxisLength {
                input: 1,
                axis: terms_b,
                expected: a[terms],
                found: b[terms_b],
            });
        }
        Ok([a[rows], b[columns], a[terms]])
    }

    /// `product(m, n)` for every element, `term(i, j)` being what elements `i` of `a` and `j` of `b` give.
    fn compute<T>(
        &self,
        a: &[usize],
        b: &[usize],
        mut sum: impl FnMut(&mut dyn Iterator<Item = (usize, usize)>) -> T,
    ) -> Result<Vec<T>, OpError> {
        let [m, n, k] = self.sizes(a, b)?;
        let element = |transposed: bool, row: usize, column: usize, shape: &[usize]| {
            if transposed { column * shape[1] + row } else { row * shape[1] + column }
        };
        let element = |i: usize| {
            sum(&mut (0..k)
                .map(|t| (element(self.trans_a, i / n, t, a), element(self.trans_b, t, i % n, b))))
        };
        Ok((0..m * n).map(element).collect())
    }
}

impl Operator for Gemm {
    const OP_TYPES: &'static [&'static str] = &["Gemm"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let is_weighted = spec.input(1).is_some_and(|b| b.constant.is_some());
        let a = &mut spec.attributes;
        let op = Self {
            alpha: a.float("alpha")?.unwrap_or(1.0),
            beta: a.float("beta")?.unwrap_or(1.0),
            trans_a: a.flag("transA")?.unwrap_or(false),
            trans_b: a.flag("transB")?.unwrap_or(false),
            is_weighted,
        };
        Ok(Parsed::first(op, if spec.input(2).is_some() { 3 } else { 2 }))
    }

    fn op_type(&self) -> &'static str {
        "Gemm"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=3, "2 or 3")?;
        let expected = inputs[0].dtype;
        if let Some(t) = inputs.iter().find(|t| t.dtype != expected) {
            return Err(OpError::DType { expected, found: t.dtype });
        }
        let [m, n, _] = self.sizes(&inputs[0].shape, &inputs[1].shape)?;
        let shape = vec![m, n];
        crate::elements(&shape)?;
        if let Some(c) = inputs.get(2)
            && super::binary::broadcast(&c.shape, &shape).as_deref() != Ok(&shape)
        {
            return Err(OpError::Broadcast { a: c.shape.clone(), b: shape });
        }
        Ok(vec![TensorType::new(expected, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let (a, b) = (inputs[0], inputs[1]);
        let added =
            inputs.get(2).map(|c| broadcast_indices(c.shape(), &out.shape)).unwrap_or_default();
        if !out.dtype.is_float() && self.alpha == 1.0 && self.beta == 1.0 {
            let (x, z) = (super::integers(a)?, super::integers(b)?);
            let c = inputs.get(2).map(|c| super::integers(c)).transpose()?;
            let mut y = self.compute(a.shape(), b.shape(), |t| {
                t.fold(0i128, |s, (i, j)| s.wrapping_add(x[i].wrapping_mul(z[j])))
            })?;
            if let Some(c) = c {
                y.iter_mut().zip(&added).for_each(|(y, &i)| *y = y.wrapping_add(c[i]));
            }
            return Ok(vec![super::from_integers(out.dtype, out.shape, &y)?]);
        }
        let (x, z) = (a.to_f64()?, b.to_f64()?);
        let c = inputs.get(2).map(|c| c.to_f64()).transpose()?;
        let mut y = self.compute(a.shape(), b.shape(), |t| {
            f64::from(self.alpha) * t.map(|(i, j)| x[i] * z[j]).sum::<f64>()
        })?;
        if let Some(c) = c {
            y.iter_mut().zip(&added).for_each(|(y, &i)| *y += f64::from(self.beta) * c[i]);
        }
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        if !self.is_weighted {
            return Channels::none();
        }
        let [rows, terms, terms_b, columns] = self.axes();
        let (a, b) = (&shapes.inputs[0].shape, &shapes.inputs[1].shape);
        let mut channels = Channels::none()
            .link(Input(0).axis(rows), Output(0).axis(0), a[rows])
            .link(Input(0).axis(terms), Input(1).axis(terms_b), a[terms])
            .link(Input(1).axis(columns), Output(0).axis(1), b[columns]);
        if let Some(c) = shapes.inputs.get(2) {
            for (axis, &len) in c.shape.iter().enumerate() {
                let to = axis + 2 - c.rank();
                if len == shapes.outputs[0].shape[to] {
                    channels = channels.link(Input(2).axis(axis), Output(0).axis(to), len);
                }
            }
        }
        channels
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        if self.is_weighted {
            QuantFacts::Weighted { weight: 1, axis: self.axes()[3], bias: 2 }
        } else {
            QuantFacts::Float
        }
    }

    fn macs(&self, shapes: &Shapes<'_>) -> u64 {
        let terms = shapes.inputs[0].shape[self.axes()[1]];
        shapes.outputs[0].elements() as u64 * terms as u64
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let attributes = vec![
            ("alpha", Attribute::Float(self.alpha)),
            ("beta", Attribute::Float(self.beta)),
            ("transA", Attribute::Int(i64::from(self.trans_a))),
            ("transB", Attribute::Int(i64::from(self.trans_b))),
        ];
        vec![LoweredNode::simple("Gemm", inputs, attributes)]
    }
}
