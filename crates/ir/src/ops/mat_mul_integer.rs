//! MatMulInteger: products of matrices of 8-bit values, with sums in 32 bits.
//! Spec: onnx.ai/onnx/operators/onnx__MatMulInteger.html, opset 10; a zero_point for each row of `a` is not supported.
use super::MatMul;
use super::conv_integer::{centred, check_quantized, integer_inputs};
use crate::{
    Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// The product of `a - a_zero_point` and `b - b_zero_point`, as `i32`; zero points have one element, that of `b` may have
/// one for each column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulInteger {
    /// As of the product of real numbers.
    pub product: MatMul,
}

impl Operator for MatMulInteger {
    const OP_TYPES: &'static [&'static str] = &["MatMulInteger"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let inputs = integer_inputs(spec)?;
        match MatMul::parse(spec)?.op {
            crate::Op::MatMul(product) => Ok(Parsed::first(Self { product }, inputs)),
            _ => Err(OpError::Opaque),
        }
    }

    fn op_type(&self) -> &'static str {
        "MatMulInteger"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        check_quantized(inputs)?;
        if let Some(zero) = inputs.get(2).filter(|z| z.elements() != 1) {
            return Err(OpError::ElementCount {
                shape: zero.shape.clone(),
                expected: 1,
                found: zero.elements(),
            });
        }
        let [a, b] =
            [inputs[0], inputs[1]].map(|t| TensorType::new(DataType::I32, t.shape.clone()));
        self.product.infer(&[&a, &b])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let columns = inputs[1].shape().len().saturating_sub(1);
        let (a, b) =
            (centred(inputs[0], inputs.get(2), 0)?, centred(inputs[1], inputs.get(3), columns)?);
        let sums = self.product.forward(&[&a, &b])?.remove(0);
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &sums.to_f64()?)?])
    }

    fn channel_links(&self, _shapes: &Shapes<'_>) -> Channels {
        Channels::none()
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        *self
    }

    fn quant_facts(&self) -> QuantFacts {
        if self.product.is_weighted {
            QuantFacts::Weighted { weight: 1, axis: 1, bias: 4 }
        } else {
            QuantFacts::Float
        }
    }

    fn macs(&self, shapes: &Shapes<'_>) -> u64 {
        self.product.macs(shapes)
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![LoweredNode::simple("MatMulInteger", inputs, vec![])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the ONNX specification, "matmulinteger".
    #[test]
    fn mat_mul_integer_takes_zero_points_away() {
        let a = Tensor::new([4, 3], vec![11u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]).unwrap();
        let b = Tensor::new([3, 2], vec![1u8, 4, 2, 5, 3, 6]).unwrap();
        let zeros = [Tensor::vector(vec![12u8]), Tensor::vector(vec![0u8])];
        let y = MatMulInteger { product: MatMul::default() }
            .forward(&[&a, &b, &zeros[0], &zeros[1]])
            .unwrap()
            .remove(0);
        assert_eq!(
            y,
            Tensor::new([4, 2], vec![-38i32, -83, -44, -98, -50, -113, -56, -128]).unwrap()
        );
    }
}
