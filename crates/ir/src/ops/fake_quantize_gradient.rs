//! The gradient of FakeQuantize. Made by differentiating a graph; no file holds it.
//!
//! Rounding is taken for what it rounds (straight-through, arXiv:1308.3432), and nothing passes where the integers end. The scale
//! receives what LSQ (arXiv:1902.08153, equation 3) gives it: the distance from the rounded number inside the range, the last
//! integer outside.
use super::FakeQuantize;
use crate::{
    Channels, KeptAxes, LoweredNode, NodeSpec, OpError, Operator, Parsed, QuantFacts, QuantParams,
    Shapes, Tensor, TensorType,
};

/// Of `x`, its scale (one element) and `dy`: `dx`, and for every element what it adds to the gradient of the scale.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantizeGradient {
    /// The quantization; its scale is the second input.
    pub quantize: FakeQuantize,
}

impl FakeQuantizeGradient {
    /// What the gradient of one element's result is multiplied by: for the element, and for the scale.
    fn slopes(params: &QuantParams, x: f64) -> [f64; 2] {
        let (zero_point, (lowest, highest)) = (params.zero_point()[0], params.range());
        let scale = params.scale()[0];
        let ends = [lowest, highest].map(|end| end as f64 - f64::from(zero_point));
        let steps = f64::from((x as f32 / scale).round_ties_even());
        if steps < ends[0] || steps > ends[1] {
            return [0.0, steps.clamp(ends[0], ends[1])];
        }
        [1.0, steps - x / f64::from(scale)]
    }
}

impl Operator for FakeQuantizeGradient {
    const OP_TYPES: &'static [&'static str] = &[];

    fn parse(_spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        Err(super::gradient_in_a_file())
    }

    fn op_type(&self) -> &'static str {
        "FakeQuantizeGradient"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 3..=3, "3")?;
        self.quantize.check_scale(inputs[1])?;
        super::expect_shape(2, &inputs[0].shape, &inputs[2].shape)?;
        Ok(vec![inputs[0].clone(); 2])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let types: Vec<TensorType> = inputs.iter().map(|x| x.ty()).collect();
        let out = self.infer(&types.iter().collect::<Vec<_>>())?.remove(0);
        let params = self.quantize.params_with(inputs[1])?;
        let (x, dy) = (inputs[0].to_f64()?, inputs[2].to_f64()?);
        let slopes: Vec<[f64; 2]> = x.iter().map(|&x| Self::slopes(&params, x)).collect();
        let gradient = |by: usize| {
            let products = slopes.iter().zip(&dy).map(|(slopes, dy)| slopes[by] * dy);
            Tensor::from_f64(out.dtype, out.shape.clone(), &products.collect::<Vec<_>>())
        };
        Ok(vec![gradient(0)?, gradient(1)?])
    }

    fn channel_links(&self, _shapes: &Shapes<'_>) -> Channels {
        Channels::none()
    }

    fn keep(&self, _shapes: &Shapes<'_>, _kept: &KeptAxes) -> Self {
        self.clone()
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Float
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        vec![]
    }
}
