//! Cast: elements of another type.
//! Spec: onnx.ai/onnx/operators (Cast, CastLike), opset 6 to 21.
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed,
    QuantFacts, Shapes, Tensor, TensorType,
};

/// Every element converted: floats round to floats and are cut off to integers, integers wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The type of the output.
    pub to: DataType,
}

impl Operator for Cast {
    const OP_TYPES: &'static [&'static str] = &["Cast", "CastLike"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let to = if spec.op_type == "CastLike" {
            spec.ty(1)?.dtype
        } else {
            let code =
                spec.attributes.int("to")?.ok_or(OpError::MissingAttribute { name: "to" })?;
            DataType::from_onnx(i32::try_from(code).unwrap_or(0))
        };
        if let Some(&found) = [spec.ty(0)?.dtype, to].iter().find(|t| t.size_bytes().is_none()) {
            return Err(OpError::UnsupportedDType { found });
        }
        // Only casts to 8-bit floats saturate or choose how to round, and those are not computed.
        spec.attributes.ignore(&["saturate", "round_mode"]);
        Ok(Parsed::first(Self { to }, 1))
    }

    fn op_type(&self) -> &'static str {
        "Cast"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        crate::elements(&inputs[0].shape)?;
        Ok(vec![TensorType::new(self.to, inputs[0].shape.clone())])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        let x = inputs[0];
        if let Some(&found) = [x.dtype(), self.to].iter().find(|t| t.size_bytes().is_none()) {
            return Err(OpError::UnsupportedDType { found });
        }
        let y = if x.dtype() == self.to {
            x.clone()
        } else if x.dtype().is_float() || self.to.is_float() {
            Tensor::from_f64(self.to, x.shape(), &x.to_f64()?)?
        } else {
            super::from_integers(self.to, x.shape(), &super::integers(x)?)?
        };
        Ok(vec![y])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::pass_through(shapes)
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
        vec![LoweredNode::simple(
            "Cast",
            1,
            vec![("to", Attribute::Int(i64::from(self.to.to_onnx())))],
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cast_between_integers_is_exact_and_wraps() {
        let big = (1i64 << 60) + 1;
        let x = Tensor::vector(vec![big, -1, 0]);
        let cast = |to| Cast { to }.forward(&[&x]).unwrap().remove(0);
        assert_eq!(cast(DataType::U64), Tensor::vector(vec![big as u64, u64::MAX, 0]));
        assert_eq!(cast(DataType::U8), Tensor::vector(vec![1u8, 255, 0]));
        assert_eq!(cast(DataType::Bool), Tensor::vector(vec![true, true, false]));
    }
}
