//! Mod: the remainder of a division.
//! Spec: onnx.ai/onnx/operators/onnx__Mod.html, opset 10 to 13.
use super::binary::{broadcast, broadcast_indices};
use crate::{
    Attribute, Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// The remainder of pairs of elements, with broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mod {
    /// Whether it has the dividend's sign, as in C, instead of the divisor's.
    pub fmod: bool,
}

impl Operator for Mod {
    const OP_TYPES: &'static [&'static str] = &["Mod"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let fmod = spec.attributes.flag("fmod")?.unwrap_or(false);
        Ok(Parsed::first(Self { fmod }, 2))
    }

    fn op_type(&self) -> &'static str {
        "Mod"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (a, b) = (inputs[0], inputs[1]);
        if a.dtype != b.dtype {
            return Err(OpError::DType { expected: a.dtype, found: b.dtype });
        }
        let shape = broadcast(&a.shape, &b.shape)?;
        crate::elements(&shape)?;
        Ok(vec![TensorType::new(a.dtype, shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (a, b) = (inputs[0], inputs[1]);
        let out = self.infer(&[&a.ty(), &b.ty()])?.remove(0);
        let pairs = broadcast_indices(a.shape(), &out.shape)
            .into_iter()
            .zip(broadcast_indices(b.shape(), &out.shape));
        let y = if a.dtype().is_float() {
            let (x, z) = (a.to_f64()?, b.to_f64()?);
            let remainder = |a: f64, b: f64| match a % b {
                r if self.fmod || r.is_nan() => r,
                0.0 => 0f64.copysign(b),
                r if (r < 0.0) != (b < 0.0) => r + b,
                r => r,
            };
            let y: Vec<f64> = pairs.map(|(i, j)| remainder(x[i], z[j])).collect();
            Tensor::from_f64(out.dtype, out.shape, &y)?
        } else {
            let (x, z) = (super::integers(a)?, super::integers(b)?);
            let remainder = |(i, j): (usize, usize)| {
                let r = x[i]
                    .checked_rem(z[j])
                    .ok_or(OpError::Unsupported { feature: "integer division by zero" })?;
                let wrong_sign = !self.fmod && r != 0 && (r < 0) != (z[j] < 0);
                Ok(if wrong_sign { r + z[j] } else { r })
            };
            let y = pairs.map(remainder).collect::<Result<Vec<i128>, OpError>>()?;
            super::from_integers(out.dtype, out.shape, &y)?
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
        QuantFacts::Float
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple("Mod", 2, vec![("fmod", Attribute::Int(i64::from(self.fmod)))])]
    }
}
