//! PRelu: a slope below zero that is learned.
//! Spec: onnx.ai/onnx/operators/onnx__PRelu.html, opset 7 to 16.
use super::binary::{broadcast, broadcast_indices};
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, Shapes,
    Tensor, TensorType,
};

/// The first input where it is not negative, otherwise times the second, which is broadcast to the first one's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PRelu;

impl Operator for PRelu {
    const OP_TYPES: &'static [&'static str] = &["PRelu"];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Ok(Parsed::first(Self, 2))
    }

    fn op_type(&self) -> &'static str {
        "PRelu"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let (x, slope) = (inputs[0], inputs[1]);
        if x.dtype != slope.dtype {
            return Err(OpError::DType { expected: x.dtype, found: slope.dtype });
        }
        if broadcast(&x.shape, &slope.shape)? != x.shape {
            return Err(OpError::Broadcast { a: x.shape.clone(), b: slope.shape.clone() });
        }
        Ok(vec![x.clone()])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        super::expect_inputs(inputs, 2..=2, "2")?;
        let out = self.infer(&[&inputs[0].ty(), &inputs[1].ty()])?.remove(0);
        let (x, slope) = (inputs[0].to_f64()?, inputs[1].to_f64()?);
        let at = broadcast_indices(inputs[1].shape(), &out.shape);
        let pairs = x.iter().zip(at);
        let y: Vec<f64> = pairs.map(|(&x, i)| if x < 0.0 { slope[i] * x } else { x }).collect();
        Ok(vec![Tensor::from_f64(out.dtype, out.shape, &y)?])
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
        vec![LoweredNode::simple("PRelu", 2, vec![])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_of_channels_are_broadcast_and_never_enlarge_the_input() {
        let x = Tensor::new([1, 2, 1, 2], vec![-1.0f32, 2.0, -3.0, 4.0]).unwrap();
        let slope = Tensor::new([2, 1, 1], vec![0.5f32, 0.1]).unwrap();
        let y = Tensor::new([1, 2, 1, 2], vec![-0.5f32, 2.0, -0.3, 4.0]).unwrap();
        assert_eq!(PRelu.forward(&[&x, &slope]).unwrap(), [y]);
        assert!(PRelu.infer(&[&slope.ty(), &x.ty()]).is_err());
    }
}
