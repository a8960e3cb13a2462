//! Element-wise arithmetic of two tensors with broadcasting.
//! Spec: onnx.ai/onnx/operators (Add, Sub, Mul, Div, Pow), opset 7 to 21.
use crate::Port::{Input, Output};
use crate::{Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes, Tensor, TensorData, TensorType};

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

    /// `a` and `b` are the bits of the elements; only division must know whether they are signed.
    fn integer(self, a: i64, b: i64, dtype: DataType) -> Result<i64, OpError> {
        Ok(match self {
            BinaryKind::Add => a.wrapping_add(b),
            BinaryKind::Sub => a.wrapping_sub(b),
            BinaryKind::Mul => a.wrapping_mul(b),
            BinaryKind::Div if b == 0 => return Err(OpError::Unsupported { feature: "integer division by zero" }),
            BinaryKind::Div if dtype == DataType::U64 => (a as u64 / b as u64) as i64,
            BinaryKind::Div => a.wrapping_div(b),
            BinaryKind::Pow => a.wrapping_pow(u32::try_from(b).map_err(|_| OpError::Unsupported { feature: "an integer power below zero" })?),
        })
    }
}

/// The common shape of two broadcast shapes.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    let joined = (0..rank).map(|i| match (at(a, i), at(b, i)) {
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
    let steps: Vec<usize> = super::strides(from).iter().zip(from).map(|(&s, &d)| if d == 1 { 0 } else { s }).collect();
    let out = super::strides(to);
    let total: usize = to.iter().product();
    (0..total).map(|i| (0..from.len()).map(|a| i / out[a + skip] % to[a + skip] * steps[a]).sum()).collect()
}

/// Integers wrap as the type does, instead of saturating.
pub(super) fn wrap(dtype: DataType, shape: &[usize], v: &[i64]) -> Result<Tensor, OpError> {
    let data = match dtype {
        DataType::I8 => TensorData::I8(v.iter().map(|&x| x as i8).collect()),
        DataType::I16 => TensorData::I16(v.iter().map(|&x| x as i16).collect()),
        DataType::I32 => TensorData::I32(v.iter().map(|&x| x as i32).collect()),
        DataType::I64 => TensorData::I64(v.to_vec()),
        DataType::U8 => TensorData::U8(v.iter().map(|&x| x as u8).collect()),
        DataType::U16 => TensorData::U16(v.iter().map(|&x| x as u16).collect()),
        DataType::U32 => TensorData::U32(v.iter().map(|&x| x as u32).collect()),
        DataType::U64 => TensorData::U64(v.iter().map(|&x| x as u64).collect()),
        found => return Err(OpError::UnsupportedDType { found }),
    };
    Tensor::from_data(shape, data)
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
        let pairs = broadcast_indices(a.shape(), &out.shape).into_iter().zip(broadcast_indices(b.shape(), &out.shape));
        let y = if a.dtype().is_float() || b.dtype().is_float() {
            let (x, z) = (a.to_f64()?, b.to_f64()?);
            let v: Vec<f64> = pairs.map(|(i, j)| self.kind.float(x[i], z[j])).collect();
            Tensor::from_f64(out.dtype, out.shape, &v)?
        } else {
            let (x, z) = (a.to_i64()?, b.to_i64()?);
            let v: Vec<i64> = pairs.map(|(i, j)| self.kind.integer(x[i], z[j], out.dtype)).collect::<Result<_, _>>()?;
            wrap(out.dtype, &out.shape, &v)?
        };
        Ok(vec![y])
    }

    /// A broadcast axis of length 1 has no channels of its own; the longer side alone is linked.
    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        let out = &shapes.outputs[0].shape;
        let mut channels = Channels::none();
        for (i, x) in shapes.inputs.iter().enumerate() {
            let skip = out.len() - x.rank();
            for (axis, &len) in x.shape.iter().enumerate().filter(|(a, len)| **len == out[a + skip]) {
                channels = channels.link((Input(i), axis), (Output(0), axis + skip), len);
            }
        }
        channels
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        if matches!(self.kind, BinaryKind::Add | BinaryKind::Mul) { QuantFacts::ElementWise } else { QuantFacts::Float }
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple(self.op_type(), 2, vec![])]
    }
}
