//! FakeQuantize: real numbers brought to those that an integer grid can tell apart, and kept as real numbers.
//!
//! Not an operator of ONNX: it is written as QuantizeLinear and DequantizeLinear, and [`crate::rewrites::FAKE_QUANTIZE`]
//! makes it of the two. Its scale is learnt where it is an input.
use super::quantize_linear::{channel_of, check_axis, keep_params, lower_params};
use crate::{
    Channels, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec, OpError, Operator,
    Parsed, QuantFacts, QuantParams, Shapes, Tensor, TensorType,
};

/// `y = scale * (saturate(round_ties_even(x / scale) + zero_point) - zero_point)`.
///
/// A second input, of one element, takes the place of the scale: so it can be learnt.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantize {
    /// Scale, zero_point and axis; the integer type gives the range.
    pub params: QuantParams,
}

impl FakeQuantize {
    /// Its parameters with a scale that is an input.
    ///
    /// # Errors
    /// `BadScale` where it is not finite and positive, `DType` where it is no number.
    pub(super) fn params_with(&self, scale: &Tensor) -> Result<QuantParams, OpError> {
        let scale = scale.to_f64()?[0] as f32;
        QuantParams::per_tensor(scale, self.params.zero_point()[0], self.params.dtype())
    }

    /// Checks that a scale that is an input is one number for the whole tensor.
    pub(super) fn check_scale(&self, scale: &TensorType) -> Result<(), OpError> {
        if self.params.axis().is_some() {
            return Err(OpError::Unsupported { feature: "one scale as an input for all channels" });
        }
        match scale.elements() {
            1 => Ok(()),
            found => Err(OpError::ElementCount { shape: scale.shape.clone(), expected: 1, found }),
        }
    }
}

impl Operator for FakeQuantize {
    const OP_TYPES: &'static [&'static str] = &[];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Err(OpError::Unsupported { feature: "FakeQuantize as a node of a file" })
    }

    fn op_type(&self) -> &'static str {
        "FakeQuantize"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=2, "1 or 2")?;
        check_axis(&self.params, inputs[0])?;
        inputs.get(1).map_or(Ok(()), |scale| self.check_scale(scale))?;
        Ok(vec![inputs[0].clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|x| x.ty()).collect();
        let ty = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let learnt = inputs.get(1).map(|scale| self.params_with(scale)).transpose()?;
        let params = learnt.as_ref().unwrap_or(&self.params);
        let channel = channel_of(params, &ty.shape);
        let nearest = |(i, &x): (usize, &f64)| {
            let quantized = params.quantize(channel(i), x as f32);
            f64::from(params.dequantize(channel(i), quantized))
        };
        let y: Vec<f64> = inputs[0].to_f64()?.iter().enumerate().map(nearest).collect();
        Ok(vec![Tensor::from_f64(ty.dtype, ty.shape, &y)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::pass_through(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        Self { params: keep_params(&self.params, kept) }
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Boundary
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        let mut nodes = lower_params("QuantizeLinear", &self.params);
        nodes[0].outputs = vec![LoweredOutput::Temp(0)];
        let mut dequantize = lower_params("DequantizeLinear", &self.params);
        dequantize[0].inputs[0] = LoweredInput::Temp(0);
        nodes.append(&mut dequantize);
        if inputs == 2 {
            nodes.iter_mut().for_each(|node| node.inputs[1] = LoweredInput::Input(1));
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{DequantizeLinear, QuantizeLinear};

    #[test]
    fn forward_equals_quantize_then_dequantize() {
        let x = Tensor::new([2, 3], vec![-9.0f32, -0.26, 0.0, 0.125, 0.375, 1e9]).unwrap();
        let per_tensor = QuantParams::per_tensor(0.25, 3, crate::DataType::U8).unwrap();
        let (scale, zeros) = (vec![0.25, 2.0], vec![0, -1]);
        let per_channel = QuantParams::per_channel(0, scale, zeros, crate::DataType::I8).unwrap();
        for params in [per_tensor, per_channel] {
            let quantize = QuantizeLinear { params: params.clone() };
            let dequantize = DequantizeLinear { params: params.clone() };
            let quantized = quantize.forward(&[&x]).unwrap();
            let expected = dequantize.forward(&[&quantized[0]]).unwrap();
            assert_eq!(FakeQuantize { params }.forward(&[&x]).unwrap(), expected);
        }
    }

    #[test]
    fn forward_takes_a_second_input_for_the_scale() {
        let x = Tensor::new([2, 2], vec![-9.0f32, -0.26, 0.125, 40.0]).unwrap();
        let of = |scale| QuantParams::per_tensor(scale, 3, crate::DataType::U8).unwrap();
        let learnt = FakeQuantize { params: of(9.0) };
        let expected = FakeQuantize { params: of(0.25) }.forward(&[&x]).unwrap();
        assert_eq!(learnt.forward(&[&x, &Tensor::scalar(0.25f32)]).unwrap(), expected);
        let error = learnt.forward(&[&x, &Tensor::scalar(0.0f32)]).unwrap_err();
        assert_eq!(error, OpError::BadScale { channel: 0, found: 0.0 });
    }
}
