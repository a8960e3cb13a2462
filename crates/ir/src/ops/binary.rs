//! Element-wise arithmetic of two tensors with broadcasting.
//! Spec: onnx.ai/onnx/operators (Add, Sub, Mul, Div, Pow), opset 7 to 21.
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryKind {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
}

/// One operation applied to pairs of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Which operation.
    pub kind: BinaryKind,
}

impl From<BinaryKind> for crate::Op {
    fn from(kind: BinaryKind) -> Self {
        Binary { kind }.into()
    }
}

impl BinaryKind {
    fn float(self, a: f64, b: f64) -> f64 {
        match self {
            BinaryKind::Add => a + b,
            BinaryKind::Sub => a - b,
            BinaryKind::Mul => a * b,
            BinaryKind::Div => a / b,
            BinaryKind::Pow => a.powf(b),
        }
    }

    fn integer(self, a: i128, b: i128) -> Result<i128, OpError> {
        Ok(match self {
            BinaryKind::Add => a.wrapping_add(b),
            BinaryKind::Sub => a.wrapping_sub(b),
            BinaryKind::Mul => a.wrapping_mul(b),
            BinaryKind::Div => a
                .checked_div(b)
                .ok_or(OpError::Unsupported { feature: "integer division by zero" })?,
            BinaryKind::Pow => a
                .wrapping_pow(u32::try_from(b).map_err(|_| OpError::Unsupported {
                    feature: "an integer power below zero",
                })?),
        })
    }
}

/// The common shape of two broadcast shapes.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let rank = a.len().max(b.len());
    let source_index = |s: &[usize], i: usize| {
        if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 }
    };
    let joined = (0..rank).map(|i| match (source_index(a, i), source_index(b, i)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        _ => Err(OpError::Broadcast { a: a.to_vec(), b: b.to_vec() }),
    });
    joined.collect()
}

/// For every element of `to`, the index of its source in `from`.
pub(super) fn broadcast_indices(from: &[usize], to: &[usize]) -> Vec<usize> {
    let skip = to.len() - from.len();
    let steps: Vec<usize> =
        super::strides(from).iter().zip(from).map(|(&s, &d)| if d == 1 { 0 } else { s }).collect();
    let out = super::strides(to);
    let total: usize = to.iter().product();
    (0..total)
        .map(|i| (0..from.len()).map(|a| i / out[a + skip] % to[a + skip] * steps[a]).sum())
        .collect()
}

impl Operator for Binary {
    const OP_TYPES: &'static [&'static str] = &["Add", "Sub", "Mul", "Div", "Pow"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let kind = match spec.op_type {
            "Add" => BinaryKind::Add,
            "Sub" => BinaryKind::Sub,
            "Mul" => BinaryKind::Mul,
            "Div" => BinaryKind::Div,
            _ => BinaryKind::Pow,
        };
        Ok(Parsed::first(kind, 2))
    }

    fn op_type(&self) -> &'static str {
        match self.kind {
            BinaryKind::Add => "Add",
            BinaryKind::Sub => "Sub",
            BinaryKind::Mul => "Mul",
            BinaryKind::Div => "Div",
            BinaryKind::Pow => "Pow",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        if inputs[0].dtype != inputs[1].dtype && self.kind != BinaryKind::Pow {
            return Err(OpError::DType { expected: inputs[0].dtype, found: inputs[1].dtype });
        }
        let shape = broadcast(&inputs[0].shape, &inputs[1].shape)?;
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(inputs[0].dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (a, b) = (inputs[0], inputs[1]);
        let out = self.infer(&[&a.ty(), &b.ty()])?.remove(0);
        let pairs = broadcast_indices(a.shape(), &out.shape)
            .into_iter()
            .zip(broadcast_indices(b.shape(), &out.shape));
        let y = if a.dtype().is_float() || b.dtype().is_float() {
            let (x, z) = (a.to_f64()?, b.to_f64()?);
            let v: Vec<f64> = pairs.map(|(i, j)| self.kind.float(x[i], z[j])).collect();
            Tensor::from_f64(out.dtype, out.shape, &v)?
        } else {
            let (x, z) = (super::integers(a)?, super::integers(b)?);
            let v: Vec<i128> =
                pairs.map(|(i, j)| self.kind.integer(x[i], z[j])).collect::<Result<_, _>>()?;
            super::from_integers(out.dtype, out.shape, &v)?
        };
        Ok(vec![y])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::link_broadcast(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        if matches!(self.kind, BinaryKind::Add | BinaryKind::Mul) {
            QuantFacts::ElementWise
        } else {
            QuantFacts::Float
        }
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple(self.op_type(), 2, vec![])]
    }
}
