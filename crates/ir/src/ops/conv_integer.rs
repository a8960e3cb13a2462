//! ConvInteger: 2-D convolution of 8-bit values, with sums in 32 bits.
//! Spec: onnx.ai/onnx/operators/onnx__ConvInteger.html, opset 10.
use super::Conv;
use crate::{
    Channels, DataType, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts,
    Shapes, Tensor, TensorType,
};

/// The convolution of `x - x_zero_point` with `weight - weight_zero_point`, as `i32`; both zero points have one element,
/// the weight's may have one for each output channel. What is padded is 0 of `x - x_zero_point`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvInteger {
    /// Windows, pads and groups, as of the convolution of real numbers.
    pub conv: Conv,
}

/// The inputs that an integer product takes: two, and zero points as far as they are given in order.
pub(super) fn integer_inputs(spec: &NodeSpec<'_>) -> Result<usize, OpError> {
    match [spec.input(2), spec.input(3)] {
        [None, Some(_)] => Err(OpError::Unsupported {
            feature: "a zero_point of the second input without one of the first",
        }),
        [first, second] => Ok(2 + usize::from(first.is_some()) + usize::from(second.is_some())),
    }
}

/// Types of quantized values and zero points, checked: 8 bits, zero points of their values' type.
pub(super) fn check_quantized(inputs: &[&TensorType]) -> Result<(), OpError> {
    super::expect_inputs(inputs, 2..=4, "2 to 4")?;
    for (i, ty) in inputs.iter().enumerate() {
        if !matches!(ty.dtype, DataType::I8 | DataType::U8) {
            return Err(OpError::UnsupportedDType { found: ty.dtype });
        }
        if i >= 2 && ty.dtype != inputs[i - 2].dtype {
            return Err(OpError::DType { expected: inputs[i - 2].dtype, found: ty.dtype });
        }
    }
    Ok(())
}

/// Codes minus their zero_point, which has one element or one for each index of `axis`, as `f64`: sums of such products
/// are exact.
pub(super) fn centred(
    quantized: &Tensor,
    zero_point: Option<&&Tensor>,
    axis: usize,
) -> Result<Tensor, OpError> {
    let zeros = zero_point.map_or(Ok(vec![0]), |z| z.to_i64())?;
    let channels = quantized.shape().get(axis).copied().unwrap_or(1);
    if zeros.len() != 1 && zeros.len() != channels {
        return Err(OpError::AxisLength {
            input: 3,
            axis: 0,
            expected: channels,
            found: zeros.len(),
        });
    }
    let inner: usize =
        quantized.shape()[(axis + 1).min(quantized.shape().len())..].iter().product();
    let zero = |i: usize| {
        if zeros.len() == 1 { zeros[0] } else { zeros[i / inner % channels] }
    };
    let real: Vec<f64> =
        quantized.to_i64()?.iter().enumerate().map(|(i, &q)| (q - zero(i)) as f64).collect();
    Tensor::from_f64(DataType::F64, quantized.shape(), &real)
}

impl Operator for ConvInteger {
    const OP_TYPES: &'static [&'static str] = &["ConvInteger"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let inputs = integer_inputs(spec)?;
        let zero_points = spec.inputs.split_off(spec.inputs.len().min(2));
        let conv = Conv::parse(spec)?.op;
        spec.inputs.extend(zero_points);
        match conv {
            crate::Op::Conv(conv) => Ok(Parsed::first(Self { conv }, inputs)),
            _ => Err(OpError::Opaque),
        }
    }

    fn op_type(&self) -> &'static str {
        "ConvInteger"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        check_quantized(inputs)?;
        let y = self.conv.infer(&inputs[..2])?.remove(0);
        Ok(vec![TensorType::new(DataType::I32, y.shape)])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let (x, w) = (centred(inputs[0], inputs.get(2), 1)?, centred(inputs[1], inputs.get(3), 0)?);
        let sums = self.conv.forward(&[&x, &w])?.remove(0);
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &sums.to_f64()?)?])
    }

    fn channel_links(&self, _shapes: &Shapes<'_>) -> Channels {
        Channels::none()
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Weighted { weight: 1, axis: 0, bias: 4 }
    }

    fn macs(&self, shapes: &Shapes<'_>) -> u64 {
        self.conv.macs(shapes)
    }

    fn lower(&self, opset: i64, inputs: usize, outputs: usize) -> Vec<LoweredNode> {
        let as_conv = self.conv.lower(opset, inputs, outputs);
        as_conv.into_iter().map(|node| LoweredNode { op_type: "ConvInteger", ..node }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the ONNX specification, "basicconvinteger", and its padding, which is not a quantized 0.
    #[test]
    fn conv_integer_takes_zero_points_away_and_pads_with_real_zeros() {
        let x = Tensor::new([1, 1, 3, 3], (2u8..11).collect()).unwrap();
        let w = Tensor::new([1, 1, 2, 2], vec![1u8; 4]).unwrap();
        let zero = Tensor::scalar(1u8);
        let conv = |pads| Conv {
            kernel_shape: [2, 2],
            strides: [1, 1],
            dilations: [1, 1],
            pads,
            group: 1,
        };
        let y = ConvInteger { conv: conv([0; 4]) }.forward(&[&x, &w, &zero]).unwrap().remove(0);
        assert_eq!(y, Tensor::new([1, 1, 2, 2], vec![12i32, 16, 24, 28]).unwrap());
        let y = ConvInteger { conv: conv([1; 4]) }.forward(&[&x, &w, &zero]).unwrap().remove(0);
        let expected = vec![1i32, 3, 5, 3, 5, 12, 16, 9, 11, 24, 28, 15, 7, 15, 17, 9];
        assert_eq!(y, Tensor::new([1, 1, 4, 4], expected).unwrap());
    }
}
